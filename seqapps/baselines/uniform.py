"""The uniform distribution: the level before any training. Its bits are the logarithm of the vocabulary's size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext
from seqapps.dataset.ragged import Ragged

APPLICATIONS = ("language_model", "conditional_generation")
RANK = 0


@dataclass(frozen=True)
class Uniform:
    """p = 1 / (V - 2) for every possible token: all but `<pad>` and `<bos>`.

    Args:
        outcomes: number of possible tokens, V - 2.
    """

    outcomes: int

    @property
    def description(self) -> str:
        """What it is, in one line."""
        return f"every one of {self.outcomes:,} tokens equally likely"

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float32]:
        """Returns -log p of every token, in nats, `<float32>[tokens]`."""
        return np.full(len(examples["ids"].values), np.log(self.outcomes), np.float32)


def fit(context: BaselineContext) -> Baseline:
    """Returns the uniform distribution over the vocabulary."""
    return Uniform(context.manifest.vocabularies["text"].size - 2)
