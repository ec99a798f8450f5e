"""GRU kernels, both variants: forward and explicit backward pass. Gate order of Keras: update, reset, candidate.

    z, r = sigmoid(x W_z + h' U_z + b_z), sigmoid(x W_r + h' U_r + b_r)    h = z h' + (1 - z) n

`after` (Keras' `reset_after`, and cuDNN): n = tanh(x W_n + b_n + r (h' U_n + c_n)).
`before` (Cho et al. 2014, equation 8): n = tanh(x W_n + (r h') U_n + b_n).

The backward pass is back-propagation through time of these equations. The previous step reads a step's inputs: reading
them within the step makes XLA's code slower, and in the backward loop makes it copy whole arrays.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from seqapps.layers.kernels._loops import Steps, after, compiled, empty, loop, read, write

GATES = 3


def cell_after(x: Any, recurrent: Any, bias: Any, h: Any) -> tuple[Any, Any]:
    """One step: x `[B, 3u]` = x W + b, bias `[3u]`, previous h -> next h, and z, r, n, h' U_n + c_n `[B, 4u]`."""
    units = recurrent.shape[0]
    u = tf.matmul(h, recurrent) + bias
    gates = tf.sigmoid(x[:, : 2 * units] + u[:, : 2 * units])
    z, r = tf.split(gates, 2, -1)
    u_n = u[:, 2 * units :]
    candidate = tf.tanh(x[:, 2 * units :] + r * u_n)
    return candidate + z * (h - candidate), tf.concat([gates, candidate, u_n], -1)


def _forward_after(x: Any, recurrent: Any, bias: Any, h: Any, steps: Steps, keep: bool) -> Any:
    """x `[B, T, 3u]` = x W + b, bias `[3u]` of the recurrent product.

    Returns h of every step, the last h, and with `keep` z, r, n and h' U_n + c_n of every step, `[B, T, 4u]`.
    """
    units = recurrent.shape[0]

    def step(n: Any, x_t: Any, h: Any) -> tuple[Any, Any]:
        h_t, activations = cell_after(x_t, recurrent, bias, h)
        if steps.mask is not None:
            h_t = tf.where(steps.real(n), h_t, h)
        return h_t, activations

    def light(n: Any, x_t: Any, h: Any, outputs: Any) -> list[Any]:
        h, _ = step(n, x_t, h)
        return [n + 1, read(x, after(steps.following(n), h)), h, write(outputs, steps.place(n), h)]

    def keeping(n: Any, x_t: Any, h: Any, outputs: Any, kept: Any) -> list[Any]:
        h, activations = step(n, x_t, h)
        kept = write(kept, steps.place(n), activations)
        return [n + 1, read(x, after(steps.following(n), h)), h, write(outputs, steps.place(n), h), kept]

    if not keep:
        *_, h, outputs = loop(steps.length, light, [steps.first(x), h, empty(x, units)])
        return outputs, h
    start = [steps.first(x), h, empty(x, units), empty(x, 4 * units)]
    *_, h, outputs, kept = loop(steps.length, keeping, start)
    return outputs, h, kept


def _backward_after(kept: Any, outputs: Any, h: Any, recurrent: Any, steps: Steps, d_out: Any, d_h: Any) -> Any:
    """Returns the gradients of the pre-activations of z and r, of h' U_n + c_n, and of the pre-activation of n, at
    every step `[B, T, 4u]`; and of the first h."""
    run = steps.back()
    transposed = tf.transpose(recurrent)

    def body(n: Any, kept_t: Any, d_out_t: Any, d_h: Any, filled: Any) -> list[Any]:
        z, r, candidate, u_n = tf.split(kept_t, 4, -1)
        following = run.following(n)
        earlier = tf.where(n < run.length - 1, read(outputs, following), h)
        d_h, past = run.passing(n, d_h + d_out_t)
        d_a = d_h * (1 - z) * (1 - candidate * candidate)
        d_u = tf.concat([d_h * (earlier - candidate) * z * (1 - z), d_a * u_n * r * (1 - r), d_a * r], -1)
        filled = write(filled, run.place(n), tf.concat([d_u, d_a], -1))
        d_h = tf.matmul(d_u, transposed) + d_h * z + past
        return [n + 1, read(filled, following), read(d_out, after(following, d_h)), d_h, filled]

    *_, d_h, filled = loop(run.length, body, [run.first(kept), run.first(d_out), d_h, kept])
    return filled, d_h


