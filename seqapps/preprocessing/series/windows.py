"""Parts of series to the features of all their windows, as Beam writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from seqapps.dataset.ragged import Ragged
from seqapps.dataset.schema import Feature, Schema
from seqapps.errors import DataError
from seqapps.preprocessing.series.features import WindowFeatures
from seqapps.preprocessing.series.parts import Arrays, Part
from seqapps.preprocessing.series.plan import Plan

_CELLS = 1 << 22
"""Numbers in the histories that are built at once: 32 MiB."""


def schema_of(plan: Plan) -> Schema:
    """Returns the features of one window. The first, the target, determines the length."""
    columns, steps, targets = plan.columns, plan.horizon, len(plan.columns.targets)
    found = [
        ("target", "float32", (steps, targets), "what is forecast, in standard units; 0 where it is missing"),
        ("scored", "float32", (steps, targets), "1 where the target is there, 0 where it is missing"),
        ("history", "float32", (plan.history, plan.features), "the steps before, in standard units, without gaps"),
        ("codes", "int64", (plan.history, len(columns.labels)), "categories of the steps before, 0 for unknown ones"),
        ("known", "float32", (steps, plan.known), "what is known of the steps that are forecast"),
        ("known_codes", "int64", (steps, len(columns.known_labels)), "their categories"),
        ("static", "float32", (len(columns.static_numbers),), "what is one for the whole series"),
        ("static_codes", "int64", (len(columns.static_labels),), "its categories"),
        ("seasonal", "float32", (steps, targets), "the target of the same season before"),
        ("origin", "int64", (), "time of the last step of the history, in seconds since 1970"),
        ("series", "string", (), "name of the series"),
    ]
    kept = [item for item in found if not item[2] or item[2][-1]]
    return Schema(
        features=tuple(Feature(name=name, dtype=dtype, shape=shape, meaning=said) for name, dtype, shape, said in kept)
    )


def encode_windows(parts: Sequence[Part], plan: Plan, resources: Mapping[str, Any]) -> dict[str, Ragged]:
    """Returns every feature of `schema_of` for the windows of all parts, in order of time within a part.

    Raises:
        DataError: a part has another step than the training part.
    """
    step = resources["frequency"].names[0]
    for part in parts:
        if part.frequency != step:
            raise DataError(
                f"Series {part.series.name!r} has another step than the training part. Received: {part.frequency}. "
                f"Allowed: {step}. Remedy: other files in `source`, or set `data.frequency`."
            )
    schema, make = schema_of(plan), WindowFeatures(plan, resources)
    blocks = [block for part in parts for block in _blocks(part, plan, make, resources)]
    features = {}
    for feature in schema.features:
        dtype = {"float32": np.float32, "int64": np.int64, "string": object}[feature.dtype]
        shape = tuple(size or 0 for size in feature.shape)
        values = [np.asarray(block[feature.name], dtype) for block in blocks]
        rows = np.concatenate(values) if values else np.zeros((0, *shape), dtype)
        length = shape[0] if shape else 1
        flat = rows.reshape(len(rows) * length, *shape[1:])
        features[feature.name] = Ragged(flat, np.arange(len(rows) + 1, dtype=np.int64) * length)
    return features


def _blocks(part: Part, plan: Plan, make: WindowFeatures, resources: Mapping[str, Any]) -> Iterator[Arrays]:
    """Yields the features of some windows of a part."""
    origins, columns = part.origins(plan), plan.columns
    series, missing = part.series, plan.lookback - plan.history
    # A season longer than the history may begin before the series; those values count as missing.
    front = np.full((missing, series.numbers.shape[1]), np.nan)
    numbers = np.concatenate([front, series.numbers])
    labels = np.concatenate([np.full((missing, series.labels.shape[1]), b"", series.labels.dtype), series.labels])
    times = np.concatenate([np.zeros(missing, np.int64), series.times])
    target = resources["scaling"].of(columns.targets).apply(series.numbers[:, : len(columns.targets)])
    at_once = max(1, _CELLS // (plan.lookback * max(1, numbers.shape[1])))
    for low in range(0, len(origins), at_once):
        at = origins[low : low + at_once]
        wanted = _windows(target, plan.horizon)[at]
        scored = np.isfinite(wanted)
        keep = scored.any(axis=(1, 2))
        if plan.missing == "reject":
            keep &= np.isfinite(_windows(series.numbers, plan.history)[at - plan.history]).all(axis=(1, 2))
        if not keep.any():
            continue
        at, wanted, scored = at[keep], wanted[keep], scored[keep]
        raw = {
            "history": _windows(numbers, plan.lookback)[at - plan.history],
            "labels": _windows(labels, plan.lookback)[at - plan.history],
            "seconds": _windows(times, plan.lookback + plan.horizon)[at - plan.history],
            "known": _windows(series.numbers[:, list(columns.known_numbers)], plan.horizon)[at],
            "known_labels": _windows(series.labels[:, list(columns.known_labels)], plan.horizon)[at],
            "static": np.repeat(series.static_numbers[None], len(at), axis=0),
            "static_labels": np.repeat(series.static_labels[None], len(at), axis=0),
        }
        with tf.device("CPU:0"):
            found = make({name: tf.constant(_plain(values)) for name, values in raw.items() if values.shape[-1]})
        yield {
            "target": np.where(scored, wanted, 0.0),
            "scored": scored,
            **{name: values.numpy() for name, values in found.items()},
            "origin": series.times[at - 1],
            "series": np.full(len(at), series.name.encode(), object),
        }


def _windows(values: NDArray[Any], length: int) -> NDArray[Any]:
    """Returns all sliding windows as a view, `[T, ...] -> [T - length + 1, length, ...]`."""
    view = sliding_window_view(values, length, axis=0)
    return np.moveaxis(view, -1, 1)


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(object) if values.dtype.kind == "S" else np.ascontiguousarray(values)
