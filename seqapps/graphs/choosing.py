"""The next unit: the most probable one, the k best, or one that is drawn; as graph operations.

What costs time when a text is written is how often the logits of all units are gone through. A large vocabulary is
therefore divided into groups: one pass finds the best (or the sum) of each group, and what is left is small.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from seqapps.preprocessing.vocabulary import BEGIN, PAD, UNKNOWN

NEVER_WRITTEN = (PAD, UNKNOWN, BEGIN)
"""Units that no text holds: they are neither written nor suggested. `<eos>` ends the text."""

_LARGE = 1024
"""Fewer values than this are gone through as they are."""
_GROUP = 32
"""Values of a group, about: few to look at, and few groups."""


class Sampling(NamedTuple):
    """How the next unit is drawn: scalars `<float32>[]`, `<int32>[]`, `<int32>[]`; see `TextGenerator.generate`."""

    temperature: Any
    top_k: Any
    seed: Any


def choose(logits: Any, step: Any, sampling: Sampling) -> Any:
    """Gives the next unit of each row. `<float32>[B, V] -> <int32>[B]`."""

    def most_probable() -> Any:
        return tf.argmax(logits, axis=-1, output_type=tf.int32)

    def among_all() -> Any:
        return _draw(logits, step, sampling)

    def among_best() -> Any:
        values, indices = best(logits, sampling.top_k)
        return tf.gather(indices, _draw(values, step, sampling), batch_dims=1)

    return tf.cond(
        sampling.temperature > 0.0, lambda: tf.cond(sampling.top_k > 0, among_best, among_all), most_probable
    )


def log_probabilities(logits: Any, unit: Any) -> Any:
    """Gives log p of one unit of each row among all units. `<float32>[..., V], <int32>[...] -> <float32>[...]`.

    As the negative of `sparse_softmax_cross_entropy_with_logits`, which also computes gradients.
    """
    return tf.gather(tf.nn.log_softmax(logits), unit, batch_dims=unit.shape.rank)


def best(values: Any, k: Any) -> tuple[Any, Any]:
    """Gives what `tf.math.top_k` gives, of equal values the first one, too: the k largest of each row, descending.

    The k largest of V values lie in the k groups with the largest maxima, and one pass finds the maxima.

    Args:
        values: `<float32>[B, V]`.
        k: `<int32>[]`; V when it is more.

    Returns:
        The values `<float32>[B, k]` and their indices `<int32>[B, k]`.
    """
    k = tf.minimum(k, tf.shape(values)[-1])

    def directly() -> tuple[Any, Any]:
        found = tf.math.top_k(values, k)
        return found.values, found.indices

    if _is_small(values):
        return directly()
    grouped = _groups(values, -np.inf)
    count, size = grouped.shape[1:]

    def by_groups() -> tuple[Any, Any]:
        # In ascending order, so that of equal values the first one is found again.
        groups = tf.sort(tf.math.top_k(tf.reduce_max(grouped, axis=-1), k).indices, axis=-1)
        few = tf.reshape(tf.gather(grouped, groups, batch_dims=1), [-1, k * size])
        found = tf.math.top_k(few, k)
        group = tf.gather(groups, found.indices // size, batch_dims=1)
        return found.values, group * size + found.indices % size

    found, indices = tf.cond(k * 4 <= count, by_groups, directly)
    return found, indices


def _draw(logits: Any, step: Any, sampling: Sampling) -> Any:
    """Draws an index of each row by inverting the cumulative distribution. `<float32>[B, K] -> <int32>[B]`.

    One number of a counter-based generator a row: element r of the stream belongs to row r, whatever B is. What
    `tf.random.stateless_categorical` gives a row depends on B and on how many threads there are.
    """
    uniform = tf.random.stateless_uniform([tf.shape(logits)[0], 1], seed=tf.stack([sampling.seed, step]))
    # The maximum goes first, so that a tiny temperature gives 0 and -inf, never inf - inf.
    weights = tf.exp((logits - tf.reduce_max(logits, axis=-1, keepdims=True)) / sampling.temperature)
    if _is_small(weights):
        cumulative = tf.cumsum(weights, axis=-1)
        return tf.searchsorted(cumulative, uniform * cumulative[:, -1:], side="right")[:, 0]
    grouped = _groups(weights, 0.0)
    cumulative = tf.cumsum(tf.reduce_sum(grouped, axis=-1), axis=-1)
    sought = uniform * cumulative[:, -1:]
    group = tf.searchsorted(cumulative, sought, side="right")
    before = tf.where(group > 0, tf.gather(cumulative, tf.maximum(group - 1, 0), batch_dims=1), 0.0)
    within = tf.cumsum(tf.gather(grouped, group[:, 0], batch_dims=1), axis=-1)
    # The two sums of a group are rounded differently: what is sought stays below the second, too.
    sought = tf.minimum(sought - before, within[:, -1:] * np.float32(1.0 - 2.0**-23))
    return (group * grouped.shape[-1] + tf.searchsorted(within, sought, side="right"))[:, 0]


def _is_small(values: Any) -> bool:
    size = values.shape[-1]
    return size is None or size < _LARGE


def _groups(values: Any, nothing: float) -> Any:
    """Divides the values of each row into groups of one size; what is missing in the last one is `nothing`.

    `<float32>[B, V] -> <float32>[B, groups, size]`. A size that divides V is taken where there is one: then nothing is
    copied.
    """
    length = values.shape[-1]
    size = next((size for size in range(_GROUP // 2, 2 * _GROUP) if length % size == 0), _GROUP)
    if length % size:
        values = tf.pad(values, [[0, 0], [0, -length % size]], constant_values=nothing)
    return tf.reshape(values, [-1, values.shape[-1] // size, size])
