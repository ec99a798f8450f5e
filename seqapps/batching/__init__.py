"""Prepared shards to batches, with tf.data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import tensorflow as tf


class Batches(Protocol):
    """The batches of a split. The order is a function of (seed, epoch) alone, so that a killed run can go on."""

    steps: int
    """Batches of an epoch."""
    tokens: int
    """Positions of an epoch that count (weight 1)."""
    batch_size: int
    """Rows of a batch (B)."""
    carries: bool
    """Whether the hidden state of one batch is where the next one starts."""

    @property
    def padding(self) -> float:
        """Share of the positions of an epoch that are padding."""
        ...

    def dataset(self, epoch: int, start: int = 0) -> tf.data.Dataset:
        """Returns `(x, y, weights)` of an epoch, from batch `start` on.

        x is a dictionary of inputs by name, y a tensor or a dictionary, weights `<float32>[B, T]` (or `[B]`, one answer
        a row), 0 on padding.
        """
        ...
