"""Gathering rows of a matrix, with a sparse gradient."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def dense(places: Any) -> bool:
    """Returns whether places are a plain tensor: neither sparse nor ragged."""
    return not isinstance(places, tf.SparseTensor | tf.RaggedTensor)


def rows(matrix: Any, places: Any) -> Any:
    """Returns rows of a matrix, `<float>[V, D], <int>[...] -> <float>[..., D]`; their gradient: `tf.IndexedSlices`.

    A negative place counts from the end, as in `keras.ops.take`.
    """
    places = places if places.dtype in (tf.int32, tf.int64) else tf.cast(places, tf.int32)
    return tf.gather(matrix, tf.where(places < 0, places + tf.cast(matrix.shape[0], places.dtype), places))
