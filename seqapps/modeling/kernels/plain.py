"""The recurrences once more, as a loop of TensorFlow's own operations: for the derivatives that `kernels` has not.

Slow, and differentiable as often as one likes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from seqapps.modeling.kernels._loops import Steps


def recurrence(cell: Callable[..., Sequence[Any]], z: Any, states: Sequence[Any], steps: Steps) -> list[Any]:
    """Returns the outputs `[B, T, u]` and the last states of a cell that is run over time.

    Args:
        cell: (z_t, states before) to the states after, whose first one is the output.
        z: `<float>[B, T, n]`.
        states: `<float>[B, u]` each.
        steps: which, and in which order.
    """
    given = tf.TensorArray(z.dtype, tf.shape(z)[1], clear_after_read=False).unstack(tf.transpose(z, (1, 0, 2)))
    outputs = tf.TensorArray(z.dtype, tf.shape(z)[1], element_shape=states[0].shape)
    real = None if steps.mask is None else tf.transpose(steps.mask, (1, 0, 2))

    def body(n: Any, outputs: Any, *before: Any) -> list[Any]:
        place = steps.place(n)
        after = cell(given.read(place), *before)
        if real is not None:
            after = [tf.where(real[place], one, other) for one, other in zip(after, before, strict=True)]
        return [n + 1, outputs.write(place, after[0]), *after]

    _, outputs, *last = tf.while_loop(
        lambda n, *_: n < steps.length, body, [tf.constant(0), outputs, *states], maximum_iterations=steps.length
    )
    return [tf.transpose(outputs.stack(), (1, 0, 2)), *last]
