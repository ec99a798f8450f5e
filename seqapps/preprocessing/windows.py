"""Series to windows: a history, the steps after it, and what is known of them. One code for Beam and for the server.

    history   o - H .. o - 1        known, target   o .. o + P - 1        o: the first step that is forecast

A series is cut by time into training, validation and test part. Validation and test keep the steps before them as
context, so that their first forecast has a whole history; targets never stand in two parts.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.config import SplitConfig
from seqapps.preprocessing.scaling import logarithm, moments, naive_errors
from seqapps.preprocessing.series import Columns, Series
from seqapps.preprocessing.timeline import Frequency, Grid

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Plan:
    """What a window holds.

    Args:
        columns: of the file.
        history, horizon: steps before and after (H, P).
        stride: steps from one window to the next.
        season: steps of a season; 0 without one.
        missing: what a missing value of a history becomes (`forward`), or whether its window is left out (`reject`).
        indicators: whether the history says which of its values were there.
        calendar: features of the time of each step; see `seqapps.preprocessing.calendar`.
        logged: variables whose logarithm is standardised.
    """

    columns: Columns
    history: int
    horizon: int
    stride: int = 1
    season: int = 0
    missing: str = "forward"
    indicators: bool = False
    calendar: tuple[str, ...] = ()
    logged: tuple[str, ...] = ()

    @property
    def lookback(self) -> int:
        """Steps that a forecast looks at: the history, and a season where that is longer."""
        return max(self.history, self.season)

    @property
    def features(self) -> int:
        """F, numbers of one step of a history: measured, calendar, indicators."""
        numbers = len(self.columns.numbers)
        return numbers + 2 * len(self.calendar) + (numbers if self.indicators else 0)

    @property
    def known(self) -> int:
        """K, numbers of one future step: known ones, calendar."""
        return len(self.columns.known_numbers) + 2 * len(self.calendar)

    @property
    def season_steps(self) -> NDArray[np.int64]:
        """Steps from o to the last value of the same season before it, for each future step, `<int64>[P]`, below 0."""
        season, step = max(self.season, 1), np.arange(self.horizon)
        return step - season * (step // season + 1)

    def facts(self) -> dict[str, Any]:
        """Returns all of it as JSON values."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Plan:
        """Returns the plan of `facts`."""
        columns: dict[str, Any] = _with_tuples(facts["columns"])
        rest: dict[str, Any] = _with_tuples({name: value for name, value in facts.items() if name != "columns"})
        return cls(columns=Columns(**columns), **rest)


def _with_tuples(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}


@dataclass(frozen=True)
class Part:
    """A piece of a series.

    Args:
        series: its steps.
        context: how many of the first ones belong to the part before.
        frequency: name of the step.
    """

    series: Series
    context: int
    frequency: str

    def origins(self, plan: Plan) -> NDArray[np.int64]:
        """Returns the steps at which a forecast begins, `<int64>[windows]`."""
        return np.arange(max(self.context, plan.history), len(self.series) - plan.horizon + 1, plan.stride)

    def dump(self) -> bytes:
        """Returns the part as bytes."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **joined([self]))
        return buffer.getvalue()

    @classmethod
    def load(cls, data: bytes) -> Part:
        """Returns what `dump` gave."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return parted(dict(arrays))[0]


def cut(  # noqa: PLR0913 - a series, and how it is cut
    series: Series, plan: Plan, frequency: str, shares: SplitConfig, *, split: str, validates: bool
) -> dict[str, Part]:
    """Returns split name to the part of a series, left out where it holds no window.

    Args:
        series: all of its steps.
        plan: what a window holds.
        frequency: name of the step.
        shares: of validation and test; the last steps are the test.
        split: where the configuration puts the whole file; empty when it is divided.
        validates: whether the configuration names validation files.
    """
    if split and (split != "train" or validates):
        parts = {split: Part(series, 0, frequency)}
    else:
        steps = len(series)
        test = 0.0 if split else shares.test
        borders = [0, round(steps * (1.0 - test - shares.validation)), round(steps * (1.0 - test)), steps]
        parts = {}
        for place, name in enumerate(("train", "validation", "test")):
            context = min(borders[place], plan.lookback) if place else 0
            piece = _slice(series, borders[place] - context, borders[place + 1])
            parts[name] = Part(piece, context, frequency)
    return {name: part for name, part in parts.items() if len(part.origins(plan))}


def _slice(series: Series, low: int, high: int) -> Series:
    return Series(
        series.name,
        series.times[low:high],
        series.numbers[low:high],
        series.labels[low:high],
        series.static_numbers,
        series.static_labels,
        series.gaps,
        series.unordered,
    )


def joined(parts: Sequence[Part]) -> Arrays:
    """Returns parts as a few arrays, end to end."""
    each = [part.series for part in parts]
    return {
        "numbers": np.concatenate([series.numbers for series in each]),
        "times": np.concatenate([series.times for series in each]),
        "labels": np.concatenate([series.labels for series in each]),
        "splits": np.cumsum([0, *(len(series) for series in each)]),
        "context": np.array([part.context for part in parts], np.int64),
        "names": np.array([series.name.encode() for series in each], np.bytes_),
        "frequencies": np.array([part.frequency.encode() for part in parts], np.bytes_),
        "static_numbers": np.stack([series.static_numbers for series in each]),
        "static_labels": np.stack([series.static_labels for series in each]),
        "counts": np.array([[series.gaps, series.unordered] for series in each], np.int64),
    }


