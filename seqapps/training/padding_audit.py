"""The padding audit: checks before training that padding and the other examples of a batch do not change outputs.

Sample weights mask padding in losses and metrics; only the model itself keeps it out of its outputs. A pooling layer
without its mask, a backward direction that starts on padding, or a layer that mixes examples trains without an error
and is worse in service, where examples arrive singly. So one batch is run as it is, with padding appended, and example
by example, each cut to its own length.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.batching import Batches
from seqapps.dataset.ragged import evenly_spaced
from seqapps.errors import RunError
from seqapps.layers.states import STATE, zero_states
from seqapps.training.log import Audit

__all__ = ["Audit", "audit"]

Batch = tuple[Mapping[str, Any], Any, Any]
"""(x, y, weights), as yielded by `Batches.dataset`."""
Outputs = Mapping[str, NDArray[Any]]
Lengths = Mapping[int, NDArray[np.int64]]
"""Size of a time axis to the number of real steps of each example, `<int64>[B]`."""

TOLERANCE = {"float32": 1e-5, "mixed_bfloat16": 1e-2, "mixed_float16": 1e-2}
"""Precision to the largest difference due to rounding, relative to max(1, |value|)."""

_STEPS = 3
_BATCHES, _ROWS, _ALONE = 8, 8, 3


@dataclass(frozen=True)
class _Change:
    """A variant of the batch: indices of its examples, and inputs that must have the same outputs for them."""

    what: str
    examples: slice
    x: Mapping[str, Any]


def audit(model: keras.Model, batches: Batches, *, precision: str = "float32") -> Audit:
    """Runs a model on a padded batch, on the batch with more padding, and on single examples, in inference mode.

    The batch is the one with most padding among the first few; a few of its examples are used, from the shortest to
    the longest. Carried states start from zero.

    Args:
        model: inputs named as in x.
        batches: of the training split.
        precision: `training.precision`, which determines the rounding tolerance.

    Raises:
        RunError: an output differs; names the difference and the first layer whose output differs.
    """
    began, tolerance = time.monotonic(), TOLERANCE[precision]
    batch = _most_padded(model, batches)
    x, _, weights = batch
    examples = len(_real_examples(weights))
    changes = [_Change(f"{_STEPS} steps of padding, appended,", slice(None), append_padding(model, batch, _STEPS)[0])]
    for example in _spread(np.flatnonzero(_real_examples(weights)), _ALONE):
        changes.append(
            _Change("the other examples of the batch", slice(example, example + 1), alone(model, batch, example)[0])
        )
    largest, outputs = 0.0, 0
    with full_precision():
        outputs_of = runner(model, x)
        plain = outputs_of(x)
        for change in changes:
            found = _differences(model, batch, change, plain, outputs_of)
            name, difference = max(found.items(), key=lambda item: item[1], default=("", 0.0))
            if difference > tolerance:
                layer = _first_layer(model, name, batch, change, tolerance)
                raise RunError(
                    f"padding audit: {change.what} changes the output `{name}` by {difference:.3g} (allowed: "
                    f"{tolerance:g} of max(1, |value|)). The first layer whose output differs is {layer}. Hand it the "
                    "mask, or set what stands on padding to a value that changes nothing."
                )
            largest, outputs = max(largest, difference), outputs + len(found)
    return Audit(largest, outputs, examples, _padding(model, batch), round(time.monotonic() - began, 3))


# ---- batches


def append_padding(model: keras.Model, batch: Batch, steps: int) -> Batch:
    """Returns a batch with `steps` more steps of padding at the end of every time axis.

    A time axis is an axis >= 1 of an input whose size the model leaves open (None): zeros are appended to each (a
    `[B, T, C]` input with two of them gets both). Axes of a fixed size (features, a fixed history) stay. The weights'
    axis 1, and that of every part of y that is as long, is appended to when it is a time axis of the model: when no
    output has it as a fixed size and an output, or an input, has an open axis there. Weights of what is appended are 0.
    """
    x, y, weights = batch
    open_axes = _open_axes(model, x)
    longer = {name: _appended(value, open_axes.get(name, ()), steps) for name, value in x.items()}
    axes_of = _axes_beside_weights(model, batch)
    y, weights = tf.nest.map_structure(lambda value: _appended(value, axes_of(value), steps), (y, weights))
    return longer, y, weights


def alone(model: keras.Model, batch: Batch, example: int) -> Batch:
    """Returns one example as a batch of one, every time axis cut to the example's own length (`lengths_of`)."""
    x, y, weights = batch
    lengths = {size: int(found[example]) for size, found in lengths_of(model, batch).items()}
    open_axes = _open_axes(model, x)
    cut = {name: _cut(value[example : example + 1], open_axes.get(name, ()), lengths) for name, value in x.items()}
    axes_of = _axes_beside_weights(model, batch)
    y, weights = tf.nest.map_structure(
        lambda value: _cut(value[example : example + 1], axes_of(value), lengths), (y, weights)
    )
    return cut, y, weights


