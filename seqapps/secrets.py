"""`${NAME}` in a configuration: replaced where the value is used, and kept unexpanded in everything written to disk.

An address (`source.url`, `tracking.uri`) may hold a password or a token. Records and messages contain neither:
`recorded` returns the form for records, `scrub` is applied to every message. Plain Python.
"""

from __future__ import annotations

import os
import re

from seqapps.errors import ConfigError

_NAME = re.compile(r"\$\{(\w+)\}")
_USER = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^/?#\s]*)@")
_SHORTEST = 3
"""Shorter values are not hidden: they would match unrelated words."""

_hidden: dict[str, str] = {}
"""Secret value to its replacement in messages: values put into addresses in this process."""


def names_in(text: str) -> list[str]:
    """Returns the names of the environment variables that a text refers to.

    >>> names_in("${HOME}/${DATA}")
    ['HOME', 'DATA']
    """
    return _NAME.findall(text)


def expand(text: str, where: str = "the configuration") -> str:
    """Returns a text with `${NAME}` replaced by the environment variable.

    Raises:
        ConfigError: a variable is not set.
    """
    for name in names_in(text):
        if name not in os.environ:
            raise ConfigError(f"{where}: ${{{name}}} is not set. Set it, for example: export {name}=/path/to/folder.")
    return _NAME.sub(lambda match: os.environ[match.group(1)], text)


def address(text: str, where: str = "the configuration") -> str:
    """Returns an address for use: expanded, and the expanded values are hidden in all messages from now on.

    Raises:
        ConfigError: a variable is not set.
    """
    found = expand(text, where)
    for name in names_in(text):
        _hide(os.environ[name], f"${{{name}}}")
    for match in _USER.finditer(found):
        for part in match["user"].split(":", 1):
            _hide(part, "***")
    return found


def recorded(text: str) -> str:
    """Returns an address for records: without user and password, unless they are variables.

    >>> recorded("http://me:secret@host:5000/x"), recorded("http://${ME}:${PASSWORD}@host")
    ('http://host:5000/x', 'http://${ME}:${PASSWORD}@host')
    """

    def kept(match: re.Match[str]) -> str:
        rest = _NAME.sub("", match["user"])
        return match.group(0) if match["user"] and not rest.strip(":") else match["scheme"]

    return _USER.sub(kept, text)


def scrub(text: str) -> str:
    """Returns a message without the values put into addresses, and without user and password in any address."""
    for value in sorted(_hidden, key=len, reverse=True):
        text = text.replace(value, _hidden[value])
    return recorded(text)


def _hide(value: str, shown: str) -> None:
    if len(value) >= _SHORTEST:
        _hidden.setdefault(value, shown)
