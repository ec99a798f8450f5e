"""The results of a search: a table of its trials, and a plot of their objectives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table
from rich.text import Text

from seqapps.files import new_file
from tuning.trials import TrialRecord

_WIDTH = 80
_FRAME = 3
_REASON = 24
_BLUE, _GREY, _RED = "#1f77b4", "#b0b0b0", "#d62728"


def ranked(trials: Sequence[TrialRecord], direction: str) -> list[TrialRecord]:
    """Returns the trials, the best first; failed ones last; equal figures by age."""
    sign = 1.0 if direction == "min" else -1.0

    def key(trial: TrialRecord) -> tuple[float, str]:
        return (math.inf if trial.objective is None else sign * trial.objective, trial.trial)

    return sorted(trials, key=key)


def trials_table(trials: Sequence[TrialRecord], objective: str, direction: str, width: int = _WIDTH) -> Table:
    """Returns all trials, the best first, with their values and why a trial failed.

    Fields that varied have a column each if that fits into `width` characters, else one wrapped column of
    `field value`; fields that were the same in all trials are listed under the table.
    """
    names = _fields(trials)
    varied = [name for name in names if len({_cell(trial.overrides.get(name)) for trial in trials}) > 1]
    short = {name: name.rpartition(".")[2].replace("_", " ") for name in names}
    failed = any(trial.status == "failed" for trial in trials)
    is_wide = _width(trials, objective, [*varied], short) + _REASON * failed > width
    table = Table(title=f"{len(trials)} trials by validation {objective}", title_justify="left")
    heads = ("trial", objective.replace("_", " "), "epochs", "seconds")
    for name in (*heads, *(() if is_wide else (short[name] for name in varied))):
        table.add_column(name, justify="right", no_wrap=True)
    if is_wide:
        table.add_column("what was tried", justify="left")
    if failed:
        table.add_column("why it failed", justify="left")
    for place, trial in enumerate(ranked(trials, direction)):
        values = [_cell(trial.overrides.get(name)) for name in varied]
        if is_wide:
            values = [", ".join(f"{short[name]} {value}" for name, value in zip(varied, values, strict=True))]
        why = [Text(trial.reason)] if failed else []
        style = "red" if trial.objective is None else "bold green" if place == 0 else None
        table.add_row(trial.trial, trial.shown, str(trial.epochs), f"{trial.seconds:.1f}", *values, *why, style=style)
    same = [f"{short[name]} {_cell(trials[0].overrides.get(name))}" for name in names if name not in varied]
    table.caption = Text(f"the same in all: {', '.join(same)}") if same else None
    return table


def picture(trials: Sequence[TrialRecord], objective: str, direction: str, path: Path) -> None:
    """Writes a PNG: the objective trial by trial with the best so far, and against every parameter that varied."""
    done = [trial for trial in trials if trial.objective is not None]
    names = [name for name in _fields(done) if len({_cell(trial.overrides.get(name)) for trial in done}) > 1]
    columns = min(4, 1 + len(names))
    rows = math.ceil((1 + len(names)) / columns)
    figure = Figure(figsize=(4.0 * columns, 3.2 * rows), layout="constrained")
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    _progress(panels[0], trials, direction)
    for axes, name in zip(panels[1:], names, strict=False):
        _against(axes, name, done, direction)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    for row in range(rows):
        panels[row * columns].set_ylabel(f"validation {objective}")
    for axes in panels[1 + len(names) :]:
        axes.set_visible(False)
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _progress(axes: Axes, trials: Sequence[TrialRecord], direction: str) -> None:
    better = min if direction == "min" else max
    numbers, values, best = [], [], []
    for number, trial in enumerate(trials, start=1):
        if trial.objective is None:
            axes.axvline(number, color=_RED, alpha=0.4, linestyle=":")
            continue
        numbers.append(number)
        values.append(trial.objective)
        best.append(better(values))
    axes.scatter(numbers, values, color=_GREY, label="trial")
    axes.step(numbers, best, where="post", color=_BLUE, label="best so far")
    if len(numbers) < len(trials):
        axes.plot([], [], color=_RED, alpha=0.4, linestyle=":", label="failed")
    _scale(axes, values)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    axes.legend(frameon=False)


def _against(axes: Axes, name: str, done: Sequence[TrialRecord], direction: str) -> None:
    values: list[Any] = [trial.overrides.get(name) for trial in done]
    figures = [float(trial.objective or 0.0) for trial in done]
    best = ranked(done, direction)[0].trial
    colours = [_BLUE if trial.trial == best else _GREY for trial in done]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        axes.scatter(values, figures, color=colours)
        if min(values) > 0 and max(values) >= 4 * min(values):
            axes.set_xscale("log")
            ticks = [min(values), math.sqrt(min(values) * max(values)), max(values)]
            axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
            axes.set_xticks([], minor=True)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    else:
        # Lists by length, then by size, so that the axis shows depth and width.
        places = sorted({_cell(value): value for value in values}.items(), key=lambda item: (len(item[0]), item[0]))
        labels = [label for label, _ in places]
        axes.scatter([labels.index(_cell(value)) for value in values], figures, color=colours)
        axes.set_xticks(range(len(labels)), labels, rotation=30 if len(labels) > 3 else 0)
    _scale(axes, figures)
    axes.set_xlabel(name)


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Sets the scale: a diverged trial would flatten all others on a linear axis."""
    if values and min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")


def _width(trials: Sequence[TrialRecord], objective: str, names: Sequence[str], short: Mapping[str, str]) -> int:
    """Returns how wide a table with a column for each of these fields is, in characters."""
    columns = [max(len(short[name]), *(len(_cell(trial.overrides.get(name))) for trial in trials)) for name in names]
    ids = max((len(trial.trial) for trial in trials), default=0)
    return sum(column + _FRAME for column in (max(5, ids), max(9, len(objective)), 6, 7, *columns)) + 1


def _fields(trials: Sequence[TrialRecord]) -> list[str]:
    return list(dict.fromkeys(name for trial in trials for name in trial.overrides))


def _cell(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "x".join(str(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
