#!/usr/bin/env python3
"""The tables of gpu_acceptance.sh from the runs it made: tables.py FOLDER. Exits 1 when a curve is not what it must be.

FOLDER has a run folder each: cpu, gpu1, gpu1-again, gpu2, gpu1-fp16, ... of curve.yaml; speed1-fp32, speed4-fp16, ... of speed.yaml.
"""
import json
import os
import re
import statistics
import sys

# Relative. CPU and GPU sum in different orders; 16 bits differ from fp32 by less than one rounding of their type.
FP32, FP16, BF16 = 1e-5, 2.0**-11, 2.0**-8
WARM_UP = 10      # steps left out of the medians

folder = sys.argv[1]
ok = True


def steps(name):
    path = os.path.join(folder, name, "metrics.jsonl")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [record for record in map(json.loads, file) if record["type"] == "step"]


def compare(name, want_name, tolerance):
    got, want = ([record["loss"] for record in steps(n)] for n in (name, want_name))
    demand = f"within {tolerance:g}" if tolerance else "the same bits"
    if not want or len(got) != len(want):
        return f"| {name} | {want_name} | {demand} | {len(got)} of {len(want)} steps | **no** |", False
    worst = max(abs(a - b) / abs(b) for a, b in zip(got, want))
    good = worst <= tolerance
    return f"| {name} | {want_name} | {demand} | {worst:.2e} | {'yes' if good else '**no**'} |", good


print("## Loss curves\n")
print("50 steps of GPT-2 with 2 layers, width 128, context 64; fp32 unless the name says otherwise, and `deterministic: true` but where "
      "it says allreduce.\n")
print("| run | against | demanded | largest relative difference | holds |\n|---|---|---|---|---|")
rows = [("gpu1", "cpu", FP32), ("gpu1-again", "gpu1", 0), ("gpu1-graphs", "gpu1", 0), ("gpu1-fp16", "cpu", FP16),
        ("gpu1-fp16-graphs", "gpu1-fp16", 0)]
optional = [("gpu2", "gpu1", 0), ("gpu4", "gpu1", 0), ("gpu2-fp16", "gpu1-fp16", 0), ("gpu4-fp16", "gpu1-fp16", 0),
            ("gpu2-allreduce", "cpu", FP32), ("gpu4-allreduce", "cpu", FP32), ("gpu2-graphs", "gpu1", 0), ("gpu4-graphs", "gpu1", 0),
            ("gpu1-bf16", "cpu", BF16)]
rows += [row for row in optional if os.path.exists(os.path.join(folder, row[0]))]
for row in rows:
    line, good = compare(*row)
    ok = ok and good
    print(line)

print("\n## Speed\n")
print("GPT-2 small (124M), context 1024, micro-batch 4 a GPU in fp32 and 16 in fp16; medians of the steps after the tenth. "
      "A step in graphs has no stamp between backward and all-reduce, so no exposed communication.\n")
print("| GPUs | run | tokens/s | ms a step | exposed communication, ms | waiting for data, ms | against one GPU |")
print("|---|---|---|---|---|---|---|")


def median(records, key):
    values = [record[key] for record in records if record[key] is not None]
    return statistics.median(values) if values else None


speeds = {}
for name in sorted(os.listdir(folder)):
    match = re.fullmatch(r"speed(\d+)-(.+)", name)
    measured = steps(name)[WARM_UP:] if match else []
    if not measured:
        continue
    gpus, variant = int(match.group(1)), match.group(2)
    speed = speeds[gpus, variant] = median(measured, "tokens_per_s")
    exposed = median(measured, "exposed_comm_ms")
    times = f"{speed / speeds[1, variant]:.2f} x" if (1, variant) in speeds else "n/a"
    print(f"| {gpus} | {variant} | {speed:,.0f} | {median(measured, 'step_ms'):.1f} | "
          f"{'n/a' if exposed is None else f'{exposed:.2f}'} | {median(measured, 'data_wait_ms'):.2f} | {times} |")
ok = ok and (1, "fp32") in speeds and (1, "fp16") in speeds
sys.exit(0 if ok else 1)
