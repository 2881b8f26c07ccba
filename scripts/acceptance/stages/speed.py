"""Training steps at full size, eager and as graphs: units a second, the share of the GEMM peak measured beside it, a table by op, and
where the model convolves the plans of cuDNN that were taken."""
import json
import math
import os
import re

import models

STEPS = 20
MIB = 1 << 20
PLAN = re.compile(r"cuDNN (\S+): (convolution_\w+ .*): engine (\d+), (\d+) bytes of workspace, (\d+) passed over")


def run(context, section, measured, num_precisions):
    """Of those that the GPU has the first ones; the first as graphs too."""
    rows, section.data["runs"] = [], []
    section.text(f"{'; '.join(model.title for model in measured)}; one GPU; medians of {STEPS} steps. MFU: of the largest matrix product's "
                 "speed in this run and this precision; causal attention counts as half. Used: device memory as the device reports it."
                 if not context.simulated else "Toys.")
    section.table(["model", "precision", "mode", "micro-batch", "step, ms", "host, ms", "a second", "MFU", "peak, TFLOP/s", "planned, MiB",
                   "used, MiB"], rows)
    for model in measured:
        for i, precision in enumerate(context.gpu.precisions()[:num_precisions]):
            batch = models.batch_that_fits(context, model, precision)
            for graphs in (False, True) if i == 0 else (False,):
                step(context, section, rows, model, precision, batch, graphs)


def step(context, section, rows, model, precision, batch, graphs):
    name = f"{model.name}-{precision}" + ("-graphs" if graphs else "")
    path = os.path.join(context.folder, name + ".json")
    argv = [context.bin("bench_step"), "--device", "cuda", "--precision", precision, "--batch", str(batch),
            "--steps", str(context.toy(STEPS, 2)), *context.toy(model.bench, model.toy_bench),
            *(["--graphs", "--no-ops"] if graphs else []), "--json", path]
    done = context.run(name, argv)
    if not done.ok or not os.path.exists(path):
        section.fail(f"{name}: {done.how}")
        return
    with open(path, encoding="utf-8") as file:
        result = json.load(file)
    section.data["runs"].append(result)
    rows.append(row_of(model, precision, graphs, result))
    if result["loss"] is None or not math.isfinite(result["loss"]):
        section.fail(f"{name}: the loss is {result['loss']}")
    if not 0 < result["mfu"] <= 1:
        section.fail(f"{name}: {result['mfu']:.2f} of the peak that was measured cannot be")
    if graphs:
        return
    section.table(["op", "calls", "ms", "of the step", "TFLOP/s", "GB/s"], op_rows(result),
                  f"By op, {model.title}, {precision}, a step of {result['step_ms']:.2f} ms:")
    cudnn_plans(section, name, done.text)


def cudnn_plans(section, name, text):
    """The table of what a log says of cuDNN's plans, if it does."""
    plans = [match.groups() for match in PLAN.finditer(text)]
    if not plans:
        return
    section.table(["convolution", "engine", "workspace, MiB", "passed over"],
                  [[task, engine, f"{int(workspace) / MIB:.1f}", passed] for _, task, engine, workspace, passed in plans],
                  f"Plans of cuDNN {plans[0][0]}, {name}:")
    section.data.setdefault("cudnn_plans", {})[name] = [
        {"task": task, "engine": int(engine), "workspace_bytes": int(workspace), "passed_over": int(passed)}
        for _, task, engine, workspace, passed in plans]


def row_of(model, precision, graphs, r):
    return [model.name, precision, "graphs" if graphs else "eager", str(r["batch"]), f"{r['step_ms']:.2f}",
            f"{r['host_ms']:.2f}", f"{r['units_per_s']:,.0f} {r['unit']}", f"{100 * r['mfu']:.1f}%", f"{r['ceiling_tflops']:.1f}",
            f"{r['planned_bytes'] / MIB:,.0f}", f"{r['used_bytes'] / MIB:,.0f}"]


def op_rows(result):
    rows = []
    for op in sorted(result["ops"], key=lambda op: -op["ms"]):
        seconds = op["ms"] / 1e3
        rate = (lambda amount, unit: f"{amount / seconds / unit:.1f}" if amount and seconds > 0 else "")
        rows.append([op["name"], str(op["calls"]), f"{op['ms']:.3f}", f"{100 * op['ms'] / result['step_ms']:.1f}%", rate(op["flops"], 1e12),
                     rate(op["bytes"], 1e9)])
    return rows
