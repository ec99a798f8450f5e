"""What the sections of a configuration share: how values are checked, and what a name may be."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

LARGEST = 2**31 - 1
"""No whole number of a configuration is larger, unless its field says so."""

Unit = Annotated[int, Field(ge=1, le=65_536)]
"""Units of a layer, or the size of an embedding."""


class Section(BaseModel):
    """A part of the configuration: frozen, no unknown keys, every value of its own type, numbers finite and bounded."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _tuples(cls, values: Any) -> Any:
        """TOML and JSON have lists only; a field that holds several values is a tuple."""
        return {key: _as_tuple(value) for key, value in values.items()} if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _bounded_numbers(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if type(number) is int and abs(number) > LARGEST:
                    raise ValueError(f"`{name}` must stay below 2**31. Received: {number}")
        return self


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_LONGEST_NAME = 100


def checked_name(name: str, where: str, *, spaces: bool = False) -> str:
    """Returns a name of folders and of the registry as it is; an empty one stands for a default.

    Raises:
        ValueError: it could lead out of a folder, or MLflow does not take it.
    """
    pattern = _NAME.replace(".-]", ". -]") if spaces else _NAME
    if name and (not re.fullmatch(pattern, name) or len(name) > _LONGEST_NAME):
        raise ValueError(
            f"`{where}` must begin with a letter, a digit or `_`, and hold only letters, digits, `_`, `.`"
            f"{', spaces' if spaces else ''} and `-`, at most {_LONGEST_NAME} characters. Received: {name!r}. Example: "
            f"{valid_name(name)}"
        )
    return name


def valid_name(text: str) -> str:
    """Returns a name that folders and the registry take, as near to a text as can be.

    >>> valid_name("my config"), valid_name("été"), valid_name("../x"), valid_name("模型")
    ('my_config', 'ete', 'x', 'run-1c7e8c4a')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).lstrip(".-_").rstrip("_")[:_LONGEST_NAME]
    return name or f"run-{_code_of(text)}"


def name_of_file(stem: str) -> str:
    """Returns the name that a configuration file gives: its own where that is one, else with a hash, so that two files
    share no stage and no model.

    >>> name_of_file("ete"), name_of_file("été")
    ('ete', 'ete-bd010c64')
    """
    name, code = valid_name(stem), _code_of(stem)
    return name if name == stem or name.endswith(code) else f"{name[: _LONGEST_NAME - len(code) - 1]}-{code}"


def _code_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
