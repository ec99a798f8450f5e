"""An evaluation for people: its systems as tables, and their objective as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from seqapps.files import new_file

if TYPE_CHECKING:
    from seqapps.evaluation import Evaluation

WIDTH = 100
"""Columns of a table, in characters."""

_MOST_DECIMALS = 9
_MOST_MORE = 3
_NARROWEST = 9
_FRAME = 3
_CAPPED = "\u2020"
"""Dagger: stands beside a baseline whose fitting a cap has ended."""


def systems(evaluation: Evaluation) -> list[tuple[str, dict[str, float]]]:
    """Returns name and metrics of the baselines, the worst first, of the champion and of the model."""
    sign = 1 if evaluation.direction == "max" else -1
    scores = sorted(evaluation.baselines.items(), key=lambda item: sign * item[1].metrics[evaluation.objective])
    found = [(name, score.metrics) for name, score in scores]
    if evaluation.champion is not None:
        found.append((f"champion (version {evaluation.champion.version})", evaluation.champion.metrics))
    return [*found, ("model", evaluation.metrics)]


def best_baseline(evaluation: Evaluation) -> str:
    """Returns the baseline that is best by the objective; empty when there is none."""
    better = min if evaluation.direction == "min" else max
    names = evaluation.baselines
    return better(names, key=lambda name: names[name].metrics[evaluation.objective]) if names else ""


def metrics_of(evaluation: Evaluation) -> list[str]:
    """Returns every metric that some system gives, the objective first."""
    given = dict.fromkeys(name for _, metrics in [("", evaluation.metrics), *systems(evaluation)] for name in metrics)
    return [evaluation.objective, *(name for name in given if name != evaluation.objective)]


def tables(evaluation: Evaluation, width: int = WIDTH) -> list[Table]:
    """Returns all systems with their metrics, the baselines from the worst to the best; the best figure is marked.

    As many metrics as fit stand in a table, the objective in the first; further ones in further tables.
    """
    rows = systems(evaluation)
    objectives = [metrics[evaluation.objective] for _, metrics in rows if metrics]
    best = min(objectives) if evaluation.direction == "min" else max(objectives)
    marked = [(f"{name} *" if metrics.get(evaluation.objective) == best else name, metrics) for name, metrics in rows]
    marked = [(f"{name}{_capped(evaluation, name.removesuffix(' *'))}", metrics) for name, metrics in marked]
    first = max(len(name) for name, _ in marked) + _FRAME + 1
    result = []
    for metrics in _parts(evaluation, width - first):
        table = Table(title_justify="left")
        table.add_column("system", no_wrap=True)
        for metric in metrics:
            table.add_column(label(metric, evaluation.unit), justify="right")
        columns = {metric: column(metric, marked) for metric in metrics}
        for name, values in marked:
            cells = [columns[metric].get(name, "-") for metric in metrics]
            if not values:
                cells = ["not comparable"] * len(metrics)
            table.add_row(Text(name), *cells, style="bold green" if " *" in name else None)
        result.append(table)
    rows_of = f"{evaluation.rows:,} rows, " if evaluation.rows else ""
    result[0].title = f"{evaluation.split}: {rows_of}{evaluation.units:,} {evaluation.unit}s"
    notes = [evaluation.note, evaluation.champion.not_comparable if evaluation.champion else ""]
    if not all(score.converged for score in evaluation.baselines.values()):
        notes.insert(0, f"{_CAPPED} its fitting was ended by a cap of steps: it may be stronger than it looks")
    notes += [f"{name} is left out: {reason}" for name, reason in evaluation.left_out.items()]
    result[-1].caption = Text(". ".join(["* best", *(note for note in notes if note)]))
    return result


def picture(evaluation: Evaluation, path: Path) -> None:
    """Writes a PNG: the objective of every system as a bar, the model's in colour."""
    from matplotlib.figure import Figure

    found = [(name, metrics[evaluation.objective]) for name, metrics in systems(evaluation) if metrics]
    names, values = zip(*found, strict=True)
    colours = ["#1f77b4" if name == "model" else "#b0b0b0" for name in names]
    drawing = Figure(figsize=(7.0, 1.2 + 0.4 * len(names)), layout="constrained")
    axes = drawing.subplots()
    bars = axes.barh(names, values, color=colours)
    axes.bar_label(bars, labels=figures(values), padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    # A uniform guess over 10,000 words leaves all others a pixel on a linear axis. From 1 on, a bar is as long as the
    # cross entropy.
    if min(values) >= 1 and max(values) > 10 * min(values):
        axes.set_xscale("log")
        axes.set_xlim(1, max(values) ** 1.15)
    better = "lower" if evaluation.direction == "min" else "higher"
    axes.set_xlabel(f"{label(evaluation.objective, evaluation.unit)} on {evaluation.split} ({better} is better)")
    axes.spines[["top", "right"]].set_visible(False)
    with new_file(path) as temporary:
        drawing.savefig(temporary, format="png", dpi=120)


def label(metric: str, unit: str) -> str:
    """Returns a metric's name for people."""
    return f"{metric} per {unit}" if metric in ("bits", "nats") else metric.replace("_", " ")


def figure(value: float, more: int = 0) -> str:
    """Returns a figure for people, with three significant digits or more.

    Args:
        value: the figure.
        more: further digits, where the usual ones do not tell it from others.

    >>> figure(1234.5), figure(0.51234), figure(-250.0), figure(0.00012), figure(0.0065), figure(0.0)
    ('1,234.5', '0.512', '-250.0', '0.000120', '0.00650', '0.000')
    >>> figure(0.51234, 1)
    '0.5123'
    """
    if abs(value) >= 100:
        return f"{value:,.{1 + more}f}"
    if not 0 < abs(value) < 0.1 or not math.isfinite(value):
        return f"{value:.{3 + more}f}"
    decimals = 2 - math.floor(math.log10(abs(value))) + more
    return f"{value:.{decimals}f}" if decimals <= _MOST_DECIMALS else f"{value:.{2 + more}e}"


def figures(values: Sequence[float]) -> list[str]:
    """Returns figures that are compared, with as many digits as tell different ones apart, within reason.

    >>> figures([26.6454, 26.6449, 161.3]), figures([0.5, 0.5]), figures([1 / 3, 1 / 3 + 1e-9])
    (['26.6454', '26.6449', '161.30'], ['0.500', '0.500'], ['0.333333', '0.333333'])
    """
    for more in range(_MOST_MORE + 1):
        shown = [figure(value, more) for value in values]
        if len({*shown}) == len({*values}):
            break
    return shown


def _capped(evaluation: Evaluation, name: str) -> str:
    """Returns the mark of a baseline that has not converged."""
    score = evaluation.baselines.get(name)
    return f" {_CAPPED}" if score is not None and not score.converged else ""


def column(metric: str, rows: Sequence[tuple[str, dict[str, float]]]) -> dict[str, str]:
    """Returns the figure of each system that has the metric, as `figures` shows them beside each other."""
    having = {name: values[metric] for name, values in rows if metric in values}
    return dict(zip(having, figures(list(having.values())), strict=True))


def _parts(evaluation: Evaluation, width: int) -> list[list[str]]:
    """Returns the metrics of each table."""
    parts: list[list[str]] = [[]]
    left = width
    for metric in metrics_of(evaluation):
        needed = max(_NARROWEST, len(label(metric, evaluation.unit))) + _FRAME
        if parts[-1] and needed > left:
            parts.append([])
            left = width
        parts[-1].append(metric)
        left -= needed
    return parts
