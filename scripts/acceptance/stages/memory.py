"""What the plan says fits into an RTX 2080 Ti runs, and takes what the plan says."""
import models

from .speed import MIB

BUDGET = 11 << 30  # of which the plan leaves a part to CUDA
STEPS = 3


def run(context, section, variants, toy_budget):
    """variants: (model, precision)"""
    budget = context.toy(min(BUDGET, int(context.gpu.memory_bytes * 0.9)), toy_budget)
    rows = []
    section.text(f"Memory: {budget:,} bytes, of which the plan leaves a part to CUDA. Taken: what nvidia-smi reports at the most, less what it reported before; it holds the CUDA "
                 "context and the libraries' code, which the plan does not.")
    section.table(["model", "precision", "largest micro-batch", "planned, MiB", "taken, MiB", "above the plan, MiB", "runs", "s"], rows)
    for model, precision in variants:
        options = ["--set", f"train.precision={precision}", *models.settings(context, model)]
        plan = largest_plan(context, section, f"{model.name}-{precision}", options, budget)
        if plan is not None:
            rows.append([model.name, precision, *train(context, section, f"{model.name}-{precision}", options, budget, *plan)])


def largest_plan(context, section, name, options, budget):
    """(largest micro-batch, bytes planned for it), or None after a failure."""
    done, plan = models.plan(context, f"plan-{name}", "--memory", str(budget), *options)
    if not done.ok:
        section.fail(f"plan of {name}: {done.how}")
        return None
    largest = plan["largest_micro_batch"]["micro_batch"]
    if largest < 1:
        section.fail(f"{name}: the plan finds no micro-batch that fits into {budget} bytes")
        return None
    done, plan = models.plan(context, f"planned-{name}", *batch(largest), *options)
    if not done.ok:
        section.fail(f"plan of micro-batch {largest} of {name}: {done.how}")
        return None
    planned = plan["memory_bytes"]["total"]
    if planned > budget:
        section.fail(f"{name}: the plan of its largest micro-batch, {largest}, is {planned} bytes")
    return largest, planned


def batch(size):
    return ["--set", f"train.micro_batch={size}", "--set", f"train.global_batch={size}"]


def train(context, section, name, options, budget, largest, planned):
    before = context.gpu.used_mib()
    most = [before]

    def watch(_):
        used = context.gpu.used_mib()
        if used is not None and most[0] is not None:
            most[0] = max(most[0], used)

    *settings, config = options
    short = models.sets(train_steps=STEPS, schedule_warmup_steps=1, eval_every=0, checkpoint_every=0, checkpoint_last="false")
    # A simulated GPU has no more than the budget; a real one has what it has.
    done, _ = context.train(f"run-{name}", config, "--gpus", "0", *settings, *batch(largest), *short,
                            env={"DDP_SIM_MEMORY": str(budget)}, watch=watch)
    if not done.ok:
        section.fail(f"micro-batch {largest} of {name}: {done.how}")
    taken = None if before is None else (most[0] - before)
    section.data.setdefault("runs", []).append(
        {"run": name, "micro_batch": largest, "planned_bytes": planned, "taken_mib": taken})
    return [str(largest), f"{planned / MIB:,.0f}", "n/a" if taken is None else f"{taken:,}",
            "n/a" if taken is None else f"{taken - planned / MIB:+,.0f}", "yes" if done.ok else "**no**", f"{done.seconds:.1f}"]
