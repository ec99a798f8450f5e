"""TOML to a typed configuration, with errors that name the field, and back."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from pydantic import (
    BaseModel,
    ValidationError,
)

from seqapps import formats
from seqapps.config.data import DataConfig
from seqapps.config.renamed import renamed_key, renamed_value
from seqapps.config.run import RunConfig
from seqapps.config.section import Section, name_of_file
from seqapps.config.stages import EvaluationConfig
from seqapps.config.training import ModelConfig
from seqapps.errors import ConfigError, unknown_name, wrong_value
from seqapps.secrets import expand, names_in

Overrides = Sequence[str] | Mapping[str, Any]
"""Fields that replace those of a configuration: the words of `--set`, `section.field=value` with a value in TOML, or a
mapping of dotted fields to values."""


def read_toml(path: str | os.PathLike[str], overrides: Overrides = ()) -> dict[str, Any]:
    """Returns the tables of a TOML file with overrides applied.

    `${NAME}` in a string is the environment variable, and stays as it is: where the value is used it is replaced. Paths
    of `source` that are relative are taken from the folder in which the command runs. `name` defaults to the file's
    name.

    Raises:
        ConfigError: no such file, not TOML, of another format, an unset variable or an override that is not
            `key=value`.
    """
    file = Path(path)
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        near = sorted(str(other) for other in file.parent.glob("*.toml")) if file.parent.is_dir() else []
        raise ConfigError(f"{file} does not exist." + (f" Nearby: {', '.join(near[:8])}." if near else "")) from None
    except UnicodeDecodeError as error:
        remedy = "Remedy: save it as UTF-8, such as with `iconv -f latin1 -t utf-8`"
        raise ConfigError(f"{file} cannot be read as TOML: {error}. {remedy}.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file} cannot be read as TOML: {error}.") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        remedy = "Remedy: name a file that is there and that you may read"
        raise ConfigError(f"{os.fspath(file)[:_LONGEST_SHOWN]} cannot be read: {why}. {remedy}.") from None
    _check_format(tables, str(file))
    _override(tables, overrides)
    tables.setdefault("name", name_of_file(file.stem))
    _check_variables(tables, str(file))
    return tables


def _check_format(tables: dict[str, Any], where: str) -> None:
    """Takes out the field `format`, which a search writes into its winner; a configuration of your own has none.

    Raises:
        ConfigError: a search of another version of seqapps wrote it.
    """
    message = formats.unlike(tables, "winner") if formats.FIELD in tables else ""
    if message:
        raise ConfigError(
            f"{where} {message}. Remedy: search again (`seqapps tune CONFIG`), use the version of seqapps that wrote "
            f"it, or take out the line `{formats.FIELD}` and mend the fields that are then reported."
        )
    tables.pop(formats.FIELD, None)


def read_tables(given: Mapping[str, Any], overrides: Overrides = (), where: str = "the tables") -> dict[str, Any]:
    """Returns tables that no file holds, as `read_toml` returns those of a file; `given` is left as it is.

    Args:
        given: section to fields, as in a TOML file; paths may be `Path`, and lists tuples.
        overrides: as of `read_toml`.
        where: what they are, for messages.

    Raises:
        ConfigError: there is no `name`, an unset variable, or an override that sets no field.
    """
    tables: dict[str, Any] = _plain(given)
    _override(tables, overrides)
    if not tables.get("name"):
        raise ConfigError(
            f"{where}: `name` is required where no file gives one: it names folders and the registered model. Example: "
            'name = "my_model".'
        )
    _check_variables(tables, where)
    return tables


def _plain(value: Any) -> Any:
    """Returns a copy of a value as TOML gives it: tables, lists, and paths as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value


def parse_config(
    tables: Mapping[str, Any],
    *,
    data: type[DataConfig],
    models: Mapping[str, type[ModelConfig]],
    evaluation: type[EvaluationConfig],
    where: str,
) -> RunConfig:
    """Returns the typed configuration, with every default filled in.

    Args:
        tables: what `read_toml` gave, or a dump of a RunConfig.
        data: the application's class of the `data` section.
        models: architecture name to the class of its `model` section, for the architectures that the application takes.
        evaluation: the application's class of the `evaluation` section.
        where: file name, for messages.

    Raises:
        ConfigError: unknown key (with the nearest), wrong type, impossible combination.
    """
    values = dict(tables)
    given = values.get("model") or {}
    if not isinstance(given, Mapping):
        example = f'[model] architecture = "{next(iter(models))}"'
        raise ConfigError(f"{where}: " + wrong_value("`model`", given, "must be a section", example))
    section = dict(given)
    architecture = section.setdefault("architecture", next(iter(models)))
    if not isinstance(architecture, str) or architecture not in models:
        problem = renamed_value("model.architecture", architecture, models)
        raise ConfigError(f"{where}: " + (problem or unknown_name("`model.architecture`", str(architecture), models)))
    problems: list[str] = []
    values["data"] = _parse_section(data, values.get("data") or {}, "data", problems)
    values["model"] = _parse_section(models[architecture], section, "model", problems)
    values["evaluation"] = _parse_section(evaluation, values.get("evaluation") or {}, "evaluation", problems)
    known = {name: value for name, value in values.items() if value is not None}
    try:
        config = RunConfig.model_validate(known)
    except ValidationError as error:
        # These sections have reported their own mistakes.
        others = [item for item in error.errors() if item["loc"][:1] not in (("data",), ("model",), ("evaluation",))]
        problems = [_message(RunConfig, item) for item in others] + problems
    if problems:
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems))
    return config


