"""Which rows share a batch: in an order that (seed, epoch) decides, sorted by length where that is harmless."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_WINDOWS = 125
"""Fewest windows of an epoch that is sorted at all: fewer were seen to keep a network from learning."""
_MOST = 16
_SPARE = 0.05
"""Under a budget, so many more batches than the first epoch needs: another order may need a few more."""
_DRAWS = 20
"""Of an order that fits, before rows are sorted in wider windows than the rule allows."""


def window_of(steps: int) -> int:
    """Returns how many batches of an epoch of so many share a window, inside which rows are sorted by length.

    Sorting saves padding, and makes batches of one length each, which often means of one kind each: their gradients are
    not those of the whole. So an epoch has many windows, and where it has few batches a window is one batch: rows as
    they come.
    """
    return max(1, min(_MOST, steps // _WINDOWS))


class Buckets:
    """Rows to batches. Every row stands in exactly one batch of an epoch, and every epoch has as many batches.

    Rows are shuffled, and sorted by length inside windows of a few batches (`window_of`). With `batch_size` a batch has
    B rows, the last ones of an epoch filled with -1. With `token_budget` a batch takes rows as long as rows x longest
    row stays at or below the budget (one at least).

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
        self.steps = self._fewest = self._count(np.argsort(lengths, kind="stable"))
        if token_budget and shuffle:
            first = self._count(self._rows(np.random.default_rng([seed, 0]), self._window))
            self.steps = max(self._fewest, min(len(lengths), math.ceil(first * (1.0 + _SPARE))))

    def order(self, epoch: int) -> list[NDArray[np.int64]]:
        """Returns the rows of each batch, `<int64>[B]` each; -1 is a row of padding."""
        generator, window = np.random.default_rng([self._seed, epoch]), self._window
        if not self._shuffle:
            return self._cut(np.argsort(self.lengths, kind="stable"))
        rows = self._rows(generator, window)
        for _ in range(_DRAWS):  # an order that needs more batches than there are
            if self._count(rows) <= self.steps:
                break
            rows = self._rows(generator, window)
        while self._count(rows) > self.steps:
            window *= 2
            rows = self._sorted(rows, window)
        batches = _divided(self._cut(rows), self.steps)
        return [batches[place] for place in generator.permutation(self.steps)]

    def padding(self) -> float:
        """Returns the share of the first epoch's positions that are padding: 1 - steps of rows / (rows x longest)."""
        positions = 0
        for rows in self.order(0):
            positions += len(rows) * int(self.lengths[rows[rows >= 0]].max(initial=0))
        return 1.0 - int(self.lengths.sum()) / positions if positions else 0.0

    @property
    def _window(self) -> int:
        return window_of(self._fewest)

    def _rows(self, generator: np.random.Generator, window: int) -> NDArray[np.int64]:
        """Returns all rows in an order that is drawn, sorted inside windows."""
        rows = generator.permutation(len(self.lengths))
        return self._sorted(rows, window) if window > 1 and len(rows) else rows

    def _sorted(self, rows: NDArray[np.int64], window: int) -> NDArray[np.int64]:
        per_batch = len(rows) / self._fewest if self._budget else self.batch_size
        width = max(1, round(per_batch * window))
        parts = [rows[low : low + width] for low in range(0, len(rows), width)]
        return np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in parts])

    def _count(self, rows: NDArray[np.int64]) -> int:
        if not self._budget:
            return math.ceil(len(rows) / self.batch_size)
        return len(_cuts(self.lengths[rows], self._budget)) - 1

    def _cut(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Returns rows, one after the other, as batches."""
        if self._budget:
            cuts = _cuts(self.lengths[rows], self._budget)
            return [rows[low:high] for low, high in pairwise(cuts)]
        filled = np.full(self.steps * self.batch_size, -1, np.int64)
        filled[: len(rows)] = rows
        return list(filled.reshape(self.steps, self.batch_size))


def _cuts(lengths: NDArray[np.int64], budget: int) -> list[int]:
    """Returns where batches begin and the last ends, in rows one after the other; empty for none."""
    cuts, low, longest = [0], 0, 0
    for high, length in enumerate(lengths.tolist()):
        longest = max(longest, length)
        if high > low and (high + 1 - low) * longest > budget:
            cuts.append(high)
            low, longest = high, length
    return [*cuts, len(lengths)] if len(lengths) else [0]


def _divided(batches: Sequence[NDArray[np.int64]], count: int) -> list[NDArray[np.int64]]:
    """Returns so many batches: those with the most rows are halved as long as there are fewer."""
    found = list(batches)
    while len(found) < count:
        place = max(range(len(found)), key=lambda place: len(found[place]))
        half = len(found[place]) // 2
        found[place : place + 1] = [found[place][:half], found[place][half:]]
    return found
