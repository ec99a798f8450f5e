"""The format of every record that one command writes and a later one reads: one table of numbers, and one reader.

A record is JSON with a field `format`, the kind and the number: `"manifest 1"`. Whoever adds, renames or removes a
field of a record, or gives it another meaning, raises the number of its kind here (`tests/test_formats.py` says when).
No other number is read: a record is made anew where a stage can do that, and refused with one message where it must
not.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from seqapps.errors import DataError, quoted
from seqapps.files import read_json, write_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FIELD = "format"
"""The field of a record that holds its kind and number."""


class Format(NamedTuple):
    """The format of one kind of record.

    Args:
        number: the number that this version writes, and the only one that it reads.
        place: where the record is; the last part of a path is its file's name.
        covers: files beside it that it stands for: they are written with it, and read after it.
    """

    number: int
    place: str
    covers: tuple[str, ...] = ()


FORMATS: Mapping[str, Format] = {
    "manifest": Format(1, "prepared/*/manifest.json", ("shards", "n-grams", "rejects/rejects.jsonl")),
    "tokenizer": Format(1, "vocabularies/*/tokenizer.json", ("tokens.json", "sentencepiece.model")),
    "labels": Format(1, "vocabularies/*/labels.json"),
    "scaling": Format(1, "vocabularies/*/scaling.json"),
    "vectors": Format(1, "vocabularies/*/vectors.json", ("vectors.npz",)),
    "stage": Format(1, "stages/*/*.json"),
    "search": Format(1, "tuning/*/oracle/oracle.json"),
    "trial": Format(1, "tuning/*/records/*.json"),
    "winner": Format(1, "tuning/*/best.toml"),
    "run": Format(1, "runs/*/run.json"),
    "audit": Format(1, "runs/*/audit.json"),
    "checkpoint": Format(1, "runs/*/checkpoint.npz"),
    "history": Format(1, "runs/*/history.json"),
    "trained": Format(1, "runs/*/model/model.json", ("model.weights.h5",)),
    "evaluation": Format(1, "runs/*/evaluation/evaluation.json", ("statistics.npz", "pictures")),
    "breakdowns": Format(1, "runs/*/evaluation/breakdowns.json"),
    "examples": Format(1, "runs/*/evaluation/examples.json"),
    "slices": Format(1, "runs/*/evaluation/slices.json"),
    "diagnosis": Format(1, "runs/*/diagnosis/diagnosis.json"),
    "export": Format(1, "exports/*/*/model.json", ("saved_model.pb", "golden.json", "assets/facts.json")),
    "version": Format(1, "tags of a registered version"),
    "ledger": Format(1, "tags of registered versions, and ledger.jsonl"),
    "backtest": Format(1, "backtests/*.json"),
    "hashes": Format(1, "cache/sha256.json"),
}
"""Kind of a record to its format."""

T = TypeVar("T")


class FormatError(DataError):
    """A record of another kind, or of another number than this version reads.

    Args:
        where: the record.
        description: what its format is, to follow its name.
        remedy: what to do about it.
    """

    def __init__(self, where: str, description: str, remedy: str) -> None:
        super().__init__(f"{where} {description}. Remedy: {remedy}.")
        self.description = description


def stamp(kind: str) -> str:
    """Returns the value of the field `format`.

    >>> stamp("backtest")
    'backtest 1'
    """
    return f"{kind} {FORMATS[kind].number}"


def stamped(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record with its format."""
    return {FIELD: stamp(kind), **values}


def write(path: str | os.PathLike[str], kind: str, values: Mapping[str, Any]) -> None:
    """Writes a record with its format as JSON, atomically."""
    write_json(path, stamped(kind, values))


def read(path: str | os.PathLike[str], kind: str, shape: type[T], remedy: str) -> T:
    """Returns a record of exactly this kind and number.

    Args:
        path: of the file, JSON.
        kind: of `FORMATS`.
        shape: dataclass or pydantic model with its fields.
        remedy: what to do where it cannot be read, without a full stop.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: another kind or number, or none.
        DataError: it is empty, was cut, or lacks a field or has one of another type.
    """
    return checked(read_json(path, remedy), kind, shape, str(path), remedy)


