"""Recurrence on a GPU with TensorFlow: cuDNN's kernels, for every mask.

cuDNN reads rows from their first step to their length. Whatever a mask hides is moved behind what it does not, the real
steps keep their order (or are turned round), and the outputs go back to where their inputs stood. A row without a real
step is run for one step, and what that gives is put aside.

Keras' own way to cuDNN refuses, when it runs, masks that are not of right-padded rows, and rows that are all padding,
which the last batch of an epoch has.

Source: Appleyard et al. 2016, "Optimizing Performance of Recurrent Neural Networks on GPUs"; the layout of the weights
is that of `cudnnGetRNNLinLayerMatrixParams`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

_TAKEN = {tf.bfloat16: tf.float32}
"""What is computed in another type: bfloat16, in which cuDNN took 1.7 times as long as in float32 (TF32), and in which
the same training ended at a loss a fifth higher (decision 17). The weights are rounded to bfloat16 all the same."""


class Kind(NamedTuple):
    """What cuDNN calls a cell.

    Args:
        mode: `rnn_mode`.
        gates: for each gate in cuDNN's order, its place in Keras' order.
    """

    mode: str
    gates: tuple[int, ...]


def kind_of(layer: Any) -> Kind:
    """Returns the kind of a SimpleRNN, LSTM or GRU."""
    if isinstance(layer, keras.layers.LSTM):
        return Kind("lstm", (0, 1, 2, 3))
    if isinstance(layer, keras.layers.GRU):
        return Kind("gru", (1, 0, 2))
    return Kind("rnn_relu" if layer.cell.activation is keras.activations.relu else "rnn_tanh", (0,))


def run_layer(layer: Any, x: Any, states: Sequence[Any], mask: Any, *, training: bool) -> Any:
    """Returns what `keras.layers.RNN.inner_loop` returns: the last output, the outputs, the last states.

    Args:
        layer: SimpleRNN, LSTM or GRU (`reset_after`) with a bias, and the activations of `keras.layers`.
        x: `<float>[B, T, D]`.
        states: `<float>[B, u]` each.
        mask: `<bool>[B, T]` or None. A masked step repeats the output before it, or gives zeros with
            `zero_output_for_mask`; before the first real step there are zeros.
        training: whether dropout is drawn.
    """
    cell, back = layer.cell, layer.go_backwards
    if training and cell.dropout:
        x = x * cell.get_dropout_mask(x[:, 0, :])[:, None, :]
    asked = tf.as_dtype(layer.compute_dtype)  # x may hold whole numbers
    taken = _TAKEN.get(asked, asked)
    x, first = tf.cast(x, taken), [tf.cast(state, taken) for state in states]
    owned = (cell.kernel, cell.recurrent_kernel, cell.bias)
    weights = [tf.cast(tf.convert_to_tensor(weight), taken) for weight in owned]
    packing = None if mask is None else pack(tf.cast(mask, tf.bool), back)
    if packing is None:
        x, lengths = tf.reverse(x, [1]) if back else x, tf.fill([tf.shape(x)[0]], tf.shape(x)[1])
    else:
        x, lengths = packing.packed(x), tf.maximum(packing.lengths, 1)
    outputs, last = _cudnn(layer, x, first, weights, lengths, padded=packing is not None)
    final = last[0]
    if packing is not None:
        last = [tf.where(packing.lengths[:, None] > 0, one, other) for one, other in zip(last, first, strict=True)]
        outputs = packing.unpacked(outputs, zeros=layer.zero_output_for_mask)
        final = outputs[:, -1]
    outputs = outputs if layer.return_sequences else final[:, None]
    return tf.cast(final, asked), tf.cast(outputs, asked), [tf.cast(state, asked) for state in last]


class Packing(NamedTuple):
    """Where the steps of a batch go, and where their outputs come from.

    Args:
        lengths: real steps of each row, `<int32>[B]`.
        order: for each place of a packed row, the step that it holds, `<int32>[B, T]`.
        seen: for each step, in the order in which the layer takes them, how many were real until then, `<int32>[B, T]`.
        real: whether that step is, `<bool>[B, T]`.
    """

    lengths: Any
    order: Any
    seen: Any
    real: Any

    def packed(self, x: Any) -> Any:
        """Returns the steps `[B, T, D]` with the real ones first."""
        return tf.gather(x, self.order, batch_dims=1)

    def unpacked(self, outputs: Any, *, zeros: bool) -> Any:
        """Returns the output of every step, of the outputs of the packed ones: `[B, T, u]` both.

        Args:
            outputs: of the packed steps.
            zeros: whether a masked step gives zeros, and not the output before it.
        """
        found = tf.gather(outputs, tf.maximum(self.seen - 1, 0), batch_dims=1)
        return tf.where((self.real if zeros else self.seen > 0)[:, :, None], found, tf.zeros((), outputs.dtype))


def pack(real: Any, back: bool) -> Packing:
    """Returns how rows are packed.

    Args:
        real: `<bool>[B, T]`.
        back: whether the layer begins with the last step.
    """
    number = tf.cast(real, tf.int32)
    upto = tf.cumsum(number, 1)
    lengths = upto[:, -1]
    steps = tf.range(tf.shape(real)[1])[None, :]
    # Masked steps keep their order behind the real ones, so that the places are those of a permutation.
    among = lengths[:, None] - upto if back else upto - 1
    places = tf.where(real, among, lengths[:, None] + steps - upto)
    seen, taken = (tf.reverse(tf.cumsum(number, 1, reverse=True), [1]), tf.reverse(real, [1])) if back else (upto, real)
    return Packing(lengths, tf.argsort(places, 1), seen, taken)


def parameters(kind: Kind, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """Returns Keras' weights as cuDNN's, `<float>[n]`: the matrices W, those U, the biases of W, those of U.

    Args:
        kind: of the cell.
        kernel: W `[D, g u]`.
        recurrent: U `[u, g u]`.
        bias: b `[g u]`, or `[2, g u]` of a GRU; one that is alone is that of U.
    """
    count = len(kind.gates)
    both = bias if bias.shape.rank == 2 else tf.stack([tf.zeros_like(bias), bias])
    parts = []
    for matrix in (kernel, recurrent):
        gates = tf.split(matrix, count, axis=1)
        parts += [tf.reshape(tf.transpose(gates[place]), (-1,)) for place in kind.gates]
    for row in tf.unstack(both):
        gates = tf.split(row, count)
        parts += [gates[place] for place in kind.gates]
    return tf.concat(parts, 0)


def _cudnn(layer: Any, x: Any, states: Sequence[Any], weights: Sequence[Any], lengths: Any, *, padded: bool) -> Any:
    """Returns the outputs `[B, T, u]` of right-padded rows, and the last states `[B, u]`.

    Rows of one length are handed over time-major, which cuDNN is faster at by more than the transpositions take. Padded
    ones are not: time-major, cuDNN refused them now and then (CUDNN_STATUS_BAD_PARAM, TensorFlow 2.21; decision 17).
    """
    kind, units = kind_of(layer), states[0].shape[-1]
    axis = 1 if padded else 0
    outputs, *last, _, _ = tf.raw_ops.CudnnRNNV3(
        input=x if padded else tf.transpose(x, (1, 0, 2)),
        input_h=tf.expand_dims(states[0], axis),
        input_c=tf.expand_dims(states[1], axis) if len(states) > 1 else tf.zeros((), x.dtype),
        params=parameters(kind, *weights),
        sequence_lengths=lengths,
        rnn_mode=kind.mode,
        is_training=True,
        time_major=not padded,
    )
    outputs = tf.ensure_shape(outputs if padded else tf.transpose(outputs, (1, 0, 2)), [*x.shape[:2], units])
    last = [tf.squeeze(state, axis) for state in last[: len(states)]]
    return outputs, [tf.ensure_shape(state, (x.shape[0], units)) for state in last]
