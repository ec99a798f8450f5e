"""A recurrent layer, step by step: its cell is rerun over the layer's inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.diagnosis.capture import Call
from seqapps.diagnosis.matrices import largest_singular_value

Floats = NDArray[np.float32]
_SMALLEST = 1e-30
_LARGEST_STATE = 2048
"""State size above which a Jacobian takes too long."""


@dataclass(frozen=True)
class Steps:
    """All steps of a layer in its own reading order, and their gradients.

    Args:
        inputs: `<float32>[B, T, D]`.
        states: by state, before each step and after the last, `<float32>[B, T + 1, D]`.
        outputs: `<float32>[B, T, D]`.
        gradients: by state, of <g, output at the row's last step> with respect to the state after each step,
            `<float32>[B, T, D]`. g is the gradient of the loss with respect to that output.
        real: steps that are not padding, `<bool>[B, T]`.
        seed: where g comes from: see `results.Layer`.
    """

    inputs: Floats
    states: list[Floats]
    outputs: Floats
    gradients: list[Floats]
    real: NDArray[np.bool_]
    seed: Literal["loss", "row", "random"]

    @property
    def distances(self) -> NDArray[np.int64]:
        """T - t of each step: the number of real steps of its row after it, `<int64>[B, T]`."""
        return self.real[:, ::-1].cumsum(axis=1)[:, ::-1] - self.real


def unroll(call: Call) -> Steps:
    """Runs a layer's cell step by step over its inputs, and back-propagates the loss of the last step through it.

    The loss of the last step is linearised: <g, h_T>, g the gradient of the model's loss with respect to h_T. So the
    gradient depends on this layer only.

    Raises:
        ValueError: the steps do not reproduce the layer's outputs: the layer does more than its cell.
    """
    layer, inputs, mask = call.layer, call.sequences, call.mask
    if layer.go_backwards:
        inputs, mask = inputs[:, ::-1], None if mask is None else mask[:, ::-1]
    rows, length = (int(size) for size in inputs.shape[:2])
    initial = call.initial or keras.tree.flatten(layer.states if layer.stateful else layer.get_initial_state(rows))
    begin = [tf.cast(tf.convert_to_tensor(state), layer.cell.compute_dtype) for state in initial]
    with tf.GradientTape() as tape:
        tape.watch(begin)
        after, outputs = _run(layer.cell, inputs, mask, begin)
        stacked = tf.stack(outputs, axis=1)
        _check(call, stacked, after[-1])
        real = _real(call, rows, length)
        asked, seed = _asked(call, real, [int(state.shape[-1]) for state in begin], int(stacked.shape[-1]))
        # With a mask, states are constant after a row's last real step; without one, later steps have no loss.
        target = tf.reduce_sum(tf.cast(stacked, tf.float32) * asked[0])
        for state, gradient in zip(after[-1], asked[1:], strict=True):
            target += tf.reduce_sum(tf.cast(state, tf.float32) * gradient)
    found = tape.gradient(target, after, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    kinds = range(len(begin))
    return Steps(
        inputs=_floats(inputs),
        states=[_floats(tf.stack([begin[kind], *(states[kind] for states in after)], axis=1)) for kind in kinds],
        outputs=_floats(stacked),
        gradients=[_floats(tf.stack([states[kind] for states in found], axis=1)) for kind in kinds],
        real=real,
        seed=seed,
    )


def _run(cell: Any, inputs: Any, mask: Any, begin: list[Any]) -> tuple[list[list[Any]], list[Any]]:
    """Returns the states after each step, and its output; a masked step repeats those before it."""
    after: list[list[Any]] = []
    outputs: list[Any] = []
    states = begin
    for step in range(int(inputs.shape[1])):
        output, new = _step(cell, inputs[:, step], states)
        place = next((place for place, state in enumerate(new) if state is output), None)
        if mask is not None:
            here = tf.cast(mask[:, step], tf.bool)[:, None]
            new = [tf.where(here, now, before) for now, before in zip(new, states, strict=True)]
            output = tf.where(here, output, outputs[-1] if outputs else tf.zeros_like(output))
        # A state that a cell returns unchanged must be a new tensor, or its gradient is that of an earlier step.
        states = [tf.identity(state) for state in new]
        after.append(states)
        # Most cells output their first state: the output's gradient is then that state's.
        outputs.append(output if place is None else states[place])
    return after, outputs


def _step(cell: Any, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
    """Calls a cell without dropout."""
    options = {"training": False} if getattr(cell, "_call_has_training_arg", False) else {}
    output, new = cell(inputs, _nested(cell, states), **options)
    return output, keras.tree.flatten(new)


def _nested(cell: Any, states: list[Any]) -> Any:
    """States as the cell nests them (stacked cells nest those of each cell)."""
    return keras.tree.pack_sequence_as(cell.state_size, states) if keras.tree.is_nested(cell.state_size) else states


def _check(call: Call, outputs: Any, last: list[Any]) -> None:
    """Raises where the outputs differ from the layer's."""
    expected, layer = call.outputs[0], call.layer
    mine = outputs if layer.return_sequences else outputs[:, -1]
    if call.mask is not None and layer.return_sequences:
        mask = call.mask[:, ::-1] if layer.go_backwards else call.mask
        real = tf.cast(mask, expected.dtype)[:, :, None]
        mine, expected = mine * tf.cast(real, mine.dtype), expected * real
    difference = float(tf.reduce_max(tf.abs(tf.cast(mine, tf.float32) - tf.cast(expected, tf.float32))))
    allowed = 1e-3 if keras.backend.standardize_dtype(expected.dtype) == "float32" else 5e-2
    scale = max(1.0, float(tf.reduce_max(tf.abs(tf.cast(expected, tf.float32)))))
    # Written so that nan passes: it is what the diagnosis looks for.
    if difference > allowed * scale:
        raise ValueError(
            f"its cell, called step by step, returns another output than the layer (difference {difference:.2g}): the "
            "layer does more than its cell"
        )


