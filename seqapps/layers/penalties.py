"""Penalties that a layer adds to the training loss (`model.losses`). Pure Keras."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("seqapps")
class ActivationPenalty(keras.layers.Layer):  # type: ignore[misc]
    """Returns a sequence unchanged; in training adds a * mean(dropped^2) + b * mean((h_t - h_{t-1})^2) to the loss.

    The means are over units and real steps, and over pairs of neighbouring real steps.

    Source: Merity et al. 2017, "Regularizing and Optimizing LSTM Language Models", sec. 4.6 (activation and temporal
    activation regularization: AR and TAR).

    Args:
        activation, temporal: a and b.
    """

    def __init__(self, activation: float, temporal: float, **options: Any) -> None:
        super().__init__(**options)
        self.activation, self.temporal = activation, temporal
        self.supports_masking = True

    def call(self, dropped: Any, outputs: Any, real: Any = None, training: bool = False) -> Any:
        """Returns `dropped`: `outputs <float>[B, T, D]` after dropout. `real <bool>[B, T]`; None counts all steps."""
        if not training:
            return dropped
        ops = keras.ops
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

    def compute_mask(self, *_: Any) -> None:
        """Propagates no implicit mask: masks are explicit arguments."""

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {**super().get_config(), "activation": self.activation, "temporal": self.temporal}


def _mean_square(x: Any, real: Any) -> Any:
    squares = keras.ops.mean(keras.ops.square(keras.ops.cast(x, "float32")), axis=-1)
    return keras.ops.sum(squares * real) / keras.ops.maximum(keras.ops.sum(real), 1.0)
