"""ddp-launch eval: what a training run's evaluation of that checkpoint says, bit for bit, and nothing in the run's folder is changed."""
import json
import math
import os
import shutil
import signal
import subprocess
import threading
import time

import harness

# Steps 10, 20 and 30 are evaluated and kept.
STEPS = 30
SETTINGS = ("checkpoint.every=10", "checkpoint.keep=9", "checkpoint.best=loss")

RESNET = """
model: {{name: resnet, block: basic, blocks: [1, 1], width: 8, stem: small, image_size: 8, classes: 4}}
data: {{format: synthetic, train: 400, valid: 97}}
train: {{steps: 6, micro_batch: 4, global_batch: 8, seed: 3}}
optimizer: {{name: sgd, lr: 0.1, momentum: 0.9}}
eval: {{every: 6, samples: 120}}
checkpoint: {{every: 0}}
output_dir: {folder}/images
"""


class Eval(harness.IntegrationTest):
    def setUp(self):
        super().setUp()
        self.config(steps=STEPS)

    def train(self, name="run", *args, expect=0):
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        return self.launch("--nproc", "2", "--device", "cpu", *settings, "--output-dir", self.run_folder(name), *args, expect=expect)

    def evaluate(self, subject, *args, expect=0):
        return self.launch("eval", "--device", "cpu", *args, config=subject, expect=expect)

    def result(self, subject, *args):
        run = self.evaluate(subject, "--json", *args)
        self.assertEqual(run.out.count("\n"), 1, run.out)
        return json.loads(run.out)

    def checkpoint(self, step, name="run"):
        return os.path.dirname(self.model_file(step, name))

    def contents(self, name="run"):
        """Every entry of a run's folder with its time and its bytes."""
        found = {}
        for folder, _, files in os.walk(self.run_folder(name)):
            for path in [folder, *(os.path.join(folder, file) for file in files)]:
                with open(path, "rb") if os.path.isfile(path) else open(os.devnull, "rb") as file:
                    found[path] = (os.stat(path).st_mtime_ns, file.read())
        return found

    def assert_refused(self, code, says, *args):
        run = self.launch("eval", *args[1:], config=args[0], expect=code)
        self.assertEqual(run.out, "")
        for word in [says] if isinstance(says, str) else says:
            self.assertIn(word, run.last_line)

    def test_the_result_is_the_trainings_bit_for_bit_on_every_number_of_ranks(self):
        for precision in ["fp32", "fp16"]:
            self.config(steps=STEPS, precision=precision)
            self.train(precision)
            before = self.contents(precision)
            for evaluated in self.records(precision, "eval"):
                for ranks in ["1", "2", "3", "5"] if evaluated["step"] == 20 else ["2"]:
                    got = self.result(self.checkpoint(evaluated["step"], precision), "--nproc", ranks)
                    for key in ["step", "loss", "bits_per_byte"]:
                        self.assertEqual(repr(got[key]), repr(evaluated[key]), f"{precision}, {ranks} ranks: {key}")
                    self.assertEqual(got["samples"], 24)
                    self.assertEqual(got["source"], self.checkpoint(evaluated["step"], precision))
                    self.assertEqual(got["perplexity"], math.exp(got["loss"]))
            self.assertEqual(self.contents(precision), before)

    def test_pictures_have_top_1_and_top_5_and_the_models_state(self):
        config = self.write("images.yaml", RESNET.format(folder=self.folder))
        self.launch("--nproc", "2", config=config)
        (evaluated,) = self.records("images", "eval")
        for ranks in ["1", "3"]:
            got = self.result(self.run_folder("images"), "--nproc", ranks)
            for key in ["loss", "top1", "top5"]:
                self.assertEqual(float(got[key]), float(evaluated[key]), key)
            self.assertEqual((got["samples"], got["perplexity"], got["bits_per_byte"]), (97, None, None))
        line = self.evaluate(self.run_folder("images"))
        self.assertRegex(line.out, r"^eval at step 6: loss \d\.\d{4}, top1 \d+\.\d\d%, top5 100\.00%, 97 samples in \d+\.\d\d s\n$")
        self.assertEqual(line.err, "")

    def test_a_run_is_its_newest_good_checkpoint_and_a_checkpoint_needs_no_run(self):
        self.train()
        of = {r["step"]: r["loss"] for r in self.records(kind="eval")}
        self.assertEqual(self.result(self.run_folder())["loss"], of[30])
        best = self.result(os.path.join(self.run_folder(), "checkpoints", "best"))
        self.assertEqual(best["loss"], min(of.values()))
        alone = shutil.copytree(self.checkpoint(10), os.path.join(self.folder, "alone"))
        self.assertEqual(self.result(alone)["loss"], of[10])
        with open(self.model_file(30), "r+b") as file:
            file.truncate(1000)
        run = self.evaluate(self.run_folder())
        self.assertTrue(run.out.startswith("eval at step 20: "), run.out)
        self.assertIn("checkpoint of step 30 is passed over", run.err)
        self.assert_refused(65, "model.safetensors has 1000 bytes", self.checkpoint(30))
        for step in [10, 20]:
            os.remove(os.path.join(self.checkpoint(step), "optimizer.safetensors"))
        self.assert_refused(65, "none of the 3 checkpoints", self.run_folder())

    def test_what_is_evaluated_on_and_how_may_be_set(self):
        self.train()
        with open(os.path.join(self.folder, "train.txt"), encoding="utf-8") as file:
            self.write("other.txt", file.read()[5000:7000])
        whole = self.result(self.run_folder())
        other = self.result(self.run_folder(), "--set", f"data.valid={self.folder}/other.txt", "--set", "eval.samples=0")
        self.assertEqual(other["samples"], (2000 - 1) // 32)
        self.assertNotEqual(other["loss"], whole["loss"])
        by_ones = self.result(self.run_folder(), "--set", "train.micro_batch=1", "--set", "eval.samples=24", "--nproc", "4")
        self.assertEqual(by_ones["samples"], 24)
        self.assertEqual(by_ones["loss"], whole["loss"])
        rounded = self.result(self.run_folder(), "--set", "train.precision=bf16")
        self.assertNotEqual(rounded["loss"], whole["loss"])
        self.assertAlmostEqual(rounded["loss"], whole["loss"], delta=0.02)
        # What training needs and an evaluation does not may be gone.
        os.remove(os.path.join(self.folder, "train.txt"))
        self.assertEqual(self.result(self.run_folder())["loss"], whole["loss"])

    def test_a_configuration_is_the_weights_that_it_starts_from(self):
        self.train()
        config = os.path.join(self.folder, "train.yaml")
        got = self.result(config, "--set", f"model.init_from={self.model_file(20)}")
        self.assertEqual((got["step"], got["source"]), (None, self.model_file(20)))
        self.assertEqual(got["loss"], self.records(kind="eval")[1]["loss"])
        self.assertTrue(self.evaluate(config, "--set", f"model.init_from={self.model_file(20)}").out.startswith("eval of model.init_from: "))
        self.assert_refused(78, ["model.init_from is not set", "name a run's folder"], config)
        self.assertFalse(os.path.exists(self.run_folder("none")))

    def test_weights_that_would_start_anew_are_not_evaluated(self):
        config = self.write("images.yaml", RESNET.format(folder=self.folder))
        self.launch(config=config)
        self.assert_refused(78, "model.init_from: ", config, "--set", "model.classes=7", "--set",
                            f"model.init_from={self.model_file(6, 'images')}")

    def test_what_cannot_be_evaluated_is_refused_in_one_line(self):
        self.train("run", "--stop-after", "12", expect=75)
        self.assert_refused(66, "nowhere", os.path.join(self.folder, "nowhere"))
        self.assert_refused(66, "holds neither a run", self.folder)
        os.mkdir(os.path.join(self.folder, "begun"))
        shutil.copy(os.path.join(self.run_folder(), "config.yaml"), os.path.join(self.folder, "begun"))
        self.assert_refused(66, "holds no checkpoint yet", os.path.join(self.folder, "begun"))
        self.assert_refused(66, "data.valid: cannot open", self.run_folder(), "--set", f"data.valid={self.folder}/none.txt")
        self.assert_refused(78, "data.valid is not set", self.run_folder(), "--set", 'data.valid=""')
        self.assert_refused(78, "of another model", self.run_folder(), "--set", "model.layers=3")
        self.assert_refused(78, "train.micro_bach", self.run_folder(), "--set", "train.micro_bach=3")
        self.assert_refused(78, "tf32 needs GPUs", self.run_folder(), "--device", "cpu", "--set", "train.precision=tf32")
        with open(os.path.join(self.checkpoint(12), "manifest.json"), "r+b") as file:
            file.truncate(100)
        self.assert_refused(65, "manifest.json is not a valid manifest", self.checkpoint(12))

    def test_a_result_that_cannot_be_printed_is_74(self):
        self.train("run", "--stop-after", "1", expect=75)
        with open("/dev/full", "wb") as full:
            run = subprocess.run([harness.LAUNCH, "eval", self.run_folder()], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(run.returncode, 74)
        self.assertIn("standard output", run.stderr)

    # While it lasts

    def start(self, subject, *args):
        job = subprocess.Popen(self.command("eval", "--device", "cpu", *args, config=subject), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=harness.default_signals)
        self.addCleanup(lambda: job.poll() is None and job.kill())
        return job

    def start_long(self):
        """An evaluation of 2 ranks that outlasts the test, and the ranks."""
        self.write("long.txt", "x" * 40_000_000)
        job = self.start(self.run_folder(), "--nproc", "2", "--set", f"data.valid={self.folder}/long.txt", "--set", "eval.samples=0")
        self.wait_until(lambda: len(harness.children_of(job.pid)) == 2, "its ranks start")
        return job, harness.children_of(job.pid)

    def test_a_signal_ends_it_at_once_and_a_killed_rank_is_named(self):
        self.train("run", "--stop-after", "1", expect=75)
        for number, code in [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, -signal.SIGTERM), (None, 137)]:
            job, ranks = self.start_long()
            if number:
                job.send_signal(number)
            else:
                os.kill(ranks[1], signal.SIGKILL)
            out, err = job.communicate(timeout=harness.PATIENCE_S)
            self.assertEqual((job.returncode, out), (code, ""))
            self.assertRegex(err.splitlines()[-1], f"^STOPPED by {signal.Signals(number).name}$" if number else
                             r"^FAILED rank 1 \(cpu 1\) step 0 \w+: killed by SIGKILL; rank 0 stopped in [\d.]+ s$")
            for rank in ranks:
                self.assertFalse(os.path.exists(f"/proc/{rank}"))

    def test_a_run_that_trains_is_evaluated_and_not_disturbed(self):
        """It commits each step and keeps one, so that every checkpoint that is read may go away."""
        self.config(steps=1000000)
        run = subprocess.Popen(self.command("--device", "cpu", "--set", "checkpoint.every=1", "--set", "checkpoint.keep=1", "--set",
                                            "eval.every=1", "--set", "checkpoint.best=loss"), stdout=subprocess.DEVNULL)
        self.addCleanup(lambda: run.poll() is None and run.kill())
        best = os.path.join(self.run_folder(), "checkpoints", "best")
        self.wait_until(lambda: os.path.exists(os.path.join(best, "manifest.json")), "it commits")
        for subject in [self.run_folder(), best] * 4:
            got = self.result(subject)
            evaluated = {r["step"]: r["loss"] for r in self.records(kind="eval")}
            self.assertEqual(got["loss"], evaluated[got["step"]], subject)
        run.send_signal(signal.SIGTERM)
        self.assertEqual(run.wait(timeout=harness.PATIENCE_S), 75)
        self.assertEqual([r["step"] for r in self.records()], list(range(1, len(self.records()) + 1)))

    def test_a_checkpoint_that_is_replaced_all_the_time_is_read_whole_or_told(self):
        self.train()
        of = {r["step"]: r["loss"] for r in self.records(kind="eval")}
        best = os.path.join(self.run_folder(), "checkpoints", "best")
        others = [shutil.copytree(self.checkpoint(step), os.path.join(self.folder, f"other-{step}")) for step in [10, 20]]
        done = threading.Event()

        def replace():
            while not done.is_set():
                for other in others:
                    os.rename(best, best + ".old")
                    os.rename(other, best)
                    time.sleep(0.002)
                    os.rename(best, other)
                    os.rename(best + ".old", best)

        replacing = threading.Thread(target=replace)
        replacing.start()
        self.addCleanup(replacing.join)
        self.addCleanup(done.set)
        for _ in range(20):
            run = subprocess.run(self.command("eval", "--device", "cpu", "--json", config=best), stdin=subprocess.DEVNULL, capture_output=True,
                                 text=True, timeout=harness.PATIENCE_S, check=False)
            self.assertIn(run.returncode, [0, 65, 66], run.stderr)
            if run.returncode == 0:
                got = json.loads(run.stdout)
                self.assertEqual(got["loss"], of[got["step"]])
            else:
                self.assertEqual(run.stderr.count("\n"), 1, run.stderr)


if __name__ == "__main__":
    harness.main()