def cell_before(x: Any, of_gates: Any, of_candidate: Any, h: Any) -> tuple[Any, Any]:
    """One step: x `[B, 3u]` = x W + b, U of both gates and U_n, previous h -> next h, and z, r, n `[B, 3u]`."""
    units = of_candidate.shape[0]
    gates = tf.sigmoid(x[:, : 2 * units] + tf.matmul(h, of_gates))
    z, r = tf.split(gates, 2, -1)
    candidate = tf.tanh(x[:, 2 * units :] + tf.matmul(r * h, of_candidate))
    return candidate + z * (h - candidate), tf.concat([gates, candidate], -1)


def _forward_before(x: Any, recurrent: Any, h: Any, steps: Steps, keep: bool) -> Any:
    """x `[B, T, 3u]` = x W + b. Returns h of every step, the last h, and with `keep` z, r, n of every step."""
    units = recurrent.shape[0]
    of_gates, of_candidate = recurrent[:, : 2 * units], recurrent[:, 2 * units :]

    def step(n: Any, x_t: Any, h: Any) -> tuple[Any, Any]:
        h_t, activations = cell_before(x_t, of_gates, of_candidate, h)
        if steps.mask is not None:
            h_t = tf.where(steps.real(n), h_t, h)
        return h_t, activations

    def light(n: Any, x_t: Any, h: Any, outputs: Any) -> list[Any]:
        h, _ = step(n, x_t, h)
        return [n + 1, read(x, after(steps.following(n), h)), h, write(outputs, steps.place(n), h)]

    def keeping(n: Any, x_t: Any, h: Any, outputs: Any, kept: Any) -> list[Any]:
        h, activations = step(n, x_t, h)
        kept = write(kept, steps.place(n), activations)  # in place: the gates overwrite the projections
        return [n + 1, read(kept, steps.following(n)), h, write(outputs, steps.place(n), h), kept]

    if not keep:
        *_, h, outputs = loop(steps.length, light, [steps.first(x), h, empty(x, units)])
        return outputs, h
    *_, h, outputs, kept = loop(steps.length, keeping, [steps.first(x), h, empty(x, units), x])
    return outputs, h, kept


def _backward_before(kept: Any, outputs: Any, h: Any, recurrent: Any, steps: Steps, d_out: Any, d_h: Any) -> Any:
    """Returns the gradients of the pre-activations of z, r and n `[B, T, 3u]`, and of the first h."""
    run = steps.back()
    units = recurrent.shape[0]
    to_gates, to_candidate = tf.transpose(recurrent[:, : 2 * units]), tf.transpose(recurrent[:, 2 * units :])

    def body(n: Any, kept_t: Any, d_out_t: Any, d_h: Any, filled: Any) -> list[Any]:
        z, r, candidate = tf.split(kept_t, GATES, -1)
        following = run.following(n)
        earlier = tf.where(n < run.length - 1, read(outputs, following), h)
        d_h, past = run.passing(n, d_h + d_out_t)
        d_a = d_h * (1 - z) * (1 - candidate * candidate)
        d_reset = tf.matmul(d_a, to_candidate)
        d_gates = tf.concat([d_h * (earlier - candidate) * z * (1 - z), d_reset * earlier * r * (1 - r)], -1)
        filled = write(filled, run.place(n), tf.concat([d_gates, d_a], -1))
        d_h = tf.matmul(d_gates, to_gates) + d_reset * r + d_h * z + past
        return [n + 1, read(filled, following), read(d_out, after(following, d_h)), d_h, filled]

    *_, d_h, filled = loop(run.length, body, [run.first(kept), run.first(d_out), d_h, kept])
    return filled, d_h


forward_after, backward_after = compiled(_forward_after), compiled(_backward_after)
forward_before, backward_before = compiled(_forward_before), compiled(_backward_before)
