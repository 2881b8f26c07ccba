"""What the system refuses a run, or shares with others: each limit is named with its value, and ends the run with 71."""
import os
import re
import resource
import shutil
import subprocess
import sys

import harness

NOBODY = 65534
MIB = 1 << 20


class Limits(harness.IntegrationTest):
    def as_user_with(self, limit, value, *args):
        """A run under a limit. Root is under none of processes: then it is that of another user, who has no other process here."""
        is_root = os.geteuid() == 0
        for folder in (self.folder, self.run_folder()):
            os.makedirs(folder, exist_ok=True)
            os.chmod(folder, 0o777)

        def enter():
            resource.setrlimit(limit, (value, value))
            if is_root:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)

        return subprocess.run(self.command("--device", "cpu", "--nproc", "2", *args), capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, preexec_fn=enter, timeout=harness.PATIENCE_S,
                              env={**os.environ, "MALLOC_ARENA_MAX": "1"})  # else each thread may take 64 MiB of addresses, or not

    def assert_refused(self, run, *words):
        self.assertEqual(run.returncode, 71, run.stderr)
        last = run.stderr.strip().splitlines()[-1]
        for word in words:
            self.assertRegex(last, word)

    def needs_another_user(self):
        if os.geteuid() != 0:
            self.skipTest("an ordinary user's other processes count too")
        if not all(os.stat(path).st_mode & 0o001 for path in parents_of(harness.LAUNCH) + parents_of(self.folder)):
            self.skipTest("another user cannot reach the programs")

    def test_the_limit_on_processes_and_threads_wherever_it_is_met(self):
        self.needs_another_user()
        self.config()
        refused = set()
        for most in (1, 2, 3, 4, 6, 8):
            run = self.as_user_with(resource.RLIMIT_NPROC, most, "--set", "train.threads_per_rank=3", "--set", "data.num_workers=3")
            self.assert_refused(run, f"may have {most} processes and threads", "ulimit -u", "Resource temporarily unavailable")
            refused.add(re.search(r"cannot (fork|start .*? thread)", run.stderr)[1])
            shutil.rmtree(self.run_folder())
        self.assertGreater(len(refused), 1, refused)  # a process, and one kind of threads or more

    def test_the_limit_on_open_files_names_its_value_and_one_that_suffices(self):
        self.config()
        for limit in range(4, 16):
            run = self.as_user_with(resource.RLIMIT_NOFILE, limit)
            self.assert_refused(run, f"may have {limit} open files", "ulimit -n 1024")
            shutil.rmtree(self.run_folder(), ignore_errors=True)

    def test_the_limit_on_memory_names_what_was_asked_for(self):
        self.config(width=512)
        for most in range(20 * MIB, 180 * MIB, 10 * MIB):
            run = self.as_user_with(resource.RLIMIT_AS, most)
            self.assert_refused(run, rf"may have \d+ MiB \(ulimit -v {most // 1024}\)|could not be loaded")
            if os.path.exists(self.run_folder()):
                shutil.rmtree(self.run_folder())

    def test_a_micro_batch_for_which_there_is_no_memory_is_told_one_that_fits(self):
        self.config(width=64)
        most = 300 * MIB
        settings = ("--set", "train.global_batch=4096", "--set", "train.deterministic=false", "--stop-after", "1")
        run = self.as_user_with(resource.RLIMIT_AS, most, "--set", "train.micro_batch=2048", *settings)
        self.assert_refused(run, r"cannot allocate a buffer of [\d.]+ [MG]iB: ", r"train.micro_batch \d+ would fit")
        fits = int(re.search(r"train.micro_batch (\d+) would fit", run.stderr)[1])
        self.assertEqual(2048 % fits, 0)
        shutil.rmtree(self.run_folder())
        run = self.as_user_with(resource.RLIMIT_AS, most, "--set", f"train.micro_batch={fits}", *settings)
        self.assertEqual(run.returncode, 75, run.stderr)

    def test_a_run_of_a_billion_steps_starts_with_the_memory_of_a_short_one(self):
        peak_kib = {}
        for name in ("cosine", "polynomial", "step"):
            for steps in (2000, 1_000_000_000):
                self.config(steps=steps)
                command = self.command("--device", "cpu", "--stop-after", "2", "--set", f"schedule.name={name}",
                                       "--set", "schedule.min_lr=0", "--set", f"schedule.warmup_steps={steps // 2}",
                                       "--output-dir", self.run_folder(f"{name}-{steps}"))
                measure = "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode;" \
                    "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
                out = subprocess.run([sys.executable, "-c", measure, *command], capture_output=True, text=True, check=True).stdout
                code, peak_kib[steps] = map(int, out.split())
                self.assertEqual(code, 75)
            self.assertLess(peak_kib[1_000_000_000], peak_kib[2000] + 16 * 1024, name)  # a byte a step would be a GB

    def cores_of_threads(self, *args):
        """The cores that each thread of a running rank may use."""
        run = subprocess.Popen(self.command("--device", "cpu", *args), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: run.poll() is None and run.kill())
        metrics = os.path.join(self.run_folder(), "metrics.jsonl")
        self.wait_until(lambda: os.path.exists(metrics), "it trains")
        cores = []
        for rank in harness.children_of(run.pid):
            for thread in os.listdir(f"/proc/{rank}/task"):
                cores.append(os.sched_getaffinity(int(thread)))
        run.kill()
        run.wait()
        shutil.rmtree(self.run_folder())
        return cores

    def test_threads_are_pinned_only_where_they_take_every_core(self):
        allowed = os.sched_getaffinity(0)
        if len(allowed) < 2:
            self.skipTest("one core")
        self.config(steps=1_000_000)
        every = self.cores_of_threads("--nproc", "1", "--set", f"train.threads_per_rank={len(allowed)}")
        self.assertEqual({min(cores) for cores in every if len(cores) == 1}, allowed)
        some = self.cores_of_threads("--nproc", "1", "--set", f"train.threads_per_rank={len(allowed) - 1}")
        self.assertTrue(all(cores == allowed for cores in some), some)
        too_many = self.cores_of_threads("--nproc", "1", "--set", f"train.threads_per_rank={len(allowed) + 1}")
        self.assertTrue(all(cores == allowed for cores in too_many), too_many)


def parents_of(path):
    parents = []
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        parents.append(path)
    return parents


if __name__ == "__main__":
    harness.main()
