"""Layers that reshape a sentence's words into separate rows of characters, and their vectors back to sentences."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("seqapps")
class WordsAsRows(keras.layers.Layer):  # type: ignore[misc]
    """Makes a row of every word of a batch of sentences.

        y[b T + t] = x[b, t]

    Differs from `keras.layers.Reshape`, which keeps the batch axis.

    Source: Ma & Hovy 2016, "End-to-end Sequence Labeling via Bi-directional LSTM-CNNs-CRF", section 2.1 (a network over
    the characters of each word); Lample et al. 2016, "Neural Architectures for Named Entity Recognition", section 4.1.

    Args:
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        x: the characters of words, `<int>[B, T, C]`.

    Returns:
        `<int>[B T, C]`.

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> layers.WordsAsRows()(np.array([[[5, 6], [7, 0]]])).numpy().tolist()
        [[5, 6], [7, 0]]
    """

    def call(self, x: Any) -> Any:
        """`<int32>[B, T, C] -> <int32>[B T, C]`."""
        return keras.ops.reshape(x, (-1, keras.ops.shape(x)[2]))

    def compute_output_spec(self, x: Any) -> Any:
        """Axes: words, characters."""
        return keras.KerasTensor((None, x.shape[2]), x.dtype)


@keras.saving.register_keras_serializable("seqapps")
class RowsAsWords(keras.layers.Layer):  # type: ignore[misc]
    """Regroups the vectors of words by sentence: the inverse of `WordsAsRows`, with zeros on padding.

        y[b, t] = x[b T + t] where `real`, otherwise 0

    Differs from `keras.layers.Reshape`, which keeps the batch axis.

    Source: as of `WordsAsRows`.

    Args:
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        x: `<float>[B T, D]`.
        real: `<bool>[B, T]`, True on words.

    Returns:
        `<float>[B, T, D]`.

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> x, real = np.array([[1.0], [2.0], [3.0], [4.0]], "float32"), np.array([[True, True], [True, False]])
        >>> layers.RowsAsWords()(x, real).numpy().tolist()
        [[[1.0], [2.0]], [[3.0], [0.0]]]
    """

    def call(self, x: Any, real: Any) -> Any:
        """`<float>[B T, D], <bool>[B, T] -> <float>[B, T, D]`."""
        rows, steps = keras.ops.shape(real)[0], keras.ops.shape(real)[1]
        words = keras.ops.reshape(x, (rows, steps, x.shape[-1]))
        return words * keras.ops.cast(real, x.dtype)[:, :, None]

    def compute_output_spec(self, x: Any, real: Any) -> Any:
        """Axes: sentences, words, vector."""
        return keras.KerasTensor((*real.shape, x.shape[-1]), x.dtype)
