"""Plots of a training, as PNG files."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqapps.files import new_file
from seqapps.training.log import History

_WIDE_RANGE = 10.0
"""A norm above it would flatten the share of clipped steps, at most 1, against the axis."""


def learning_curves(history: History, path: Path) -> None:
    """Draws loss, objective, gradient norm and learning rate over the epochs into a PNG file.

    Args:
        history: of at least one epoch.
        path: where the file is written; its folder is made when missing.
    """
    # A figure made without pyplot needs no display, and leaves the process's own backend alone.
    figure = Figure(figsize=(10, 7), layout="constrained")
    losses, objective, norms, rates = figure.subplots(2, 2).flat
    epochs = [log.epoch for log in history.epochs]
    losses.plot(epochs, [log.loss for log in history.epochs], ".-", label="training")
    losses.plot(epochs, [log.validation_loss for log in history.epochs], ".-", label="validation")
    _label(losses, loss_title(history))
    objective.plot(epochs, [log.objective for log in history.epochs], ".-", label="validation")
    objective.plot([history.best_epoch], [history.best], "o", mfc="none", ms=10, label=f"best {history.best:.4g}")
    _label(objective, history.objective)
    norms.plot(epochs, [log.gradient_norm for log in history.epochs], ".-", label="mean")
    norms.plot(epochs, [log.gradient_norm_max for log in history.epochs], ".:", label="largest")
    if any(log.clip_threshold is not None for log in history.epochs):
        norms.plot(epochs, [log.clip_threshold or math.nan for log in history.epochs], ".-.", label="threshold")
    norms.plot(epochs, [log.clip_share for log in history.epochs], ".--", label="share of steps clipped")
    if max(log.gradient_norm_max for log in history.epochs) > _WIDE_RANGE:
        norms.set_yscale("symlog", linthresh=1.0)
    _label(norms, "gradient norm before clipping")
    rates.plot(epochs, [log.learning_rate for log in history.epochs], ".-", label="at the epoch's end")
    _label(rates, "learning rate")
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png")


def loss_title(history: History) -> str:
    """Returns the label of the loss with its unit: nats if it is a cross entropy."""
    return "loss (nats per token)" if history.objective == "perplexity" else "loss (mean per token)"


def _label(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", pad=24)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    # Between the title and the lines, overlapping neither.
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, ncols=3, frameon=False)
