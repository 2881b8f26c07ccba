"""The same model, batch and optimizer in PyTorch, interleaved with ours: scripts/bench_vs_torch.py."""
import json
import os
import sys

import models
from process import OutOfTime

UNAVAILABLE = 69  # bench_vs_torch.py's exit code where PyTorch is what fails
ROUNDS = 2


def run(context, section, measured, num_precisions):
    """Of those that the GPU has the first ones."""
    compare_all(context, section, [(model, precision, []) for model in measured for precision in context.gpu.precisions()[:num_precisions]])


def run_compiled(context, section):
    """torch.compile may take longer than all else together, so it has a stage of its own, the last."""
    if "bf16" not in context.gpu.precisions():
        section.unavailable("this GPU does not compute in bf16")
        return
    try:
        compare_all(context, section, [(models.GPT2, "bf16", ["--compile"])])
    except OutOfTime:
        section.unavailable("torch.compile did not end in the time that it was given")


def compare_all(context, section, variants):
    done = context.run("import", [sys.executable, "-c", "import torch; print(torch.__version__, torch.cuda.is_available())"])
    if not done.ok:
        section.unavailable(f"{sys.executable} has no PyTorch" if "No module named" in done.text else f"PyTorch does not load: {done.how}")
        return
    version, has_cuda = done.last_line.split()
    if has_cuda != "True" and not context.simulated:
        section.unavailable(f"PyTorch {version} sees no GPU")
        return
    rows, section.data["runs"] = [], []
    titles = "; ".join(dict.fromkeys(model.title for model, _, _ in variants)) if not context.simulated else "toys"
    section.text(f"PyTorch {version}; {titles}; medians of interleaved rounds. A ratio above 1: ours is faster.")
    section.table(["model", "precision", "PyTorch", "micro-batch", "ours, ms", "PyTorch, ms", "ratio", "ours, a second",
                   "PyTorch, a second"], rows)
    missing = [compare(context, section, rows, *variant) for variant in variants]
    if all(missing):
        section.unavailable(missing[0])


def compare(context, section, rows, model, precision, compiled):
    """Adds a row, or a failure. Returns why PyTorch did not run it, if it did not."""
    name = f"{model.name}-{precision}" + ("-compile" if compiled else "")
    path = os.path.join(context.folder, name + ".json")
    size = models.batch_that_fits(context, model, precision)
    argv = [sys.executable, context.script("bench_vs_torch.py"), "--bench-step", context.bin("bench_step"), "--device", "cuda",
            "--precision", precision, "--batch", str(size),
            *context.toy([*model.torch, "--rounds", str(ROUNDS)], [*model.toy_torch, "--rounds", "1", "--steps", "2"]), *compiled,
            "--json", path]
    done = context.run(name, argv)
    if done.code == UNAVAILABLE:
        why = done.last_line
        section.text(f"{name}: {why}")
        rows.append([model.name, precision, "compile" if compiled else "eager", str(size), *["n/a"] * 5])
        return why
    if not done.ok or not os.path.exists(path):
        section.fail(f"{name}: {done.how}")
        return None
    with open(path, encoding="utf-8") as file:
        r = json.load(file)
    section.data["runs"].append(r)
    rows.append([model.name, precision, r["mode"], str(size), f"{r['ours_ms']:.2f}", f"{r['torch_ms']:.2f}", f"{r['ratio']:.2f}",
                 f"{r['ours_per_s']:,.0f} {r['unit']}", f"{r['torch_per_s']:,.0f} {r['unit']}"])
    return None
