"""Automatic threshold of gradient clipping: a percentile of the gradient norms so far.

Source: Seetharaman, Wichern, Pardo & Le Roux 2020, "AutoClip: Adaptive Gradient Clipping for Source Separation
Networks", algorithm 1: G_h(t) = (|g_1|, .., |g_t|), threshold = its p-th percentile, and g_t scaled to it. There
the history is unlimited; here it is the last `LENGTH` steps, so that the cost of a step is constant.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

LENGTH = 1_000
"""Length of the history in steps."""


class AutoThreshold:
    """The percentile of a ring buffer of norms, inside the graph of a training step.

    Args:
        percentile: p, in (0, 100]; linearly interpolated between norms, as in numpy.
        length: of the ring buffer.
    """

    def __init__(self, percentile: float, length: int = LENGTH) -> None:
        self._share, self._length = percentile / 100.0, length
        self._norms = tf.Variable(tf.zeros(length), trainable=False)
        self._seen = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._threshold = tf.Variable(0.0, trainable=False)
        self.variables = [self._norms, self._seen, self._threshold]

    def __call__(self, norm: Any) -> Any:
        """Adds a step's norm to the history and returns the new threshold, both `<float32>[]`.

        A norm that is not finite is ignored: the threshold is unchanged.
        """
        finite = tf.math.is_finite(norm)
        place = self._seen % self._length
        kept = tf.where(finite, norm, self._norms[place])
        norms = tf.tensor_scatter_nd_update(self._norms, tf.reshape(place, (1, 1)), tf.reshape(kept, (1,)))
        self._norms.assign(norms)
        seen = self._seen.assign_add(tf.cast(finite, tf.int64))
        count = tf.minimum(seen, self._length)
        # Unfilled entries sort to the end.
        filled = tf.where(tf.range(self._length, dtype=tf.int64) < count, norms, tf.fill((self._length,), float("inf")))
        ordered = tf.sort(filled)
        last = tf.maximum(count - 1, 0)
        position = self._share * tf.cast(last, tf.float32)
        below = tf.cast(tf.floor(position), tf.int64)
        low, high = ordered[below], ordered[tf.minimum(below + 1, last)]
        found = low + (position - tf.floor(position)) * (high - low)
        return self._threshold.assign(tf.where(finite, found, self._threshold))

    @property
    def value(self) -> float:
        """The threshold of the last step; 0 before the first."""
        return float(self._threshold.numpy())
