"""Calendar features of a time, as graph operations: the same in Beam and in the SavedModel.

Cyclical encoding: each feature is a sine and a cosine, so that 23:00 lies beside 00:00.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

PERIODS = {"hour": 24.0, "weekday": 7.0, "day": 31.0, "month": 12.0, "yearday": 365.25}
"""Feature name to its period: hour of the day, day of the week, of the month, month of the year, day of the year."""

_DAY = 86_400
_TEMPLATE = "0000-01-01T00:00:00"


def calendar_features(seconds: Any, names: Sequence[str]) -> Any:
    """Returns sine and cosine of each feature, `<int64>[...] -> <float64>[..., 2 x names]`.

    Args:
        seconds: since 1970.
        names: of `PERIODS`.
    """
    days = seconds // _DAY
    year, month, day = _civil(days)
    positions = {
        "hour": tf.cast(seconds % _DAY, tf.float64) / 3600.0,
        "weekday": tf.cast((days + 3) % 7, tf.float64),  # 1970 began on a Thursday; Monday is 0
        "day": tf.cast(day - 1, tf.float64),
        "month": tf.cast(month - 1, tf.float64),
        "yearday": tf.cast(days - _days(year, tf.ones_like(month), tf.ones_like(day)), tf.float64),
    }
    angles = [positions[name] * (2.0 * math.pi / PERIODS[name]) for name in names]
    return tf.stack([wave(angle) for angle in angles for wave in (tf.sin, tf.cos)], axis=-1)


def is_time(times: Any) -> Any:
    """Returns whether `seconds_of` can parse each text, `<string>[...] -> <bool>[...]`."""
    two = r"[0-9]{2}"
    clock = f"([T ]{two}(:{two}(:{two}([.][0-9]*)?)?)?)?"
    return tf.strings.regex_full_match(times, f"[0-9]{{4}}(-{two}(-{two}{clock})?)?")


def seconds_of(times: Any) -> Any:
    """Returns seconds since 1970 of ISO 8601 texts without a time zone, `<string>[...] -> <int64>[...]`.

    Omitted parts take their first value: `1949-01` is its first second.
    """
    length = tf.minimum(tf.strings.length(times), len(_TEMPLATE))
    rest = tf.strings.substr(tf.fill(tf.shape(times), _TEMPLATE), length, len(_TEMPLATE) - length)
    whole = tf.strings.join([times, rest])

    def number(start: int, size: int) -> Any:
        return tf.strings.to_number(tf.strings.substr(whole, start, size), tf.int64)

    days = _days(number(0, 4), number(5, 2), number(8, 2))
    return days * _DAY + number(11, 2) * 3600 + number(14, 2) * 60 + number(17, 2)


def _civil(days: Any) -> tuple[Any, Any, Any]:
    """Returns year, month and day of days since 1970 in the Gregorian calendar; years begin in March inside."""
    shifted = days + 719_468
    era, of_era = shifted // 146_097, shifted % 146_097
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    late = month // 10  # 1 for January and February
    return year + era * 400 + late, month + 3 - 12 * late, of_year - (153 * month + 2) // 5 + 1


def _days(year: Any, month: Any, day: Any) -> Any:
    """Returns days since 1970 of a date: the inverse of `_civil`."""
    late = (14 - month) // 12
    year = year - late
    of_year = (153 * (month + 12 * late - 3) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + of_year - 719_468
