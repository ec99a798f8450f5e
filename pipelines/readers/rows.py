"""One row per line: `text`, `labelled`, `jsonl` and `tsv`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NoReturn

from pipelines.pieces import Piece
from pipelines.readers.lines import CHUNK_BYTES, line_chunks, no_texts
from pipelines.readers.parts import Drafts, Part, Parts, Request, chosen, without_return
from seqapps.dataset.text_files import BYTE_ORDER_MARK, open_raw, readable
from seqapps.errors import DataError

Parse = Callable[[bytes], tuple[bytes, ...]]
"""A line to the values of its row; raises ValueError with the reason when it is invalid."""


class _Twice(Exception):
    """A duplicate name in one object: the intended value is not known."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


_JSON = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)
"""JSON as in RFC 8259: without NaN and Infinity, and every name once."""


def text(request: Request, piece: Piece, file: BinaryIO) -> Parts:
    """Yields every line as the column `text`."""
    before = 0
    for raw, _ in line_chunks(file, piece, request.longest):
        lines = list(map(without_return, raw)) if b"\r" in b"".join(raw) else raw
        numbers = range(before + 1, before + len(raw) + 1)
        yield Part(numbers, [lines] * len(request.columns), lines, [], len(raw))
        before += len(raw)


def labelled(request: Request, piece: Piece, file: BinaryIO) -> Parts:
    """Yields `label text` lines: the label ends at the first white space."""
    places = request.places(piece.name, ["label", "text"])

    def parse(line: bytes) -> tuple[bytes, ...]:
        cells = line.split(None, 1)
        if len(cells) < 2:
            raise ValueError("missing-text")
        return chosen(cells, places)

    return _parsed(request, piece, file, parse)


def jsonl(request: Request, piece: Piece, file: BinaryIO) -> Parts:
    """Yields the fields of one JSON object per line; values that are not text become compact JSON."""

    def parse(line: bytes) -> tuple[bytes, ...]:
        try:
            found = _JSON.decode(line.decode())
        except _Twice:
            raise ValueError("duplicate-name") from None
        except (ValueError, RecursionError):
            raise ValueError("unreadable-json") from None
        fields = found if isinstance(found, dict) else {}
        values = [fields.get(column.key) for column in request.columns]
        if any(value is None and not column.optional for value, column in zip(values, request.columns, strict=True)):
            raise ValueError("missing-field")
        return tuple(map(_as_bytes, values))

    return _parsed(request, piece, file, parse)


def keys_of_jsonl(request: Request, piece: Piece, file: BinaryIO) -> Iterator[set[str]]:
    """Yields the names of the fields of each object."""
    for lines, _ in line_chunks(file, piece, request.longest):
        for line in lines:
            try:
                found = _JSON.decode(line.decode())
            except (_Twice, ValueError, RecursionError):
                continue
            if isinstance(found, dict):
                yield set(found)


def _as_bytes(value: Any) -> bytes:
    if value is None:
        return b""
    try:
        return (value if isinstance(value, str) else compact(value)).encode()
    except UnicodeEncodeError:  # a lone surrogate, written as an escape
        raise ValueError("not-utf-8") from None
    except RecursionError:
        raise ValueError("unreadable-json") from None


def compact(value: Any) -> str:
    """Returns a value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def tsv(request: Request, piece: Piece, file: BinaryIO) -> Parts:
    """Yields the cells of lines split at tabs. Quotes have no meaning."""
    names = list(request.source.columns) or first_line(piece).split("\t")
    places, width = request.places(piece.name, names), len(names)

    def parse(line: bytes) -> tuple[bytes, ...]:
        cells = line.split(b"\t")
        if len(cells) != width:
            raise ValueError("missing-field" if len(cells) < width else "extra-field")
        return chosen(cells, places)

    return _parsed(request, piece, file, parse, skipped=1 if piece.begins and not request.source.columns else 0)


def first_cells(path: str) -> list[str]:
    """Returns the cells of a file's first line; none of an empty file."""
    with open_raw(path) as file:
        line = file.readline(CHUNK_BYTES).removeprefix(BYTE_ORDER_MARK)
    return line.decode("utf-8", "replace").rstrip("\r\n").split("\t")


def first_line(piece: Piece) -> str:
    """Returns the header line of the piece's file.

    Raises:
        DataError: the file is empty, or its first line is not a header.
    """
    with open_raw(piece.path) as file:
        line = file.readline(CHUNK_BYTES).removeprefix(BYTE_ORDER_MARK)
    header = line.rstrip(b"\r\n")
    if not header or len(line) == CHUNK_BYTES:
        found = f"a first line of more than {CHUNK_BYTES} bytes" if header else "no first line"
        raise DataError(f"{piece.name}: a header line is needed, or `source.columns`. Received: {found}.")
    return readable(header)


def _parsed(request: Request, piece: Piece, file: BinaryIO, parse: Parse, skipped: int = 0) -> Parts:
    before = 0
    for raw, _ in line_chunks(file, piece, request.longest):
        bad, drafts = no_texts(raw), Drafts()
        for index in range(max(skipped - before, 0), len(raw)):
            line, number = without_return(raw[index]), before + index + 1
            reason = _reason(line, bad.get(index, ""), request.longest)
            try:
                if not reason:
                    drafts.keep(number, parse(line), line)
            except ValueError as error:
                reason = str(error)
            if reason:
                drafts.refuse(reason, number, line)
        yield drafts.part(len(raw))
        before += len(raw)


def _reason(line: bytes, no_text: str, longest: int) -> str:
    """Returns why a line is not a row; empty if it is."""
    if len(line) > longest:
        return "over-long"
    return no_text or ("" if line.strip() else "empty")
