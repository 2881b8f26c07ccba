"""What the tests of the bundle share: the .tar.xz that scripts/bundle.sh made, unpacked where nobody expected it."""
import glob
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import unittest

ROOT = os.environ["DDP_SOURCE_ROOT"]  # set by meson
SKIPPED = 77

OPTIONS = ["--device", "cpu", "--set", "train.steps=20", "--set", "schedule.warmup_steps=5", "--set", "eval.every=0",
           "--set", "checkpoint.every=0"]


def archive():
    """Where the bundle is; ends the test as skipped where none was made."""
    found = glob.glob(os.path.join(ROOT, "build-bundle", "ddp-launch-*-linux-x86_64.tar.xz"))
    if not found:
        print("no bundle: scripts/bundle.sh --tests makes one")
        sys.exit(SKIPPED)
    assert len(found) == 1, found
    return found[0]


class BundleTest(unittest.TestCase):
    """Each class of tests has one unpacked bundle, `top`, in a folder with a space; each test has a folder of its own."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="ddp test ")
        cls.addClassCleanup(folder.cleanup)
        with tarfile.open(archive()) as tar:
            tar.extractall(folder.name)
        cls.top = os.path.join(folder.name, os.listdir(folder.name)[0])
        cls.launch = os.path.join(cls.top, "bin", "ddp-launch")

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ddp-test-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def run_command(self, command, expect=0, **options):
        """Runs it in the bundle's folder, as configs and data are named from there."""
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=self.top, **options)
        self.assertEqual(done.returncode, expect, f"{command}\n{done.stdout}\n{done.stderr}")
        return done

    def assert_one_line(self, text, *words):
        self.assertEqual(len(text.splitlines()), 1, text)
        for word in words:
            self.assertIn(word, text)

    def losses(self, name, ranks=2, **environment):
        """The losses of a run in `self.folder`/name."""
        run = os.path.join(self.folder, name)
        self.run_command([self.launch, "--nproc", str(ranks), *OPTIONS, "--output-dir", run, "configs/gpt2-tiny.yaml"],
                         env={**os.environ, **environment})
        with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as file:
            return [record["loss"] for record in map(json.loads, file) if record["type"] == "step"]
