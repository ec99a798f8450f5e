"""Tables of the systems of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from seqapps.metrics.figures import figures, label

if TYPE_CHECKING:
    from seqapps.evaluation.evaluate import Evaluation

WIDTH = 100
"""Width of a table in characters."""

_NARROWEST = 9
_FRAME = 3
_CAPPED = "\u2020"
"""Dagger: marks a baseline whose fitting was ended by a cap."""


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
    """Returns all metrics of any system, the objective first."""
    given = dict.fromkeys(name for _, metrics in [("", evaluation.metrics), *systems(evaluation)] for name in metrics)
    return [evaluation.objective, *(name for name in given if name != evaluation.objective)]


def tables(evaluation: Evaluation, width: int = WIDTH) -> list[Table]:
    """Returns all systems with their metrics, the baselines from the worst to the best; the best figure is marked.

    A table holds as many metrics as fit, the first one the objective; the rest go into further tables.
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
            table.add_column(label(metric, evaluation.token), justify="right")
        columns = {metric: column(metric, marked) for metric in metrics}
        for name, values in marked:
            cells = [columns[metric].get(name, "-") for metric in metrics]
            if not values:
                cells = ["not comparable"] * len(metrics)
            table.add_row(Text(name), *cells, style="bold green" if " *" in name else None)
        result.append(table)
    rows_of = f"{evaluation.rows:,} rows, " if evaluation.rows else ""
    result[0].title = f"{evaluation.split}: {rows_of}{evaluation.tokens:,} {evaluation.token}s"
    notes = [evaluation.note, evaluation.champion.not_comparable if evaluation.champion else ""]
    if not all(score.converged for score in evaluation.baselines.values()):
        notes.insert(0, f"{_CAPPED} its fitting was ended by a cap of steps: it may be stronger than it looks")
    notes += [f"{name} is left out: {reason}" for name, reason in evaluation.left_out.items()]
    result[-1].caption = Text(". ".join(["* best", *(note for note in notes if note)]))
    return result


def _capped(evaluation: Evaluation, name: str) -> str:
    """Returns the mark of a baseline that has not converged."""
    score = evaluation.baselines.get(name)
    return f" {_CAPPED}" if score is not None and not score.converged else ""


def column(metric: str, rows: Sequence[tuple[str, dict[str, float]]]) -> dict[str, str]:
    """Returns the figure of each system that has the metric, formatted together by `figures`."""
    having = {name: values[metric] for name, values in rows if metric in values}
    return dict(zip(having, figures(list(having.values())), strict=True))


def _parts(evaluation: Evaluation, width: int) -> list[list[str]]:
    """Returns the metrics of each table."""
    parts: list[list[str]] = [[]]
    left = width
    for metric in metrics_of(evaluation):
        needed = max(_NARROWEST, len(label(metric, evaluation.token))) + _FRAME
        if parts[-1] and needed > left:
            parts.append([])
            left = width
        parts[-1].append(metric)
        left -= needed
    return parts
