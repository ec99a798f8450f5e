"""Generated pairs of a date, in words or one of many formats, and the same date in ISO 8601; deterministic."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable, Mapping
from pathlib import Path

from pipelines.builtin import written_once

ROWS = 12_000
_FIRST, _LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
_VERSION = 1
"""Part of the folder's name: change it whenever the generated text changes."""

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SMALL = (
    "", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip


def files(cache: Path) -> list[tuple[str, Path]]:
    """Returns one file of tab-separated columns, `source` and `target`, with a header line."""
    folder = written_once(cache / "builtin" / f"dates-{_VERSION}", _texts)
    return [("dates/dates.tsv", folder / "dates.tsv")]


def _texts() -> Mapping[str, str]:
    rows = "".join(f"{source}\t{target}\n" for source, target in pairs(ROWS))
    return {"dates.tsv": f"source\ttarget\n{rows}"}


def pairs(count: int) -> list[tuple[str, str]]:
    """Returns `count` pairs, such as (`the third of May, nineteen ninety-nine`, `1999-05-03`)."""
    generator = random.Random(1)
    found = []
    for _ in range(count):
        day = _FIRST + datetime.timedelta(days=generator.randrange((_LAST - _FIRST).days + 1))
        style = _STYLES[generator.randrange(len(_STYLES))]
        casing = (str, str, str.lower, str.upper)[generator.randrange(4)]
        found.append((casing(style(day)), day.isoformat()))
    return found


def in_words(number: int) -> str:
    """Returns a number from 1 to 99: `forty-two`."""
    if number < 20:
        return _SMALL[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f"-{_SMALL[ones]}" if ones else "")


def ordinal_in_words(number: int) -> str:
    """Returns an ordinal from 1 to 99: `forty-second`, `thirtieth`."""
    *before, last = in_words(number).split("-")
    last = f"{last[:-1]}ieth" if last.endswith("y") else _ORDINALS.get(last, f"{last}th")
    return "-".join([*before, last])


def year_in_words(year: int) -> str:
    """Returns a year as it is spoken: `nineteen hundred`, `nineteen oh four`, `two thousand and five`."""
    century, rest = divmod(year, 100)
    if century == 20 and rest < 10:
        return "two thousand" + (f" and {in_words(rest)}" if rest else "")
    if not rest:
        return f"{in_words(century)} hundred"
    return f"{in_words(century)} {in_words(rest) if rest >= 10 else f'oh {in_words(rest)}'}"


def _ordinal(number: int) -> str:
    special = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 < number < 14 else special}"


def _month(day: datetime.date) -> str:
    return _MONTHS[day.month - 1]


def _weekday(day: datetime.date) -> str:
    return _WEEKDAYS[day.weekday()]


_STYLES: tuple[Callable[[datetime.date], str], ...] = (
    lambda day: f"{day.day} {_month(day)} {day.year}",
    lambda day: f"{_month(day)} {day.day}, {day.year}",
    lambda day: f"{_month(day)} {_ordinal(day.day)}, {day.year}",
    lambda day: f"the {_ordinal(day.day)} of {_month(day)} {day.year}",
    lambda day: f"{_weekday(day)}, {day.day} {_month(day)} {day.year}",
    lambda day: f"{_weekday(day)[:3]} {_month(day)[:3]} {day.day} {day.year}",
    lambda day: f"{day.day:02}-{_month(day)[:3]}-{day.year}",
    lambda day: f"{day.day:02}.{day.month:02}.{day.year}",
    lambda day: f"{day.month}/{day.day}/{day.year}",
    lambda day: f"{day.year}, {_month(day)} {day.day}",
    lambda day: f"the {ordinal_in_words(day.day)} of {_month(day)}, {year_in_words(day.year)}",
    lambda day: f"{_month(day)} the {ordinal_in_words(day.day)} {year_in_words(day.year)}",
    lambda day: f"{_weekday(day)} the {ordinal_in_words(day.day)} of {_month(day)} {year_in_words(day.year)}",
)
"""No format is ambiguous: days before months with dots, months before days with slashes."""
