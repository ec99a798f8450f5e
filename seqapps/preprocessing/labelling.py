"""The label column of a row: one label, or several as a JSON list or with a separator between them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from seqapps.dataset.analysed import Counts, DictionaryRows
from seqapps.dataset.ragged import Ragged
from seqapps.preprocessing.labels import Labels


def labels_of(text: bytes, *, several: bool, separator: str, until: str) -> list[bytes]:
    """Returns the labels of a row, without duplicates, in their order, stripped of surrounding spaces.

    Args:
        text: the column, as UTF-8.
        several: whether a row has any number of labels.
        separator: separator of several labels; empty when they are a JSON list.
        until: a label ends before this text; empty keeps the whole label.

    Raises:
        ValueError: the list cannot be read; the message is a reason for `Refusal`.
    """
    parts = [text.decode()]
    if several:
        parts = parts[0].split(separator) if separator else _json_list(parts[0])
    elif kind := nested(text):
        raise ValueError(f"label-is-{kind}")
    if until:
        parts = [part.partition(until)[0] for part in parts]
    return list(dict.fromkeys(part.strip().encode() for part in parts if part.strip()))


def analyse_labels(rows: Sequence[Sequence[bytes]]) -> tuple[Counts, DictionaryRows]:
    """Returns how often each label occurs, and the rows from which `encode_labels` makes indices."""
    each = [name for names in rows for name in names]
    distinct = sorted(set(each))
    place = {name: index for index, name in enumerate(distinct)}
    index = np.fromiter((place[name] for name in each), np.int64, len(each))
    splits = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    counts = np.bincount(index, minlength=len(distinct)).astype(np.int64)
    return (distinct, counts), DictionaryRows(distinct, index, splits)


def encode_labels(rows: DictionaryRows, labels: Labels) -> tuple[Ragged, Ragged]:
    """Returns the indices of each row's labels, `<int64>`, UNSEEN for labels not in the training split, and the labels
    of each row as one text, joined by `, `."""
    names, index, splits = rows.strings, rows.index, rows.splits
    written = Ragged(np.array(names, dtype=object)[index], splits)
    count = len(splits) - 1
    joined = np.empty(count, dtype=object)
    joined[:] = [b", ".join(written.row(row).tolist()) for row in range(count)]
    return Ragged(labels.lookup(names)[index], splits), Ragged(joined, np.arange(count + 1, dtype=np.int64))


def nested(text: bytes) -> str:
    """Returns the kind of JSON container that a text is (a list or an object); empty for a label."""
    if not text.lstrip().startswith((b"[", b"{")):
        return ""
    try:
        return "a-list" if isinstance(json.loads(text), list) else "an-object"
    except (ValueError, RecursionError):
        return ""


def _json_list(text: str) -> list[str]:
    try:
        value = json.loads(text)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            "".join(value).encode()  # raises for a lone surrogate, written as an escape
            return value
    except (ValueError, RecursionError):
        raise ValueError("unreadable-labels") from None
    raise ValueError("labels-are-no-texts" if isinstance(value, list) else "labels-are-no-list")
