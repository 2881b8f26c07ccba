#!/usr/bin/env python3
"""The two programs, built in a Debian 13 system by its compiler against its libraries (oneDNN 3), train as those of this machine do. As root, by
what debian_roots.py makes; skipped where it cannot. A first time the system is made, and its packages fetched; ccache keeps what was compiled."""
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

LAUNCH, ROOT = os.environ["DDP_LAUNCH"], os.environ["DDP_SOURCE_ROOT"]  # set by meson
sys.path[:0] = [os.path.join(ROOT, "tests", "support"), os.path.join(ROOT, "tests", "integration")]
import bert_case
import debian_roots

# Only the kernels are optimized, as they always are: what else there is takes longest to compile.
BUILD = """
/srv/scripts/setup.sh
apt-get clean
export CCACHE_DIR=/mnt CCACHE_BASEDIR=/srv CCACHE_NOHASHDIR=1 CCACHE_DEPEND=1
meson setup /tmp/build /srv -Dwerror=true -Dcuda=disabled -Doptimization=0 -Ddebug=false
ninja -C /tmp/build launcher/ddp-launch runtime/rank/ddp-rank
ldd /tmp/build/runtime/rank/ddp-rank
cd /media
launch=/tmp/build/launcher/ddp-launch
"""
STEPS = 20
COMMON = ["--nproc", "2", "--device", "cpu", "--set", f"train.steps={STEPS}", "--set", f"schedule.warmup_steps={STEPS}", "--set", "eval.every=0",
          "--set", "checkpoint.every=0"]
MODELS = {  # all paths in the folder in which both run; GPT-2 at a quarter of its rate, as a high one magnifies what is rounded otherwise
    "gpt2": ["--set", "optimizer.lr=1e-3", "--set", "data.train=text", "--set", "data.valid=text", "configs/gpt2-tiny.yaml"],
    "resnet": ["configs/resnet-tiny.yaml"],
    "bert": ["--set", f"model.vocab={bert_case.VOCAB}", "--set", "data.train=train.bin", "--set", "data.valid=valid.bin",
             "configs/bert-tiny.yaml"],
}
# How far the losses of a step may lie from each other, relatively.
CLOSE = {"fp32": 1e-5, "bf16": 2e-3}


class Debian13(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ddp-test-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        shutil.copytree(os.path.join(ROOT, "configs"), os.path.join(self.folder, "configs"))
        shutil.copy(os.path.join(ROOT, "ARCHITECTURE.md"), os.path.join(self.folder, "text"))
        bert_case.write_tokens(self.folder)

    def losses(self, run):
        with open(os.path.join(self.folder, run, "metrics.jsonl"), encoding="utf-8") as file:
            return [record["loss"] for record in map(json.loads, file) if record["type"] == "step"]

    def run_command(self, command):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, stdin=subprocess.DEVNULL,
                              cwd=self.folder, preexec_fn=lambda: os.nice(5))  # it is long: who measures time goes first
        self.assertEqual(done.returncode, 0, f"{command[-1]}\n{done.stdout[-6000:]}")
        return done.stdout

    def test_its_losses_are_those_of_this_machine(self):
        runs = {f"{model}-{precision}": [*COMMON, "--set", f"train.precision={precision}", *how]
                for model, how in MODELS.items() for precision in CLOSE}
        script = BUILD + "\n".join(f"$launch --output-dir there-{name} {shlex.join(run)}" for name, run in runs.items())
        cache = subprocess.run(["ccache", "--get-config", "cache_dir"], capture_output=True, text=True, check=True).stdout.strip()
        os.makedirs(cache, exist_ok=True)
        said = self.run_command(debian_roots.enter(debian_roots.copied("trixie", "build"), "sh", "-ec", script, user="0:0",
                                                   shown=[(ROOT, "/srv")], writable=[(cache, "/mnt"), (self.folder, "/media")]))
        self.assertIn("libdnnl.so.3", said)
        for name, run in runs.items():
            self.run_command([LAUNCH, "--output-dir", f"here-{name}", *run])
            here, there = self.losses(f"here-{name}"), self.losses(f"there-{name}")
            self.assertEqual((len(here), len(there)), (STEPS, STEPS))
            far = max(abs(a - b) / a for a, b in zip(here, there))
            print(f"{name}: {far:.1e}")
            self.assertLess(far, CLOSE[name.split("-")[1]], name)


if __name__ == "__main__":
    debian_roots.main("trixie", tool="ccache")
