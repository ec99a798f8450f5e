"""Conditions of a generated text, a label or numbers, as a vector. Pure Keras."""

from __future__ import annotations

from typing import Any

import keras

from seqapps.layers import checked, seeded
from seqapps.seeds import seed_of


@keras.saving.register_keras_serializable("seqapps")
class LabelCode(keras.layers.Layer):  # type: ignore[misc]
    """An embedding of labels, in which a label that was not seen in training has the zero vector.

        y = C[label] for label >= 0,    y = 0 otherwise

    Differs from `keras.layers.Embedding`, where a negative id counts from the end.

    Source: Bengio et al. 2003, "A Neural Probabilistic Language Model", section 2 (vectors of symbols).

    Args:
        labels: int: number of labels.
        size: int, C: size of a vector.
        seed: int, default 0: of the initial vectors, together with the layer's name: the same in every process.
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        label: `<int>[B]`, below `labels`.

    Returns:
        `<float>[B, C]`.

    Raises:
        ValueError: `labels` or `size` is below 1.

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> codes = layers.LabelCode(3, 2)(np.array([0, -1]))
        >>> codes.shape, bool(np.all(codes[1] == 0))
        (TensorShape([2, 2]), True)
    """

    def __init__(self, labels: int, size: int, *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        checked.positive("labels", labels)
        checked.positive("size", size)
        self.labels, self.size, self.seed = labels, size, seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the vectors `<float32>[labels, size]`."""
        begin = seeded.initializer("glorot_uniform", seed_of(self.seed, self.name), "codes")
        self.codes = self.add_weight(shape=(self.labels, self.size), initializer=begin, name="codes")

    def call(self, label: Any) -> Any:
        """`<int32>[B] -> <float32>[B, size]`."""
        label = keras.ops.cast(label, "int32")  # Keras' own embedding takes ids of any type
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
