"""The text of a CSV or TSV file to series on a regular grid of times, and the lines that are refused.

The policy, the same for training and prediction: a line has as many cells as the header, and no cell spans two lines;
lines out of order are sorted and counted; of two lines with one time the first stands; a line whose time is not on the
grid of its series is refused, as is one whose static columns differ from those before, or whose value has no logarithm
where one is required; a step without a line is inserted, all its values missing; missing values are NaN from here on.
All series have the same step, and each its own grid: hours may begin at :00 in one, at :30 in another.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.errors import DataError, unknown_name
from seqapps.preprocessing.series.timeline import (
    NO_TIME,
    Frequency,
    Grid,
    TimeForm,
    form_of,
    infer,
    parse_times,
)

_MOST_STEPS_A_LINE = 1_000
"""More grid steps per line than this indicate a wrong time or frequency, and would exhaust the memory."""
_SAME_STEP = 0.11
"""Share by which two steps may differ: months have 28 to 31 days."""


@dataclass(frozen=True)
class Columns:
    """The roles of the columns of a file; see `config.SeriesData`."""

    time: tuple[str, ...]
    targets: tuple[str, ...]
    covariates: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    series: str = ""
    time_format: str = ""
    time_prefix: str = ""
    time_zone: str = ""
    frequency: str = ""
    missing: tuple[str, ...] = ("", "NA", "NaN", "nan", "null")
    fill: dict[str, float] = field(default_factory=dict)
    logged: tuple[str, ...] = ()
    delimiter: str = ","
    header: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """Numeric columns that vary over time: targets, covariates, known ones."""
        return tuple(name for name in (*self.targets, *self.covariates, *self.known) if name not in self.categorical)

    @property
    def labels(self) -> tuple[str, ...]:
        """Categorical columns that vary over time: covariates, known ones."""
        return tuple(name for name in (*self.covariates, *self.known) if name in self.categorical)

    @property
    def known_numbers(self) -> tuple[int, ...]:
        """Indices in `numbers` of the columns whose future is known."""
        return tuple(place for place, name in enumerate(self.numbers) if name in self.known)

    @property
    def known_labels(self) -> tuple[int, ...]:
        """Indices in `labels` of the columns whose future is known."""
        return tuple(place for place, name in enumerate(self.labels) if name in self.known)

    @property
    def static_numbers(self) -> tuple[str, ...]:
        """Numeric columns that are constant over a series."""
        return tuple(name for name in self.static if name not in self.categorical)

    @property
    def static_labels(self) -> tuple[str, ...]:
        """Categorical columns that are constant over a series."""
        return tuple(name for name in self.static if name in self.categorical)


@dataclass(frozen=True)
class Fault:
    """A line that is refused: its 1-based number in the file, why, and the line."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True)
class Series:
    """One series, a value for every step of its grid.

    Args:
        name: value of the `series` column; without one the name of the file, empty for a single file.
        times: of the steps, `<int64>[steps]`.
        numbers: `<float64>[steps, columns.numbers]`, NaN where missing.
        labels: `<bytes>[steps, columns.labels]`, empty where missing.
        static_numbers, static_labels: `[columns]`, the first of the series' lines that is not missing.
        gaps: number of steps without a line.
        unordered: number of lines that followed a later one.
        begins: its first time, as the file writes it.
    """

    name: str
    times: NDArray[np.int64]
    numbers: NDArray[np.float64]
    labels: NDArray[np.bytes_]
    static_numbers: NDArray[np.float64]
    static_labels: NDArray[np.bytes_]
    gaps: int = 0
    unordered: int = 0
    begins: str = ""

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True)
class Parsed:
    """A parsed file.

    Args:
        series: sorted by name.
        faults: refused lines, in order.
        lines: number of data lines.
        frequency: name of the step; empty if there are no two times and none was given.
        form: how its times are written.
    """

    series: tuple[Series, ...]
    faults: tuple[Fault, ...]
    lines: int
    frequency: str
    form: TimeForm


def read_series(text: bytes, columns: Columns, where: str, name: str = "") -> Parsed:
    """Returns the series in a file.

    Args:
        text: the whole file.
        columns: their roles.
        where: the file's name, for messages.
        name: of the series, if no column names it.

    Raises:
        DataError: the header lacks a column or has one twice, the times span too many steps, or two series have
            different steps and none was given.
    """
    lines = _Lines(text, columns, where)
    groups = lines.groups(name)
    frequency = _frequency(columns, lines.times, groups, where)
    if frequency is None:
        return Parsed((), lines.faults(), lines.count, "", lines.form)
    series = []
    for key, all_rows in sorted(groups.items()):
        grid = Grid.through(lines.times[all_rows], frequency)
        number, on_grid = grid.index(lines.times[all_rows])
        lines.refuse(all_rows[~on_grid], "off-grid")
        lines.refuse_other_static(all_rows[lines.good[all_rows]])
        good = lines.good[all_rows]
        rows, number = all_rows[good], number[good]
        order = np.argsort(number, kind="stable")
        again = np.zeros(len(rows), bool)
        again[order[1:]] = np.diff(number[order]) == 0
        lines.refuse(rows[again], "duplicate-time")
        kept = order[~again[order]]
        if len(kept):
            late = int(np.count_nonzero(lines.times[rows] < np.maximum.accumulate(lines.times[rows])))
            series.append(replace(lines.regular(key, rows[kept], number[kept], grid), unordered=late))
    return Parsed(tuple(series), lines.faults(), lines.count, frequency.name, lines.form)


