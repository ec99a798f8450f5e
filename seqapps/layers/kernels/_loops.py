"""Shared parts of the kernels: loops that XLA compiles well, products over all time steps, and streams.

Tensors are batch-major, `[B, T, D]`: reading and writing a step is as fast as in a time-major array and avoids the
transpositions. XLA recompiles a function for every shape, but not for every number of steps that a loop runs: where it
differs from batch to batch, the arrays are somewhat longer than the loop.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

_SHORTEST = 4
_UNDIVIDED = 128
_ROWS_PER_STREAM = 8
_LARGEST_MATRIX = 4 * 2**20
"""Largest recurrent matrix, in bytes, for which a batch is split."""


class Steps(NamedTuple):
    """Which steps a loop runs, and in which order.

    Args:
        length: number of steps, `<int32>[]` or, where it is static, a number.
        reverse: whether the last one comes first; `<bool>[]` in code for both directions.
        mask: `<bool>[B, T, 1]`, False where the states pass through a step unchanged; None for no mask.
    """

    length: Any
    reverse: Any
    mask: Any = None

    def fill(self, x: Any) -> Any:
        """Returns x `[B, T, ...]` padded with zero steps, so that there are few different shapes to compile.

        16, 32, 64 or 128 steps in all, and above that 1.5 or 2 times a power of two. None stays None.
        """
        if isinstance(self.length, int) or x is None:
            return x
        length = tf.cast(tf.maximum(self.length, 1), tf.float64)
        octave = tf.cast(tf.math.ceil(tf.math.log(length - 0.5) / math.log(2.0)), tf.int32)
        whole = tf.bitwise.left_shift(1, tf.maximum(octave, _SHORTEST))
        shorter = whole - whole // 4
        wanted = tf.where((whole > _UNDIVIDED) & (self.length <= shorter), shorter, whole)
        return pad(x, 1, wanted - self.length)

    def cut(self, x: Any) -> Any:
        """Returns x without the padding of `fill`."""
        return x if isinstance(self.length, int) else x[:, : self.length]

    def place(self, n: Any) -> Any:
        """Returns the time index of the n-th step that the loop runs."""
        return self._by_direction(self.length - 1 - n, n)

    def first(self, x: Any) -> Any:
        """Returns the step of x that the loop begins with."""
        return read(x, self.place(0))

    def real(self, n: Any) -> Any:
        """Returns the mask of the n-th step, `<bool>[B, 1]`."""
        return read(self.mask, self.place(n))

    def following(self, n: Any) -> Any:
        """Returns the time index of the step after the n-th; for the last one, its own."""
        return self.place(tf.minimum(n + 1, self.length - 1))

    def passing(self, n: Any, gradient: Any) -> tuple[Any, Any]:
        """Returns the part of a gradient that enters the n-th step, and the part that bypasses masked rows."""
        if self.mask is None:
            return gradient, tf.zeros((), gradient.dtype)
        real = tf.cast(self.real(n), gradient.dtype)
        return gradient * real, gradient * (1 - real)

    def back(self) -> Steps:
        """Returns the same steps in the other order."""
        return self._replace(reverse=self._by_direction(False, True))

    def traceable(self) -> Steps:
        """Returns the same steps with a dynamic direction if their number is dynamic."""
        return self if isinstance(self.length, int) else self._replace(reverse=tf.constant(self.reverse))

    def _by_direction(self, back: Any, forth: Any) -> Any:
        if isinstance(self.reverse, bool):
            return back if self.reverse else forth
        return tf.where(self.reverse, back, forth)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function compiled by XLA: once for all layers that call it with the same shapes.

    With dynamic lengths, both directions share one compilation.
    """
    graph = tf.function(function, jit_compile=True, autograph=False)

    def call(*arguments: Any) -> Any:
        found = graph(*[given.traceable() if isinstance(given, Steps) else given for given in arguments])
        # Stops TensorFlow from differentiating the compiled graph itself.
        return tf.nest.map_structure(tf.stop_gradient, found)

    return call


def loop(length: Any, body: Callable[..., Any], state: Sequence[Any]) -> Any:
    """Runs `body(n, *state)`, which returns `[n + 1, *state]`, for n below `length`."""
    return tf.while_loop(lambda n, *_: n < length, body, [tf.constant(0), *state], parallel_iterations=1)


def read(x: Any, step: Any) -> Any:
    """Returns a step of x, `[B, T, D]` to `[B, D]`. For x[:, tensor] XLA would recompile for every length."""
    rows, width = tf.shape(x)[0], tf.shape(x)[2]
    found = xla.dynamic_slice(x, tf.stack([0, step, 0]), tf.stack([rows, 1, width]))
    return tf.ensure_shape(tf.reshape(found, tf.stack([rows, width])), (x.shape[0], x.shape[2]))