def parted(arrays: Mapping[str, NDArray[Any]]) -> list[Part]:
    """Returns what `joined` was given."""
    parts = []
    for row, (low, high) in enumerate(zip(arrays["splits"][:-1], arrays["splits"][1:], strict=True)):
        series = Series(
            arrays["names"][row].decode(),
            arrays["times"][low:high],
            arrays["numbers"][low:high],
            arrays["labels"][low:high],
            arrays["static_numbers"][row],
            arrays["static_labels"][row],
            int(arrays["counts"][row, 0]),
            int(arrays["counts"][row, 1]),
        )
        parts.append(Part(series, int(arrays["context"][row]), arrays["frequencies"][row].decode()))
    return parts


# ---- what is counted


def sums_of(parts: Sequence[Part], plan: Plan) -> Arrays:
    """Returns the sums of `moments` and `naive_errors` over the steps of the parts, context left out."""
    columns, totals = plan.columns, Arrays()
    own = [part.series.numbers[part.context :] for part in parts]
    names = (*columns.numbers, *columns.static_numbers)
    for place, name in enumerate(names):
        if place < len(columns.numbers):
            values = np.concatenate([numbers[:, place] for numbers in own])
        else:
            values = np.array([part.series.static_numbers[place - len(columns.numbers)] for part in parts])
        values = logarithm(values[:, None], (name,), plan.logged)[:, 0]
        totals |= moments(name, values[np.isfinite(values)])
    for place, name in enumerate(columns.targets):
        errors = [naive_errors(name, numbers[:, place], max(plan.season, 1)) for numbers in own]
        totals[f"naive/{name}"] = np.sum([error[f"naive/{name}"] for error in errors], axis=0)
    return totals


def counts_of(parts: Sequence[Part], plan: Plan) -> dict[str, tuple[list[bytes], NDArray[np.int64]]]:
    """Returns how often each category, each frequency, and each kind of irregular step occurs, context left out."""
    columns = plan.columns
    found: dict[str, tuple[list[bytes], NDArray[np.int64]]] = {}
    for place, name in enumerate(columns.labels):
        values = np.concatenate([part.series.labels[part.context :, place] for part in parts])
        found[category(name)] = _counted(values[values != b""])
    for place, name in enumerate(columns.static_labels):
        values = np.array([part.series.static_labels[place] for part in parts], np.bytes_)
        found[category(name)] = _counted(values[values != b""])
    steps = np.array([len(part.series) - part.context for part in parts])
    found["frequency"] = _counted(np.repeat([part.frequency.encode() for part in parts], steps))
    empty = sum(int(np.isnan(part.series.numbers[part.context :]).all(axis=1).sum()) for part in parts)
    late = sum(part.series.unordered for part in parts)
    found["steps"] = ([b"inserted", b"regular", b"sorted"], np.array([empty, int(steps.sum()) - empty, late]))
    return found


def category(column: str) -> str:
    """Returns the name of the labels of a column."""
    return f"category-{column}"


def _counted(values: NDArray[Any]) -> tuple[list[bytes], NDArray[np.int64]]:
    names, counts = np.unique(values, return_counts=True)
    return names.tolist(), counts.astype(np.int64)


# ---- answers: the last steps of a file


def recent(series: Series, plan: Plan, frequency: str) -> tuple[dict[str, Any], list[int]]:
    """Returns what the served graph takes to forecast what follows a series, and the times from the last step of the
    history to the last that is forecast.

    The history ends at the last step that has a target; later lines give the known columns.

    Args:
        series: at least one step with a target.
        plan: what a window holds.
        frequency: name of the step.

    Raises:
        ValueError: says what is missing.
    """
    columns = plan.columns
    seen = np.flatnonzero(np.isfinite(series.numbers[:, : len(columns.targets)]).any(axis=1))
    if not len(seen):
        raise ValueError(f"no line holds a number in {' or '.join(columns.targets)}")
    end, grid = int(seen[-1]) + 1, Grid.through(series.times, Frequency.parse(frequency))
    index = grid.index(series.times)[0]
    steps = np.arange(index[end - 1] + 1 - plan.lookback, index[end - 1] + 1 + plan.horizon)
    times = grid.times(steps)
    numbers = np.full((len(steps), len(columns.numbers)), np.nan)
    labels = np.full((len(steps), len(columns.labels)), b"", series.labels.dtype)
    place = index - steps[0]
    inside = (place >= 0) & (place < len(steps))
    numbers[place[inside]], labels[place[inside]] = series.numbers[inside], series.labels[inside]
    now = plan.lookback
    if columns.known and end + plan.horizon > len(series):
        raise ValueError(
            f"`data.known` needs {plan.horizon} lines after the last target, with "
            f"{', '.join(columns.known)}. Received: {len(series) - end}"
        )
    inputs: dict[str, Any] = {"history": [numbers[:now].tolist()]}
    if columns.labels:
        inputs["labels"] = [labels[:now].tolist()]
    if plan.calendar:
        inputs["times"] = [np.datetime_as_string(times.astype("datetime64[s]")).tolist()]
    if columns.known_numbers:
        inputs["known"] = [numbers[now:, columns.known_numbers].tolist()]
    if columns.known_labels:
        inputs["known_labels"] = [labels[now:, columns.known_labels].tolist()]
    if columns.static_numbers:
        inputs["static"] = [series.static_numbers.tolist()]
    if columns.static_labels:
        inputs["static_labels"] = [series.static_labels.tolist()]
    return inputs, times[now - 1 :].tolist()
