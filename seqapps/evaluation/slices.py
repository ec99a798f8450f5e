"""Sliced evaluation: the objective of the model and of the best baseline on the examples of each slice.

Nothing is trained, fitted or predicted again: the statistics of each sequence (`statistics.npz`) are summed over the
examples of a slice. `slices.json` is in the evaluation's folder, and is valid only for these statistics.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from rich.table import Table
from rich.text import Text

from seqapps import formats
from seqapps.applications import Application
from seqapps.dataset.manifest import Manifest, sha256_of
from seqapps.dataset.ragged import Ragged
from seqapps.dataset.schema import RAW
from seqapps.errors import DataError, UsageError, unknown_name
from seqapps.evaluation.bootstrap import interval
from seqapps.evaluation.evaluate import STATISTICS, read_evaluation, read_statistics
from seqapps.evaluation.tables import best_baseline
from seqapps.metrics.figures import figure, label

FILE_NAME = "slices.json"
LENGTH = "length"

_AGAIN = f"remove it and run `seqapps evaluate CONFIG --slices {LENGTH}` again"
_MOST_SLICES = 20
_BINS = 5
_RESAMPLES = 1_000
_LONGEST_NAME = 60
_OTHER = "(other)"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Value(_Record):
    """The objective of a system on a slice.

    Args:
        value: None if undefined.
        low, high: 95 % interval of a bootstrap over the slice's sequences; None for fewer than two.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


class Slice(_Record):
    """One slice.

    Args:
        name: its name.
        examples, sequences: their numbers in the slice.
        model: the model's objective.
        baseline: that of the best baseline; None without baselines.
    """

    name: str
    examples: int
    sequences: int
    model: Value
    baseline: Value | None


class SliceTable(_Record):
    """The slices of one field.

    Args:
        field: the field that defines the slices.
        split, token: of the evaluation.
        objective, direction: of the evaluation.
        baseline: the best baseline on the whole split; empty without baselines.
        slices: in order.
    """

    field: str
    split: str
    token: str
    objective: str
    direction: str
    baseline: str
    slices: tuple[Slice, ...]


@dataclass(frozen=True)
class Stored:
    """`slices.json`: the sha256 of the statistics that its tables are of, and the tables."""

    statistics: str
    tables: tuple[SliceTable, ...]


def measure(
    application: Application, prepared: Path, manifest: Manifest, folder: Path, fields: Sequence[str]
) -> list[SliceTable]:
    """Evaluates the slices of some fields, and adds them to those already in `slices.json`.

    Args:
        application: defines the fields and the objective.
        prepared, manifest: the data that was evaluated.
        folder: of the evaluation.
        fields: `length`, a field of the application, or a column of `data.keep`.

    Raises:
        UsageError: an unknown field; lists the known ones.
        DataError: the evaluation has not been run.
    """
    evaluation, statistics = read_evaluation(folder), read_statistics(folder)
    examples = application.examples(prepared, manifest, evaluation.split)
    sequences = application.rows(examples)
    best = best_baseline(evaluation)
    systems = [statistics["model"], *([statistics[f"baseline.{best}"]] if best else [])]
    tables = []
    for field in dict.fromkeys(fields):
        names = slices_of(application, field, examples)
        rows = []
        for name in _ordered(names):
            of_examples = names == name
            chosen = of_examples[sequences]
            values = [_value(application, sums[chosen]) for sums in systems]
            rows.append(
                Slice(
                    name=str(name),
                    examples=int(of_examples.sum()),
                    sequences=int(chosen.sum()),
                    model=values[0],
                    baseline=values[1] if best else None,
                )
            )
        tables.append(
            SliceTable(
                field=field,
                split=evaluation.split,
                token=evaluation.token,
                objective=evaluation.objective,
                direction=evaluation.direction,
                baseline=best,
                slices=tuple(rows),
            )
        )
    before: list[SliceTable] = []
    with suppress(DataError):  # of another version, or damaged: those that are asked for are made anew
        before = read_slices(folder)
    _write(folder, {**{table.field: table for table in before}, **{t.field: t for t in tables}})
    return tables


def read_slices(folder: Path) -> list[SliceTable]:
    """Returns the tables in an evaluation's folder; none when they belong to another evaluation.

    Raises:
        FormatError: another version of seqapps wrote them.
        DataError: they are damaged.
    """
    path = folder / FILE_NAME
    if not path.exists() or not (folder / STATISTICS).exists():
        return []
    stored = formats.read(path, "slices", Stored, _AGAIN)
    return list(stored.tables) if stored.statistics == sha256_of(folder / STATISTICS) else []


def slices_of(application: Application, field: str, examples: Mapping[str, Ragged]) -> NDArray[np.object_]:
    """Returns the slice that each example falls into, `<object>[examples]` of text.

    `length` uses powers of two of the first feature's length. A numeric field with more values than the maximum number
    of slices uses quintiles; other fields keep their most frequent values and merge the rest.

    Raises:
        UsageError: an unknown field; lists the known ones.
    """
    found = application.slices(field, examples)
    if found is not None:
        return _grouped(np.array(found, object))
    if field == LENGTH:
        return _by_length(next(iter(examples.values())).lengths)
    if RAW + field in examples:
        values = [bytes(value).decode("utf-8", "replace") for value in examples[RAW + field].values]
        return _grouped(np.array(values, object))
    raise UsageError(
        unknown_name(f"`--slices {field}`", field, _known(application, examples))
        + " A column of the raw rows is known when `data.keep` names it. Example: --set 'data.keep=[\"source\"]' "
        "(which prepares the data again)."
    )


