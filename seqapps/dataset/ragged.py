"""Blocks of rows as arrays instead of one Python object per row, which is twice as fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def evenly_spaced(rows: int, count: int) -> NDArray[np.int64]:
    """Returns at most `count` distinct row numbers below `rows`, `<int64>[at most count]`: the first, the last and some
    between, at equal distances rounded down. Rows to show, and rows of golden calls, are chosen this way."""
    return np.unique(np.linspace(0, rows - 1, num=min(rows, count)).astype(np.int64))


@dataclass(frozen=True)
class RawBlock:
    """Raw rows of one file, in file order, already valid UTF-8, not empty and not over-long.

    Args:
        source: the file as the manifest names it; empty when rows of several small files are tokenised together.
        lines: 1-based line number of each row in its piece of the file, `<int64>[rows]`.
        columns: column name to one value per row, as UTF-8; values other than text (a list of tokens) as JSON.
        begins: whether the row is the beginning of its example, `<bool>[rows]`; False when a long document was cut.
        ends: whether the row is the end of its example, `<bool>[rows]`.
    """

    source: str
    lines: NDArray[np.int64]
    columns: Mapping[str, list[bytes]]
    begins: NDArray[np.bool_]
    ends: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.lines)

    def take(self, rows: NDArray[Any]) -> RawBlock:
        """Returns the chosen rows, in the given order."""
        columns = {name: [values[row] for row in rows.tolist()] for name, values in self.columns.items()}
        return RawBlock(self.source, self.lines[rows], columns, self.begins[rows], self.ends[rows])


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths as two arrays.

    Args:
        values: all rows, concatenated, `<T>[total, ...]`.
        splits: row boundaries, `<int64>[rows + 1]`, starting with 0.
    """

    values: NDArray[Any]
    splits: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.splits) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each row, `<int64>[rows]`."""
        return np.diff(self.splits)

    def row(self, index: int) -> NDArray[Any]:
        """One row, as a view."""
        return self.values[self.splits[index] : self.splits[index + 1]]

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        """Returns the chosen rows, in the given order."""
        lengths = self.lengths[rows]
        splits = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        index = np.arange(splits[-1]) + np.repeat(self.splits[:-1][rows] - splits[:-1], lengths)
        return Ragged(self.values[index], splits)

    @classmethod
    def concatenate(cls, parts: list[Ragged]) -> Ragged:
        """Returns the rows of all parts, in order. `parts` must not be empty."""
        lengths = np.concatenate([part.lengths for part in parts])
        splits = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return cls(np.concatenate([part.values for part in parts]), splits)
