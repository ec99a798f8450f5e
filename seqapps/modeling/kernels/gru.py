"""The GRU over time, in both forms: forward, and backward by hand. Gate order of Keras: update, reset, candidate.

    z, r = sigmoid(x W_z + h' U_z + b_z), sigmoid(x W_r + h' U_r + b_r)    h = z h' + (1 - z) n

`after` (Keras' `reset_after`, and cuDNN): n = tanh(x W_n + b_n + r (h' U_n + c_n)).
`before` (Cho et al. 2014, equation 8): n = tanh(x W_n + (r h') U_n + b_n).

The backward pass is back-propagation through time of these equations.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from seqapps.modeling.kernels._loops import Steps, after, array, before, compiled, empty, loop, stacked

GATES = 3


def _forward_after(x: Any, recurrent: Any, bias: Any, h: Any, steps: Steps, keep: bool) -> Any:
    """x `[T, B, 3u]` = x W + b, bias `[3u]` of the recurrent product.

    Returns h of every step, the last h, and with `keep` the arguments of the three non-linearities `[T, B, 3u]` and
    h' U_n + c_n `[T, B, u]` of every step.
    """
    units = recurrent.shape[0]
    projected, masks = array(x), None if steps.mask is None else array(steps.mask)

    def step(n: Any, x_t: Any, h: Any) -> tuple[Any, Any, Any]:
        x_z, x_r, x_n = tf.split(x_t, GATES, -1)
        u_z, u_r, u_n = tf.split(tf.matmul(h, recurrent) + bias, GATES, -1)
        z, r = x_z + u_z, x_r + u_r
        a = x_n + tf.sigmoid(r) * u_n
        candidate = tf.tanh(a)
        h_t = candidate + tf.sigmoid(z) * (h - candidate)
        if masks is not None:
            h_t = tf.where(masks.read(steps.place(n)), h_t, h)
        return h_t, tf.concat([z, r, a], -1), u_n

    def light(n: Any, x_t: Any, h: Any, outputs: Any) -> list[Any]:
        h, _, _ = step(n, x_t, h)
        return [n + 1, projected.read(after(steps.following(n), h)), h, outputs.write(steps.place(n), h)]

    def keeping(n: Any, x_t: Any, h: Any, kept: Any, outputs: Any, products: Any) -> list[Any]:
        h, sums, u_n = step(n, x_t, h)
        kept = kept.write(steps.place(n), sums)
        return [
            n + 1,
            kept.read(steps.following(n)),
            h,
            kept,
            outputs.write(steps.place(n), h),
            products.write(steps.place(n), u_n),
        ]

    if not keep:
        _, _, h, outputs = loop(steps.length, light, [steps.first(x), h, array(empty(x, units))])
        return stacked(outputs, x), h
    start = [steps.first(x), h, projected, array(empty(x, units)), array(empty(x, units))]
    _, _, h, kept, outputs, products = loop(steps.length, keeping, start)
    return stacked(outputs, x), h, stacked(kept, x), stacked(products, x)


def _backward_after(
    sums: Any, products: Any, outputs: Any, h: Any, recurrent: Any, steps: Steps, d_out: Any, d_h: Any,
) -> Any:  # fmt: skip
    """Returns the gradients of (z, r, h' U_n + c_n, a) of every step `[T, B, 4u]`, and of the first h."""
    run = steps.back()
    z, r, a = tf.split(sums, GATES, -1)
    z, r, n = tf.sigmoid(z), tf.sigmoid(r), tf.tanh(a)
    slope = (1 - z) * (1 - n * n)
    earlier = before(outputs, h, steps)
    gates = tf.concat([(earlier - n) * z * (1 - z), slope * products * r * (1 - r), slope * r, slope], -1)
    carried = tf.concat([z, d_out], -1)
    transposed = tf.transpose(recurrent)
    carried_steps, masks = array(carried), None if steps.mask is None else array(steps.mask)

    def body(n: Any, gates_t: Any, carried_t: Any, d_h: Any, filled: Any) -> list[Any]:
        z, d_out = tf.split(carried_t, 2, -1)
        d_h = d_h + d_out
        past = None
        if masks is not None:
            real = tf.cast(masks.read(run.place(n)), d_h.dtype)
            past, d_h = d_h * (1 - real), d_h * real
        of_z, of_r, of_u, of_a = tf.split(gates_t, 4, -1)
        d_u = tf.concat([d_h * of_z, d_h * of_r, d_h * of_u], -1)
        filled = filled.write(run.place(n), tf.concat([d_u, d_h * of_a], -1))
        following = run.following(n)
        d_h = tf.matmul(d_u, transposed) + d_h * z
        if past is not None:
            d_h = d_h + past
        return [n + 1, filled.read(following), carried_steps.read(after(following, d_h)), d_h, filled]

    _, _, _, d_h, filled = loop(steps.length, body, [run.first(gates), run.first(carried), d_h, array(gates)])
    return stacked(filled, sums), d_h


def _forward_before(x: Any, recurrent: Any, h: Any, steps: Steps, keep: bool) -> Any:
    """x `[T, B, 3u]` = x W + b. Returns h of every step, the last h, and with `keep` the sums z, r, a `[T, B, 3u]`."""
    units = recurrent.shape[0]
    projected, masks = array(x), None if steps.mask is None else array(steps.mask)
    of_gates, of_candidate = recurrent[:, : 2 * units], recurrent[:, 2 * units :]

    def step(n: Any, x_t: Any, h: Any) -> tuple[Any, Any]:
        gates = x_t[:, : 2 * units] + tf.matmul(h, of_gates)
        z, r = tf.split(gates, 2, -1)
        a = x_t[:, 2 * units :] + tf.matmul(tf.sigmoid(r) * h, of_candidate)
        candidate = tf.tanh(a)
        h_t = candidate + tf.sigmoid(z) * (h - candidate)
        if masks is not None:
            h_t = tf.where(masks.read(steps.place(n)), h_t, h)
        return h_t, tf.concat([gates, a], -1)

    def light(n: Any, x_t: Any, h: Any, outputs: Any) -> list[Any]:
        h, _ = step(n, x_t, h)
        return [n + 1, projected.read(after(steps.following(n), h)), h, outputs.write(steps.place(n), h)]

    def keeping(n: Any, x_t: Any, h: Any, kept: Any, outputs: Any) -> list[Any]:
        h, sums = step(n, x_t, h)
        kept = kept.write(steps.place(n), sums)
        return [n + 1, kept.read(steps.following(n)), h, kept, outputs.write(steps.place(n), h)]

    if not keep:
        _, _, h, outputs = loop(steps.length, light, [steps.first(x), h, array(empty(x, units))])
        return stacked(outputs, x), h
    _, _, h, kept, outputs = loop(steps.length, keeping, [steps.first(x), h, projected, array(empty(x, units))])
    return stacked(outputs, x), h, stacked(kept, x)


def _backward_before(sums: Any, outputs: Any, h: Any, recurrent: Any, steps: Steps, d_out: Any, d_h: Any) -> Any:
    """Returns the gradients of (z, r, a) of every step `[T, B, 3u]`, and of the first h."""
    run = steps.back()
    units = recurrent.shape[0]
    z, r, a = tf.split(sums, GATES, -1)
    z, r, n = tf.sigmoid(z), tf.sigmoid(r), tf.tanh(a)
    earlier = before(outputs, h, steps)
    gates = tf.concat([(earlier - n) * z * (1 - z), earlier * r * (1 - r), (1 - z) * (1 - n * n)], -1)
    carried = tf.concat([z, r, d_out], -1)
    to_gates, to_candidate = tf.transpose(recurrent[:, : 2 * units]), tf.transpose(recurrent[:, 2 * units :])
    carried_steps, masks = array(carried), None if steps.mask is None else array(steps.mask)

    def body(n: Any, gates_t: Any, carried_t: Any, d_h: Any, filled: Any) -> list[Any]:
        z, r, d_out = tf.split(carried_t, 3, -1)
        d_h = d_h + d_out
        past = None
        if masks is not None:
            real = tf.cast(masks.read(run.place(n)), d_h.dtype)
            past, d_h = d_h * (1 - real), d_h * real
        of_z, of_r, of_a = tf.split(gates_t, GATES, -1)
        d_a = d_h * of_a
        d_reset = tf.matmul(d_a, to_candidate)
        d_gates = tf.concat([d_h * of_z, d_reset * of_r], -1)
        filled = filled.write(run.place(n), tf.concat([d_gates, d_a], -1))
        following = run.following(n)
        d_h = tf.matmul(d_gates, to_gates) + d_reset * r + d_h * z
        if past is not None:
            d_h = d_h + past
        return [n + 1, filled.read(following), carried_steps.read(after(following, d_h)), d_h, filled]

    _, _, _, d_h, filled = loop(steps.length, body, [run.first(gates), run.first(carried), d_h, array(gates)])
    return stacked(filled, sums), d_h


forward_after, backward_after = compiled(_forward_after), compiled(_backward_after)
forward_before, backward_before = compiled(_forward_before), compiled(_backward_before)
