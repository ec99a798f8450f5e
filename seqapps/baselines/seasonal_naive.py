"""Seasonal naive: the value one season earlier, such as that of the same month of last year.

Source: Hyndman & Athanasopoulos 2021, "Forecasting: Principles and Practice", sec. 5.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext
from seqapps.baselines._windows import rows_of, targets_of
from seqapps.config import RunConfig
from seqapps.dataset.ragged import Ragged
from seqapps.preprocessing.scaling import Scaling

APPLICATIONS = ("time_series",)
RANK = 30


def missing(config: RunConfig) -> str:
    """Returns what a configuration lacks: a season that is longer than one step."""
    season = getattr(config.data, "season", 0)
    return "" if season > 1 else f"a `data.season` of at least 2. Received: {season}. Example: 12 for months"


@dataclass(frozen=True)
class SeasonalNaive:
    """The last value of the same season before the forecast begins; the last value of all where that is missing."""

    scaling: Scaling

    description = "the value of the same season before"

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns forecasts in original units, `<float64>[N, P, V, 1]`."""
        return self.scaling.undo(rows_of(examples["seasonal"]))[..., None]


def fit(context: BaselineContext) -> Baseline:
    """Learns nothing."""
    return SeasonalNaive(targets_of(context))
