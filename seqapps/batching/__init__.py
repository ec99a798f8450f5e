"""Batching of prepared shards with tf.data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import tensorflow as tf


class Batches(Protocol):
    """The batches of a split. The order is a function of (seed, epoch) alone, so that a run can be resumed."""

    steps: int
    """Number of batches in an epoch."""
    tokens: int
    """Number of unmasked positions (weight 1) in an epoch."""
    batch_size: int
    """Batch size (B)."""
    carries: bool
    """Whether the final hidden state of one batch is the initial state of the next."""

    @property
    def padding(self) -> float:
        """Share of the positions of an epoch that are padding."""
        ...

    def dataset(self, epoch: int, start: int = 0) -> tf.data.Dataset:
        """Returns `(x, y, weights)` of an epoch, from batch `start` on.

        x is a dictionary of inputs by name, y a tensor or a dictionary, weights `<float32>[B, T]` (or `[B]`, for one
        target per example), 0 on padding.
        """
        ...
