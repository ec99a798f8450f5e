"""Plot of a confusion matrix: true classes as rows, predicted ones as columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.files import new_file
from seqapps.plots.lettering import lettering

_MOST_CLASSES, _MOST_NUMBERS, _LONGEST_NAME = 40, 15, 24


def draw_confusion(counts: NDArray[np.int64], names: Sequence[str], path: Path) -> Path:
    """Writes a PNG and returns its path: colour is the share of a true class, numbers count examples.

    Args:
        counts: `<int64>[C, C]`, true classes as rows. Of more than 40 classes the most frequent are drawn.
        names: of the classes.
        path: of the file.
    """
    order = np.argsort(-counts.sum(axis=1), kind="stable")[:_MOST_CLASSES]
    shown = np.sort(order)
    labels = [_cut(names[index]) for index in shown]
    with lettering(labels) as written:
        return _draw(counts, shown, [written(label) for label in labels], path)


def _draw(counts: NDArray[np.int64], shown: NDArray[np.intp], labels: Sequence[str], path: Path) -> Path:
    from matplotlib.figure import Figure

    part = counts[np.ix_(shown, shown)]
    shares = part / np.maximum(counts[shown].sum(axis=1, keepdims=True), 1)
    size = 2.4 + 0.42 * min(len(shown), 30)
    figure = Figure(figsize=(size + 1.0, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(len(labels)), labels, rotation=90 if len(labels) > 4 else 0)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(shown) < len(counts):
        axes.set_title(f"the {len(shown)} most frequent of {len(counts)} classes", fontsize="medium")
    if len(shown) <= _MOST_NUMBERS:
        _write_numbers(axes, part, shares)
    figure.colorbar(image, ax=axes, label="share of the true class")
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return path


def _write_numbers(axes: Any, counts: NDArray[np.int64], shares: NDArray[Any]) -> None:
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize="small")


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
