#!/usr/bin/env python3
"""How fast the bundle's ddp-rank of each machine type is against a native build: levels.py BUNDLE NATIVE_DDP_RANK [ROUNDS [PRECISION]].

GPT-2 tiny, in fp32 by default, on one rank of two threads, the programs in turn. Medians of a step's time over all rounds, without the
first tenth of each run.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile

STEPS = 100

bundle, native = (os.path.abspath(path) for path in sys.argv[1:3])
rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
precision = sys.argv[4] if len(sys.argv) > 4 else "fp32"
programs = {"native": native}
for program in sorted(os.listdir(os.path.join(bundle, "bin"))):
    if program.startswith("ddp-rank"):
        programs[program] = os.path.join(bundle, "bin", program)

times = {name: [] for name in programs}
for _ in range(rounds):
    for name, program in programs.items():
        with tempfile.TemporaryDirectory() as folder:
            settings = {"train.steps": STEPS, "train.precision": precision, "eval.every": 0, "checkpoint.every": 0}
            command = [os.path.join(bundle, "bin", "ddp-launch"), "--nproc", "1", "--device", "cpu", "--output-dir", folder + "/run",
                       *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")), "configs/gpt2-tiny.yaml"]
            done = subprocess.run(command, cwd=bundle, env={**os.environ, "DDP_RANK": program}, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                print(f"{name}: {done.stderr.strip().splitlines()[-1]}")
                continue
            with open(folder + "/run/metrics.jsonl", encoding="utf-8") as file:
                steps = [record["step_ms"] for record in map(json.loads, file) if record["type"] == "step"]
            times[name] += steps[STEPS // 10:]

for name, measured in times.items():
    if measured and times["native"]:
        median = statistics.median(measured)
        print(f"{name:32} {median:7.2f} ms a step, {statistics.median(times['native']) / median:.3f} of the native build's speed")
