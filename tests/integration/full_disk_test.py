"""A full disk ends no run that finds room before its next checkpoint: what is lost is said, what can be written later is.

A limit on the size of files (RLIMIT_FSIZE, `ulimit -f`), set on a running job and lifted again, is a full disk for whoever appends, and
needs no root. The tests on a small file system do.
"""
import json
import os
import resource
import signal
import subprocess
import unittest

import harness

MANY = 1000000  # steps: the run is stopped
KIB = 1 << 10

# Gets: where, mount options, how many MB are taken at the start, the command. In a mount namespace of its own, so that it
# goes away by itself.
ON_SMALL_DISK = """
mount -t tmpfs -o "$1" small "$0" || exit
[ "$2" = 0 ] || dd if=/dev/zero of="$0/fill" bs=1M count="$2" 2>&-
shift 2
exec "$@"
"""


def can_mount():
    return subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "small", "/mnt"], capture_output=True, check=False).returncode == 0


class Job:
    """A ddp-launch and its ranks; its output and its messages go to files."""

    def __init__(self, test, command):
        self.test = test
        self.paths = [os.path.join(test.folder, name) for name in ("out.txt", "err.txt")]
        with open(self.paths[0], "wb") as out, open(self.paths[1], "wb") as err:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        test.addCleanup(self.kill)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def text(self):
        texts = []
        for path in self.paths:
            with open(path, encoding="utf-8") as file:
                texts.append(file.read())
        return "".join(texts)

    def limit(self, size, launcher=False, ranks=False):
        """Files may not grow beyond `size` bytes."""
        for pid in [self.process.pid] * launcher + harness.children_of(self.process.pid) * ranks:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]))

    def lift_limit(self):
        self.limit(resource.RLIM_INFINITY, launcher=True, ranks=True)

    def wait_for(self, *words):
        def is_there():
            self.test.assertIsNone(self.process.poll(), self.text())
            return all(word in self.text() for word in words)
        self.test.wait_until(is_there, f"it prints {words}")

    def train_on(self, steps):
        """Waits for more steps, told on standard output."""
        told = self.text().count("\nstep ") + steps
        self.test.wait_until(lambda: self.text().count("\nstep ") >= told, "it trains on")

    def send(self, number):
        self.process.send_signal(number)

    def end(self, expect):
        code = self.process.wait(timeout=harness.PATIENCE_S)
        self.test.assertEqual(code, expect, self.text())
        return self.text()


