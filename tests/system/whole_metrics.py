#!/usr/bin/env python3
"""whole_metrics.py METRICS LAST: every step from 1 to LAST has one line, in order, however often the run was stopped in between."""
import json
import sys

path, last = sys.argv[1], int(sys.argv[2])
with open(path) as file:
    steps = [record["step"] for record in map(json.loads, file) if record["type"] == "step"]
if steps != list(range(1, last + 1)):
    broken = next((i for i, step in enumerate(steps) if step != i + 1), len(steps))
    sys.exit(f"{path}: {len(steps)} steps, wanted 1 to {last}; the first line that differs is {broken + 1}: {steps[broken:broken + 1]}")
