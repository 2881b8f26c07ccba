"""A run goes on as what it was, and as another one only where somebody says so: what the YAML leaves out is its own, what is changed is
named and recorded, and a start that is refused leaves the folder as it found it."""
import json
import os
import re
import shutil
import subprocess

import harness

STEPS = 16
STOP = 8
KEYS = ["step", "loss", "lr", "grad_norm", "samples_seen", "applied_steps", "loss_scale", "skipped"]

# Without steps, schedule and learning rate, which a start gives by --set.
CONFIG = """
model: {{name: gpt2, layers: 1, heads: 2, width: 16, context: 16, dropout: 0.1}}
data: {{format: bytes, train: {folder}/train.txt, valid: {folder}/valid.txt}}
train: {{micro_batch: 4, global_batch: 8}}
eval: {{every: 8, samples: 8}}
output_dir: {folder}/run
"""


class ResumeChanges(harness.IntegrationTest):
    def setUp(self):
        super().setUp()
        self.yaml = self.write("train.yaml", CONFIG.format(folder=self.folder))
        self.options = ["--device", "cpu"]
        self.given = self.sets(**{"train.steps": STEPS, "optimizer.lr": "0.01", "schedule.name": "linear"})

    @staticmethod
    def sets(**keys):
        return [word for key, value in keys.items() for word in ("--set", f"{key}={value}")]

    def start(self, name, *args, expect=0):
        return self.launch(*self.options, "--output-dir", self.run_folder(name), *args, expect=expect)

    def stopped(self, name, *args):
        """A run that stopped after step 8."""
        self.start(name, *self.given, *args, "--stop-after", str(STOP), expect=75)
        return self.checkpoint(name, STOP)

    def checkpoint(self, name, step):
        return os.path.join(self.run_folder(name), "checkpoints", f"step-{step:08d}")

    def config_of(self, name, step):
        with open(os.path.join(self.checkpoint(name, step), "manifest.json"), encoding="utf-8") as file:
            return json.load(file)["config"]

    def contents(self, name):
        """Every file of a run's folder with its bytes and its time."""
        found = {}
        for folder, _, files in os.walk(self.run_folder(name)):
            for file in files:
                path = os.path.join(folder, file)
                with open(path, "rb") as opened:
                    found[os.path.relpath(path, self.run_folder(name))] = opened.read()
        return found

    def changes(self, name):
        return [(r["step"], r["key"], r["before"], r["after"]) for r in self.records(name, "change")]

    def assert_same_from(self, name, other, first_step, last_step):
        for key in KEYS:
            rows = [[repr(r[key]) for r in self.records(run) if first_step <= r["step"] <= last_step] for run in (name, other)]
            self.assertEqual(len(rows[0]), last_step - first_step + 1)
            self.assertEqual(*rows, f"{name}: {key}")
        for file in ["model.safetensors", "optimizer.safetensors"]:
            self.assertEqual(self.weights_hash(last_step, name, file), self.weights_hash(last_step, other, file), f"{name}: {file}")

    # What the YAML leaves out

    def test_what_the_yaml_leaves_out_is_the_runs_own(self):
        self.start("whole", *self.given)
        source = self.stopped("auto")
        self.start("auto", "--resume", "auto")
        self.assert_same_from("auto", "whole", 1, STEPS)
        for i, path in enumerate([source, self.run_folder("source")]):  # a checkpoint's folder, and a run's for its newest
            if i == 1:
                self.stopped("source")
            self.start(f"fork-{i}", "--resume", path)
            self.assert_same_from(f"fork-{i}", "whole", STOP + 1, STEPS)
            self.assertEqual(self.changes(f"fork-{i}"), [])

    def test_even_the_model_and_the_data_but_not_the_place(self):
        everything = self.write("all.yaml", CONFIG.format(folder=self.folder))
        nothing = self.write("nothing.yaml", f"output_dir: {self.folder}/run\ntrain: {{threads_per_rank: 1}}\n")
        self.launch(*self.options, *self.given, "--set", "train.threads_per_rank=2", "--stop-after", "8", config=everything, expect=75)
        self.launch(*self.options, "--resume", "auto", config=nothing)
        with open(os.path.join(self.run_folder(), "config.yaml"), encoding="utf-8") as file:
            config = file.read()
        for line in ["layers: 1", "threads_per_rank: 1", f"output_dir: {self.run_folder()}"]:
            self.assertIn(line, config)
        self.assertEqual(self.records()[-1]["step"], STEPS)

    def test_what_the_yaml_gives_is_compared_also_where_the_start_had_another(self):
        self.stopped("run")
        self.write("train.yaml", CONFIG.format(folder=self.folder) + "schedule: {name: cosine}\n")
        refused = self.start("run", "--resume", "auto", expect=78)
        self.assertIn("schedule.name: linear became cosine", refused.last_line)
        self.assertIn("--set schedule.name=linear", refused.last_line)
        self.start("run", "--resume", "auto", "--set", "schedule.name=linear")

    # What is not read need not be there

    def test_a_resume_asks_for_nothing_that_it_does_not_read(self):
        weights = os.path.join(self.stopped("first"), "model.safetensors")
        kept = self.write("w.safetensors", open(weights, "rb").read())
        init = ["--set", f"model.init_from={kept}"]
        source = self.stopped("run", *init)
        self.stopped("path", *init)
        os.remove(kept)
        os.remove(os.path.join(self.folder, "valid.txt"))
        without_eval = ["--set", "eval.every=0"]
        for name, resume in [("run", "auto"), ("path", self.checkpoint("path", STOP)), ("new", source)]:
            self.start(name, *init, *without_eval, "--resume", resume, "--stop-after", "9", expect=75)
        self.start("run", *without_eval, "--set", "model.init_from=/other", "--resume", "auto", "--stop-after", "10", expect=75)
        self.start("run", *without_eval, "--set", 'model.init_from=""', "--resume", "auto", "--stop-after", "11", expect=75)
        self.assertEqual(self.changes("run"), [])
        self.launch("sample", "--prompt", "12", "--tokens", "3", config=self.run_folder("run"))
        self.launch("eval", "--device", "cpu", "--set", f"data.valid={self.folder}/train.txt", config=self.run_folder("run"))
        # Where there is nothing to go on from they are read.
        refused = self.start("fresh", *self.given, *init, *without_eval, "--set", "data.valid=\"\"", "--resume", "auto", expect=66)
        self.assertIn("model.init_from", refused.last_line)
        refused = self.start("run", "--resume", "auto", "--set", "eval.every=1", expect=66)
        self.assertIn("data.valid", refused.last_line)

    # Data by another name

    def test_data_is_known_by_what_it_holds(self):
        self.stopped("run")
        os.symlink(os.path.join(self.folder, "train.txt"), os.path.join(self.folder, "link.txt"))
        os.makedirs(os.path.join(self.folder, "moved"))
        shutil.copy(os.path.join(self.folder, "train.txt"), os.path.join(self.folder, "moved", "other.txt"))
        spellings = [f"{self.folder}/./train.txt", f"{self.folder}//train.txt", os.path.relpath(os.path.join(self.folder, "train.txt")),
                     f"{self.folder}/link.txt", f"{self.folder}/moved/other.txt"]
        for i, path in enumerate(spellings):
            self.start("run", "--resume", "auto", "--set", f"data.train={path}", "--set", f"data.valid={path}", "--stop-after",
                       str(STOP + 1 + i), expect=75)
        self.assertEqual(self.changes("run"), [])
        before = self.contents("run")
        refused = self.start("run", "--resume", "auto", "--set", f"data.train={self.folder}/valid.txt", expect=65)
        for word in ["changed since it was written", "valid.txt", "--accept-change data.train"]:
            self.assertIn(word, refused.last_line)
        self.assertEqual(self.contents("run"), before)
        command = re.search(r"; or change it from here on: (.*)$", refused.last_line).group(1)
        subprocess.run(["sh", "-c", command], check=True, capture_output=True, timeout=harness.PATIENCE_S)
        self.assertEqual([(step, key) for step, key, _, _ in self.changes("run")], [(STOP + len(spellings) + 1, "data.train")])

    def test_made_up_data_is_its_number_of_samples(self):
        self.write("train.yaml", "model: {name: resnet, block: basic, blocks: [1], width: 4, stem: small, image_size: 8, classes: 4}\n"
                   "data: {format: synthetic, train: 100}\ntrain: {micro_batch: 4, global_batch: 8, steps: 6}\n")
        self.start("run", "--stop-after", "3", expect=75)
        refused = self.start("run", "--resume", "auto", "--set", "data.train=200", expect=65)
        self.assertIn("100 synthetic images became 200 synthetic images", refused.last_line)
        self.start("run", "--resume", "auto", "--set", "data.train=100")

    # A run is extended

    def test_a_finished_run_goes_on_for_more_steps_where_its_schedule_has_no_end(self):
        for schedule in ["constant", "step"]:
            given = self.sets(**{"optimizer.lr": "0.01", "schedule.name": schedule})
            self.start("whole", *given, "--set", f"train.steps={STEPS}")
            self.start("run", *given, "--set", "train.steps=8")
            self.start("run", "--resume", "auto", "--set", f"train.steps={STEPS}")
            self.assert_same_from("run", "whole", 1, STEPS)
            self.assertEqual(self.changes("run"), [(9, "train.steps", "8", "16")])
            self.assertEqual(self.column("loss", "run", "eval"), self.column("loss", "whole", "eval"))
            for name in ["whole", "run"]:
                shutil.rmtree(self.run_folder(name))

    def test_a_finished_run_with_another_schedule_says_which_command_extends_it(self):
        self.start("run", *self.given)
        again = self.start("run", "--resume", "auto")
        self.assertIn("nothing to do: the run is at step 16, and was to go to 16", again.out)
        before = self.contents("run")
        refused = self.start("run", "--resume", "auto", "--set", "train.steps=20", expect=78)
        self.assertIn("train.steps: 16 became 20", refused.last_line)
        self.assertEqual(self.contents("run"), before)
        command = re.search(r"or change it from here on: (.*)$", refused.last_line).group(1)
        self.assertIn("--accept-change train.steps", command)
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=harness.PATIENCE_S, check=False)
        self.assertEqual(done.returncode, 0, command + done.stderr)
        self.assertIn("from step 17 on train.steps: 16 became 20", done.stdout)
        self.assertEqual([r["step"] for r in self.records("run")], list(range(1, 21)))
        # The rest of the new schedule: linear from 0.01 to 0 at step 20.
        self.assertAlmostEqual(self.records("run")[16]["lr"], 0.01 * (1 - 17 / 20), delta=1e-7)
        self.assertIn("steps: 20", self.config_of("run", 20))

    # A run is changed

    def test_a_change_is_recorded_and_needs_no_second_consent(self):
        self.stopped("run")
        change = self.sets(**{"optimizer.lr": "0.002", "train.seed": "9"})
        refused = self.start("run", "--resume", "auto", *change, expect=78)
        self.assertIn("--accept-change train.seed,optimizer.lr ", refused.last_line)
        partly = self.start("run", "--resume", "auto", *change, "--accept-change", "train.seed", expect=78)
        self.assertIn("optimizer.lr: 0.01 became 0.002", partly.last_line)
        self.assertNotIn("seed: 1 became", partly.last_line)
        self.start("run", "--resume", "auto", *change, "--accept-change", "train.seed,optimizer.lr", "--stop-after", "10", expect=75)
        want = [(9, "train.seed", "1", "9"), (9, "optimizer.lr", "0.01", "0.002")]
        self.assertEqual(self.changes("run"), want)
        self.start("run", "--resume", "auto", "--stop-after", "12", expect=75)
        self.start("run", "--resume", "auto", "--set", "checkpoint.keep=3", *change)
        self.assertEqual(self.changes("run"), want)
        self.assertIn("lr: 0.002", self.config_of("run", STEPS))
        # Back before the change it is not of the past any more.
        self.start("run", "--resume", self.checkpoint("run", 10), "--set", "optimizer.lr=0.01", "--accept-change", "optimizer.lr")
        self.assertEqual(self.changes("run"), [*want, (11, "optimizer.lr", "0.002", "0.01")])

    def test_a_fork_that_changes_is_the_change_in_place(self):
        source = self.stopped("place")
        shutil.copytree(self.run_folder("place"), self.run_folder("source"))
        change = ["--accept-change", "optimizer.lr,train.global_batch,train.seed", "--accept-change", "train.steps",
                  *self.sets(**{"optimizer.lr": "0.02", "train.global_batch": "16", "train.seed": "4", "train.steps": "18"})]
        self.start("place", "--resume", "auto", *change)
        self.start("fork", "--resume", self.run_folder("source"), *change)
        self.assert_same_from("fork", "place", STOP + 1, 18)
        self.assertEqual(self.records("fork")[0]["step"], STOP + 1)
        self.assertEqual(self.changes("fork"), self.changes("place"))
        self.assertEqual({key for _, key, _, _ in self.changes("fork")},
                         {"optimizer.lr", "train.global_batch", "train.seed", "train.steps"})
        with open(os.path.join(self.run_folder("fork"), "resumed_from"), encoding="utf-8") as file:
            self.assertEqual(file.read(), os.path.realpath(self.checkpoint("source", STOP)) + "\n")
        # Samples are counted on from where the run was.
        self.assertEqual([r["samples_seen"] for r in self.records("fork")], [64 + 16 * i for i in range(1, 11)])
        self.assertEqual(os.path.dirname(source), os.path.join(self.run_folder("place"), "checkpoints"))

    def test_a_larger_batch_takes_the_samples_that_come_next(self):
        self.stopped("run")
        still = self.sets(**{"optimizer.lr": "0", "model.dropout": "0"})  # the same weights in all steps
        self.start("small", "--resume", self.run_folder("run"), *still, "--accept-change", "optimizer.lr,model.dropout", "--stop-after",
                   "10", expect=75)
        self.start("large", "--resume", self.run_folder("run"), *still, "--set", "train.global_batch=16", "--accept-change",
                   "optimizer.lr,model.dropout,train.global_batch", "--stop-after", "9", expect=75)
        halves, whole = [r["loss"] for r in self.records("small")], [r["loss"] for r in self.records("large")]
        self.assertGreater(abs(halves[0] - halves[1]), 1e-3)
        self.assertAlmostEqual(whole[0], sum(halves) / 2, delta=1e-6)

    def test_the_best_of_a_run_is_a_source_too(self):
        self.start("run", *self.given, "--set", "checkpoint.best=loss")
        best = os.path.join(self.run_folder("run"), "checkpoints", "best")
        with open(os.path.join(best, "manifest.json"), encoding="utf-8") as file:
            step = json.load(file)["step"]
        out = self.start("fork", "--resume", best, "--accept-change", "train.steps", "--set", "train.steps=18").out
        self.assertIn(f"resumed after step {step}", out)

    ONE_BY_ONE = {"train.global_batch": "16", "train.precision": "bf16", "train.grad_dtype": "fp32", "train.seed": "5",
                  "train.deterministic": "true", "train.workspace_mb": "8", "train.clip_norm": "0.5", "model.dropout": "0",
                  "optimizer.lr": "0.003", "optimizer.betas": "[0.8, 0.99]", "optimizer.eps": "1e-6", "optimizer.weight_decay": "0",
                  "schedule.name": "cosine", "schedule.warmup_steps": "4", "schedule.min_lr": "0.001", "train.steps": "12"}

    def test_each_change_that_may_be_accepted_works(self):
        self.stopped("run")
        for key, value in self.ONE_BY_ONE.items():
            with self.subTest(key=key):
                self.start("fork", "--resume", self.run_folder("run"), "--set", f"{key}={value}", "--accept-change", key,
                           "--stop-after", "10", expect=75)
                self.assertEqual([(step, changed) for step, changed, _, _ in self.changes("fork")], [(9, key)])
                losses = [r["loss"] for r in self.records("fork")]
                self.assertTrue(all(loss is not None and 1 < loss < 7 for loss in losses), losses)
                shutil.rmtree(self.run_folder("fork"))

    def test_another_schedule_does_not_inherit_what_it_does_not_read(self):
        self.start("run", *self.sets(**{"train.steps": STEPS, "schedule.name": "step", "schedule.step_size": "3", "schedule.gamma": "0.5"}),
                   "--stop-after", "8", expect=75)
        self.start("run", "--resume", "auto", "--set", "schedule.name=polynomial", "--set", "schedule.power=3", "--accept-change",
                   "schedule.name,schedule.power", "--stop-after", "10", expect=75)
        self.assertEqual([key for _, key, _, _ in self.changes("run")], ["schedule.name", "schedule.power"])

    def test_a_loss_scale_starts_anew_under_other_rules(self):
        self.stopped("run", "--set", "train.precision=fp16")
        self.assertEqual(self.records("run")[-1]["loss_scale"], 65536)
        for precision, scale in [("bf16", 1), ("fp32", 1)]:
            self.start(precision, "--resume", self.run_folder("run"), "--set", f"train.precision={precision}", "--accept-change",
                       "train.precision", "--stop-after", "10", expect=75)
            self.assertEqual([r["loss_scale"] for r in self.records(precision)], [scale, scale])
        self.start("lower", "--resume", self.run_folder("run"), "--set", "train.loss_scale_init=256", "--accept-change",
                   "train.loss_scale_init", "--stop-after", "10", expect=75)
        self.assertEqual([r["loss_scale"] for r in self.records("lower")], [256, 256])
        self.start("up", "--resume", self.run_folder("bf16"), "--set", "train.precision=fp16", "--accept-change", "train.precision",
                   "--stop-after", "11", expect=75)
        self.assertEqual(self.records("up")[0]["loss_scale"], 65536)

    def test_what_the_state_does_not_fit_is_refused_whoever_accepts_it(self):
        self.stopped("run")
        before = self.contents("run")
        for key, value in [("model.width", "32"), ("model.layers", "2"), ("model.context", "8"), ("optimizer.name", "sgd"),
                           ("model.heads", "1"), ("model.tie_embeddings", "false")]:
            refused = self.start("run", "--resume", "auto", "--set", f"{key}={value}", "--accept-change", key, expect=78)
            self.assertIn(key + ": ", refused.last_line)
            self.assertIn("which the state of the run does not fit", refused.last_line)
            self.assertNotIn("change it from here on", refused.last_line)
        self.assertEqual(self.contents("run"), before)

    # Refusals

    def test_a_refused_start_leaves_the_folder_as_it_was(self):
        self.stopped("run")
        self.stopped("other", "--set", "train.seed=7")
        with open(os.path.join(self.run_folder("run"), "status.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["state"], "stopped")
        before = self.contents("run")
        gone = os.path.join(self.folder, "gone.txt")
        refusals = [(64, ["--resume", "auto", "--accept-change", "optimizer.lrr"], "optimizer.lr?"),
                    (64, ["--accept-change", "optimizer.lr"], "--resume auto"),
                    (66, ["--resume", "auto", "--set", f"data.train={gone}"], "gone.txt"),
                    (66, ["--resume", os.path.join(self.folder, "nowhere")], "nowhere/manifest.json"),
                    (73, [], "already holds a run"),
                    (73, ["--resume", self.run_folder("other"), "--set", "train.seed=7"], "is not of that run"),
                    (78, ["--resume", "auto", "--set", "optimizer.lr=1"], "--accept-change optimizer.lr"),
                    (78, ["--resume", "auto", "--set", "optimizer.lr=-1"], "optimizer.lr"),
                    (78, ["--resume", "auto", "--set", "model.width=32"], "model.width"),
                    (65, ["--resume", "auto", "--set", f"data.train={self.folder}/valid.txt"], "--accept-change data.train"),
                    (65, ["--resume", "auto", "--set", f"data.train={self.write('short.txt', 'x')}"], "short.txt"),
                    (78, ["--resume", "auto", "--nproc", "3"], "global_batch")]
        for code, args, word in refusals:
            with self.subTest(args=args):
                refused = self.start("run", *args, expect=code)
                self.assertIn(word, refused.last_line)
                self.assertEqual(self.contents("run"), before)
        manifest = os.path.join(self.checkpoint("run", STOP), "model.safetensors")
        with open(manifest, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x7f")
        before = self.contents("run")
        self.start("run", "--resume", "auto", expect=65)
        with open(manifest, "ab") as file:
            file.write(b"x")
        before["checkpoints/step-00000008/model.safetensors"] += b"x"
        self.start("run", "--resume", "auto", expect=65)
        self.assertEqual(self.contents("run"), before)

    def test_a_refused_start_creates_no_folder(self):
        source = self.stopped("run")
        for args, code in [(["--set", "optimizer.lr=1"], 78), (["--accept-change", "optimizer.l"], 64)]:
            self.start("new", "--resume", source, *args, expect=code)
            self.assertFalse(os.path.exists(self.run_folder("new")))


if __name__ == "__main__":
    harness.main()
