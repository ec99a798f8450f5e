"""CSV with quotes: a row may span lines."""

from __future__ import annotations

import csv as standard
from collections.abc import Iterator
from typing import BinaryIO

from pipelines.pieces import Piece
from pipelines.readers.lines import CHUNK_BYTES, SHOWN_BYTES, line_chunks
from pipelines.readers.parts import Drafts, Parts, Request, chosen
from pipelines.readers.rows import first_line
from seqapps.errors import DataError

_LEAST_LIMIT = 1 << 17


def csv(request: Request, piece: Piece, file: BinaryIO) -> Parts:
    """Yields the rows of a table whose first line names the columns, unless `source.columns` does."""
    longest_field = max(_LEAST_LIMIT, 2 * request.longest)
    standard.field_size_limit(longest_field)
    reader = standard.reader(_lines(piece, file, 2 * longest_field))
    names = list(request.source.columns)
    if not names:
        first_line(piece)
        try:
            names = next(reader)
        except standard.Error as error:
            raise DataError(f"{piece.name}: the header line cannot be read as CSV: {error}.") from None
    places, before, ended = request.places(piece.name, names), 0, False
    while not ended:
        drafts, size = Drafts(), 0
        while size < CHUNK_BYTES and not ended:
            line = reader.line_num + 1
            try:
                cells = [cell.encode("utf-8", "surrogateescape") for cell in next(reader)]
            except StopIteration:
                ended = True
                continue
            except standard.Error as error:  # a field beyond the limit is a quote that is never closed
                cells, reason = [], "over-long" if "limit" in str(error) else "unreadable-csv"
            else:
                reason = _reason(cells, len(names), request.longest)
            shown = b",".join(cell[:SHOWN_BYTES] for cell in cells)
            if reason:
                drafts.refuse(reason, line, shown)
            else:
                drafts.keep(line, chosen(cells, places), shown)
            size += sum(map(len, cells)) + 1
        yield drafts.part(reader.line_num - before)
        before = reader.line_num


def _reason(cells: list[bytes], width: int, longest: int) -> str:
    """Returns why a row cannot be kept, or nothing."""
    if sum(map(len, cells)) > longest:
        return "over-long"
    if len(cells) == width:
        return ""
    return "missing-field" if cells else "empty"


def _lines(piece: Piece, file: BinaryIO, longest: int) -> Iterator[str]:
    """Yields lines with their ends. A line of more than `longest` bytes comes cut: its row is over-long."""
    for lines, closed in line_chunks(file, piece, longest):
        for line in lines[:-1]:
            yield line.decode("utf-8", "surrogateescape") + "\n"
        yield lines[-1].decode("utf-8", "surrogateescape") + ("\n" if closed else "")
