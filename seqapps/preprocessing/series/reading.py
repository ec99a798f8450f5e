"""The text of a CSV or TSV file to series on a regular grid of times, and the lines that are refused.

The policy, once for training and for answers: lines out of order are sorted and counted; of two lines with one time
the first stands; a line whose time is not on the grid is refused; a step without a line is inserted, all its values
missing; a missing value is not a number from here on.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.errors import DataError, unknown_name
from seqapps.preprocessing.series.timeline import NO_TIME, Frequency, Grid, infer, parse_times

_MOST_STEPS_A_LINE = 1_000
"""A grid with more steps for a line is a wrong time or a wrong frequency, and would fill the memory."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a file are what; see `config.SeriesData`."""

    time: tuple[str, ...]
    targets: tuple[str, ...]
    covariates: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    series: str = ""
    time_format: str = ""
    time_prefix: str = ""
    frequency: str = ""
    missing: tuple[str, ...] = ("", "NA", "NaN", "nan", "null")
    fill: dict[str, float] = field(default_factory=dict)
    delimiter: str = ","
    header: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """Columns of numbers that change over time: targets, covariates, known ones."""
        return tuple(name for name in (*self.targets, *self.covariates, *self.known) if name not in self.categorical)

    @property
    def labels(self) -> tuple[str, ...]:
        """Columns of categories that change over time: covariates, known ones."""
        return tuple(name for name in (*self.covariates, *self.known) if name in self.categorical)

    @property
    def known_numbers(self) -> tuple[int, ...]:
        """Places in `numbers` of the columns whose future is known."""
        return tuple(place for place, name in enumerate(self.numbers) if name in self.known)

    @property
    def known_labels(self) -> tuple[int, ...]:
        """Places in `labels` of the columns whose future is known."""
        return tuple(place for place, name in enumerate(self.labels) if name in self.known)

    @property
    def static_numbers(self) -> tuple[str, ...]:
        """Columns of numbers that are one for a whole series."""
        return tuple(name for name in self.static if name not in self.categorical)

    @property
    def static_labels(self) -> tuple[str, ...]:
        """Columns of categories that are one for a whole series."""
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
        name: what the `series` column says; empty without one.
        times: of the steps, `<int64>[steps]`.
        numbers: `<float64>[steps, columns.numbers]`, not a number where missing.
        labels: `<bytes>[steps, columns.labels]`, empty where missing.
        static_numbers, static_labels: `[columns]`, those of the series' first line.
        gaps: steps that no line had.
        unordered: lines that stood after a later one.
    """

    name: str
    times: NDArray[np.int64]
    numbers: NDArray[np.float64]
    labels: NDArray[np.bytes_]
    static_numbers: NDArray[np.float64]
    static_labels: NDArray[np.bytes_]
    gaps: int = 0
    unordered: int = 0

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True)
class Parsed:
    """What a file holds.

    Args:
        series: sorted by name.
        faults: refused lines, in order.
        lines: how many lines of data stood in it.
        grid: of the times; None where there are no two of them and no frequency was given.
    """

    series: tuple[Series, ...]
    faults: tuple[Fault, ...]
    lines: int
    grid: Grid | None

    @property
    def frequency(self) -> str:
        """Name of the step; empty where it is not known."""
        return self.grid.frequency.name if self.grid else ""


def read_series(text: bytes, columns: Columns, where: str) -> Parsed:
    """Returns the series in a file.

    Args:
        text: the whole file.
        columns: which are what.
        where: the file's name, for messages.

    Raises:
        DataError: the header lacks a column, or the times reach too far.
    """
    lines = _Lines(text, columns, where)
    groups = lines.groups()
    frequency = _frequency(columns, lines.times, groups)
    if frequency is None:
        return Parsed((), lines.faults(), lines.count, None)
    grid = Grid.through(lines.times[lines.good], frequency)
    number, on_grid = grid.index(np.where(lines.good, lines.times, 0))
    lines.refuse(lines.good & ~on_grid, "off-grid")
    series = []
    for name, all_rows in sorted(groups.items()):
        rows = all_rows[lines.good[all_rows]]
        order = np.argsort(number[rows], kind="stable")
        again = np.zeros(len(rows), bool)
        again[order[1:]] = np.diff(number[rows][order]) == 0
        lines.refuse(rows[again], "duplicate-time")
        kept = rows[order][~again[order]]
        if len(kept):
            late = int(np.count_nonzero(lines.times[rows] < np.maximum.accumulate(lines.times[rows])))
            series.append(replace(lines.regular(name, kept, number[kept], grid), unordered=late))
    return Parsed(tuple(series), lines.faults(), lines.count, grid)


class _Lines:
    """The lines of a file as columns of text, and which of them are still good."""

    def __init__(self, text: bytes, columns: Columns, where: str) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), 1 << 20))
        content = io.StringIO(text.decode("utf-8-sig", "replace"), newline="")
        quotes = columns.delimiter == ","
        reader = (
            csv.reader(content, dialect="excel")
            if quotes
            else csv.reader(content, delimiter=columns.delimiter, quoting=csv.QUOTE_NONE)
        )
        header = list(columns.header) or next(reader, [])
        wanted = dict.fromkeys(
            (*columns.time, *columns.numbers, *columns.labels, *columns.static, *filter(None, [columns.series]))
        )
        for name in wanted:
            if name not in header:
                raise DataError(f"{where}: " + unknown_name("column", name, header))
        self._places = {name: header.index(name) for name in wanted}
        self.columns, self.where = columns, where
        cells = [(reader.line_num, row) for row in reader if row]
        self.count = len(cells)
        longest = max(self._places.values()) + 1
        self._faults = [Fault(line, "missing-field", _shown(row)) for line, row in cells if len(row) < longest]
        self._cells = [(line, row) for line, row in cells if len(row) >= longest]
        self.good = np.ones(len(self._cells), bool)
        moments = [columns.time_prefix + moment for moment in self.column(*columns.time)]
        self.times = parse_times(moments, columns.time_format)
        self.refuse(self.times == NO_TIME, "bad-time")
        self._numbers = {name: self._column_of_numbers(name) for name in (*columns.numbers, *columns.static_numbers)}

    def column(self, *names: str) -> list[str]:
        """Returns a column of text; several are joined by a space."""
        places = [self._places[name] for name in names]
        return [" ".join(row[place].strip() for place in places) for _, row in self._cells]

    def _column_of_numbers(self, name: str) -> NDArray[np.float64]:
        """Returns a column of numbers, not a number where missing; refuses the lines that hold something else."""
        fill = self.columns.fill.get(name, np.nan)
        missing = dict.fromkeys(self.columns.missing, fill)
        texts = self.column(name)
        found = np.fromiter((missing[text] if text in missing else _number(text) for text in texts), np.float64)
        self.refuse(np.isinf(found), "bad-number")
        return found

    def _labels(self, name: str) -> NDArray[np.bytes_]:
        """Returns a column of categories as UTF-8, empty where missing."""
        missing = set(self.columns.missing)
        texts = [b"" if text in missing else text.encode() for text in self.column(name)]
        return np.array(texts, np.bytes_)

    def refuse(self, rows: NDArray[Any], reason: str) -> None:
        """Takes rows out, by index or mask."""
        chosen = np.flatnonzero(rows) if rows.dtype == bool else rows
        for row in chosen[self.good[chosen]].tolist():
            line, cells = self._cells[row]
            self._faults.append(Fault(line, reason, _shown(cells)))
            self.good[row] = False

    def faults(self) -> tuple[Fault, ...]:
        """Returns the refused lines, in order."""
        return tuple(sorted(self._faults, key=lambda fault: fault.line))

    def groups(self) -> dict[str, NDArray[np.int64]]:
        """Returns name of a series to its rows that are good, in the file's order."""
        names = self.column(self.columns.series) if self.columns.series else [""] * len(self.good)
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
            cells = np.stack([self._labels(key)[rows] for key in columns.labels], axis=1)
            labels = labels.astype(cells.dtype)
            labels[place] = cells
        return Series(
            name=name,
            times=grid.times(np.arange(number[0], number[-1] + 1)),
            numbers=numbers,
            labels=labels,
            static_numbers=np.array([self._numbers[key][rows[0]] for key in columns.static_numbers], np.float64),
            static_labels=np.array([self._labels(key)[rows[0]] for key in columns.static_labels], np.bytes_),
            gaps=count - len(rows),
        )


def _shown(cells: Sequence[str]) -> str:
    return ",".join(cells)[:200]


def _number(text: str) -> float:
    """Returns infinity for what is no number: no column may hold one."""
    try:
        value = float(text)
    except ValueError:
        return np.inf
    return value if np.isfinite(value) and "_" not in text else np.inf


def _frequency(columns: Columns, times: NDArray[np.int64], groups: dict[str, NDArray[np.int64]]) -> Frequency | None:
    if columns.frequency:
        return Frequency.parse(columns.frequency) if groups else None
    if not groups:
        return None
    steps = np.concatenate([np.diff(np.unique(times[rows])) for rows in groups.values()])
    return infer(steps, np.concatenate([times[rows] for rows in groups.values()]))
