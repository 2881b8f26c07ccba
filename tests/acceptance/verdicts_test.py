#!/usr/bin/env python3
"""The verdict on loss curves is right either way, and a report reads as it should: verdicts_test.py SOURCE_ROOT."""
import json
import os
import sys
import tarfile
import tempfile
import unittest

sys.path.insert(0, os.path.join(sys.argv.pop(1), "scripts", "acceptance"))
import verdicts  # noqa: E402
from report import Report, Section  # noqa: E402

CURVE = [5.0 - 0.01 * i for i in range(50)]


def times(factor):
    return [loss * factor for loss in CURVE]


class Curves(unittest.TestCase):
    def holds(self, got, want, tolerance):
        return verdicts.compare(got, want, tolerance)[1]

    def test_what_is_near_enough_holds(self):
        self.assertTrue(self.holds(times(1 + 5e-6), CURVE, verdicts.FP32))
        self.assertTrue(self.holds(times(1 - 2e-4), CURVE, verdicts.FP16))
        self.assertTrue(self.holds(times(1 - 2e-3), CURVE, verdicts.BF16))
        self.assertTrue(self.holds(CURVE, list(CURVE), 0))

    def test_what_is_too_far_does_not(self):
        self.assertFalse(self.holds(times(1 + 2e-5), CURVE, verdicts.FP32))
        self.assertFalse(self.holds(times(1.001), CURVE, verdicts.FP16))
        self.assertFalse(self.holds(times(1.01), CURVE, verdicts.BF16))
        self.assertFalse(self.holds([*CURVE[:-1], CURVE[-1] + 1e-15], CURVE, 0))

    def test_a_curve_that_is_not_whole_does_not(self):
        self.assertFalse(self.holds(CURVE[:-1], CURVE, verdicts.FP32))
        self.assertFalse(self.holds([], [], verdicts.FP32))
        self.assertFalse(self.holds([*CURVE[:-1], None], CURVE, verdicts.FP32))  # NaN, in JSON

    def test_a_line_that_was_being_written_is_left_out(self):
        with tempfile.TemporaryDirectory(prefix="ddp-acceptance-test-") as folder:
            with open(os.path.join(folder, "metrics.jsonl"), "w", encoding="utf-8") as file:
                file.write(json.dumps({"type": "step", "loss": 1.5}) + "\n" + json.dumps({"type": "eval", "loss": 9.0}) + '\n{"type":"st')
            self.assertEqual(verdicts.losses(folder), [1.5])


class Reports(unittest.TestCase):
    def test_it_is_three_files_whatever_the_stages_wrote(self):
        with tempfile.TemporaryDirectory(prefix="ddp-acceptance-test-") as folder:
            out, work = os.path.join(folder, "out"), os.path.join(folder, "work")
            os.makedirs(work)
            for name in ("run.log", "weights.safetensors"):
                with open(os.path.join(work, name), "w", encoding="utf-8") as file:
                    file.write("text\n")
            report = Report(out, False, "gpu_acceptance.sh --bundle 'a b'")
            report.work = [work]
            good, bad, never = (Section(name, "what it is") for name in ("good", "bad", "never"))
            good.status, bad.status, never.why = "passed", "failed", "no time was left"
            bad.fail("a | b\nc")
            report.sections = [good, bad, never]
            report.write()
            report.write()
            self.assertEqual(sorted(os.listdir(out)), ["log.tar.gz", "report.json", "report.md"])
            with open(os.path.join(out, "report.md"), encoding="utf-8") as file:
                text = file.read()
            self.assertIn("Failed: bad.", text)
            self.assertIn("a \\| b c", text)
            self.assertIn("gpu_acceptance.sh --bundle 'a b' --stages never", text)
            with tarfile.open(os.path.join(out, "log.tar.gz")) as tar:
                self.assertEqual(tar.getnames(), ["run.log"])


if __name__ == "__main__":
    unittest.main()
