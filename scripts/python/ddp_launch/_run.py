"""A training run as a Python object: ddp-launch as a child, held by a pipe.

The child is in a session of its own, so no signal to this Python or its terminal reaches it. It watches a pipe of which this Python has
the other end (--stop-when-closed): however Python ends, by a kernel's restart or a SIGKILL too, the run stops with a checkpoint. It says
where in which metrics.jsonl its lines begin (--announce), and they are read from there: a slow reader holds nothing up.
"""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref

from . import _command
from ._program import find_program

STOPPED = 75  # stopped early, with a checkpoint: README.md has all exit codes
PAUSE_S = 0.05  # between two looks at the metrics
PIECE_BYTES = 1 << 20  # of them, read at once

_runs = weakref.WeakSet()


class RunFailed(Exception):
    """The run failed. exit_code is ddp-launch's, console all that it printed; the message is its last line."""

    __module__ = __package__  # as who catches it knows it

    def __init__(self, exit_code, console):
        self.exit_code = exit_code
        self.console = console
        said = [line for line in console.splitlines() if line.strip()]
        super().__init__(f"{said[-1] if said else 'it said nothing'} (exit code {exit_code})")


def run(config, *, gpus=None, nproc=None, device=None, output_dir=None, resume=None, accept_change=None, stop_after=None, **overrides):
    """Starts a training run and returns it; iterating over it yields its metrics as they come.

        for line in ddp_launch.run("train.yaml", gpus=[0, 1], train={"steps": 2000}, **{"optimizer.lr": 1e-3}):
            if line["type"] == "eval":
                print(line["step"], line["loss"])

    config         the YAML file
    gpus           [0, 1, 2, 3], "0,1", "0-3" or "all"; or
    nproc, device  the number of ranks; "cpu", "cuda" or "auto"
    output_dir     the run's folder, instead of the configuration's
    resume         "auto": go on from the folder's newest checkpoint, if there is one; or the path of a checkpoint or run
    accept_change  keys that a resume may change: ["optimizer.lr"]
    stop_after     commit and stop after this step
    overrides      keys of the configuration: train={"steps": 20} or **{"train.steps": 20}

    A line is a dict of metrics.jsonl: its type is "step", "eval", "change" or "gap". Only lines of this start come, none twice; read_metrics
    has those of earlier ones too.

    Leaving the loop, by break, return or an exception, stops the run: it finishes its step and commits a checkpoint, which is waited
    for. So does Interrupt (KeyboardInterrupt), which is raised again when the checkpoint is there; another one after 2 s, or a third,
    ends the run at once, without. A run that was stopped goes on by resume="auto".

    The run belongs to the object: when that is gone, or this Python ends or is killed, the run stops with a checkpoint too.

    Raises ProgramNotFound; RunFailed while iterating, when the run has failed. A run that somebody else stops ends the loop: `stopped` says so.
    """
    options = _options(gpus=gpus, nproc=nproc, device=device, output_dir=output_dir, resume=resume, accept_change=accept_change,
                       stop_after=stop_after)
    return Run([*options, *_settings(overrides), os.fspath(config)])


