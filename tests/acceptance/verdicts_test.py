#!/usr/bin/env python3
"""The verdict on loss curves is right either way, and a report reads as it should: verdicts_test.py SOURCE_ROOT."""
import json
import os
import sys
import tarfile
import tempfile
import types
import unittest

ROOT = sys.argv.pop(1)
sys.path[:0] = [os.path.join(ROOT, "scripts", "acceptance"), os.path.join(ROOT, "tests", "integration")]
import run  # noqa: E402
import verdicts  # noqa: E402
from report import Report, Section  # noqa: E402
from stages import STAGES, backends, curve  # noqa: E402

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


class Made(types.SimpleNamespace):
    """Stands in for a stage's context: runs write curves as they are planted, by the run's name; of the others CURVE."""

    def train(self, name, *_, env=None):
        folder = os.path.join(self.folder, name)
        os.makedirs(os.path.join(folder, "logs"))
        with open(os.path.join(folder, "logs", "rank-0.log"), "w", encoding="utf-8") as file:
            file.write(f"begins\nCUDA backend: {(env or {}).get('DDP_CUDA_MODULE', '/lib/13.so')}\n")
        with open(os.path.join(folder, "metrics.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"type": "step", "loss": loss}) + "\n" for loss in self.planted.get(name, CURVE))
        return types.SimpleNamespace(ok=True, seconds=0.0), folder


class CurveStages(unittest.TestCase):
    STAGES = {"gpt2": ("", verdicts.FP32), "bert": ("classify-", verdicts.FP32), "resnet": ("", verdicts.FP32_BATCH_NORM)}

    def failures(self, model, planted):
        with tempfile.TemporaryDirectory(prefix="ddp-acceptance-test-") as folder:
            gpu = types.SimpleNamespace(precisions=lambda: ["bf16", "fp16", "tf32"])
            section = Section(model, "curves")
            getattr(curve, "run_" + model)(Made(folder=folder, gpu=gpu, planted=planted, toy=lambda real, _: real, script=str), section)
            return section.failures

    def test_right_curves_hold(self):
        for model, (prefix, fp32) in self.STAGES.items():
            near = {prefix + name: times(1 + fp32 / 2) for name in ("gpu", "gpu-again", "gpu-graphs")}
            self.assertEqual(self.failures(model, near), [], model)

    def test_a_wrong_curve_fails_and_is_named(self):
        for model, (prefix, fp32) in self.STAGES.items():
            for run_name, factor in (("gpu-again", 1 + 1e-12), ("gpu-graphs", 1 + 1e-12), ("gpu-fp16", 1.001), ("gpu-bf16", 1.01),
                                     ("gpu-bf16-graphs", 1 + 1e-12)):
                failures = self.failures(model, {prefix + run_name: times(factor)})
                self.assertTrue(any(text.startswith((prefix + run_name).replace("-", " ") + " against") for text in failures), failures)
            self.assertIn("gpu against", self.failures(model, {f"{prefix}gpu": times(1 + 1.5 * fp32)})[0])

    def test_a_curve_that_is_not_there_fails(self):
        for model, (prefix, _) in self.STAGES.items():
            self.assertIn("0 of 50 steps", self.failures(model, {f"{prefix}gpu-again": []})[0])


class Backends(unittest.TestCase):
    """Of a machine whose launcher takes /lib/13.so, and that may have /lib/12.so too."""
    LIBRARIES = {"libcublasLt.so.12": "/there", "libnccl.so.2": None, "libcudnn.so.9": "/there"}

    def section(self, planted=(), driver="13.0", libraries=(), no_cudnn=None, ops="All tests passed (9 assertions in 3 test cases)"):
        found = {"driver": driver, "modules": [{"path": "/lib/13.so", "series": 13, "libraries": {}},
                                               {"path": "/lib/12.so", "series": 12, "libraries": {**self.LIBRARIES, **dict(libraries)}}]}
        calls = []

        def answer(name, _, env=None):
            calls.append((name, (env or {}).get("DDP_CUDA_MODULE")))
            return types.SimpleNamespace(ok=True, seconds=0.0, how="", text=json.dumps({"cuda": found}) if name == "version" else ops)

        with tempfile.TemporaryDirectory(prefix="ddp-acceptance-test-") as folder:
            section = Section("backends", "backends")
            backends.run(Made(folder=folder, planted=dict(planted), toy=lambda real, _: real, script=str, bin=str, run=answer, simulated=False,
                              no_cudnn=no_cudnn), section)
        return section, calls

    def test_the_other_backend_is_tested_and_trains_twice(self):
        section, calls = self.section({"CUDA-12": times(1 + 5e-6), "CUDA-12-again": times(1 + 5e-6)})
        self.assertEqual((section.failures, section.status), ([], "not run"))  # which whoever runs the stage sets
        self.assertEqual(calls[1:], [("CUDA-12-attention", "/lib/12.so"), ("CUDA-12-ops", "/lib/12.so")])

    def test_what_is_wrong_with_it_is_named(self):
        for planted, words in (({"CUDA-12": times(1 + 2e-5), "CUDA-12-again": times(1 + 2e-5)}, "CUDA 12 against chosen"),
                               ({"CUDA-12-again": times(1 + 1e-12)}, "CUDA 12 again against CUDA 12")):
            failures = self.section(planted)[0].failures
            self.assertEqual(len(failures), 1, failures)
            self.assertIn(words, failures[0])
        self.assertEqual(len(self.section(ops="test cases: 3 | 2 passed | 1 failed")[0].failures), 2)

    def test_one_that_this_machine_cannot_run_is_no_failure(self):
        for machine in ({"libraries": {"libcublasLt.so.12": None}}, {"libraries": {"libcudnn.so.9": None}}, {"driver": "11.8"}):
            section, calls = self.section(**machine)
            self.assertEqual((section.failures, section.status, len(calls)), ([], "not available", 1), machine)
        self.assertEqual(len(self.section(libraries={"libcudnn.so.9": None}, no_cudnn="none")[1]), 3)


class Arguments(unittest.TestCase):
    def stages(self, *words):
        return run.parse(["--bundle", "b", *words]).stages

    def test_stages_are_chosen_by_names_and_patterns_in_their_order(self):
        self.assertEqual(self.stages("--stages", "memory-bert,curve-*"), ["curve-gpt2", "curve-bert", "curve-resnet", "memory-bert"])
        self.assertEqual(self.stages("--stages", "*"), [stage.name for stage in STAGES])

    def test_what_takes_long_or_is_seldom_there_is_run_where_asked_for(self):
        self.assertEqual(set(self.stages("--stages", "*")) - set(self.stages()), {"share", "sanitizer", "compile"})

    def test_no_stage_takes_more_than_a_minute_but_the_compiler(self):
        self.assertEqual([stage.name for stage in STAGES if stage.limit > 60], ["compile"])


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