def checked(values: Any, kind: str, shape: type[T], where: str, remedy: str) -> T:
    """Returns a record from its JSON value, as `read` does.

    Raises:
        FormatError, DataError: see `read`; `where` names the record.
    """
    if not isinstance(values, Mapping):
        raise DataError(f"{where} is damaged: it holds a {type(values).__name__} alone. Remedy: {remedy}.")
    description = unlike(values, kind)
    if description:
        raise FormatError(where, description, f"{remedy}, or use {_writer(values)}")
    fields = {name: value for name, value in values.items() if name != FIELD}
    try:
        return _validated(fields, shape)
    except ValueError as error:
        raise DataError(f"{where} is damaged: {_first(error)}. Remedy: {remedy}.") from None


def unlike(values: Mapping[str, Any], kind: str) -> str:
    """Returns how the format of a record differs from the one that this version writes; empty if it does not.

    >>> unlike({"format": "backtest 7"}, "backtest")
    'has format 7, this version writes 1'
    """
    current, given = FORMATS[kind].number, values.get(FIELD)
    if given is None:
        return f"has no format number, this version writes {current}"
    read = re.fullmatch(r"([a-z]+) ([0-9]{1,9})", given) if isinstance(given, str) else None
    if read is None:
        return f"has the format {quoted(given)}, this version writes {quoted(stamp(kind))}"
    if read[1] != kind:
        return f"is a record of the kind {quoted(read[1])}, and {quoted(kind)} is needed"
    return "" if int(read[2]) == current else f"has format {int(read[2])}, this version writes {current}"


def flaw(values: Mapping[str, Any], shape: type[Any]) -> str:
    """Returns the first field of a record that is missing, unknown or of another type, in words; empty if none is.

    Args:
        values: the record; its format is not looked at.
        shape: dataclass or pydantic model with its fields.
    """
    try:
        _validated({name: value for name, value in values.items() if name != FIELD}, shape)
    except ValueError as error:
        return _first(error)
    return ""


def stale(path: Path) -> str:
    """Returns how the format of a file differs from the one that this version writes; empty if it does not, and for a
    file that is no record, or that cannot be read at all."""
    kinds = _kinds_of().get(path.name, ())
    if not kinds:
        return ""
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError):
        return ""
    if not isinstance(values, dict):
        return ""
    description = [unlike(values, kind) for kind in kinds]
    # Several kinds have this name (`model.json`): the answer for its own kind says more.
    own = [
        text for kind, text in zip(kinds, description, strict=True) if str(values.get(FIELD, "")).startswith(f"{kind} ")
    ]
    return "" if "" in description else [*own, *description][0]


def _writer(values: Mapping[str, Any]) -> str:
    version = values.get("code_version")
    return "the version of seqapps that wrote it" + (f" ({version})" if isinstance(version, str) else "")


@functools.cache
def _kinds_of() -> dict[str, tuple[str, ...]]:
    """File name to the kinds whose files have it; without names that have a wildcard."""
    names = {kind: item.place.rpartition("/")[2] for kind, item in FORMATS.items() if "/" in item.place}
    known = {name for name in names.values() if "*" not in name and name.endswith((".json", ".toml"))}
    return {name: tuple(kind for kind, own in names.items() if own == name) for name in known}


@functools.cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(shape)


def _validated(fields: Mapping[str, Any], shape: type[T]) -> T:
    if dataclasses.is_dataclass(shape):
        unknown = sorted(fields.keys() - {field.name for field in dataclasses.fields(shape)})
        if unknown:
            raise ValueError(f"it has the unknown field `{unknown[0]}`")
    key: Any = shape  # mypy takes no type variable for a cache
    adapter: TypeAdapter[T] = _adapter(key)
    return adapter.validate_python(fields)


def _first(error: ValueError) -> str:
    """Returns the first mistake of a record, in words."""
    from pydantic import ValidationError  # imported here, so that `--help` is quick

    if not isinstance(error, ValidationError):
        return str(error)
    item = error.errors()[0]
    where = f"`{'.'.join(map(str, item['loc']))}`"
    if item["type"] == "missing":
        return f"the field {where} is missing"
    return f"the field {where} {item['msg'].replace('Input should be', 'should be')[:200]}"
