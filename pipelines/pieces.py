"""What one call of a DoFn works on: pieces of raw files."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

WHOLE = sys.maxsize
"""The end of a piece that is read to the end of its file."""

Cut = Literal["line", "gap", ""]
"""Where a file may be cut: at the end of any line, at an empty line, nowhere."""


@dataclass(frozen=True)
class Beside:
    """A file whose line n belongs to line n of another one.

    Args:
        column: the column that its lines are.
        name: what the manifest calls it.
        path: where it lies.
        start, end: the bytes of its lines that belong to a piece.
    """

    column: str
    name: str
    path: str
    start: int = 0
    end: int = WHOLE


@dataclass(frozen=True)
class Piece:
    """The lines of a file that begin in a byte range (of the unpacked content, for `.gz`).

    Args:
        source: index of the file in the list of sources.
        name, path: of the file.
        start, end: the byte range; `end` is WHOLE where the file is read to its end.
        begins, ends: whether it holds the file's beginning and end.
        split: the split of all its rows; empty when every row is placed by its own key.
        limit: at most so many rows are read (a dry run); 0 for all.
        cut: what the borders move on to: the next `line`, or the next `gap` between rows (an empty line).
        beside: the files whose lines belong to those of this one.
    """

    source: int
    name: str
    path: str
    start: int
    end: int
    begins: bool
    ends: bool
    split: str = ""
    limit: int = 0
    cut: Cut = "line"
    beside: tuple[Beside, ...] = ()


@dataclass(frozen=True)
class Element:
    """What one call of a DoFn works on; `index` names its files."""

    index: int
    pieces: tuple[Piece, ...]

    @property
    def stem(self) -> str:
        """Beginning of the names of its files."""
        return f"{self.index:05d}"
