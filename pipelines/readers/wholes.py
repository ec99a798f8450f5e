"""A whole file as one row (`rows = "file"`) or as one continuous text with its line ends (`rows = "document"`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pipelines.pieces import Piece
from pipelines.readers.lines import SHOWN_BYTES, line_chunks, no_texts
from pipelines.readers.parts import Part, Parts, Reject, Request
from seqapps.dataset.text_files import BYTE_ORDER_MARK

BLOCK_BYTES = 4 << 20


def files(request: Request, piece: Piece, file: BinaryIO) -> Parts:
    """Yields the content of the file as the column `text`."""
    content = file.read(request.longest + len(BYTE_ORDER_MARK) + 1).removeprefix(BYTE_ORDER_MARK)
    lines = content.count(b"\n") + (not content.endswith(b"\n"))
    if len(content) > request.longest:
        yield Part([], [], [], [Reject("over-long", 1, content[:SHOWN_BYTES])], lines)
    else:
        yield Part([1], [[content]] * len(request.columns), [content], [], lines)


class Stretch(NamedTuple):
    """A part of a continuous text.

    Args:
        text: its kept lines; None when the whole file is empty.
        first: its first line in the piece, 1-based.
        lines: number of its lines.
        begins, ends: whether it is the first and the last part.
        rejects: lines that were left out, with their ends.
    """

    text: bytes | None
    first: int
    lines: int
    begins: bool
    ends: bool
    rejects: list[Reject]


def stretches(longest: int, piece: Piece, file: BinaryIO) -> Iterator[Stretch]:
    """Yields a continuous text in parts of up to BLOCK_BYTES."""
    begins, first, line, size = piece.begins, 0, 0, 0
    texts: list[bytes] = []
    rejects: list[Reject] = []
    for raw, closed in _limited(line_chunks(file, piece, longest), piece.limit):
        reasons = _reasons(raw, longest)
        good = [text for index, text in enumerate(raw) if index not in reasons]
        rejects += [Reject(why, line + index + 1, raw[index][:SHOWN_BYTES]) for index, why in reasons.items()]
        unfinished = not closed and len(raw) - 1 not in reasons
        texts.append(b"\n".join(good) + (b"" if unfinished or not good else b"\n"))
        line += len(raw)
        size += len(texts[-1])
        if size >= BLOCK_BYTES:
            yield Stretch(b"".join(texts), first + 1, line - first, begins, False, rejects)
            begins, first, size = False, line, 0
            texts, rejects = [], []
    ends, text = piece.ends or bool(piece.limit), b"".join(texts)
    if begins and ends and not text.strip():
        # A refused line is counted once: it is why nothing is left.
        yield Stretch(None, first + 1, line - first, begins, ends, rejects or [Reject("empty", 1, b"")])
    else:
        yield Stretch(text, first + 1, line - first, begins, ends, rejects)


def _limited(chunks: Iterator[tuple[list[bytes], bool]], limit: int) -> Iterator[tuple[list[bytes], bool]]:
    left = limit
    for lines, closed in chunks:
        if limit and left <= len(lines):
            yield lines[:left], closed or left < len(lines)
            return
        left -= len(lines)
        yield lines, closed


def _reasons(lines: list[bytes], longest: int) -> dict[int, str]:
    """Returns the lines that are left out, by index. An empty line is part of the text."""
    reasons = {index: "over-long" for index, line in enumerate(lines) if len(line) > longest}
    for index, why in no_texts(lines).items():
        reasons.setdefault(index, why)
    return dict(sorted(reasons.items()))
