"""The recurrences as a loop of TensorFlow's own operations: for the higher derivatives that `kernels` lacks.

Slow, and differentiable any number of times. A small static number of steps is unrolled: `GradientTape.jacobian`
vectorises over the rows of a gradient, which it cannot do for the derivative of a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from seqapps.layers.kernels._loops import Steps

_WRITTEN_OUT = 64
"""Steps. A Hessian by `jacobian` takes 16 s of CPU time for 64 steps of an LSTM and 5 s for 16, mostly tracing."""


def recurrence(cell: Callable[..., Sequence[Any]], z: Any, states: Sequence[Any], steps: Steps) -> list[Any]:
    """Returns the outputs `[B, T, u]` and the last states of a cell run over time.

    Args:
        cell: (z_t, previous states) to the next states, the first of which is the output.
        z: `<float>[B, T, n]`.
        states: `<float>[B, u]` each.
        steps: which, and in which order.
    """
    known = z.shape[1]
    if known and known <= _WRITTEN_OUT and isinstance(steps.reverse, bool):
        return _written_out(cell, z, states, steps._replace(length=known))
    given = tf.TensorArray(z.dtype, tf.shape(z)[1], clear_after_read=False).unstack(tf.transpose(z, (1, 0, 2)))
    outputs = tf.TensorArray(z.dtype, tf.shape(z)[1], element_shape=states[0].shape)
    real = None if steps.mask is None else tf.transpose(steps.mask, (1, 0, 2))

    def body(n: Any, outputs: Any, *before: Any) -> list[Any]:
        place = steps.place(n)
        after = _after(cell, given.read(place), before, None if real is None else real[place])
        return [n + 1, outputs.write(place, after[0]), *after]

    _, outputs, *last = tf.while_loop(
        lambda n, *_: n < steps.length, body, [tf.constant(0), outputs, *states], maximum_iterations=steps.length
    )
    return [tf.transpose(outputs.stack(), (1, 0, 2)), *last]


def _written_out(cell: Callable[..., Sequence[Any]], z: Any, states: Sequence[Any], steps: Steps) -> list[Any]:
    outputs: dict[int, Any] = {}
    for n in range(steps.length):
        place = steps.place(n)
        states = _after(cell, z[:, place], states, None if steps.mask is None else steps.mask[:, place])
        outputs[place] = states[0]
    return [tf.stack([outputs[place] for place in sorted(outputs)], axis=1), *states]


def _after(cell: Callable[..., Sequence[Any]], z: Any, before: Sequence[Any], real: Any) -> Sequence[Any]:
    """Returns the states after a step; where `real` `<bool>[B, 1]` is False, the previous ones."""
    after = cell(z, *before)
    return after if real is None else [tf.where(real, one, other) for one, other in zip(after, before, strict=True)]
