"""Series to training, validation and test part, split by time, and the statistics of a part.

Validation and test keep the steps before them as context, so that their first forecast has a full history; no target
occurs in two parts.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.dataset.analysed import SeriesRows
from seqapps.errors import DataError
from seqapps.preprocessing.scaling import logarithm, moments, naive_errors, spreads
from seqapps.preprocessing.series.plan import Plan, category
from seqapps.preprocessing.series.reading import Parsed, Series

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Part:
    """A piece of a series.

    Args:
        series: its steps.
        context: number of leading steps that belong to the preceding part.
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
        np.savez(buffer, allow_pickle=False, **joined([self]).to_arrays())
        return buffer.getvalue()

    @classmethod
    def load(cls, data: bytes) -> Part:
        """Inverse of `dump`."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return parted(SeriesRows.from_arrays(dict(arrays)))[0]


@dataclass(frozen=True)
class Cut:
    """Where a series is divided: training steps, then validation, then test.

    Args:
        validation, test: shares of the steps.
        fold: (k, K): the k-th of K equal pieces of the test steps is the test part; all steps before it are for
            training and validation, those after it are left out. For k = 1 .. K this is the rolling origin of Tashman
            2000, "Out-of-sample tests of forecasting accuracy", sec. 3, with retraining at each origin.
    """

    validation: float
    test: float
    fold: tuple[int, int] = (1, 1)

    def borders(self, steps: int) -> tuple[int, int, int, int]:
        """Returns the first step of each part, and the step after the last."""
        number, count = self.fold
        start = 1.0 - self.test * (count - number + 1) / count
        end = 1.0 - self.test * (count - number) / count
        return 0, round(steps * (start - self.validation)), round(steps * start), round(steps * end)

    def parts(self, series: Series, plan: Plan, frequency: str) -> dict[str, Part]:
        """Returns the parts of a series by split name, with or without a window in them."""
        borders, found = self.borders(len(series)), {}
        for place, (name, share) in enumerate((("train", 1.0), ("validation", self.validation), ("test", self.test))):
            context = min(borders[place], plan.lookback) if place else 0
            piece = _slice(series, borders[place] - context, borders[place + 1])
            if share:
                found[name] = Part(piece, context, frequency)
        return found

    def check_fold(self, series: Series, plan: Plan, where: str) -> None:
        """Raises if the test part holds a window but the fold of it holds none.

        Raises:
            DataError: names the steps of a fold, the steps needed, and the largest number of folds.
        """
        whole = Cut(self.validation, self.test)
        if self.fold[1] == 1 or not _testable(whole, series, plan) or _testable(self, series, plan):
            return
        borders = self.borders(len(series))
        most = next(count for count in range(self.fold[1], 0, -1) if _every_fold(whole, count, series, plan))
        raise DataError(
            f"{where}: fold {self.fold[0]} of {self.fold[1]} of series {series.name!r} has {borders[3] - borders[2]} "
            f"steps, and `data.horizon` needs {plan.horizon}. Allowed: up to {most} folds (`--folds`, `data.fold`)."
        )


def check_inserted(parsed: Parsed, limit: float, where: str) -> None:
    """Raises if too large a share of the steps of a series has no line: the step does not fit the series.

    Args:
        parsed: the parsed file.
        limit: the largest share.
        where: the file's name, for messages.

    Raises:
        DataError: names the series, the steps and the remedy.
    """
    for series in parsed.series:
        if series.gaps > limit * len(series):
            lines = len(series) - series.gaps
            raise DataError(
                f"{where}: {series.gaps:,} of {len(series):,} steps of series {series.name!r} have no line: with a "
                f"step of {parsed.frequency} for all series they would be inserted as missing, beside {lines:,} that "
                "were measured. Remedy: leave the series out, or give it a configuration of its own with its own step. "
                "Where it has such gaps, allow them: "
                f"`data.max_inserted_fraction` = {_above(series.gaps / len(series))} (it is {limit:g})."
            )


def _above(share: float) -> str:
    """Returns a share as text, rounded up to two digits."""
    return f"{min(np.ceil(share * 100) / 100, 1.0):g}"


def _testable(cut: Cut, series: Series, plan: Plan) -> bool:
    return bool(len(cut.parts(series, plan, "")["test"].origins(plan)))


def _every_fold(whole: Cut, count: int, series: Series, plan: Plan) -> bool:
    """Returns whether every one of `count` folds holds a window."""
    cuts = (Cut(whole.validation, whole.test, (number, count)) for number in range(1, count + 1))
    return all(_testable(cut, series, plan) for cut in cuts)


def with_windows(parts: Mapping[str, Part], plan: Plan) -> dict[str, Part]:
    """Returns the parts that hold a window."""
    return {name: part for name, part in parts.items() if len(part.origins(plan))}


def too_short(parts: Mapping[str, Part], plan: Plan) -> list[str]:
    """Returns a message for every part without a window: the number of steps it has, and the number needed."""
    return [
        f"series {part.series.name!r}: the {name} part has {len(part.series) - part.context} steps, a window needs "
        f"{max(plan.history - part.context, 0) + plan.horizon}"
        for name, part in parts.items()
        if not len(part.origins(plan))
    ]


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
        "" if low else series.begins,
    )


def joined(parts: Sequence[Part]) -> SeriesRows:
    """Returns parts concatenated into a few arrays."""
    each = [part.series for part in parts]
    return SeriesRows(
        numbers=np.concatenate([series.numbers for series in each]),
        times=np.concatenate([series.times for series in each]),
        labels=np.concatenate([series.labels for series in each]),
        splits=np.cumsum([0, *(len(series) for series in each)]),
        context=np.array([part.context for part in parts], np.int64),
        names=np.array([series.name.encode() for series in each], np.bytes_),
        frequencies=np.array([part.frequency.encode() for part in parts], np.bytes_),
        static_numbers=np.stack([series.static_numbers for series in each]),
        static_labels=np.stack([series.static_labels for series in each]),
        begins=np.array([series.begins.encode() for series in each], np.bytes_),
        counts=np.array([[series.gaps, series.unordered] for series in each], np.int64),
    )


def parted(rows: SeriesRows) -> list[Part]:
    """Inverse of `joined`."""
    parts = []
    for row, (low, high) in enumerate(zip(rows.splits[:-1], rows.splits[1:], strict=True)):
        series = Series(
            rows.names[row].decode(),
            rows.times[low:high],
            rows.numbers[low:high],
            rows.labels[low:high],
            rows.static_numbers[row],
            rows.static_labels[row],
            int(rows.counts[row, 0]),
            int(rows.counts[row, 1]),
            rows.begins[row].decode(),
        )
        parts.append(Part(series, int(rows.context[row]), rows.frequencies[row].decode()))
    return parts


# ---- statistics


def window_keys(part: Part, plan: Plan, stride: int) -> list[bytes]:
    """Returns the times and targets of windows as bytes, the keys by which duplicate windows are recognised.

    Windows whose targets are all equal or missing are left out: many series are zero at the same time.
    """
    places = [place for place, name in enumerate(plan.columns.numbers) if name in plan.columns.targets]
    values, times, keys = part.series.numbers[:, places], part.series.times, []
    first = max(part.context, plan.history)
    for origin in range(first, len(times) - plan.horizon + 1, stride):
        window = slice(origin - plan.history, origin + plan.horizon)
        seen = values[window][np.isfinite(values[window])]
        if len(seen) and seen.min() < seen.max():
            keys.append(times[window].tobytes() + values[window].tobytes())
    return keys


def sums_of(parts: Sequence[Part], plan: Plan) -> Arrays:
    """Returns the sums of `moments`, `naive_errors` and `spreads` over the steps of the parts, without context."""
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
        for part, numbers in zip(parts, own, strict=True):
            series, values = part.series.name, numbers[:, place]
            apart = spreads(name, series, logarithm(values[:, None], (name,), plan.logged)[:, 0])
            for key, sums in (naive_errors(name, series, values, max(plan.season, 1)) | apart).items():
                totals[key] = totals.get(key, 0.0) + sums
    return totals


def counts_of(parts: Sequence[Part], plan: Plan) -> dict[str, tuple[list[bytes], NDArray[np.int64]]]:
    """Returns the counts of each category, each frequency and each kind of irregular step, without context."""
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


def irregular(plan: Plan, resources: Mapping[str, Any]) -> tuple[tuple[str, str | float], ...]:
    """Returns the step of the training part and the number of irregular steps, for display.

    Args:
        plan: the layout of a window.
        resources: `frequency` and `steps`, the labels learned from `counts_of`, and `scaling`.
    """
    kinds = {"inserted": "steps without a line", "regular": "steps with a line", "sorted": "lines out of order"}
    scaling, found = resources["scaling"], resources["steps"]
    counts = dict(zip(found.names, found.counts, strict=True))
    steps = counts.get("inserted", 0) + counts.get("regular", 0)
    seen = dict(zip(scaling.names, scaling.counts, strict=True))
    return (
        ("step", str(resources["frequency"].names[0])),
        *((label, float(counts.get(name, 0))) for name, label in kinds.items()),
        *((f"no value of {name}", float(steps - seen[name])) for name in plan.columns.numbers),
    )


def _counted(values: NDArray[Any]) -> tuple[list[bytes], NDArray[np.int64]]:
    names, counts = np.unique(values, return_counts=True)
    return names.tolist(), counts.astype(np.int64)
