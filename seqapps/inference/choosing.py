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


_COLDEST = 1e-30
"""Temperatures below it draw as it does: a still smaller one is 0 for a processor that knows no denormal numbers."""
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


class Sampling(NamedTuple):
    """How the next unit of each row is drawn; see `TextGenerator.generate`.

    Args:
        temperature: `<float32>[B]`; 0 takes the most probable unit.
        top_k: `<int32>[B]`; 0 draws among all.
        key: `<uint64>[B]` that `keys_of` made of the seeds: a row's draws follow from it and the step alone.
    """

    temperature: Any
    top_k: Any
    key: Any

    @classmethod
    def greedy(cls, rows: Any) -> Sampling:
        """Returns what takes the most probable unit in every row."""
        return cls(tf.zeros([rows]), tf.zeros([rows], tf.int32), tf.zeros([rows], tf.uint64))


def keys_of(seed: Any, place: Any = 0) -> Any:
    """Returns the keys of streams of random numbers, `<int64>[B] -> <uint64>[B]`.

    Args:
        seed: equal seeds give equal streams.
        place: `<int32>`, of a text among several that are drawn with one seed.
    """
    of_seed = _mixed(tf.cast(seed, tf.uint64) + _uint64(_GOLDEN))
    return _mixed(of_seed + tf.cast(place, tf.uint64) * _uint64(_MIX[0][1]))


def choose(logits: Any, step: Any, sampling: Sampling) -> Any:
    """Gives the next unit of each row. `<float32>[B, V] -> <int32>[B]`."""
    drawn, some = sampling.temperature > 0.0, sampling.top_k > 0

    def most_probable() -> Any:
        return tf.argmax(logits, axis=-1, output_type=tf.int32)

    def among_all() -> Any:
        return _draw(logits, step, sampling)

    def among_best() -> Any:
        values, indices = best(logits, tf.reduce_max(sampling.top_k))
        beyond = tf.range(tf.shape(values)[1]) >= sampling.top_k[:, None]
        found = _draw(tf.where(beyond & some[:, None], -np.inf, values), step, sampling)
        return tf.gather(indices, found, batch_dims=1)

    def if_any(rows: Any, way: Any) -> Any:
        return tf.cond(tf.reduce_any(rows), way, lambda: tf.zeros_like(sampling.top_k))

    # A way that no row goes costs nothing.
    chosen = tf.where(some, if_any(drawn & some, among_best), if_any(drawn & ~some, among_all))
    return tf.where(drawn, chosen, if_any(~drawn, most_probable))


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
    """Draws an index of each row by inverting the cumulative distribution. `<float32>[B, K] -> <int32>[B]`."""
    uniform = _uniform(sampling.key, step)[:, None]
    # The maximum goes first, so that a tiny temperature gives 0 and -inf, never inf - inf.
    temperature = tf.maximum(sampling.temperature, _COLDEST)[:, None]
    weights = tf.exp((logits - tf.reduce_max(logits, axis=-1, keepdims=True)) / temperature)
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


def _uniform(key: Any, step: Any) -> Any:
    """Returns the number of each stream at a step, in [0, 1) and of 23 bits, so that it times a sum stays below it.

    A stream of its own for each row: what `tf.random` gives a row depends on the rows beside it.

    Source: SplitMix64 of Steele, Lea & Flood 2014, "Fast Splittable Pseudorandom Number Generators", figure 17.
    """
    bits = _mixed(key + tf.cast(step + 1, tf.uint64) * _uint64(_GOLDEN))
    whole = tf.cast(tf.bitwise.right_shift(bits, _uint64(41)), tf.int32)
    return tf.cast(whole, tf.float32) * np.float32(2.0**-23)


def _mixed(bits: Any) -> Any:
    for shift, factor in _MIX:
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, _uint64(shift))) * _uint64(factor)
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, _uint64(31)))


def _uint64(value: int) -> Any:
    return tf.constant(value, tf.uint64)


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