class Run:
    """A run that ddp_launch.run() has started, whose help says what it does. Iterate over it for its metrics; a second loop goes on where
    the first one was left."""

    def __init__(self, arguments):
        command = [find_program(), *arguments]
        self._start_folder = pathlib.Path.cwd()
        self._console = tempfile.TemporaryFile()
        self._announced = tempfile.TemporaryFile()
        self._folder = None
        self._position = 0  # in metrics.jsonl: all before it was yielded, or is of an earlier start
        self._end_position = None  # where the lines of this start end, once they do
        self._sent = set()  # signals
        watched, held = os.pipe()
        self._let_go = weakref.finalize(self, _close, held, self._console, self._announced)
        _runs.add(self)
        told = self._announced.fileno()
        command[1:1] = ["--stop-when-closed", str(watched), "--announce", str(told)]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._console, stderr=self._console,
                                             env=_command.environment(), pass_fds=(watched, told), start_new_session=True)
        finally:
            os.close(watched)

    def __repr__(self):
        return f"<ddp_launch.Run {self.state}: {self._folder or 'not begun'}>"

    def __iter__(self):
        try:
            yield from self._lines()
        except KeyboardInterrupt:
            self._end(signal.SIGINT)  # a person's: ddp-launch counts those
            raise
        finally:
            self.stop()

    @property
    def folder(self):
        """The run's folder, a pathlib.Path. Waits until the run has begun; raises RunFailed where it does not."""
        self._wait_for_begin()
        if self._folder is None:
            raise RunFailed(self.exit_code, self.console)
        return self._folder

    @property
    def pid(self):
        """Of ddp-launch, for signals: SIGUSR1 has it write a checkpoint and go on."""
        return self._process.pid

    @property
    def exit_code(self):
        """ddp-launch's; None while it runs."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    @property
    def state(self):
        """"running", "finished", "stopped" or "failed"."""
        return {None: "running", 0: "finished", STOPPED: "stopped"}.get(self.exit_code, "failed")

    @property
    def stopped(self):
        """Whether it was stopped early with a checkpoint, by stop() or by anybody else."""
        return self.exit_code == STOPPED

    @property
    def console(self):
        """What ddp-launch has printed so far."""
        return _read(self._console).decode(errors="replace")

    def stop(self):
        """Stops the run, if it still runs, and waits until its checkpoint is there. Returns the exit code. Raises RunFailed."""
        self._end(signal.SIGTERM)
        code = self.exit_code
        if code not in (0, STOPPED) and code - 128 not in self._sent:
            raise RunFailed(code, self.console)
        return code

    def _end(self, number):
        if self.exit_code is None:
            with self._interrupts_passed_on():
                self._send(number)
                self._process.wait()
        self._note_end()

    def _send(self, number):
        self._sent.add(number)
        self._process.send_signal(number)

    @contextlib.contextmanager
    def _interrupts_passed_on(self):
        """While this waits for the run, Interrupt is for ddp-launch to judge, and is raised here when the run has ended."""
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            yield
            return
        came = []

        def pass_on(number, _):
            came.append(number)
            self._send(number)

        signal.signal(signal.SIGINT, pass_on)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
        if came:
            raise KeyboardInterrupt

    def _wait_for_begin(self):
        while self._folder is None:
            has_ended = self.exit_code is not None  # asked first: then what is there is all
            notice = _read(self._announced)
            if notice.endswith(b"\n"):
                notice = json.loads(notice)
                self._position = notice["metrics_from"]
                self._folder = self._start_folder / notice["output_dir"]
            elif has_ended:
                return
            else:
                time.sleep(PAUSE_S)

    def _lines(self):
        self._wait_for_begin()
        while self._folder is not None:
            if self.exit_code is not None:
                self._note_end()
            has_ended = self._end_position is not None
            lines = self._new_lines()
            for line in lines:
                record = json.loads(line)
                try:
                    yield record
                finally:  # also where the loop is left
                    self._position += len(line)
            if not lines:
                if has_ended:
                    return
                time.sleep(PAUSE_S)

    def _note_end(self):
        """What is in the file when the run has ended is all of it; a later start may write more."""
        self._wait_for_begin()
        if self._end_position is None and self._folder is not None:
            path = self._folder / "metrics.jsonl"
            self._end_position = path.stat().st_size if path.exists() else 0

    def _new_lines(self):
        """Some of the whole lines that were not yielded, each with its newline."""
        try:
            with open(self._folder / "metrics.jsonl", "rb") as file:
                file.seek(self._position)
                most = PIECE_BYTES if self._end_position is None else self._end_position - self._position
                piece = file.read(most)
        except FileNotFoundError:  # on a full disk it comes later
            return []
        return piece[:piece.rfind(b"\n") + 1].splitlines(keepends=True)


def _close(held, *files):
    os.close(held)
    for file in files:
        file.close()


def _read(file):
    """All of it, from the start: its position is the child's."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)


def _options(**options):
    gpus = options["gpus"]
    if isinstance(gpus, int):
        raise TypeError(f"gpus={gpus} may mean a number or a GPU; write gpus=[{gpus}], or nproc={gpus}")
    if gpus is not None and not isinstance(gpus, str):
        options["gpus"] = ",".join(map(str, gpus))
    if options["accept_change"] is not None and not isinstance(options["accept_change"], str):
        options["accept_change"] = ",".join(options["accept_change"])
    return [word for name, value in options.items() if value is not None
            for word in ("--" + name.replace("_", "-"), os.fspath(value) if isinstance(value, os.PathLike) else str(value))]


def _settings(overrides, above=""):
    words = []
    for name, value in overrides.items():
        if isinstance(value, dict):
            words += _settings(value, above + name + ".")
        else:  # JSON is YAML
            try:
                words += ["--set", f"{above}{name}={json.dumps(value, ensure_ascii=False, default=_plain)}"]
            except (AttributeError, TypeError, ValueError):
                raise TypeError(f"{above}{name}={value!r} is no value of a key: give a number, a text, a path, True or False, or a list") from None
    return words


def _plain(value):
    """Of a pathlib.Path, or a number of NumPy's."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value.item()


def _let_go_of_all():
    """In a forked child, which may outlive this Python: whether the runs go on is not its business."""
    for run_ in list(_runs):
        run_._let_go()


os.register_at_fork(after_in_child=_let_go_of_all)
