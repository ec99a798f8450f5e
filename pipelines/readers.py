"""One piece of a raw file to blocks of valid rows, and the rows that are refused, with reason and line.

Memory is bounded by the block, not by the file: a line without an end, a large `.gz` or a large document are read in
parts.
"""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from pipelines.plan import Piece, open_raw
from seqapps.config import RunConfig
from seqapps.errors import DataError, unknown_name
from seqapps.preprocessing.blocks import RawBlock

BLOCK_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 20
_SHOWN_BYTES = 800
"""Of a refused row: enough for the 200 characters that are kept."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Row = dict[str, bytes]


@dataclass(frozen=True)
class Reject:
    """A refused row: why, at which 1-based line of its piece, and the beginning of its text."""

    reason: str
    line: int
    text: bytes


@dataclass(frozen=True)
class Read:
    """A part of a piece: rows that were kept, rows that were not, and the lines that it holds.

    `counted` is how many rows stood in it: what the share of rejected rows is taken of.
    """

    block: RawBlock
    rejects: list[Reject]
    lines: int
    counted: int


@dataclass(frozen=True)
class RowReader:
    """What the configuration says about reading.

    Args:
        format, rows, fields: of the `source` section.
        columns: what the application needs.
        longest: `data.max_row_bytes`.
        keep_empty: whether an empty line is a row.
    """

    format: str
    rows: str
    fields: Mapping[str, str]
    columns: tuple[str, ...]
    longest: int
    keep_empty: bool

    @classmethod
    def of(cls, config: RunConfig, columns: tuple[str, ...]) -> RowReader:
        """Returns the reader of a configuration."""
        return cls(
            format=config.source.format,
            rows=config.source.rows,
            fields=config.source.fields,
            columns=columns,
            longest=config.data.max_row_bytes,
            keep_empty=bool(getattr(config.data, "keep_empty_lines", False)),
        )

    def key(self, column: str) -> str:
        """Returns the name under which a file holds a column."""
        return self.fields.get(column, column)

    def read(self, piece: Piece) -> Iterator[Read]:
        """Yields the parts of a piece, in file order.

        Raises:
            DataError: the file cannot be read, or its header lacks a column.
        """
        parts = {"csv": self._csv, "document": self._document}.get(
            self.rows if self.rows == "document" else self.format, self._lines
        )
        try:
            with open_raw(piece.path) as file:
                yield from parts(piece, file)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{piece.name} cannot be read: {error}.") from None

    # ---- one row a line: text, jsonl, tsv

    def _lines(self, piece: Piece, file: BinaryIO) -> Iterator[Read]:
        row_of = self._row_of(piece, file)
        line = 0
        for lines, _ in line_chunks(file, piece, self.longest):
            skipped = 1 if self.format == "tsv" and piece.begins and line == 0 else 0
            kept, numbers, rejects = self._sorted_out(lines[skipped:], line + skipped, row_of)
            columns = {name: [row[name] for row in kept] for name in self.columns} if row_of else {"text": kept}
            block = _block(piece.name, numbers, columns)
            line += len(lines)
            yield Read(block, rejects, len(lines), len(lines) - skipped)

    def _sorted_out(
        self, lines: Sequence[bytes], before: int, row_of: Callable[[bytes], Row] | None
    ) -> tuple[list[Any], list[int], list[Reject]]:
        bad = invalid_utf8(lines)
        kept, numbers, rejects = [], [], []
        for number, raw in enumerate(lines, before + 1):
            line = raw[:-1] if raw.endswith(b"\r") else raw
            row: Any = line
            reason = self._reason(line, number - before - 1 in bad)
            if not reason and row_of:
                try:
                    row = row_of(line)
                    reason = next(filter(None, (self._reason(value) for value in row.values())), "")
                except ValueError as error:
                    reason = str(error)
            if reason:
                rejects.append(Reject(reason, number, line[:_SHOWN_BYTES]))
            else:
                kept.append(row)
                numbers.append(number)
        return kept, numbers, rejects

    def _reason(self, value: bytes, not_utf8: bool = False) -> str:
        """Returns why a row cannot be kept, or nothing."""
        if len(value) > self.longest:
            return "over-long"
        if not_utf8:
            return "not-utf-8"
        if not self.keep_empty and not value.strip():
            return "empty"
        return ""

    def _row_of(self, piece: Piece, file: BinaryIO) -> Callable[[bytes], Row] | None:
        if self.format == "jsonl":
            return self._json_row
        if self.format == "tsv":
            header = file.readline().removeprefix(_BYTE_ORDER_MARK).rstrip(b"\r\n").decode("utf-8", "replace")
            file.seek(0)
            places = self._places(piece, header.split("\t"))
            return lambda line: _fields(line.split(b"\t"), places)
        return None

    def _json_row(self, line: bytes) -> Row:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            raise ValueError("unreadable-json") from None
        row = {}
        for name in self.columns:
            text = value.get(self.key(name)) if isinstance(value, dict) else None
            if not isinstance(text, str):
                raise ValueError("missing-field")
            try:
                row[name] = text.encode()
            except UnicodeEncodeError:  # a lone surrogate, written as an escape
                raise ValueError("not-utf-8") from None
        return row

    def _places(self, piece: Piece, header: list[str]) -> dict[str, int]:
        for name in map(self.key, self.columns):
            if name not in header:
                raise DataError(f"{piece.name}: " + unknown_name("column", name, header))
        return {name: header.index(self.key(name)) for name in self.columns}

    # ---- csv: a row may span lines

    def _csv(self, piece: Piece, file: BinaryIO) -> Iterator[Read]:
        csv.field_size_limit(max(1 << 17, 2 * self.longest))
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(text)
        places = self._places(piece, next(reader, []))
        before, left = 0, piece.limit or -1
        while left:
            rows: list[tuple[int, Row]] = []
            rejects: list[Reject] = []
            size, row = 0, Row()
            while left and size < _CHUNK_BYTES:
                number = reader.line_num + 1
                try:
                    cells = next(reader, None)
                except csv.Error:  # a field beyond the limit: a quote that is never closed
                    cells, reason = [], "over-long"
                else:
                    if cells is None:
                        left = 0
                        break
                    row, reason = self._csv_row(cells, places)
                left -= 1 if left > 0 else 0
                size += 1 + sum(map(len, cells))
                if reason:
                    shown = ",".join(cells).encode("utf-8", "surrogateescape")[:_SHOWN_BYTES]
                    rejects.append(Reject(reason, number, shown))
                else:
                    rows.append((number, row))
            columns = {name: [row[name] for _, row in rows] for name in self.columns}
            block = _block(piece.name, [number for number, _ in rows], columns)
            yield Read(block, rejects, reader.line_num - before, len(rows) + len(rejects))
            before = reader.line_num

    def _csv_row(self, cells: list[str], places: dict[str, int]) -> tuple[Row, str]:
        try:
            row = _fields([cell.encode("utf-8", "surrogateescape") for cell in cells], places)
        except ValueError as error:
            return {}, str(error)
        bad = invalid_utf8(list(row.values()))
        reasons = (self._reason(value, index in bad) for index, value in enumerate(row.values()))
        return row, next(filter(None, reasons), "")

    # ---- a whole file is one running text, with its line ends

    def _document(self, piece: Piece, file: BinaryIO) -> Iterator[Read]:
        """Yields parts of up to BLOCK_BYTES; a refused line is left out with its end."""
        begins, first, line, size = piece.begins, 0, 0, 0
        texts: list[bytes] = []
        rejects: list[Reject] = []

        def part(ends: bool) -> Read:
            text = b"".join(texts)
            empty = begins and ends and not text.strip()
            block = _block(piece.name, [] if empty else [first + 1], {"text": [] if empty else [text]})
            block = RawBlock(block.source, block.lines, block.columns, block.begins & begins, block.ends & ends)
            return Read(block, [*rejects, *([Reject("empty", 1, b"")] if empty else [])], line - first, line - first)

        for lines, closed in line_chunks(file, piece, self.longest):
            bad = invalid_utf8(lines)
            good = [raw for index, raw in enumerate(lines) if index not in bad and len(raw) <= self.longest]
            if len(good) < len(lines):
                reasons = [self._reason(raw, index in bad) for index, raw in enumerate(lines)]
                rejects += [
                    Reject(reason, line + index + 1, raw[:_SHOWN_BYTES])
                    for index, (reason, raw) in enumerate(zip(reasons, lines, strict=True))
                    if reason in ("not-utf-8", "over-long")  # an empty line is a line of the text
                ]
            unfinished = not closed and good and good[-1] is lines[-1]
            texts.append(b"\n".join(good) + (b"" if unfinished or not good else b"\n"))
            line += len(lines)
            size += len(texts[-1])
            if size >= BLOCK_BYTES:
                yield part(ends=False)
                begins, first, size = False, line, 0
                texts, rejects = [], []
        yield part(ends=piece.ends or bool(piece.limit))


def line_chunks(file: BinaryIO, piece: Piece, longest: int) -> Iterator[tuple[list[bytes], bool]]:
    """Yields the lines that begin in the piece, about a chunk at a time, without their line feeds.

    The flag is False when the last of the lines has no line feed (the end of the file). A line of more than `longest`
    bytes comes cut, but is still longer than that.
    """
    left = piece.limit or -1
    for lines, closed in _unlimited_chunks(file, piece, longest):
        if 0 <= left <= len(lines):
            yield lines[:left], closed or left < len(lines)
            return
        left -= len(lines) if left > 0 else 0
        yield lines, closed


def _unlimited_chunks(file: BinaryIO, piece: Piece, longest: int) -> Iterator[tuple[list[bytes], bool]]:
    position = _skip_to_line(file, piece)
    kept = max(longest + 1, _SHOWN_BYTES)
    carry = b""
    while position < piece.end:
        block = file.read(min(_CHUNK_BYTES, piece.end - position))
        if not block:
            break
        lines = (carry + (block if position else block.removeprefix(_BYTE_ORDER_MARK))).split(b"\n")
        position += len(block)
        carry = lines.pop()
        carry = carry[:kept]
        if lines:
            yield lines, True
    if not carry:
        return
    while True:  # the line that began in the piece ends beyond it
        block = file.readline(_CHUNK_BYTES)
        if not block or block.endswith(b"\n"):
            yield [carry + block.removesuffix(b"\n")], bool(block)
            return
        carry = (carry + block)[:kept]


def _skip_to_line(file: BinaryIO, piece: Piece) -> int:
    """Returns where the first line of a piece begins; the line that goes on from before belongs to the piece before."""
    if not piece.start:
        return 0
    file.seek(piece.start - 1)
    position = piece.start - 1
    while position < piece.end:
        block = file.readline(_CHUNK_BYTES)
        position += len(block)
        if not block or block.endswith(b"\n"):
            break
    return position


def invalid_utf8(rows: Sequence[bytes]) -> set[int]:
    """Returns the rows that are not UTF-8, by index. One decode for all tells when there are none."""
    try:
        b"\n".join(rows).decode("utf-8")
    except UnicodeDecodeError:
        return {index for index, row in enumerate(rows) if not _decodes(row)}
    return set()


def _decodes(row: bytes) -> bool:
    try:
        row.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _fields(cells: list[bytes], places: dict[str, int]) -> Row:
    if len(cells) <= max(places.values()):
        raise ValueError("missing-field")
    return {name: cells[place] for name, place in places.items()}


def _block(source: str, numbers: list[int], columns: dict[str, list[bytes]]) -> RawBlock:
    whole = np.ones(len(numbers), np.bool_)
    return RawBlock(source, np.asarray(numbers, np.int64), columns, whole, whole)
