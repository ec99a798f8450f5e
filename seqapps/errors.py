"""Errors in one format: where, received, allowed or nearest, remedy. Plain Python."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any

REFUSED = 3
"""Exit code when the gate refused the model: not a failure, and scripts must be able to distinguish them."""


class SeqappsError(Exception):
    """A failed run whose reason the user can act on. Printed without a traceback; exit code 1."""

    exit_code = 1


class UsageError(SeqappsError):
    """A wrong call or configuration, found before anything expensive starts. Exit code 2."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration that cannot be read or is invalid."""


class DataError(SeqappsError):
    """Input data, or data passed between two modules, breaks its contract."""


class RunError(SeqappsError):
    """A stage started and could not finish."""


_LONGEST, _MOST = 80, 40
"""Most characters of a name, and most names, in a message; longer ones have no nearest name."""


_LONGEST_TEXT = 100
"""Most characters of a quoted text."""


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
    """Returns the message for a value that is not allowed."""
    tail = f" Example: {example}." if example else ""
    return f"{where} {expected}. Received: {received!r}.{tail}"


def quoted(text: Any) -> str:
    """Returns a text in quotes, cut when it is long."""
    shown = json.dumps(str(text), ensure_ascii=False)
    return shown if len(shown) <= _LONGEST_TEXT else f'{shown[:_LONGEST_TEXT]}..."'
