"""What a text is written for, as a vector: a label or numbers. Pure Keras."""

from __future__ import annotations

from typing import Any

import keras

from seqapps.layers import seeded
from seqapps.seeds import seed_of


@keras.saving.register_keras_serializable("seqapps")
class LabelCode(keras.layers.Layer):  # type: ignore[misc]
    """A vector for each label; the zero vector for a label below 0, which training has not seen.

    Args:
        labels: how many there are.
        size: of a vector.
        seed: with the layer's name, of the vectors at first.
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
    """Returns a sequence with a vector beside each of its steps: `[B, T, D], [B, C] -> [B, T, D + C]`."""
    # A product: Keras takes the sum of [1, 1, C] and [1, C, 1] for that of a tensor and a bias.
    repeated = code[:, None, :] * keras.ops.ones_like(x[:, :, :1])
    return keras.ops.concatenate([x, repeated], axis=-1)
