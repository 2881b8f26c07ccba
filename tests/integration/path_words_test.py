"""Paths as people type them: ~ and $NAME mean what a shell would have made of them, and a printed command names the same place again."""
import os
import re
import subprocess

import harness

CONFIG = """
model: {{name: gpt2, layers: 1, heads: 2, width: 16, context: 16}}
data: {{format: bytes, train: {train}, valid: {valid}}}
train: {{steps: 8, micro_batch: 4, global_batch: 8}}
output_dir: {output}
"""


class PathWords(harness.IntegrationTest):
    """The working directory is the test's own folder, where a `~` must not appear."""

    def setUp(self):
        super().setUp()
        self.home = os.path.join(self.folder, "home of ada")
        self.scratch = os.path.join(self.folder, "odd $HOME ~")  # a value is taken as it is
        for folder in (self.home, self.scratch):
            os.makedirs(folder)
        os.rename(os.path.join(self.folder, "train.txt"), os.path.join(self.scratch, "train.txt"))
        self.yaml("~/run")
        self.environment = {**os.environ, "HOME": self.home, "SCRATCH": self.scratch}
        self.environment.pop("NOT_SET", None)

    def yaml(self, output, train="$SCRATCH/train.txt", valid='""'):
        return self.write("train.yaml", CONFIG.format(train=train, valid=valid, output=output))

    def start(self, *args, expect=0, words=("--device", "cpu")):
        process = subprocess.run([harness.LAUNCH, *words, *args], capture_output=True, text=True, timeout=harness.PATIENCE_S,
                                 stdin=subprocess.DEVNULL, cwd=self.folder, env=self.environment, check=False)
        result = harness.Result(process)
        self.assertEqual(result.code, expect, f"{args}\n{result.out}\n{result.err}")
        return result

    def assert_no_such_folders(self):
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith(("~", "$"))], [])

    def shell(self, command):
        """As somebody pastes it."""
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, errors="replace",
                              timeout=harness.PATIENCE_S, stdin=subprocess.DEVNULL, cwd=self.folder, env=self.environment, check=False)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def test_home_and_variables_are_where_they_are(self):
        places = {(): "home of ada/run", ("--set", "output_dir=~/x/a"): "home of ada/x/a",
                  ("--set", "output_dir=$SCRATCH/b"): "odd $HOME ~/b", ("--output-dir=~/x/c",): "home of ada/x/c",
                  ("--output-dir", "${SCRATCH}/d"): "odd $HOME ~/d", ("--output-dir", "e$$HOME"): "e$HOME"}
        for args, place in places.items():
            self.start(*args, "train.yaml")
            folder = os.path.join(self.folder, place)
            self.assertTrue(os.path.exists(os.path.join(folder, "checkpoints", "step-00000008")), place)
            with open(os.path.join(folder, "config.yaml"), encoding="utf-8") as file:
                config = file.read()
            self.assertIn(f'train: "{self.scratch}/train.txt"', config)
            self.assertIn(place, config)
        self.assert_no_such_folders()

    def test_a_run_of_such_paths_goes_on_and_is_sampled_and_evaluated(self):
        self.start("--stop-after", "4", "train.yaml", expect=75)
        run = os.path.join(self.home, "run")
        self.environment["SCRATCH"] = "/elsewhere"  # what is stored is not read again
        nothing = self.write("nothing.yaml", "output_dir: ~/run\n")
        self.start("--resume", "auto", "--stop-after", "5", nothing, expect=75)
        self.start("--resume", "~/run/checkpoints/step-00000005", "--output-dir", "~/fork", nothing)
        self.start("sample", "~/run".replace("~", self.home), "--prompt", "12", "--tokens", "3", words=())
        self.start("eval", "--device", "cpu", "--set", "data.valid=~/../valid.txt", run, words=())
        self.assert_no_such_folders()
        refused = self.start("--resume", "auto", "train.yaml", expect=66)
        self.assertIn("/elsewhere/train.txt", refused.last_line)

    def test_what_cannot_be_meant_is_refused_before_anything_is_made(self):
        before = sorted(os.listdir(self.folder))
        for args, says in [(("--set", "output_dir=$NOT_SET/x"), "output_dir is \"$NOT_SET/x\", which needs the variable NOT_SET"),
                           (("--set", "data.train=${NOT_SET}/x"), "data.train is"), (("--output-dir", "~root/x"), "another user's"),
                           (("--set", "output_dir=${HOME"), "write $$ for a dollar"), (("--set", "data.valid=$1"), "data.valid"),
                           (("--set", "model.init_from=a$/b"), "model.init_from"), (("--resume", "$NOT_SET/x"), "--resume")]:
            self.assertIn(says, self.start(*args, "train.yaml", expect=78).last_line)
        del self.environment["HOME"]
        self.assertIn("HOME", self.start("train.yaml", expect=78).last_line)
        self.assertEqual(sorted(os.listdir(self.folder)), before)
        # In what is no path they mean nothing.
        self.environment["HOME"] = self.home
        self.assertIn("$HOME", self.start("--set", "optimizer.name=$HOME", "--output-dir", "x", "train.yaml", expect=78).last_line)

    ODD = ["a b", "it's", 'quo"te', "$$HOME", "a~", "./~", "./-x", "`id`", "a;b&c|d*?", "back\\slash", "#1 !x", "caf\u00e9"]

    def test_every_printed_command_names_the_same_place(self):
        for i, name in enumerate(self.ODD):
            with self.subTest(name=name):
                folder = os.path.join(name, str(i))
                real = os.path.join(self.folder, folder.replace("$$", "$"))
                stopped = self.start("--output-dir", folder, "--stop-after", "3", "train.yaml", expect=75)
                command = re.search(r"; resume: (.*)$", stopped.last_line).group(1)
                self.assertIn("resumed after step 3", self.shell(command))
                out = self.shell(command)  # again: it is done
                self.assertIn("nothing to do", out)
                sample = re.search(r"^  sample      ddp-launch (.*)$", self.start("--output-dir", folder + "2", "train.yaml").out, re.M)
                self.shell(f"'{harness.LAUNCH}' {sample.group(1)}")
                refused = self.start("--output-dir", folder, "train.yaml", expect=73)
                self.assertIn("nothing to do", self.shell(re.search(r"go on with it: (.*); or choose", refused.last_line).group(1)))
                refused = self.start("--output-dir", folder, "--resume", "auto", "--set", "train.steps=9", "train.yaml", expect=78)
                self.shell(re.search(r"or change it from here on: (.*)$", refused.last_line).group(1))
                self.assertTrue(os.path.exists(os.path.join(real, "checkpoints", "step-00000009")))

    def test_a_path_that_a_resume_prints_is_the_path_that_it_had(self):
        """Where `resumed_from` cannot be written the command has to say PATH."""
        for i, name in enumerate(self.ODD):
            with self.subTest(name=name):
                source, new = os.path.join(name, "s"), f"new-{i}"
                self.start("--output-dir", source, "--stop-after", "3", "train.yaml", expect=75)
                os.makedirs(os.path.join(self.folder, new, "resumed_from.tmp"))
                self.environment.update(DDP_RANK=self.rank_with_faults(), DIE_AT="start")
                failed = self.start("--nproc", "2", "--resume", source, "--output-dir", new, "train.yaml", expect=137)
                self.environment.pop("DDP_RANK")
                command = re.search(r"; resume: (.*)$", failed.last_line).group(1)
                self.assertIn("resumed after step 3", self.shell(command))


if __name__ == "__main__":
    harness.main()
