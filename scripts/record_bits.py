#!/usr/bin/env python3
"""Whether a change left the numbers alone: trains a small GPT-2 in every way that has bits of its own and prints what they hash to.

usage: record_bits.py [BUILD]. A line a run, 50 steps each: the loss column of metrics.jsonl and model.safetensors. To be run before and
after a change that may not touch them, on one machine (the processor decides how products add); the two outputs must be equal. The
simulated GPUs are part of a build that found CUDA's headers.
"""
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile

STEPS = 50
CONFIG = """
model: {{name: gpt2, layers: 2, heads: 2, width: 128, context: 32, dropout: 0.1}}
data: {{format: bytes, train: {folder}/train.txt}}
train: {{steps: {steps}, micro_batch: 2, global_batch: 16, seed: 3, bucket_mb: 0.1, threads_per_rank: 1}}
optimizer: {{name: adamw, lr: 3e-3}}
schedule: {{name: cosine, warmup_steps: 5, min_lr: 1e-4}}
output_dir: {folder}/run
"""


def sha256(data):
    return hashlib.sha256(data).hexdigest()[:32]


def environment(build, simulated):
    env = dict(os.environ)
    if simulated:
        sim = os.path.join(build, "tests", "cuda_sim")
        env.update(DDP_CUDA_MODULE=os.path.join(sim, "api", "libddp-cuda-sim.so"), DDP_NVML=os.path.join(sim, "api", "libsim-nvml.so"),
                   DDP_SIM_GPUS="4", DDP_SIM_SEED="1", DDP_SIM_STREAMS="late", DDP_SIM_CAPABILITY="8.0")
    return env


def train(build, device, ranks, precision, deterministic):
    with tempfile.TemporaryDirectory(prefix="ddp-bits-") as folder:
        with open(os.path.join(folder, "train.txt"), "w", encoding="ascii") as file:
            file.write("".join(f"{i} bottles of beer on the wall, {i} bottles of beer; take {i % 7} down. " for i in range(900)))
        config = os.path.join(folder, "train.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(folder=folder, steps=STEPS))
        where = ["--gpus", ",".join(map(str, range(ranks)))] if device == "simulated" else ["--device", "cpu", "--nproc", str(ranks)]
        keys = [f"train.precision={precision}", f"train.deterministic={deterministic}"]
        command = [os.path.join(build, "launcher", "ddp-launch"), *where, *(word for key in keys for word in ("--set", key)), config]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment(build, device == "simulated"))
        run = os.path.join(folder, "run")
        with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as file:
            losses = [repr(r["loss"]) for r in map(json.loads, file) if r["type"] == "step"]
        with open(os.path.join(run, "checkpoints", f"step-{STEPS:08d}", "model.safetensors"), "rb") as file:
            return sha256("\n".join(losses).encode()), sha256(file.read())


def main():
    build = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build")
    print(f"{'device':<10} {'ranks':>5} {'precision':<9} {'deterministic':<13} {'loss column':<32} weights")
    for device, ranks, (precision, deterministic) in itertools.product(
            ("cpu", "simulated"), (1, 4), (("fp32", "false"), ("fp16", "false"), ("fp32", "true"))):
        loss, weights = train(build, device, ranks, precision, deterministic)
        print(f"{device:<10} {ranks:>5} {precision:<9} {deterministic:<13} {loss} {weights}", flush=True)


if __name__ == "__main__":
    main()
