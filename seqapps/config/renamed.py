"""Keys and values of a configuration that were renamed: the old ones are refused with the new name; no aliases."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

RENAMED_KEYS = {
    "data.tokens.unit": "data.tokens.level",
    "data.source.unit": "data.source.level",
    "data.target.unit": "data.target.level",
}
"""Dotted old key to the new key, which stands in the same section."""

RENAMED_VALUES = {
    ("model.architecture", "two_sided"): "cloze",
}
"""(dotted key, old value) to the new value."""


def renamed_key(key: str, allowed: Container[str]) -> str:
    """Returns the message for an old key; empty for a key that was not renamed.

    Args:
        key: dotted, as it was received.
        allowed: the keys of its section. A section without the new key never had the old one.

    >>> renamed_key("data.tokens.unit", ["level", "words"])
    '`data.tokens.unit` is now `data.tokens.level`.'
    """
    new = RENAMED_KEYS.get(key, "")
    return f"`{key}` is now `{new}`." if new and new.rpartition(".")[2] in allowed else ""


def renamed_value(key: str, value: Any, allowed: Container[str]) -> str:
    """Returns the message for an old value of a key; empty for a value that was not renamed.

    Args:
        key: dotted.
        value: as it was received.
        allowed: the values that the key may have here.

    >>> renamed_value("model.architecture", "two_sided", ["cloze"])
    '`model.architecture` = "two_sided" is now "cloze".'
    """
    new = RENAMED_VALUES.get((key, value)) if isinstance(value, str) else None
    return f'`{key}` = "{value}" is now "{new}".' if new and new in allowed else ""
