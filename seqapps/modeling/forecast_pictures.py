"""Pictures of forecasts, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_STEPS = 400
_MOST_TARGETS = 4
_SHOWN_ORIGINS = 4


def draw_forecast(
    path: Path, prediction: NDArray[Any], truth: NDArray[Any], times: Sequence[str], targets: Sequence[str]
) -> None:
    """Draws the last windows of a series: the truth as a line, forecasts over it, the outer quantiles as a band.

    Of windows of one step all are drawn; of longer ones a few that do not overlap.

    Args:
        path: where the file is written; its folder is made.
        prediction: `[N, P, V, 1 or 1 + Q]` in original units.
        truth: `[N, P, V]`, not a number where missing.
        times: of the first step of each window, ISO 8601.
        targets: names of the V targets.
    """
    from matplotlib.figure import Figure

    steps, shown = truth.shape[1], min(len(targets), _MOST_TARGETS)
    first = np.array(times, "datetime64[s]")[-_MOST_STEPS:]
    prediction, truth = prediction[-_MOST_STEPS:], truth[-_MOST_STEPS:]
    figure = Figure(figsize=(11, 2.2 + 2.4 * shown), layout="constrained")
    grid = figure.subplots(shown, 1, squeeze=False)[:, 0]
    chosen = np.unique(np.linspace(0, len(first) - 1, _SHOWN_ORIGINS).astype(int))
    step = (first[1:] - first[:-1]).min() if len(first) > 1 else np.timedelta64(1, "D")
    for target, axes in enumerate(grid):
        axes.plot(first, truth[:, 0, target], color="#303030", lw=1, label="truth")
        windows = [(first, prediction[:, 0, target])]
        if steps > 1:
            windows = [(first[at] + np.arange(steps) * step, prediction[at, :, target]) for at in chosen]
        for place, (moments, values) in enumerate(windows):
            label = "forecast" if not place else None
            axes.plot(moments, values[:, 0], color="#d6604d", lw=1.2, label=label)
            if values.shape[1] > 2:
                band = "lowest to highest quantile" if not place else None
                axes.fill_between(moments, values[:, 1], values[:, -1], color="#d6604d", alpha=0.2, lw=0, label=band)
        axes.set_title(str(targets[target]) + (" one step ahead" if steps == 1 else f" {steps} steps ahead"))
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=110)


def draw_errors(path: Path, point: NDArray[Any], truth: NDArray[Any], targets: Sequence[str]) -> None:
    """Draws the RMSE of each step of the horizon.

    Args:
        path: where the file is written.
        point: `[N, P, V]`.
        truth: `[N, P, V]`, not a number where missing.
        targets: names of the V targets.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    with np.errstate(invalid="ignore"):
        errors = np.sqrt(np.nanmean(np.square(point - truth), axis=0))
    for target, name in enumerate(targets[:_MOST_TARGETS]):
        axes.plot(np.arange(1, len(errors) + 1), errors[:, target], ".-", label=str(name))
    axes.set_xlabel("step of the horizon")
    axes.set_ylabel("RMSE in original units")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=110)
