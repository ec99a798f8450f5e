"""Generated: three years of the daily electric load of a fictitious town, with the daily temperature.

    load = level x season of the week x (heating below 15 degrees, cooling above 22) + autocorrelated noise

Cold and heat both raise the load, most on working days, so that it is not a linear function of the columns.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

from pipelines.builtin import written_once

_DAYS = 3 * 365
_WEEK = (1.0, 1.03, 1.04, 1.03, 1.0, 0.84, 0.78)
_VERSION = 1


def files(cache: Path) -> list[tuple[str, Path]]:
    """Returns (name, path) of the one file."""
    folder = written_once(cache / "builtin" / f"electric-load-{_VERSION}", _texts)
    return [("electric-load/load.csv", folder / "load.csv")]


def _texts() -> Mapping[str, str]:
    chance = random.Random(1)
    lines, weather, left = ["day,load,temperature"], 0.0, 0.0
    for number in range(_DAYS):
        day = date(2021, 1, 1) + timedelta(days=number)
        weather = 0.8 * weather + 2.4 * _noise(chance)
        temperature = 13.0 - 12.0 * math.cos(2.0 * math.pi * (number - 20) / 365.25) + weather
        work = day.weekday() < 5
        heating = max(0.0, 15.0 - temperature) * (2.2 if work else 1.4)
        cooling = max(0.0, temperature - 22.0) * (4.0 if work else 2.0)
        left = 0.6 * left + 2.0 * _noise(chance)
        load = (120.0 + 0.01 * number) * _WEEK[day.weekday()] + heating + cooling + left
        lines.append(f"{day.isoformat()},{load:.1f},{temperature:.1f}")
    return {"load.csv": "\n".join(lines) + "\n"}


def _noise(chance: random.Random) -> float:
    """Returns a number with mean 0 and deviation 1: a sum of twelve uniform ones, identical on every platform."""
    return sum(chance.random() for _ in range(12)) - 6.0
