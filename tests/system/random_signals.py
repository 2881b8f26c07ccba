#!/usr/bin/env python3
"""Random signals to real runs: no commit is lost, exit codes are the README's, and nothing is left behind.

usage: random_signals.py [--trials N] [--seed N] DDP_LAUNCH

Each trial starts ddp-launch on the CPU with a small model and 1, 2 or 4 ranks, and sends one signal, or two that belong together, to the
launcher, to the ranks, to both or to the launcher's process group, at a random moment from the process's start to its end. It is right when
  - what reached the launcher ends the run with 0 or 75, TSTP with CONT, USR1 and what reached ranks alone with 0; a signal that comes
    before the launcher's main has blocked it may end it by that signal, and then there is no run yet;
  - no process is left;
  - after `--resume auto` the losses of all steps and evaluations, line by line, and the weights are those of a run without a signal,
    bit for bit.
Prints the seed and a table of the ends by signal and target; exits 1 after a violation, whose folder it keeps.
"""
import argparse
import collections
import ctypes
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

CONFIG = """
model: {name: gpt2, layers: 1, heads: 1, width: 16, context: 16, dropout: 0.1}
data: {format: bytes, train: train.txt, valid: valid.txt}
train: {steps: %d, micro_batch: 2, global_batch: 8, deterministic: true, threads_per_rank: 1, seed: 5}
optimizer: {lr: 3e-3}
eval: {every: 7, samples: 4}
checkpoint: {every: 5, keep: 3}
log: {every: 1000000}
output_dir: run
"""
STEPS = 300
RANKS = (1, 2, 4)
SIGNALS = ("TERM", "INT", "HUP", "USR1", "TSTP+CONT", "TERM+TERM", "HUP+HUP", "TSTP+TERM+CONT")
TARGETS = ("launcher", "ranks", "launcher and ranks", "process group")
STOPS = {"TERM", "INT", "HUP"}
LATEST = 1.1  # moments, in lengths of an undisturbed run
LONGEST_PAUSE_S = 0.3  # between signals that belong together
PATIENCE_S = 120
PR_SET_CHILD_SUBREAPER = 36


def make_folder(parent, name):
    folder = os.path.join(parent, name)
    os.mkdir(folder)
    text = "".join(f"{i} green bottles hanging on the wall; take {i % 7} down. " for i in range(400))
    for file, content in (("train.yaml", CONFIG % STEPS), ("train.txt", text), ("valid.txt", text[:4000])):
        with open(os.path.join(folder, file), "w", encoding="utf-8") as out:
            out.write(content)
    return folder


def default_signals():
    """This may run under nohup, whose ignored SIGHUP a program inherits and respects."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)


def start(launch, folder, ranks, *args):
    """In a session of its own, so that its process group is nobody else's."""
    with open(os.path.join(folder, "output.txt"), "a", encoding="utf-8") as log:
        command = [launch, "--nproc", str(ranks), "--device", "cpu", *args, "train.yaml"]
        return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL,
                                stdout=log, stderr=log, start_new_session=True, preexec_fn=default_signals)


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def send(number, target, pid):
    """What of a target is there; the launcher has not been waited for, so its id is its own."""
    if target == "process group":
        os.killpg(pid, number)
        return
    for rank in children_of(pid) if "ranks" in target else []:
        try:
            os.kill(rank, number)
        except ProcessLookupError:
            pass
    if "launcher" in target:
        os.kill(pid, number)


def sleep_until(moment):
    time.sleep(max(0.0, moment - time.monotonic()))


def result_of(folder):
    """Type, step and loss of each line, and the weights' hash; a text that says what is wrong, where steps are missing."""
    with open(os.path.join(folder, "run", "metrics.jsonl"), encoding="utf-8") as file:
        lines = [(r["type"], r["step"], repr(r.get("loss"))) for r in map(json.loads, file)]
    steps = [step for kind, step, _ in lines if kind == "step"]
    if steps != list(range(1, STEPS + 1)):
        return f"{len(steps)} steps of {STEPS}, or in another order"
    with open(os.path.join(folder, "run", "checkpoints", f"step-{STEPS:08d}", "model.safetensors"), "rb") as file:
        return [*lines, hashlib.sha256(file.read()).hexdigest()]


def is_committed(folder):
    """Whether the newest checkpoint is of the last step that metrics.jsonl has."""
    with open(os.path.join(folder, "run", "metrics.jsonl"), encoding="utf-8") as file:
        steps = [record["step"] for record in map(json.loads, file) if record["type"] == "step"]
    return f"step-{steps[-1]:08d}" in os.listdir(os.path.join(folder, "run", "checkpoints"))


