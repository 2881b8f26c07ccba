"""Commands that leave nothing behind: each is a session of its own, killed as a whole at its limit; orphans come back to this program."""
import contextlib
import ctypes
import os
import signal
import subprocess
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
UNKILLABLE_S = 10
TAIL_BYTES = 1 << 20  # of a log, as far as verdicts look at it
libc = ctypes.CDLL(None)


class OutOfTime(Exception):
    """A stage has reached its limit."""


def adopt_orphans():
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(signum):
    libc.prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0)


def processes():
    """pid: (parent, session), of all that can be seen."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue  # it is gone
        found[int(name)] = (int(fields[1]), int(fields[3]))
    return found


def kill_all(is_mine):
    """Kills every process that is_mine(pid, parent, session) names until there is none, and reaps what has come back to this one. One that
    the driver holds in the kernel is left after a while, so that the next stage has its chance."""
    deadline = time.monotonic() + UNKILLABLE_S
    while True:
        mine = [pid for pid, (parent, session) in processes().items() if is_mine(pid, parent, session)]
        for pid in mine:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                break
        if not mine or time.monotonic() > deadline:
            return
        time.sleep(0.01)


def kill_descendants():
    """For a program that has adopted its orphans: whoever is left of it."""
    me = os.getpid()
    kill_all(lambda pid, parent, session: parent == me)


class Done:
    """How a command ended: `code` as a shell has it (128 + N by signal N), None at its limit; `text` is the end of what it wrote."""

    def __init__(self, code, seconds, log):
        self.code, self.seconds, self.log = code, seconds, log
        with open(log, "rb") as file:
            file.seek(max(0, os.path.getsize(log) - TAIL_BYTES))
            self.text = file.read().decode("utf-8", errors="replace")

    @property
    def ok(self):
        return self.code == 0

    @property
    def last_line(self):
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        return lines[-1] if lines else "it wrote nothing"

    @property
    def how(self):
        """Why it is not ok, in a line."""
        if self.code is None:
            return f"still ran after {self.seconds:.0f} s and was killed: {self.last_line}"
        if self.code > 128:
            try:
                return f"died of {signal.Signals(self.code - 128).name}: {self.last_line}"
            except ValueError:
                pass
        return f"exit code {self.code}: {self.last_line}"


def run(argv, log, limit, cwd, env, watch=None):
    """Runs argv for at most `limit` seconds, what it writes in the file `log`. watch(pids of its session) is called as it runs."""
    begin = time.monotonic()
    parent = os.getpid()

    def prepare():
        die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    with open(log, "ab") as out:
        out.write(("$ " + " ".join(argv) + "\n").encode())
        out.flush()
        child = subprocess.Popen(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                 start_new_session=True, preexec_fn=prepare)
    code = None
    try:
        while True:
            left = limit - (time.monotonic() - begin)
            if left <= 0:
                break
            try:
                code = child.wait(min(left, 0.02 if watch else left))
                break
            except subprocess.TimeoutExpired:
                if watch:
                    watch([pid for pid, (_, session) in processes().items() if session == child.pid])
    finally:
        if code is None:
            child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(UNKILLABLE_S)
        kill_all(lambda pid, _, session: session == child.pid)
    if code is not None and code < 0:
        code = 128 - code
    return Done(code, time.monotonic() - begin, log)
