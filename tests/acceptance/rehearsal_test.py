#!/usr/bin/env python3
"""scripts/gpu_acceptance.sh rehearsed where nothing is installed: a bundle carried as a .tar.xz into a path with a space, PATH with
coreutils, bash and python3 alone, no HOME, stand-ins for NVIDIA's tools and PyTorch. Then with stages that fail, hang, crash, and with
kills in the middle.

Of what scripts/bundle.sh --tests made; skipped where it made none, or one without the CUDA backend.
Arguments: the cases, Whole or Interrupted, else both.
"""
import contextlib
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

ROOT = os.environ["DDP_SOURCE_ROOT"]  # set by meson
HERE = os.path.join(ROOT, "tests", "acceptance")
ARCHIVES = sorted(glob.glob(os.path.join(ROOT, "build-bundle", "ddp-launch-*-linux-x86_64.tar.xz")))  # there must be one alone
COREUTILS = ("basename", "cat", "cp", "date", "dirname", "env", "head", "ls", "mkdir", "mktemp", "mv", "rm", "sleep", "tail", "touch")
USUAL = ["gate", "ops", "curve-gpt2", "curve-bert", "curve-resnet", "backends", "speed-gpt2", "speed-bert", "speed-resnet", "memory-gpt2",
         "memory-bert", "memory-resnet", "pointwise", "torch-resnet", "torch-bert", "torch-gpt2"]
STAGES = [*USUAL, "share", "sanitizer", "compile"]
OPS = {"adamw", "batchnorm apply", "batchnorm backward", "batchnorm_pool", "convolution", "cross entropy", "embedding forward",
       "gather_rows", "gelu forward", "layernorm forward", "linear forward", "masked attention", "scatter_rows", "sgd", "tanh"}  # and more
REHEARSAL_S = 180  # all stages together
PATIENCE_S = 300  # of a busy machine
OPS_PASS = "echo 'All tests passed (1 assertion in 1 test case)'"  # where the stage matters, not what it tests
SKIPPED = 77