def table(slices: SliceTable) -> Table:
    """Returns the slices of a field as a table."""
    title = f"{slices.split}, {label(slices.objective, slices.token)} by {slices.field}"
    result = Table(title=title, title_justify="left")
    result.add_column("slice", max_width=40)
    for name in ("examples", "model", "95 %", *((slices.baseline, "95 %") if slices.baseline else ())):
        result.add_column(Text(name), justify="right", no_wrap=True)
    for row in slices.slices:
        values = [row.model, *([row.baseline] if row.baseline else [])]
        cells = [text for value in values for text in texts(value)]
        result.add_row(Text(row.name), f"{row.examples:,}", *cells)
    return result


def texts(value: Value) -> tuple[str, str]:
    """Formats a value and its interval; `-` for missing ones."""
    shown = "-" if value.value is None else figure(value.value)
    if value.low is None or value.high is None:
        return shown, "-"
    return shown, f"{figure(value.low)} to {figure(value.high)}"


def _value(application: Application, sums: NDArray[np.float64]) -> Value:
    objective, config = application.objective, application.config

    def metric(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        return application.metrics(totals)[objective]

    if not len(sums):
        return Value(value=None)
    with np.errstate(all="ignore"):
        found = float(metric(sums.sum(axis=0)))
        ends = interval(sums, metric, resamples=min(_RESAMPLES, config.promotion.resamples), seed=config.seed)
    low, high = ends or (None, None)
    return Value(value=found if math.isfinite(found) else None, low=low, high=high)


def _by_length(lengths: NDArray[np.int64]) -> NDArray[np.object_]:
    """Powers of two: `1`, `2`, `3-4`, `5-8`, ..."""
    bounds = 2 ** np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)
    names = {int(bound): f"{bound // 2 + 1}-{bound}" if bound > 2 else str(bound) for bound in np.unique(bounds)}
    return np.array([names[bound] for bound in bounds.tolist()], object)


def _grouped(values: NDArray[np.object_]) -> NDArray[np.object_]:
    """Groups values into at most the maximum number of slices."""
    given = values.tolist()
    counts = Counter(given)
    if len(counts) <= _MOST_SLICES:
        return _replaced(given, _names(sorted(counts)))
    numbers = _numbers(counts)
    if numbers is not None:
        return _by_quantile(np.fromiter(map(numbers.__getitem__, given), np.float64, len(given)))
    kept = sorted(counts, key=lambda value: (-counts[value], value))[: _MOST_SLICES - 1]
    return _replaced(given, _names(sorted(kept)))


def _replaced(values: Sequence[str], names: Mapping[str, str]) -> NDArray[np.object_]:
    return np.array([names.get(value, _OTHER) for value in values], object)


def _names(values: Iterable[str]) -> dict[str, str]:
    """Returns display names of values: in one line, truncated, and numbered if another value has the same name."""
    names: dict[str, str] = {}
    taken = {_OTHER}
    for value in values:
        name = " ".join(value.split()) or "(empty)"
        name = cut = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
        numbers = count(2)
        while name in taken:
            name = f"{cut} ({next(numbers)})"
        taken.add(name)
        names[value] = name
    return names


def _numbers(values: Iterable[str]) -> dict[str, float] | None:
    try:
        numbers = {value: float(value) for value in values}
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers.values())) else None


def _by_quantile(numbers: NDArray[np.float64]) -> NDArray[np.object_]:
    bounds = np.unique(np.quantile(numbers, np.linspace(0, 1, _BINS + 1)))
    places = np.clip(np.searchsorted(bounds, numbers, side="right") - 1, 0, max(0, len(bounds) - 2))
    ends = np.append(bounds, bounds[-1])
    names = [f"{ends[place]:.6g} to {ends[place + 1]:.6g}" for place in range(len(bounds))]
    return np.array(names, object)[places]


def _ordered(names: NDArray[np.object_]) -> list[str]:
    """Returns the slices: numbers and lengths by size, other names by how many examples they have."""
    counts = Counter(names.tolist())
    found = sorted(counts)
    sizes = [_first_number(name) for name in found]
    known = [size for size in sizes if size is not None]
    if len(known) == len(sizes):
        return [name for _, name in sorted(zip(known, found, strict=True))]
    order = sorted(range(len(found)), key=lambda place: (found[place] == _OTHER, -counts[found[place]], found[place]))
    return [found[place] for place in order]


def _first_number(name: str) -> float | None:
    try:
        return float(name.partition(" to ")[0] if " to " in name else name.partition("-")[0] or name)
    except ValueError:
        return None


def _known(application: Application, examples: Mapping[str, Ragged]) -> list[str]:
    """Returns the available fields; the application is queried for its features and for `label`."""
    kept = [name.removeprefix(RAW) for name in examples if name.startswith(RAW)]
    own = [name for name in {"label", *examples} if application.slices(name, examples) is not None]
    return [LENGTH, *own, *kept]


def _write(folder: Path, tables: Mapping[str, SliceTable]) -> None:
    formats.write(
        folder / FILE_NAME,
        "slices",
        {
            "statistics": sha256_of(folder / STATISTICS),
            "tables": [table.model_dump(mode="json") for table in tables.values()],
        },
    )
