"""CSV with quotes: a row may span lines. An unclosed quote invalidates only its own line."""

from __future__ import annotations

import csv as standard
from collections import deque
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from pipelines.pieces import Piece
from pipelines.readers.lines import CHUNK_BYTES, SHOWN_BYTES, line_chunks
from pipelines.readers.parts import Drafts, Parts, Request, chosen
from pipelines.readers.rows import first_line
from seqapps.dataset.text_files import BYTE_ORDER_MARK, open_raw, readable
from seqapps.errors import DataError

_LEAST_LIMIT = 1 << 17
_GLUED_LINES = 8
"""From this many lines in a quoted record, nearly all valid rows, they count as rows between two stray quotes."""
_GLUED_SHARE = 0.9


def csv(request: Request, piece: Piece, file: BinaryIO) -> Parts:
    """Yields the rows of a table whose first line names the columns, unless `source.columns` does."""
    longest_field = max(_LEAST_LIMIT, 2 * request.longest)
    standard.field_size_limit(longest_field)
    lines = _Lines(_decoded(piece, file, 2 * longest_field), longest_field)
    reader = standard.reader(lines)
    names = list(request.source.columns)
    if not names:
        first_line(piece)
        try:
            names = [readable(cell.encode("utf-8", "surrogateescape")) for cell in next(reader)]
        except (_Unclosed, standard.Error) as error:
            raise DataError(f"{piece.name}: the header line cannot be read as CSV: {error}.") from None
    places, before, ended = request.places(piece.name, names), 0, False
    lines.close_record()
    while not ended:
        drafts, size = Drafts(), 0
        while size < CHUNK_BYTES and not ended:
            line = lines.before + 1
            try:
                cells = [cell.encode("utf-8", "surrogateescape") for cell in next(reader)]
            except StopIteration:
                ended = True
                continue
            except (_Unclosed, standard.Error) as error:
                cells, reason = [], _reason_of(error)
            else:
                reason = _reason(cells, len(names), request.longest)
            record = lines.record
            size += sum(map(len, record))
            if len(record) > 1 and (not cells or _is_glued(record, len(names))):
                reason = "unclosed-quote"
                lines.take_back()
            if reason:
                drafts.refuse(reason, line, record[0].rstrip("\r\n").encode("utf-8", "surrogateescape"))
            else:
                drafts.keep(line, chosen(cells, places), b",".join(cell[:SHOWN_BYTES] for cell in cells))
            lines.close_record()
        yield drafts.part(lines.before - before)
        before = lines.before


def first_cells(path: str) -> list[str]:
    """Returns the cells of a file's first line; none for an empty file or an invalid record."""
    with open_raw(path) as file:
        line = file.readline(CHUNK_BYTES).removeprefix(BYTE_ORDER_MARK)
    try:
        return next(standard.reader([line.decode("utf-8", "replace")]), [])
    except standard.Error:
        return []


class _Unclosed(Exception):
    """A quote that no line closes."""


class _Lines:
    """Lines for a CSV reader, with those of its current record: when that is invalid, they are read again.

    A record ends with a line after which the reader requests no further one.

    Args:
        lines: with their ends.
        longest: bytes after which a record gets no further line.
    """

    def __init__(self, lines: Iterator[str], longest: int) -> None:
        self.record: list[str] = []
        self.before = 0
        self._lines = lines
        self._longest = longest
        self._again: deque[str] = deque()
        self._alone = self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.record and (self._alone or self._size > self._longest):
            raise _Unclosed("a quote is not closed")
        line = self._again.popleft() if self._again else next(self._lines, None)
        if line is not None:
            self.record.append(line)
            self._size += len(line)
            return line
        if self.record:
            raise _Unclosed("a quote is not closed")
        raise StopIteration

    def take_back(self) -> None:
        """Keeps only the first line of the record. The others are read again, each as its own record; only the last,
        where a quote may begin, can continue. So no line is read more than three times."""
        rest = self.record[1:]
        self.record = self.record[:1]
        self._again.extendleft(reversed(rest))
        self._alone = len(rest)  # the record itself counts until it is closed

    def close_record(self) -> None:
        """Ends the record."""
        self.before += len(self.record)
        self.record, self._size = [], 0
        self._alone = max(self._alone - 1, 0)


def _is_glued(record: Sequence[str], width: int) -> bool:
    """Returns whether a record of several lines is really several rows: its quote is closed in the middle of a cell, or
    the lines inside it are rows by themselves (of several cells: any line is one cell)."""
    try:
        for _ in standard.reader(record, strict=True):
            pass
    except standard.Error:
        return True
    inside = record[1:-1]
    if width == 1 or len(inside) < _GLUED_LINES:
        return False
    rows = sum(len(cells) == width for cells in standard.reader(inside, quoting=standard.QUOTE_NONE))
    return rows >= _GLUED_SHARE * len(inside)


def _reason_of(error: Exception) -> str:
    if isinstance(error, _Unclosed):
        return "unclosed-quote"
    return "over-long" if "limit" in str(error) else "unreadable-csv"


def _reason(cells: list[bytes], width: int, longest: int) -> str:
    """Returns why a row cannot be kept; empty if it can."""
    if sum(map(len, cells)) > longest:
        return "over-long"
    if len(cells) == width:
        return ""
    return ("missing-field" if len(cells) < width else "extra-field") if cells else "empty"


def _decoded(piece: Piece, file: BinaryIO, longest: int) -> Iterator[str]:
    """Yields lines with their ends. A line of more than `longest` bytes is cut: its row is over-long."""
    for lines, closed in line_chunks(file, piece, longest):
        for line in lines[:-1]:
            yield line.decode("utf-8", "surrogateescape") + "\n"
        yield lines[-1].decode("utf-8", "surrogateescape") + ("\n" if closed else "")
