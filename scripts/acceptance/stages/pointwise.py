"""The 1x1 convolutions of ResNet-50: as linear layers by cuBLASLt, which is what the product does, beside cuDNN's."""
import json
import os

BATCH = 128


def run(context, section):
    rows = []
    sizes = context.toy(["--batch", str(BATCH)], ["--batch", "1", "--image", "32", "--repetitions", "1"])
    section.text(f"{context.toy(BATCH, 1)} images; ms of a call; a step has each as often as `calls` says. Where the stride is 2, ours reads "
                 "and writes every second position in a pass of its own. cuDNN's weight gradient is cast to f32. A ratio above 1: ours is "
                 "faster.")
    section.table(["precision", "layer", "pass", "calls", "cuBLASLt, ms", "cuDNN, ms", "ratio"], rows)
    section.data["runs"] = []
    for precision in context.toy(context.gpu.precisions()[:2], ["fp16"]):
        path = os.path.join(context.folder, precision + ".json")
        done = context.run(precision, [context.bin("bench_pointwise"), "--precision", precision, *sizes, "--json", path])
        if not done.ok or not os.path.exists(path):
            section.fail(f"{precision}: {done.how}")
            continue
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
        section.data["runs"].append(result)
        rows += [row(precision, p["layer"], p["pass"], str(p["calls"]), p["linear_ms"], p["cudnn_ms"]) for p in result["passes"]]
        rows.append(row(precision, "a step", "all", "", result["linear_ms"], result["cudnn_ms"]))


def row(precision, layer, name, calls, linear_ms, cudnn_ms):
    if cudnn_ms is None:  # no plan that gives the same bits every time
        return [precision, layer, name, calls, f"{linear_ms:.4f}", "n/a", "n/a"]
    return [precision, layer, name, calls, f"{linear_ms:.4f}", f"{cudnn_ms:.4f}", f"{cudnn_ms / linear_ms:.2f}"]
