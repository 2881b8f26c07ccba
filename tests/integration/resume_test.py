"""A run that stops and goes on is the uninterrupted run, bit for bit."""
import json
import os
import shutil
import signal
import subprocess

import harness

KEYS = ["step", "loss", "lr", "grad_norm", "samples_seen", "applied_steps", "loss_scale", "skipped"]


class Resume(harness.IntegrationTest):
    def assert_same_run(self, name, step):
        for key in KEYS:
            self.assertEqual(self.column(key, name), self.column(key, "whole"), f"{name}: {key}")
        for file in ["model.safetensors", "optimizer.safetensors"]:
            self.assertEqual(self.weights_hash(step, name, file), self.weights_hash(step, "whole", file), f"{name}: {file}")

    def test_100_steps_are_50_and_50_also_on_another_number_of_ranks(self):
        self.config(steps=100)
        self.launch("--nproc", "2", "--output-dir", self.run_folder("whole"))
        self.launch("--nproc", "2", "--stop-after", "50", "--output-dir", self.run_folder("halves"), expect=75)
        shutil.copytree(self.run_folder("halves"), self.run_folder("other"))
        self.launch("--nproc", "2", "--resume", "auto", "--output-dir", self.run_folder("halves"))
        self.assert_same_run("halves", 100)
        self.launch("--nproc", "4", "--resume", "auto", "--output-dir", self.run_folder("other"))
        self.assert_same_run("other", 100)

    def test_a_resume_is_exact_in_16_bits_after_a_skip_and_within_a_growth_interval(self):
        interval = 6
        for precision in ["fp16", "bf16"]:
            # The loss scale starts too high, comes down by skips, grows back and is too high again.
            self.config(steps=40, deterministic="false", precision=precision)
            settings = ["--nproc", "2", "--set", "train.loss_scale_init=16777216", "--set", f"train.loss_scale_interval={interval}"]
            self.launch(*settings, "--output-dir", self.run_folder("whole"))
            points = {"middle": 20}
            if precision == "fp16":
                skipped = [r["step"] for r in self.records("whole") if r["skipped"]]
                points["after a skip"] = skipped[-1]
                grown = [b["step"] for a, b in zip(self.records("whole"), self.records("whole")[1:]) if b["loss_scale"] > a["loss_scale"]]
                points["within an interval"] = grown[0] + interval // 2
                self.assertTrue(all(0 < step < 40 for step in points.values()), points)
                self.assertLess(skipped[0], grown[0])
            for what, step in points.items():
                self.launch(*settings, "--stop-after", str(step), "--output-dir", self.run_folder(what), expect=75)
                self.launch(*settings, "--resume", "auto", "--output-dir", self.run_folder(what))
                self.assert_same_run(what, 40)
                shutil.rmtree(self.run_folder(what))
            shutil.rmtree(self.run_folder("whole"))

    def test_a_resume_with_sgd_is_exact_in_fp16_after_a_skip(self):
        self.config(steps=24, deterministic="false", precision="fp16")
        sgd = ["--nproc", "2", "--set", "train.loss_scale_init=16777216", "--set", "train.loss_scale_interval=6",
               "--set", "optimizer.name=sgd", "--set", "optimizer.lr=0.05", "--set", "optimizer.weight_decay=0.0005",
               "--set", "schedule.name=step", "--set", "schedule.step_size=7"]
        for momentum, states in [("optimizer.nesterov=true", {"momentum_buffer"}), ("optimizer.momentum=0", set())]:
            settings = [*sgd, "--set", momentum]
            self.launch(*settings, "--output-dir", self.run_folder("whole"))
            skipped = [r["step"] for r in self.records("whole") if r["skipped"]]
            self.assertTrue(skipped)
            for step in {skipped[-1], 15}:
                self.launch(*settings, "--stop-after", str(step), "--output-dir", self.run_folder("parts"), expect=75)
                checkpoint = os.path.join(self.run_folder("parts"), "checkpoints", f"step-{step:08}")
                with open(os.path.join(checkpoint, "manifest.json"), encoding="utf-8") as file:
                    self.assertEqual(json.load(file)["optimizer"], {})
                names = self.tensor_names(os.path.join(checkpoint, "optimizer.safetensors"))
                self.assertEqual({name.split(".")[0] for name in names}, states)
                self.launch(*settings, "--resume", "auto", "--output-dir", self.run_folder("parts"))
                self.assert_same_run("parts", 24)
                shutil.rmtree(self.run_folder("parts"))
            shutil.rmtree(self.run_folder("whole"))

    def test_weights_serve_every_precision_as_a_start_and_a_sample(self):
        self.config(steps=30)
        self.launch("--output-dir", self.run_folder("fp32"))
        source = os.path.join(self.run_folder("fp32"), "checkpoints", "step-00000030", "model.safetensors")
        losses = {}
        for precision in ["fp32", "bf16", "fp16"]:
            self.config(steps=3, precision=precision)
            name = "from-" + precision
            self.launch("--set", f"model.init_from={source}", "--set", "schedule.warmup_steps=3", "--output-dir", self.run_folder(name))
            losses[precision] = float(self.column("loss", name)[0])
            text = self.launch("sample", "--prompt", "12 bottles", "--tokens", "20", config=self.run_folder(name)).out
            self.assertTrue(text.startswith("12 bottles"), text)
        self.assertLess(losses["fp32"], 4.5, "it starts from what was learnt")
        for precision in ["bf16", "fp16"]:
            self.assertNotEqual(losses[precision], losses["fp32"])
            self.assertAlmostEqual(losses[precision], losses["fp32"], delta=0.01 * losses["fp32"])

    def test_metrics_past_the_resumed_step_are_cut(self):
        """Into the folder of what is left, where checkpoints go with them (resume_paths_test.py)."""
        self.config(steps=30)
        self.launch("--output-dir", self.run_folder("whole"))
        self.launch("--output-dir", self.run_folder("again"), "--set", "checkpoint.every=10")
        checkpoint = os.path.join(self.run_folder("again"), "checkpoints", "step-00000010")
        self.launch("--output-dir", self.run_folder("again"), "--resume", checkpoint)
        self.assert_same_run("again", 30)

    def test_without_deterministic_the_same_samples_follow_on_other_ranks(self):
        self.config(steps=20, deterministic="false", dropout=0.0)
        self.launch("--nproc", "4", "--output-dir", self.run_folder("whole"))
        self.launch("--nproc", "4", "--stop-after", "10", "--output-dir", self.run_folder("other"), expect=75)
        self.launch("--nproc", "1", "--resume", "auto", "--output-dir", self.run_folder("other"))
        self.assertEqual(self.column("samples_seen", "other"), self.column("samples_seen", "whole"))
        for a, b in zip(self.records("other"), self.records("whole")):
            self.assertAlmostEqual(a["loss"], b["loss"], delta=1e-4 * b["loss"])

    def test_auto_starts_afresh_where_there_is_nothing(self):
        self.config(steps=5)
        self.launch("--resume", "auto")
        self.assertEqual(len(self.records()), 5)

    def test_resuming_a_finished_run_says_so_and_changes_nothing(self):
        self.config(steps=10)
        self.launch()
        before = self.column("loss"), self.weights_hash(10)
        again = self.launch("--resume", "auto")
        self.assertIn("nothing to do: the run is at step 10, and was to go to 10", again.out)
        self.assertEqual((self.column("loss"), self.weights_hash(10)), before)

    def test_a_used_folder_is_refused_by_default(self):
        self.config(steps=5)
        self.launch()
        before = self.column("loss")
        refused = self.launch(expect=73)
        self.assertIn("--resume auto", refused.last_line)
        self.assertEqual(self.column("loss"), before)

    def test_another_configuration_is_refused_naming_the_keys(self):
        self.config(steps=20)
        self.launch("--stop-after", "5", expect=75)
        refused = self.launch("--resume", "auto", "--set", "optimizer.lr=1e-3", "--set", "train.seed=9", expect=78)
        self.assertIn("optimizer.lr", refused.last_line)
        self.assertIn("train.seed", refused.last_line)
        refused = self.launch("--resume", "auto", "--set", "train.precision=bf16", expect=78)
        self.assertIn("train.precision: fp32 became bf16", refused.last_line)
        self.launch("--resume", "auto", "--set", "train.bucket_mb=1", "--set", "train.threads_per_rank=2", "--set", "log.every=5")

    def test_a_checkpoint_of_another_model_is_refused(self):
        self.config(steps=5)
        self.launch("--output-dir", self.run_folder("small"))
        self.config(steps=5, width=64)
        source = os.path.join(self.run_folder("small"), "checkpoints", "step-00000005")
        refused = self.launch("--resume", source, expect=78)
        self.assertIn("model.width", refused.last_line)
        refused = self.launch("--set", f"model.init_from={source}/model.safetensors", "--output-dir", self.run_folder("b"), expect=78)
        self.assertIn("model.width is 64, and n_embd is 32 in", refused.last_line)
        shutil.copy(f"{source}/model.safetensors", self.folder)  # without what lies beside it
        refused = self.launch("--set", f"model.init_from={self.folder}/model.safetensors", "--output-dir", self.run_folder("c"), expect=78)
        self.assertIn("is of another model: ln_f.weight is [32], the model's is [64]", refused.last_line)

    def test_changed_data_is_refused(self):
        self.config(steps=20)
        self.launch("--stop-after", "5", expect=75)
        with open(os.path.join(self.folder, "train.txt"), "a") as file:
            file.write("more")
        refused = self.launch("--resume", "auto", expect=65)
        self.assertIn("changed", refused.last_line)

    def test_a_damaged_checkpoint_is_passed_over_with_a_warning(self):
        self.config(steps=30)
        self.launch("--output-dir", self.run_folder("whole"))
        self.launch("--stop-after", "20", "--set", "checkpoint.every=10", expect=75)
        newest = os.path.join(self.run_folder(), "checkpoints", "step-00000020", "model.safetensors")
        with open(newest, "r+b") as file:
            file.seek(5000)
            byte = file.read(1)
            file.seek(5000)
            file.write(bytes([byte[0] ^ 1]))
        went_on = self.launch("--resume", "auto")
        self.assertIn("step-00000020", went_on.out + went_on.err)
        self.assert_same_run("run", 30)

    def start(self, *args):
        process = subprocess.Popen(self.command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   stdin=subprocess.DEVNULL, preexec_fn=harness.default_signals)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        metrics = os.path.join(self.run_folder(), "metrics.jsonl")
        self.wait_until(lambda: os.path.exists(metrics) and os.path.getsize(metrics) > 0, "it trains")
        return process

    def test_sigterm_finishes_the_step_and_commits(self):
        self.stop_and_check()

    def test_sigterm_commits_also_where_every_step_is_waited_for(self):
        self.stop_and_check("--set", "eval.every=1", "--set", "eval.samples=8")

    def stop_and_check(self, *args):
        self.config(steps=100000)
        process = self.start("--nproc", "2", *args)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(process.returncode, 75, out + err)
        done = int(self.records()[-1]["step"])
        self.assertLess(done, 100000)
        self.weights_hash(done)
        with open(os.path.join(self.run_folder(), "status.json")) as file:
            self.assertEqual(json.load(file)["exit_code"], 75)

    def test_a_run_that_wants_no_last_checkpoint_writes_none_and_names_none(self):
        self.config(steps=10)
        no_last = ("--nproc", "2", "--set", "checkpoint.last=false")
        run = self.launch(*no_last)
        self.assertEqual([r["step"] for r in self.records()], list(range(1, 11)))
        self.assertIn("finished steps 1-10 of 10", run.out)
        for word in ("checkpoint", "  sample "):
            self.assertNotIn(word, run.out + run.err)
        self.assertFalse(os.path.exists(os.path.join(self.run_folder(), "checkpoints")))
        self.launch(*no_last, "--set", "checkpoint.every=5", "--output-dir", self.run_folder("every"))
        self.assertEqual(sorted(os.listdir(os.path.join(self.run_folder("every"), "checkpoints"))), ["step-00000005", "step-00000010"])

    def test_a_stopped_run_commits_also_where_no_last_checkpoint_is_wanted(self):
        self.stop_and_check("--set", "checkpoint.last=false")
        self.config(steps=20)
        self.launch("--nproc", "2", "--output-dir", self.run_folder("whole"))
        no_last = ("--nproc", "2", "--set", "checkpoint.last=false", "--output-dir", self.run_folder("halves"))
        stopped = self.launch("--stop-after", "10", *no_last, expect=75)
        self.assertIn("STOPPED after step 10, checkpoint written", stopped.last_line)
        self.launch("--resume", "auto", "--stop-after", "20", *no_last)
        self.assert_same_run("halves", 20)

    def test_sigusr1_commits_and_goes_on(self):
        self.config(steps=100000)
        process = self.start("--nproc", "2")
        process.send_signal(signal.SIGUSR1)
        checkpoints = os.path.join(self.run_folder(), "checkpoints")
        self.wait_until(lambda: os.path.isdir(checkpoints) and any(name.startswith("step-") for name in os.listdir(checkpoints)),
                        "a checkpoint was asked for")
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(process.returncode, 75)


if __name__ == "__main__":
    harness.main()
