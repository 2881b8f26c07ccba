"""What the integration tests share: runs ddp-launch as a user would, in a folder that is removed afterwards."""
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

LAUNCH = os.environ["DDP_LAUNCH"]  # set by meson
ROOT = os.environ["DDP_SOURCE_ROOT"]

PATIENCE_S = 900  # of a busy machine; a run that hangs ends by itself after train.hang_timeout_s, 600
ATTEMPTS = 10

CONFIG = """
model: {{name: gpt2, layers: 2, heads: 2, width: {width}, context: 32, dropout: {dropout}}}
data: {{format: {format}, train: {folder}/train.txt, valid: {folder}/valid.txt}}
train: {{steps: {steps}, micro_batch: 4, global_batch: 16, seed: 3, deterministic: {deterministic}, bucket_mb: 0.1,
  precision: {precision}}}
optimizer: {{name: adamw, lr: 3e-3}}
schedule: {{name: cosine, warmup_steps: 5, min_lr: 1e-4}}
eval: {{every: 10, samples: 24}}
checkpoint: {{every: 0, keep: 3}}
output_dir: {folder}/run
"""


def default_signals():
    """For Popen's preexec_fn: the tests may run under nohup, or behind a shell's &, of which a program inherits what is ignored."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_DFL)


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def state_of(pid):
    """As /proc's stat has it: T is stopped, Z has ended and is not waited for yet; None: it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return None


class Result:
    def __init__(self, process):
        self.code = process.returncode
        self.out = process.stdout
        self.err = process.stderr

    @property
    def last_line(self):
        lines = [line for line in self.err.splitlines() if line.strip()]
        return lines[-1] if lines else ""


class IntegrationTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ddp-test-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        text = "".join(f"{i} bottles of beer on the wall, {i} bottles of beer; take {i % 7} down. " for i in range(900))
        self.write("train.txt", text)
        self.write("valid.txt", text[:9000])

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "wb" if isinstance(text, bytes) else "w") as file:
            file.write(text)
        return path

    def config(self, **changes):
        values = {"folder": self.folder, "format": "bytes", "steps": 20, "dropout": 0.1, "width": 32, "deterministic": "true",
                  "precision": "fp32"}
        values.update(changes)
        return self.write("train.yaml", CONFIG.format(**values))

    def command(self, *args, config=None):
        return [LAUNCH, *args, config or os.path.join(self.folder, "train.yaml")]

    def launch(self, *args, config=None, expect=0):
        process = subprocess.run(self.command(*args, config=config), capture_output=True, text=True, timeout=PATIENCE_S,
                                 stdin=subprocess.DEVNULL)
        result = Result(process)
        self.assertEqual(result.code, expect, f"exit code of {args}\n{result.out}\n{result.err}")
        return result

    def rank_with_faults(self):
        """A ddp-rank (DDP_RANK) that fails as DIE_AT and FULL_AT say (tests/integration/die_at.cpp). DIE_AT=start: rank 1, at its start."""
        rank = self.write("rank.sh", '#!/bin/sh\n[ "$DIE_AT" = start ] && [ "$RANK" = 1 ] && kill -KILL $$\n'
                          f'LD_PRELOAD={os.environ["DIE_AT_LIBRARY"]} exec {os.environ["DDP_RANK_PROGRAM"]}\n')
        os.chmod(rank, 0o755)
        return rank

    def train_ranks(self, name, ranks, *args, expect=0):
        """On the CPU, into the folder of this name."""
        return self.launch("--device", "cpu", "--nproc", str(ranks), *args, "--output-dir", self.run_folder(name), expect=expect)

    def assert_same_run_with_accuracy(self, name, other, steps):
        """Of runs that count accuracy: losses, gradient norms, skipped steps, evaluations and what is saved."""
        for kind, keys in (("step", ("loss", "grad_norm", "skipped")), ("eval", ("loss", "top1", "top5"))):
            for key in keys:
                self.assertEqual(self.column(key, name, kind), self.column(key, other, kind), f"{name}: {key}")
        self.assertEqual(self.weights_hash(steps, name), self.weights_hash(steps, other), name)

    def wait_until(self, condition, what):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.01)

    def assert_within(self, limit_s, attempt):
        """The best attempt keeps the limit. Load only adds to a time: what is too slow misses it in each. An attempt returns its time."""
        best = attempt()
        for _ in range(ATTEMPTS - 1):
            if best < limit_s:
                return
            best = min(best, attempt())
        self.assertLess(best, limit_s)

    def run_folder(self, name="run"):
        return os.path.join(self.folder, name)

    def records(self, name="run", kind="step"):
        with open(os.path.join(self.run_folder(name), "metrics.jsonl")) as file:
            return [r for r in map(json.loads, file) if r["type"] == kind]

    def evaluations(self, name="run"):
        """Without the time of day, which no two runs have in common."""
        return [{key: value for key, value in r.items() if key != "time"} for r in self.records(name, "eval")]

    def tensors(self, path):
        """The bytes of each tensor of a safetensors file, by name."""
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            data = file.read()
        return {name: data[slice(*tensor["data_offsets"])] for name, tensor in header.items() if name != "__metadata__"}

    def tensor_names(self, path):
        return set(self.tensors(path))

    def model_file(self, step, name="run"):
        return os.path.join(self.run_folder(name), "checkpoints", f"step-{step:08d}", "model.safetensors")

    def column(self, key, name="run", kind="step"):
        """A column of metrics.jsonl as text, so that a comparison is bit for bit."""
        return [repr(r[key]) for r in self.records(name, kind)]

    def weights_hash(self, step, name="run", file="model.safetensors"):
        path = os.path.join(self.run_folder(name), "checkpoints", f"step-{step:08d}", file)
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()


def main():
    unittest.main(verbosity=2, argv=sys.argv)
