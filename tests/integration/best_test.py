"""checkpoint.best: the checkpoint of the best evaluation stays, and is the unbroken run's however the run was cut."""
import hashlib
import json
import os
import random
import shutil
import subprocess

import harness

STEPS = 30
# What is learnt of which letter follows which is wrong of the held-out text, whose letters are shuffled: each of the evaluations at 5, 10,
# 15 and 20 is better than those before, those at 25 and 30 are worse, by 2% and more. At 10, 20 and 30 a checkpoint is due.
OVERFITTING = ("optimizer.lr=0.0045", "schedule.name=constant", "schedule.warmup_steps=0", "schedule.min_lr=0", "eval.every=5",
               "checkpoint.every=10", "checkpoint.keep=1", "checkpoint.best=loss")
BESTS = [5, 10, 15, 20]


class Best(harness.IntegrationTest):
    def setUp(self):
        super().setUp()
        self.config(steps=STEPS)
        with open(os.path.join(self.folder, "valid.txt"), encoding="utf-8") as file:
            letters = list(file.read())
        random.Random(1).shuffle(letters)
        self.write("valid.txt", "".join(letters))
        self.options = ["--nproc", "2", "--device", "cpu", *(word for setting in OVERFITTING for word in ("--set", setting))]
        self.whole = self.start("whole")

    def start(self, name, *args, expect=0):
        return self.launch(*self.options, "--output-dir", self.run_folder(name), *args, expect=expect)

    def start_with(self, name, *args, expect, **faults):
        """With the ranks' faults of tests/integration/die_at.cpp."""
        process = subprocess.run(self.command(*self.options, "--output-dir", self.run_folder(name), *args), capture_output=True, text=True,
                                 timeout=harness.PATIENCE_S, stdin=subprocess.DEVNULL, check=False,
                                 env={**os.environ, "DDP_RANK": self.rank_with_faults(), **faults})
        self.assertEqual(process.returncode, expect, f"{faults}: {process.stdout}\n{process.stderr}")
        return harness.Result(process)

    def path(self, name, *parts):
        return os.path.join(self.run_folder(name), "checkpoints", *parts)

    def step_of_best(self, name, *parts):
        """None where there is none."""
        manifest = self.path(name, *parts, "best", "manifest.json")
        if not os.path.exists(manifest):
            return None
        with open(manifest, encoding="utf-8") as file:
            return json.load(file)["step"]

    def entries(self, name):
        return sorted(os.listdir(self.path(name)))

    def hash_of_best(self, name, file):
        with open(self.path(name, "best", file), "rb") as opened:
            return hashlib.sha256(opened.read()).hexdigest()

    def assert_best_is_that_of_the_whole_run(self, name):
        self.assertEqual(self.evaluations(name), self.evaluations("whole"))
        self.assertEqual(self.step_of_best(name), 20)
        for file in ["model.safetensors", "optimizer.safetensors"]:
            self.assertEqual(self.hash_of_best(name, file), self.hash_of_best("whole", file), f"{name}: {file}")

    def test_the_checkpoint_of_the_lowest_loss_stays_beside_the_newest(self):
        losses = [r["loss"] for r in self.records("whole", "eval")]
        self.assertEqual(losses.index(min(losses)), 3, "the run is not what this test is about")
        self.assertEqual([r["step"] for r in self.records("whole", "eval") if r.get("best")], BESTS)
        self.assertEqual(self.entries("whole"), ["best", "step-00000030"])
        self.assertFalse(os.path.islink(self.path("whole", "best")))
        self.assertEqual(self.step_of_best("whole"), 20)
        for step in range(5, STEPS + 1, 5):
            (line,) = [line for line in self.whole.out.splitlines() if line.startswith(f"eval at step {step}: ")]
            self.assertEqual(line.endswith(", the best so far"), step in BESTS, line)
        self.assertIn(f"  best        {self.path('whole', 'best')}, of step 20\n", self.whole.out)
        # Its weights are those of that step, which another run keeps under its own name.
        self.start("all", "--set", "checkpoint.best=none", "--set", "checkpoint.keep=9")
        self.assertEqual(self.hash_of_best("whole", "model.safetensors"), self.weights_hash(20, "all"))
        self.assertEqual([r for r in self.records("all", "eval") if "best" in r], [])
        self.assertNotIn("best", self.entries("all"))

    def test_a_run_in_pieces_has_the_best_of_the_unbroken_one(self):
        for cuts in [[3, 16], [5, 15], [10, 20, 25], [20], [12, 21, 29]]:
            name = "cut-" + "-".join(map(str, cuts))
            for cut in cuts:
                self.start(name, "--resume", "auto", "--stop-after", str(cut), expect=75)
            self.start(name, "--resume", "auto")
            self.assert_best_is_that_of_the_whole_run(name)

    def test_a_run_that_is_killed_while_it_links_ends_with_the_same_best(self):
        for i, (where, before) in enumerate([
                ('write:{"type":"eval","step":5', None), ("open:.tmp-step-00000005", None), ("mkdir:.tmp-best", None),
                ("rename:checkpoints/best", None), ('write:{"type":"eval","step":15', 10), ("open:.tmp-step-00000015", 10),
                ("rename:checkpoints/step-00000015", 10), ("rename:.replaced-best", 10)]):
            with self.subTest(where=where):
                name = f"killed-{i}"
                if before:  # the first one is there already
                    self.start(name, "--stop-after", "10", expect=75)
                self.start_with(name, "--resume", "auto", expect=137, DIE_AT=where)
                self.assertEqual(self.step_of_best(name), before)
                self.start(name, "--resume", "auto")
                self.assertEqual(self.entries(name), ["best", "step-00000030"])
                self.assert_best_is_that_of_the_whole_run(name)

    def test_a_best_that_is_missing_while_the_new_one_moves_in_comes_back(self):
        self.start("killed", "--stop-after", "10", expect=75)
        self.start_with("killed", "--resume", "auto", expect=137, DIE_AT="rename:checkpoints/best")
        self.assertIn(".replaced-best", self.entries("killed"))
        self.start("killed", "--resume", "auto", "--stop-after", "17", expect=75)
        self.assertEqual(self.entries("killed"), ["best", "step-00000017"])
        self.assertEqual(self.step_of_best("killed"), 15)

    def test_going_back_leaves_a_later_best_and_finds_it_again(self):
        keep = ("--set", "checkpoint.keep=9")
        self.start("again", *keep)
        # Back to step 10: the best up to there was its own.
        self.start("again", *keep, "--resume", self.path("again", "step-00000010"), "--stop-after", "12", expect=75)
        self.assertEqual(self.step_of_best("again"), 10)
        (left,) = [entry for entry in self.entries("again") if entry.startswith("abandoned-10-")]
        self.assertEqual(self.step_of_best("again", left), 20)
        # On from there it is the same again.
        shutil.copytree(self.run_folder("again"), self.run_folder("back"), symlinks=True)
        self.start("again", *keep, "--resume", "auto")
        self.assert_best_is_that_of_the_whole_run("again")
        # And so it is where the past that was left is taken up.
        self.start("back", *keep, "--resume", self.path("back", left, "step-00000020"))
        self.assert_best_is_that_of_the_whole_run("back")

    def test_a_run_goes_on_from_its_best_by_that_name(self):
        for spelling in [self.path("again", "best"), self.path("again", "best") + "/"]:
            shutil.copytree(self.run_folder("whole"), self.run_folder("again"))
            run = self.start("again", "--resume", spelling, "--stop-after", "22", expect=75)
            self.assertIn("resumed after step 20", run.out)
            self.assertIn("1 checkpoint of steps after 20", run.out)
            self.assertEqual([r["step"] for r in self.records("again", "step")], list(range(1, 23)))
            self.start("again", "--resume", "auto")
            self.assert_best_is_that_of_the_whole_run("again")
            shutil.rmtree(self.run_folder("again"))
        # Of another run it is a checkpoint like any other, and no best of the new one.
        self.start("new", "--resume", self.path("whole", "best"))
        self.assertEqual([(r["step"], r.get("best", False)) for r in self.records("new", "eval")], [(25, True), (30, False)])
        self.assertEqual(self.step_of_best("new"), 25)

    def test_a_best_is_the_newest_once_a_run_went_on_from_it(self):
        shutil.copytree(self.run_folder("whole"), self.run_folder("again"))
        killed = self.start_with("again", "--resume", self.path("again", "best"), expect=137, DIE_AT="open:.tmp-step-00000030")
        self.assertIn("resume: ", killed.last_line)
        self.assertIn("--resume auto", killed.last_line)
        self.assertIn("resumed after step 20", self.start("again", "--resume", "auto").out)
        self.assert_best_is_that_of_the_whole_run("again")

    def test_a_full_disk_is_a_warning_and_the_best_is_linked_when_there_is_room(self):
        run = self.start_with("full", "--set", "checkpoint.keep=9", expect=0, FULL_AT=".tmp-best")
        self.assertRegex(run.out, r"warning: checkpoints/best is not that of step 20: cannot create .*\.tmp-best: No space left on device; "
                                  "it is tried again after each evaluation\n")
        self.assertNotIn("  best        ", run.out)
        self.assertIsNone(self.step_of_best("full"))
        self.assertIn("nothing to do", self.start("full", "--resume", "auto").out)
        self.assert_best_is_that_of_the_whole_run("full")

    def test_a_run_may_ask_for_its_best_later(self):
        self.start("later", "--set", "checkpoint.best=none", "--stop-after", "12", expect=75)
        self.assertEqual(self.entries("later"), ["step-00000012"])
        self.start("later", "--resume", "auto")
        self.assertEqual([r["step"] for r in self.records("later", "eval") if r.get("best")], [15, 20])
        self.assertEqual(self.step_of_best("later"), 20)

    def test_the_best_may_be_that_of_the_highest_accuracy(self):
        config = self.write("images.yaml", f"""
model: {{name: resnet, block: basic, blocks: [1, 1], width: 8, stem: small, image_size: 8, classes: 4}}
data: {{format: synthetic, train: 400, valid: 100}}
train: {{steps: 24, micro_batch: 4, global_batch: 8, seed: 3}}
optimizer: {{name: sgd, lr: 0.3, momentum: 0.9}}
eval: {{every: 2, samples: 32}}
checkpoint: {{every: 0, best: accuracy}}
output_dir: {self.run_folder("images")}
""")
        self.launch(config=config)
        evals = self.records("images", "eval")
        best = max(evals, key=lambda r: r["top1"])  # the first of equals
        self.assertEqual([r["step"] for r in evals if r.get("best")][-1], best["step"])
        self.assertEqual(self.step_of_best("images"), best["step"])

    def test_it_is_refused_where_nothing_would_be_the_best(self):
        for settings, says in [(["checkpoint.best=accuracy"], "no evaluation of gpt2 counts"), (["eval.every=0"], "eval.every is 0"),
                               (["checkpoint.best=last"], "checkpoint.best")]:
            refused = self.start("refused", *(word for setting in settings for word in ("--set", setting)), expect=78)
            self.assertIn(says, refused.last_line)
            self.assertFalse(os.path.exists(self.run_folder("refused")))


if __name__ == "__main__":
    harness.main()
