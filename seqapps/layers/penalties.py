"""Penalties that a layer adds to the training loss (`model.losses`). Pure Keras."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("seqapps")
class ActivationPenalty(keras.layers.Layer):  # type: ignore[misc]
    """Returns a sequence unchanged; in training it adds penalties of its size and of its changes to the loss.

        loss += a * mean(dropped^2) + b * mean((h_t - h_{t-1})^2)

    The means are over units and real steps, and over pairs of neighbouring real steps. Differs from
    `keras.layers.ActivityRegularization`: padding is not counted, and there is the penalty of changes.

    Source: Merity et al. 2017, "Regularizing and Optimizing LSTM Language Models", section 4.6 (activation and temporal
    activation regularization: AR and TAR).

    Args:
        activation: float, a.
        temporal: float, b.
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        dropped: the sequence after dropout, `<float>[B, T, D]`.
        outputs: the sequence h before dropout, `<float>[B, T, D]`.
        real: `<bool>[B, T]`, True on real steps; default None: the mask that `dropped` carries, that of `Masking` or
            `Embedding(mask_zero=True)`, if any.
        training: bool, default False: whether the penalties are added.

    Returns:
        `dropped`.

    Raises:
        ValueError: a weight is negative.

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> layer = layers.ActivationPenalty(2.0, 1.0)
        >>> x = np.array([[[1.0], [3.0]]], "float32")
        >>> outputs = layer(x, x, training=True)
        >>> [float(loss) for loss in layer.losses]
        [10.0, 4.0]
    """

    def __init__(self, activation: float, temporal: float, **options: Any) -> None:
        super().__init__(**options)
        if min(activation, temporal) < 0:
            raise ValueError(f"Weights of penalties are not negative. Received: {activation} and {temporal}")
        self.activation, self.temporal = activation, temporal
        self.supports_masking = True

    def call(
        self, dropped: Any, outputs: Any, real: Any = None, dropped_mask: Any = None, training: bool = False
    ) -> Any:
        """Returns `dropped`; arguments: see the class. Keras fills in `dropped_mask`, for calls without `real`."""
        if not training:
            return dropped
        ops = keras.ops
        real = dropped_mask if real is None else real
        real = ops.ones_like(outputs[:, :, 0]) if real is None else real
        real = ops.cast(real, "float32")
        if self.activation:
            self.add_loss(self.activation * _mean_square(dropped, real))
        if self.temporal:
            changes = outputs[:, 1:] - outputs[:, :-1]
            self.add_loss(self.temporal * _mean_square(changes, real[:, 1:] * real[:, :-1]))
        return dropped

    def compute_output_shape(self, dropped_shape: Any, outputs_shape: Any, real_shape: Any = None) -> Any:
        """Returns the shape of the sequence."""
        return dropped_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {**super().get_config(), "activation": self.activation, "temporal": self.temporal}


def _mean_square(x: Any, real: Any) -> Any:
    squares = keras.ops.mean(keras.ops.square(keras.ops.cast(x, "float32")), axis=-1)
    return keras.ops.sum(squares * real) / keras.ops.maximum(keras.ops.sum(real), 1.0)
