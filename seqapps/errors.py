"""Errors in one voice: where, received, allowed or nearest, remedy. Ground floor: plain Python."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any

REFUSED = 3
"""Exit code of a model that the gate refused: nothing failed, and a script must be able to tell it from a failure."""


class SeqappsError(Exception):
    """A run that failed for a reason the user can act on. Printed without a traceback; exit code 1."""

    exit_code = 1


class UsageError(SeqappsError):
    """A wrong call or configuration, found before anything expensive starts. Exit code 2."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration that cannot be read or cannot mean anything."""


class DataError(SeqappsError):
    """Input data, or data that changes hands between two rooms, breaks its contract."""


class RunError(SeqappsError):
    """A stage that started and could not finish."""


_LONGEST, _MOST = 80, 40
"""Characters of a name, and names, that a message shows; longer ones are near to nothing."""


_LONGEST_TEXT = 100
"""Characters of a quoted text."""


def nearest(received: str, allowed: Iterable[str]) -> str | None:
    """Returns the allowed name closest to `received`, or None when nothing is close."""
    if len(received) > _LONGEST:
        return None
    names = [name for name in allowed if len(name) <= _LONGEST]
    matches = difflib.get_close_matches(received, names, n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown_name(where: str, received: str, allowed: Iterable[str]) -> str:
    """Returns the message for a name that is not one of `allowed`.

    >>> unknown_name("`model.cell`", "lsmt", ["gru", "lstm"])
    "`model.cell` does not exist. Received: 'lsmt'. Allowed: gru, lstm. Nearest: lstm."
    """
    names = sorted(allowed)
    close = nearest(received, names)
    tail = f" Nearest: {close}." if close else ""
    shown = ", ".join(map(_cut, names[:_MOST])) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
    return f"{_cut(where)} does not exist. Received: {_cut(received)!r}. Allowed: {shown}.{tail}"


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."


def wrong_value(where: str, received: Any, expected: str, example: str = "") -> str:
    """Returns the message for a value that its place does not allow."""
    tail = f" Example: {example}." if example else ""
    return f"{where} {expected}. Received: {received!r}.{tail}"


def quoted(text: Any) -> str:
    """Returns a text in quotes, cut when it is long."""
    shown = json.dumps(str(text), ensure_ascii=False)
    return shown if len(shown) <= _LONGEST_TEXT else f'{shown[:_LONGEST_TEXT]}..."'
