"""metrics.jsonl of a run, as tables."""
import json
import os
import pathlib


def folder_of(run):
    """Of a Run, or a path that is the folder already."""
    if isinstance(run, (str, os.PathLike)):
        return pathlib.Path(run)
    if hasattr(run, "folder"):
        return run.folder
    raise TypeError(f"{run!r} is neither a Run nor the path of a run's folder")


def read_lines(run, kind=None):
    """The whole lines of the run's metrics.jsonl as dicts, of one kind or of all. A run that has not begun has none."""
    path = folder_of(run) / "metrics.jsonl"
    if not path.exists() and not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is no run's folder")
    text = path.read_bytes() if path.exists() else b""
    lines = text[:text.rfind(b"\n") + 1].splitlines()  # the last one may be half written
    records = (_record(line, f"{path}:{number}") for number, line in enumerate(lines, 1))
    return [record for record in records if kind is None or record["type"] == kind]


def _record(line, place):
    try:
        return json.loads(line)
    except ValueError:
        raise ValueError(f"{place} is damaged") from None


def read_metrics(run, kind="step"):
    """What a run has measured so far, all of its starts: a pandas.DataFrame where pandas is installed, else a list of dicts.

    run   a Run, or a run's folder
    kind  "step": loss, lr, grad_norm, tokens_per_s (samples_per_s, ...), step_ms, ... of each step; "eval": the evaluations;
          "change": keys that a resume changed; "gap": steps whose lines a full disk took; None: all of these
    """
    lines = read_lines(run, kind)
    try:
        import pandas
    except ImportError:
        return lines
    return pandas.DataFrame(lines)
