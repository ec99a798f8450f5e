"""Running text as contiguous streams: each row of a batch continues the same row of the previous batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.batching.prefetch import prefetch
from seqapps.errors import DataError
from seqapps.preprocessing.vocabulary import PAD


class StreamBatches:
    """The whole split as B contiguous streams, cut into windows of T steps (truncated back-propagation through time).

    N tokens become streams of ceil(N / B). Every token is predicted exactly once: the first input of stream 0 is
    `start`, that of stream b is the last token of stream b - 1. The remainder is padding of weight 0, so that all
    batches have the shape [B, T].

    Args:
        ids: the token ids of the split, concatenated, `<int32>[N]`.
        batch_size: number of streams (B).
        window: time steps of a batch (T).
        start: the token before the first one.

    Raises:
        DataError: there are no tokens.
    """

    carries = True
    padding = 0.0
    """Share of the positions that are padding, which occurs only at the end of the last window."""

    def __init__(self, ids: NDArray[Any], *, batch_size: int, window: int, start: int) -> None:
        if not len(ids):
            raise DataError("A split must hold tokens to make batches. Received: an empty split.")
        self.tokens = len(ids)
        self.batch_size = batch_size
        self.window = window
        length = math.ceil(len(ids) / batch_size)
        self.steps = math.ceil(length / window)
        self._lines = _lines(ids, batch_size, length, self.steps * window, start)
        self._lengths = np.clip(len(ids) - length * np.arange(batch_size), 0, length).astype(np.int32)

    def dataset(self, epoch: int, start: int = 0) -> tf.data.Dataset:
        """Returns `(x, y, weights)` from batch `start` on; every epoch has the same order.

        x is `{"tokens": <int32>[B, T]}`, y `<int32>[B, T]`, weights `<float32>[B, T]`.
        """
        # Tensors captured by a dataset function are passed by reference, not copied into its graph.
        lines, lengths = tf.constant(self._lines), tf.constant(self._lengths)
        shape = [self.batch_size, self.window]

        def cut(step: Any) -> tuple[dict[str, Any], Any, Any]:
            offset = tf.cast(step, tf.int32) * self.window
            real = offset + tf.range(self.window)[None, :] < lengths[:, None]
            before = tf.slice(lines, [0, offset], shape)
            tokens = tf.slice(lines, [0, offset + 1], shape)
            return {"tokens": tf.where(real, before, PAD)}, tokens, tf.cast(real, tf.float32)

        return prefetch(tf.data.Dataset.range(start, self.steps), cut)


def _lines(ids: NDArray[Any], rows: int, length: int, padded: int, start: int) -> NDArray[np.int32]:
    """Returns each stream with its preceding token, `<int32>[rows, padded + 1]`; x and y are columns t and t + 1."""
    line = np.full(rows * length, PAD, np.int32)
    line[: len(ids)] = ids
    lines = np.full((rows, padded + 1), PAD, np.int32)
    lines[:, 1 : length + 1] = line.reshape(rows, length)
    lines[0, 0] = start
    lines[1:, 0] = lines[:-1, length]
    return lines