def lengths_of(model: keras.Model, batch: Batch) -> dict[int, NDArray[np.int64]]:
    """Returns size of a time axis to the number of real steps of each example, `<int64>[B]`, at least 1.

    A step is real up to the last one at which an input on that axis is not 0, or a weight is above 0. An axis that
    has neither ids nor weights is left out: zeros of measured values are not padding.
    """
    x, _, weights = batch
    last: dict[int, NDArray[np.int64]] = {}
    known = set()
    for name, axes in _open_axes(model, x).items():
        values: NDArray[Any] = np.asarray(x[name])
        for axis in axes:
            size = values.shape[axis]
            other = tuple(place for place in range(1, values.ndim) if place != axis)
            last[size] = np.maximum(last.get(size, 1), _last_true(np.any(values != 0, axis=other)))
            if values.dtype.kind in "iub":
                known.add(size)
    if _weights_have_time(model, batch):
        values = np.asarray(weights)
        size = values.shape[1]
        last[size] = np.maximum(last.get(size, 1), _last_true(np.any(values > 0, axis=tuple(range(2, values.ndim)))))
        known.add(size)
    return {size: found for size, found in last.items() if size in known}


# ---- outputs


def runner(model: keras.Model, x: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Outputs]:
    """Returns a function from inputs like x, of any number of examples and steps, to the outputs by name: one graph.

    Outputs that are not numbers of a varying precision (ids, booleans) are left out, and so are carried states
    (`state_*`): after padding at the end, the state of a causal layer legitimately differs.
    """
    open_axes = _open_axes(model, x)
    signature = {
        name: tf.TensorSpec(
            [None, *(None if axis in open_axes.get(name, ()) else value.shape[axis] for axis in range(1, value.ndim))],
            value.dtype,
        )
        for name, value in x.items()
    }

    def outputs_of(inputs: Mapping[str, Any]) -> dict[str, Any]:
        states = zero_states(model, tf.shape(next(iter(inputs.values())))[0])
        found = model({**inputs, **states}, training=False)
        named = found if isinstance(found, Mapping) else dict(enumerate(tf.nest.flatten(found)))
        kept = {str(name): value for name, value in named.items() if not str(name).startswith(STATE)}
        return {name: tf.cast(value, tf.float32) for name, value in kept.items() if value.dtype.is_floating}

    # The concrete graph: TensorFlow would warn that a function made for each model is retraced repeatedly.
    graph = tf.function(outputs_of, autograph=False).get_concrete_function(signature)
    return lambda inputs: {name: value.numpy() for name, value in graph(dict(inputs)).items()}


def compare(first: Outputs, second: Outputs, weights: Any, lengths: Lengths | None = None) -> dict[str, float]:
    """Returns the largest difference |a - b| / max(1, |a|) of each output over the real positions.

    Axis 0 is examples: those with a weight above 0 are compared. Axis 1 of an output that is as long as axis 1 of the
    weights: positions with a weight above 0. Every axis that is longer in one of the two is cut to the shorter; if
    `lengths` has its size, each example's steps beyond its length are left out (an attention over source steps, the
    output of an encoder). All other axes are compared whole. An output whose axis 0 is not the examples is left out.

    Args:
        first: output name to array; its axes are those of `weights` and `lengths`.
        second: the same outputs of the same examples, with more or less padding.
        weights: `<float32>[B, ...]`.
        lengths: of the time axes of `first`.
    """
    weights = np.asarray(weights)
    return {
        name: _difference(first[name], second[name], weights, lengths or {})
        for name in first
        if name in second and first[name].ndim and len(first[name]) == len(second[name]) == len(weights)
    }