def _parse_section(cls: type[Section], values: Any, name: str, problems: list[str]) -> Section | None:
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        problems += [_message(cls, item, (name,)) for item in error.errors()]
        return None


def _message(cls: type[BaseModel], item: Any, prefix: tuple[str, ...] = ()) -> str:
    """Rewrites one pydantic error in the house's voice."""
    location = tuple(str(part) for part in item["loc"])
    where = f"`{'.'.join(prefix + location)}`" if prefix + location else "the file"
    received = _shown(item.get("input"))
    match item["type"]:
        case "extra_forbidden":
            keys = _keys(cls, location[:-1])
            return renamed_key(".".join(prefix + location), keys) or unknown_name(where, location[-1], keys)
        case "missing":
            return f"{where} is required."
        case "value_error":
            return f"{where}: {item['ctx']['error']}."
    if item["type"] == "tuple_type":
        example = f"{location[-1]} = {toml_value([received])}" if isinstance(received, str | int | float) else ""
        return wrong_value(where, received, "must be a list", example)
    text = item["msg"].replace("Input should be ", "must be ").replace("'", '"')
    return f"{where} {text}. Received: {received!r}."


def _shown(value: Any) -> Any:
    """Returns a received value as the file has it, and not more of it than one wants to read."""
    if isinstance(value, tuple):
        return [_shown(item) for item in value]
    if isinstance(value, str) and len(value) > _LONGEST_SHOWN:
        return f"{value[:_LONGEST_SHOWN]}..."
    return value


_LONGEST_SHOWN = 200


def _keys(cls: type[BaseModel], location: Sequence[str]) -> list[str]:
    for part in location:
        annotation = cls.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        cls = annotation
    return list(cls.model_fields)


def _override(tables: dict[str, Any], overrides: Overrides) -> None:
    """Sets fields of nested tables."""
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            _set(tables, str(key), _plain(value), f"override of `{key}`")
        return
    for override in overrides:
        key, value = _parse_override(override)
        _set(tables, key, value, f"`--set {override}`")


def _parse_override(override: str) -> tuple[str, Any]:
    """Returns the dotted field and the value of a word of `--set`."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"`--set` wants section.field=value. Received: {override!r}. Example: --set training.epochs=3."
        )
    try:
        return key, tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return key, text
    except RecursionError:
        raise ConfigError(f"`--set {override[:60]}...` is nested too deeply.") from None


def _set(tables: dict[str, Any], key: str, value: Any, said: str) -> None:
    """Sets the dotted field `key` of nested tables; `said` is the setting, for messages."""
    *sections, field = key.strip().split(".")
    table = tables
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{said}: `{section}` is a value, not a section.")
    table[field] = value


def _check_variables(tables: Mapping[str, Any], where: str) -> None:
    """Raises for a variable that is not set, and for one in a field that is read as it stands."""
    for field, text in _texts(tables):
        for name in names_in(text):
            if field not in WITH_VARIABLES:
                raise ConfigError(
                    f"{where}: `${{{name}}}` is replaced in {', '.join(WITH_VARIABLES)} alone, when they are used, so "
                    f"that no record holds its value. Received: `{field}` = {text!r}."
                )
        expand(text, where)


WITH_VARIABLES = (
    "source.files",
    "source.train",
    "source.validation",
    "source.test",
    "source.url",
    "data.pretrained.path",
    "tracking.uri",
)
"""The fields in which `${NAME}` is an environment variable: places of files and addresses."""


def _texts(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Yields (dotted field, text) for every text inside nested tables and lists."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{field}.{key}" if field else str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, field)


def to_toml(value: Mapping[str, Any], prefix: str = "") -> str:
    """Returns nested tables as TOML text (strings, numbers, booleans, lists of them, tables); None is left out."""
    given = {key: item for key, item in value.items() if item is not None}
    lines = [f"{key} = {toml_value(item)}" for key, item in given.items() if not isinstance(item, Mapping)]
    text = "\n".join(lines) + ("\n" if lines else "")
    for key, item in value.items():
        if isinstance(item, Mapping):
            name = f"{prefix}{key}"
            text += f"\n[{name}]\n" + to_toml(item, f"{name}.")
    return text


def toml_value(value: Any) -> str:
    """Returns a text, a number, a boolean or a list of them as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        # What JSON escapes, TOML reads the same; DEL alone is a character to JSON and not to TOML.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
