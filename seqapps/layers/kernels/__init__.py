"""Recurrent kernels for CPUs: three cells, forward and backward passes, compiled by XLA. (For GPUs: `cudnn`.)

    x W of all time steps is one matrix product before the loop; the loop computes one product and the gates; the
    weight gradients are one product each after it; the rows of a batch are split into as many loops as there are
    cores.

Functions take sequences `x <float32>[B, T, D]` and a `mask <bool>[B, T, 1]` or None, and the weights in the layout of
Keras. They return the output of every step `<float32>[B, T, u]` and the last states `<float32>[B, u]`. A masked step
passes the states through unchanged. `reverse` begins at the last step; outputs keep the positions of their inputs.
`keep` stores intermediate values for the gradient: without it the gradient runs a second forward pass. `beside` is the
number of recurrences that run concurrently.

They implement the first derivative. Higher ones are derivatives of `plain`, a loop of TensorFlow's operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from seqapps.layers.kernels import gru as _gru
from seqapps.layers.kernels import lstm as _lstm
from seqapps.layers.kernels import simple_rnn as _simple_rnn
from seqapps.layers.kernels._loops import (
    Steps,
    before,
    column_sums,
    filled_rows,
    missing_rows,
    outer,
    pad,
    project,
    streams,
)
from seqapps.layers.kernels.plain import recurrence

Result = tuple[Any, list[Any]]


def _with_gradient(function: Callable[..., Any], plain: Callable[..., Any]) -> Any:
    """Turns a function that returns (outputs, gradient function) into an operation with that gradient.

    Args:
        function: arguments to outputs and a function from the outputs' gradients to those of the arguments.
        plain: the same outputs by operations that TensorFlow differentiates, for higher derivatives.
    """

    def op(*arguments: Any) -> Any:
        # An eager tape would also differentiate the compiled loops.
        outputs, gradient = function(*map(tf.stop_gradient, arguments))
        return outputs, lambda *asked: _differentiable(gradient, plain, arguments, asked)

    return tf.custom_gradient(op)


def _differentiable(gradient: Any, plain: Any, arguments: Sequence[Any], asked: Sequence[Any]) -> Any:
    """Returns `gradient(*asked)` as an operation on both, whose own derivatives are those of `plain`."""
    count = len(arguments)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def op(*given: Any) -> Any:
        def again(*changes: Any) -> Any:
            with tf.GradientTape() as second:
                second.watch(given)
                with tf.GradientTape() as first:
                    first.watch(given[:count])
                    outputs = plain(*given[:count])
                found = first.gradient(outputs, given[:count], output_gradients=given[count:], **_ZERO)
            return second.gradient(found, given, output_gradients=changes, **_ZERO)

        return gradient(*map(tf.stop_gradient, given[count:])), again

    return op(*arguments, *asked)


_ZERO = {"unconnected_gradients": tf.UnconnectedGradients.ZERO}


def lstm(
    x: Any,
    states: Sequence[Any],
    weights: Sequence[Any],
    mask: Any,
    *,
    reverse: bool,
    keep: bool,
    beside: int = 1,
) -> Result:
    """LSTM; states h and c; weights W `[D, 4u]`, U `[u, 4u]`, b `[4u]`. See the module."""

    def one(x: Any, states: Sequence[Any], steps: Steps) -> Any:
        def op(x: Any, kernel: Any, recurrent: Any, bias: Any, h: Any, c: Any) -> Any:
            def run(keep: bool) -> Any:
                return _lstm.forward(steps.fill(project(x, kernel, bias)), recurrent, h, c, steps, keep)

            outputs, h_last, c_last, *kept = run(keep)

            def gradient(d_out: Any, d_h: Any, d_c: Any) -> Any:
                cells, gates = kept or run(True)[3:]
                d_z, d_h, d_c = _lstm.backward(gates, cells, c, recurrent, steps, steps.fill(d_out), d_h, d_c)
                d_z, earlier = steps.cut(d_z), before(steps.cut(outputs), h, steps.reverse)
                d_u = outer(earlier, d_z)
                return project(d_z, tf.transpose(kernel)), outer(x, d_z), d_u, column_sums(d_z), d_h, d_c

            return (steps.cut(outputs), h_last, c_last), gradient

        def plain(x: Any, kernel: Any, recurrent: Any, bias: Any, *states: Any) -> Any:
            def cell(z: Any, h: Any, c: Any) -> Any:
                return _lstm.cell(z, recurrent, h, c)[1:]

            return recurrence(cell, project(x, kernel, bias), states, steps)

        return _with_gradient(op, plain)(x, *weights, *states)

    return _streamed(one, x, states, weights, mask, reverse=reverse, beside=beside)


def gru(
    x: Any,
    states: Sequence[Any],
    weights: Sequence[Any],
    mask: Any,
    *,
    reverse: bool,
    keep: bool,
    reset_after: bool,
    beside: int = 1,
) -> Result:
    """GRU; state h; weights W `[D, 3u]`, U `[u, 3u]`, b `[2, 3u]` (`reset_after`) or `[3u]`. See the module."""
    one = _gru_after if reset_after else _gru_before

    def of(x: Any, states: Sequence[Any], steps: Steps) -> Any:
        return one(x, *weights, *states, steps=steps, keep=keep)

    return _streamed(of, x, states, weights, mask, reverse=reverse, beside=beside)


def _gru_after(x: Any, *weights: Any, steps: Steps, keep: bool) -> Any:
    def op(x: Any, kernel: Any, recurrent: Any, bias: Any, h: Any) -> Any:
        def run(keep: bool) -> Any:
            return _gru.forward_after(steps.fill(project(x, kernel, bias[0])), recurrent, bias[1], h, steps, keep)

        outputs, last, *kept = run(keep)

        def gradient(d_out: Any, d_h: Any) -> Any:
            (activations,) = kept or run(True)[2:]
            d_all, d_h = _gru.backward_after(activations, outputs, h, recurrent, steps, steps.fill(d_out), d_h)
            d_all, earlier = steps.cut(d_all), before(steps.cut(outputs), h, steps.reverse)
            units = h.shape[-1]
            d_u, d_x = d_all[..., : 3 * units], tf.concat([d_all[..., : 2 * units], d_all[..., 3 * units :]], -1)
            d_bias = tf.stack([column_sums(d_x), column_sums(d_u)])
            d_recurrent = outer(earlier, d_u)
            return project(d_x, tf.transpose(kernel)), outer(x, d_x), d_recurrent, d_bias, d_h

        return (steps.cut(outputs), last), gradient

    def plain(x: Any, kernel: Any, recurrent: Any, bias: Any, h: Any) -> Any:
        def cell(z: Any, h: Any) -> Any:
            return [_gru.cell_after(z, recurrent, bias[1], h)[0]]

        return recurrence(cell, project(x, kernel, bias[0]), [h], steps)

    return _with_gradient(op, plain)(x, *weights)


def _gru_before(x: Any, *weights: Any, steps: Steps, keep: bool) -> Any:
    def op(x: Any, kernel: Any, recurrent: Any, bias: Any, h: Any) -> Any:
        def run(keep: bool) -> Any:
            return _gru.forward_before(steps.fill(project(x, kernel, bias)), recurrent, h, steps, keep)

        outputs, last, *kept = run(keep)

        def gradient(d_out: Any, d_h: Any) -> Any:
            (activations,) = kept or run(True)[2:]
            d_z, d_h = _gru.backward_before(activations, outputs, h, recurrent, steps, steps.fill(d_out), d_h)
            d_z, activations, earlier = (
                steps.cut(d_z),
                steps.cut(activations),
                before(steps.cut(outputs), h, steps.reverse),
            )
            units = h.shape[-1]
            reset = activations[..., units : 2 * units] * earlier
            d_recurrent = tf.concat([outer(earlier, d_z[..., : 2 * units]), outer(reset, d_z[..., 2 * units :])], -1)
            return project(d_z, tf.transpose(kernel)), outer(x, d_z), d_recurrent, column_sums(d_z), d_h

        return (steps.cut(outputs), last), gradient

    def plain(x: Any, kernel: Any, recurrent: Any, bias: Any, h: Any) -> Any:
        units = h.shape[-1]
        of_gates, of_candidate = recurrent[:, : 2 * units], recurrent[:, 2 * units :]

        def cell(z: Any, h: Any) -> Any:
            return [_gru.cell_before(z, of_gates, of_candidate, h)[0]]

        return recurrence(cell, project(x, kernel, bias), [h], steps)

    return _with_gradient(op, plain)(x, *weights)


def simple_rnn(
    x: Any,
    states: Sequence[Any],
    weights: Sequence[Any],
    mask: Any,
    *,
    reverse: bool,
    rectified: bool,
    beside: int = 1,
) -> Result:
    """Simple recurrent network; state h; weights W `[D, u]`, U `[u, u]`, b `[u]`; relu where `rectified`, else tanh."""

    def one(x: Any, states: Sequence[Any], steps: Steps) -> Any:
        def op(x: Any, kernel: Any, recurrent: Any, bias: Any, h: Any) -> Any:
            z = steps.fill(project(x, kernel, bias))
            outputs, last = _simple_rnn.forward(z, recurrent, h, steps, rectified)

            def gradient(d_out: Any, d_h: Any) -> Any:
                d_z, d_h = _simple_rnn.backward(outputs, recurrent, steps, steps.fill(d_out), d_h, rectified)
                d_z, earlier = steps.cut(d_z), before(steps.cut(outputs), h, steps.reverse)
                d_u = outer(earlier, d_z)
                return project(d_z, tf.transpose(kernel)), outer(x, d_z), d_u, column_sums(d_z), d_h

            return (steps.cut(outputs), last), gradient

        def plain(x: Any, kernel: Any, recurrent: Any, bias: Any, h: Any) -> Any:
            def cell(z: Any, h: Any) -> Any:
                return [_simple_rnn.cell(z, recurrent, h, rectified)]

            return recurrence(cell, project(x, kernel, bias), [h], steps)

        return _with_gradient(op, plain)(x, *weights, *states)

    return _streamed(one, x, states, weights, mask, reverse=reverse, beside=beside)


def _streamed(
    one: Callable[..., Any],
    x: Any,
    states: Sequence[Any],
    weights: Sequence[Any],
    mask: Any,
    *,
    reverse: bool,
    beside: int,
) -> Result:
    """Runs `one(x, states, steps)` on parts of the batch and concatenates the results."""
    shape, given = x.shape[:2], tf.shape(x)[0]
    rows: int | None
    if tf.executing_eagerly():
        # Batch shapes vary between calls: padding limits the number of compilations.
        rows, steps, missing = filled_rows(shape[0]), None, filled_rows(shape[0]) - shape[0]
    else:
        # An empty batch is padded, too: the loop needs at least one row.
        rows, steps = shape[0] or None, shape[1]
        missing = missing_rows(given) if rows is None else 0
    if not isinstance(missing, int) or missing:
        x, mask, *states = [pad(value, 0, missing) for value in (x, mask, *states)]
    count = streams(rows, weights[1], beside)
    whole = Steps(steps if steps is not None else tf.shape(x)[1], reverse)
    masks = _split(whole.fill(mask), count) if mask is not None else [None] * count
    parts = zip(_split(x, count), zip(*[_split(state, count) for state in states], strict=True), masks, strict=True)
    found = [one(part, own, whole._replace(mask=real)) for part, own, real in parts]
    outputs, *last = [_joined([item[k] for item in found]) for k in range(len(found[0]))]
    if not isinstance(missing, int) or missing:
        outputs, *last = [value[:given] for value in (outputs, *last)]
    outputs = tf.ensure_shape(outputs, (*shape, states[0].shape[-1]))
    return outputs, [tf.ensure_shape(state, (shape[0], state.shape[-1])) for state in last]


def _split(x: Any, count: int) -> list[Any]:
    return [x] if count == 1 else tf.split(x, count)


def _joined(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else tf.concat(parts, 0)
