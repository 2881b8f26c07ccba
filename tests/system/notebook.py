#!/usr/bin/env python3
"""notebook.py whole NOTEBOOK | restart NOTEBOOK | interrupt CELL: what notebook.sh has a real kernel do, in the folder of a run."""
import json
import os
import pathlib
import signal
import sys
import time

import nbclient
import nbformat
from jupyter_client.manager import KernelManager

PATIENCE_S = 120
METRICS = pathlib.Path("run/metrics.jsonl")


def n_steps():
    return len(METRICS.read_bytes().splitlines()) if METRICS.exists() else 0


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"after a long wait: {what}")
        time.sleep(0.05)


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    if any(cell.get("outputs") for cell in notebook.cells):
        sys.exit(f"{path} holds outputs")
    return notebook


def whole(path):
    """Every cell, in order: two runs, each stopped with 75, the second one a resume."""
    notebook = read(path)
    nbclient.NotebookClient(notebook, timeout=PATIENCE_S).execute()
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    print(text, end="")
    if text.count("exit code 75") != 2 or "loss" not in text or "STOPPED after step" not in text:
        sys.exit("the cells did not show what they are to show")
    if "resumed after step" not in pathlib.Path("train.log").read_text():
        sys.exit("the second run did not resume")


class Kernel:
    """A kernel of its own, and what its cells printed."""

    def __enter__(self):
        self.manager = KernelManager()
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE_S)
        return self

    def __exit__(self, *_):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def finish(self, request):
        """Waits for the reply to an execution."""
        while True:
            reply = self.client.get_shell_msg(timeout=PATIENCE_S)
            if reply["parent_header"].get("msg_id") == request:
                return reply["content"]["status"]


def restart(path):
    """Starts the run and follows it as the notebook does, interrupts that, and ends the kernel. The run goes on through both; the pid of
    its status.json stops it, with a commit."""
    start, follow = [cell.source for cell in read(path).cells if cell.cell_type == "code"][:2]
    with Kernel() as kernel:
        if kernel.finish(kernel.client.execute(start)) != "ok":
            sys.exit("the first cell failed")
        request = kernel.client.execute(follow)
        wait_until(lambda: n_steps() > 10, "the run trains")
        kernel.manager.interrupt_kernel()
        print(f"following ended with {kernel.finish(request)}", end="; ")
        wait_until(lambda before=n_steps(): n_steps() > before + 10, "the run goes on after Interrupt")
    before = n_steps()
    wait_until(lambda: n_steps() > before + 10, "the run goes on without its kernel")
    status = pathlib.Path("run/status.json")
    os.kill(json.loads(status.read_text())["pid"], signal.SIGTERM)
    wait_until(lambda: json.loads(status.read_text())["state"] == "stopped", "the run stops")
    print(f"without its kernel the run went on for {n_steps() - before} steps; exit code {json.loads(status.read_text())['exit_code']}")


def interrupt(cell):
    """Executes the cell and interrupts it when its run has trained and committed."""
    before = n_steps()
    with Kernel() as kernel:
        request = kernel.client.execute(cell)
        wait_until(lambda: n_steps() > before + 15, "the run trains and commits")
        start = time.monotonic()
        kernel.manager.interrupt_kernel()
        status = kernel.finish(request)
        ended = json.loads(pathlib.Path("run/status.json").read_text())
        print(f"the cell ended with {status} after {time.monotonic() - start:.1f} s at step {n_steps()}; the run: {ended['state']}, "
              f"{ended.get('exit_code', 'killed')}")


if __name__ == "__main__":
    {"whole": whole, "restart": restart, "interrupt": interrupt}[sys.argv[1]](sys.argv[2])
