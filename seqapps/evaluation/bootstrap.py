"""Paired bootstrap tests and confidence intervals of metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from seqapps.errors import UsageError

_CELLS = 1 << 22
"""Number of weights in memory at a time: 32 MiB."""


class Comparison(BaseModel):
    """System a against system b by a paired bootstrap.

    Args:
        difference: metric(a) - metric(b) on all sequences.
        low, high: 95 % interval of the resampled differences.
        probability_better: share of the resamples in which a is strictly better. A tie does not count, unless a second
            metric breaks it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    difference: float
    low: float
    high: float
    probability_better: float


def paired_bootstrap(  # noqa: PLR0913 - two systems, a metric with its direction, two numbers of the draw
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    metric: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    direction: Literal["min", "max"],
    resamples: int,
    seed: int,
    second: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
) -> Comparison:
    """Compares system a with system b by a paired bootstrap over sequences.

    Sequences are drawn with replacement, the same ones for both systems; the metric follows from their sums.

    Args:
        a, b: sums per sequence, `<float64>[S, K]`, in the same order of sequences.
        metric: summed statistics `<float64>[..., K]` to the metric `<float64>[...]`.
        direction: whether the metric is minimised or maximised.
        resamples: number of resamples of the S sequences.
        seed: of the draws.
        second: the same for the tie-breaking metric, where lower is better.

    Raises:
        UsageError: the two do not hold the same sequences, or none.

    Source: Efron & Tibshirani 1993, ch. 13; Koehn 2004, "Statistical Significance Tests for Machine Translation
    Evaluation".
    """
    if a.shape != b.shape or a.ndim != 2 or not len(a):
        raise UsageError(
            f"A paired bootstrap needs the same sequences from both systems. Received: {a.shape} and {b.shape}."
        )
    difference = float(metric(a.sum(axis=0)) - metric(b.sum(axis=0)))
    both, differences, tied = np.concatenate([a, b], axis=1), [], []
    for totals in _resampled(both, resamples, seed):
        totals_a, totals_b = np.split(totals, 2, axis=1)
        differences.append(metric(totals_a) - metric(totals_b))
        if second is not None:
            tied.append(second(totals_a) < second(totals_b))
    found = np.concatenate(differences)
    better = found < 0 if direction == "min" else found > 0
    if second is not None:
        better |= (found == 0) & np.concatenate(tied)
    bounds = np.quantile(found, [0.025, 0.975])
    return Comparison(
        difference=difference, low=float(bounds[0]), high=float(bounds[1]), probability_better=float(better.mean())
    )


def interval(
    sums: NDArray[np.float64],
    metric: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    resamples: int,
    seed: int,
) -> tuple[float, float] | None:
    """Returns the 95 % interval of a system's metric over resampled sequences (the percentile bootstrap).

    Resamples on which the metric is NaN (no sequence that it counts was drawn) are left out.

    Args:
        sums: sums per sequence, `<float64>[S, K]`.
        metric: summed statistics `<float64>[..., K]` to the metric `<float64>[...]`.
        resamples: number of resamples of the S sequences.
        seed: of the draws.

    Returns:
        Its ends; None for fewer than two sequences, which have no variance.

    Source: Efron & Tibshirani 1993, ch. 13.
    """
    if len(sums) < 2:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.concatenate([metric(totals) for totals in _resampled(sums, resamples, seed)])
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def _resampled(sums: NDArray[np.float64], resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yields sums over sequences drawn with replacement, `<float64>[part of the resamples, K]`."""
    random, sequences = np.random.default_rng(seed), len(sums)
    at_once = max(1, _CELLS // sequences)
    for low in range(0, resamples, at_once):
        rows = min(at_once, resamples - low)
        # Multinomial counts of the drawn sequences, by counting, ten times as fast as numpy's `multinomial`.
        drawn = random.integers(sequences, size=(rows, sequences)) + np.arange(rows)[:, None] * sequences
        weights = np.bincount(drawn.ravel(), minlength=rows * sequences).reshape(rows, sequences)
        yield weights @ sums
