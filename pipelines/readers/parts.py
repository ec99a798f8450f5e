"""The interface of the formats: a request for columns, and parts of rows, which the reader validates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.readers.lines import SHOWN_BYTES
from seqapps.config import SourceConfig
from seqapps.errors import DataError, unknown_name


@dataclass(frozen=True)
class Column:
    """A requested column.

    Args:
        name: its name in the block.
        key: its name in the source.
        optional: `b""` if a row lacks it.
        may_be_empty: whether a row with an empty value is kept.
    """

    name: str
    key: str
    optional: bool = False
    may_be_empty: bool = False


@dataclass(frozen=True)
class Request:
    """The columns that a format must read.

    Args:
        source: the `source` section.
        columns: those that are in the rows.
        longest: most bytes of a row that is kept.
    """

    source: SourceConfig
    columns: tuple[Column, ...]
    longest: int

    def places(self, file: str, names: list[str]) -> list[int | None]:
        """Returns the index of each column among the names of a file; None for a missing optional one.

        Raises:
            DataError: one is missing (names the nearest), or occurs twice.
        """
        for column in self.columns:
            if column.key not in names and not column.optional:
                raise DataError(f"{file}: " + unknown_name("column", column.key, names))
            if names.count(column.key) > 1:
                raise DataError(f"{file}: column {column.key!r} stands in the header {names.count(column.key)} times.")
        return [names.index(column.key) if column.key in names else None for column in self.columns]


class Reject(NamedTuple):
    """A refused row: why, at which 1-based line of its piece, and the beginning of its text."""

    reason: str
    line: int
    text: bytes


class Part(NamedTuple):
    """Rows of a piece in file order, as columns: one Python object per row would dominate the run time.

    Args:
        numbers: first line of each row in the piece, 1-based.
        columns: the values of each column of the request; empty when there are no rows.
        shown: the beginning of each row, for messages.
        rejects: rows that the format refuses, with the number of the wrong line.
        lines: number of lines read.
    """

    numbers: Sequence[int]
    columns: Sequence[Sequence[bytes]]
    shown: Sequence[bytes]
    rejects: list[Reject]
    lines: int

    def first(self, rows: int) -> Part:
        """Returns the first rows, refused ones included."""
        seen = sorted([*self.numbers, *(reject.line for reject in self.rejects)])
        if len(seen) <= rows:
            return self
        kept = sum(number < seen[rows] for number in self.numbers)
        columns = [column[:kept] for column in self.columns]
        rejects = [reject for reject in self.rejects if reject.line < seen[rows]]
        return Part(self.numbers[:kept], columns, self.shown[:kept], rejects, self.lines)


Parts = Iterator[Part]


class Drafts:
    """A buffer of rows that are found one by one, until they make a part."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._rows: list[tuple[bytes, ...]] = []
        self._shown: list[bytes] = []
        self._rejects: list[Reject] = []

    def __len__(self) -> int:
        return len(self._numbers) + len(self._rejects)

    def keep(self, line: int, values: tuple[bytes, ...], shown: bytes) -> None:
        """Adds a row: one value for each column of the request."""
        self._numbers.append(line)
        self._rows.append(values)
        self._shown.append(shown[:SHOWN_BYTES])

    def refuse(self, reason: str, line: int, text: bytes) -> None:
        """Adds a row that the format cannot read."""
        self._rejects.append(Reject(reason, line, text[:SHOWN_BYTES]))

    def part(self, lines: int) -> Part:
        """Returns the rows with the number of lines read."""
        return Part(self._numbers, list(zip(*self._rows, strict=True)), self._shown, self._rejects, lines)


def chosen(cells: list[bytes], places: list[int | None]) -> tuple[bytes, ...]:
    """Returns the requested cells of a row."""
    return tuple(b"" if place is None else cells[place] for place in places)


def without_return(line: bytes) -> bytes:
    """Returns a line without the carriage return of a CRLF."""
    return line[:-1] if line.endswith(b"\r") else line
