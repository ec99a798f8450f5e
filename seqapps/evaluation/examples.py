"""The details of an evaluation: breakdowns, plots, and examples.

breakdowns.json    the application's further tables
examples.json      the worst examples by the objective, and some drawn at random
pictures/          the application's pictures
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from seqapps import formats
from seqapps.applications import Application, Breakdown
from seqapps.dataset.ragged import Ragged

BREAKDOWNS, EXAMPLES, PICTURES = "breakdowns.json", "examples.json", "pictures"
SHOWN = 20
"""Maximum number of examples shown, of each kind."""
T = TypeVar("T")
_CANDIDATES = 5
"""Factor of candidates among the worst, because some look alike."""


@dataclass(frozen=True)
class Shown:
    """One example for display.

    Args:
        row: its index in the split.
        value: the objective on this example alone; None if undefined.
        columns: what the application shows of it, column name to text.
    """

    row: int
    value: float | None
    columns: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A table in `breakdowns.json`."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Tables:
    """`breakdowns.json`: see `Breakdown`; a number that is not finite is None."""

    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Row:
    """An example in `examples.json`: see `Shown`; `columns` are pairs, in order."""

    row: int
    value: float | None
    columns: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Examples:
    """`examples.json`."""

    worst: tuple[Row, ...]
    random: tuple[Row, ...]


@dataclass(frozen=True)
class Details:
    """The details beside the metrics.

    Args:
        breakdowns: further tables.
        worst: the worst examples by the objective, the worst first.
        random: examples drawn at random, in the order of the split.
        pictures: title to file.
    """

    breakdowns: tuple[Breakdown, ...] = ()
    worst: tuple[Shown, ...] = ()
    random: tuple[Shown, ...] = ()
    pictures: Mapping[str, Path] | None = None


def write_details(  # noqa: PLR0913 - a system's whole result
    application: Application,
    folder: Path,
    *,
    prediction: NDArray[Any],
    statistics: NDArray[np.float64],
    examples: Mapping[str, Ragged],
    resources: Mapping[str, Any],
) -> dict[str, str]:
    """Writes the files above into `folder`.

    Args:
        application: supplies tables, plots and examples.
        folder: of the evaluation.
        prediction: the model's.
        statistics: its sums per sequence.
        examples: of the split.
        resources: tokenizers, labels and scalings.

    Returns:
        Title of each picture to its file, relative to `folder`.
    """
    tables = application.breakdowns(statistics.sum(axis=0), resources)
    formats.write(folder / BREAKDOWNS, "breakdowns", {"tables": [_plain(asdict(table)) for table in tables]})
    values = values_of_examples(application, statistics, examples)
    seed = application.config.seed
    # An empty example has nothing to show.
    filled = np.flatnonzero(next(iter(examples.values())).lengths > 0)
    chosen = {
        "worst": [int(filled[row]) for row in worst(values[filled], application.direction, _CANDIDATES * SHOWN, seed)],
        "random": sorted(np.random.default_rng(seed).permutation(filled)[:SHOWN].tolist()),
    }
    shown = {
        kind: _shown(rows, values, application.shown(prediction, examples, resources, rows))
        for kind, rows in chosen.items()
    }
    formats.write(folder / EXAMPLES, "examples", {**shown, "worst": _each_once(shown["worst"])[:SHOWN]})
    pictures = folder / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    drawn = application.pictures(prediction, examples, resources, pictures)
    return {title: str(path.relative_to(folder)) for title, path in drawn.items()}


def read_details(folder: Path, pictures: Mapping[str, str]) -> Details:
    """Returns what `write_details` wrote into the folder of an evaluation; empty if it did not.

    Raises:
        FormatError: another version of seqapps wrote it.
        DataError: it is damaged.
    """
    tables = _read(folder / BREAKDOWNS, "breakdowns", Tables) or Tables(())
    shown = _read(folder / EXAMPLES, "examples", Examples) or Examples((), ())
    return Details(
        breakdowns=tuple(Breakdown(table.title, table.columns, table.rows) for table in tables.tables),
        worst=tuple(map(_as_shown, shown.worst)),
        random=tuple(map(_as_shown, shown.random)),
        pictures={title: folder / file for title, file in pictures.items() if (folder / file).exists()},
    )


def values_of_examples(
    application: Application, statistics: NDArray[np.float64], examples: Mapping[str, Ragged]
) -> NDArray[np.float64]:
    """Returns the objective on each example alone, `<float64>[examples]`; NaN where undefined."""
    totals = np.zeros((len(next(iter(examples.values()))), statistics.shape[1]))
    np.add.at(totals, application.rows(examples), statistics)
    with np.errstate(all="ignore"):
        return np.asarray(application.metrics(totals)[application.objective], np.float64)


def worst(values: NDArray[np.float64], direction: str, count: int, seed: int) -> list[int]:
    """Returns the examples with the worst values, the worst first; ties in a seeded random order.

    Examples without a value are left out, and for a maximised metric those as good as the best: they are correct.
    """
    badness = values if direction == "min" else -values
    order = np.lexsort((np.random.default_rng(seed).permutation(len(values)), -badness))
    known = order[~np.isnan(values[order])]
    if len(known) and direction == "max":
        best = badness[known[-1]]
        worse = known[badness[known] > best]
        known = worse if len(worse) or best <= -1.0 else known
    chosen: list[int] = known[:count].tolist()
    return chosen


def _each_once(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns examples without those that look like an earlier one."""
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    for item in shown:
        seen.setdefault(tuple(map(tuple, item["columns"])), item)
    return list(seen.values())


def _shown(
    rows: Sequence[int], values: NDArray[np.float64], columns: Sequence[Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Returns rows with what the application shows of them; nothing when it shows none."""
    if not columns:
        return []
    return [
        # As pairs: JSON files are written with sorted keys, and columns have an order.
        _plain({"row": int(row), "value": float(values[row]), "columns": list(shown.items())})
        for row, shown in zip(rows, columns, strict=True)
    ]


def _as_shown(item: Row) -> Shown:
    return Shown(item.row, item.value, dict(item.columns))


def _plain(value: Any) -> Any:
    """Returns JSON values: non-finite numbers become None, since JSON has no NaN or infinity."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(path: Path, kind: str, shape: type[T]) -> T | None:
    if not path.exists():
        return None
    return formats.read(path, kind, shape, f"remove {path.parent} and run `seqapps evaluate` again")
