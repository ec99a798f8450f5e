"""-log p of every token under a recurrent language model, each token scored once, without padding.

Only one window of logits is in memory, for any length of the text. Log-softmax runs in float32 under any policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.batching.rows import shift_right
from seqapps.dataset.ragged import Ragged
from seqapps.errors import UsageError
from seqapps.layers.states import state_sizes, zero_states
from seqapps.optimization.losses import perplexity_of
from seqapps.preprocessing.vocabulary import PAD

_CELLS = 1 << 24
"""Logits of a window of documents: 64 MiB, to limit the memory for a large vocabulary, such as 50,000."""

_Step = Callable[[Any, Any, dict[str, Any], dict[str, Any]], tuple[Any, dict[str, Any]]]


def stream_nats(model: keras.Model, ids: NDArray[Any], start: int, *, streams: int, window: int) -> NDArray[np.float32]:
    """Returns -log p of every token of one continuous text, in text order, `<float32>[N]`.

    The text is split into `streams` parts of equal length. Each part starts with zero state and the previous token as
    first input, and carries its state across windows; 1 stream carries it over the whole text.

    Args:
        model: from tokens and states to logits and states.
        ids: the text, `<int>[N]`.
        start: the token before the first one.
        streams: parts that are scored in parallel.
        window: time steps of one call.

    Raises:
        UsageError: `streams` or `window` is below 1, or the model is not stateful.
    """
    _check_positive(streams=streams, window=window)
    tokens = len(ids)
    if not tokens:
        return np.zeros(0, np.float32)
    streams = min(streams, tokens)
    length = -(-tokens // streams)
    window = min(window, length)
    windows = -(-length // window)
    if windows > 1 and not state_sizes(model):
        raise UsageError(
            f"A text of {tokens} tokens in {streams} streams needs {windows} windows of {window}, and this model "
            "carries no state from one to the next. Build it with carry = True."
        )
    x = _streams(np.concatenate([[start], ids[:-1]]), streams, length, windows * window)
    y = _streams(ids, streams, length, windows * window)
    nats = np.empty(x.shape, np.float32)
    step, states = _compiled(model, {}), zero_states(model, streams)
    for low in range(0, windows * window, window):
        # The last window is padded, so that every call has one shape.
        columns = slice(low, low + window)
        part, states = step(tf.constant(x[:, columns]), tf.constant(y[:, columns]), states, {})
        nats[:, columns] = part.numpy()
    return nats[:, :length].reshape(-1)[:tokens]


def document_nats(
    model: keras.Model, ids: Ragged, start: int, *, batch_size: int, given: Mapping[str, NDArray[Any]] | None = None
) -> NDArray[np.float32]:
    """Returns -log p of every token of all rows, in the order of `ids.values`, `<float32>[N]`.

    Every row starts with zero state (or the one from its condition) and the input `start`. Rows of similar length
    share a batch.

    Args:
        model: from tokens, states and `given` to logits and states.
        ids: the rows, `<int>[N]` in all.
        start: the token before the first one of each row.
        batch_size: maximum number of rows of one call.
        given: name of an input to its value for each row, `[rows, ...]`, for a conditional model.

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
        x = shift_right(tf.constant(y), start).numpy()
        places = ids.splits[:-1][rows][:, None] + np.arange(inside.shape[1])
        values = {name: tf.constant(values[rows]) for name, values in given.items()}
        nats[places[inside]] = _padded_nats(step, model, x, y, values)[inside]
    return nats


def _padded_nats(
    step: _Step, model: keras.Model, x: NDArray[np.int32], y: NDArray[np.int32], given: dict[str, Any]
) -> NDArray[np.float32]:
    """Returns -log p of y given x and zero state, `<float32>[B, T]`, in windows if there are too many logits."""
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
    """Returns the maximum of rows x longest row of a batch: without states a row cannot be split into windows."""
    return 0 if state_sizes(model) else max(1, _CELLS // int(model.output["logits"].shape[-1]))


def _compiled(model: keras.Model, given: Mapping[str, NDArray[Any]]) -> _Step:
    """Returns (x, y, states, given) -> (-log p of y `<float32>[B, T]`, next states) as one graph for all shapes."""
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
    """Returns a sequence of tokens as `<int32>[streams, padded]`: `length` of them in each row, then padding."""
    full = np.full(streams * length, PAD, np.int32)
    full[: len(line)] = line
    return np.pad(full.reshape(streams, length), ((0, 0), (0, padded - length)), constant_values=PAD)


def _by_length(lengths: NDArray[np.int64], batch_size: int, most_steps: int) -> Iterator[NDArray[np.int64]]:
    """Yields row indices, the shortest rows first; empty rows are left out.

    Args:
        lengths: of the rows.
        batch_size: maximum number of rows.
        most_steps: maximum of rows x longest row (at least one row); 0 for no limit.
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
