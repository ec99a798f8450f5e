"""Charts of the page, as SVG: sharp at every size, with letters drawn as paths, so that no font is needed."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from seqapps.plots.lettering import lettering

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from seqapps.evaluation.slices import SliceTable
    from seqapps.training.log import History

BLUE, ORANGE, GREY = "#1f5fa8", "#c8641b", "#8a94a3"

_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a94a3",
    "axes.labelcolor": "#5b6675",
    "xtick.color": "#5b6675",
    "ytick.color": "#5b6675",
    "svg.fonttype": "path",
    "svg.hashsalt": "seqapps",  # equal charts have equal ids
}
_WIDTH, _WIDER = 4.8, 5.6
_FAR = 20
Ends = tuple[float, float] | None


def losses(history: History, title: str) -> str:
    """Training and validation loss over the epochs."""
    training, validation = [log.loss for log in history.epochs], [log.validation_loss for log in history.epochs]
    return _over_epochs(history, title, {"training": training, "validation": validation})


def objective(history: History) -> str:
    """The validation objective over the epochs; the best is marked."""

    def mark(axes: Axes) -> None:
        axes.plot([history.best_epoch], [history.best], "o", mfc="none", ms=9, color=ORANGE)
        axes.annotate(
            f"best {history.best:.4g}", (history.best_epoch, history.best), (0, 9), textcoords="offset points",
            ha="center", color=ORANGE, bbox={"fc": "white", "ec": "none", "alpha": 0.85, "pad": 1},
        )  # fmt: skip
        axes.margins(y=0.2)

    values = [log.objective for log in history.epochs]
    return _over_epochs(history, f"validation {history.objective.replace('_', ' ')}", {"": values}, mark)


def norms(history: History) -> str:
    """Gradient norms before clipping over the epochs, and the threshold if it is adaptive."""
    series = {
        "largest": [log.gradient_norm_max for log in history.epochs],
        "mean": [log.gradient_norm for log in history.epochs],
    }
    thresholds = [log.clip_threshold for log in history.epochs if log.clip_threshold is not None]
    if len(thresholds) == len(history.epochs):
        series["threshold"] = thresholds
    largest, least = max(series["largest"]), min(series["mean"])

    def scale(axes: Axes) -> None:
        if least > 0 and largest > _FAR * least:
            axes.set_yscale("log")

    return _over_epochs(history, "gradient norm before clipping", series, scale)


def by_layer(history: History, title: str, series: Sequence[Mapping[str, float]]) -> str:
    """One line per layer over the epochs, on a logarithmic axis if their scales differ much; empty without any layer.

    Args:
        history: of the training.
        title: of the chart.
        series: of each epoch, layer to figure.
    """
    names = list(series[0]) if series else []
    if not names:
        return ""
    with _styled(names) as written:
        drawing, axes = _axes(2.4 + 0.17 * len(names))
        epochs = [log.epoch for log in history.epochs]
        for name in names:
            axes.plot(epochs, [values.get(name, math.nan) for values in series], ".-", label=written(_short(name)))
        found = [value for values in series for value in values.values() if value > 0]
        if found and max(found) > _FAR * min(found):
            axes.set_yscale("log")
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", alpha=0.3)
        drawing.legend(frameon=False, loc="outside lower left", fontsize=8, ncols=2)
        return _svg(drawing)


def clipping(history: History) -> str:
    """Share of the steps that were clipped over the epochs."""
    with _styled():
        drawing, axes = _axes(2.7)
        epochs = [log.epoch for log in history.epochs]
        axes.plot(epochs, [100 * log.clip_share for log in history.epochs], ".-", color=BLUE)
        axes.set_title("steps that were clipped, %", loc="left", fontsize=11)
        axes.set_ylim(-4, 104)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", alpha=0.3)
        return _svg(drawing)


def with_intervals(rows: Sequence[tuple[str, float, Ends]], title: str, *, is_log: bool) -> str:
    """A dot and its 95 % interval for each system, the last one in colour."""
    with _styled([name for name, _, _ in rows]) as written:
        drawing, axes = _axes(0.9 + 0.34 * len(rows), width=_WIDER)
        for place, (_, value, ends) in enumerate(rows):
            colour = BLUE if place == len(rows) - 1 else GREY
            if ends is not None:
                axes.plot(ends, [place, place], "-", color=colour, lw=2.5, alpha=0.55)
            axes.plot([value], [place], "o", color=colour, ms=7)
        axes.set_yticks(range(len(rows)), [written(_short(name)) for name, _, _ in rows])
        axes.invert_yaxis()
        axes.margins(y=0.5 / max(1, len(rows) - 1) if len(rows) > 1 else 0.5)
        if is_log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.set_title(title, loc="left", fontsize=11)
        axes.grid(axis="x", alpha=0.3)
        return _svg(drawing)


def slices(table: SliceTable) -> str:
    """Model and best baseline on each slice, with their intervals."""
    with _styled([table.field, *(row.name for row in table.slices)]) as written:
        drawing, axes = _axes(1.2 + 0.36 * len(table.slices), width=_WIDER)
        systems = [("model", BLUE, -0.12), *([(table.baseline, GREY, 0.12)] if table.baseline else [])]
        for name, colour, shift in systems:
            found = [row.model if name == "model" else row.baseline for row in table.slices]
            first = True
            for place, value in enumerate(found):
                if value is None or value.value is None:
                    continue
                if value.low is not None and value.high is not None:
                    axes.plot([value.low, value.high], [place + shift] * 2, "-", color=colour, lw=2.2, alpha=0.55)
                axes.plot([value.value], [place + shift], "o", color=colour, ms=6, label=name if first else None)
                first = False
        axes.set_yticks(range(len(table.slices)), [written(_short(row.name)) for row in table.slices])
        axes.set_ylim(len(table.slices) - 0.5, -0.5)
        axes.set_title(f"{table.objective.replace('_', ' ')} by {written(table.field)}", loc="left", fontsize=11)
        axes.grid(axis="x", alpha=0.3)
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.45, 0.99), ncols=2, borderaxespad=0)
        return _svg(drawing)


def lengths(histograms: Mapping[str, Mapping[str, int]]) -> str:
    """Share of the examples of each split by length."""
    bounds = sorted({int(bound) for counts in histograms.values() for bound in counts})
    with _styled():
        drawing, axes = _axes(2.7, width=_WIDER)
        width = 0.8 / max(1, len(histograms))
        for place, (name, counts) in enumerate(histograms.items()):
            rows = max(1, sum(counts.values()))
            shares = [100 * counts.get(str(bound), 0) / rows for bound in bounds]
            x = [at + (place - (len(histograms) - 1) / 2) * width for at in range(len(bounds))]
            axes.bar(x, shares, width * 0.92, label=name, color=[BLUE, ORANGE, GREY][place % 3])
        axes.set_xticks(range(len(bounds)), [_span(bound) for bound in bounds], rotation=35 if len(bounds) > 7 else 0)
        axes.set_title("rows by length, % of the split", loc="left", fontsize=11)
        axes.legend(frameon=False)
        return _svg(drawing)


def _over_epochs(history: History, title: str, series: Mapping[str, Sequence[float]], more: Any = None) -> str:
    with _styled():
        drawing, axes = _axes(2.7)
        epochs = [log.epoch for log in history.epochs]
        for colour, (name, values) in zip((BLUE, ORANGE, GREY), series.items(), strict=False):
            axes.plot(epochs, values, ".-", color=colour, label=name)
        several = len(series) > 1
        axes.set_title(title, loc="left", fontsize=11, pad=22 if several else None)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", alpha=0.3)
        if several:  # between the title and the lines, overlapping neither
            axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, ncols=3)
        if more is not None:
            more(axes)
        return _svg(drawing)


@contextmanager
def _styled(texts: Iterable[str] = ()) -> Iterator[Callable[[str], str]]:
    """Draws in the style of the page; yields a function that prepares user text (see `lettering`)."""
    with matplotlib.rc_context(_STYLE), lettering(texts) as written:
        yield written


def _axes(height: float, width: float = _WIDTH) -> tuple[Figure, Axes]:
    drawing = Figure(figsize=(width, height), layout="constrained")
    return drawing, drawing.subplots()


def _svg(drawing: Figure) -> str:
    file = io.StringIO()
    drawing.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _span(bound: int) -> str:
    return str(bound) if bound <= 2 else f"{bound // 2 + 1}-{bound}"


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:27]}..."
