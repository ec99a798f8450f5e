"""Plot of an evaluation: the objective of all systems."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seqapps.evaluation.tables import systems
from seqapps.files import new_file
from seqapps.metrics.figures import figures, label

if TYPE_CHECKING:
    from seqapps.evaluation.evaluate import Evaluation


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
    axes.set_xlabel(f"{label(evaluation.objective, evaluation.token)} on {evaluation.split} ({better} is better)")
    axes.spines[["top", "right"]].set_visible(False)
    with new_file(path) as temporary:
        drawing.savefig(temporary, format="png", dpi=120)
