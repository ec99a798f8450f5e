"""Vectors that stand in a column as text."""

from __future__ import annotations

import json
import math


def numbers_of(value: str | bytes) -> list[float] | None:
    """Returns the finite numbers of a JSON list; None where it is something else."""
    try:
        numbers = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(numbers, list) or not all(type(number) in (int, float) for number in numbers):
        return None
    return [float(number) for number in numbers] if all(map(math.isfinite, numbers)) else None
