"""Word unigrams: words ranked by their frequency in the training split, independent of context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext
from seqapps.dataset.ragged import Ragged
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD, SPECIALS

APPLICATIONS = ("masked_word",)
RANK = 10


@dataclass(frozen=True)
class UnigramWord:
    """Relative frequency with add-one smoothing: p(w) = (count(w) + 1) / (words + V - 3).

    Args:
        log_p: of each token, `<float64>[V]`; minus infinity for `<pad>`, `<bos>` and `<eos>`, which are never blanks.
    """

    log_p: NDArray[np.float64]

    description = "relative frequency of the word, add-one smoothing"

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float32]:
        """Returns nats, rank and best word of every word, `<float32>[words, 3]`."""
        words = self.log_p[len(SPECIALS) :]
        order = np.argsort(-words, kind="stable")
        ranks = np.full(len(self.log_p), len(self.log_p))
        ranks[len(SPECIALS) + order] = np.arange(1, len(order) + 1)
        best = np.full(len(self.log_p), len(SPECIALS) + order[0])
        ids = examples["ids"].values
        return np.stack([-self.log_p[ids], ranks[ids], best[ids]], axis=1).astype(np.float32)


def fit(context: BaselineContext) -> Baseline:
    """Returns the frequencies of the training split."""
    size = context.manifest.vocabularies["text"].size
    counts = np.bincount(context.examples("train")["ids"].values, minlength=size) + 1.0
    counts[[PAD, BEGIN, END]] = 0.0
    with np.errstate(divide="ignore"):
        return UnigramWord(np.log(counts / counts.sum()))
