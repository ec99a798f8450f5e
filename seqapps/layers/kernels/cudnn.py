"""Recurrent layers on a GPU: cuDNN's kernels, with any mask, including fully padded examples.

cuDNN reads rows from their first step to their length. Masked steps are moved behind the real ones, which keep their
order (or are reversed), and the outputs are scattered back to the positions of their inputs. A row without a real step
is run for one step, and the result is discarded.

Keras' own cuDNN path rejects at run time masks that are not right-padded, and fully padded rows, which the last batch
of an epoch has.

Source: Appleyard et al. 2016, "Optimizing Performance of Recurrent Neural Networks on GPUs"; the layout of the weights
is that of `cudnnGetRNNLinLayerMatrixParams`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

_TAKEN = {tf.bfloat16: tf.float32}
"""Types computed in another one: bfloat16, in which cuDNN took 1.7 times as long as in float32 (TF32), and in which the
same training ended at a loss a fifth higher (decision 17). The weights are still rounded to bfloat16."""


class Kind(NamedTuple):
    """A cell in cuDNN's terms.

    Args:
        mode: `rnn_mode`.
        gates: for each gate in cuDNN's order, its index in Keras' order.
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
        mask: `<bool>[B, T]` or None. A masked step repeats the previous output, or outputs zeros with
            `zero_output_for_mask`; outputs before the first real step are zeros.
        training: whether dropout is applied.
    """
    cell, back = layer.cell, layer.go_backwards
    if training and cell.dropout:
        x = x * cell.get_dropout_mask(x[:, 0, :])[:, None, :]
    asked = tf.as_dtype(layer.compute_dtype)  # x may hold integers
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
    """The permutation of a batch's steps that moves the real ones first, and its inverse.

    Args:
        lengths: real steps of each row, `<int32>[B]`.
        order: for each position of a packed row, the index of its step, `<int32>[B, T]`.
        seen: number of real steps up to each step, in the layer's reading order, `<int32>[B, T]`.
        real: whether that step is real, `<bool>[B, T]`.
    """

    lengths: Any
    order: Any
    seen: Any
    real: Any

    def packed(self, x: Any) -> Any:
        """Returns the steps `[B, T, D]` with the real ones first."""
        return tf.gather(x, self.order, batch_dims=1)

    def unpacked(self, outputs: Any, *, zeros: bool) -> Any:
        """Returns the outputs of packed steps in the original order, `[B, T, u]` both.

        Args:
            outputs: of the packed steps.
            zeros: whether a masked step outputs zeros instead of repeating the previous output.
        """
        found = tf.gather(outputs, tf.maximum(self.seen - 1, 0), batch_dims=1)
        return tf.where((self.real if zeros else self.seen > 0)[:, :, None], found, tf.zeros((), outputs.dtype))


def pack(real: Any, back: bool) -> Packing:
    """Returns the packing of a mask.

    Args:
        real: `<bool>[B, T]`.
        back: whether the layer reads from the last step to the first.
    """
    number = tf.cast(real, tf.int32)
    upto = tf.cumsum(number, 1)
    lengths = upto[:, -1]
    steps = tf.range(tf.shape(real)[1])[None, :]
    # Masked steps keep their order behind the real ones: the indices form a permutation.
    among = lengths[:, None] - upto if back else upto - 1
    places = tf.where(real, among, lengths[:, None] + steps - upto)
    seen, taken = (tf.reverse(tf.cumsum(number, 1, reverse=True), [1]), tf.reverse(real, [1])) if back else (upto, real)
    return Packing(lengths, tf.argsort(places, 1), seen, taken)


def parameters(kind: Kind, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """Returns Keras' weights in cuDNN's layout, `<float>[n]`: all W, all U, the biases of W, those of U.

    Args:
        kind: of the cell.
        kernel: W `[D, g u]`.
        recurrent: U `[u, g u]`.
        bias: b `[g u]`, or `[2, g u]` of a GRU; a single one is that of U.
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

    Unpadded rows are passed time-major: cuDNN's gain exceeds the cost of the transpositions. Padded ones are not:
    time-major, cuDNN failed on them occasionally (CUDNN_STATUS_BAD_PARAM, TensorFlow 2.21; decision 17).
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