@contextmanager
def full_precision() -> Iterator[None]:
    """Disables TensorFloat-32, to which a GPU rounds the factors of float32 products, within the context."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _difference(first: NDArray[Any], second: NDArray[Any], weights: NDArray[Any], lengths: Lengths) -> float:
    real = np.ones(first.shape, bool)
    real &= _real_examples(weights).reshape(-1, *[1] * (first.ndim - 1))
    for axis in range(1, first.ndim):
        size = first.shape[axis]
        if axis == 1 and weights.ndim > 1 and weights.shape[1] == size:
            counts = np.any(weights > 0, axis=tuple(range(2, weights.ndim)))
        elif size != second.shape[axis] and size in lengths:
            counts = np.arange(size) < lengths[size][:, None]
        else:
            continue
        real &= counts.reshape(len(first), *[size if place == axis else 1 for place in range(1, first.ndim)])
    shorter = tuple(slice(min(pair)) for pair in zip(first.shape, second.shape, strict=True))
    a, b, real = first[shorter].astype(np.float64), second[shorter].astype(np.float64), real[shorter]
    with np.errstate(invalid="ignore"):
        found = np.where(a == b, 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(a)))
    found = np.where(np.isnan(a) & np.isnan(b), 0.0, np.where(np.isnan(found), np.inf, found))
    return float(found[real].max(initial=0.0))


def _differences(
    model: keras.Model,
    batch: Batch,
    change: _Change,
    plain: Outputs,
    outputs_of: Callable[[Mapping[str, Any]], Outputs],
) -> dict[str, float]:
    lengths = {size: found[change.examples] for size, found in lengths_of(model, batch).items()}
    examples = len(_real_examples(batch[2]))
    first = {name: value[change.examples] for name, value in plain.items() if value.ndim and len(value) == examples}
    return compare(first, outputs_of(change.x), np.asarray(batch[2])[change.examples], lengths)


def _first_layer(model: keras.Model, output: str, batch: Batch, change: _Change, tolerance: float) -> str:
    """Returns the first layer on the path to an output whose own output differs."""
    outputs = model.output
    end = outputs[output] if isinstance(outputs, Mapping) else tf.nest.flatten(outputs)[int(output)]
    way = [tensor for tensor in _way_to(end) if not isinstance(_maker(tensor), keras.layers.InputLayer)]
    probe = keras.Model(model.input, {str(place): tensor for place, tensor in enumerate(way)})
    outputs_of = runner(probe, batch[0])
    found = _differences(model, batch, change, outputs_of(batch[0]), outputs_of)
    for place, tensor in enumerate(way):
        if found.get(str(place), 0.0) > tolerance:
            maker = _maker(tensor)
            return f"`{maker.name}` ({type(maker).__name__})"
    return f"that of `{output}`"


def _way_to(end: Any) -> list[Any]:
    """Returns the symbolic tensors that one depends on in topological order, itself last."""
    ordered: dict[int, Any] = {}
    waiting = [(end, False)]
    while waiting:
        tensor, is_done = waiting.pop()
        if id(tensor) in ordered:
            continue
        if is_done:
            ordered[id(tensor)] = tensor
            continue
        waiting.append((tensor, True))
        # Keras has no public API to walk its graph.
        operation, node, _ = tensor._keras_history
        inputs = operation._inbound_nodes[node].input_tensors
        waiting += [(tensor, False) for tensor in inputs]
    return list(ordered.values())


def _maker(tensor: Any) -> Any:
    return tensor._keras_history.operation


# ---- axes


def _open_axes(model: keras.Model, x: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Returns input name to its axes >= 1 whose size the model leaves open."""
    inputs = {tensor.name: tensor.shape for tensor in model.inputs}
    return {
        name: tuple(axis for axis, size in enumerate(inputs[name]) if axis and size is None)
        for name in x
        if name in inputs
    }