class Rehearsal(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.base = tempfile.mkdtemp(prefix="ddp test ")
        cls.addClassCleanup(shutil.rmtree, cls.base, True)
        with tarfile.open(ARCHIVES[0]) as tar:
            tar.extractall(cls.base)
        cls.top = next(path for path in (os.path.join(cls.base, name) for name in os.listdir(cls.base)) if os.path.isdir(path))
        cls.tools = os.path.join(cls.base, "tools")
        os.mkdir(cls.tools)
        for name in COREUTILS + ("bash",):
            os.symlink(shutil.which(name), os.path.join(cls.tools, name))
        os.symlink(sys.executable, os.path.join(cls.tools, "python3"))

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="ddp test ")
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.out = os.path.join(self.folder, "out put")
        self.record = os.path.join(self.folder, "calls")
        self.temporary = os.path.join(self.folder, "tmp")
        os.mkdir(self.temporary)

    # ---- how it is run

    def start(self, *arguments, bundle=None, path=(), **environment):
        stand_ins = os.path.join(HERE, "stand_ins")
        env = {"PATH": ":".join([*path, self.tools]), "TMPDIR": self.temporary, "DDP_STAND_IN_RECORD": self.record,
               "PYTHONDONTWRITEBYTECODE": "1", **({"PYTHONPATH": stand_ins} if stand_ins in path else {}), **environment}
        command = [os.path.join(self.top, "scripts", "gpu_acceptance.sh"), "--bundle", bundle or self.top, "--out", self.out, "--simulate"]
        process = subprocess.Popen([*command, *arguments], env=env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(self.assert_nothing_left, process.pid)
        return process

    def finish(self, process):
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.terminate()  # it ends what it has begun
            out, err = process.communicate(timeout=PATIENCE_S)
            self.fail(f"it still ran after {PATIENCE_S} s\n{out}{err}")
        return process.returncode, out, err

    def run_it(self, *arguments, **options):
        return self.finish(self.start(*arguments, **options))

    def variant(self, **programs):
        """The bundle with other programs in bin/: a shell script each."""
        top = os.path.join(self.folder, "variant")
        os.makedirs(os.path.join(top, "bin"))
        for name in os.listdir(self.top):
            if name != "bin":
                os.symlink(os.path.join(self.top, name), os.path.join(top, name))
        for name in os.listdir(os.path.join(self.top, "bin")):
            path = os.path.join(top, "bin", name)
            if name not in programs:
                os.symlink(os.path.join(self.top, "bin", name), path)
                continue
            with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o755), "w", encoding="utf-8") as file:
                file.write("#!/bin/bash\n" + programs[name] + "\n")
        return top

    def instead_of(self, tool, script):
        """A folder for PATH with this shell script under the tool's name."""
        folder = os.path.join(self.folder, "instead")
        os.mkdir(folder)
        with open(os.open(os.path.join(folder, tool), os.O_CREAT | os.O_WRONLY, 0o755), "w", encoding="utf-8") as file:
            file.write("#!/bin/bash\n" + script + "\n")
        return folder

    # ---- what it left

    def report(self):
        with open(os.path.join(self.out, "report.json"), encoding="utf-8") as file:
            return json.load(file)

    def statuses(self):
        return {stage["name"]: stage["status"] for stage in self.report()["stages"]}

    def stage(self, name):
        return next(stage for stage in self.report()["stages"] if stage["name"] == name)

    def text(self):
        with open(os.path.join(self.out, "report.md"), encoding="utf-8") as file:
            return file.read()

    def log(self, name):
        with tarfile.open(os.path.join(self.out, "log.tar.gz")) as tar, tar.extractfile(name) as file:
            return file.read().decode()

    def mine(self):
        """Processes with this test's environment."""
        mark = f"DDP_STAND_IN_RECORD={self.record}".encode()
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        found.append(int(name))
        return found

    def wait_until(self, condition, what):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.01)

    def assert_nothing_left(self, pid):
        def folders():
            places = (self.temporary, "/dev/shm")
            return [name for place in places for name in os.listdir(place) if name.startswith(f"ddp-acceptance-{pid}-")]

        self.wait_until(lambda: not self.mine(), "a process is left")
        self.wait_until(lambda: not folders(), "a folder is left")
        self.assertEqual(os.listdir(self.temporary), [])
        if os.path.isdir(self.out):
            self.assertEqual(sorted(os.listdir(self.out)), ["log.tar.gz", "report.json", "report.md"])


class Whole(Rehearsal):
    """Everything once: the one whose seconds count."""

    def test_every_stage_is_rehearsed_and_passes(self):
        seconds = []
        while not seconds or (min(seconds) > REHEARSAL_S and len(seconds) < 2):  # the machine may have been busy the first time
            code, out, err = self.run_it("--stages", "*", "--minutes", "10", bundle=ARCHIVES[0], path=[os.path.join(HERE, "stand_ins")])
            self.assertEqual(code, 0, out + err)
            self.assertEqual(self.statuses(), {name: "passed" for name in STAGES}, out)
            self.assertEqual(err, "")
            seconds.append(sum(stage["seconds"] for stage in self.report()["stages"]))
        self.assertLessEqual(min(seconds), REHEARSAL_S)
        text = self.text()
        for name in STAGES:
            self.assertIn(f"\n## {name}: ", text)
        self.assertIn("No stage failed", text)
        self.assertIn("NVIDIA Stand-in", text)
        self.assertIn("says nothing about hardware", text)
        with tarfile.open(os.path.join(self.out, "log.tar.gz")) as tar:
            self.assertIn("gate/run.log", tar.getnames())
        self.assertLessEqual(OPS, set(self.stage("ops")["ops"]))
        self.check_what_convolves()
        self.check_options()

    def check_what_convolves(self):
        """ResNet-50 convolves with 8 shapes, in 3 passes each but for the gradient of the image; it has 15 shapes of 1x1, in 3 passes."""
        plans = self.stage("speed-resnet").get("cudnn_plans", {})
        self.assertEqual({name: len(of_run) for name, of_run in plans.items()}, {"resnet50-bf16": 23, "resnet50-fp16": 23})
        self.assertTrue(all(plan["engine"] == 5 and plan["passed_over"] == 4 for plan in plans["resnet50-bf16"]), plans)
        self.assertIn("Plans of cuDNN 9.", self.text())
        passes = self.stage("pointwise")["runs"][0]["passes"]
        self.assertEqual((len(passes), sum(p["calls"] for p in passes)), (45, 3 * 36))
        self.assertTrue(all(p["linear_ms"] > 0 and p["cudnn_ms"] > 0 for p in passes), passes)

    def check_options(self):
        """The tools were called as the real ones may be."""
        with open(os.path.join(HERE, "tool_options.json"), encoding="utf-8") as file:
            known = json.load(file)
        with open(self.record, encoding="utf-8") as file:
            calls = [json.loads(line) for line in file]
        self.assertEqual({call[0] for call in calls}, set(known))
        checked = set()
        for tool, *words in calls:
            at = 0
            while at < len(words) and words[at].startswith("-"):
                option, is_joined, value = words[at].partition("=")
                self.assertIn(option, known[tool]["options"])
                allowed = known[tool]["options"][option]
                if allowed is not None and not is_joined:
                    at += 1
                    value = words[at]
                if isinstance(allowed, list):
                    self.assertIn(value, allowed, option)
                elif allowed == "number":
                    self.assertTrue(value.isdecimal(), value)
                elif allowed == "fields":
                    self.assertLessEqual(set(value.split(",")), set(known[tool]["fields"]))
                checked.add((tool, value))
                at += 1
        for tool in ("memcheck", "racecheck", "synccheck", "initcheck"):
            self.assertIn(("compute-sanitizer", tool), checked)


