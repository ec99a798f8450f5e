"""The simple recurrent network over time: forward, and backward by hand.

    h = f(x W + h' U + b), f = tanh or max(0, .)

Source: Elman 1990; the backward pass is back-propagation through time (Werbos 1990).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from seqapps.modeling.kernels._loops import Steps, after, array, compiled, empty, loop, stacked


def _forward(x: Any, recurrent: Any, h: Any, steps: Steps, rectified: bool) -> Any:
    """x `[T, B, u]` = x W + b. Returns h of every step and the last h; the outputs are all that backward needs."""
    projected, masks = array(x), None if steps.mask is None else array(steps.mask)

    def body(n: Any, x_t: Any, h: Any, outputs: Any) -> list[Any]:
        z = x_t + tf.matmul(h, recurrent)
        h_t = tf.nn.relu(z) if rectified else tf.tanh(z)
        if masks is not None:
            h_t = tf.where(masks.read(steps.place(n)), h_t, h)
        following = after(steps.following(n), h_t)
        return [n + 1, projected.read(following), h_t, outputs.write(steps.place(n), h_t)]

    _, _, h, outputs = loop(steps.length, body, [steps.first(x), h, array(empty(x, recurrent.shape[0]))])
    return stacked(outputs, x), h


def _backward(outputs: Any, recurrent: Any, steps: Steps, d_out: Any, d_h: Any, rectified: bool) -> Any:
    """Returns dL/dz `[T, B, u]` and the gradient of the first h."""
    run = steps.back()
    slopes = tf.cast(outputs > 0, outputs.dtype) if rectified else 1 - outputs * outputs
    transposed = tf.transpose(recurrent)
    carried = tf.concat([slopes, d_out], -1)
    carried_steps, masks = array(carried), None if steps.mask is None else array(steps.mask)

    def body(n: Any, carried_t: Any, d_h: Any, filled: Any) -> list[Any]:
        slope, d_out = tf.split(carried_t, 2, -1)
        d_h = d_h + d_out
        past = None
        if masks is not None:
            real = tf.cast(masks.read(run.place(n)), d_h.dtype)
            past, d_h = d_h * (1 - real), d_h * real
        d_z = d_h * slope
        filled = filled.write(run.place(n), d_z)
        d_h = tf.matmul(d_z, transposed)
        if past is not None:
            d_h = d_h + past
        following = after(run.following(n), d_h)
        return [n + 1, carried_steps.read(following), d_h, filled]

    _, _, d_h, filled = loop(steps.length, body, [run.first(carried), d_h, array(tf.zeros_like(outputs))])
    return stacked(filled, outputs), d_h


forward, backward = compiled(_forward), compiled(_backward)
