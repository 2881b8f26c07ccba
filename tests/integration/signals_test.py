"""Signals as users and their systems send them: to every process of a run, and from a terminal."""
import fcntl
import os
import pty
import signal
import subprocess
import termios
import threading

import harness

KEYS = ["step", "loss", "grad_norm", "samples_seen", "applied_steps"]
CTRL_C, CTRL_Z = b"\x03", b"\x1a"


class Terminal:
    """A program as the first process of a terminal's session; what it shows is read at once, as a terminal does."""

    def __init__(self, *command, **options):
        self.master, slave = pty.openpty()

        def enter():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            harness.default_signals()

        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=enter,
                                        **options)
        os.close(slave)
        self.text = ""
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        try:
            while piece := os.read(self.master, 65536):
                self.text += piece.decode(errors="replace")
        except OSError:  # every process has closed it
            pass

    def type(self, keys):
        os.write(self.master, keys)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        os.close(self.master)


class Signals(harness.IntegrationTest):
    def start(self, *args):
        process = subprocess.Popen(self.command("--nproc", "2", *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   stdin=subprocess.DEVNULL, preexec_fn=harness.default_signals)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        self.wait_until_it_trains()
        return process

    def metrics_bytes(self):  # a line may be there in part
        metrics = os.path.join(self.run_folder(), "metrics.jsonl")
        return os.path.getsize(metrics) if os.path.exists(metrics) else 0

    def wait_until_it_trains(self):
        self.wait_until(lambda: self.metrics_bytes() > 0, "it trains")

    def send_to_all(self, process, number):
        for pid in [*harness.children_of(process.pid), process.pid]:
            os.kill(pid, number)

    def checkpoints(self):
        folder = os.path.join(self.run_folder(), "checkpoints")
        return [name for name in os.listdir(folder) if name.startswith("step-")] if os.path.isdir(folder) else []

    def test_a_stop_that_reaches_all_processes_commits_what_was_done(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.config(steps=100000)
            process = self.start("--output-dir", self.run_folder())
            self.send_to_all(process, number)
            self.send_to_all(process, number)
            out, err = process.communicate(timeout=harness.PATIENCE_S)
            self.assertEqual(process.returncode, 75, out + err)
            done = int(self.records()[-1]["step"])
            self.weights_hash(done)
            # The schedule knows the number of steps, so the unbroken run has the same, and is stopped by its step.
            settings = ("--nproc", "2", "--stop-after", str(done + 5))
            self.launch(*settings, "--resume", "auto", expect=75)
            self.launch(*settings, "--output-dir", self.run_folder("whole"), expect=75)
            for key in KEYS:
                self.assertEqual(self.column(key), self.column(key, "whole"), key)
            self.assertEqual(self.weights_hash(done + 5), self.weights_hash(done + 5, "whole"))
            for name in ("run", "whole"):
                subprocess.run(["rm", "-r", self.run_folder(name)], check=True)

    def test_usr1_that_reaches_all_processes_commits_and_goes_on(self):
        self.config(steps=100000)
        process = self.start()
        self.send_to_all(process, signal.SIGUSR1)
        self.wait_until(self.checkpoints, "a checkpoint was asked for")
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(process.returncode, 75)

    def test_an_evaluation_ends_at_once_when_the_program_that_started_it_is_gone(self):
        self.config(steps=5)
        self.launch("--device", "cpu")
        watched, held = os.pipe()
        command = self.command("eval", "--device", "cpu", "--stop-when-closed", str(watched), config=self.run_folder())
        with subprocess.Popen(command, pass_fds=[watched], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            os.close(watched)
            os.close(held)
            out, err = process.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual((process.returncode, out), (-signal.SIGTERM, ""))
        self.assertEqual(err, "ddp-launch: the other end of --stop-when-closed is closed\nSTOPPED by SIGTERM\n")

    def terminal(self, *command):
        terminal = Terminal(*command, cwd=self.folder)
        self.addCleanup(terminal.close)
        return terminal

    def test_ctrl_z_in_a_shell_suspends_the_ranks_and_fg_continues_them(self):
        self.config(steps=100000)
        shell = self.terminal("bash", "--norc", "--noprofile", "--noediting", "-i")
        shell.type(b"PS1='ready> '\n")
        self.wait_until(lambda: shell.text.endswith("ready> "), "the shell is ready")
        shell.type(" ".join(self.command("--nproc", "2")).encode() + b"\n")
        self.wait_until_it_trains()
        [launcher] = harness.children_of(shell.process.pid)
        ranks = harness.children_of(launcher)
        self.assertEqual(len(ranks), 2)
        shell.type(CTRL_Z)
        self.wait_until(lambda: "Stopped" in shell.text and shell.text.endswith("ready> "), "the shell has the terminal again")
        self.assertEqual([harness.state_of(pid) for pid in [launcher, *ranks]], ["T"] * 3)
        self.assertRegex(shell.text, r"\r\x1b\[2K[^\x1b]*Stopped", "the status line is gone before the shell speaks")
        suspended = len(shell.text)
        shell.type(b"fg\n")
        self.wait_until(lambda: "step " in shell.text[suspended:], "the status line is there again")
        shell.type(CTRL_C)
        self.wait_until(lambda: "resume: " in shell.text, "it stops")
        self.assertIn("finishing the step, then checkpoint", shell.text)
        self.assertIn("checkpoint written", shell.text)
        self.assertNotIn("is stopped", shell.text)
        shell.type(b"echo it ended with $?.\n")
        self.wait_until(lambda: "it ended with 75." in shell.text, "its exit code")
        self.assertEqual(len(self.checkpoints()), 1)

    def test_ctrl_z_where_no_shell_could_continue_it_does_not_stop_a_run(self):
        self.config(steps=100000)
        alone = self.terminal(*self.command("--nproc", "2"))
        self.wait_until_it_trains()
        alone.type(CTRL_Z)
        before = self.metrics_bytes()
        self.wait_until(lambda: self.metrics_bytes() > before + 100000, "it goes on")
        alone.type(CTRL_C)
        self.assertEqual(alone.process.wait(harness.PATIENCE_S), 75)


if __name__ == "__main__":
    harness.main()
