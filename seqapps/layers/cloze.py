"""Layers of a cloze model: masking words, reversing rows, and shifting rows by one step."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from seqapps.layers import checked, seeded
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD

CONTEXT = "context"
"""Name of the layer whose output, `<float>[B, T, D]`, encodes the context of each word."""


@keras.saving.register_keras_serializable("seqapps")
class Blanks(keras.layers.Layer):  # type: ignore[misc]
    """Replaces some words by the blank, in training only.

        id'_t = blank with probability `rate`, if id_t is a word;    id'_t = id_t otherwise

    Keras has no such layer. The markers of seqapps' vocabularies, `<pad>` 0, `<bos>` 2 and `<eos>` 3, are kept.

    Source: Taylor 1953, "Cloze Procedure: A New Tool for Measuring Readability"; Devlin et al. 2019, "BERT", section
    3.1, in which a part of the words that are chosen is kept or replaced by others instead.

    Args:
        rate: float in [0, 1): share of the words that are hidden.
        blank: int: id of the blank.
        seed: int, default 0: of the random choice, together with the layer's name: the same in every process.
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        tokens: `<int>[B, T]`.
        training: bool, default False: whether words are hidden.

    Returns:
        `<int>[B, T]`.

    Raises:
        ValueError: `rate` is not in [0, 1).

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> layers.Blanks(0.99, blank=4)(np.array([[2, 7, 8, 3, 0]]), training=True).numpy().tolist()
        [[2, 4, 4, 3, 0]]
    """

    def __init__(self, rate: float, blank: int, *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        checked.share("rate", rate)
        self.supports_masking = True
        self.rate, self.blank, self.seed = rate, blank, seed
        self.seed_generator = seeded.generator(seed, self.name)

    def call(self, tokens: Any, training: bool = False) -> Any:
        """`<int32>[B, T] -> <int32>[B, T]`."""
        if not training:
            return tokens
        ops = keras.ops
        drawn = keras.random.uniform(ops.shape(tokens), dtype="float32", seed=self.seed_generator) < self.rate
        for special in (PAD, BEGIN, END):
            drawn = ops.logical_and(drawn, tokens != special)
        return ops.where(drawn, ops.full_like(tokens, self.blank), tokens)

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {**super().get_config(), "rate": self.rate, "blank": self.blank, "seed": self.seed}


@keras.saving.register_keras_serializable("seqapps")
class ReverseWords(keras.layers.Layer):  # type: ignore[misc]
    """Reverses the words of each row and leaves the padding at its end in place. It is its own inverse.

        y_t = x_{n - 1 - t} for t < n, y_t = x_t otherwise; n is the number of words

    Differs from `go_backwards` of Keras' layers and `keras.ops.flip`, which move the padding to the front.

    Source: Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks", section 3.3 (reversed inputs).

    Args:
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        x: `<any>[B, T, ...]`.
        real: `<bool>[B, T]`, True on words, which come first.

    Returns:
        `<any>[B, T, ...]`, with the mask of x.

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> ids = np.array([[5, 6, 7, 0]])
        >>> layers.ReverseWords()(ids, ids != 0).numpy().tolist()
        [[7, 6, 5, 0]]
    """

    def call(self, x: Any, real: Any) -> Any:
        """`<any>[B, T, ...]` and `<bool>[B, T]`, True on words, to `<any>[B, T, ...]`."""
        return tf.reverse_sequence(x, tf.math.count_nonzero(real, axis=1, dtype=tf.int32), seq_axis=1)

    def compute_output_spec(self, x: Any, real: Any) -> Any:
        """Shape and type are unchanged."""
        return keras.KerasTensor(x.shape, x.dtype)

    def compute_mask(self, x: Any, previous_mask: Any = None) -> Any:
        """The mask of x: padding stays where it is."""
        return previous_mask


def after_marker(tokens: Any, marker: int) -> Any:
    """Returns rows shifted right by one step, beginning with `marker`: position t holds token t - 1.

    `<int32>[B, T] -> <int32>[B, T]`.
    """
    first = keras.ops.full_like(tokens[:, :1], marker)
    return keras.ops.concatenate([first, tokens[:, :-1]], axis=1)
