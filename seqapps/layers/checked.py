"""Checks of the arguments of layers, with one form of message. Plain Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def one_of(name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raises ValueError where `value` is none of the allowed ones."""
    choices = list(allowed)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}. Received: {value!r}")


def share(name: str, value: float) -> None:
    """Raises ValueError where `value` is not in [0, 1)."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name} must be a share. Received: {value}. Allowed: [0, 1)")


def positive(name: str, value: int) -> None:
    """Raises ValueError where `value` is below 1."""
    if value < 1:
        raise ValueError(f"{name} must be at least 1. Received: {value}")
