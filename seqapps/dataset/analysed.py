"""What the first pass over the data keeps of a block of rows for the second pass: typed records, stored as arrays.

A record is a frozen dataclass. Its fields are arrays, byte strings (`list[bytes]`) or further records; on disk they are
named arrays (`text/index`), which `Record` alone composes and takes apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, Self, get_type_hints

import numpy as np
from numpy.typing import NDArray

Counts = tuple[list[bytes], NDArray[np.int64]]
"""Distinct strings, as UTF-8, and how often each occurs, `<int64>[strings]`."""


@dataclass(frozen=True)
class Record:
    """Base of the records. Fields of subclasses are annotated as `NDArray[...]`, `list[bytes]` or a `Record`."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Returns the record as named arrays, none of them of objects."""
        arrays: dict[str, NDArray[Any]] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Record):
                arrays |= {f"{item.name}/{key}": array for key, array in value.to_arrays().items()}
            elif isinstance(value, list):
                arrays |= strings_to_arrays(item.name, value)
            else:
                arrays[item.name] = value
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Inverse of `to_arrays`; other arrays are ignored.

        Raises:
            KeyError: an array is missing.
        """
        values: dict[str, Any] = {}
        for name, kind in get_type_hints(cls).items():
            if isinstance(kind, type) and issubclass(kind, Record):
                prefix = f"{name}/"
                own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
                values[name] = kind.from_arrays(own)
            elif kind == list[bytes]:
                values[name] = strings_from_arrays(name, arrays)
            else:
                values[name] = arrays[name]
        return cls(**values)


def strings_to_arrays(name: str, strings: list[bytes]) -> dict[str, NDArray[Any]]:
    """Returns byte strings as two arrays: all bytes, and the borders of the strings, `<int64>[strings + 1]`."""
    splits = np.zeros(len(strings) + 1, np.int64)
    np.cumsum([len(string) for string in strings], out=splits[1:])
    return {name: np.frombuffer(b"".join(strings), np.uint8), f"{name}.splits": splits}


def strings_from_arrays(name: str, arrays: Mapping[str, NDArray[Any]]) -> list[bytes]:
    """Inverse of `strings_to_arrays`."""
    data, splits = arrays[name].tobytes(), arrays[f"{name}.splits"].tolist()
    return [data[low:high] for low, high in pairwise(splits)]


@dataclass(frozen=True)
class DictionaryRows(Record):
    """Rows of strings, dictionary-encoded: every distinct string stands once.

    Args:
        strings: the distinct strings. Of text in subwords, whose tokens are only known when the vocabulary is, the
            texts themselves.
        index: the rows, concatenated, as positions in `strings`, `<uint>[total]`.
        splits: row boundaries, `<int64>[rows + 1]`.
    """

    strings: list[bytes]
    index: NDArray[Any]
    splits: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.splits) - 1


@dataclass(frozen=True)
class TextRows(Record):
    """Rows of text.

    Args:
        text: the tokens.
        ends: whether the row is the end of its example, `<bool>[rows]`; False where a long document was cut.
    """

    text: DictionaryRows
    ends: NDArray[np.bool_]


@dataclass(frozen=True)
class LabelledRows(Record):
    """Texts with their labels.

    Args:
        text: the tokens.
        labels: one label a row, or several.
        raw: the texts as they are in the data.
    """

    text: DictionaryRows
    labels: DictionaryRows
    raw: list[bytes]


@dataclass(frozen=True)
class TaggedRows(Record):
    """Tokens with one tag each.

    Args:
        tokens, tags: as they are in the data; rows of equal length.
        texts: the text of each row, or its tokens with spaces between.
    """

    tokens: DictionaryRows
    tags: DictionaryRows
    texts: list[bytes]


@dataclass(frozen=True)
class Side(Record):
    """One side of sentence pairs.

    Args:
        text: the tokens.
        raw: the texts as they are in the data.
    """

    text: DictionaryRows
    raw: list[bytes]


@dataclass(frozen=True)
class PairRows(Record):
    """Sentence pairs: source and target."""

    source: Side
    target: Side


@dataclass(frozen=True)
class TextOfLabels(TextRows):
    """Rows of text, each generated from a label.

    Args:
        label: one a row.
    """

    label: list[bytes]


@dataclass(frozen=True)
class TextOfVectors(TextRows):
    """Rows of text, each generated from a vector.

    Args:
        vector: `<float32>[rows, size]`.
    """

    vector: NDArray[np.float32]


@dataclass(frozen=True)
class SeriesRows(Record):
    """Parts of series.

    Args:
        numbers: measured values of all parts, concatenated, `<float>[steps, variables]`.
        times: time stamps, `[steps]`.
        labels: categorical values, `[steps, columns]`.
        splits: boundaries of the parts, `<int64>[parts + 1]`.
        context: leading steps that belong to the part before, `<int64>[parts]`.
        names, frequencies, begins: of each part, as bytes.
        static_numbers, static_labels: constant columns, `[parts, columns]`.
        counts: gaps and unordered steps of each part, `<int64>[parts, 2]`.
    """

    numbers: NDArray[Any]
    times: NDArray[Any]
    labels: NDArray[Any]
    splits: NDArray[np.int64]
    context: NDArray[np.int64]
    names: NDArray[Any]
    frequencies: NDArray[Any]
    static_numbers: NDArray[Any]
    static_labels: NDArray[Any]
    begins: NDArray[Any]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Analysis:
    """The result of the first pass over a raw block: counts for the vocabularies, and the rows for the second pass.

    Args:
        counts: vocabulary name to its distinct strings and their counts.
        rows: what `encode` takes; stored between the passes, so that no row is tokenised twice.
        sums: name to sums of numbers `<float64>[...]`, which are added up over the training split in file order.
    """

    counts: Mapping[str, Counts]
    rows: Record
    sums: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