def _weights_have_time(model: keras.Model, batch: Batch) -> bool:
    """Returns whether axis 1 of the weights is a time axis of the model, and not a fixed number of outputs."""
    x, _, weights = batch
    if weights.shape.rank < 2:
        return False
    size = weights.shape[1]
    shapes = [tensor.shape for tensor in model.outputs if len(tensor.shape) > 1 and not tensor.name.startswith(STATE)]
    named = model.output if isinstance(model.output, Mapping) else {}
    shapes = [tensor.shape for name, tensor in named.items() if not name.startswith(STATE)] or shapes
    second = [shape[1] for shape in shapes if len(shape) > 1]
    if size in second:
        return False
    open_sizes = {int(x[name].shape[axis]) for name, axes in _open_axes(model, x).items() for axis in axes}
    return None in second or size in open_sizes


def _axes_beside_weights(model: keras.Model, batch: Batch) -> Callable[[Any], tuple[int, ...]]:
    """Returns a function from the weights, or a part of y, to its time axes: axis 1 or none."""
    steps = batch[2].shape[1] if _weights_have_time(model, batch) else None

    def axes_of(value: Any) -> tuple[int, ...]:
        return (1,) if steps is not None and value.shape.rank >= 2 and value.shape[1] == steps else ()

    return axes_of


def _appended(value: Any, axes: tuple[int, ...], steps: int) -> Any:
    return tf.pad(value, [[0, steps if axis in axes else 0] for axis in range(value.shape.rank)]) if axes else value


def _cut(value: Any, axes: tuple[int, ...], lengths: Mapping[int, int]) -> Any:
    sizes = [slice(lengths.get(size, size)) if axis in axes else slice(None) for axis, size in enumerate(value.shape)]
    return value[tuple(sizes)]


def _last_true(found: Any) -> NDArray[np.int64]:
    """Returns the index after the last True of each example, `<bool>[B, T] -> <int64>[B]`; 0 without one."""
    backward: NDArray[np.int64] = np.argmax(found[:, ::-1], axis=1).astype(np.int64)
    return np.where(found.any(axis=1), found.shape[1] - backward, 0)


def _real_examples(weights: Any) -> NDArray[np.bool_]:
    """Returns which examples have a weight above 0, `<bool>[B]`."""
    values = np.asarray(weights)
    found: Any = np.any(values > 0, axis=tuple(range(1, values.ndim)))
    examples: NDArray[np.bool_] = found
    return examples


def _padding(model: keras.Model, batch: Batch) -> float:
    """Returns the share of padding in the time axes of the weighted examples."""
    real = _real_examples(batch[2])
    shares = [1.0 - found[real].mean() / size for size, found in lengths_of(model, batch).items() if size]
    return float(np.mean(shares)) if shares and real.any() else 0.0


def _most_padded(model: keras.Model, batches: Batches) -> Batch:
    """Returns a few examples of the batch with most padding, among the first few of an epoch."""
    found = list(itertools.islice(iter(batches.dataset(0)), _BATCHES))
    x, y, weights = max(found, key=lambda batch: _padding(model, batch))
    lengths = sum(lengths_of(model, (x, y, weights)).values(), np.zeros(len(_real_examples(weights)), np.int64))
    real = np.flatnonzero(_real_examples(weights))
    chosen = np.array(_spread(real[np.argsort(lengths[real], kind="stable")], _ROWS), np.int64)

    def take(value: Any) -> Any:
        return tf.gather(value, chosen)

    return {name: take(value) for name, value in x.items()}, tf.nest.map_structure(take, y), take(weights)


def _spread(examples: NDArray[Any], count: int) -> list[int]:
    """Returns at most `count` of the examples: the first, the last and some between."""
    return [int(examples[place]) for place in evenly_spaced(len(examples), count)]
