"""How surely one system is better than another, on data like these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from seqapps.errors import UsageError

_CELLS = 1 << 22
"""Weights that exist at a time: 32 MiB."""


class Comparison(BaseModel):
    """System a against system b by a paired bootstrap.

    Args:
        difference: metric(a) - metric(b) on all sequences.
        low, high: the middle 95 % of the resampled differences.
        probability_better: share of the resamples in which a is strictly better; a tie is not better.
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
) -> Comparison:
    """Returns how surely system a is better than system b on sequences like these.

    Sequences are drawn with replacement, the same ones for both systems; the metric follows from their sums.

    Args:
        a, b: sums per sequence, `<float64>[S, K]`, in the same order of sequences.
        metric: summed statistics `<float64>[..., K]` to the metric `<float64>[...]`.
        direction: which way the metric improves.
        resamples: how often the S sequences are drawn.
        seed: of the draws.

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
    random, sequences = np.random.default_rng(seed), len(a)
    both, differences = np.concatenate([a, b], axis=1), np.empty(resamples)
    at_once = max(1, _CELLS // sequences)
    for low in range(0, resamples, at_once):
        rows = min(at_once, resamples - low)
        # How often each sequence is drawn: a multinomial sample, by counting, ten times as fast as numpy's own.
        drawn = random.integers(sequences, size=(rows, sequences)) + np.arange(rows)[:, None] * sequences
        weights = np.bincount(drawn.ravel(), minlength=rows * sequences).reshape(rows, sequences)
        totals_a, totals_b = np.split(weights @ both, 2, axis=1)
        differences[low : low + rows] = metric(totals_a) - metric(totals_b)
    better = differences < 0 if direction == "min" else differences > 0
    bounds = np.quantile(differences, [0.025, 0.975])
    return Comparison(
        difference=difference, low=float(bounds[0]), high=float(bounds[1]), probability_better=float(better.mean())
    )
