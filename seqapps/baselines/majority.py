"""The majority class: predicts the class frequencies of the training split for every example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext
from seqapps.dataset.ragged import Ragged

APPLICATIONS = ("text_classification",)
RANK = 10


@dataclass(frozen=True)
class Majority:
    """The same probabilities for every row.

    Args:
        shares: share of the training rows that have each label, `<float32>[C]`.
    """

    shares: NDArray[np.float32]

    description = "the most frequent class, with the classes' shares of the training rows as probabilities"

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float32]:
        """Returns the shares for every row, `<float32>[N, C]`."""
        return np.tile(self.shares, (len(examples["labels"]), 1))


def fit(context: BaselineContext) -> Baseline:
    """Returns the shares of the training split."""
    classes, labels = context.manifest.vocabularies["label"].size, context.examples("train")["labels"]
    counts = np.bincount(labels.values, minlength=classes)
    return Majority((counts / len(labels)).astype(np.float32))
