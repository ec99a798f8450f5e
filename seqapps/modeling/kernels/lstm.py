"""The LSTM over time: forward, and backward by hand. Gate order as Keras has it: input, forget, candidate, output.

    i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o)    g = tanh(z_g)    z = x W + h' U + b
    c = f c' + i g                                         h = o tanh(c)

Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000. The backward pass is
back-propagation through time of these equations.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from seqapps.modeling.kernels._loops import Steps, after, array, before, compiled, empty, loop, stacked

GATES = 4


def _forward(z: Any, recurrent: Any, h: Any, c: Any, steps: Steps, keep: bool) -> Any:
    """z `[T, B, 4u]` = x W + b. Returns h of every step, the last h and c, and with `keep` c and z of every step."""
    units = recurrent.shape[0]
    projected, masks = array(z), None if steps.mask is None else array(steps.mask)

    def step(n: Any, z_t: Any, h: Any, c: Any) -> tuple[Any, Any, Any]:
        z_t = z_t + tf.matmul(h, recurrent)
        i, f, g, o = tf.split(z_t, GATES, -1)
        c_t = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h_t = tf.sigmoid(o) * tf.tanh(c_t)
        if masks is not None:
            real = masks.read(steps.place(n))
            h_t, c_t = tf.where(real, h_t, h), tf.where(real, c_t, c)
        return z_t, h_t, c_t

    def light(n: Any, z_t: Any, h: Any, c: Any, outputs: Any) -> list[Any]:
        _, h, c = step(n, z_t, h, c)
        return [n + 1, projected.read(after(steps.following(n), h)), h, c, outputs.write(steps.place(n), h)]

    def keeping(n: Any, z_t: Any, h: Any, c: Any, kept: Any, outputs: Any, cells: Any) -> list[Any]:
        z_t, h, c = step(n, z_t, h, c)
        kept = kept.write(steps.place(n), z_t)  # in place: the sums take the place of the projections
        return [
            n + 1,
            kept.read(steps.following(n)),
            h,
            c,
            kept,
            outputs.write(steps.place(n), h),
            cells.write(steps.place(n), c),
        ]

    first = steps.first(z)
    if not keep:
        _, _, h, c, outputs = loop(steps.length, light, [first, h, c, array(empty(z, units))])
        return stacked(outputs, z), h, c
    start = [first, h, c, projected, array(empty(z, units)), array(empty(z, units))]
    _, _, h, c, kept, outputs, cells = loop(steps.length, keeping, start)
    return stacked(outputs, z), h, c, stacked(cells, z), stacked(kept, z)


def _backward(z: Any, cells: Any, c: Any, recurrent: Any, steps: Steps, d_out: Any, d_h: Any, d_c: Any) -> Any:
    """Returns dL/dz `[T, B, 4u]` and the gradients of the first h and c.

    All that does not depend on the steps after it is computed for every step at once; the loop holds products with
    these factors and one matrix product.
    """
    run = steps.back()
    i, f, g, o = tf.split(z, GATES, -1)
    i, f, g, o, t = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o), tf.tanh(cells)
    earlier = before(cells, c, steps)
    gates = tf.concat([g * i * (1 - i), earlier * f * (1 - f), i * (1 - g * g), t * o * (1 - o)], -1)
    carried = tf.concat([o * (1 - t * t), f, d_out], -1)
    transposed = tf.transpose(recurrent)
    carried_steps, masks = array(carried), None if steps.mask is None else array(steps.mask)

    def body(n: Any, gates_t: Any, carried_t: Any, d_h: Any, d_c: Any, filled: Any) -> list[Any]:
        slope, f, d_out = tf.split(carried_t, 3, -1)
        d_h = d_h + d_out
        past_h = past_c = None
        if masks is not None:
            real = tf.cast(masks.read(run.place(n)), d_h.dtype)
            past_h, past_c = d_h * (1 - real), d_c * (1 - real)
            d_h, d_c = d_h * real, d_c * real
        d_c = d_c + d_h * slope
        of_i, of_f, of_g, of_o = tf.split(gates_t, GATES, -1)
        d_z = tf.concat([d_c * of_i, d_c * of_f, d_c * of_g, d_h * of_o], -1)
        filled = filled.write(run.place(n), d_z)  # in place: the gradients take the place of the factors
        following = run.following(n)
        d_h, d_c = tf.matmul(d_z, transposed), d_c * f
        if past_h is not None:
            d_h, d_c = d_h + past_h, d_c + past_c
        return [n + 1, filled.read(following), carried_steps.read(after(following, d_c)), d_h, d_c, filled]

    _, _, _, d_h, d_c, filled = loop(steps.length, body, [run.first(gates), run.first(carried), d_h, d_c, array(gates)])
    return stacked(filled, z), d_h, d_c


forward, backward = compiled(_forward), compiled(_backward)