def leftover():
    """Whether a process outlives its launcher: those become this one's children. A rank's end takes the kernel a moment."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.001)
        except ChildProcessError:
            return False
    return True


def end_of(process):
    """Its exit code, or None: it hangs, and was killed."""
    try:
        return process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        for child in children_of(process.pid):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()
        return None


class Trial:
    def __init__(self, launch, folder, rng, lengths):
        self.launch, self.folder = launch, folder
        self.ranks = rng.choice(RANKS)
        self.signals = rng.choice(SIGNALS)
        self.target = rng.choice(TARGETS)
        self.moment_s = rng.uniform(0, LATEST * lengths[self.ranks])
        self.pauses_s = [rng.choice((0, rng.uniform(0, LONGEST_PAUSE_S))) for _ in self.signals.split("+")]

    def __str__(self):
        pauses = ", ".join(f"{1000 * pause:.1f}" for pause in self.pauses_s[1:])
        more = f" (+ {pauses} ms)" if pauses else ""
        return f"{self.ranks} ranks, {self.signals} to {self.target} after {1000 * self.moment_s:.1f} ms{more}"

    def run(self, expected):
        """How it ended, and what was wrong, if anything."""
        began = time.monotonic()
        process = start(self.launch, self.folder, self.ranks)
        sleep_until(began + self.moment_s)
        for name, pause_s in zip(self.signals.split("+"), [0, *self.pauses_s[1:]]):
            time.sleep(pause_s)
            send(getattr(signal, "SIG" + name), self.target, process.pid)
        code = end_of(process)
        if code is None:
            return "hang", "it hangs"
        end = signal.Signals(-code).name if code < 0 else str(code)
        if leftover():
            return end, "processes are left"
        has_run = os.path.isdir(os.path.join(self.folder, "run"))
        names = set(self.signals.split("+"))
        may_stop = self.target != "ranks" and bool(names & STOPS)
        if code < 0 and has_run:
            return end, "it died of a signal after it had begun"
        if code < 0 and (self.target == "ranks" or signal.Signals(-code).name[3:] not in names):
            return end, "it died of a signal that it was not sent"
        if code > 0 and not (code == 75 and may_stop):
            return end, f"exit code {code}"
        if code == 75 and not is_committed(self.folder):
            return end, "the last step is not committed"
        resumed = end_of(start(self.launch, self.folder, self.ranks, "--resume", "auto"))
        if resumed != 0:
            return end, f"the resume ends with {resumed}"
        result = result_of(self.folder)
        if result != expected:
            return end, result if isinstance(result, str) else "losses, evaluations or weights differ from a run without a signal"
        return end if code >= 0 else end + ", no run yet", None


def undisturbed(launch, parent):
    """The result that every run has to have, whatever its number of ranks, and how long each takes."""
    results, lengths = [], {}
    for ranks in RANKS:
        folder = make_folder(parent, f"undisturbed-{ranks}")
        began = time.monotonic()
        code = start(launch, folder, ranks).wait(PATIENCE_S)
        lengths[ranks] = time.monotonic() - began
        if code != 0:
            sys.exit(f"a run without a signal ends with {code}: see {folder}")
        results.append(result_of(folder))
    if isinstance(results[0], str) or any(result != results[0] for result in results):
        sys.exit(f"runs of {RANKS} ranks differ without any signal: see {parent}")
    return results[0], lengths


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("launch", metavar="DDP_LAUNCH")
    args = parser.parse_args()
    launch = os.path.abspath(args.launch)
    seed = random.SystemRandom().randrange(10**9) if args.seed is None else args.seed
    rng = random.Random(seed)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTSTP):  # what this process ignores, ddp-launch would inherit
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    parent = tempfile.mkdtemp(prefix="ddp-signals-")
    expected, lengths = undisturbed(launch, parent)
    took = ", ".join(f"{ranks}: {lengths[ranks]:.2f} s" for ranks in RANKS)
    print(f"seed {seed}, {args.trials} trials; {STEPS} steps without a signal take, by ranks, {took}", flush=True)
    ends, violations = collections.Counter(), []
    for number in range(args.trials):
        folder = make_folder(parent, f"trial-{number}")
        trial = Trial(launch, folder, rng, lengths)
        end, wrong = trial.run(expected)
        ends[trial.signals, trial.target, end] += 1
        if wrong is None:
            shutil.rmtree(folder)
            continue
        violations.append(f"trial {number}, {trial}: {end}: {wrong}; see {folder}")
        print("VIOLATION", violations[-1], flush=True)
    for signals in SIGNALS:
        for target in TARGETS:
            row = sorted((end, count) for (s, t, end), count in ends.items() if (s, t) == (signals, target))
            print(f"{signals:16}{target:20}" + ("; ".join(f"{count} x {end}" for end, count in row) or "not tried"))
    print(f"{args.trials} trials, {len(violations)} violations")
    if not violations:
        shutil.rmtree(parent)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