def _real(call: Call, rows: int, length: int) -> NDArray[np.bool_]:
    """Returns which steps are not padding: by the mask, else up to the last step whose output the loss depends on."""
    if call.mask is not None:
        mask: NDArray[np.bool_] = np.asarray(call.mask, bool)
        return mask[:, ::-1] if call.layer.go_backwards else mask
    asked = call.asked[0]
    if any(gradient is not None for gradient in call.asked[1:]) or not call.layer.return_sequences or asked is None:
        return np.ones((rows, length), bool)
    depends = np.any(np.asarray(asked, np.float32) != 0.0, axis=-1)
    if not depends.any():
        return np.ones((rows, length), bool)
    real: NDArray[np.bool_] = depends[:, ::-1].cumsum(axis=1)[:, ::-1] > 0
    return real


def _asked(
    call: Call, real: NDArray[np.bool_], sizes: list[int], width: int
) -> tuple[list[Floats], Literal["loss", "row", "random"]]:
    """Returns g for the outputs `[B, T, D]`, non-zero only at each row's last real step, and for the last states."""
    rows, length = real.shape
    first, *states = [None if gradient is None else _floats(gradient) for gradient in call.asked]
    asked: list[Floats] = [np.zeros((rows, length, width), np.float32)]
    asked += [np.zeros((rows, size), np.float32) for size in sizes]
    places = length - 1 - np.argmax(real[:, ::-1], axis=1)
    everything = np.arange(rows)
    if first is not None:
        last = first[everything, places] if call.layer.return_sequences else first
        asked[0][everything, places] = last
    for place, gradient in enumerate(states[: len(sizes)], 1):
        if gradient is not None:
            asked[place] = gradient
    if any(np.any(gradient) for gradient in asked):
        return asked, "loss"
    whole = np.zeros((rows, width), np.float32) if first is None else first.sum(axis=1) if first.ndim == 3 else first
    if np.any(whole):
        asked[0][everything, places] = whole
        return asked, "row"
    asked[0][everything, places] = np.random.default_rng(0).normal(size=(rows, width))
    return asked, "random"


