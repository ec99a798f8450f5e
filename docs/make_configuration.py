"""Writes docs/configuration.md from the configuration classes: python docs/make_configuration.py [--check]

Names, types and defaults come from the fields; meanings from the `Args:` of the docstrings.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from seqapps import applications, architectures
from seqapps.config import RunConfig, Section

TARGET = Path(__file__).with_name("configuration.md")
HEAD = """# Configuration

Made from the classes by `python docs/make_configuration.py`; do not edit. A configuration is a TOML file with the
sections below. Only `application` and `source` are required: `seqapps config CONFIG` prints a file with every default
filled in. `--set section.field=value` overrides a field. `${NAME}` in a path or an address is replaced by the
environment variable ([in these fields](pipeline.md#variables-and-secrets)). Unknown keys, wrong types (`true` and `"3"`
are not numbers), numbers out of bounds, names that could lead out of a folder and combinations that cannot work are
refused before anything starts.
"""
TOP = {
    "name": "names folders and the registered model; empty takes the file's name, its other characters replaced",
    "application": "a file of `seqapps/applications/`",
    "seed": "determines every random choice",
}


def page() -> str:
    """Returns the whole page."""
    parts = [HEAD, _section("(top of the file)", RunConfig, TOP, list(TOP))]
    parts.append(_section("source", _class_of(RunConfig, "source")))
    for name in applications.names():
        application = applications.load(name)
        parts.append(_section("data", application.data, title=f"`[data]` of {name}"))
    for name in architectures.names():
        parts.append(_section("model", architectures.load(name).Config, title=f"`[model]` with architecture {name}"))
    for name in RunConfig.model_fields:
        if name == "evaluation":
            parts += [
                _section(name, application.evaluation, title=f"`[{name}]` of {application.name}")
                for application in map(applications.load, applications.names())
                if application.evaluation.model_fields
            ]
        elif name not in (*TOP, "source", "data", "model"):
            parts.append(_section(name, _class_of(RunConfig, name)))
    return "\n".join(parts)


def _section(
    name: str,
    cls: type[Section],
    meanings: dict[str, str] | None = None,
    only: list[str] | None = None,
    title: str = "",
) -> str:
    """Returns a section as a heading, a sentence and a table; sections inside it follow."""
    summary, arguments = _docstring(cls)
    lines = [f"## {title or (name if name.startswith('(') else f'`[{name}]`')}", ""]
    if meanings is None:
        lines += [summary, ""]
    lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
    inner = []
    for field, info in cls.model_fields.items():
        if only is not None and field not in only:
            continue
        if _is_section(info.annotation):
            inner.append(_section(f"{name}.{field}", info.annotation))  # type: ignore[arg-type]
            continue
        meaning = (meanings or arguments).get(field, "")
        lines.append(f"| `{field}` | {_type(info.annotation)} | {_default(info)} | {_cell(meaning)} |")
    return "\n".join([*lines, "", *inner])


def _docstring(cls: type[Section]) -> tuple[str, dict[str, str]]:
    """Returns the first paragraph, and the meanings of the fields; inherited fields come from the base class."""
    arguments: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        text = base.__dict__.get("__doc__") or ""
        _, _, block = text.partition("Args:\n")
        block = re.split(r"\n\s*\n", block)[0]
        for names, meaning in re.findall(r"^ {8}([\w, ]+): (.*(?:\n {12}.*)*)", block, re.MULTILINE):
            for name in names.split(","):
                arguments[name.strip()] = " ".join(meaning.split())
    summary = (cls.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(summary.split()), arguments


def _class_of(cls: type[Section], field: str) -> type[Section]:
    annotation = cls.model_fields[field].annotation
    if not (isinstance(annotation, type) and issubclass(annotation, Section)):
        raise TypeError(f"{cls.__name__}.{field} is no section. Received: {annotation!r}.")
    return annotation


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _type(annotation: Any) -> str:
    if get_origin(annotation) is tuple:
        return f"list of {_type(get_args(annotation)[0])}"
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_args(annotation):
        return _type(get_args(annotation)[0])
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}[annotation.__name__]


def _default(info: FieldInfo) -> str:
    if info.default is PydanticUndefined:
        return "required"
    if isinstance(info.default, bool):
        return f"`{str(info.default).lower()}`"
    if isinstance(info.default, tuple):
        return f"`{list(info.default)}`"
    return f'`"{info.default}"`' if isinstance(info.default, str) else f"`{info.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Writes the page, or with `--check` says whether it is up to date."""
    text = page()
    if "--check" in sys.argv:
        return 0 if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text else 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
