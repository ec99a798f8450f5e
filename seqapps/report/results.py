"""The parts of the page on the evaluation: comparison, slices, breakdowns, examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from seqapps.evaluation import tables as scoreboard
from seqapps.evaluation.bootstrap import Comparison
from seqapps.evaluation.evaluate import Evaluation
from seqapps.evaluation.examples import Shown
from seqapps.evaluation.slices import SliceTable, texts
from seqapps.metrics.figures import figure as metric_value
from seqapps.metrics.figures import label
from seqapps.report import charts
from seqapps.report.html import Html, details, element, figure, joined, picture, table, text
from seqapps.report.sources import Run


def comparison(run: Run) -> Html:
    """Returns every system by the objective with its interval, all metrics, the paired differences."""
    evaluation = run.evaluation
    if evaluation is None:
        return Html("")
    objective, systems = evaluation.objective, scoreboard.systems(evaluation)
    dots = [
        (name, metrics[objective], run.intervals.get(_key(name))) for name, metrics in systems if objective in metrics
    ]
    values = [value for _, value, _ in dots]
    title = label(objective, evaluation.token)
    better = "lower" if evaluation.direction == "min" else "higher"
    drawn = charts.with_intervals(dots, title, is_log=min(values) > 0 and max(values) > 10 * min(values))
    caption = f"{title} on {evaluation.split}, {better} is better. Bars: 95 % of a bootstrap over "
    note = [element("p", evaluation.note, class_="bad")] if evaluation.note else []
    others = [name for name in scoreboard.metrics_of(evaluation) if name != objective]
    labels = [label(name, evaluation.token) for name in others]
    figures = {metric: scoreboard.column(metric, systems) for metric in (objective, *others)}
    rows = [
        (
            name,
            figures[objective].get(name, "not comparable"),
            span(run.intervals.get(_key(name))).strip(", ") or "-",
            *(figures[other].get(name, "-") for other in others),
        )
        for name, _ in systems
    ]
    columns = ("system", title, "95 %", *labels)
    capped = {name for name, score in evaluation.baselines.items() if not score.converged}
    parts = [
        *note,
        figure(picture(drawn, "objective of every system"), f"{caption}{evaluation.sequences:,} sequences."),
        table(columns, rows, numbers=columns[1:], best=_best(evaluation, systems)),
        _differences(run),
        details(
            "what the baselines are",
            table(
                ("baseline", "what it is", "seconds"),
                [
                    (
                        name,
                        score.description
                        + (". Ended by a cap of steps: it may be stronger." if name in capped else ""),
                        f"{score.seconds:.1f}",
                    )
                    for name, score in evaluation.baselines.items()
                ],
                numbers=("seconds",),
            ),
        ),
    ]
    parts += [element("p", f"{name} is left out: {reason}.") for name, reason in evaluation.left_out.items()]
    if evaluation.champion is not None and evaluation.champion.not_comparable:
        parts.append(element("p", f"The champion cannot be compared: {evaluation.champion.not_comparable}."))
    return joined(parts)


def _best(evaluation: Evaluation, systems: Sequence[tuple[str, Mapping[str, float]]]) -> int:
    """Returns the index of the system with the best objective; -1 when none has one."""
    sign = 1.0 if evaluation.direction == "min" else -1.0
    costs = {place: sign * metrics.get(evaluation.objective, math.nan) for place, (_, metrics) in enumerate(systems)}
    known = {place: cost for place, cost in costs.items() if not math.isnan(cost)}
    return min(known, key=known.__getitem__, default=-1)


def pictures(run: Run) -> Html:
    """Returns the application's pictures."""
    drawn = (run.details.pictures or {}).items()
    return joined([figure(picture(path, title), title) for title, path in drawn])


def _differences(run: Run) -> Html:
    """Returns the differences to the best baseline and the champion, with paired bootstrap intervals."""
    others = [(run.best_baseline, f"baseline.{run.best_baseline}"), ("champion", "champion")]
    found = [(name, compared) for name, key in others if name and (compared := run.against(key)) is not None]
    if not found:
        return Html("")
    rows = [
        (
            f"model - {name}",
            f"{result.difference:+.4g}",
            f"{result.low:+.4g} to {result.high:+.4g}",
            f"{result.probability_better:.1%}",
            _verdict(run, result),
        )
        for name, result in found
    ]
    columns = ("difference", "objective", "95 %", "resamples where better", "")
    return joined([element("h3", "Paired differences"), table(columns, rows, numbers=columns[1:4])])


def _verdict(run: Run, result: Comparison) -> Html:
    assert run.evaluation is not None
    sign = -1.0 if run.evaluation.direction == "min" else 1.0
    low, high = sorted((sign * result.low, sign * result.high))
    if low > 0:
        return element("span", "better", class_="good")
    return element("span", "worse", class_="bad") if high < 0 else text("not told apart")


def slices(found: SliceTable) -> Html:
    """Returns the slices of one field as a chart and a table."""
    systems = ("model", *([found.baseline] if found.baseline else ()))
    columns = ["slice", "examples", *(name for system in systems for name in (system, f"95 % of {system}"))]
    rows = []
    for row in found.slices:
        values = [row.model, *([row.baseline] if row.baseline is not None else [])]
        rows.append((row.name, f"{row.examples:,}", *(cell for value in values for cell in texts(value))))
    drawn = picture(charts.slices(found), f"objective by {found.field}")
    return joined([element("h3", f"by {found.field}"), figure(drawn, ""), table(columns, rows, numbers=columns[1:])])


def breakdowns(run: Run) -> Html:
    """Returns the application's further tables."""
    parts = []
    for found in run.details.breakdowns:
        numbers = [
            name
            for place, name in enumerate(found.columns)
            if all(not isinstance(row[place], str) for row in found.rows)
        ]
        rows = [[_cell(cell) for cell in row] for row in found.rows]
        parts.append(joined([element("h3", found.title), table(found.columns, rows, numbers=numbers)]))
    return joined(parts)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float) and not value.is_integer():
        return metric_value(value)
    return f"{int(value):,}" if isinstance(value, int | float) else str(value)


def examples(run: Run, shown: Sequence[Shown], note: str) -> Html:
    """Returns examples with the objective of each; stacked on a narrow page."""
    if not shown or run.evaluation is None:
        return Html("")
    names = list(dict.fromkeys(name for item in shown for name in item.columns))
    rows = [
        (
            *(item.columns.get(name, "") for name in names),
            "-" if item.value is None else metric_value(item.value),
            f"{item.row:,}",
        )
        for item in shown
    ]
    columns = (*names, run.evaluation.objective.replace("_", " "), "row")
    sentence = element("p", note.format(split=run.evaluation.split), class_="soft")
    return joined([sentence, table(columns, rows, numbers=columns[-2:], stacked=True)])


def _key(name: str) -> str:
    """Returns a system's name in `statistics`."""
    if name == "model":
        return name
    return "champion" if name.startswith("champion (") else f"baseline.{name}"


def span(ends: tuple[float, float] | None) -> str:
    """Returns an interval, formatted to follow a figure."""
    return "" if ends is None else f", {metric_value(ends[0])} to {metric_value(ends[1])}"