class Interrupted(Rehearsal):
    """What is missing, fails, hangs, crashes or is killed."""

    def test_what_is_not_there_is_no_failure(self):
        code, out, err = self.run_it("--stages", "torch-gpt2,sanitizer,compile")
        self.assertEqual(code, 0, out + err)
        self.assertEqual(self.statuses(), {"gate": "passed", "torch-gpt2": "not available", "sanitizer": "not available",
                                           "compile": "not available"})

    def test_without_cudnn_only_what_convolves_is_left_out(self):
        says = "ddp-launch: libcudnn.so.9 is not there: looked in /nowhere; pip install nvidia-cudnn-cu13"
        launch = f"case \"$*\" in */gate/convolving*) echo '{says}' >&2; exit 64;; esac; exec '{self.top}/bin/ddp-launch' \"$@\""
        code, out, err = self.run_it("--stages", "ops,curve-resnet,memory-bert,pointwise", bundle=self.variant(
            test_cuda_attention_on_gpu=OPS_PASS, test_cuda_ops_on_gpu=f"echo \"with $*\"; {OPS_PASS}", **{"ddp-launch": launch}))
        self.assertEqual(code, 0, out + err)
        self.assertEqual(self.statuses(), {"gate": "passed", "ops": "passed", "curve-resnet": "not available", "memory-bert": "passed",
                                           "pointwise": "not available"})
        self.assertEqual(self.stage("pointwise")["why"], says)
        self.assertIn(f"pointwise: not available: {says}\n", out)
        self.assertIn("with ~[many-steps] ~convolution* ", self.log("ops/ops.log"))

    def test_a_nccl_that_refuses_ranks_on_one_gpu_is_no_failure(self):
        code, out, err = self.run_it("--stages", "share", DDP_SIM_FAULT="nccl-ignores-hostid")
        self.assertEqual(code, 0, out + err)
        self.assertEqual(self.statuses(), {"gate": "passed", "share": "not available"})
        self.assertIn("not possible with this NCCL", self.stage("share")["why"])

    def test_a_pytorch_that_cannot_compile_is_no_failure(self):
        code, out, err = self.run_it("--stages", "compile", path=[os.path.join(HERE, "stand_ins")], DDP_STAND_IN_NO_COMPILER="1")
        self.assertEqual(code, 0, out + err)
        self.assertEqual(self.statuses(), {"gate": "passed", "compile": "not available"})
        self.assertIn("Failed to find C compiler", self.stage("compile")["why"])
        self.assertIn("| n/a |", self.text())

    def test_an_error_of_ours_beside_pytorch_is_a_failure(self):
        code, out, err = self.run_it("--stages", "compile", path=[os.path.join(HERE, "stand_ins")],
                                     bundle=self.variant(bench_step="echo no device >&2; exit 69"))
        self.assertEqual(code, 1, out + err)
        self.assertIn("exited with 69: no device", self.stage("compile")["failures"][0])

    def test_a_sanitizer_that_is_slow_is_no_failure(self):
        slow = self.instead_of("compute-sanitizer", 'case "$*" in *initcheck*) sleep 60;; esac')
        code, out, err = self.run_it("--stages", "sanitizer", "--limit", "sanitizer=8", path=[slow])
        self.assertEqual(code, 0, out + err)
        self.assertEqual(self.statuses(), {"gate": "passed", "sanitizer": "passed"})
        self.assertRegex(self.text(), r"\| initcheck \| fp16 \| did not end \|")

    def test_only_the_sanitizer_itself_says_that_it_cannot_work_here(self):
        says = self.instead_of("compute-sanitizer", """case "$*" in
--version) exit 0;;
*memcheck*) echo "Unable to open the corpus"; exit 1;;
*) echo "========= Error: Unable to use this device"; exit 1;;
esac""")
        code, out, err = self.run_it("--stages", "sanitizer", path=[says])
        self.assertEqual(code, 1, out + err)
        failures = self.stage("sanitizer")["failures"]
        self.assertEqual([text.split()[0] for text in failures], ["memcheck"] * 3, failures)

    def test_programs_without_the_launcher_are_told_where_python_has_the_libraries(self):
        packages, wanted = os.path.join(self.folder, "site packages"), "told: ${DDP_SITE_PACKAGES-nothing}"
        os.makedirs(os.path.join(packages, "nvidia", "cublas", "lib"))
        launch = f"echo \"{wanted}\"; exec '{self.top}/bin/ddp-launch' \"$@\""
        code, out, err = self.run_it("--stages", "speed-gpt2", PYTHONPATH=packages, bundle=self.variant(
            bench_step=f'echo "{wanted}"; exit 3', **{"ddp-launch": launch}))
        self.assertEqual(code, 1, out + err)
        self.assertEqual(self.statuses(), {"gate": "passed", "speed-gpt2": "failed"})
        self.assertIn(f"told: {packages}\n", self.log("speed-gpt2/gpt2-bf16.log"))
        self.assertIn("told: nothing\n", self.log("gate/run.log"))

    def broken(self, program, words, *arguments, **programs):
        """A stage whose program is this script: it fails, the next still reports, the exit code and the last line say so."""
        code, out, err = self.run_it("--stages", "ops,memory-gpt2", *arguments, bundle=self.variant(
            test_cuda_attention_on_gpu=program, test_cuda_ops_on_gpu=OPS_PASS, **programs))
        self.assertEqual(code, 1, out + err)
        self.assertEqual(self.statuses(), {"gate": "passed", "ops": "failed", "memory-gpt2": "passed"}, out)
        self.assertEqual(out.splitlines()[-1], "FAILED: ops")
        self.assertEqual(self.report()["failed"], ["ops"])
        self.assertIn(words, " ".join(self.stage("ops")["failures"]))

    def test_a_stage_that_fails_is_named_and_the_others_report(self):
        self.broken("echo that is wrong; exit 3", "exit code 3: that is wrong")

    def test_a_stage_that_hangs_ends_at_its_limit_with_all_its_processes(self):
        pid = os.path.join(self.folder, "pid")
        loop = "while :; do sleep 1; done"
        refuse = f"[ -e '{pid}' ] && kill -0 $(cat '{pid}') && {{ echo a process was left; exit 9; }}"
        self.broken(f"(trap '' TERM; {loop}) & echo $! >'{pid}'; {loop}", "limit of 2 s", "--limit", "ops=2",
                    **{"ddp-launch": f"{refuse}; exec '{self.top}/bin/ddp-launch' \"$@\""})

    def test_a_stage_that_crashes_is_named_and_the_others_report(self):
        self.broken("kill -SEGV $$", "SIGSEGV")

    def test_a_bug_of_a_stage_ends_that_stage_alone(self):
        code, out, err = self.run_it("--stages", "speed-gpt2,memory-gpt2", bundle=self.variant(
            bench_step='for last; do :; done; echo "no JSON" >"$last"'))
        self.assertEqual(code, 1, out + err)
        self.assertEqual(self.statuses(), {"gate": "passed", "speed-gpt2": "failed", "memory-gpt2": "passed"})
        self.assertIn("JSONDecodeError", self.stage("speed-gpt2")["failures"][0])

    def test_after_a_gate_that_failed_the_loader_is_asked_and_only_the_ops_are_tested(self):
        code, out, err = self.run_it(DDP_RANK="/nowhere/ddp-rank", bundle=self.variant(test_cuda_ops_on_gpu=OPS_PASS))
        self.assertEqual(code, 1, out + err)
        wanted = {name: "not run" for name in USUAL}
        self.assertEqual(self.statuses(), {**wanted, "gate": "failed", "ops": "passed"})
        self.assertEqual(out.splitlines()[-1], "FAILED: gate")
        with tarfile.open(os.path.join(self.out, "log.tar.gz")) as tar:
            self.assertTrue([name for name in tar.getnames() if name.startswith("gate/ld-debug.")], tar.getnames())

    def test_what_does_not_fit_into_the_minutes_is_named_with_its_command(self):
        code, out, err = self.run_it("--stages", "ops,memory-gpt2,share", "--minutes", "0.25",
                                     bundle=self.variant(test_cuda_attention_on_gpu="sleep 60"))
        self.assertEqual(code, 1, out + err)
        self.assertEqual(self.statuses(), {"gate": "passed", "ops": "failed", "memory-gpt2": "not run", "share": "not run"})
        self.assertRegex(self.text(), r"gpu_acceptance.sh --bundle '.*' --out '.*' --simulate --stages memory-gpt2,share`")

    def hanging(self):
        """A run that is in its second stage, which does not end."""
        process = self.start("--stages", "ops,memory-gpt2", bundle=self.variant(
            test_cuda_attention_on_gpu="while :; do sleep 1; done"))
        self.wait_until(lambda: os.path.exists(os.path.join(self.out, "report.json")) and self.statuses().get("ops") == "running",
                        "the second stage begins")
        self.wait_until(lambda: self.has_child(process.pid), "its program runs")
        return process

    def has_child(self, guardian):
        return len(self.mine()) > 2 and self.worker_of(guardian)

    def worker_of(self, guardian):
        with open(f"/proc/{guardian}/task/{guardian}/children", encoding="utf-8") as file:
            return int(file.read().split()[0])

    def test_a_kill_of_the_script_leaves_the_report_of_what_was_done(self):
        process = self.hanging()
        process.kill()
        self.finish(process)
        self.wait_until(lambda: not self.mine(), "all processes end")
        self.assertEqual(self.statuses()["gate"], "passed")
        self.assertNotEqual(self.statuses()["ops"], "passed")

    def test_a_kill_of_its_worker_is_cleaned_up_after(self):
        process = self.hanging()
        os.kill(self.worker_of(process.pid), signal.SIGKILL)
        self.assertEqual(self.finish(process)[0], 128 + signal.SIGKILL)
        self.assertEqual(self.statuses()["gate"], "passed")

    def test_a_signal_ends_it_with_a_report(self):
        process = self.hanging()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.finish(process)[0], 128 + signal.SIGTERM)
        self.assertEqual(self.statuses(), {"gate": "passed", "ops": "interrupted", "memory-gpt2": "not run"})

    def test_wrong_arguments_are_64_and_one_line(self):
        for arguments in (["--stages", "speeed"], ["--minutes", "0"], ["--limit", "ops"], ["--bundle", "/nowhere"], ["--frobnicate"]):
            code, out, err = self.run_it(*arguments)
            self.assertEqual((code, out, len(err.splitlines())), (64, "", 1), err)


if __name__ == "__main__":
    if len(ARCHIVES) > 1:
        sys.exit(f"several bundles, where one is tested; remove the others: {', '.join(ARCHIVES)}")
    if not any("libddp-cuda-sim.so" in name for path in ARCHIVES for name in tarfile.open(path).getnames()):
        print("no bundle with the simulator: scripts/bundle.sh --tests makes one")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
