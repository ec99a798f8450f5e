"""Conditions of a generated text, a label or numbers, as a vector. Pure Keras."""

from __future__ import annotations

from typing import Any

import keras

from seqapps.layers import seeded
from seqapps.seeds import seed_of


@keras.saving.register_keras_serializable("seqapps")
class LabelCode(keras.layers.Layer):  # type: ignore[misc]
    """An embedding of labels; a label below 0, unseen in training, has the zero vector.

    Args:
        labels: number of labels.
        size: of a vector.
        seed: of the initial vectors, together with the layer's name.
    """

    def __init__(self, labels: int, size: int, *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.labels, self.size, self.seed = labels, size, seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the vectors `<float32>[labels, size]`."""
        begin = seeded.initializer("glorot_uniform", seed_of(self.seed, self.name), "codes")
        self.codes = self.add_weight(shape=(self.labels, self.size), initializer=begin, name="codes")

    def call(self, label: Any) -> Any:
        """`<int32>[B] -> <float32>[B, size]`."""
        found = keras.ops.take(self.codes, keras.ops.maximum(label, 0), axis=0)
        return keras.ops.cast(found, self.compute_dtype) * keras.ops.cast(label >= 0, self.compute_dtype)[:, None]

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {**super().get_config(), "labels": self.labels, "size": self.size, "seed": self.seed}


def beside_every_step(x: Any, code: Any) -> Any:
    """Returns a sequence with a vector concatenated to each step: `[B, T, D], [B, C] -> [B, T, D + C]`."""
    # A product: Keras mistakes the sum of [1, 1, C] and [1, C, 1] for adding a bias to a tensor.
    repeated = code[:, None, :] * keras.ops.ones_like(x[:, :, :1])
    return keras.ops.concatenate([x, repeated], axis=-1)
