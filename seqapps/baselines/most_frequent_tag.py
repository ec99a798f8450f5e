"""The most frequent tag of each word in the training split; unknown words take the most frequent tag overall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext
from seqapps.dataset.ragged import Ragged

APPLICATIONS = ("sequence_tagging",)
RANK = 10


@dataclass(frozen=True)
class MostFrequentTag:
    """Each word by itself, as it is written.

    Args:
        tags: word as UTF-8 to its most frequent tag; of equally frequent ones the one that came first.
        otherwise: the most frequent tag of all words.
    """

    tags: Mapping[bytes, int]
    otherwise: int

    @property
    def description(self) -> str:
        """What it is."""
        return f"most frequent tag of each of {len(self.tags):,} words as they are written, without their context"

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns the tag of every token, `<int32>[tokens]`."""
        get, words = self.tags.get, examples["tokens"].values.tolist()
        return np.fromiter((get(word, self.otherwise) for word in words), np.int32, len(words))


def fit(context: BaselineContext) -> Baseline:
    """Returns the most frequent tags of the training split."""
    examples = context.examples("train")
    words, index = np.unique(examples["tokens"].values, return_inverse=True)
    tags = examples["tags"].values.astype(np.int64)
    best = _most_frequent(index, tags)
    return MostFrequentTag(dict(zip(words.tolist(), best, strict=True)), _most_frequent(np.zeros_like(index), tags)[0])


def _most_frequent(groups: NDArray[Any], tags: NDArray[np.int64]) -> list[int]:
    """Returns the most frequent tag of each group, `<int64>[N], <int64>[N] -> [groups]`; groups count from 0."""
    size = int(tags.max()) + 1
    pairs, first, counts = np.unique(groups * size + tags, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts, pairs // size))
    _, heads = np.unique(pairs[order] // size, return_index=True)
    found: list[int] = (pairs[order][heads] % size).tolist()
    return found
