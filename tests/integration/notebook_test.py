"""The shipped notebook, executed by a real kernel; Interrupt, a restart and the death of the kernel under its run.

Needs what scripts/fetch_notebook.sh puts into .cache/notebook; skipped (77) without.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys

import harness

KERNEL = os.path.join(harness.ROOT, ".cache", "notebook", "bin", "python")
try:
    import nbclient
    import nbformat
    from jupyter_client.manager import KernelManager
except ImportError:
    if sys.executable != KERNEL and os.path.exists(KERNEL):
        os.execv(KERNEL, [KERNEL, *sys.argv])
    print("skipped: no kernel of a notebook here; scripts/fetch_notebook.sh brings one")
    sys.exit(77)

MODULES = os.path.join(harness.ROOT, "scripts", "python")
sys.path.insert(0, MODULES)
import ddp_launch  # noqa: E402  (found by the line above)

NOTEBOOK = os.path.join(harness.ROOT, "scripts", "examples", "notebook.ipynb")
IN_PLACE_OF = {'"configs/gpt2-small.yaml"': '"train.yaml"', '{"gpus": "0,1,2,3"}': '{"device": "cpu", "nproc": 2}', "every_s=5": "every_s=0.1"}


class Kernel:
    """A kernel of its own in a folder."""

    def __init__(self, folder):
        self.manager = KernelManager()
        self.manager.start_kernel(cwd=folder, stderr=subprocess.DEVNULL)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=harness.PATIENCE_S)

    @property
    def pid(self):
        return self.manager.provisioner.pid

    def finish(self, request):
        """Waits for the reply to an execution: "ok", or the name of the exception."""
        while True:
            reply = self.client.get_shell_msg(timeout=harness.PATIENCE_S)
            if reply["parent_header"].get("msg_id") == request:
                return reply["content"].get("ename", reply["content"]["status"])

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


class Notebook(harness.IntegrationTest):
    def setUp(self):
        super().setUp()
        self.config(steps=100000)
        for name, value in {"PYTHONPATH": MODULES, "HOME": self.folder, "IPYTHONDIR": self.folder}.items():  # HOME: what kernels write
            before = os.environ.get(name)
            self.addCleanup(lambda name=name, before=before: os.environ.pop(name) if before is None else os.environ.update({name: before}))
            os.environ[name] = value

    def notebook(self):
        """As it is shipped, but for what it trains, and where."""
        text = pathlib.Path(NOTEBOOK).read_text(encoding="utf-8")
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        for cell in notebook.cells:
            self.assertEqual((cell.get("outputs", []), cell.get("execution_count")), ([], None), "it is shipped without outputs")
            for shipped, ours in IN_PLACE_OF.items():
                cell.source = cell.source.replace(shipped, ours)
        left = [shipped for shipped in IN_PLACE_OF if shipped.replace('"', '\\"') not in text]
        self.assertEqual(left, [], "what the test replaces is what is shipped")
        return notebook

    def cell(self, name):
        return next(cell.source for cell in self.notebook().cells if cell["id"] == name)

    def kernel(self):
        kernel = Kernel(self.folder)
        self.addCleanup(kernel.close)
        return kernel

    def n_lines(self):
        metrics = pathlib.Path(self.run_folder(), "metrics.jsonl")
        return len(metrics.read_bytes().splitlines()) if metrics.exists() else 0

    def wait_until_it_trains(self):
        before = self.n_lines()
        self.wait_until(lambda: self.n_lines() > before + 15, "it trains")

    def processes(self, pid):
        """Of a kernel's run: the launcher and its ranks."""
        [launcher] = [child for child in harness.children_of(pid) if harness.children_of(child)]
        ranks = harness.children_of(launcher)
        self.assertEqual(len(ranks), 2)
        return [launcher, *ranks]

    def assert_stopped(self, pids):
        """With a checkpoint of its last step, and no process left."""
        self.wait_until(lambda: all(harness.state_of(pid) in (None, "Z") for pid in pids), "launcher and ranks have ended")
        self.assert_goes_on(self.records()[-1]["step"])

    def assert_goes_on(self, done):
        """From the checkpoint of this step, without a step lost or repeated."""
        result = self.launch("--device", "cpu", "--nproc", "2", "--resume", "auto", "--stop-after", str(done + 3), expect=75)
        self.assertIn(f"resumed after step {done}\n", result.out)
        self.assertEqual([int(record["step"]) for record in self.records()], [*range(1, done + 4)])

    def train(self, kernel, name="watch"):
        """Executes the settings and then, without waiting for its end, that cell; returns it and the run's processes."""
        self.assertEqual(kernel.finish(kernel.client.execute(self.cell("settings"))), "ok")
        request = kernel.client.execute(self.cell(name).replace(", stop_after=600", ""))
        self.wait_until_it_trains()
        return request, self.processes(kernel.pid)

    def test_the_notebook_trains_watches_plots_stops_resumes_and_reads_metrics(self):
        notebook = self.notebook()
        nbclient.NotebookClient(notebook, timeout=harness.PATIENCE_S, resources={"metadata": {"path": self.folder}}).execute()
        outputs = {cell["id"]: cell.get("outputs", []) for cell in notebook.cells}

        def text(name):
            return "".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs[name])

        def num_pictures(name):
            return sum("image/png" in o.get("data", {}) for o in outputs[name])

        self.assertRegex(text("train"), r"^step 50  loss \d\.\d{4}  learning rate .*\n(step .*\n)*step 300 .*\n\('stopped', 75\)$")
        self.assertEqual([num_pictures(name) for name in ("watch", "second", "plot")], [1, 1, 1], "one figure that is drawn anew, and one")
        self.assertIn("text/html", outputs["metrics"][0]["data"], "a DataFrame")
        self.assertRegex(text("metrics"), r"(?s)step +loss .* 600 ")
        self.assertRegex(text("console"), r"(?s)STOPPED after step 600, checkpoint written; resume: .* --resume auto ")
        self.assertEqual([int(record["step"]) for record in self.records()], [*range(1, 601)])

    def test_a_plot_names_every_run_however_its_folder_is_called(self):
        names = ["plain", "_old", "here"]
        for name in names:
            os.mkdir(os.path.join(self.folder, name))
            pathlib.Path(self.folder, name, "metrics.jsonl").write_text('{"type":"step","step":1,"loss":1}\n', encoding="utf-8")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(os.path.join(self.folder, "here"))
        figure = ddp_launch.plot("../plain", "../_old", ".")
        self.assertEqual([text.get_text().strip() for text in figure.axes[0].get_legend().get_texts()], [*names, "each step", "evaluation"])

    def test_interrupt_stops_the_run_with_a_checkpoint_and_the_cell_when_it_is_there(self):
        kernel = self.kernel()
        request, pids = self.train(kernel)
        kernel.manager.interrupt_kernel()
        self.assertEqual(kernel.finish(request), "KeyboardInterrupt")
        self.assert_stopped(pids)

    def test_nothing_is_left_of_a_kernel_that_is_restarted_or_dies_but_a_checkpoint(self):
        kernel = self.kernel()
        _, pids = self.train(kernel)
        os.kill(kernel.pid, signal.SIGKILL)
        self.assert_stopped(pids)
        kernel.manager.restart_kernel(now=True)
        kernel.client.wait_for_ready(timeout=harness.PATIENCE_S)
        _, pids = self.train(kernel)
        kernel.manager.restart_kernel(now=True)
        self.assert_stopped(pids)

    def run_of(self, name, *lines):
        """A folder that holds a run with these lines."""
        folder = pathlib.Path(self.folder, name)
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return folder

    def test_a_figure_shows_runs_as_far_as_they_are_and_tells_them_apart(self):
        steps = [{"type": "step", "step": i, "loss": None if i == 3 else 6.0 - i, "lr": 0.1, "samples_per_s": 100.0 + i} for i in range(1, 6)]
        changed = [{"type": "change", "step": 3, "key": "optimizer.lr"}, {"type": "eval", "step": 5, "loss": 2.0}]
        figure = ddp_launch.plot(self.run_of("a/run", *steps, *changed), self.run_of("b/run"))
        loss, rate, speed = figure.axes
        self.assertEqual([axis.get_ylabel() for axis in figure.axes], ["loss (nats)", "learning\nrate", "samples\nper second"])
        self.assertEqual(speed.get_xlabel(), "step")
        each, smoothed, evaluations = (curve.get_xydata().tolist() for curve in loss.lines[:3])
        self.assertEqual([x for x, y in each if y == y], [1, 2, 4, 5], "a loss that is no number leaves a hole")
        self.assertEqual(len(smoothed), 5)
        self.assertEqual(evaluations, [[5, 2]])
        self.assertEqual(rate.lines[0].get_xydata().tolist(), [[i, 0.1] for i in range(1, 6)])
        for (_, is_shown), wanted in zip(speed.lines[0].get_xydata(), range(101, 106)):
            self.assertAlmostEqual(is_shown, wanted)
        self.assertEqual([curve.get_xdata() for curve in rate.lines if curve.get_linestyle() == ":"], [[3, 3]], "a key changed")
        names = [text.get_text() for text in loss.get_legend().get_texts()]
        self.assertEqual(names, [os.path.join(self.folder, "a/run"), os.path.join(self.folder, "b/run"), "each step", "evaluation"])
        figure.savefig(os.path.join(self.folder, "figure.png"))
        one = ddp_launch.plot(os.path.join(self.folder, "a/run"), labels=["mine"])
        self.assertEqual(one.axes[0].get_legend().get_texts()[0].get_text(), "mine")
        with self.assertRaisesRegex(ValueError, "2 labels for 1 runs"):
            ddp_launch.plot(os.path.join(self.folder, "a/run"), labels=["a", "b"])
        with self.assertRaisesRegex(TypeError, "wants a run"):
            ddp_launch.plot()

    def test_a_plain_command_that_is_interrupted_goes_on_from_its_last_commit_at_least(self):
        """IPython sends SIGINT, SIGTERM and SIGKILL within a second."""
        kernel = self.kernel()
        command = " ".join(self.command("--nproc", "2", "--device", "cpu", "--resume", "auto", "--set", "checkpoint.every=10"))
        request = kernel.client.execute("!" + command)
        self.wait_until_it_trains()
        launcher = json.loads(pathlib.Path(self.run_folder(), "status.json").read_text(encoding="utf-8"))["pid"]
        kernel.manager.interrupt_kernel()
        kernel.finish(request)
        self.wait_until(lambda: harness.state_of(launcher) in (None, "Z"), "the launcher has ended")
        checkpoints = pathlib.Path(self.run_folder(), "checkpoints").glob("step-????????")
        self.assert_goes_on(max(int(checkpoint.name[len("step-"):]) for checkpoint in checkpoints))


if __name__ == "__main__":
    harness.main()
