"""Layers of a two-sided model: masking words, reversing rows, and shifting rows by one step."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from seqapps.layers import seeded
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD

CONTEXT = "context"
"""Name of the layer whose output, `<float>[B, T, D]`, encodes the context of each word."""


@keras.saving.register_keras_serializable("seqapps")
class Blanks(keras.layers.Layer):  # type: ignore[misc]
    """Replaces some words by the blank, in training only. Markers and padding are kept.

    Args:
        rate: share of the words that are hidden.
        blank: id of the blank.
        seed: of the random choice, together with the layer's name.
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
    """Reverses the words of each row and leaves the padding at its end in place. It is its own inverse."""

    def call(self, x: Any, real: Any) -> Any:
        """`<any>[B, T, ...]` and `<bool>[B, T]`, True on words, to `<any>[B, T, ...]`."""
        return tf.reverse_sequence(x, tf.math.count_nonzero(real, axis=1, dtype=tf.int32), seq_axis=1)

    def compute_output_spec(self, x: Any, real: Any) -> Any:
        """Shape and type are unchanged."""
        return keras.KerasTensor(x.shape, x.dtype)


def after_marker(tokens: Any, marker: int) -> Any:
    """Returns rows shifted right by one step, beginning with `marker`: position t holds token t - 1.

    `<int32>[B, T] -> <int32>[B, T]`.
    """
    first = keras.ops.full_like(tokens[:, :1], marker)
    return keras.ops.concatenate([first, tokens[:, :-1]], axis=1)
