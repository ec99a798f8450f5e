"""Unigrams: relative frequencies of the tokens in the training split, independent of context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext
from seqapps.dataset.ragged import Ragged
from seqapps.preprocessing.vocabulary import BEGIN, PAD

APPLICATIONS = ("language_model", "conditional_generation")
RANK = 10


@dataclass(frozen=True)
class Unigram:
    """Relative frequency with add-one smoothing: p(w) = (count(w) + 1) / (tokens + V - 2).

    One is added to every possible token, because `<unk>` may not occur in the training split and must not have an
    infinite cost; on any real text it changes the perplexity in the third digit at most.

    Args:
        nats: -log p of each token, `<float32>[V]`; infinite for `<pad>` and `<bos>`, which never occur.
    """

    nats: NDArray[np.float32]

    description = "relative frequency of the token, add-one smoothing"

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float32]:
        """Returns -log p of every token, in nats, `<float32>[tokens]`."""
        nats: NDArray[np.float32] = self.nats[examples["ids"].values]
        return nats


def fit(context: BaselineContext) -> Baseline:
    """Returns the frequencies of the training split."""
    size = context.manifest.vocabularies["text"].size
    counts = np.bincount(context.examples("train")["ids"].values, minlength=size) + 1.0
    counts[[PAD, BEGIN]] = 0.0
    with np.errstate(divide="ignore"):
        return Unigram(-np.log(counts / counts.sum()).astype(np.float32))
