"""Nearest neighbour: the translation that the training split has for the most similar source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext
from seqapps.dataset.ragged import Ragged
from seqapps.metrics.translation import without_probabilities

APPLICATIONS = ("translation",)
RANK = 20

_CHUNK = 256
"""Number of rows that are compared with the training split at once."""
_TOKENS = r"\w+|[^\w\s]"


class NearestTranslation:
    """The target of the training row whose source has the largest cosine of tf-idf with the source.

    Features are unigrams and bigrams of words and punctuation; ties go to the first row. A source that shares no
    feature with the training split takes the first row.

    Args:
        sources, targets: UTF-8 of the training split.
    """

    def __init__(self, sources: NDArray[np.object_], targets: NDArray[np.object_]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(token_pattern=_TOKENS, ngram_range=(1, 2), dtype=np.float32)
        self._rows = self._vectorizer.fit_transform(_decoded(sources)).T.tocsr()
        self._targets = targets
        self.description = (
            f"target of the nearest of {len(targets):,} training sources: cosine of tf-idf, words and pairs of words"
        )

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns the nearest row's target for each source."""
        asked = self._vectorizer.transform(_decoded(examples["source"].values))
        nearest = np.zeros(asked.shape[0], np.int64)
        for low in range(0, asked.shape[0], _CHUNK):
            similar = asked[low : low + _CHUNK] @ self._rows
            nearest[low : low + _CHUNK] = np.asarray(similar.argmax(axis=1)).ravel()
        return without_probabilities(self._targets[nearest])


def _decoded(texts: NDArray[np.object_]) -> list[str]:
    return [text.decode("utf-8", errors="replace") for text in texts]


def fit(context: BaselineContext) -> Baseline:
    """Returns the training split, indexed."""
    train = context.examples("train")
    return NearestTranslation(train["source"].values, train["target"].values)
