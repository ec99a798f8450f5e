"""One example a document, the hidden state starts from zero; batches hold documents of about the same length."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.errors import DataError
from seqapps.preprocessing.blocks import Ragged
from seqapps.preprocessing.vocabulary import PAD

# Rows are shuffled, then sorted by length inside windows of this many batches: the padding of bucketing at seven times
# its rate, and still another order every epoch.
_SORTED_BATCHES = 100


class DocumentBatches:
    """Documents as rows: x = start, w_0 .. w_{n-2} and y = w_0 .. w_{n-1}. No unit is dropped.

    A document longer than `window` is cut into parts; a later part begins with the unit before it, and state zero.
    Every batch has B rows, the last ones filled with rows of weight 0; T is that of the longest row.

    Args:
        ids: one row of units a document.
        batch_size: rows of a batch (B).
        window: longest row.
        start: the unit before the first one of a document.
        seed: with the epoch, decides the order.
        shuffle: False keeps one order: the rows sorted by length.

    Raises:
        DataError: there are no units.
    """

    carries = False

    def __init__(  # noqa: PLR0913
        self, ids: Ragged, *, batch_size: int, window: int, start: int, seed: int, shuffle: bool
    ) -> None:
        self.tokens = int(ids.splits[-1])
        if not self.tokens:
            raise DataError("A split must hold units to make batches. Received: an empty split.")
        self.batch_size = batch_size
        self._units = ids.values.astype(np.int32, copy=False)
        self._offsets, self._lengths, self._before = _parts(ids, window, start)
        self.steps = math.ceil(len(self._offsets) / batch_size)
        self._seed, self._shuffle = seed, shuffle

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Returns which row stands where in an epoch, `<int64>[steps, B]`; -1 is a row of padding."""
        generator = np.random.default_rng([self._seed, epoch])
        count, width = len(self._offsets), self.batch_size * _SORTED_BATCHES
        rows = generator.permutation(count) if self._shuffle else np.arange(count)
        if not self._shuffle:
            width = count
        windows = [rows[low : low + width] for low in range(0, count, width)]
        rows = np.concatenate([part[np.argsort(self._lengths[part], kind="stable")] for part in windows])
        filled = np.full(self.steps * self.batch_size, -1, np.int64)
        filled[:count] = rows
        batches = filled.reshape(self.steps, self.batch_size)
        return generator.permutation(batches) if self._shuffle else batches

    def dataset(self, epoch: int, start: int = 0) -> tf.data.Dataset:
        """Returns `(x, y, weights)` from batch `start` on.

        x is `{"tokens": <int32>[B, T]}`, y `<int32>[B, T]`, weights `<float32>[B, T]`; T differs from batch to batch.
        """
        units, before = tf.constant(self._units), tf.constant(self._before)
        offsets, lengths = tf.constant(self._offsets), tf.constant(self._lengths)

        def gather(rows: Any) -> tuple[dict[str, Any], Any, Any]:
            present = tf.cast(rows >= 0, tf.int64)
            rows = tf.maximum(rows, 0)
            length = tf.gather(lengths, rows) * present
            steps = tf.range(tf.reduce_max(length))[None, :]
            real = steps < length[:, None]
            index = (tf.gather(offsets, rows)[:, None] + steps) * tf.cast(real, tf.int64)
            y = tf.where(real, tf.gather(units, index), PAD)
            x = tf.concat([tf.gather(before, rows)[:, None], y[:, :-1]], axis=1)
            return {"tokens": tf.where(real, x, PAD)}, y, tf.cast(real, tf.float32)

        dataset = tf.data.Dataset.from_tensor_slices(self.order(epoch)[start:])
        return dataset.map(gather, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _parts(
    ids: Ragged, window: int, start: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Returns where each row begins in the units, its length, and the unit before it; empty documents give no row."""
    counts = -(-ids.lengths // window)
    index = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = np.repeat(ids.splits[:-1], counts) + index * window
    lengths = np.minimum(np.repeat(ids.lengths, counts) - index * window, window)
    before = np.where(index == 0, start, ids.values[offsets - 1])
    return offsets, lengths, before.astype(np.int32)
