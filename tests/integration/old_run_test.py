#!/usr/bin/env python3
"""old_run is a run's folder as a former program wrote it, stopped after 6 of 12 steps: it goes on, and it can be sampled. Its train.yaml
has the keys of today: eval.samples for the eval.batches, of 2 samples each, that the folder tells of. The numbers that
follow are those of the unbroken run then (unbroken.jsonl), but for what another processor's products do to them."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

from harness import LAUNCH, PATIENCE_S, ROOT, main

OLD_RUN = os.path.join(ROOT, "tests", "integration", "old_run")


def losses(path):
    with open(path, encoding="utf-8") as file:
        return {(r["type"], r["step"]): r["loss"] for r in map(json.loads, file)}


class OldRun(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ddp-test-")
        self.addCleanup(folder.cleanup)
        self.folder = os.path.join(folder.name, "old_run")
        shutil.copytree(OLD_RUN, self.folder)

    def launch(self, *args):
        done = subprocess.run([LAUNCH, *args], cwd=self.folder, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S,
                              stdin=subprocess.DEVNULL, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_a_run_of_a_former_program_goes_on_to_the_numbers_it_would_have_had(self):
        for ranks in ("1", "4"):
            with self.subTest(ranks=ranks):
                shutil.rmtree(os.path.join(self.folder, "run"))
                shutil.copytree(os.path.join(OLD_RUN, "run"), os.path.join(self.folder, "run"))
                out = self.launch("--device", "cpu", "--nproc", ranks, "--resume", "auto", "train.yaml")
                self.assertIn("resumed after step 6", out)
                then, now = losses(os.path.join(OLD_RUN, "unbroken.jsonl")), losses(os.path.join(self.folder, "run", "metrics.jsonl"))
                self.assertEqual(sorted(then), sorted(now))
                for key, loss in then.items():
                    self.assertLess(abs(now[key] - loss) / loss, 2**-11, key)  # the rounding of one value to fp16

    def test_a_run_of_a_former_program_can_be_sampled(self):
        out = self.launch("sample", "run", "--prompt", "12 bottles", "--tokens", "8")
        self.assertGreaterEqual(len(out.encode()), len("12 bottles") + 8)


if __name__ == "__main__":
    main()
