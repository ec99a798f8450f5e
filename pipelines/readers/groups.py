"""Rows of several lines, separated by an empty line: `rows = "paragraph"`, `conll` and `conllu`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import BinaryIO, NamedTuple

from pipelines.pieces import Piece
from pipelines.readers.lines import SHOWN_BYTES, is_gap, line_chunks, no_texts
from pipelines.readers.parts import Column, Drafts, Parts, Request, without_return
from pipelines.readers.rows import compact
from seqapps.dataset.text_files import BYTE_ORDER_MARK, open_raw

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""The columns of CoNLL-U (https://universaldependencies.org/format.html)."""
CONLLU_NAMES = {"tokens": "form", "tags": "upos"}
"""Application column to CoNLL-U column, unless `source.fields` says otherwise."""

_DOCUMENT_MARK = "-DOCSTART-"
_NOT_A_WORD = re.compile(r"[0-9]+(-[0-9]+|\.[0-9]+)")
"""The id of a multiword range or of an empty node."""


class Group(NamedTuple):
    """Lines up to an empty one.

    Args:
        line: the first one, 1-based in the piece.
        lines: without their ends.
        whole: False when it was over-long and only its beginning is kept.
    """

    line: int
    lines: list[bytes]
    whole: bool


class _Refused(Exception):
    """A row that is refused: its reason, and the index of the line that is wrong."""

    def __init__(self, reason: str, index: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.index = reason, index


Parse = Callable[[Sequence[str]], tuple[bytes, ...] | None]
"""The lines of a group to the values of its row; None when it is not a row."""


def paragraphs(request: Request, piece: Piece, file: BinaryIO) -> Parts:
    """Yields the lines up to an empty one as the column `text`."""
    return _parsed(request, piece, file, lambda lines: ("\n".join(lines).encode(),) * len(request.columns))


def conll(request: Request, piece: Piece, file: BinaryIO) -> Parts:
    """Yields sentences with one token per line. Every column is a JSON list, as long as the sentence.

    Without `source.columns` the first cell of a line is `tokens` and the last is `tags`.
    """
    comment, names = request.source.comment, request.source.columns
    places = [_place(column, names) for column in request.columns]

    def parse(lines: Sequence[str]) -> tuple[bytes, ...] | None:
        rows = [
            (index, cells)
            for index, line in enumerate(lines)
            if not (comment and line.startswith(comment)) and (cells := _cells(line))[0] != _DOCUMENT_MARK
        ]
        if not rows:
            return None
        width = len(rows[0][1])
        for index, cells in rows:
            if len(cells) != width:
                raise _Refused("ragged-columns", index)
        if names and width > len(names):
            raise _Refused("extra-field", rows[0][0])
        if width < (len(names) or len(set(places))):
            raise _Refused("missing-field", rows[0][0])
        return tuple(_listed([(index, cells[place]) for index, cells in rows]) for place in places)

    return _parsed(request, piece, file, parse)


def first_cells(path: str) -> list[str]:
    """Returns the cells of a file's first line."""
    with open_raw(path) as file:
        line = file.readline(SHOWN_BYTES).removeprefix(BYTE_ORDER_MARK)
    return _cells(line.decode("utf-8", "replace").rstrip("\r\n"))


def _place(column: Column, names: Sequence[str]) -> int:
    if names:
        return names.index(column.key)
    return 0 if column.key == "tokens" else -1


def _cells(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else [cell for cell in line.split(" ") if cell] or [""]


def conllu(request: Request, piece: Piece, file: BinaryIO) -> Parts:
    """Yields sentences of Universal Dependencies: ten columns as JSON lists, and `# key = value` comments as text.

    Multiword ranges (`1-2`) and empty nodes (`8.1`) are not words and are left out.
    """

    def parse(lines: Sequence[str]) -> tuple[bytes, ...] | None:
        comments: dict[str, str] = {}
        words: list[tuple[int, list[str]]] = []
        for index, line in enumerate(lines):
            if line.startswith("#"):
                for key, value in _comment(line).items():
                    comments.setdefault(key, value)
                continue
            cells = line.split("\t")
            if len(cells) != len(CONLLU) or not all(cells):
                raise _Refused("extra-field" if len(cells) > len(CONLLU) else "bad-line", index)
            if _NOT_A_WORD.fullmatch(cells[0]):
                continue
            words.append((index, cells))
            if cells[0] != str(len(words)):
                raise _Refused("bad-ids", index)
        if not words:
            return None
        return tuple(_value(column, words, comments) for column in request.columns)

    return _parsed(request, piece, file, parse)


def keys_of_conllu(request: Request, piece: Piece, file: BinaryIO) -> Iterator[set[str]]:
    """Yields the field names of each sentence: those of the ten columns that are not empty (`_`), and the keys of its
    comments."""
    for found in _groups(request, piece, file):
        if isinstance(found, Group):
            lines = [line.decode("utf-8", "replace") for line in found.lines]
            cells = [line.split("\t") for line in lines if not line.startswith("#")]
            columns = zip(CONLLU, zip_longest(*cells, fillvalue="_"), strict=False)
            named = {name for name, values in columns if set(values) != {"_"}}
            yield named | {key for line in lines if line.startswith("#") for key in _comment(line)}


def _comment(line: str) -> dict[str, str]:
    key, equals, value = line[1:].partition("=")
    return {key.strip(): value.strip()} if equals else {}


def _value(column: Column, words: list[tuple[int, list[str]]], comments: dict[str, str]) -> bytes:
    if column.key in CONLLU:
        place = CONLLU.index(column.key)
        return _listed([(index, cells[place]) for index, cells in words])
    if column.key not in comments and not column.optional:
        raise _Refused("missing-field")
    return comments.get(column.key, "").encode()


def _listed(cells: list[tuple[int, str]]) -> bytes:
    for index, cell in cells:
        if not cell.strip(" "):
            raise _Refused("empty", index)
    return compact([cell for _, cell in cells]).encode()


def _parsed(request: Request, piece: Piece, file: BinaryIO, parse: Parse) -> Parts:
    drafts = Drafts()
    for found in _groups(request, piece, file):
        if isinstance(found, Group):
            _add(drafts, found, request.longest, parse)
        else:
            yield drafts.part(found)
            drafts = Drafts()
    if drafts:
        yield drafts.part(0)


def _add(drafts: Drafts, group: Group, longest: int, parse: Parse) -> None:
    whole = b"\n".join(group.lines)
    bad = no_texts(group.lines)
    if not group.whole or len(whole) > longest:
        drafts.refuse("over-long", group.line, whole)
    elif bad:
        first = min(bad)
        drafts.refuse(bad[first], group.line + first, group.lines[first])
    else:
        try:
            values = parse(whole.decode().split("\n"))
        except _Refused as refusal:
            drafts.refuse(refusal.reason, group.line + refusal.index, group.lines[refusal.index])
        else:
            if values is not None:
                drafts.keep(group.line, values, whole)


def _groups(request: Request, piece: Piece, file: BinaryIO) -> Iterator[Group | int]:
    """Yields groups and, after every chunk, the number of its lines."""
    number, first, size = 0, 1, 0
    held: list[bytes] = []
    for chunk, _ in line_chunks(file, piece, request.longest):
        for raw in chunk:
            number += 1
            if is_gap(raw):
                if held:
                    yield Group(first, held, size <= request.longest)
                held, size = [], 0
                continue
            if not held:
                first = number
            if size <= request.longest:
                held.append(without_return(raw))
            size += len(held[-1]) + bool(size)
        yield len(chunk)
    if held:
        yield Group(first, held, size <= request.longest)