def gradient_over_time(steps: Steps) -> tuple[Floats, list[Floats], NDArray[np.int64]]:
    """Returns the norm of the gradient at T - t = 0, 1, 2, ... over that at T: of all states, of each state, and rows.

    Each T - t has the median over the rows with such a step and a gradient.

    Returns:
        `<float32>[L]` for all states together, the same for each state alone, and the number of rows `<int64>[L]`.
    """
    squares = [np.square(gradient.astype(np.float64)).sum(axis=-1) for gradient in steps.gradients]
    norms = [np.sqrt(square) for square in (sum(squares[1:], squares[0]), *squares)]
    distances, longest = steps.distances, int(steps.real.sum(axis=1).max(initial=0))
    whole = np.zeros((len(norms[0]), longest))
    curves = [whole.copy() for _ in norms]
    there = np.zeros(whole.shape, bool)
    rows, times = np.nonzero(steps.real)
    places = distances[rows, times]
    for curve, norm in zip(curves, norms, strict=True):
        curve[rows, places] = norm[rows, times]
    there[rows, places] = True
    if longest > 1 and not (curves[0][:, 0] > _SMALLEST).any():
        # The output is not a state of the cell: the last states have no gradient.
        curves, there = [curve[:, 1:] for curve in curves], there[:, 1:]
    first = curves[0][:, :1]
    usable = ~(first[:, 0] <= _SMALLEST) & there[:, 0]
    if not usable.any():
        return np.zeros(1, np.float32), [np.zeros(1, np.float32) for _ in squares], np.zeros(1, np.int64)
    there = there[usable]
    counts = there.sum(axis=0)
    with np.errstate(all="ignore"):
        shares = [np.where(there, curve[usable] / first[usable], np.nan) for curve in curves]
        whole_share, *each = [_middle(share, there) for share in shares]
    return whole_share, each, counts.astype(np.int64)


def _middle(share: NDArray[np.float64], there: NDArray[np.bool_]) -> Floats:
    """Median over the rows of each column; nan where one of them is."""
    columns = [np.median(share[there[:, place], place]) for place in range(share.shape[1])]
    return np.asarray(columns, np.float32)


def jacobian_norms(cell: Any, steps: Steps, samples: int) -> list[tuple[int, float]]:
    """Returns (T - t, spectral norm of d s_t / d s_{t-1}) of steps spread over the longest row.

    s is the whole state (h; of an LSTM h and c, side by side). The whole Jacobian is computed at once: the step is run
    on one copy of the row for each element of the state, and copy i returns the gradient of element i.
    """
    sizes = [state.shape[-1] for state in steps.states]
    if sum(sizes) > _LARGEST_STATE or samples < 1:
        return []
    row = int(np.argmax(steps.real.sum(axis=1)))
    times = np.flatnonzero(steps.real[row])
    chosen = np.unique(np.linspace(0, len(times) - 1, min(samples, len(times))).round().astype(int))
    return [(int(steps.distances[row, times[at]]), _jacobian_norm(cell, steps, row, int(times[at]))) for at in chosen]


def _jacobian_norm(cell: Any, steps: Steps, row: int, time: int) -> float:
    matrix = jacobian(cell, steps.inputs[row, time], [state[row, time] for state in steps.states])
    return largest_singular_value(matrix) if np.isfinite(matrix).all() else float("nan")


def jacobian(cell: Any, inputs: Floats, states: list[Floats]) -> Floats:
    """Returns d s_t / d s_{t-1} at one step of one row, `<float32>[S, S]`, S the size of all states."""
    sizes = [state.shape[-1] for state in states]
    count = sum(sizes)
    dtype = cell.compute_dtype
    with tf.GradientTape() as tape:
        copies = [tf.cast(np.repeat(state[None], count, axis=0), dtype) for state in states]
        tape.watch(copies)
        _, new = _step(cell, tf.cast(np.repeat(inputs[None], count, axis=0), dtype), copies)
        together = tf.concat([tf.cast(state, tf.float32) for state in new], axis=-1)
        target = tf.linalg.trace(together)
    found = tape.gradient(target, copies, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return _floats(tf.concat([tf.cast(gradient, tf.float32) for gradient in found], axis=-1))


def dead_units(steps: Steps, smallest: float = 1e-5) -> int:
    """Returns how many units have a constant output (standard deviation below `smallest`) over all real steps."""
    values = steps.outputs[steps.real]
    return int((values.std(axis=0) < smallest).sum()) if len(values) > 1 else 0


def _floats(tensor: Any) -> Floats:
    found: Floats = tf.cast(tensor, tf.float32).numpy()
    return found
