"""Which rows share a batch: rows of about the same length, in an order that (seed, epoch) decides. Drops nothing."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# Rows are shuffled, then sorted by length inside windows of this many batches: the padding of bucketing at seven times
# its rate, and still another order every epoch.
_SORTED_BATCHES = 100


class Buckets:
    """Rows to batches. Every row stands in exactly one batch of an epoch, and every epoch has as many batches.

    With `batch_size` a batch has B rows, the last ones of an epoch filled with -1. With `token_budget` a batch has as
    many rows as keep rows x longest row at or below the budget (one at least); rows of equal length change places from
    epoch to epoch, so that the number of batches stays.

    Args:
        lengths: steps of each row, `<int64>[rows]`.
        batch_size: rows of a batch (B).
        token_budget: rows x longest row of a batch; 0 takes `batch_size`.
        seed: with the epoch, decides the order.
        shuffle: False keeps one order: the rows sorted by length.
    """

    def __init__(
        self, lengths: NDArray[np.int64], *, batch_size: int, token_budget: int, seed: int, shuffle: bool
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self._budget, self._seed, self._shuffle = token_budget, seed, shuffle
        self._cuts = _cuts(np.sort(lengths), token_budget) if token_budget else None
        self.steps = len(self._cuts) - 1 if self._cuts is not None else math.ceil(len(lengths) / batch_size)

    def order(self, epoch: int) -> list[NDArray[np.int64]]:
        """Returns the rows of each batch, `<int64>[B]` each; -1 is a row of padding."""
        generator = np.random.default_rng([self._seed, epoch])
        count = len(self.lengths)
        rows = generator.permutation(count) if self._shuffle else np.arange(count)
        if self._cuts is not None:
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
            batches = [rows[low:high] for low, high in zip(self._cuts[:-1], self._cuts[1:], strict=True)]
        else:
            width = self.batch_size * _SORTED_BATCHES if self._shuffle else max(count, 1)
            windows = [rows[low : low + width] for low in range(0, count, width)]
            windows = [part[np.argsort(self.lengths[part], kind="stable")] for part in windows]
            filled = np.full(self.steps * self.batch_size, -1, np.int64)
            filled[:count] = np.concatenate(windows) if windows else rows
            batches = list(filled.reshape(self.steps, self.batch_size))
        return [batches[place] for place in generator.permutation(self.steps)] if self._shuffle else batches

    def padding(self) -> float:
        """Returns the share of the first epoch's positions that are padding: 1 - steps of rows / (rows x longest)."""
        positions = 0
        for rows in self.order(0):
            positions += len(rows) * int(self.lengths[rows[rows >= 0]].max(initial=0))
        return 1.0 - int(self.lengths.sum()) / positions if positions else 0.0


def _cuts(ordered: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """Returns where batches begin and the last ends, in rows sorted by length: they depend on lengths alone."""
    cuts, low = [0], 0
    for high, length in enumerate(ordered.tolist()):
        if high > low and (high + 1 - low) * length > budget:
            cuts.append(high)
            low = high
    return np.array([*cuts, len(ordered)] if len(ordered) else [0], np.int64)
