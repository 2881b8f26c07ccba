"""GPT-2 small in each precision, eager and as graphs: tokens a second, the share of the GEMM peak measured beside it, a table by op."""
import json
import math
import os

CONTEXT, BATCH, STEPS = 1024, 16, 20
TOY = ["--layers", "1", "--width", "64", "--heads", "1", "--vocab", "256"]
MIB = 1 << 20


def run(context, section):
    rows, section.data["runs"] = [], []
    section.text(f"GPT-2 small, context {CONTEXT}, one GPU; medians of {STEPS} steps. MFU: of the largest matrix product's speed in this "
                 "run and this precision; causal attention counts as half. Used: device memory as the device reports it."
                 if not context.simulated else "One layer of width 64, context 64.")
    section.table(["precision", "mode", "micro-batch", "step, ms", "host, ms", "tokens/s", "MFU", "peak, TFLOP/s", "planned, MiB",
                   "used, MiB"], rows)
    for precision in context.gpu.precisions():
        batch = batch_that_fits(context, precision)
        for graphs in (False, True):
            name = f"{precision}-graphs" if graphs else precision
            path = os.path.join(context.folder, name + ".json")
            argv = [context.bin("bench_step"), "--device", "cuda", "--precision", precision, "--batch", str(batch),
                    "--context", str(context.toy(CONTEXT, 64)), "--steps", str(context.toy(STEPS, 2)), *context.toy([], TOY),
                    *(["--graphs", "--no-ops"] if graphs else []), "--json", path]
            done = context.run(name, argv)
            if not done.ok or not os.path.exists(path):
                section.fail(f"{name}: {done.how}")
                continue
            with open(path, encoding="utf-8") as file:
                result = json.load(file)
            section.data["runs"].append(result)
            rows.append(row_of(precision, graphs, result))
            if result["loss"] is None or not math.isfinite(result["loss"]):
                section.fail(f"{name}: the loss is {result['loss']}")
            if not 0 < result["mfu"] <= 1:
                section.fail(f"{name}: {result['mfu']:.2f} of the peak that was measured cannot be")
            if not graphs:
                section.table(["op", "calls", "ms", "of the step", "TFLOP/s", "GB/s"], op_rows(result),
                              f"By op, {precision}, a step of {result['step_ms']:.2f} ms:")


def batch_that_fits(context, precision):
    """The usual micro-batch, or the largest below it that the plan allows in most of the GPU's memory."""
    done = context.run(f"plan-{precision}", [
        context.bin("ddp-launch"), "plan", "--gpus", "0", "--memory", str(int(context.gpu.memory_bytes * 0.85)), "--json",
        *as_text_of_bytes(), "--set", f"train.precision={precision}", "configs/gpt2-small.yaml"])
    largest = json.loads(done.text[done.text.index("{"):])["largest_micro_batch"]["micro_batch"] if done.ok else BATCH
    return max(1, min(context.toy(BATCH, 1), largest))


def as_text_of_bytes():
    """gpt2-small.yaml on the text that the bundle has: bytes are tokens too, the vocabulary stays GPT-2's."""
    return ["--set", "data.format=bytes", "--set", "data.train=data/kjv/train.txt", "--set", "data.valid=data/kjv/valid.txt"]


def row_of(precision, graphs, r):
    return [precision, "graphs" if graphs else "eager", str(r["batch"]), f"{r['step_ms']:.2f}", f"{r['host_ms']:.2f}",
            f"{r['units_per_s']:,.0f}", f"{100 * r['mfu']:.1f}%", f"{r['ceiling_tflops']:.1f}", f"{r['planned_bytes'] / MIB:,.0f}",
            f"{r['used_bytes'] / MIB:,.0f}"]


def op_rows(result):
    rows = []
    for op in sorted(result["ops"], key=lambda op: -op["ms"]):
        seconds = op["ms"] / 1e3
        rate = (lambda amount, unit: f"{amount / seconds / unit:.1f}" if amount and seconds > 0 else "")
        rows.append([op["name"], str(op["calls"]), f"{op['ms']:.3f}", f"{100 * op['ms'] / result['step_ms']:.1f}%", rate(op["flops"], 1e12),
                     rate(op["bytes"], 1e9)])
    return rows
