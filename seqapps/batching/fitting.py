"""The batches of a split as one data set for Keras' `fit`, in which every pass is the next epoch."""

from __future__ import annotations

from itertools import count
from typing import Any

import tensorflow as tf

from seqapps.batching import Batches


def for_fit(batches: Batches) -> tf.data.Dataset:
    """Returns `(x, y, weights)` with the structure that Keras' `fit` and losses take.

    A pass over the data set is an epoch: pass `n` has the order of epoch `n`, so that a shuffled split is shuffled anew
    for every epoch of `fit`. Its cardinality is known.

    x is the dictionary of inputs, or the input itself where there is one. The weights weigh values of a loss, and
    Keras' losses reduce the last axis: numbers that have a weight each get a last axis of length 1.
    """
    passes, structure = count(), batches.dataset(0).element_spec

    def next_epoch() -> Any:
        return tf.data.experimental.to_variant(batches.dataset(next(passes)))

    def epoch(_: Any) -> tf.data.Dataset:
        # Python is entered once for each pass; the batches themselves are made by TensorFlow's threads.
        made = tf.ensure_shape(tf.py_function(next_epoch, [], tf.variant), ())
        return tf.data.experimental.from_variant(made, structure)

    dataset = tf.data.Dataset.range(1).flat_map(epoch).map(_for_losses)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(batches.steps))
    options = tf.data.Options()
    options.autotune.enabled = False  # see `prefetch`
    return dataset.with_options(options)


def _for_losses(x: dict[str, Any], y: Any, weights: Any) -> tuple[Any, Any, Any]:
    if y.dtype.is_floating and y.shape.rank == weights.shape.rank:
        y = y[..., None]
    return next(iter(x.values())) if len(x) == 1 else x, y, weights
