"""Adapter between Keras layers and the kernels, with Keras' semantics of masked steps."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from seqapps.layers import kernels


def run_layer(layer: Any, x: Any, states: list[Any], mask: Any, *, training: bool) -> Any:
    """Returns what `keras.layers.RNN.inner_loop` returns: the last output, the outputs, the last states.

    Args:
        layer: SimpleRNN, LSTM or GRU whose `obstacle()` is empty.
        x: `<float>[B, T, D]`; half precision is computed in float32, with weights that were rounded to it.
        states: `<float>[B, u]` each.
        mask: `<bool>[B, T]` or None. A masked step repeats the previous output, or outputs zeros with
            `zero_output_for_mask`; outputs before the first real step are zeros.
        training: whether dropout is applied and gradients are needed.
    """
    cell = layer.cell
    if training and cell.dropout:
        x = x * cell.get_dropout_mask(x[:, 0, :])[:, None, :]
    real = None if mask is None else tf.cast(mask, tf.bool)[:, :, None]
    asked = layer.compute_dtype  # x may hold integers
    x, states = tf.cast(x, tf.float32), [tf.cast(state, tf.float32) for state in states]
    outputs, last = _kernel(layer, x, states, real, training)
    back = layer.go_backwards
    final = last[0]
    if real is not None:
        seen = tf.cumsum(tf.cast(real, tf.int32), 1, reverse=back) > 0
        valid = real if layer.zero_output_for_mask else seen
        final = tf.where(valid[:, 0 if back else -1], final, 0.0)
        if layer.return_sequences:
            outputs = tf.where(valid, outputs, 0.0)
    final, last = tf.cast(final, asked), [tf.cast(state, asked) for state in last]
    if not layer.return_sequences:
        return final, final[:, None, :], last
    return final, tf.cast(tf.reverse(outputs, [1]) if back else outputs, asked), last


def _kernel(layer: Any, x: Any, states: list[Any], mask: Any, keep: bool) -> Any:
    cell = layer.cell
    owned = (cell.kernel, cell.recurrent_kernel, cell.bias)
    weights = [tf.cast(tf.convert_to_tensor(weight), tf.float32) for weight in owned]
    options = {"reverse": layer.go_backwards, "beside": layer.beside}
    if isinstance(layer, keras.layers.LSTM):
        return kernels.lstm(x, states, weights, mask, keep=keep, **options)
    if isinstance(layer, keras.layers.GRU):
        return kernels.gru(x, states, weights, mask, keep=keep, reset_after=cell.reset_after, **options)
    rectified = cell.activation is keras.activations.relu
    return kernels.simple_rnn(x, states, weights, mask, rectified=rectified, **options)