class FullDisk(harness.IntegrationTest):
    def setUp(self):
        super().setUp()
        self.root = self.run_folder()  # where the run's folder is seen from here

    def start(self, *args, prefix=()):
        return Job(self, [*prefix, *self.command("--nproc", "2", "--set", "eval.every=0", *args)])

    def start_on_small_disk(self, options="size=2m", taken_mb=0):
        """And the folder of the small file system."""
        where = os.path.join(self.folder, "small")
        os.mkdir(where)
        job = self.start("--output-dir", os.path.join(where, "run"),
                         prefix=("unshare", "-m", "sh", "-c", ON_SMALL_DISK, where, options, str(taken_mb)))
        job.wait_for("step 5/")
        small = os.open(f"/proc/{job.process.pid}/root{where}", os.O_RDONLY)  # it stays while this is open
        self.addCleanup(os.close, small)
        folder = f"/proc/{os.getpid()}/fd/{small}"
        self.root = os.path.join(folder, "run")
        return job, folder

    def path(self, *names):
        return os.path.join(self.root, *names)

    def read(self, *names):
        with open(self.path(*names), encoding="utf-8") as file:
            return file.read()

    def metrics(self):
        """The whole lines: while a run writes, a reader may meet a part of one at the end."""
        return list(map(json.loads, self.read("metrics.jsonl").split("\n")[:-1]))

    def last_step(self):
        """Of metrics.jsonl, whose lines must be of steps 1, 2, 3..., each by a line of its own or in a gap's."""
        last = 0
        for record in self.metrics():
            is_gap = record["type"] == "gap"
            self.assertEqual(record["from" if is_gap else "step"], last + 1)
            last = record["to" if is_gap else "step"]
        return last

    def committed(self):
        folder = self.path("checkpoints")
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        self.assertTrue(all(name.startswith("step-") for name in names), f"a partial: {names}")
        return [int(name[len("step-"):]) for name in names]

    def assert_whole(self, text):
        """Each step is in metrics.jsonl, in the first rank's log and in the output; the last is committed; the status is the last."""
        last = self.last_step()
        self.assertTrue(self.read("metrics.jsonl").endswith("}\n"))
        self.assertNotIn("gap", {record["type"] for record in self.metrics()})
        self.assertEqual(self.committed()[-1], last)
        for where, lines in (("output", text), ("log", self.read("logs", "rank-0.log"))):
            self.assertEqual([step for step in range(1, last + 1) if f"\nstep {step}/" not in lines], [], where)
        self.assertEqual(json.loads(self.read("status.json"))["state"], "stopped")
        self.assertTrue(os.path.exists(self.path("config.yaml")))
        self.assertEqual([name for name in os.listdir(self.root) if name.endswith(".tmp")], [])

    def test_metrics_wait_and_a_checkpoint_is_missed(self):
        self.config(steps=MANY)
        job = self.start()
        job.wait_for("step 5/")
        job.limit(os.path.getsize(self.path("metrics.jsonl")) + 10, ranks=True)
        job.wait_for("warning: metrics.jsonl cannot be written: File too large (see ulimit -f); lines wait in memory")
        job.train_on(20)
        job.send(signal.SIGUSR1)
        job.wait_for("warning: no checkpoint at step", "File too large (see ulimit -f); training goes on")
        job.train_on(5)
        self.assertEqual(self.committed(), [])
        before = self.last_step()
        job.lift_limit()
        job.wait_for("metrics.jsonl is written again")
        self.assertGreater(self.last_step(), before + 20)
        job.send(signal.SIGTERM)
        text = job.end(75)
        self.assertEqual(text.count("metrics.jsonl cannot be written"), 1, text)
        self.assert_whole(text)

    def test_without_room_to_the_end_it_is_74_and_says_what_is_missing(self):
        self.config(steps=MANY)
        job = self.start()
        job.wait_for("step 5/")
        job.send(signal.SIGUSR1)
        job.wait_for("checkpoint of step")
        first = self.committed()
        job.limit(os.path.getsize(self.path("metrics.jsonl")), ranks=True)
        job.wait_for("metrics.jsonl cannot be written")
        job.send(signal.SIGTERM)
        text = job.end(74)
        self.assertRegex(text, r"warning: metrics\.jsonl lacks \d+ lines?, of steps \d+ to \d+: File too large")
        self.assertIn("File too large (see ulimit -f)", text.splitlines()[-1])
        self.assertEqual(self.committed(), first)
        self.assertTrue(self.read("metrics.jsonl").endswith("}\n"))
        self.assertGreaterEqual(self.last_step(), first[0])
        self.start("--resume", "auto", "--stop-after", str(first[0] + 10)).end(75)
        self.assertEqual(self.last_step(), first[0] + 10)

    def test_a_resume_says_which_lines_died_in_memory(self):
        """metrics.jsonl finds no room, a checkpoint's smaller files do, and then the run is killed."""
        self.config(steps=MANY, width=16)
        small = ("--set", "model.layers=1")
        job = self.start(*small)
        job.wait_for("step 5/")
        self.wait_until(lambda: os.path.getsize(self.path("metrics.jsonl")) > 128 * KIB, "metrics.jsonl is the largest file")
        job.limit(os.path.getsize(self.path("metrics.jsonl")), ranks=True)
        job.wait_for("metrics.jsonl cannot be written")
        job.train_on(5)
        job.send(signal.SIGUSR1)
        job.wait_for("checkpoint of step")
        job.kill()
        last, step = self.last_step(), self.committed()[0]
        self.assertLess(last, step)
        self.start(*small, "--resume", "auto", "--stop-after", str(step + 5)).end(75)
        self.assertEqual(self.last_step(), step + 5)
        self.assertIn({"type": "gap", "from": last + 1, "to": step}, self.metrics())

    def test_logs_status_and_output_wait(self):
        self.config(steps=MANY)
        job = self.start()
        job.wait_for("step 5/")
        self.wait_until(lambda: os.path.exists(self.path("status.json")), "a first status")
        job.limit(0, launcher=True)
        status = self.read("status.json")
        size = os.path.getsize(self.path("metrics.jsonl"))
        self.wait_until(lambda: os.path.getsize(self.path("metrics.jsonl")) > size + 30 * KIB, "the ranks train on")
        self.assertEqual(self.read("status.json"), status)
        job.lift_limit()
        job.wait_for("logs/rank-0.log cannot be written: File too large (see ulimit -f); lines wait in memory",
                     "the logs are written again")
        self.wait_until(lambda: self.read("status.json") != status, "the status is written again")
        job.send(signal.SIGTERM)
        self.assert_whole(job.end(75))

    def test_a_last_status_that_cannot_be_written_leaves_none_that_says_it_goes_on(self):
        self.config(steps=MANY)
        job = self.start()
        job.wait_for("step 5/")
        self.wait_until(lambda: os.path.exists(self.path("status.json")), "a first status")
        job.limit(0, launcher=True)
        job.send(signal.SIGTERM)
        job.end(75)
        self.assertEqual(self.committed(), [self.last_step()])
        self.assertEqual([name for name in os.listdir(self.root) if name.startswith("status.json")], [])

    def test_a_limit_too_small_for_shared_memory_is_named_in_one_line(self):
        self.config(steps=5, width=256)
        for kib, whose in ((0, "the board's memory"), (8, "the board's memory"), (1200, "shared memory for 2 ranks")):
            limited = ("prlimit", f"--fsize={kib * KIB}:")
            run = subprocess.run([*limited, *self.command("--nproc", "2")], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                                 check=False, timeout=harness.PATIENCE_S)
            self.assertEqual(run.returncode, 71, run.stderr)
            line = run.stderr.splitlines()[-1]
            self.assertIn(whose, line)
            self.assertIn("ulimit -f", line)

    def test_a_run_whose_output_finds_no_room_to_the_end_is_complete(self):
        self.config(steps=20)
        with open("/dev/full", "wb") as full:
            run = subprocess.run(self.command("--nproc", "2"), stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True,
                                 check=False, timeout=harness.PATIENCE_S)
            self.assertEqual(run.returncode, 0, run.stderr)
            begin, end = run.stderr.splitlines()
            self.assertEqual(begin, "ddp-launch: warning: standard output cannot be written: No space left on device; lines wait in memory")
            self.assertRegex(end, r"^ddp-launch: warning: standard output lacks \d+ lines: No space left on device$")
            told = subprocess.run(self.command("--nproc", "2", "--resume", "auto"), stdin=subprocess.DEVNULL, stdout=full, stderr=full,
                                  check=False, timeout=harness.PATIENCE_S)
            self.assertEqual(told.returncode, 0)
        self.assertEqual(self.committed(), [20])

    def test_a_command_whose_output_is_cut_by_a_size_limit_fails(self):
        self.config(steps=5)
        for command in (("--help",), ("--explain",), ("plan", "--device", "cpu", os.path.join(self.folder, "train.yaml"))):
            with open(os.path.join(self.folder, "out.txt"), "wb") as out:
                run = subprocess.run(["prlimit", "--fsize=1300:", harness.LAUNCH, *command], stdin=subprocess.DEVNULL, stdout=out,
                                     stderr=subprocess.PIPE, text=True, check=False, timeout=harness.PATIENCE_S)
            self.assertEqual(run.returncode, 74, f"{command}: {run.stderr}")
            self.assertIn("cannot write to standard output: File too large (see ulimit -f)", run.stderr)

    @unittest.skipUnless(can_mount(), "needs root")
    def test_a_small_file_system_that_others_fill(self):
        self.config(steps=MANY)
        job, folder = self.start_on_small_disk()
        fill = os.path.join(folder, "fill")
        subprocess.run(["cp", "/dev/zero", fill], stderr=subprocess.DEVNULL, check=False)
        job.wait_for("warning: metrics.jsonl cannot be written: No space left on device; lines wait in memory")
        job.send(signal.SIGUSR1)
        job.wait_for("warning: no checkpoint at step", "No space left on device; training goes on")
        job.train_on(20)
        self.last_step()
        os.remove(fill)
        job.wait_for("metrics.jsonl is written again")
        job.send(signal.SIGTERM)
        self.assert_whole(job.end(75))

    @unittest.skipUnless(can_mount(), "needs root")
    def test_a_file_system_that_is_full_at_the_start(self):
        self.config(steps=MANY)
        job, folder = self.start_on_small_disk(taken_mb=2)
        job.wait_for("config.yaml.tmp: No space left on device; it is tried again before each checkpoint",
                     "warning: metrics.jsonl cannot be written: No space left on device",
                     "logs/rank-0.log cannot be written: No space left on device")
        self.assertFalse(os.path.exists(self.path("config.yaml")))
        os.remove(os.path.join(folder, "fill"))
        job.wait_for("metrics.jsonl is written again", "the logs are written again")
        job.send(signal.SIGTERM)
        self.assert_whole(job.end(75))

    @unittest.skipUnless(can_mount(), "needs root")
    def test_a_file_system_without_a_place_for_more_files(self):
        self.config(steps=MANY)
        job, folder = self.start_on_small_disk(options="nr_inodes=5")  # itself, run, .lock, logs, one log
        job.wait_for("warning: metrics.jsonl cannot be written: No space left on device", "status.json.tmp: No space left on device",
                     "logs/rank-1.log cannot be written: No space left on device")
        job.send(signal.SIGUSR1)
        job.wait_for("warning: no checkpoint at step", "No space left on device; training goes on")
        job.train_on(5)
        subprocess.run(["nsenter", f"--mount=/proc/{job.process.pid}/ns/mnt", "mount", "-o", "remount,nr_inodes=1000",
                        os.path.join(self.folder, "small")], check=True)
        job.wait_for("metrics.jsonl is written again", "the logs are written again")
        job.send(signal.SIGTERM)
        self.assert_whole(job.end(75))
        self.assertEqual(os.listdir(folder), ["run"])


if __name__ == "__main__":
    harness.main()
