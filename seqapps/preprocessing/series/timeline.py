"""Times of a series and the step between them. Times are naive seconds since 1970, `<int64>`: times with an offset are
converted to the local time of one zone. Plain numpy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
from numpy.typing import NDArray

from seqapps.errors import ConfigError

NO_TIME = np.iinfo(np.int64).min
"""Value of a text that is not a time."""

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DAY = 86_400
_MONTH = 2_629_746
"""Mean length of a month of the Gregorian calendar in seconds."""
_EPOCH = datetime(1970, 1, 1)
_PLAIN = re.compile(r"(?!0000)[0-9]{4}(-[0-9]{2}(-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?)?)?)?")
"""Texts that numpy parses as `_time` does, vectorised."""
_MONTHS = re.compile(r"[0-9]{4}(-[0-9]{1,2})?")
_CLOCK = re.compile(r"(?:([T ])([0-9]{2}(?::[0-9]{2}(?::[0-9]{2})?)?))?")
_ZONE = re.compile(r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)$")
_DATES = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8})([T ][0-9].*)?")


def parse_times(texts: Sequence[str], form: str = "", zone: str = "") -> NDArray[np.int64]:
    """Returns seconds since 1970 for each text, NO_TIME if it is not a time. Each text is parsed independently.

    Args:
        texts: a year, `1949-01`, `2010-01-01`, `20100101`, and the last two with a time such as `2010-01-01 05:00` (ISO
            8601). Other numbers, such as seconds since 1970, are not times.
        form: of `datetime.strptime`; empty for ISO 8601.
        zone: time zone to which times with an offset or `Z` are converted; empty for UTC.
    """
    if not form and all(map(_PLAIN.fullmatch, texts)):
        with suppress(ValueError):  # one of them is not a date, such as 2010-13-01
            return np.array(texts, dtype="datetime64[s]").astype(np.int64)
    return np.fromiter((_time(text.strip(), form, zone) for text in texts), np.int64, len(texts))


def iso(seconds: int) -> str:
    """Returns a time in the shortest ISO 8601 form: a date, or a date with hours and minutes."""
    text = str(np.datetime64(int(seconds), "s"))
    if text.endswith("T00:00:00"):
        return text.removesuffix("T00:00:00")
    return text.removesuffix(":00") if text.endswith(":00") else text


@dataclass(frozen=True)
class TimeForm:
    """The time format of a file, so that forecasts use the same format.

    Args:
        form: of `datetime.strftime`; empty for ISO 8601 in its shortest form.
        prefix: the `data.time_prefix`, which is not written.
        zone: time zone of times that were read with an offset; empty if they have none.
    """

    form: str = ""
    prefix: str = ""
    zone: str = ""

    def text(self, seconds: int) -> str:
        """Returns a time in the file's format, or in ISO 8601 if that format would lose information."""
        if self.form:
            written = (_EPOCH + timedelta(seconds=int(seconds))).strftime(self.form)
            if _time(written, self.form) == seconds and written.startswith(self.prefix):
                return written.removeprefix(self.prefix)
        if not self.zone:
            return iso(seconds)
        minutes = seconds % 60 == 0  # an offset follows a time of day, never a date
        return str(np.datetime64(int(seconds), "s"))[: -3 if minutes else None] + self._offset(seconds)

    def _offset(self, seconds: int) -> str:
        """Returns `Z`, or an offset such as `+02:00`."""
        if self.zone == "UTC":
            return "Z"
        moment = (_EPOCH + timedelta(seconds=int(seconds))).replace(tzinfo=ZoneInfo(self.zone))
        written = moment.strftime("%z")
        return f"{written[:3]}:{written[3:]}"


def form_of(text: str, form: str, prefix: str, zone: str = "") -> TimeForm:
    """Returns the format of a time that was parsed.

    Args:
        text: the time, without the prefix.
        form: of `datetime.strptime` with which it was parsed; empty for ISO 8601.
        prefix: text that was prepended to it.
        zone: time zone to which times with an offset are converted; empty for UTC.
    """
    if form:
        return TimeForm(zone=zone or "UTC") if "%z" in form else TimeForm(form, prefix)
    whole = prefix + text.strip()
    if _MONTHS.fullmatch(whole):
        return TimeForm("%Y-%m" if "-" in whole else "%Y", prefix)
    found = _DATES.fullmatch(whole)
    if not found:
        return TimeForm()
    day = "%Y-%m-%d" if "-" in found[1] else "%Y%m%d"
    clock = _CLOCK.fullmatch(found[2] or "")
    if clock is None:  # an offset, or digits without colons
        return TimeForm(zone=(zone or "UTC") if _ZONE.search(found[2] or "") else "")
    forms = {None: day, 2: f"{day}{clock[1]}%H", 5: f"{day}{clock[1]}%H:%M", 8: f"{day}{clock[1]}%H:%M:%S"}
    return TimeForm(forms[len(clock[2]) if clock[2] else None], prefix)


def _time(text: str, form: str, zone: str = "") -> int:
    try:
        if form:
            moment = datetime.strptime(text, form)
        elif _MONTHS.fullmatch(text):
            moment = datetime.strptime(text, "%Y-%m" if "-" in text else "%Y")
        elif _DATES.fullmatch(text):
            moment = datetime.fromisoformat(text)
        else:
            return int(NO_TIME)
        if moment.tzinfo is not None:
            moment = moment.astimezone(_zone(zone)).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return int(NO_TIME)
    return round((moment - _EPOCH).total_seconds())


def _zone(name: str) -> tzinfo:
    return ZoneInfo(name) if name else UTC


