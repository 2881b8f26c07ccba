"""What the plan says fits into 10.5e9 bytes runs, and takes what the plan says."""
import json

from .speed import MIB, as_text_of_bytes

BUDGET = 10_500_000_000  # of an RTX 2080 Ti, less its context
STEPS = 3
TOY_BUDGET = 36_000_000
TOY = ["--set", "model.layers=1", "--set", "model.width=64", "--set", "model.heads=1", "--set", "model.context=64",
       "--set", "model.vocab=256"]


def run(context, section):
    budget = context.toy(min(BUDGET, int(context.gpu.memory_bytes * 0.9)), TOY_BUDGET)
    rows = []
    section.text(f"Budget: {budget:,} bytes. Taken: what nvidia-smi reports at the most, less what it reported before; it holds the CUDA "
                 "context and the libraries' code, which the plan does not.")
    section.table(["precision", "largest micro-batch", "planned, MiB", "taken, MiB", "above the plan, MiB", "runs", "s"], rows)
    for precision in ("fp16", "fp32"):
        plan = largest_plan(context, section, precision, budget)
        if plan is not None:
            rows.append(train(context, section, precision, budget, *plan))


def options(context, precision):
    return [*as_text_of_bytes(), *context.toy([], TOY), "--set", f"train.precision={precision}"]


def largest_plan(context, section, precision, budget):
    """(largest micro-batch, bytes planned for it), or None after a failure."""
    plan = [context.bin("ddp-launch"), "plan", "--device", "cuda", "--json", *options(context, precision)]
    done = context.run(f"plan-{precision}", [*plan, "--memory", str(budget), "configs/gpt2-small.yaml"])
    if not done.ok:
        section.fail(f"plan in {precision}: {done.how}")
        return None
    largest = parse(done)["largest_micro_batch"]["micro_batch"]
    if largest < 1:
        section.fail(f"{precision}: the plan finds no micro-batch that fits into {budget} bytes")
        return None
    done = context.run(f"planned-{precision}", [*plan, *batch(largest), "configs/gpt2-small.yaml"])
    if not done.ok:
        section.fail(f"plan of micro-batch {largest} in {precision}: {done.how}")
        return None
    planned = parse(done)["memory_bytes"]["total"]
    if planned > budget:
        section.fail(f"{precision}: the plan of its largest micro-batch, {largest}, is {planned} bytes")
    return largest, planned


def parse(done):
    return json.loads(done.text[done.text.index("{"):])


def batch(size):
    return ["--set", f"train.micro_batch={size}", "--set", f"train.global_batch={size}"]


def train(context, section, precision, budget, largest, planned):
    before = context.gpu.used_mib()
    most = [before]

    def watch(_):
        used = context.gpu.used_mib()
        if used is not None and most[0] is not None:
            most[0] = max(most[0], used)

    # A simulated GPU has no more than the budget; a real one has what it has.
    done, _ = context.train(f"run-{precision}", "configs/gpt2-small.yaml", "--gpus", "0", *options(context, precision), *batch(largest),
                            "--set", f"train.steps={STEPS}", "--set", "schedule.warmup_steps=1", "--set", "eval.every=0",
                            "--set", "checkpoint.every=0", "--set", "checkpoint.last=false", env={"DDP_SIM_MEMORY": str(budget)},
                            watch=watch)
    if not done.ok:
        section.fail(f"micro-batch {largest} in {precision}: {done.how}")
    taken = None if before is None else (most[0] - before)
    section.data.setdefault("runs", []).append(
        {"precision": precision, "micro_batch": largest, "planned_bytes": planned, "taken_mib": taken})
    return [precision, str(largest), f"{planned / MIB:,.0f}", "n/a" if taken is None else f"{taken:,}",
            "n/a" if taken is None else f"{taken - planned / MIB:+,.0f}", "yes" if done.ok else "**no**", f"{done.seconds:.1f}"]
