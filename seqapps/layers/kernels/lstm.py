"""LSTM kernels: forward and explicit backward pass. Gate order of Keras: input, forget, candidate, output.

    i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o)    g = tanh(z_g)    z = x W + h' U + b
    c = f c' + i g                                         h = o tanh(c)

Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000. The backward pass is
back-propagation through time of these equations.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from seqapps.layers.kernels._loops import Steps, after, compiled, empty, loop, read, write

GATES = 4


def _activated(z: Any, units: int) -> Any:
    """Returns i, f, g and o `[B, 4u]` of their pre-activations: one hyperbolic tangent each, in one expression.

    sigmoid(z) = tanh(z / 2) / 2 + 1 / 2.
    """
    half, one = tf.fill((units,), tf.constant(0.5, z.dtype)), tf.ones((units,), z.dtype)
    slope = tf.concat([half, half, one, half], 0)
    return tf.tanh(z * slope) * slope + (1 - slope)


def cell(z: Any, recurrent: Any, h: Any, c: Any) -> tuple[Any, Any, Any]:
    """One step: z `[B, 4u]` = x W + b and the previous states -> i, f, g, o `[B, 4u]`, next h and c."""
    gates = _activated(z + tf.matmul(h, recurrent), recurrent.shape[0])
    i, f, g, o = tf.split(gates, GATES, -1)
    c = f * c + i * g
    return gates, o * tf.tanh(c), c


def _forward(z: Any, recurrent: Any, h: Any, c: Any, steps: Steps, keep: bool) -> Any:
    """z `[B, T, 4u]` = x W + b. Returns h of every step, the last h and c, and with `keep` c `[B, T, u]` and i, f, g, o
    `[B, T, 4u]` of every step."""
    units = recurrent.shape[0]

    def step(n: Any, z_t: Any, h: Any, c: Any) -> tuple[Any, Any, Any]:
        gates, h_t, c_t = cell(z_t, recurrent, h, c)
        if steps.mask is not None:
            real = steps.real(n)
            h_t, c_t = tf.where(real, h_t, h), tf.where(real, c_t, c)
        return gates, h_t, c_t

    def light(n: Any, h: Any, c: Any, outputs: Any) -> list[Any]:
        place = steps.place(n)
        _, h, c = step(n, read(z, place), h, c)
        return [n + 1, h, c, write(outputs, place, h)]

    def keeping(n: Any, h: Any, c: Any, outputs: Any, cells: Any, kept: Any) -> list[Any]:
        place = steps.place(n)
        gates, h, c = step(n, read(kept, place), h, c)  # in place: the gates overwrite the projections
        return [n + 1, h, c, write(outputs, place, h), write(cells, place, c), write(kept, place, gates)]

    if not keep:
        _, h, c, outputs = loop(steps.length, light, [h, c, empty(z, units)])
        return outputs, h, c
    _, h, c, outputs, cells, kept = loop(steps.length, keeping, [h, c, empty(z, units), empty(z, units), z])
    return outputs, h, c, cells, kept


def _backward(gates: Any, cells: Any, c: Any, recurrent: Any, steps: Steps, d_out: Any, d_h: Any, d_c: Any) -> Any:
    """Returns dL/dz `[B, T, 4u]` and the gradients of the first h and c.

    The gates, the cell state and dL/dh of a step are read by the previous step: read within their own step, they made
    XLA copy whole arrays.
    """
    run = steps.back()
    transposed = tf.transpose(recurrent)

    def body(n: Any, gates_t: Any, c_t: Any, d_out_t: Any, d_h: Any, d_c: Any, filled: Any) -> list[Any]:
        i, f, g, o = tf.split(gates_t, GATES, -1)
        following = run.following(n)
        earlier = tf.where(n < run.length - 1, read(cells, following), c)
        (d_h, past_h), (d_c, past_c) = run.passing(n, d_h + d_out_t), run.passing(n, d_c)
        t = tf.tanh(c_t)
        d_c = d_c + d_h * o * (1 - t * t)
        d_i, d_f = d_c * g * i * (1 - i), d_c * earlier * f * (1 - f)
        d_z = tf.concat([d_i, d_f, d_c * i * (1 - g * g), d_h * t * o * (1 - o)], -1)
        filled = write(filled, run.place(n), d_z)  # in place: the gradients overwrite the gates
        d_h, d_c = tf.matmul(d_z, transposed) + past_h, d_c * f + past_c
        return [n + 1, read(filled, following), earlier, read(d_out, after(following, d_c)), d_h, d_c, filled]

    start = [run.first(gates), run.first(cells), run.first(d_out), d_h, d_c, gates]
    *_, d_h, d_c, filled = loop(run.length, body, start)
    return filled, d_h, d_c


forward, backward = compiled(_forward), compiled(_backward)
