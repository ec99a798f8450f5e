"""Forecast metrics from sums per window, step and target. Plain numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.dataset.ragged import Ragged

SUMS = ("count", "absolute", "squared", "symmetric", "scalable", "scaled", "pinball", "covered")
"""The sums for each step and target; see `error_sums`."""
FIGURES = ("mae", "rmse", "mase", "smape")
"""Metrics of a point forecast."""


def dense(feature: Ragged) -> NDArray[Any]:
    """Returns rows of equal length as one array, `[N, steps, ...]`."""
    rows = len(feature)
    steps = len(feature.values) // rows if rows else 0
    return feature.values.reshape(rows, steps, *feature.values.shape[1:])


def error_sums(
    forecast: NDArray[np.float64],
    truth: NDArray[np.float64],
    naive: NDArray[np.float64],
    levels: Sequence[float],
) -> NDArray[np.float64]:
    """Returns the sums that all metrics derive from, per window, step and target, `<float64>[N, P, V, SUMS]`.

    Args:
        forecast: `[N, P, V, 1 or 1 + Q]` in original units: the point forecast, then the quantiles.
        truth: `[N, P, V]`, NaN where missing: all sums are 0 there.
        naive: `[N, V]`, the in-sample error of the seasonal naive forecast for the series of each window; where it is 0
            or NaN, there is no scaled error.
        levels: of the quantiles; without them pinball loss and coverage are NaN.
    """
    point, found = forecast[..., 0], np.zeros((*truth.shape, len(SUMS)))
    error = np.abs(truth - point)
    size = np.abs(truth) + np.abs(point)
    found[..., 0] = 1.0
    found[..., 1] = error
    found[..., 2] = np.square(error)
    found[..., 3] = 200.0 * np.divide(error, size, out=np.zeros_like(error), where=size > 0)
    scale = np.broadcast_to(naive[:, None, :], error.shape)
    found[..., 4] = scale > 0
    found[..., 5] = np.divide(error, scale, out=np.zeros_like(error), where=scale > 0)
    found[..., 6:] = np.nan
    if levels and forecast.shape[-1] > 1:
        q, apart = np.array(levels), truth[..., None] - forecast[..., 1:]
        found[..., 6] = np.maximum(q * apart, (q - 1.0) * apart).mean(axis=-1)
        found[..., 7] = (truth >= forecast[..., 1]) & (truth <= forecast[..., -1])
    return np.where(np.isfinite(truth)[..., None], found, 0.0)


def figures(totals: NDArray[np.float64], *, quantiles: bool) -> dict[str, NDArray[np.float64]]:
    """Returns the metrics of summed `error_sums`, `<float64>[..., SUMS] -> <float64>[...]`.

    mae = mean |e|; rmse = sqrt(mean e^2); mase = mean of |e| / in-sample error of the seasonal naive forecast on the
    same series (Hyndman & Koehler 2006), over the series where it is above 0; smape = mean 200 |e| / (|y| + |f|), in
    percent; pinball = mean pinball loss over the levels; coverage = share of the observed values between the lowest and
    the highest quantile.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = {name: totals[..., place] / totals[..., 0] for place, name in enumerate(SUMS)}
        mase = totals[..., SUMS.index("scaled")] / totals[..., SUMS.index("scalable")]
    found = {
        "mae": mean["absolute"],
        "rmse": np.sqrt(mean["squared"]),
        "mase": mase,
        "smape": mean["symmetric"],
    }
    return {**found, "pinball": mean["pinball"], "coverage": mean["covered"]} if quantiles else found


def figure_rows(
    names: Sequence[str], sums: NDArray[np.float64], *, quantiles: bool
) -> tuple[tuple[str, ...], tuple[tuple[str | float, ...], ...]]:
    """Returns names of the metrics, and a line of them for each name.

    Args:
        names: of the lines.
        sums: `error_sums` of each line, `[names, SUMS]`.
        quantiles: whether there are any.
    """
    found = figures(sums, quantiles=quantiles)
    rows: list[tuple[str | float, ...]] = [
        (name, *(float(values[place]) for values in found.values())) for place, name in enumerate(names)
    ]
    return tuple(found), tuple(rows)


def blocks_of(series: NDArray[Any], steps: int) -> NDArray[np.int64]:
    """Returns where the blocks of windows begin that the block bootstrap resamples, `<int64>[blocks]`.

    Overlapping or adjacent windows have correlated errors. A block is a run of windows of one series: as many as
    overlap, and at least the cube root of their number (Hall, Horowitz & Jing 1995, "On blocking rules for the
    bootstrap with dependent data").

    Args:
        series: name of the series of each window, in order.
        steps: windows that overlap with the one before them, that one counted.
    """
    count = len(series)
    if not count:
        return np.zeros(0, np.int64)
    size = max(1, steps, round(count ** (1.0 / 3.0)))
    runs = np.flatnonzero(np.append(True, series[1:] != series[:-1]))
    ends = [*runs[1:].tolist(), count]
    return np.concatenate([np.arange(low, high, size) for low, high in zip(runs.tolist(), ends, strict=True)])
