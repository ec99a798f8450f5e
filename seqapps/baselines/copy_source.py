"""Copy: the source as its own translation. The score of names, numbers and loanwords alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext
from seqapps.dataset.ragged import Ragged
from seqapps.metrics.translation import without_probabilities

APPLICATIONS = ("translation",)
RANK = 10


class CopySource:
    """Learns nothing."""

    description = "the source as it stands"

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns the source of each row."""
        return without_probabilities(examples["source"].values)


def fit(context: BaselineContext) -> Baseline:
    """Returns the baseline."""
    return CopySource()
