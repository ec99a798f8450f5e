"""Aligned files: line n of one belongs to line n of each file beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import zip_longest
from typing import BinaryIO

from pipelines.pieces import Beside, Piece
from pipelines.readers.lines import CHUNK_BYTES, SHOWN_BYTES, count_lines, line_chunks
from pipelines.readers.parts import Drafts, Parts, Request, without_return
from seqapps.dataset.text_files import check_encoding, open_raw
from seqapps.errors import DataError


def aligned(request: Request, piece: Piece, file: BinaryIO) -> Parts:
    """Yields one row for each line; the file's own line is the column that no aligned file fills.

    Raises:
        DataError: the files have different numbers of lines.
    """
    columns = ["", *(beside.column for beside in piece.beside)]
    places = [columns.index(column.key) if column.key in columns else 0 for column in request.columns]
    with ExitStack() as stack:
        others = [stack.enter_context(open_raw(beside.path)) for beside in piece.beside]
        for beside, other in zip(piece.beside, others, strict=True):
            check_encoding(other.read(4), beside.name)  # reading starts inside the file
        pieces = [piece, *(_piece_of(beside, piece) for beside in piece.beside)]
        sides = [_lines(f, part, request.longest) for f, part in zip([file, *others], pieces, strict=True)]
        rows = zip_longest(*sides)
        before = 0
        while True:
            drafts, size = Drafts(), 0
            for row in rows:
                if None in row:
                    raise DataError(_unequal(pieces))
                shown = b"\t".join(line[:SHOWN_BYTES] for line in row)
                drafts.keep(before + len(drafts) + 1, tuple(row[place] for place in places), shown)
                size += sum(map(len, row))
                if size >= CHUNK_BYTES:
                    break
            if not drafts:
                return
            before += len(drafts)
            yield drafts.part(len(drafts))


def _lines(file: BinaryIO, piece: Piece, longest: int) -> Iterator[bytes]:
    for lines, _ in line_chunks(file, piece, longest):
        yield from map(without_return, lines)


def _piece_of(beside: Beside, piece: Piece) -> Piece:
    return replace(piece, name=beside.name, path=beside.path, start=beside.start, end=beside.end)


def _unequal(pieces: list[Piece]) -> str:
    """Returns the message with the number of lines of every file, which are read to their ends."""
    counts = ", ".join(f"{piece.name} {count_lines(piece.path)}" for piece in pieces)
    return f"The files of an aligned source must have the same number of lines. Received: {counts}."
