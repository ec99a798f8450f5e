"""Simple recurrent network kernels: forward and explicit backward pass.

    h = f(x W + h' U + b), f = tanh or max(0, .)

Source: Elman 1990; the backward pass is back-propagation through time (Werbos 1990).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from seqapps.layers.kernels._loops import Steps, after, compiled, empty, loop, read, write


def cell(x: Any, recurrent: Any, h: Any, rectified: bool) -> Any:
    """One step: x `[B, u]` = x W + b and the previous h -> next h."""
    z = x + tf.matmul(h, recurrent)
    return tf.nn.relu(z) if rectified else tf.tanh(z)


def _forward(x: Any, recurrent: Any, h: Any, steps: Steps, rectified: bool) -> Any:
    """x `[B, T, u]` = x W + b. Returns h of every step and the last h; the outputs are all that backward needs."""

    def body(n: Any, h: Any, outputs: Any) -> list[Any]:
        place = steps.place(n)
        h_t = cell(read(x, place), recurrent, h, rectified)
        if steps.mask is not None:
            h_t = tf.where(steps.real(n), h_t, h)
        return [n + 1, h_t, write(outputs, place, h_t)]

    _, h, outputs = loop(steps.length, body, [h, empty(x, recurrent.shape[0])])
    return outputs, h


def _backward(outputs: Any, recurrent: Any, steps: Steps, d_out: Any, d_h: Any, rectified: bool) -> Any:
    """Returns dL/dz `[B, T, u]` and the gradient of the first h."""
    run = steps.back()
    transposed = tf.transpose(recurrent)

    def body(n: Any, h_t: Any, d_out_t: Any, d_h: Any, filled: Any) -> list[Any]:
        d_h, past = run.passing(n, d_h + d_out_t)
        d_z = d_h * (tf.cast(h_t > 0, d_h.dtype) if rectified else 1 - h_t * h_t)
        filled = write(filled, run.place(n), d_z)
        d_h = tf.matmul(d_z, transposed) + past
        following = after(run.following(n), d_h)
        return [n + 1, read(outputs, following), read(d_out, following), d_h, filled]

    *_, d_h, filled = loop(run.length, body, [run.first(outputs), run.first(d_out), d_h, tf.zeros_like(outputs)])
    return filled, d_h


forward, backward = compiled(_forward), compiled(_backward)
