"""The layout of a window of a series.

history   o - H .. o - 1        known, target   o .. o + P - 1        o: the first step that is forecast
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.preprocessing.series.reading import Columns


@dataclass(frozen=True)
class Plan:
    """The layout of a window.

    Args:
        columns: of the file.
        history, horizon: steps before and after (H, P).
        stride: steps from one window to the next.
        season: steps of a season; 0 without one.
        missing: fill a missing value of a history forward (`forward`), or leave its window out (`reject`).
        indicators: whether the history includes missing-value indicators.
        calendar: features of the time of each step; see `calendars.py`.
    """

    columns: Columns
    history: int
    horizon: int
    stride: int = 1
    season: int = 0
    missing: str = "forward"
    indicators: bool = False
    calendar: tuple[str, ...] = ()

    @property
    def logged(self) -> tuple[str, ...]:
        """Variables whose logarithm is standardised."""
        return self.columns.logged

    @property
    def lookback(self) -> int:
        """Steps that a forecast needs: the history, or a season if that is longer."""
        return max(self.history, self.season)

    @property
    def features(self) -> int:
        """F, the number of features of a history step: measured, calendar, indicators."""
        numbers = len(self.columns.numbers)
        return numbers + 2 * len(self.calendar) + (numbers if self.indicators else 0)

    @property
    def known(self) -> int:
        """K, the number of features of a future step: known covariates, calendar."""
        return len(self.columns.known_numbers) + 2 * len(self.calendar)

    @property
    def season_steps(self) -> NDArray[np.int64]:
        """Steps from o to the last value of the same season before it, for each future step, `<int64>[P]`, below 0."""
        season, step = max(self.season, 1), np.arange(self.horizon)
        return step - season * (step // season + 1)

    def facts(self) -> dict[str, Any]:
        """Returns the plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Plan:
        """Returns the plan of `facts`; those of older models have `logged` beside the columns."""
        rest: dict[str, Any] = _with_tuples(facts)
        columns: dict[str, Any] = _with_tuples(rest.pop("columns"))
        logged: tuple[str, ...] = rest.pop("logged", ())
        return cls(columns=Columns(**{"logged": logged, **columns}), **rest)


def _with_tuples(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}


def category(column: str) -> str:
    """Returns the name of the `Labels` resource of a column."""
    return f"category-{column}"
