"""Loss curves, and what they must have in common."""
import json
import os

# Relative. CPU and GPU sum in different orders; tf32 rounds factors as fp16 does; 16 bits differ from fp32 by less than one rounding of
# their type.
FP32, TF32, FP16, BF16 = 1e-5, 2.0**-11, 2.0**-11, 2.0**-8
FP32_BATCH_NORM = 3e-5  # of a model that divides by deviations of a few values, as the simulated ResNet's curve is held to
OF_PRECISION = {"fp32": FP32, "tf32": TF32, "fp16": FP16, "bf16": BF16}


def losses(run_folder):
    """The losses of a run's steps, bit for bit; none where there are none."""
    path = os.path.join(run_folder, "metrics.jsonl")
    if not os.path.exists(path):
        return []
    found = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                break  # its writer was killed
            record = json.loads(line)
            if record["type"] == "step":
                found.append(record["loss"])
    return found


def largest_difference(got, want):
    """Relative; None where the curves cannot be compared: none at all, another length, or what is not a number (null in JSON)."""
    if not want or len(got) != len(want) or None in got or None in want:
        return None
    return max(abs(a - b) / abs(b) for a, b in zip(got, want))


def compare(got, want, tolerance):
    """(what was found, whether it holds); tolerance 0: the same bits."""
    worst = largest_difference(got, want)
    if worst is None:
        return f"{len(got)} of {len(want)} steps, or a loss that is not finite", False
    return f"{worst:.2e}", worst <= tolerance


def demand(tolerance):
    return f"within {tolerance:.2g}" if tolerance else "the same bits"
