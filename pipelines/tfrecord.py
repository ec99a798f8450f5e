"""Examples to TFRecord files of `tf.train.Example`, packed with numpy: no protobuf object for every example.

The wire format: Example { features: 1 { feature: 1 { key: 1, value: 2 { bytes_list: 1 | float_list: 2 | int64_list: 3
{ value: 1 } } } } }.

Source: tensorflow/core/example/{example,feature}.proto and tensorflow/core/lib/io/record_writer.h.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from seqapps.dataset.ragged import Ragged
from seqapps.dataset.schema import Feature, Schema
from seqapps.errors import DataError
from seqapps.files import Pending

_LIST_TAGS = {"string": 0x0A, "float32": 0x12, "int64": 0x1A}


class ShardWriter:
    """Writes one shard under a temporary name, renamed on `close`."""

    def __init__(self, path: Path, schema: Schema) -> None:
        self.path = path
        self.schema = schema
        self.rows = self.tokens = self.bytes = 0
        self.lengths: dict[int, int] = {}
        self._digest = hashlib.sha256()
        self._pending = Pending(path)
        self._file = self._pending.temporary.open("wb")

    def write(self, features: Mapping[str, Ragged]) -> None:
        """Appends the examples of a block. The length of the first feature of the schema is the number of tokens."""
        check_block(self.schema, features)
        data = records(examples(self.schema, features))
        self._file.write(data)
        self._digest.update(data)
        lengths = features[self.schema.names[0]].lengths
        bounds, counts = np.unique(np.ceil(np.log2(np.maximum(lengths, 1))).astype(int), return_counts=True)
        for bound, count in zip(bounds.tolist(), counts.tolist(), strict=True):
            self.lengths[1 << bound] = self.lengths.get(1 << bound, 0) + count
        self.rows += len(lengths)
        self.tokens += int(lengths.sum())
        self.bytes += len(data)

    def close(self) -> dict[str, Any]:
        """Renames the file to its final name and returns its description."""
        self._file.close()
        self._pending.publish()
        return {
            "rows": self.rows,
            "tokens": self.tokens,
            "bytes": self.bytes,
            "sha256": self._digest.hexdigest(),
            "lengths": {str(bound): count for bound, count in sorted(self.lengths.items())},
        }


def check_block(schema: Schema, features: Mapping[str, Ragged]) -> None:
    """Raises when the examples of a block do not match the schema.

    One array holds all examples, so they share type and inner shape; only lengths differ.

    Raises:
        DataError: a feature is missing, unknown, of another type or of another shape.
    """
    rows = {len(ragged) for ragged in features.values()}
    if len(rows) > 1:
        raise DataError(f"encode: features have different numbers of rows. Received: {sorted(rows)}.")
    first = {name: ragged.row(0) for name, ragged in features.items() if len(ragged)}
    scalars = {feature.name for feature in schema.features if feature.shape == ()}
    schema.check({name: row[0] if name in scalars else row for name, row in first.items()}, "encode")
    for feature in schema.features:
        wanted = 1 if feature.shape == () else feature.shape[0]
        lengths = features[feature.name].lengths
        if wanted is not None and (lengths != wanted).any():
            row = int(np.flatnonzero(lengths != wanted)[0])
            raise DataError(
                f"encode: feature `{feature.name}` must have {wanted} values a row. "
                f"Received: {lengths[row]} in row {row}."
            )


def examples(schema: Schema, features: Mapping[str, Ragged]) -> list[bytes]:
    """Returns every example as a serialised `tf.train.Example`, features in the order of the schema."""
    columns = [_feature_messages(feature, features[feature.name]) for feature in schema.features]
    bodies = columns[0] if len(columns) == 1 else [b"".join(row) for row in zip(*columns, strict=True)]
    heads = _Heads(b"\x0a")
    return [heads[len(body)] + body for body in bodies]


def records(rows: list[bytes]) -> bytes:
    """Returns serialised examples framed as TFRecords: length, its checksum, data, its checksum."""
    crc, frames, parts = google_crc32c.value, dict[int, bytes](), list[bytes]()
    pack = struct.Struct("<I").pack
    for row in rows:
        size = len(row)
        frame = frames.get(size)
        if frame is None:
            length = struct.pack("<Q", size)
            frame = frames[size] = length + pack(_masked(crc(length)))
        parts += (frame, row, pack(_masked(crc(row))))
    return b"".join(parts)


def _masked(check: int) -> int:
    return (((check >> 15) | (check << 17)) + 0xA282EAD8) & 0xFFFFFFFF


class _Heads(dict[int, bytes]):
    """Cache of payload length to encoded tag and length; examples share few lengths."""

    def __init__(self, tag: bytes) -> None:
        super().__init__()
        self._tag = tag

    def __missing__(self, size: int) -> bytes:
        head = self[size] = self._tag + _varint(size)
        return head


def _feature_messages(feature: Feature, ragged: Ragged) -> list[bytes]:
    """Returns, for every example, one entry of the map `features.feature`."""
    if feature.dtype == "string":
        payloads = [b"".join(_string_value(value) for value in ragged.row(row).ravel()) for row in range(len(ragged))]
    else:
        data, ends = _int64_bytes(ragged) if feature.dtype == "int64" else _float_bytes(ragged)
        payloads = [data[low:high] for low, high in pairwise(ends)]
    heads: dict[int, bytes] = {}
    messages = []
    for payload in payloads:
        head = heads.get(len(payload))
        if head is None:
            head = heads[len(payload)] = _entry_head(feature, len(payload))
        messages.append(head + payload)
    return messages


def _entry_head(feature: Feature, size: int) -> bytes:
    """Returns everything of a map entry before a payload of `size` bytes."""
    packed = b"" if feature.dtype == "string" else b"\x0a" + _varint(size)
    values = bytes([_LIST_TAGS[feature.dtype]]) + _varint(len(packed) + size) + packed
    name = feature.name.encode()
    key = b"\x0a" + _varint(len(name)) + name
    entry = key + b"\x12" + _varint(len(values) + size) + values
    return b"\x0a" + _varint(len(entry) + size) + entry


def _int64_bytes(ragged: Ragged) -> tuple[bytes, list[int]]:
    """Returns all values as varints, concatenated, and where each example begins."""
    values = np.ascontiguousarray(ragged.values, np.int64).reshape(len(ragged.values), -1)
    per_value = values.shape[1]
    flat = values.ravel().view(np.uint64)
    widths = np.ones(len(flat), np.int64)
    for byte in range(1, 10):
        longer = flat >= np.uint64(1 << (7 * byte))
        if not longer.any():
            break
        widths += longer
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(widths)])
    out = np.empty(ends[-1], np.uint8)
    for byte in range(int(widths.max(initial=1))):
        here = np.flatnonzero(widths > byte)
        low = ((flat[here] >> np.uint64(7 * byte)) & np.uint64(0x7F)).astype(np.uint8)
        out[ends[here] + byte] = low | np.where(widths[here] > byte + 1, 0x80, 0).astype(np.uint8)
    return out.tobytes(), ends[ragged.splits * per_value].tolist()


def _float_bytes(ragged: Ragged) -> tuple[bytes, list[int]]:
    values: NDArray[Any] = np.ascontiguousarray(ragged.values, "<f4").reshape(len(ragged.values), -1)
    return values.tobytes(), (ragged.splits * values.shape[1] * 4).tolist()


def _string_value(value: Any) -> bytes:
    data = value if isinstance(value, bytes) else str(value).encode()
    return b"\x0a" + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append((number & 0x7F) | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
