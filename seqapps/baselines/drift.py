"""Drift: extrapolation of the line through the first and the last value of the history.

    y_{T+h} = y_T + h (y_T - y_1) / (T - 1)

Source: Hyndman & Athanasopoulos 2021, "Forecasting: Principles and Practice", sec. 5.2; here over the same history that
the model sees.
"""

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
RANK = 20


@dataclass(frozen=True)
class Drift:
    """The mean change over the history, added at every step."""

    scaling: Scaling

    description = "the line through the first and the last value of the history"

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns forecasts in original units, `<float64>[N, P, V, 1]`."""
        past = past_of(examples, self.scaling)
        slope = (past[:, -1] - past[:, 0]) / max(1, past.shape[1] - 1)
        ahead = np.arange(1, horizon_of(examples) + 1)
        forecast: NDArray[np.float64] = past[:, -1:] + ahead[None, :, None] * slope[:, None]
        return forecast[..., None]


def fit(context: BaselineContext) -> Baseline:
    """Learns nothing."""
    return Drift(targets_of(context))
