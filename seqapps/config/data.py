"""The sections `source` and `data`: where raw rows come from, and how they are divided."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import (
    Field,
    field_serializer,
    field_validator,
    model_validator,
)

from seqapps.config.section import Section, checked_name
from seqapps.secrets import recorded


class SourceConfig(Section):
    """Where the raw rows come from. Exactly one of `files`, `train`, `builtin`, `url`.

    Args:
        format: `text`; `jsonl`; `csv` (header, quotes); `tsv` (header, no quotes); `labelled` (`label text` lines);
            `conll` (a token a line, an empty line between sentences); `conllu` (Universal Dependencies); `aligned`
            (line n of one file belongs to line n of the files beside it). `.gz` files are read as they are.
        files: files, folders or globs; the job splits the rows.
        train, validation, test: the same, when the given files are the splits. Without `validation` that share of
            the training rows is held out.
        builtin: text that every CPython carries, or that is generated: a file of `pipelines/builtin/`.
        url, sha256: a file that is fetched once into the cache, and the hash of its content, which is checked.
        rows: `line` (every line is a row), `paragraph` (lines up to an empty one), `file` (every file is a row) or
            `document` (every file is one running text with its line ends).
        fields: what the file calls the columns that the application needs, such as `text = "review"`; a column that
            is not named here has its own name.
            Where neither it nor `columns` says it, `tokens` and `tags` are the first and the last cell of `conll`, and
            `form` and `upos` of `conllu`.
        columns: names of the columns of a `csv`, `tsv` or `conll` file that has no header line. A row with another
            number of cells is rejected.
        from_path: columns that stand in the file's path: `folder` (name of its folder), `stem` (name before the first
            dot) or `suffix` (what follows it, without `.gz`), such as `label = "folder"`.
        beside: for `aligned`, the file of every further column: a name in the same folder, in which `*` stands for
            the stem of the first file, such as `target = "*.fr"` or `tags = "seq.out"`. The lines of `files` are the
            column that is left; where a folder or a pattern finds the files beside as well, they are not `files`.
        comment: lines that begin with it are left out (`conll`).
    """

    format: Literal["text", "jsonl", "csv", "tsv", "labelled", "conll", "conllu", "aligned"] = "text"
    files: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    builtin: str = ""
    url: str = ""
    sha256: str = ""
    rows: Literal["line", "paragraph", "file", "document"] = "line"
    fields: dict[str, str] = Field({})
    columns: tuple[str, ...] = ()
    from_path: dict[str, Literal["folder", "stem", "suffix"]] = Field({})
    beside: dict[str, str] = Field({})
    comment: str = ""

    @field_validator("builtin")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return checked_name(name, "source.builtin")

    @field_serializer("url")
    def _without_user(self, url: str) -> str:
        return recorded(url)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("files", "train", "builtin", "url") if getattr(self, name)]
        if len(given) != 1:
            received = " and ".join(f"`source.{name}`" for name in given) or "none of them"
            raise ValueError(
                "needs exactly one of `files`, `train`, `builtin`, `url`. "
                f'Received: {received}. Example: files = ["corpus/*.txt"]'
            )
        if (self.validation or self.test) and not self.train:
            raise ValueError("`source.validation` and `source.test` need `source.train` beside them")
        if self.url and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError("`source.url` needs `source.sha256`: 64 hexadecimal digits of the file's content")
        if self.sha256 and not self.url:
            raise ValueError("`source.sha256` is for `source.url` alone")
        return self

    @model_validator(mode="after")
    def _no_idle_options(self) -> Self:
        formats = _FORMATS_OF_ROWS.get(self.rows)
        if formats and self.format not in formats:
            allowed = " or ".join(f'"{name}"' for name in formats)
            raise ValueError(f'`source.rows` = "{self.rows}" is for format {allowed}. Received: {self.format!r}')
        for name, formats in _OPTIONS_OF_FORMATS.items():
            if getattr(self, name) and self.format not in formats:
                raise ValueError(f"`source.{name}` is for format {' or '.join(formats)}. Received: {self.format!r}")
        if self.format == "aligned" and not self.beside:
            raise ValueError('format "aligned" needs `source.beside`. Example: beside = { target = "*.fr" }')
        if self.format == "aligned" and self.url:
            raise ValueError('format "aligned" needs several files, and `source.url` is one. Allowed: files, train')
        return self

    @model_validator(mode="after")
    def _one_place_for_a_column(self) -> Self:
        if len({*self.columns}) < len(self.columns) or "" in self.columns:
            raise ValueError(f"`source.columns` must be different names. Received: {list(self.columns)}")
        places = [name for option in (self.fields, self.from_path, self.beside) for name in option]
        twice = sorted({name for name in places if places.count(name) > 1})
        if twice:
            raise ValueError(
                "a column comes from one place: `source.fields`, `source.from_path` or `source.beside`. Received: "
                f"{twice[0]!r} in two of them"
            )
        return self


_FORMATS_OF_ROWS = {"document": ("text",), "paragraph": ("text",), "file": ("text", "csv", "tsv")}
_OPTIONS_OF_FORMATS = {
    "columns": ("csv", "tsv", "conll"),
    "beside": ("aligned",),
    "comment": ("conll",),
    "fields": ("jsonl", "csv", "tsv", "conll", "conllu"),
}


class SplitConfig(Section):
    """How rows become train, validation and test, when the source does not say it.

    Args:
        by: `row` (hash of the row's text: equal rows never straddle two splits), `file` (hash of the file's name) or
            `position` (the first part of the text is train, the next validation, the last test, cut at a line's end)
            or `time` (the same for the steps of a series).
        validation, test: shares of the rows (of the bytes for `position`).
        seed: of the hash; none takes the configuration's. With one, runs of several seeds share their splits.
        same: whether `source.train`, `source.validation` and `source.test` may name the same file. What is measured is
            then how well it is learned by heart.
    """

    by: Literal["row", "file", "position", "time"] = "row"
    validation: float = Field(0.1, ge=0.0, lt=1.0)
    test: float = Field(0.1, ge=0.0, lt=1.0)
    seed: int | None = Field(None, ge=0)
    same: bool = False

    @model_validator(mode="after")
    def _some_training(self) -> Self:
        if self.validation + self.test >= 1.0:
            raise ValueError(f"`validation` + `test` must stay below 1. Received: {self.validation} + {self.test}")
        if self.validation == 0.0:
            raise ValueError("`validation` must be above 0: training stops and keeps weights by it")
        return self


class DataConfig(Section):
    """What every application's `data` section has.

    Args:
        split: how rows are divided.
        max_row_bytes: longer rows are rejected (`over-long`).
        max_reject_fraction: above this share of rejected rows `prepare` fails.
        shard_bytes: size of the byte range that is one element of the job and writes one shard.
        keep: further columns of the raw row that travel with the example, for `seqapps evaluate --slices COLUMN`. They
            must be there, and may be empty.
    """

    split: SplitConfig = SplitConfig()
    max_row_bytes: int = Field(100_000, ge=1)
    max_reject_fraction: float = Field(0.01, ge=0.0, le=1.0)
    shard_bytes: int = Field(4 << 20, ge=1_000)
    keep: tuple[str, ...] = ()

    @property
    def further_files(self) -> tuple[str, ...]:
        """Files beside the source whose content decides what is prepared, such as pretrained vectors."""
        return ()