class _Lines:
    """The lines of a file as columns of text, and which of them are still valid."""

    def __init__(self, text: bytes, columns: Columns, where: str) -> None:
        self.columns, self.where = columns, where
        self._faults: list[Fault] = []
        self._places: dict[str, int] = {}
        rows = self._rows(text)
        header = list(columns.header) or next((row for _, row in rows), [])
        self._places = self._found(header)
        self._cells: list[tuple[int, list[str]]] = []
        self.count = 0
        for line, row in rows:
            self.count += 1
            if columns.header and self.count == 1:
                self._check_first(line, row)
            if len(row) == len(header):
                self._cells.append((line, row))
            elif row:
                reason = "missing-field" if len(row) < len(header) else "extra-field"
                self._faults.append(Fault(line, reason, _shown(row)))
        self.good = np.ones(len(self._cells), bool)
        moments = [columns.time_prefix + moment for moment in self.column(*columns.time)]
        self.times = parse_times(moments, columns.time_format, columns.time_zone)
        self.refuse(self.times == NO_TIME, "bad-time")
        first = next((moment for moment, good in zip(moments, self.good, strict=True) if good), "")
        first = first.removeprefix(columns.time_prefix)
        self.form = form_of(first, columns.time_format, columns.time_prefix, columns.time_zone)
        self._numbers = {name: self._column_of_numbers(name) for name in (*columns.numbers, *columns.static_numbers)}
        self._labels = {name: self._column_of_labels(name) for name in (*columns.labels, *columns.static_labels)}

    def _rows(self, text: bytes) -> Iterator[tuple[int, list[str]]]:
        """Yields the number and the cells of every line that is not empty; no cell spans two lines.

        A line that cannot be parsed is refused, and yielded without cells.
        """
        csv.field_size_limit(max(csv.field_size_limit(), 1 << 20))
        options: dict[str, Any] = {"strict": True}
        if self.columns.delimiter != ",":
            options |= {"delimiter": self.columns.delimiter, "quoting": csv.QUOTE_NONE}
        content = io.StringIO(text.decode("utf-8-sig", "replace"), newline=None)
        for number, line in enumerate(content, 1):
            if not line.strip("\n"):
                continue
            try:
                yield number, next(csv.reader([line], **options))
            except csv.Error as error:
                if not self._places:
                    message = f"{self.where}, line {number}: the header line cannot be read as CSV: {error}."
                    raise DataError(message) from None
                self._faults.append(Fault(number, "unreadable-csv", _shown([line.rstrip("\n")])))
                yield number, []

    def _found(self, header: Sequence[str]) -> dict[str, int]:
        """Returns the index of every column that is read."""
        columns = self.columns
        if not header:
            raise DataError(f"{self.where}: a header line and one line for each step are needed. Received: no line.")
        twice = [name for name, count in Counter(header).items() if name and count > 1]
        if twice:
            raise DataError(f"{self.where}: the names of columns must be different. Received: {twice[0]!r} twice.")
        wanted = (*columns.time, *columns.numbers, *columns.labels, *columns.static)
        for name in filter(None, (*wanted, columns.series)):
            if name not in header:
                raise DataError(f"{self.where}: " + unknown_name("column", name, header))
        return {name: place for place, name in enumerate(header)}

    def _check_first(self, line: int, row: Sequence[str]) -> None:
        """Raises if the first line is a header although the column names were given."""
        numbers = (*self.columns.time, *self.columns.numbers, *self.columns.static_numbers)
        cells = {name: row[self._places[name]].strip() for name in numbers if self._places[name] < len(row)}
        if any(cell.casefold() == name.casefold() for name, cell in cells.items()):
            raise DataError(
                f"{self.where}, line {line}: it has names of columns, and `source.columns` gives them. Received: "
                f"{_shown(row)}. Remedy: take the line away, or leave `source.columns` out."
            )

    def column(self, *names: str) -> list[str]:
        """Returns a column of text; several are joined by a space."""
        places = [self._places[name] for name in names]
        return [" ".join(row[place].strip() for place in places) for _, row in self._cells]

    def _column_of_numbers(self, name: str) -> NDArray[np.float64]:
        """Returns a numeric column, NaN where missing; refuses the lines that hold something else."""
        fill = self.columns.fill.get(name, np.nan)
        missing = dict.fromkeys(self.columns.missing, fill)
        texts = self.column(name)
        found = np.fromiter((missing[text] if text in missing else _number(text) for text in texts), np.float64)
        self.refuse(np.isinf(found), "bad-number")
        if name in self.columns.logged:
            self.refuse(found <= -1.0, "no-logarithm")
        return found

    def _column_of_labels(self, name: str) -> NDArray[np.bytes_]:
        """Returns a categorical column as UTF-8, empty where missing."""
        missing = set(self.columns.missing)
        texts = [b"" if text in missing else text.encode() for text in self.column(name)]
        return np.array(texts, np.bytes_)

    def refuse(self, rows: NDArray[Any], reason: str) -> None:
        """Refuses rows, by index or mask."""
        chosen = np.flatnonzero(rows) if rows.dtype == bool else rows
        for row in chosen[self.good[chosen]].tolist():
            line, cells = self._cells[row]
            self._faults.append(Fault(line, reason, _shown(cells)))
            self.good[row] = False

    def faults(self) -> tuple[Fault, ...]:
        """Returns the refused lines, in order."""
        return tuple(sorted(self._faults, key=lambda fault: fault.line))

    def groups(self, name: str) -> dict[str, NDArray[np.int64]]:
        """Returns the valid rows of each series by its name, in the file's order."""
        names = self.column(self.columns.series) if self.columns.series else [name] * len(self.good)
        found: dict[str, list[int]] = {}
        for row in np.flatnonzero(self.good).tolist():
            found.setdefault(names[row], []).append(row)
        return {name: np.array(rows, np.int64) for name, rows in found.items()}

    def regular(self, name: str, rows: NDArray[np.int64], number: NDArray[np.int64], grid: Grid) -> Series:
        """Returns rows, sorted by the number of their step, as a series with every step of the grid."""
        columns, count = self.columns, int(number[-1] - number[0]) + 1
        if count > _MOST_STEPS_A_LINE * len(rows):
            raise DataError(
                f"{self.where}: series {name!r} has {len(rows)} lines over {count:,} steps of {grid.frequency.name}. "
                "Remedy: mend the line whose time is far away, or set `data.frequency`."
            )
        place = number - number[0]
        numbers = np.full((count, len(columns.numbers)), np.nan)
        for column, key in enumerate(columns.numbers):
            numbers[place, column] = self._numbers[key][rows]
        labels = np.full((count, len(columns.labels)), b"", "S1")
        if columns.labels:
            cells = np.stack([self._labels[key][rows] for key in columns.labels], axis=1)
            labels = labels.astype(cells.dtype)
            labels[place] = cells
        return Series(
            name=name,
            times=grid.times(np.arange(number[0], number[-1] + 1)),
            numbers=numbers,
            labels=labels,
            static_numbers=np.array([_first(self._numbers[key][rows]) for key in columns.static_numbers], np.float64),
            static_labels=np.array([_first(self._labels[key][rows]) for key in columns.static_labels], np.bytes_),
            gaps=count - len(rows),
            begins=self.form.text(int(self.times[rows[0]])),
        )

    def refuse_other_static(self, rows: NDArray[np.int64]) -> None:
        """Refuses the rows of one series whose static columns differ from the first."""
        for key in self.columns.static if len(rows) else ():
            values = (self._numbers[key] if key in self._numbers else self._labels[key])[rows]
            self.refuse(rows[_seen(values) & (values != _first(values))], "static-changes")


