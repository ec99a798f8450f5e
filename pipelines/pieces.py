"""The unit of work of one DoFn call: pieces of raw files."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

WHOLE = sys.maxsize
"""Marks the end of a piece that is read to the end of its file."""

Cut = Literal["line", "gap", ""]
"""Where a file may be cut: at the end of any line, at an empty line, nowhere."""


@dataclass(frozen=True)
class Beside:
    """A file whose line n is aligned with line n of another one.

    Args:
        column: the column that its lines fill.
        name: its name in the manifest.
        path: its path.
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
        start, end: the byte range; `end` is WHOLE if the file is read to its end.
        begins, ends: whether it holds the file's beginning and end.
        split: the split of all its rows; empty when every row is split by its own key.
        limit: the most rows to read (a dry run); 0 for all.
        cut: where the borders are moved to: the next `line`, or the next `gap` between rows (an empty line).
        beside: the files whose lines are aligned with those of this one.
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
    """The unit of work of one DoFn call; `index` names its files."""

    index: int
    pieces: tuple[Piece, ...]

    @property
    def stem(self) -> str:
        """Prefix of the names of its files."""
        return f"{self.index:05d}"
