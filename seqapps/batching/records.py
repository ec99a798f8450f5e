"""Reading of shards: the examples of a split, as the manifest lists them, with tf.data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.batching.prefetch import prefetch
from seqapps.dataset.manifest import Manifest, Shard
from seqapps.dataset.ragged import Ragged
from seqapps.dataset.schema import Feature, Schema
from seqapps.errors import DataError, unknown_name

# Records are parsed in batches: ten times the rate of one by one.
_RECORDS = 4096
_DTYPES = {"int64": tf.int64, "float32": tf.float32, "string": tf.string}


def read_split(folder: Path, manifest: Manifest, split: str) -> dict[str, Ragged]:
    """Returns every feature of the schema for the examples of a split, in the manifest's order.

    Integers that fit are returned as int32, which halves the memory of a corpus. A feature without a varying axis has
    rows of equal length.

    Args:
        folder: the prepared folder.
        manifest: its manifest; files that it does not list are not read.
        split: `train`, `validation` or `test`.

    Raises:
        DataError: no such split; a shard is missing, truncated, or does not match the manifest.
    """
    if split not in manifest.splits:
        raise DataError(f"{folder}: " + unknown_name(f"split `{split}`", split, manifest.splits))
    shards = manifest.splits[split].shards
    parts = [_read_shard(folder / shard.file, shard, manifest.schema_) for shard in shards]
    features = manifest.schema_.features
    return {feature.name: _join(feature, [part[feature.name] for part in parts]) for feature in features}


def _read_shard(path: Path, shard: Shard, schema: Schema) -> dict[str, Ragged]:
    """Returns the features of one file."""
    _check_size(path, shard)
    features = {
        feature.name: tf.io.RaggedFeature(_DTYPES[feature.dtype], row_splits_dtype=tf.int64)
        for feature in schema.features
    }
    dataset = tf.data.TFRecordDataset(str(path)).batch(_RECORDS)
    dataset = prefetch(dataset, lambda records: tf.io.parse_example(records, features))
    try:
        batches = list(dataset)
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        reason = str(error.message).splitlines()[0]
        raise DataError(f"{path} cannot be read: {reason}. Run `seqapps prepare` again.") from None
    columns = {
        feature.name: _column(feature, [batch[feature.name] for batch in batches]) for feature in schema.features
    }
    for name, column in columns.items():
        if len(column) != shard.rows:
            raise DataError(f"{path} must hold {shard.rows} rows of `{name}`. Received: {len(column)}.")
    return columns


def _check_size(path: Path, shard: Shard) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise DataError(f"{path} is missing, and the manifest lists it. Run `seqapps prepare` again.") from None
    if size != shard.bytes:
        kind = "truncated" if size < shard.bytes else "not the file that was written"
        raise DataError(
            f"{path} is {kind}: it must have {shard.bytes} bytes. Received: {size}. Run `seqapps prepare` again."
        )


def _column(feature: Feature, batches: list[Any]) -> Ragged:
    """Returns one feature of a shard; the sizes of the axes after the first are restored from the schema."""
    if not batches:
        return _empty(feature)
    parts = [Ragged(_narrow(batch.flat_values.numpy()), batch.row_splits.numpy()) for batch in batches]
    flat = Ragged.concatenate(parts)
    inner = feature.shape[1:]
    cells = int(np.prod([size or 1 for size in inner], dtype=np.int64))
    if np.any(flat.splits % cells):
        raise DataError(f"read: feature `{feature.name}` must have shape {feature.shape}. Received: another size.")
    return Ragged(flat.values.reshape(-1, *inner) if inner else flat.values, flat.splits // cells)


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype != np.int64 or (values.size and not -(2**31) <= values.min() <= values.max() < 2**31):
        return values
    return values.astype(np.int32)


def _empty(feature: Feature) -> Ragged:
    dtype = {"int64": np.int32, "float32": np.float32, "string": np.object_}[feature.dtype]
    return Ragged(np.zeros((0, *(size or 0 for size in feature.shape[1:])), dtype), np.zeros(1, np.int64))


def _join(feature: Feature, parts: list[Ragged]) -> Ragged:
    return Ragged.concatenate(parts) if parts else _empty(feature)
