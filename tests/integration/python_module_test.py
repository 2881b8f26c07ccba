"""The module ddp_launch: runs from Python, as a loop over their metrics. What needs no training has a program that plays ddp-launch."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap
import warnings

import harness

MODULE = os.path.join(harness.ROOT, "scripts", "python")
sys.path.insert(0, MODULE)
sys.dont_write_bytecode = True
warnings.simplefilter("error")

import ddp_launch  # noqa: E402  (found by the line above)

SCRIPT = """
import sys
sys.path.insert(0, {module!r})
import ddp_launch
"""
# Announces a run in the working directory that has a line of an earlier start, then does what follows.
PLAYED = """
#!{python}
import json, os, pathlib, sys, time
metrics = pathlib.Path("metrics.jsonl")
metrics.write_text('{{"type":"step","step":1}}\\n')
def write(text):
    with open(metrics, "a") as file:
        file.write(text)
def announce():
    os.write(int(sys.argv[sys.argv.index("--announce") + 1]), json.dumps({{"output_dir": ".", "metrics_from": metrics.stat().st_size}}).encode() + b"\\n")
"""


def steps(lines):
    return [line["step"] for line in lines if line["type"] == "step"]


class PythonModule(harness.IntegrationTest):
    def run_(self, **options):
        return ddp_launch.run(os.path.join(self.folder, "train.yaml"), **{"device": "cpu", "nproc": 2, **options})

    def lines(self, name="run"):
        with open(os.path.join(self.run_folder(name), "metrics.jsonl"), encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def played(self, script):
        """A run of a program that plays ddp-launch, in a folder of its own."""
        text = PLAYED.format(python=sys.executable).strip() + "\n" + textwrap.dedent(script)
        program = self.write("played", text)
        os.chmod(program, 0o755)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        self.addCleanup(os.environ.__setitem__, "DDP_LAUNCH", harness.LAUNCH)
        os.environ["DDP_LAUNCH"] = program
        return ddp_launch

    def python(self, script):
        """Another Python, which may be interrupted and killed; what it prints comes line by line."""
        text = SCRIPT.format(module=MODULE) + textwrap.dedent(script)
        process = subprocess.Popen([sys.executable, "-u", "-c", text, os.path.join(self.folder, "train.yaml")], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=harness.default_signals)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def launcher_and_ranks(self, process):
        [launcher] = harness.children_of(process.pid)
        return [launcher, *harness.children_of(launcher)]

    def assert_gone(self, pids):
        self.wait_until(lambda: all(harness.state_of(pid) in (None, "Z") for pid in pids), "launcher and ranks have ended")

    def assert_committed(self):
        """The last step in the metrics has a checkpoint."""
        self.weights_hash(steps(self.lines())[-1])

    def test_a_run_yields_every_line_of_its_metrics_once_and_in_order(self):
        self.config()
        run = self.run_()
        lines = list(run)
        self.assertEqual(lines, self.lines())
        self.assertEqual((steps(lines), run.exit_code, run.state, run.stopped), ([*range(1, 21)], 0, "finished", False))
        self.assertEqual(run.folder, pathlib.Path(self.run_folder()))
        self.assertIn("finished steps 1-20 of 20", run.console)
        self.assertEqual(list(run), [])

    def test_a_resume_yields_its_own_lines_alone_and_none_that_is_moved_away(self):
        self.config()
        first = list(self.run_(checkpoint={"every": 8}, stop_after=10))
        self.assertEqual(steps(first), [*range(1, 11)])
        metrics = pathlib.Path(self.run_folder(), "metrics.jsonl")
        metrics.write_bytes(b"".join(metrics.read_bytes().splitlines(keepends=True)[:-1]))  # without the evaluation of step 10
        made_up = [(line["type"], line["step"]) for line in self.run_(resume="auto", stop_after=11)]
        self.assertEqual(made_up, [("eval", 10), ("step", 11)])
        checkpoint = os.path.join(self.run_folder(), "checkpoints", "step-00000008")
        lines = list(self.run_(resume=checkpoint, accept_change="optimizer.lr", **{"optimizer.lr": 1e-4}))
        self.assertEqual(steps(lines), [*range(9, 21)])
        self.assertEqual(lines[0]["type"], "change")
        self.assertEqual(steps(self.lines()), [*range(1, 21)])
        self.assertEqual(self.lines()[-len(lines):], lines)

    def test_a_loop_that_is_left_stops_the_run_with_a_checkpoint_and_another_one_goes_on_where_it_was(self):
        self.config(steps=100000)
        run = self.run_()
        seen = []
        for line in run:
            seen.append(line)
            if line["step"] == 3:
                break
        self.assertEqual((run.exit_code, run.stopped), (75, True))
        self.assert_committed()
        after = self.run_(resume="auto", stop_after=steps(self.lines())[-1] + 2)
        later = list(after)
        seen += run
        self.assertEqual(seen + later, self.lines())
        with self.assertRaises(ZeroDivisionError):
            for _ in self.run_(resume="auto", stop_after=100000):
                1 / 0
        self.assert_committed()
        self.assertFalse(os.path.exists(os.path.join(self.run_folder(), ".lock")), "the launcher has ended")

    def test_an_interrupt_is_raised_when_the_checkpoint_is_there(self):
        self.config(steps=100000)
        process = self.python("""
            try:
                for line in ddp_launch.run(sys.argv[1], device="cpu", nproc=2):
                    print(line["step"])
            except KeyboardInterrupt:
                print("interrupted")
            """)
        self.assertEqual(process.stdout.readline(), "1\n")
        pids = self.launcher_and_ranks(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual((out.splitlines()[-1], err, process.returncode), ("interrupted", "", 0))
        self.assert_gone(pids)
        self.assert_committed()

    def test_who_interrupts_again_is_not_made_to_wait_for_a_checkpoint(self):
        self.config(steps=100000)
        process = self.python("""
            import os, signal, threading, time

            def impatient():
                while sys._current_frames()[threading.main_thread().ident].f_code.co_name != "_lines":
                    pass  # until the loop waits for a line
                os.kill(os.getpid(), signal.SIGINT)
                while "SIGINT: finishing the step" not in run.console:
                    time.sleep(0.01)
                told = time.monotonic()
                while time.monotonic() < told + 2.1:  # what comes earlier is the same Interrupt
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGINT)

            run = ddp_launch.run(sys.argv[1], device="cpu", nproc=2)
            try:
                for line in run:
                    if line["step"] == 2:
                        with open(f"/proc/{run.pid}/task/{run.pid}/children") as file:
                            for rank in file.read().split():
                                os.kill(int(rank), signal.SIGSTOP)  # so the commit would take for ever
                        print("up")
                        threading.Thread(target=impatient).start()
            except KeyboardInterrupt:
                print("interrupted", run.exit_code)
            """)
        self.assertEqual(process.stdout.readline(), "up\n")
        pids = self.launcher_and_ranks(process)
        self.assertEqual(process.communicate(timeout=harness.PATIENCE_S), ("interrupted 130\n", ""))
        self.assert_gone(pids)

    def test_nothing_is_left_of_a_python_that_is_killed_but_a_checkpoint(self):
        for also in ("", "import os, time; os.fork() or time.sleep(60)"):  # a worker that outlives it holds nothing
            self.config(steps=100000)
            process = self.python(f"""
                run = ddp_launch.run(sys.argv[1], device="cpu", nproc=2)
                {also}
                for line in run:
                    if line["step"] == 2:
                        print("up")
                """)
            self.assertEqual(process.stdout.readline(), "up\n")
            workers = harness.children_of(process.pid)
            launcher = next(pid for pid in workers if "ddp-launch" in pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0])
            pids = [launcher, *harness.children_of(launcher)]
            self.assertEqual(len(pids), 3)
            process.kill()
            self.assert_gone(pids)
            for worker in set(workers) - {launcher}:
                os.kill(worker, signal.SIGKILL)
            process.communicate()
            self.assert_committed()
            with open(os.path.join(self.run_folder(), "status.json"), encoding="utf-8") as file:
                self.assertEqual(json.load(file)["exit_code"], 75)
            shutil.rmtree(self.run_folder())

    def test_a_run_that_nobody_refers_to_any_more_stops_with_a_checkpoint(self):
        self.config(steps=100000)
        run = self.run_()
        self.assertEqual(next(iter(run))["step"], 1)
        self.assertTrue(run.stopped, "the iterator is gone")
        run = self.run_(resume="auto")
        self.assertTrue(run.folder.samefile(self.run_folder()), "it has begun")
        pid = run.pid
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # of subprocess: it still runs
            del run
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 75)
        self.assert_committed()

    def test_a_stop_by_somebody_else_ends_the_loop(self):
        self.config(steps=100000)
        run = self.run_()
        for line in run:
            if line["step"] == 2:
                self.assertEqual(os.getsid(run.pid), run.pid, "in a session of its own")
                os.kill(run.pid, signal.SIGTERM)
        self.assertEqual((run.stopped, run.state), (True, "stopped"))
        self.assert_committed()

    def test_a_failure_is_an_exception_with_the_exit_code_and_the_last_line(self):
        self.config()
        with self.assertRaises(ddp_launch.RunFailed) as failed:
            list(self.run_(train={"stepz": 3}))
        self.assertEqual(failed.exception.exit_code, 78)
        self.assertIn('unknown key "train.stepz"; did you mean train.steps?', str(failed.exception))
        self.assertFalse(os.path.exists(self.run_folder()))
        list(self.run_())
        with self.assertRaisesRegex(ddp_launch.RunFailed, "already holds a run"):
            for _ in self.run_():
                self.fail("a line of a run that was refused")
        with self.assertRaisesRegex(ddp_launch.RunFailed, r"already holds a run.*\(exit code 73\)"):
            self.run_().folder  # noqa: B018

    def test_a_line_comes_when_it_is_whole(self):
        module = self.played("""
            announce()
            write('{"type":"step","step":2}\\n{"type":"st')
            while not os.path.exists("go"):
                time.sleep(0.01)
            write('ep","step":3}\\n{"type":"step"')
            """)
        lines = iter(module.run("train.yaml"))
        self.assertEqual(next(lines)["step"], 2)
        self.write("go", "")
        self.assertEqual(next(lines)["step"], 3)
        self.assertEqual(list(lines), [])

    def test_a_later_start_in_the_folder_adds_nothing_to_a_run_that_is_over(self):
        module = self.played("""
            announce()
            write('{"type":"step","step":2}\\n')
            """)
        run = module.run("train.yaml")
        self.assertEqual(steps(run), [2])
        with open(run.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write('{"type":"step","step":3}\n')
        self.assertEqual(list(run), [])

    def test_options_and_keys_arrive_as_they_were_given(self):
        module = self.played("print(json.dumps(sys.argv[1:])); sys.exit(75)")
        run = module.run(pathlib.Path("a b.yaml"), gpus=[0, 2], output_dir=pathlib.Path("runs/x"), resume="auto", accept_change=["a.b", "c.d"],
                         stop_after=7, train={"steps": 20, "deterministic": True}, data={"train": ["a: b", "c#d"]}, **{"optimizer.lr": 1e-3})
        self.assertEqual((list(run), run.exit_code), ([], 75))
        words = json.loads(run.console)
        self.assertEqual([words[0], words[2]], ["--stop-when-closed", "--announce"])
        self.assertEqual(words[4:], ["--gpus", "0,2", "--output-dir", "runs/x", "--resume", "auto", "--accept-change", "a.b,c.d", "--stop-after",
                                     "7", "--set", "train.steps=20", "--set", "train.deterministic=true", "--set",
                                     'data.train=["a: b", "c#d"]', "--set", "optimizer.lr=0.001", "a b.yaml"])
        with self.assertRaisesRegex(TypeError, r"write gpus=\[2\], or nproc=2"):
            module.run("train.yaml", gpus=2)
        for value in (b"a", {"a"}, ["a", object()]):
            with self.assertRaisesRegex(TypeError, "^data.train=.* is no value of a key: give a number, a text, "):
                module.run("train.yaml", data={"train": value})

    def test_folders_in_which_this_python_has_nvidias_libraries_are_passed_on(self):
        module = self.played("print(os.environ['DDP_SITE_PACKAGES'])")
        names = ["wheels", "none", "not\none line", "no text \udcff"]
        for name in set(names) - {"none"}:
            os.makedirs(os.path.join(name, "nvidia"))
        sys.path[:0] = names
        self.addCleanup(lambda: [sys.path.remove(name) for name in names])
        os.environ["DDP_SITE_PACKAGES"] = "/before"
        self.addCleanup(os.environ.pop, "DDP_SITE_PACKAGES")
        run = module.run("train.yaml")
        self.assertEqual(list(run), [])
        folders = run.console.strip().split(":")
        self.assertEqual(folders[:2], ["/before", os.path.join(self.folder, "wheels")])
        self.assertFalse([folder for folder in folders[2:] if folder.startswith(self.folder)])

    def test_the_program_is_the_packages_own_else_the_one_that_is_named_else_that_of_path(self):
        package = os.path.join(self.folder, "site", "ddp_launch")
        shutil.copytree(os.path.join(MODULE, "ddp_launch"), package, ignore=shutil.ignore_patterns("__pycache__"))

        def found(script="import ddp_launch; print(ddp_launch.find_program())", **environment):
            return subprocess.run([sys.executable, "-c", script, "a", "b c"], env={"PYTHONPATH": os.path.dirname(package), **environment},
                                  capture_output=True, text=True, cwd=self.folder)

        self.write("ddp-launch", "#!/bin/sh\n")
        os.chmod(os.path.join(self.folder, "ddp-launch"), 0o755)
        self.assertIn("ddp_launch.ProgramNotFound: no ddp-launch: ", found(PATH="/none").stderr)
        self.assertIn("ProgramNotFound: $DDP_LAUNCH, /none, ", found(DDP_LAUNCH="/none").stderr)
        self.assertEqual(found(PATH=self.folder).stdout, os.path.join(self.folder, "ddp-launch\n"))
        self.assertEqual(found(PATH="/none", DDP_LAUNCH=harness.LAUNCH).stdout, harness.LAUNCH + "\n")
        command = "import ddp_launch._command as c; c.main()"
        self.assertRegex(found(command).stderr, "^ddp-launch: cannot execute .*site/ddp_launch/bin/ddp-launch: .*; install the wheel again\n$")
        os.mkdir(os.path.join(package, "bin"))
        own = os.path.join(package, "bin", "ddp-launch")
        with open(own, "w", encoding="ascii") as file:
            file.write('#!/bin/sh\necho "$# $1 $2"\nexit 7\n')
        os.chmod(own, 0o755)
        self.assertEqual(found(PATH=self.folder, DDP_LAUNCH=harness.LAUNCH).stdout, own + "\n")
        result = found(command)
        self.assertEqual((result.stdout, result.returncode), ("2 a b c\n", 7))

    def test_the_command_of_the_wheel_loads_nothing_that_takes_time(self):
        script = f"import sys; sys.path.insert(0, {MODULE!r}); before = set(sys.modules); import ddp_launch._command; print(set(sys.modules) - before)"
        loaded = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
        self.assertEqual(eval(loaded), {"ddp_launch", "ddp_launch._command"})

    def test_metrics_are_a_list_where_pandas_is_not(self):
        self.config()
        run = self.run_()
        list(run)
        sys.modules["pandas"] = None  # as if it were not there
        self.addCleanup(sys.modules.pop, "pandas")
        with open(run.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write('{"type":"step","st')
        self.assertEqual(steps(ddp_launch.read_metrics(run)), [*range(1, 21)])
        self.assertEqual([line["step"] for line in ddp_launch.read_metrics(self.run_folder(), "eval")], [10, 20])
        self.assertEqual(len(ddp_launch.read_metrics(run, None)), 22)
        with self.assertRaisesRegex(FileNotFoundError, "none is no run's folder"):
            ddp_launch.read_metrics(self.run_folder("none"))
        with self.assertRaisesRegex(TypeError, "neither a Run nor the path of a run's folder"):
            ddp_launch.read_metrics([self.run_folder()])
        with open(run.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write("\n")
        with self.assertRaisesRegex(ValueError, "run/metrics.jsonl:23 is damaged"):
            ddp_launch.read_metrics(run)

    def test_examples_are_copied_once_and_are_the_users_to_change(self):
        package = os.path.join(self.folder, "site", "ddp_launch")
        shutil.copytree(os.path.join(MODULE, "ddp_launch"), package, ignore=shutil.ignore_patterns("__pycache__"))
        recipe = os.path.join(package, "configs", "gpt2-tiny.yaml")
        os.mkdir(os.path.dirname(recipe))
        with open(recipe, "w", encoding="ascii") as file:
            file.write("model: {}\n")
        os.chmod(recipe, 0o444)  # as where all of Python is read-only

        def copy(*folder):
            return subprocess.run([sys.executable, "-B", "-m", "ddp_launch.examples", *folder], env={"PYTHONPATH": os.path.dirname(package)},
                                  capture_output=True, text=True, cwd=self.folder)

        target = os.path.join(self.folder, "a b", "configs", "gpt2-tiny.yaml")
        self.assertIn("\nto begin: cd 'a b' && ddp-launch --nproc 4 configs/gpt2-tiny.yaml\n", copy("a b").stdout)
        self.assertEqual(os.stat(target).st_mode & 0o777, 0o644)
        with open(target, "w", encoding="ascii") as file:
            file.write("changed")
        self.assertIn("0 files in a b/configs, a b/data, a b/scripts; 1 were there and stay as they are\n", copy("a b").stdout)
        self.assertEqual(pathlib.Path(target).read_text(encoding="ascii"), "changed")
        for here in ((), ("",)):
            self.assertIn("\nto begin: ddp-launch ", copy(*here).stdout)
        self.write("file", "")
        self.assertEqual(copy("file").stderr, "ddp_launch.examples: file/configs: Not a directory\n")


if __name__ == "__main__":
    harness.main()
