"""Forecasts: loss functions and prediction. y is `<float32>[B, P, V]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

_BATCH = 1_024


# ---- losses


def squared_error(outputs: Mapping[str, Any], y: Any) -> Any:
    """Returns (y - f)^2, `<float32>[B, P, V]`: the mean is forecast."""
    return tf.square(_apart(outputs, y)[..., 0])


def absolute_error(outputs: Mapping[str, Any], y: Any) -> Any:
    """Returns |y - f|, `<float32>[B, P, V]`: the median is forecast."""
    return tf.abs(_apart(outputs, y)[..., 0])


def pinball_loss(levels: Sequence[float], outputs: Mapping[str, Any], y: Any) -> Any:
    """Returns the mean over the levels q of max(q (y - f), (q - 1) (y - f)), `<float32>[B, P, V]`.

    Source: Koenker & Bassett 1978, "Regression Quantiles", eq. 3.1.
    """
    apart, q = _apart(outputs, y), tf.constant(levels, tf.float32)
    return tf.reduce_mean(tf.maximum(q * apart, (q - 1.0) * apart), axis=-1)


def _apart(outputs: Mapping[str, Any], y: Any) -> Any:
    return y[..., None] - tf.cast(outputs["forecast"], tf.float32)


# ---- prediction


class Predictor:
    """Computes the forecasts of models; caches the last model's graph, for evaluation after every epoch."""

    def __init__(self) -> None:
        self._model: keras.Model | None = None
        self._graph: Any = None

    def __call__(self, model: keras.Model, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Returns `<float32>[N, P, V, Q]` in standard units.

        Args:
            model: with an output `forecast`.
            inputs: every input of the model, `[N, ...]`.
        """
        if model is not self._model:
            signature = {t.name: tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in model.inputs}
            self._model = model
            self._graph = tf.function(
                lambda x: model(x, training=False)["forecast"], input_signature=[signature], autograph=False
            )
        rows = len(inputs["history"])
        parts = [
            self._graph({name: tf.constant(values[low : low + _BATCH]) for name, values in inputs.items()}).numpy()
            for low in range(0, rows, _BATCH)
        ]
        shape = model.outputs[0].shape[1:]
        return np.concatenate(parts) if parts else np.zeros((0, *shape), np.float32)
