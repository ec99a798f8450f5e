"""Layers that reshape a sentence's words into separate rows of characters, and their vectors back to sentences."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("seqapps")
class WordsAsRows(keras.layers.Layer):  # type: ignore[misc]
    """`[B, T, C] -> [B T, C]`: every word becomes a row."""

    def call(self, x: Any) -> Any:
        """`<int32>[B, T, C] -> <int32>[B T, C]`."""
        return keras.ops.reshape(x, (-1, keras.ops.shape(x)[2]))

    def compute_output_spec(self, x: Any) -> Any:
        """Axes: words, characters."""
        return keras.KerasTensor((None, x.shape[2]), x.dtype)


@keras.saving.register_keras_serializable("seqapps")
class RowsAsWords(keras.layers.Layer):  # type: ignore[misc]
    """`[B T, D] -> [B, T, D]`: regroups the vectors of words by sentence, 0 on padding."""

    def call(self, x: Any, real: Any) -> Any:
        """`<float>[B T, D], <bool>[B, T] -> <float>[B, T, D]`."""
        rows, steps = keras.ops.shape(real)[0], keras.ops.shape(real)[1]
        words = keras.ops.reshape(x, (rows, steps, x.shape[-1]))
        return words * keras.ops.cast(real, x.dtype)[:, :, None]

    def compute_output_spec(self, x: Any, real: Any) -> Any:
        """Axes: sentences, words, vector."""
        return keras.KerasTensor((*real.shape, x.shape[-1]), x.dtype)
