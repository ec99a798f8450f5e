"""Pooling of a sequence of states to one vector: last state, mean, maximum, or attention.

Padding is ignored at any position. A fully padded row returns zeros.
"""

from __future__ import annotations

from typing import Any

import keras

from seqapps.layers import checked, seeded
from seqapps.seeds import seed_of

POOLINGS = ("last", "mean", "max", "attention")


def last_state(states: list[Any], cell_states: int) -> Any:
    """Returns the state after the last real step, both directions concatenated, `<float>[B, D or 2 D]`.

    Args:
        states: a layer's last states: h (and c of an LSTM) of the forward direction, then of the backward one.
        cell_states: number of states of one direction.
    """
    hidden = states[::cell_states]
    return hidden[0] if len(hidden) == 1 else keras.ops.concatenate(hidden, axis=-1)


def masked_mean(x: Any, mask: Any) -> Any:
    """Returns the mean over the real steps. `<float>[B, T, D], <bool>[B, T] -> <float>[B, D]`."""
    real = keras.ops.cast(mask, "float32")[:, :, None]
    total = keras.ops.sum(keras.ops.cast(x, "float32") * real, axis=1)
    return keras.ops.cast(total / keras.ops.maximum(keras.ops.sum(real, axis=1), 1.0), x.dtype)


def masked_max(x: Any, mask: Any) -> Any:
    """Returns the largest value of each feature over the real steps. `<float>[B, T, D], <bool>[B, T] -> <float>[B, D]`.

    `keras.layers.GlobalMaxPooling1D` includes padding.
    """
    largest = keras.ops.max(keras.ops.where(mask[:, :, None], x, _lowest(x)), axis=1)
    return keras.ops.where(keras.ops.any(mask, axis=1)[:, None], largest, keras.ops.zeros_like(largest))


@keras.saving.register_keras_serializable("seqapps")
class AttentionPooling(keras.layers.Layer):  # type: ignore[misc]
    """The mean of a sequence over its real steps, with learned attention weights.

        u_t = tanh(W h_t + b),    a = softmax(v . u),    s = sum_t a_t h_t

    Keras has no such layer; `keras.layers.GlobalAveragePooling1D` weights all steps equally. A row that is all padding
    gives zeros.

    Source: Yang et al. 2016, "Hierarchical Attention Networks for Document Classification", eq. 5 to 7.

    Args:
        units: int, U: size of u.
        seed: int, default 0: of the initial weights, together with the layer's name: the same in every process.
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        x: `<float>[B, T, D]`.
        real: `<bool>[B, T]`, True on real steps; default None: the mask that x carries, that of `Masking` or
            `Embedding(mask_zero=True)`, if any.

    Returns:
        The mean `<float>[B, D]` and the weights `<float32>[B, T]`, which sum to 1 over the real steps.

    Raises:
        ValueError: `units` is below 1.

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> x, real = np.ones((1, 3, 2), "float32"), np.array([[True, True, False]])
        >>> mean, weights = layers.AttentionPooling(4)(x, real)
        >>> mean.numpy().tolist(), weights.numpy().tolist()
        ([[1.0, 1.0]], [[0.5, 0.5, 0.0]])
    """

    def __init__(self, units: int, *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        checked.positive("units", units)
        self.units, self.seed = units, seed

    def build(self, x_shape: tuple[int | None, ...], real_shape: tuple[int | None, ...] | None = None) -> None:
        """Makes W `<float32>[D, U]`, b `<float32>[U]` and v `<float32>[U, 1]`."""
        own = seed_of(self.seed, self.name)

        def drawn(shape: tuple[int | None, ...], name: str) -> Any:
            begin = seeded.initializer("glorot_uniform", own, name)
            return self.add_weight(shape=shape, initializer=begin, name=name)

        self.kernel = drawn((x_shape[-1], self.units), "kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")
        self.context = drawn((self.units, 1), "context")

    def call(self, x: Any, real: Any = None, mask: Any = None) -> tuple[Any, Any]:
        """Returns the mean and the weights: `<float>[B, T, D], <bool>[B, T] -> <float>[B, D], <float32>[B, T]`.

        `mask` is filled in by Keras: the mask that x carries, for calls without `real`.
        """
        real = mask if real is None else real
        real = keras.ops.ones_like(x[:, :, 0], "bool") if real is None else keras.ops.cast(real, "bool")
        hidden = keras.ops.tanh(keras.ops.matmul(x, self.kernel) + self.bias)
        scores = keras.ops.cast(keras.ops.matmul(hidden, self.context)[:, :, 0], "float32")
        scores = keras.ops.where(real, scores, _lowest(scores))
        shares = keras.ops.exp(scores - keras.ops.max(scores, axis=1, keepdims=True)) * keras.ops.cast(real, "float32")
        weights = shares / keras.ops.maximum(keras.ops.sum(shares, axis=1, keepdims=True), 1e-30)
        return keras.ops.sum(x * keras.ops.cast(weights, x.dtype)[:, :, None], axis=1), weights

    def compute_output_spec(self, x: Any, real: Any = None, mask: Any = None) -> tuple[Any, Any]:
        """Returns the shapes of the mean and of the weights."""
        mean = keras.KerasTensor((x.shape[0], x.shape[-1]), dtype=self.compute_dtype)
        return mean, keras.KerasTensor(x.shape[:2], dtype="float32")

    def compute_mask(self, *_: Any) -> None:
        """The results have no time steps."""

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {**super().get_config(), "units": self.units, "seed": self.seed}


def _lowest(x: Any) -> Any:
    """Returns a number below all states, finite in every float type."""
    return keras.ops.cast(-3e4, x.dtype)
