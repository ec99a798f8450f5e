"""Reads one piece of a raw file into blocks of valid rows, and refused rows with reason and line.

Memory is bounded by the block, not by the file: an endless line, a large `.gz` or a large document is read in parts.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from pipelines.pieces import WHOLE, Piece
from pipelines.readers import aligned, groups, rows, tables, wholes
from pipelines.readers.lines import SHOWN_BYTES, no_texts
from pipelines.readers.parts import Column, Part, Parts, Reject, Request
from pipelines.readers.wholes import BLOCK_BYTES
from pipelines.sources import Source, columns_of_path
from seqapps.config import RunConfig, SourceConfig
from seqapps.dataset.ragged import RawBlock
from seqapps.dataset.text_files import check_encoding, open_raw
from seqapps.errors import ConfigError, DataError, nearest, unknown_name

__all__ = ["BLOCK_BYTES", "Read", "Reject", "RowReader"]

_FORMATS: Mapping[str, Callable[[Request, Piece, BinaryIO], Parts]] = {
    "text": rows.text,
    "labelled": rows.labelled,
    "jsonl": rows.jsonl,
    "tsv": rows.tsv,
    "csv": tables.csv,
    "conll": groups.conll,
    "conllu": groups.conllu,
    "aligned": aligned.aligned,
}

_KEYS: Mapping[str, Callable[[Request, Piece, BinaryIO], Iterator[set[str]]]] = {
    "jsonl": rows.keys_of_jsonl,
    "conllu": groups.keys_of_conllu,
}
"""Yields the field names of each row of a format without a header."""
_HEADERS: Mapping[str, Callable[[str], list[str]]] = {
    "tsv": rows.first_cells,
    "csv": tables.first_cells,
    "conll": groups.first_cells,
}
"""Returns the cells of the first line of a file."""


@dataclass(frozen=True)
class Read:
    """A part of a piece: kept rows, refused rows, and the number of its lines.

    `counted` is the number of its rows, the denominator of the share of rejected rows.
    """

    block: RawBlock
    rejects: list[Reject]
    lines: int
    counted: int


@dataclass(frozen=True)
class RowReader:
    """Reads rows as the configuration says.

    Args:
        request: the columns that the rows must have.
        columns: names of all columns of a block, in order: those of the rows, those of the path, and optional
            ones that the source does not have.
        keep_empty: whether an empty line is a row.
    """

    request: Request
    columns: tuple[str, ...]
    keep_empty: bool

    @classmethod
    def of(cls, config: RunConfig, columns: Sequence[str]) -> RowReader:
        """Returns the reader of a configuration.

        Args:
            config: the whole configuration.
            columns: those that the application needs. One whose name ends in `?` may be missing or empty in a row,
                which then has `b""`; the block's column is named without the `?`. Those of `data.keep` are added:
                they must exist, and may be empty.

        Raises:
            DataError: the source lacks one of the columns; names the nearest.
            ConfigError: an option of the source refers to a column that is not requested.
        """
        source = config.source
        asked = {name.removesuffix("?"): Column(name, name, name.endswith("?")) for name in columns}
        for name in config.data.keep:
            asked.setdefault(name, Column(name, name, may_be_empty=True))
        _check_idle(source, list(asked))
        main = _main_column(source, list(asked))
        given = _given(source, main)
        found = []
        for name, column in asked.items():
            if name in source.from_path:
                continue
            key = "" if name == main else _key(source, name)
            if given is not None and key not in given:
                if column.optional:
                    continue
                raise DataError(_missing(source, name, key, [main or "", *given]))
            found.append(Column(name, key, column.optional, column.optional or column.may_be_empty))
        request = Request(source, tuple(found), config.data.max_row_bytes)
        return cls(request, tuple(asked), bool(getattr(config.data, "keep_empty_lines", False)))

    def check_headers(self, sources: Sequence[Source]) -> list[str]:
        """Raises for a file whose first line repeats the names of `source.columns`: a header would be read as a row.

        Returns:
            A message for each file whose first line has some of them in the same positions.

        Raises:
            DataError: names the file and the line.
        """
        names, header = list(self.request.source.columns), _HEADERS.get(self.request.source.format)
        if not names or header is None or self._rows != "line":
            return []
        doubts = []
        remedy = "take the line away" if self.request.source.format == "conll" else "leave `source.columns` out"
        for source in sources:
            cells = header(source.path)
            same = [
                name for cell, name in zip(cells, names, strict=False) if cell.strip().casefold() == name.casefold()
            ]
            if len(same) == len(names) == len(cells):
                raise DataError(
                    f"{source.name}: the first line has the names that `source.columns` gives, and would be read as a "
                    f"row. Received: {', '.join(cells)}. Remedy: {remedy}."
                )
            if same:
                doubts.append(
                    f"{source.name}: the first line is read as a row, and says {same[0]!r} in the column `{same[0]}`. "
                    f"If it is a header: {remedy}"
                )
        return doubts

    def check_names(self, sources: Sequence[Source]) -> None:
        """Raises for a column that no row of a split has: its name is wrong. Reads files up to a row that has it.

        Raises:
            DataError: names the nearest among the columns of the first row.
        """
        if self._rows != "line" or self.request.source.format not in _KEYS:
            return
        for split in dict.fromkeys(source.split for source in sources):
            missing = {column.key: column.name for column in self.request.columns if not column.optional}
            first: tuple[str, set[str]] | None = None
            for name, keys in self._keys([source for source in sources if source.split == split]):
                first = first or (name, keys)
                missing = {key: column for key, column in missing.items() if key not in keys}
                if not missing:
                    break
            if missing and first:
                key, column = next(iter(missing.items()))
                if key in groups.CONLLU:
                    message = ", ".join(name for name in groups.CONLLU if name in first[1])
                    raise DataError(
                        f"{first[0]}: the column `{key}`, which `{column}` is read from, is `_` in every row: it says "
                        f'nothing. Those that do: {message}. Remedy: `source.fields`. Example: {column} = "xpos".'
                    )
                message = unknown_name("column", key, first[1])
                close = nearest(key, sorted(first[1]))
                example = f' Example: {column} = "{close}".' if close else ""
                raise DataError(f"{first[0]}: {message} No row has it. Remedy: `source.fields`.{example}")

    def _keys(self, sources: Sequence[Source]) -> Iterator[tuple[str, set[str]]]:
        for source in sources:
            piece = Piece(0, source.name, source.path, 0, WHOLE, begins=True, ends=True)
            try:
                with open_raw(source.path) as file:
                    for keys in _KEYS[self.request.source.format](self.request, piece, file):
                        yield source.name, keys
            except (EOFError, OSError, zlib.error) as error:
                raise DataError(f"{source.name} cannot be read: {error}.") from None

    def read(self, piece: Piece) -> Iterator[Read]:
        """Yields the parts of a piece, in file order.

        Raises:
            DataError: the file cannot be read, its header lacks a column, or an aligned file has other lines.
        """
        try:
            with open_raw(piece.path) as file:
                check_encoding(file.read(4), piece.name)
                file.seek(0)
                yield from self._documents(piece, file) if self._rows == "document" else self._rows_of(piece, file)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{piece.name} cannot be read: {error}.") from None

    @property
    def _rows(self) -> str:
        return self.request.source.rows

    def _rows_of(self, piece: Piece, file: BinaryIO) -> Iterator[Read]:
        by_rows = {"file": wholes.files, "paragraph": groups.paragraphs}
        parts = by_rows.get(self._rows) or _FORMATS[self.request.source.format]
        left = piece.limit
        for part in parts(self.request, piece, file):
            read = self._checked(piece, part.first(left) if piece.limit else part)
            yield read
            left -= read.counted
            if piece.limit and not left:
                return

    def _documents(self, piece: Piece, file: BinaryIO) -> Iterator[Read]:
        for stretch in wholes.stretches(self.request.longest, piece, file):
            texts = [] if stretch.text is None else [stretch.text]
            block = self._block(piece, [stretch.first] * len(texts), [texts] * len(self.request.columns))
            begins, ends = block.begins & stretch.begins, block.ends & stretch.ends
            block = RawBlock(block.source, block.lines, block.columns, begins, ends)
            yield Read(block, stretch.rejects, stretch.lines, max(stretch.lines, len(stretch.rejects)))

    def _checked(self, piece: Piece, part: Part) -> Read:
        """Filters out the rows that cannot be kept."""
        reasons = self._reasons(part.columns)
        rejects = [Reject(why, part.numbers[row], part.shown[row][:SHOWN_BYTES]) for row, why in reasons.items()]
        numbers, columns = part.numbers, part.columns
        if reasons:
            good = [row for row in range(len(numbers)) if row not in reasons]
            numbers, columns = [numbers[row] for row in good], [[column[row] for row in good] for column in columns]
        return Read(
            block=self._block(piece, numbers, columns),
            rejects=sorted([*part.rejects, *rejects], key=lambda reject: reject.line),
            lines=part.lines,
            counted=len(part.numbers) + len(part.rejects),
        )

    def _reasons(self, columns: Sequence[Sequence[bytes]]) -> dict[int, str]:
        """Returns why rows cannot be kept, by index. Whole columns are checked first: most are valid."""
        reasons: dict[int, str] = {}
        longest = self.request.longest
        for values in columns:
            if max(map(len, values), default=0) > longest:
                reasons |= {row: "over-long" for row, value in enumerate(values) if len(value) > longest}
        for values in columns:
            for row, why in no_texts(values).items():
                reasons.setdefault(row, why)
        for values, column in zip(columns, self.request.columns, strict=False):
            if not (self.keep_empty or column.may_be_empty or all(map(bytes.strip, values))):
                for row in (row for row, value in enumerate(values) if not value.strip()):
                    reasons.setdefault(row, "empty")
        return reasons

    def _block(self, piece: Piece, numbers: Sequence[int], columns: Sequence[Sequence[bytes]]) -> RawBlock:
        found = {column.name: list(values) for column, values in zip(self.request.columns, columns, strict=False)}
        constant = columns_of_path(self.request.source, piece.name, piece.path)
        rows = len(numbers)
        named = {name: found.get(name) or [constant.get(name, b"")] * rows for name in self.columns}
        whole = np.ones(rows, np.bool_)
        return RawBlock(piece.name, np.asarray(numbers, np.int64), named, whole, whole)


def _main_column(source: SourceConfig, asked: Sequence[str]) -> str | None:
    """Returns the column that the lines of an aligned main file fill: the first without another origin."""
    if source.format != "aligned":
        return None
    free = [name for name in asked if name not in source.beside and name not in source.from_path]
    if not free:
        raise ConfigError(
            "`source.beside` and `source.from_path` give every column that is needed, and nothing is left for the "
            f"lines of the files themselves. Received: {', '.join(asked)}. Remedy: leave one of them out."
        )
    return free[0]


def _given(source: SourceConfig, main: str | None) -> tuple[str, ...] | None:
    """Returns the names of a source's columns; None if only its files say."""
    if source.rows != "line":
        return ("text",)
    if source.format == "aligned":
        return ("", *source.beside) if main else tuple(source.beside)
    fixed = {"text": ("text",), "labelled": ("label", "text"), "conll": ("tokens", "tags")}
    return source.columns or fixed.get(source.format)


def _key(source: SourceConfig, name: str) -> str:
    usual = groups.CONLLU_NAMES if source.format == "conllu" else {}
    return source.fields.get(name, usual.get(name, name))


def _missing(source: SourceConfig, name: str, key: str, given: Sequence[str]) -> str:
    allowed = sorted({*given, *source.from_path} - {""})
    message = unknown_name(f"column `{name}`", key, allowed)
    return f'`source` (format "{source.format}", rows "{source.rows}"): {message}'


def _check_idle(source: SourceConfig, asked: Sequence[str]) -> None:
    """Raises for a column that an option names but that is not requested: most often it is misspelt."""
    by_application = source.rows == "file"  # the application parses the file's content
    for option in ("from_path", "beside", *(() if by_application else ("fields",))):
        for name in getattr(source, option):
            if name not in asked:
                message = unknown_name(f"`source.{option}`: column `{name}`", name, asked)
                raise ConfigError(f"{message} Remedy: correct it, leave it out, or add it to `data.keep`.")
