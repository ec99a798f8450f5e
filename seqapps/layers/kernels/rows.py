"""Gathering rows of a matrix, with a sparse gradient."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def rows(matrix: Any, places: Any) -> Any:
    """Returns rows of a matrix, `<float>[V, D], <int>[...] -> <float>[..., D]`; their gradient: `tf.IndexedSlices`."""
    places = places if places.dtype.is_integer else tf.cast(places, tf.int32)
    return tf.gather(matrix, places)
