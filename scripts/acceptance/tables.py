#!/usr/bin/env python3
"""The tables of gpu_acceptance.sh from the runs it made: tables.py FOLDER. Exits 1 when a curve is not what it must be.

FOLDER has a run folder each: cpu, gpu1, gpu1-again, gpu2 and gpu4 of curve.yaml; speed1 and speedN of speed.yaml.
"""
import json
import os
import re
import statistics
import sys

TOLERANCE = 1e-5  # relative, fp32: CPU and GPU sum in different orders
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
print("50 steps of GPT-2 with 2 layers, width 128, context 64, fp32, `deterministic: true`.\n")
print("| run | against | demanded | largest relative difference | holds |\n|---|---|---|---|---|")
rows = [("gpu1", "cpu", TOLERANCE), ("gpu1-again", "gpu1", 0)]
rows += [(name, "gpu1", 0) for name in ("gpu2", "gpu4") if os.path.exists(os.path.join(folder, name))]
for row in rows:
    line, good = compare(*row)
    ok = ok and good
    print(line)

print("\n## Speed\n")
print("GPT-2 small (124M), context 1024, micro-batch 4 a GPU, fp32; medians of the steps after the tenth.\n")
print("| GPUs | tokens/s | ms a step | exposed communication, ms | waiting for data, ms | against one GPU |\n|---|---|---|---|---|---|")
speeds = {}
for name in sorted(os.listdir(folder)):
    match = re.fullmatch(r"speed(\d+)", name)
    measured = steps(name)[WARM_UP:] if match else []
    if not measured:
        continue
    gpus = int(match.group(1))
    column = {key: statistics.median(r[key] for r in measured) for key in ("tokens_per_s", "step_ms", "exposed_comm_ms", "data_wait_ms")}
    speeds[gpus] = column["tokens_per_s"]
    times = f"{speeds[gpus] / speeds[1]:.2f} x" if 1 in speeds else "n/a"
    print(f"| {gpus} | {column['tokens_per_s']:,.0f} | {column['step_ms']:.1f} | {column['exposed_comm_ms']:.2f} | "
          f"{column['data_wait_ms']:.2f} | {times} |")
ok = ok and bool(speeds)
sys.exit(0 if ok else 1)
