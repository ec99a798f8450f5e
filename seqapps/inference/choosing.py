"""Choice of the next token: the most probable one, the k best, or a sampled one; as graph operations.

The time of decoding depends on the number of passes over the logits of all tokens. A large vocabulary is therefore
divided into groups: one pass finds the maximum (or the sum) of each group, and the rest is small.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from seqapps.preprocessing.vocabulary import BEGIN, PAD, UNKNOWN

NEVER_WRITTEN = (PAD, UNKNOWN, BEGIN)
"""Tokens that no text contains: they are neither generated nor suggested. `<eos>` ends the text."""

_LARGE = 1024
"""Number of values below which there are no groups."""
_GROUP = 32
"""Approximate size of a group: small groups, and few of them."""


_COLDEST = 1e-30
"""Lower bound of temperatures: smaller ones are 0 on a processor without denormal numbers."""
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


class Sampling(NamedTuple):
    """How the next token of each row is sampled; see `TextGenerator.generate`.

    Args:
        temperature: `<float32>[B]`; 0: the most probable token.
        top_k: `<int32>[B]`; 0 samples among all.
        key: `<uint64>[B]`, from `keys_of`: a row's samples depend only on it and the step.
    """

    temperature: Any
    top_k: Any
    key: Any

    @classmethod
    def greedy(cls, rows: Any) -> Sampling:
        """Returns greedy decoding for every row."""
        return cls(tf.zeros([rows]), tf.zeros([rows], tf.int32), tf.zeros([rows], tf.uint64))


def keys_of(seed: Any, place: Any = 0) -> Any:
    """Returns the keys of random number streams, `<int64>[B] -> <uint64>[B]`.

    Args:
        seed: equal seeds give equal streams.
        place: `<int32>`, index of a text among several with one seed.
    """
    of_seed = _mixed(tf.cast(seed, tf.uint64) + _uint64(_GOLDEN))
    return _mixed(of_seed + tf.cast(place, tf.uint64) * _uint64(_MIX[0][1]))


def choose(logits: Any, step: Any, sampling: Sampling) -> Any:
    """Returns the next token of each row. `<float32>[B, V] -> <int32>[B]`."""
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

    # A branch that no row needs costs nothing.
    chosen = tf.where(some, if_any(drawn & some, among_best), if_any(drawn & ~some, among_all))
    return tf.where(drawn, chosen, if_any(~drawn, most_probable))


def log_probabilities(logits: Any, token: Any) -> Any:
    """Returns log p of one token of each row among all tokens. `<float32>[..., V], <int32>[...] -> <float32>[...]`.

    As the negative of `sparse_softmax_cross_entropy_with_logits`, which also computes gradients.
    """
    return tf.gather(tf.nn.log_softmax(logits), token, batch_dims=token.shape.rank)


def best(values: Any, k: Any) -> tuple[Any, Any]:
    """Returns the result of `tf.math.top_k`, including the order of ties: the k largest of each row, descending.

    The k largest of V values are in the k groups with the largest maxima, and one pass finds the maxima.

    Args:
        values: `<float32>[B, V]`.
        k: `<int32>[]`; capped at V.

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
        # In ascending order, so that ties resolve to the first one.
        groups = tf.sort(tf.math.top_k(tf.reduce_max(grouped, axis=-1), k).indices, axis=-1)
        few = tf.reshape(tf.gather(grouped, groups, batch_dims=1), [-1, k * size])
        found = tf.math.top_k(few, k)
        group = tf.gather(groups, found.indices // size, batch_dims=1)
        return found.values, group * size + found.indices % size

    found, indices = tf.cond(k * 4 <= count, by_groups, directly)
    return found, indices


def _draw(logits: Any, step: Any, sampling: Sampling) -> Any:
    """Samples an index of each row by inverting the cumulative distribution. `<float32>[B, K] -> <int32>[B]`."""
    uniform = _uniform(sampling.key, step)[:, None]
    # The maximum is subtracted first, so that a tiny temperature yields 0 and -inf, never inf - inf.
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
    # The two sums of a group are rounded differently: the threshold is kept below the second, too.
    sought = tf.minimum(sought - before, within[:, -1:] * np.float32(1.0 - 2.0**-23))
    return (group * grouped.shape[-1] + tf.searchsorted(within, sought, side="right"))[:, 0]


def _uniform(key: Any, step: Any) -> Any:
    """Returns each stream's number at a step, in [0, 1) with 23 bits, so that its product with a sum stays below it.

    Each row has its own stream: with `tf.random` a row depends on the other rows in the batch.

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
    """Divides the values of each row into groups of one size; the last one is padded with `nothing`.

    `<float32>[B, V] -> <float32>[B, groups, size]`. A size that divides V is preferred: it needs no
    copy.
    """
    length = values.shape[-1]
    size = next((size for size in range(_GROUP // 2, 2 * _GROUP) if length % size == 0), _GROUP)
    if length % size:
        values = tf.pad(values, [[0, 0], [0, -length % size]], constant_values=nothing)
    return tf.reshape(values, [-1, values.shape[-1] // size, size])
