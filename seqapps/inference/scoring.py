"""-log p of every unit under a recurrent language model, each unit scored once, padding left out.

One window of logits exists at a time, whatever the length of the text. Log-softmax runs in float32 whatever the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.dataset.ragged import Ragged
from seqapps.errors import UsageError
from seqapps.layers.states import state_sizes, zero_states
from seqapps.optimization.losses import perplexity_of
from seqapps.preprocessing.vocabulary import PAD

_CELLS = 1 << 24
"""Logits of a window of documents: 64 MiB, so that a vocabulary of 50,000 does not decide how much memory it takes."""

_Step = Callable[[Any, Any, dict[str, Any], dict[str, Any]], tuple[Any, dict[str, Any]]]


def stream_nats(model: keras.Model, ids: NDArray[Any], start: int, *, streams: int, window: int) -> NDArray[np.float32]:
    """Returns -log p of every unit of one running text, in text order, `<float32>[N]`.

    The text is cut into `streams` parts of equal length. Each part starts with state zero and the unit before it as its
    first input, and carries its state from window to window to its end; 1 stream carries it over the whole text.

    Args:
        model: tokens and states in, logits and states out.
        ids: the text, `<int>[N]`.
        start: the unit before the first one.
        streams: parts that are scored side by side.
        window: time steps of one call.

    Raises:
        UsageError: `streams` or `window` is below 1, or the model carries no state.
    """
    _check_positive(streams=streams, window=window)
    units = len(ids)
    if not units:
        return np.zeros(0, np.float32)
    streams = min(streams, units)
    length = -(-units // streams)
    window = min(window, length)
    windows = -(-length // window)
    if windows > 1 and not state_sizes(model):
        raise UsageError(
            f"A text of {units} units in {streams} streams needs {windows} windows of {window}, and this model carries "
            "no state from one to the next. Build it with carry = True."
        )
    x = _streams(np.concatenate([[start], ids[:-1]]), streams, length, windows * window)
    y = _streams(ids, streams, length, windows * window)
    nats = np.empty(x.shape, np.float32)
    step, states = _compiled(model, {}), zero_states(model, streams)
    for low in range(0, windows * window, window):
        # The last window is filled up after the text, so that every call has one shape; nothing follows it.
        columns = slice(low, low + window)
        part, states = step(tf.constant(x[:, columns]), tf.constant(y[:, columns]), states, {})
        nats[:, columns] = part.numpy()
    return nats[:, :length].reshape(-1)[:units]


def document_nats(
    model: keras.Model, ids: Ragged, start: int, *, batch_size: int, given: Mapping[str, NDArray[Any]] | None = None
) -> NDArray[np.float32]:
    """Returns -log p of every unit of all rows, in the order of `ids.values`, `<float32>[N]`.

    Every row starts with state zero (or the state that its condition sets) and the input `start`. Rows of like length
    share a batch.

    Args:
        model: tokens, states and what is given in, logits and states out.
        ids: the rows, `<int>[N]` in all.
        start: the unit before the first one of each row.
        batch_size: rows of one call, at most.
        given: name of an input to its value for each row, `[rows, ...]`, for a model that has a condition.

    Raises:
        UsageError: `batch_size` is below 1.
    """
    _check_positive(batch_size=batch_size)
    given = given or {}
    nats = np.empty(len(ids.values), np.float32)
    step = _compiled(model, given)
    for rows in _by_length(ids.lengths, batch_size, _most_steps(model)):
        batch = ids.take(rows)
        inside = np.arange(batch.lengths.max()) < batch.lengths[:, None]
        y = np.full(inside.shape, PAD, np.int32)
        y[inside] = batch.values
        x = np.concatenate([np.full((len(rows), 1), start, np.int32), y[:, :-1]], axis=1)
        places = ids.splits[:-1][rows][:, None] + np.arange(inside.shape[1])
        values = {name: tf.constant(values[rows]) for name, values in given.items()}
        nats[places[inside]] = _padded_nats(step, model, x, y, values)[inside]
    return nats


def _padded_nats(
    step: _Step, model: keras.Model, x: NDArray[np.int32], y: NDArray[np.int32], given: dict[str, Any]
) -> NDArray[np.float32]:
    """Returns -log p of y given x and state zero, `<float32>[B, T]`, by windows when the logits are too many."""
    rows, length = x.shape
    vocabulary = int(model.output["logits"].shape[-1])
    states = zero_states(model, rows)
    window = max(1, _CELLS // (rows * vocabulary)) if states else length
    parts = []
    for low in range(0, length, window):
        columns = slice(low, low + window)
        part, states = step(tf.constant(x[:, columns]), tf.constant(y[:, columns]), states, given)
        parts.append(part.numpy())
    return np.concatenate(parts, axis=1)


def _most_steps(model: keras.Model) -> int:
    """Returns the most rows x longest row of a batch: without states a row cannot be cut into windows."""
    return 0 if state_sizes(model) else max(1, _CELLS // int(model.output["logits"].shape[-1]))


def _compiled(model: keras.Model, given: Mapping[str, NDArray[Any]]) -> _Step:
    """Returns (x, y, states, given) -> (-log p of y `<float32>[B, T]`, next states) as one graph for every shape."""
    tokens = tf.TensorSpec([None, None], tf.int32)
    states = {name: tf.TensorSpec([None, size], tf.float32) for name, size in state_sizes(model).items()}
    inputs = {name: tf.TensorSpec([None, *values.shape[1:]], values.dtype) for name, values in given.items()}
    losses = perplexity_of(model).loss

    @tf.function(input_signature=[tokens, tokens, states, inputs])  # type: ignore[untyped-decorator]
    def step(x: Any, y: Any, states: dict[str, Any], given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        outputs = model({"tokens": x, **states, **given}, training=False)
        return losses(outputs, y), {name: tf.cast(outputs[name], tf.float32) for name in states}

    compiled: _Step = step
    return compiled


def _streams(line: NDArray[Any], streams: int, length: int, padded: int) -> NDArray[np.int32]:
    """Returns a line of units as `<int32>[streams, padded]`: `length` units of it in each row, then padding."""
    full = np.full(streams * length, PAD, np.int32)
    full[: len(line)] = line
    return np.pad(full.reshape(streams, length), ((0, 0), (0, padded - length)), constant_values=PAD)


def _by_length(lengths: NDArray[np.int64], batch_size: int, most_steps: int) -> Iterator[NDArray[np.int64]]:
    """Yields row numbers, the shortest rows first; rows without units are left out.

    Args:
        lengths: of the rows.
        batch_size: most rows.
        most_steps: most rows x longest row (one row at least); 0 sets no limit.
    """
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    while len(order):
        rows = order[:batch_size]
        if most_steps:
            fit = np.count_nonzero(lengths[rows] * np.arange(1, len(rows) + 1) <= most_steps)
            rows = rows[: max(1, int(fit))]
        yield rows
        order = order[len(rows) :]


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise UsageError(f"`{name}` must be at least 1. Received: {value}.")
