"""What the tests of ddp-launch on simulated GPUs share. What they prove is about our kernels and host code, not about
cuBLAS, NCCL or a GPU."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DDP_SOURCE_ROOT"], "tests", "integration"))
from harness import PATIENCE_S, IntegrationTest, main  # noqa: E402, F401

CHECKED = os.environ.get("DDP_CHECKED_MODULE")  # every access of a kernel is checked: where there is a clang++
CAMPAIGN = os.environ.get("DDP_SIM_CAMPAIGN")  # also what takes minutes
SIMULATOR = ("DDP_SIM_CAPABILITY", "DDP_SIM_COUNTS", "DDP_SIM_FAULT", "DDP_SIM_SEED", "DDP_SIM_STREAMS", "DDP_SIM_DRIVER", "DDP_SIM_GPUS",
             "DDP_SIM_NCCL", "DDP_SHARE_GPU", "DDP_CUDA_MODULE")

CONFIG = """
model: {{name: gpt2, layers: 2, heads: {heads}, width: {width}, context: {context}, dropout: {dropout}}}
data: {{format: bytes, train: {folder}/train.txt, valid: {folder}/valid.txt}}
train: {{steps: {steps}, micro_batch: 1, global_batch: {batch}, seed: 3, deterministic: {deterministic}, bucket_mb: 0.1, clip_norm: 1.0}}
optimizer: {{name: adamw, lr: {lr}}}
schedule: {{name: cosine, warmup_steps: {warmup}, min_lr: 1e-5}}
eval: {{every: 0, samples: 2}}
checkpoint: {{every: 0}}
output_dir: {folder}/run
"""
# A simulated step takes as long as its attention has threads, so these are small: the kernels' own tests have all sizes. Where bytes are
# counted it is 64 tokens: what an embedding's gradient reads depends on the batch, and is the same for those of the counted steps.
HEAD_WIDTH, CONTEXT, COUNTED_CONTEXT = 64, 32, 64
GRAPHS = ("--set", "train.cuda_graph=true")


class SimulatedTraining(IntegrationTest):
    def setUp(self):
        super().setUp()
        saved = {name: os.environ.get(name) for name in SIMULATOR}
        self.addCleanup(lambda: [self.setenv(name, value) for name, value in saved.items()])
        self.setenv("DDP_SIM_GPUS", "4")

    @staticmethod
    def setenv(name, value):
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)

    def configure(self, steps=3, batch=4, dropout=0.1, deterministic="false", lr=1e-3, heads=1, context=CONTEXT):
        text = CONFIG.format(folder=self.folder, steps=steps, warmup=min(20, steps), batch=batch, dropout=dropout,
                             deterministic=deterministic, lr=lr, heads=heads, width=HEAD_WIDTH * heads, context=context)
        self.write("train.yaml", text)

    def train(self, name, *args, seed=1, streams="late"):
        self.setenv("DDP_SIM_SEED", str(seed))
        self.setenv("DDP_SIM_STREAMS", streams)
        self.launch(*args, "--output-dir", self.run_folder(name))
        return [r["loss"] for r in self.records(name)]

    def close(self, a, b, tolerance=1e-5):
        self.assertEqual(len(a), len(b))
        for step, (x, y) in enumerate(zip(a, b), 1):
            self.assertLess(abs(x - y) / abs(x), tolerance, f"step {step}: {x} and {y}")

    def refused(self, words, *args, expect=64):
        line = self.launch(*args, expect=expect).last_line
        for word in words:
            self.assertIn(word, line)

    def same_bits(self, one, other, steps):
        for column in ("loss", "grad_norm"):
            self.assertEqual(self.column(column, one), self.column(column, other))
        self.assertEqual(self.weights_hash(steps, one), self.weights_hash(steps, other))

    def counts(self, steps, *args, batch=2):
        """What rank 0 asked of the GPU in a whole run, flat: "kernels/adamw/launches" and so on."""
        self.configure(steps=steps, batch=batch, context=COUNTED_CONTEXT)
        name = " ".join(["counted", str(steps), str(batch), *args])
        self.setenv("DDP_SIM_COUNTS", os.path.join(self.folder, name))
        self.train(name, "--gpus", "0,1", *args)
        flat = {}
        with open(os.environ["DDP_SIM_COUNTS"] + ".0") as file:
            for group, entries in json.load(file).items():
                for name, value in entries.items():
                    values = value if isinstance(value, dict) else {"calls": value}
                    flat.update({f"{group}/{name}/{key}": n for key, n in values.items()})
        return flat