def _seen(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Returns which values of a column are not missing."""
    seen: NDArray[np.bool_] = values != b"" if values.dtype.kind == "S" else ~np.isnan(values)
    return seen


def _first(values: NDArray[Any]) -> Any:
    """Returns the first value that is not missing; a missing one where all are."""
    return values[_seen(values).argmax()]


def _shown(cells: Sequence[str]) -> str:
    return ",".join(cells)[:200]


def _number(text: str) -> float:
    """Parses a number; infinity if it is not one, since no column may hold infinity."""
    try:
        value = float(text)
    except ValueError:
        return np.inf
    return value if np.isfinite(value) and "_" not in text else np.inf


def _frequency(
    columns: Columns, times: NDArray[np.int64], groups: dict[str, NDArray[np.int64]], where: str
) -> Frequency | None:
    if not groups:
        return None
    everything = np.concatenate([times[rows] for rows in groups.values()])
    if columns.frequency:
        return Frequency.parse(columns.frequency).settled(everything)
    steps: dict[str, NDArray[Any]] = {name: np.diff(np.unique(times[rows])) for name, rows in groups.items()}
    found = infer(np.concatenate(list(steps.values())), everything)
    if found is not None and len(groups) > 1:
        _check_steps({name: infer(steps[name], times[rows]) for name, rows in groups.items()}, found, where)
    return found


def _check_steps(found: dict[str, Frequency | None], common: Frequency, where: str) -> None:
    """Raises if a series has another step than the file: it would lose its lines, or be filled with steps that were
    not measured. A series with few steps may show days for months, and months for their last days."""
    for name, step in found.items():
        if step is not None and abs(step.seconds - common.seconds) > _SAME_STEP * common.seconds:
            raise DataError(
                f"{where}: all series of a file must have one step. Received: {name!r} with {step.name}, the file with "
                f"{common.name}. Remedy: a configuration for each step; where all have one, and some have gaps, "
                "`data.frequency`."
            )
