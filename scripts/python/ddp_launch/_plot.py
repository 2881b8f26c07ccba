"""Losses of runs as a figure."""
import itertools
import math
import os

from ._metrics import folder_of, read_lines

COLOURS = ["#1f6fb4", "#d1600f", "#2d8a4e", "#a3327d", "#6b4fbb", "#8a6d1a"]
SMOOTHED_SHARE = 0.03  # of a curve's steps, over which the strong line averages


def plot(*runs, labels=None):
    """A matplotlib Figure of one or several runs by step: the loss, and in slim panels below it the learning rate and the speed.

    runs    each a Run, or a run's folder
    labels  a name for each; else those of the folders

    The faint line is the loss of each step and the strong one the average around it; circles are evaluations; a dotted line stands where a
    resume changed keys. A notebook shows the figure as the value of a cell; elsewhere there is savefig().
    """
    import matplotlib.pyplot as pyplot  # here: nothing else needs it, and in a notebook it chooses how figures are shown

    if not runs:
        raise TypeError("plot() wants a run or a run's folder, or several")
    names = _names([folder_of(run) for run in runs]) if labels is None else list(labels)
    if len(names) != len(runs):
        raise ValueError(f"{len(names)} labels for {len(runs)} runs")
    figure, axes = pyplot.subplots(3, 1, sharex=True, figsize=(8, 5.5), height_ratios=[4, 1, 1], layout="constrained")
    pyplot.close(figure)  # the value of a cell is shown, and this would be shown once more
    units = [_draw(axes, read_lines(run), name, colour) for run, name, colour in zip(runs, names, itertools.cycle(COLOURS))]
    _label(axes, list(dict.fromkeys(filter(None, units))))
    return figure


def _names(folders):
    names = [os.path.basename(os.path.abspath(folder)) for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _draw(axes, lines, name, colour):
    """A run's lines of metrics.jsonl. Returns what its speed counts: "tokens", "samples"; None before its first step."""
    loss, rate, speed = axes
    steps = [line for line in lines if line["type"] == "step"]
    evaluations = [line for line in lines if line["type"] == "eval"]
    numbers = [line["step"] for line in steps]
    losses = _column(steps, "loss")
    unit = next((key for key in (steps[0] if steps else ()) if key.endswith("_per_s")), None)
    loss.plot(numbers, losses, color=colour, alpha=0.4, linewidth=0.8)
    loss.plot(numbers, _averages(losses), color=colour, linewidth=1.8, label=_shown(name))
    loss.plot([line["step"] for line in evaluations], _column(evaluations, "loss"), color=colour, linewidth=0, marker="o", markersize=5,
              markerfacecolor="white", markeredgewidth=1.5, zorder=3)
    rate.plot(numbers, _column(steps, "lr"), color=colour, linewidth=1.2)
    if unit:
        times = _averages(_inverse(_column(steps, unit)))  # for one token: times add up, speeds do not
        speed.plot(numbers, _inverse(times), color=colour, linewidth=1.2)
    for step in {line["step"] for line in lines if line["type"] == "change"}:
        for panel in axes:
            panel.axvline(step, color=colour, linestyle=":", linewidth=1)
    return unit and unit[:-len("_per_s")]


def _shown(name):
    """As matplotlib shows it: names that begin with _ it leaves out of a legend."""
    return " " + name if name.startswith("_") else name


def _column(lines, key):
    """Numbers; NaN, which leaves a hole in a curve, for what was not finite."""
    return [math.nan if line.get(key) is None else line[key] for line in lines]


def _averages(values):
    """Around each value the mean of as many before it as behind it: no lag where a loss falls fast, and both ends as they are."""
    sums = list(itertools.accumulate((0 if math.isnan(value) else value for value in values), initial=0))
    counts = list(itertools.accumulate((not math.isnan(value) for value in values), initial=0))
    reach = int(SMOOTHED_SHARE * len(values) / 2)
    averages = []
    for i in range(len(values)):
        near = min(reach, i, len(values) - 1 - i)
        count = counts[i + near + 1] - counts[i - near]
        averages.append((sums[i + near + 1] - sums[i - near]) / count if count else math.nan)
    return averages


def _inverse(values):
    return [1 / value if value else math.nan for value in values]


def _label(axes, units):
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter

    loss, rate, speed = axes
    for panel in axes:
        panel.grid(True, color="0.9")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    loss.set_ylabel("loss (nats)")
    rate.set_ylabel("learning\nrate")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    speed.set_ylabel(("/".join(units) or "samples") + "\nper second")
    speed.yaxis.set_major_formatter(EngFormatter(sep=""))
    speed.set_ylim(bottom=0)
    speed.set_xlabel("step")
    speed.xaxis.get_major_locator().set_params(integer=True)
    handles, _ = loss.get_legend_handles_labels()
    marks = [("each step", {"alpha": 0.5, "linewidth": 0.8}), ("evaluation", {"linewidth": 0, "marker": "o", "markerfacecolor": "white"})]
    handles += [Line2D([], [], color="0.3", label=label, **look) for label, look in marks]
    loss.legend(handles=handles, frameon=False)
