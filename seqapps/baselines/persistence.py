"""Persistence: forecasts the last value at every step. Source: Hyndman & Athanasopoulos 2021, sec. 5.2 (naive)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext
from seqapps.baselines._windows import horizon_of, past_of, targets_of
from seqapps.dataset.ragged import Ragged
from seqapps.preprocessing.scaling import Scaling

APPLICATIONS = ("time_series",)
RANK = 10


@dataclass(frozen=True)
class Persistence:
    """The last value of the history."""

    scaling: Scaling

    description = "the last value of the history, at every step"

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns forecasts in original units, `<float64>[N, P, V, 1]`."""
        last = past_of(examples, self.scaling)[:, -1:]
        return np.repeat(last, horizon_of(examples), axis=1)[..., None]


def fit(context: BaselineContext) -> Baseline:
    """Learns nothing."""
    return Persistence(targets_of(context))