def check_zone(name: str) -> None:
    """Raises for an unknown time zone.

    Raises:
        ConfigError: names the nearest match.
    """
    if name not in available_timezones():
        near = ", ".join(get_close_matches(name, sorted(available_timezones()), n=3, cutoff=0.3))
        raise ConfigError(
            f"`data.time_zone` must be a zone of the IANA time zone database. Received: {name!r}."
            + (f" Nearest: {near}." if near else ' Example: "Europe/Berlin".')
        )


@dataclass(frozen=True)
class Frequency:
    """The step of a series.

    Args:
        count: number of seconds, or of calendar months.
        unit: `s`, `M`, or `ME` for the last days of months.
    """

    count: int
    unit: str = "s"

    @property
    def name(self) -> str:
        """Such as `1h`, `15min`, `1d`, `1M`, `1ME`."""
        if self.unit != "s":
            return f"{self.count}{self.unit}"
        name, size = max(
            ((name, size) for name, size in _SECONDS.items() if self.count % size == 0 and name != "w"),
            key=lambda item: item[1],
        )
        return f"{self.count // size}{name}"

    @property
    def seconds(self) -> int:
        """Its length; of months the mean length."""
        return self.count if self.unit == "s" else self.count * _MONTH

    @classmethod
    def parse(cls, text: str) -> Frequency:
        """Parses a step.

        Raises:
            ConfigError: the text is not a step.
        """
        found = re.fullmatch(r"(\d+)(s|min|h|d|w|ME|M)", text)
        if not found or not int(found[1]):
            raise ConfigError(
                "`data.frequency` must be a number and one of s, min, h, d, w, M, ME. "
                f'Received: {text!r}. Example: "1h".'
            )
        if found[2] in ("M", "ME"):
            return cls(int(found[1]), found[2])
        return cls(int(found[1]) * _SECONDS[found[2]])

    def settled(self, times: NDArray[np.int64]) -> Frequency:
        """Returns the step; `ME` instead of `M` if at least as many times end their month as keep their day."""
        if self.unit != "M" or not len(times):
            return self
        ends = replace(self, unit="ME")
        kept, ending = (np.count_nonzero(Grid.through(times, step).index(times)[1]) for step in (self, ends))
        return ends if kept <= ending else self


@dataclass(frozen=True)
class Grid:
    """All times of a series: numbered steps from an anchor.

    Args:
        frequency: the step.
        phase: seconds from 1970 modulo the step; for months, the month modulo the step.
        day: for months, the day of the month (the last day where a month is shorter); 0 otherwise.
        second: for months, the second of the day.
    """

    frequency: Frequency
    phase: int
    day: int = 0
    second: int = 0

    @classmethod
    def through(cls, times: NDArray[np.int64], frequency: Frequency) -> Grid:
        """Returns the grid on which most of the times lie."""
        if frequency.unit == "s":
            return cls(frequency, _mode(times % frequency.count))
        months, days, seconds = _calendar(times)
        day = 31 if frequency.unit == "ME" else _mode(days)
        return cls(frequency, _mode(months % frequency.count), day, _mode(seconds))

    def index(self, times: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Returns the step number of each time, and whether the time lies exactly on that step."""
        if self.frequency.unit == "s":
            number = (times - self.phase) // self.frequency.count
        else:
            number = (_calendar(times)[0] - self.phase) // self.frequency.count
        return number, self.times(number) == times

    def times(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the time of each numbered step."""
        if self.frequency.unit == "s":
            return number * self.frequency.count + self.phase
        months = (number * self.frequency.count + self.phase).astype("datetime64[M]")
        first = months.astype("datetime64[D]").astype(np.int64)
        length = (months + 1).astype("datetime64[D]").astype(np.int64) - first
        days: NDArray[np.int64] = first + np.minimum(self.day, length) - 1
        return days * _DAY + self.second


def around(origins: NDArray[np.int64], frequency: str, first: int, last: int) -> list[list[str]]:
    """Returns the times of steps around each origin, from step `first` to step `last` (0 is the origin), ISO 8601."""
    step, ahead = Frequency.parse(frequency), np.arange(first, last + 1)
    grids = [Grid.through(origin, step) for origin in origins[:, None]]  # series may begin at different times
    steps = np.array(
        [grid.times(grid.index(origin)[0] + ahead) for grid, origin in zip(grids, origins[:, None], strict=True)],
        np.int64,
    ).reshape(len(origins), len(ahead))
    texts: list[list[str]] = np.datetime_as_string(steps.astype("datetime64[s]")).tolist()
    return texts


def infer(steps: NDArray[np.int64], times: NDArray[np.int64]) -> Frequency | None:
    """Returns the step of a series: the median distance, in calendar months where the times keep their day.

    Args:
        steps: seconds between neighbours, above 0, in any order.
        times: all times.

    Returns:
        The step; None if there are no two different times.
    """
    if not len(steps):
        return None
    middle = int(np.sort(steps)[(len(steps) - 1) // 2])
    months = round(middle / _MONTH)
    if months and abs(middle - months * _MONTH) <= 3 * _DAY * months:
        frequency = Frequency(months, "M").settled(times)
        if Grid.through(times, frequency).index(times)[1].mean() > 0.9:
            return frequency
    return Frequency(middle)


def _calendar(times: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Returns months since 1970, the day of the month from 1, and the second of the day."""
    days = (times // _DAY).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    of_month = (days - months.astype("datetime64[D]")).astype(np.int64) + 1
    return months.astype(np.int64), of_month, times % _DAY


def _mode(values: NDArray[Any]) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])
