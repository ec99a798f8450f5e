"""One document per example with zero initial state; batches hold documents of similar length."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.batching.buckets import Buckets
from seqapps.batching.prefetch import prefetch
from seqapps.batching.rows import batches_of_examples, shift_right
from seqapps.dataset.ragged import Ragged
from seqapps.errors import DataError
from seqapps.preprocessing.vocabulary import PAD


class DocumentBatches:
    """Documents as examples: x = start, w_0 .. w_{n-2} and y = w_0 .. w_{n-1}. No token is dropped.

    A document longer than `window` is cut into parts; a later part begins with the token before it, and zero state.
    Every batch has B rows, the last one filled with rows of weight 0; T is the length of its longest row.

    Args:
        ids: token ids, one row per document.
        batch_size: examples per batch (B).
        window: maximum length of an example.
        start: the token before the first one of a document.
        seed: determines the order, together with the epoch.
        shuffle: False uses the same order in every epoch: examples sorted by length.
        token_budget: instead of `batch_size`; see `Buckets`.

    Raises:
        DataError: there are no tokens.
    """

    carries = False

    def __init__(  # noqa: PLR0913
        self, ids: Ragged, *, batch_size: int, window: int, start: int, seed: int, shuffle: bool, token_budget: int = 0
    ) -> None:
        self.tokens = int(ids.splits[-1])
        if not self.tokens:
            raise DataError("A split must hold tokens to make batches. Received: an empty split.")
        self.batch_size = batch_size
        self._tokens = ids.values.astype(np.int32, copy=False)
        self._offsets, self._lengths, self._before = _parts(ids, window, start)
        self._buckets = Buckets(
            self._lengths, batch_size=batch_size, token_budget=token_budget, seed=seed, shuffle=shuffle
        )
        self.steps = self._buckets.steps

    def order(self, epoch: int) -> list[NDArray[np.int64]]:
        """Returns the examples of each batch of an epoch; -1 is a row of padding."""
        return self._buckets.order(epoch)

    @property
    def padding(self) -> float:
        """Share of the positions of an epoch that are padding."""
        return self._buckets.padding()

    def dataset(self, epoch: int, start: int = 0) -> tf.data.Dataset:
        """Returns `(x, y, weights)` from batch `start` on.

        x is `{"tokens": <int32>[B, T]}`, y `<int32>[B, T]`, weights `<float32>[B, T]`; T differs from batch to batch.
        """
        tokens, before = tf.constant(self._tokens), tf.constant(self._before)
        offsets, lengths = tf.constant(self._offsets), tf.constant(self._lengths)

        def gather(examples: Any) -> tuple[dict[str, Any], Any, Any]:
            present = tf.cast(examples >= 0, tf.int64)
            examples = tf.maximum(examples, 0)
            length = tf.gather(lengths, examples) * present
            steps = tf.range(tf.reduce_max(length))[None, :]
            real = steps < length[:, None]
            index = (tf.gather(offsets, examples)[:, None] + steps) * tf.cast(real, tf.int64)
            y = tf.where(real, tf.gather(tokens, index), PAD)
            x = shift_right(y, tf.gather(before, examples))
            return {"tokens": tf.where(real, x, PAD)}, y, tf.cast(real, tf.float32)

        dataset = batches_of_examples(self.order(epoch)[start:], self.batch_size)
        return prefetch(dataset, gather)


def _parts(ids: Ragged, window: int, start: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Returns offset, length and preceding token of each example; empty documents make no example."""
    counts = -(-ids.lengths // window)
    index = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = np.repeat(ids.splits[:-1], counts) + index * window
    lengths = np.minimum(np.repeat(ids.lengths, counts) - index * window, window)
    before = np.where(index == 0, start, ids.values[offsets - 1])
    return offsets, lengths, before.astype(np.int32)