def write(x: Any, step: Any, value: Any) -> Any:
    """Returns x `[B, T, D]` with one step replaced; in a loop XLA does so in place."""
    return tf.ensure_shape(xla.dynamic_update_slice(x, value[:, None], tf.stack([0, step, 0])), x.shape)


def after(n: Any, x: Any) -> Any:
    """Returns n, made to depend on x: reads at n are ordered after x, so that XLA copies no buffer."""
    return n + tf.cast(tf.reshape(x, (-1,))[0] * 0.0, tf.int32)


def empty(like: Any, units: int) -> Any:
    """Returns zeros `[B, T, units]` with the rows and steps of `like`."""
    zeros = tf.zeros(tf.concat([tf.shape(like)[:2], [units]], 0), like.dtype)
    return tf.ensure_shape(zeros, [*like.shape[:2], units])


def before(h: Any, first: Any, reverse: bool) -> Any:
    """Returns the state before each step: `h` `[B, T, u]` shifted by one step, with `first` `[B, u]` first."""
    first = first[:, None]
    return tf.concat([h[:, 1:], first] if reverse else [first, h[:, :-1]], 1)


def project(x: Any, kernel: Any, bias: Any = None) -> Any:
    """Returns x W + b of all steps as one product, `[B, T, n]`."""
    flat = tf.matmul(tf.reshape(x, (-1, x.shape[-1])), kernel)
    if bias is not None:
        flat = tf.nn.bias_add(flat, bias)
    return tf.reshape(flat, tf.concat([tf.shape(x)[:-1], [kernel.shape[-1]]], 0))


def outer(a: Any, b: Any) -> Any:
    """Returns the sum over all steps and rows of a^T b, `[B, T, m]` and `[B, T, n]` to `[m, n]`, as one product."""
    return tf.matmul(tf.reshape(a, (-1, a.shape[-1])), tf.reshape(b, (-1, b.shape[-1])), transpose_a=True)


def column_sums(a: Any) -> Any:
    """Returns the sum over all but the last axis as a product, several times as fast as a reduction over rows."""
    flat = tf.reshape(a, (-1, a.shape[-1]))
    return tf.matmul(tf.ones((1, tf.shape(flat)[0]), a.dtype), flat)[0]


def pad(x: Any, axis: int, count: Any) -> Any:
    """Returns x padded with `count` zeros at the end of an axis. None stays None."""
    if x is None:
        return None
    longer = tf.pad(x, [[0, count if place == axis else 0] for place in range(x.shape.rank)])
    return tf.ensure_shape(longer, [None if place == axis else size for place, size in enumerate(x.shape)])


def streams(rows: int | None, recurrent: Any, beside: int = 1) -> int:
    """Returns into how many independent loops a batch is split; the executor runs them on as many cores.

    Every loop reads the whole recurrent matrix at each step. Where it exceeds a core's cache, one loop with products
    distributed over the cores is faster.

    Args:
        rows: of the batch; None if dynamic, with `missing_rows` added.
        recurrent: the recurrent matrix.
        beside: recurrences that run concurrently, such as both directions of a layer, and share the cores.
    """
    if recurrent.shape.num_elements() * recurrent.dtype.size > _LARGEST_MATRIX:
        return 1
    cores = max(1, len(os.sched_getaffinity(0)) // beside)
    if rows is None:
        return cores
    count = max(1, min(cores, rows // _ROWS_PER_STREAM))
    while rows % count:
        count -= 1
    return count


def missing_rows(rows: Any) -> Any:
    """Returns the number of padding rows for a batch of dynamic size, `<int32>[]`.

    The size becomes a multiple of 8 for each core, at least one, and for large batches of a sixteenth of a power of
    two: the padding stays below an eighth, and there are few different shapes to compile.
    """
    octave = tf.cast(tf.math.log(tf.cast(rows, tf.float64) + 0.5) / math.log(2.0), tf.int32)
    finest = _ROWS_PER_STREAM * len(os.sched_getaffinity(0))
    unit = finest * tf.maximum(1, tf.bitwise.left_shift(1, tf.maximum(octave - 3, 0)) // finest)
    return -tf.maximum(rows, 1) % unit + tf.maximum(rows, 1) - rows


def filled_rows(rows: int) -> int:
    """Returns the number of rows that a batch is padded to in eager execution.

    A power of two for small batches, at least 1; for large ones as in `missing_rows`.
    """
    if rows <= _ROWS_PER_STREAM * len(os.sched_getaffinity(0)):
        return 1 << max(rows - 1, 0).bit_length()
    return rows + int(missing_rows(tf.constant(rows)))
