"""Bucketing of examples by length, in an order that depends on (seed, epoch)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_WINDOWS = 125
"""Minimum number of windows per epoch for sorting by length: with fewer, a network was seen not to learn."""
_MOST = 16
_SPARE = 0.05
"""Under a token budget, relative reserve of batches over the first epoch: another order may need a few more."""
_DRAWS = 20
"""Attempts to draw an order that fits, before examples are sorted in wider windows than the rule allows."""


def window_of(steps: int) -> int:
    """Returns the number of batches per window, within which examples are sorted by length, for an epoch of `steps`.

    Sorting saves padding but makes batches homogeneous in length, and often in content: their gradients are biased
    samples. So an epoch has many windows, and with few batches a window is one batch, that is, unsorted examples.
    """
    return max(1, min(_MOST, steps // _WINDOWS))


class Buckets:
    """Examples to batches. Every example is in exactly one batch of an epoch, and all epochs have equally many batches.

    Examples are shuffled, and sorted by length within windows of a few batches (`window_of`). With `batch_size` a batch
    has B examples, the last one of an epoch filled with -1. With `token_budget` a batch takes examples as long as
    examples x longest example stays within the budget (at least one).

    Args:
        lengths: steps of each example, `<int64>[examples]`.
        batch_size: examples per batch (B).
        token_budget: examples x longest example of a batch; 0 takes `batch_size`.
        seed: determines the order, together with the epoch.
        shuffle: False uses the same order in every epoch: examples sorted by length.
    """

    def __init__(
        self, lengths: NDArray[np.int64], *, batch_size: int, token_budget: int, seed: int, shuffle: bool
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self._budget, self._seed, self._shuffle = token_budget, seed, shuffle
        self.steps = self._fewest = self._count(np.argsort(lengths, kind="stable"))
        if token_budget and shuffle:
            first = self._count(self._examples(np.random.default_rng([seed, 0]), self._window))
            self.steps = max(self._fewest, min(len(lengths), math.ceil(first * (1.0 + _SPARE))))

    def order(self, epoch: int) -> list[NDArray[np.int64]]:
        """Returns the examples of each batch, `<int64>[B]` each; -1 is a row of padding."""
        generator, window = np.random.default_rng([self._seed, epoch]), self._window
        if not self._shuffle:
            return self._cut(np.argsort(self.lengths, kind="stable"))
        examples = self._examples(generator, window)
        for _ in range(_DRAWS):  # redraw an order that needs too many batches
            if self._count(examples) <= self.steps:
                break
            examples = self._examples(generator, window)
        while self._count(examples) > self.steps:
            window *= 2
            examples = self._sorted(examples, window)
        batches = _divided(self._cut(examples), self.steps)
        return [batches[place] for place in generator.permutation(self.steps)]

    def padding(self) -> float:
        """Returns the share of padding in the first epoch: 1 - steps of examples / (examples x longest)."""
        positions = 0
        for examples in self.order(0):
            positions += len(examples) * int(self.lengths[examples[examples >= 0]].max(initial=0))
        return 1.0 - int(self.lengths.sum()) / positions if positions else 0.0

    @property
    def _window(self) -> int:
        return window_of(self._fewest)

    def _examples(self, generator: np.random.Generator, window: int) -> NDArray[np.int64]:
        """Returns all examples in random order, sorted by length within windows."""
        examples = generator.permutation(len(self.lengths))
        return self._sorted(examples, window) if window > 1 and len(examples) else examples

    def _sorted(self, examples: NDArray[np.int64], window: int) -> NDArray[np.int64]:
        per_batch = len(examples) / self._fewest if self._budget else self.batch_size
        width = max(1, round(per_batch * window))
        parts = [examples[low : low + width] for low in range(0, len(examples), width)]
        return np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in parts])

    def _count(self, examples: NDArray[np.int64]) -> int:
        if not self._budget:
            return math.ceil(len(examples) / self.batch_size)
        return len(_cuts(self.lengths[examples], self._budget)) - 1

    def _cut(self, examples: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Cuts consecutive examples into batches."""
        if self._budget:
            cuts = _cuts(self.lengths[examples], self._budget)
            return [examples[low:high] for low, high in pairwise(cuts)]
        filled = np.full(self.steps * self.batch_size, -1, np.int64)
        filled[: len(examples)] = examples
        return list(filled.reshape(self.steps, self.batch_size))


def _cuts(lengths: NDArray[np.int64], budget: int) -> list[int]:
    """Returns the batch boundaries of consecutive examples; empty for none."""
    cuts, low, longest = [0], 0, 0
    for high, length in enumerate(lengths.tolist()):
        longest = max(longest, length)
        if high > low and (high + 1 - low) * longest > budget:
            cuts.append(high)
            low, longest = high, length
    return [*cuts, len(lengths)] if len(lengths) else [0]


def _divided(batches: Sequence[NDArray[np.int64]], count: int) -> list[NDArray[np.int64]]:
    """Returns `count` batches: those with the most examples are halved until there are enough."""
    found = list(batches)
    while len(found) < count:
        place = max(range(len(found)), key=lambda place: len(found[place]))
        half = len(found[place]) // 2
        found[place : place + 1] = [found[place][:half], found[place][half:]]
    return found
