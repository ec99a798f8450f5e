"""Vectors in a text column."""

from __future__ import annotations

import json
import math


def numbers_of(value: str | bytes) -> list[float] | None:
    """Returns the finite numbers of a JSON list, or of a single number; None for anything else."""
    try:
        numbers = json.loads(value)
        numbers = numbers if isinstance(numbers, list) else [numbers]
        found = [float(number) for number in numbers if type(number) in (int, float)]
    except (ValueError, OverflowError, RecursionError):
        return None
    return found if len(found) == len(numbers) and all(map(math.isfinite, found)) else None
