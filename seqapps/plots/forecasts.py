"""Forecast plots, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.files import new_file
from seqapps.plots.lettering import lettering

_MOST_WINDOWS = 400
_MOST_TARGETS = 4


def draw_forecast(
    path: Path,
    prediction: NDArray[Any],
    truth: NDArray[Any],
    times: Sequence[Sequence[str]],
    targets: Sequence[str],
) -> None:
    """Draws the end of a series: observed values as a line, forecasts over it, the outer quantiles as a band.

    Forecasts of one step are one line; of several, windows that do not overlap are drawn, the last one among them.

    Args:
        path: of the file; its folder is created.
        prediction: `[N, P, V, 1 or 1 + Q]` in original units.
        truth: `[N, P, V]`, NaN where missing.
        times: of the P steps of each window, ISO 8601, in order.
        targets: names of the V targets.
    """
    with lettering(targets) as written:
        _draw_forecast(path, prediction, truth, times, [written(name) for name in targets])


def _draw_forecast(
    path: Path,
    prediction: NDArray[Any],
    truth: NDArray[Any],
    times: Sequence[Sequence[str]],
    targets: Sequence[str],
) -> None:
    from matplotlib.figure import Figure

    prediction, truth = prediction[-_MOST_WINDOWS:], truth[-_MOST_WINDOWS:]
    moments, steps = np.array(times[-_MOST_WINDOWS:], "datetime64[s]"), truth.shape[1]
    shown, windows = min(len(targets), _MOST_TARGETS), apart(moments)
    figure = Figure(figsize=(11, 2.2 + 2.4 * shown), layout="constrained")
    for target, axes in enumerate(figure.subplots(shown, 1, squeeze=False)[:, 0]):
        when = np.concatenate([moments[:, 0], moments[-1, 1:]])
        axes.plot(when, np.concatenate([truth[:, 0, target], truth[-1, 1:, target]]), color="#303030", lw=1)
        parts = [(moments[at], prediction[at, :, target]) for at in windows]
        if steps == 1:
            parts = [(moments[:, 0], prediction[:, 0, target])]
        for place, values in parts:
            axes.plot(place, values[:, 0], color="#d6604d", lw=1.2)
            if values.shape[1] > 2:
                axes.fill_between(place, values[:, 1], values[:, -1], color="#d6604d", alpha=0.2, lw=0)
        axes.set_title(targets[target] + (" one step ahead" if steps == 1 else f" {steps} steps ahead"), loc="left")
        axes.grid(alpha=0.3)
    names = ["truth", "forecast", *(["lowest to highest quantile"] if prediction.shape[-1] > 2 else [])]
    drawn = [*figure.axes[0].lines[:2], *figure.axes[0].collections[:1]]
    figure.legend(drawn, names, loc="outside upper right", ncols=len(names), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def apart(moments: NDArray[np.datetime64]) -> list[int]:
    """Returns windows that do not overlap, the last one first.

    Args:
        moments: times of the steps of each window, in order, `<datetime64>[N, P]`.
    """
    found: list[int] = []
    for place in range(len(moments) - 1, -1, -1):
        if not found or moments[place, -1] < moments[found[-1], 0]:
            found.append(place)
    return found


def draw_errors(path: Path, point: NDArray[Any], truth: NDArray[Any], targets: Sequence[str]) -> None:
    """Draws the RMSE of each step of the horizon.

    Args:
        path: of the file.
        point: `[N, P, V]`.
        truth: `[N, P, V]`, NaN where missing.
        targets: names of the V targets.
    """
    with lettering(targets) as written:
        _draw_errors(path, point, truth, [written(name) for name in targets])


def _draw_errors(path: Path, point: NDArray[Any], truth: NDArray[Any], targets: Sequence[str]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    with np.errstate(invalid="ignore"):
        errors = np.sqrt(np.nanmean(np.square(point - truth), axis=0))
    for target, name in enumerate(targets[:_MOST_TARGETS]):
        axes.plot(np.arange(1, len(errors) + 1), errors[:, target], ".-", label=name)
    axes.set_xlabel("step of the horizon")
    axes.set_ylabel("RMSE in original units")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
