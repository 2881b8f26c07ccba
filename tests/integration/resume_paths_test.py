"""--resume PATH loses nothing of any run, and the command that a failure prints goes on where it must: the unbroken run, bit for bit."""
import filecmp
import json
import os
import re
import shutil
import subprocess

import harness

KEYS = ["step", "loss", "lr", "grad_norm", "samples_seen", "applied_steps"]
STEPS = 30


class ResumePaths(harness.IntegrationTest):
    """`whole` runs 30 steps and keeps step 10, 20 and 30; `source` stopped after step 5."""

    def setUp(self):
        super().setUp()
        self.config(steps=STEPS)
        self.options = ("--nproc", "2", "--device", "cpu", "--set", "checkpoint.every=10")
        self.start("whole")
        self.start("source", "--stop-after", "5", expect=75)
        self.source = self.checkpoint("source", 5)

    def start(self, name, *args, expect=0):
        return self.launch(*self.options, "--output-dir", self.run_folder(name), *args, expect=expect)

    def checkpoint(self, name, step, *parts):
        return os.path.join(self.run_folder(name), "checkpoints", *parts, f"step-{step:08d}")

    def steps_in(self, *parts):
        folder = os.path.join(self.run_folder(parts[0]), "checkpoints", *parts[1:])
        return sorted(int(name[5:]) for name in os.listdir(folder) if name.startswith("step-")) if os.path.isdir(folder) else []

    def abandoned(self, name):
        return sorted(entry for entry in os.listdir(os.path.join(self.run_folder(name), "checkpoints")) if entry.startswith("abandoned-"))

    def contents(self, name):
        """Every file of a run's folder with its bytes."""
        found = {}
        for folder, _, files in os.walk(self.run_folder(name)):
            for file in files:
                with open(os.path.join(folder, file), "rb") as opened:
                    found[os.path.relpath(os.path.join(folder, file), self.run_folder(name))] = opened.read()
        return found

    def assert_is_whole(self, name, first_step=1):
        """The run is the unbroken one from `first_step` on."""
        for key in KEYS:
            self.assertEqual(self.column(key, name), self.column(key, "whole")[first_step - 1:], f"{name}: {key}")
        evals = [[r for r in self.evaluations(n) if r["step"] % 10 == 0 and r["step"] >= first_step] for n in [name, "whole"]]
        self.assertEqual(*evals)
        for file in ["model.safetensors", "optimizer.safetensors"]:
            self.assertEqual(self.weights_hash(STEPS, name, file), self.weights_hash(STEPS, "whole", file), f"{name}: {file}")

    # Another run's folder

    def test_another_runs_folder_is_refused_whatever_it_holds_and_loses_nothing(self):
        self.start("other", "--set", "train.seed=9")
        shutil.copytree(self.run_folder("whole"), self.run_folder("copy"))
        self.start("no-commit", "--set", "checkpoint.last=false", "--set", "checkpoint.every=0")
        before = {name: self.contents(name) for name in ["other", "copy", "no-commit"]}
        for name in before:
            for source in [self.checkpoint("whole", 10), self.checkpoint("whole", 10) + "/", self.source]:
                refused = self.start(name, "--resume", source, expect=73)
                for word in [self.run_folder(name), source, "--resume auto", "--output-dir"]:
                    self.assertIn(word, refused.last_line)
        # Of the same folder by another name there is no more to lose.
        refused = self.launch(*self.options, "--output-dir", os.path.join(self.folder, ".", "other"), "--resume", self.source, expect=73)
        self.assertIn("is not of that run", refused.last_line)
        self.assertEqual({name: self.contents(name) for name in before}, before)

    def test_a_checkpoint_of_its_own_is_known_by_any_name(self):
        os.symlink(self.run_folder("whole"), os.path.join(self.folder, "alias"))
        spellings = [self.checkpoint("whole", 10) + "/", os.path.join(self.folder, "alias", "checkpoints", "step-00000010"),
                     os.path.relpath(self.checkpoint("whole", 10))]
        for i, spelling in enumerate(spellings):
            self.start("whole", "--resume", spelling, "--stop-after", "11", expect=75)
            self.assertEqual(len(self.abandoned("whole")), i + 1)
            self.assertEqual(self.steps_in("whole"), [10, 11])
        self.assertFalse(os.path.exists(os.path.join(self.run_folder("whole"), "resumed_from")))

    def test_two_runs_cannot_share_a_folder_by_two_spellings(self):
        self.config(steps=100000)
        first = subprocess.Popen(self.command(*self.options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(first.wait)
        self.addCleanup(first.kill)
        self.wait_until(lambda: os.path.exists(os.path.join(self.run_folder(), "metrics.jsonl")), "it trains")
        for spelling in ["run/", "./run", "run/."]:
            refused = self.launch(*self.options, "--output-dir", os.path.join(self.folder, spelling), "--resume", "auto", expect=73)
            self.assertIn(str(first.pid), refused.last_line)

    # Back in one's own folder

    def test_going_back_moves_the_later_checkpoints_and_metrics_away(self):
        shutil.copytree(self.run_folder("whole"), self.run_folder("again"))
        with open(os.path.join(self.run_folder("again"), "metrics.jsonl")) as file:
            lines = [line for line in file if json.loads(line)["step"] > 10]
        run = self.start("again", "--resume", self.checkpoint("again", 10), "--set", "checkpoint.keep=1")
        (left,) = self.abandoned("again")
        self.assertRegex(left, r"^abandoned-10-\d{8}T\d{6}Z$")
        self.assertRegex(run.out, r"2 checkpoints of steps after 10 \([\d.]+ [KM]iB\) moved .*" + left + ".*never removed")
        self.assertEqual(self.steps_in("again", left), [20, 30])
        for step in [20, 30]:
            for file in ["model.safetensors", "optimizer.safetensors", "manifest.json"]:
                was, moved = (os.path.join(place, file) for place in [self.checkpoint("whole", step), self.checkpoint("again", step, left)])
                self.assertTrue(filecmp.cmp(was, moved, shallow=False), moved)
        with open(os.path.join(self.run_folder("again"), "checkpoints", left, "metrics.jsonl")) as file:
            self.assertEqual(file.readlines(), lines)
        self.assertEqual(self.steps_in("again"), [30], "keep counts without what was left")
        self.assert_is_whole("again")
        self.assertIn("nothing to do", self.start("again", "--resume", "auto").out)

    def test_auto_moves_a_damaged_newer_checkpoint_away(self):
        shutil.copytree(self.run_folder("whole"), self.run_folder("again"))
        with open(os.path.join(self.checkpoint("again", 30), "model.safetensors"), "r+b") as file:
            file.truncate(1000)
        run = self.start("again", "--resume", "auto")
        self.assertIn("1 checkpoint of steps after 20", run.out)
        (left,) = self.abandoned("again")
        self.assertEqual(self.steps_in("again", left), [30])
        self.assert_is_whole("again")

    def test_a_refused_resume_moves_nothing(self):
        before = self.contents("whole")
        self.start("whole", "--resume", self.checkpoint("whole", 10), "--set", "optimizer.lr=1e-3", expect=78)
        self.assertEqual(self.contents("whole"), before)

    def test_an_abandoned_past_is_taken_up_again_with_its_metrics(self):
        name = "again"
        self.start(name, "--stop-after", "25", expect=75)
        self.start(name, "--resume", self.checkpoint(name, 10), "--stop-after", "17", expect=75)
        (first,) = self.abandoned(name)
        self.assertEqual(self.steps_in(name), [10, 17])
        self.start(name, "--resume", self.checkpoint(name, 20, first))
        self.assertEqual(len(self.abandoned(name)), 2)
        (second,) = [left for left in self.abandoned(name) if left != first]
        self.assertEqual(self.steps_in(name, second), [17])
        self.assert_is_whole(name)
        # Into another folder it is a checkpoint like any other.
        self.start("new", "--resume", self.checkpoint(name, 20, first))
        self.assert_is_whole("new", 21)

    def test_an_abandoned_past_that_was_complete_is_the_run_again(self):
        name = "again"
        self.start(name)
        self.start(name, "--resume", self.checkpoint(name, 10), "--stop-after", "17", expect=75)
        (first,) = self.abandoned(name)
        past = self.checkpoint(name, 30, first)
        before = sorted(os.listdir(past))
        self.assertIn("nothing to do: the run is at step 30", self.start(name, "--resume", past).out)
        self.assertEqual(self.steps_in(name)[-1], 30)
        self.assert_is_whole(name)
        self.assertIn("nothing to do: the run is at step 30", self.start(name, "--resume", "auto").out)
        self.assertEqual(sorted(os.listdir(past)), before)

    def test_weights_to_start_from_may_come_from_anywhere(self):
        weights = os.path.join(self.checkpoint("whole", 30), "model.safetensors")
        self.start("whole", "--set", f"model.init_from={weights}", expect=73)
        self.start("tuned", "--set", f"model.init_from={weights}", "--stop-after", "2", expect=75)
        self.assertFalse(os.path.exists(os.path.join(self.run_folder("tuned"), "resumed_from")))
        self.start("tuned", "--set", f"model.init_from={weights}", "--resume", "auto", "--stop-after", "3", expect=75)

    # The origin

    def test_a_start_from_elsewhere_remembers_it_until_it_has_a_checkpoint(self):
        shutil.copytree(self.run_folder("source"), self.run_folder("gone"))
        source = self.checkpoint("gone", 5)
        self.fail_at("new", "write:\"step\":7,", "--resume", os.path.relpath(source))
        with open(os.path.join(self.run_folder("new"), "resumed_from")) as file:
            self.assertEqual(file.read(), os.path.realpath(source) + "\n")
        self.start("new", expect=73)
        os.rename(self.run_folder("gone"), self.run_folder("moved"))
        refused = self.start("new", "--resume", "auto", expect=66)
        for word in [source, os.path.join(self.run_folder("new"), "resumed_from"), "bring that checkpoint back"]:
            self.assertIn(word, refused.last_line)
        os.rename(self.run_folder("moved"), self.run_folder("gone"))
        os.rename(self.run_folder("new"), self.run_folder("newer"))
        self.start("newer", "--resume", "auto")
        self.assert_is_whole("newer", 6)
        shutil.rmtree(self.run_folder("gone"))
        self.assertIn("nothing to do", self.start("newer", "--resume", "auto").out)

    def test_a_start_from_elsewhere_that_is_refused_leaves_its_folder_open(self):
        self.start("new", "--resume", self.source, "--set", "optimizer.lr=1e-3", expect=78)
        self.assertFalse(os.path.exists(self.run_folder("new")))
        other = self.write("other.txt", "other data " * 1000)
        self.start("new", "--resume", self.source, "--set", f"data.train={other}", expect=65)
        self.assertEqual(sorted(os.listdir(self.run_folder("new"))), ["logs", "status.json"])
        self.start("new", "--resume", self.checkpoint("whole", 20))
        self.assert_is_whole("new", 21)

    # The command that is printed

    def fail_at(self, name, where, *args):
        """Runs with a rank that is killed."""
        command = self.command(*self.options, "--output-dir", self.run_folder(name), *args)
        process = subprocess.run(command, capture_output=True, text=True, timeout=harness.PATIENCE_S, stdin=subprocess.DEVNULL,
                                 env={**os.environ, "DDP_RANK": self.rank_with_faults(), "DIE_AT": where})
        result = harness.Result(process)
        self.assertEqual(result.code, 137, f"{where}: {result.out}\n{result.err}")
        return result

    def advised(self, result):
        """The command of the last line, and whether it is called a resume."""
        found = re.search(r"; (resume|no checkpoint yet, start again): (.*)$", result.last_line)
        self.assertIsNotNone(found, result.last_line)
        return found.group(2), found.group(1) == "resume"

    def follow(self, result):
        command, _ = self.advised(result)
        run = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=harness.PATIENCE_S, stdin=subprocess.DEVNULL)
        self.assertEqual(run.returncode, 0, f"{command}\n{run.stdout}\n{run.stderr}")
        found = re.search(r"resumed after step (\d+)", run.stdout)
        return int(found.group(1)) if found else 0

    # What a rank does, in order, and whether a run of its own has a checkpoint by then: of step 10, of step 20.
    PHASES = [("start", 0), ("rename:config.yaml", 0), ("open:metrics.jsonl", 0), ('write:"step":7,', 0), ("open:.tmp-step-00000010", 0),
              ("rename:/step-00000010", 0), ('write:"step":13,', 10), ('write:{"type":"eval","step":20', None),
              ("rename:/step-00000020", 10), ('write:"step":27,', 20)]

    def check_phases(self, args, from_step, first_step, prepare=None, phases=None):
        for i, (where, committed) in enumerate(phases or self.PHASES):
            with self.subTest(args=args, where=where):
                name = f"phase-{i}"
                if prepare:
                    prepare(name)
                failed = self.fail_at(name, where, *[word.format(run=self.run_folder(name)) for word in args])
                own = self.steps_in(name)
                got_to = self.follow(failed)
                want = from_step if committed == 0 else committed
                if committed is None:
                    want = max(own)
                self.assertEqual(got_to, want)
                self.assert_is_whole(name, first_step)
                shutil.rmtree(self.run_folder(name))

    def test_the_advice_after_a_failure_in_every_phase_of_a_first_start(self):
        self.check_phases([], 0, 1)
        self.check_phases(["--resume", "none"], 0, 1, phases=self.PHASES[:4])
        self.check_phases(["--resume", "auto"], 0, 1, phases=self.PHASES[:4])

    def test_the_advice_after_a_failure_in_every_phase_of_a_start_from_elsewhere(self):
        in_load = [("open:source/checkpoints/step-00000005/optimizer", 0)]
        self.check_phases(["--resume", self.source], 5, 6, phases=in_load + self.PHASES)
        self.check_phases(["--resume=" + os.path.relpath(self.source) + "/"], 5, 6, phases=self.PHASES[:2])

    def test_the_advice_after_a_failure_in_every_phase_of_a_resume(self):
        def stopped(name):
            self.start(name, "--stop-after", "12", expect=75)
        phases = [("start", 12), ("open:step-00000012/optimizer", 12), ("open:metrics.jsonl", 12), ('write:"step":13,', 12),
                  ("rename:/step-00000020", 12), ('write:"step":27,', 20)]
        self.check_phases(["--resume", "auto"], 12, 1, prepare=stopped, phases=phases)

    def test_the_advice_after_a_failure_in_every_phase_of_going_back(self):
        def whole(name):
            shutil.copytree(self.run_folder("whole"), self.run_folder(name))
        phases = [("start", 10), ("open:step-00000010/optimizer", 10), ("rename:Z/metrics.jsonl", 10), ("rename:Z/step-00000030", 10),
                  ("rename:Z/step-00000020", 10), ("rename:config.yaml", 10), ("open:.tmp-step-00000020", 10),
                  ("rename:checkpoints/step-00000020", 10), ("rename:checkpoints/step-00000030", 20)]
        self.check_phases(["--resume", "{run}/checkpoints/step-00000010"], 10, 1, prepare=whole, phases=phases)

    def test_no_advice_where_the_same_command_would_fail_again(self):
        nan = self.launch("--nproc", "2", "--set", "optimizer.lr=1e6", "--set", "train.clip_norm=0", "--output-dir", self.run_folder("nan"),
                          expect=79)
        other = self.start("whole", "--resume", "auto", "--set", "train.seed=9", expect=78)
        self.assertIn("FAILED", nan.last_line)
        for refused in [nan, other]:
            self.assertNotIn("resume: ", refused.last_line)
            self.assertNotIn("start again", refused.last_line)

    def test_where_nothing_was_committed_the_advice_is_not_called_a_resume(self):
        for where, word in [("start", ""), ('write:"step":7,', "--resume auto ")]:
            command, is_resume = self.advised(self.fail_at("new", where, "--stop-after", "9"))
            self.assertFalse(is_resume)
            self.assertEqual(command, " ".join([harness.LAUNCH, *((word.strip(),) if word else ()), *self.options, "--output-dir",
                                                self.run_folder("new"), os.path.join(self.folder, "train.yaml")]))


if __name__ == "__main__":
    harness.main()
