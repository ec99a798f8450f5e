"""The lines of a piece, a chunk at a time. A line ends at a line feed and nowhere else: not at U+2028, U+0085 or VT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.pieces import WHOLE, Piece
from seqapps.dataset.text_files import BYTE_ORDER_MARK, open_raw

CHUNK_BYTES = 1 << 20
SHOWN_BYTES = 800
"""Kept of a refused row: enough for the 200 characters that are shown."""

Chunk = tuple[list[bytes], bool]
"""Lines without their line feeds, and whether the last one had one."""


def line_chunks(file: BinaryIO, piece: Piece, longest: int) -> Iterator[Chunk]:
    """Yields the lines of the piece, about a chunk at a time.

    These are the lines that begin in its byte range. Where pieces are cut at gaps, they are the lines from the first
    gap in the range (from the first line at the file's beginning) to the first gap behind it: every row with the
    gap before it, so that no row is lost or read twice.

    A line of more than `longest` bytes is cut, but stays longer than that.
    """
    if piece.cut != "gap":
        yield from _lines_that_begin(file, piece.start, piece.end, longest)
        return
    waits = bool(piece.start)
    for lines, closed in _lines_that_begin(file, piece.start, piece.end, longest):
        first = _first_gap(lines) if waits else 0
        if first is not None:
            waits = False
            yield lines[first:], closed
    if waits or piece.end == WHOLE:
        return
    for lines, closed in _lines_that_begin(file, piece.end, WHOLE, longest):
        last = _first_gap(lines)
        if last is None:
            yield lines, closed
            continue
        if last:
            yield lines[:last], True
        return


def is_gap(line: bytes) -> bool:
    """Returns whether a line separates two rows: only white space, and not one that may have been cut."""
    return len(line) <= SHOWN_BYTES and not line.strip()


def lines_before(piece: Piece) -> int:
    """Returns the number of lines of the file before the first one of the piece."""
    if not piece.start:
        return 0
    with open_raw(piece.path) as file:
        before = sum(len(lines) for lines, _ in _lines_that_begin(file, 0, piece.start, 0))
        if piece.cut == "gap":
            for lines, _ in _lines_that_begin(file, piece.start, WHOLE, 0):
                gap = _first_gap(lines)
                before += len(lines) if gap is None else gap
                if gap is not None:
                    break
    return before


def count_lines(path: str) -> int:
    """Returns how many lines a file has; text after the last line feed counts as one."""
    with open_raw(path) as file:
        return sum(len(lines) for lines, _ in _lines_that_begin(file, 0, WHOLE, 0))


def lines_at(path: str, offsets: Sequence[int]) -> list[tuple[int, int]]:
    """Returns for ascending offsets above 0 where the next line begins, and the number of lines before it."""
    found: list[tuple[int, int]] = []
    last = (0, 0)
    for starts, before, end in _starts(path):
        places = np.searchsorted(starts, np.asarray(offsets[len(found) :], np.int64))
        places = places[places < len(starts)]
        found += zip(starts[places].tolist(), (before + places).tolist(), strict=True)
        # A file without a final line feed has one more line before its end than line feeds.
        open_line = not len(starts) or int(starts[-1]) < end
        last = (end, before + len(starts) - (not open_line))
    return found + [last] * (len(offsets) - len(found))


def offsets_of(path: str, numbers: Sequence[int]) -> list[int]:
    """Returns the offsets of lines by 0-based number (ascending, above 0); the file's end for missing ones."""
    found: list[int] = []
    size = 0
    for starts, before, end in _starts(path):
        places = np.asarray(numbers[len(found) :], np.int64) - before
        found += starts[places[places < len(starts)]].tolist()
        size = end
    return found + [size] * (len(numbers) - len(found))


def _starts(path: str) -> Iterator[tuple[NDArray[np.int64], int, int]]:
    """Yields for each chunk: line starts after line feeds, number of lines before them, end of the chunk."""
    position, before = 0, 1
    with open_raw(path) as file:
        while block := file.read(CHUNK_BYTES):
            starts = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + position + 1
            position += len(block)
            yield starts, before, position
            before += len(starts)


def _first_gap(lines: Sequence[bytes]) -> int | None:
    return next((index for index, line in enumerate(lines) if is_gap(line)), None)


def _lines_that_begin(file: BinaryIO, start: int, end: int, longest: int) -> Iterator[Chunk]:
    """Yields the lines that begin from `start` on and before `end`."""
    position = _skip_to_line(file, start, end) if start else _skip_mark(file)
    kept = max(longest + 2, SHOWN_BYTES + 1)  # still over-long without the carriage return of a CRLF
    carry, open_line = b"", not start and position >= end
    while position < end:
        block = file.read(min(CHUNK_BYTES, end - position))
        if not block:
            break
        position += len(block)
        lines = (carry + block).split(b"\n")
        carry = lines.pop()[:kept]
        if lines:
            yield lines, True
    while carry or open_line:  # a line that began in the range ends beyond it
        block = file.readline(CHUNK_BYTES)
        open_line = bool(block) and not block.endswith(b"\n")
        carry = (carry + block.removesuffix(b"\n"))[:kept]
        if not open_line:
            if carry or block:
                yield [carry], bool(block)
            return


def _skip_mark(file: BinaryIO) -> int:
    """Returns where the first line begins: after a byte order mark, if there is one."""
    file.seek(0)
    if file.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK:
        return len(BYTE_ORDER_MARK)
    file.seek(0)
    return 0


def _skip_to_line(file: BinaryIO, start: int, end: int) -> int:
    """Returns where the first line from `start` on begins; a line that started earlier is skipped."""
    position = file.seek(start - 1)
    while position < end:
        block = file.readline(CHUNK_BYTES)
        position += len(block)
        if not block or block.endswith(b"\n"):
            break
    return position


def no_texts(rows: Sequence[bytes]) -> dict[int, str]:
    """Returns why rows are not text, by index: not UTF-8, or with NUL. All are checked at once first, for speed."""
    joined = b"\n".join(rows)
    try:
        joined.decode("utf-8")
        found = {}
    except UnicodeDecodeError:
        found = {index: "not-utf-8" for index, row in enumerate(rows) if not _decodes(row)}
    if b"\0" in joined:
        found |= {index: "nul-character" for index, row in enumerate(rows) if b"\0" in row and index not in found}
    return found


def _decodes(row: bytes) -> bool:
    try:
        row.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
