"""Layers of a stack that reads a row from both sides: hidden words, rows turned round, and the shift by one."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from seqapps.layers import seeded
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD

CONTEXT = "context"
"""Name of the layer whose output, `<float>[B, T, D]`, is all that is known of a word from the others."""


@keras.saving.register_keras_serializable("seqapps")
class Blanks(keras.layers.Layer):  # type: ignore[misc]
    """Puts the blank in the place of some words, in training alone. Markers and padding stay.

    Args:
        rate: share of the words that are hidden.
        blank: id of the blank.
        seed: with the layer's name, of what is hidden.
    """

    def __init__(self, rate: float, blank: int, *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
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
    """Turns the words of each row round, and leaves the padding after them where it is. Twice gives the row again."""

    def call(self, x: Any, real: Any) -> Any:
        """`<any>[B, T, ...]` and `<bool>[B, T]`, True on words, to `<any>[B, T, ...]`."""
        return tf.reverse_sequence(x, tf.math.count_nonzero(real, axis=1, dtype=tf.int32), seq_axis=1)

    def compute_output_spec(self, x: Any, real: Any) -> Any:
        """The shape and the type stay."""
        return keras.KerasTensor(x.shape, x.dtype)


def after_marker(tokens: Any, marker: int) -> Any:
    """Returns a row that begins with `marker` and lacks its last unit: at t stands what was read before t.

    `<int32>[B, T] -> <int32>[B, T]`.
    """
    first = keras.ops.full_like(tokens[:, :1], marker)
    return keras.ops.concatenate([first, tokens[:, :-1]], axis=1)
