"""The tag that a word has most often in the training split; a word that is not there has the most frequent tag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, Ground
from seqapps.preprocessing.blocks import Ragged


@dataclass(frozen=True)
class MostFrequentTag:
    """Each word by itself, as it is written.

    Args:
        tags: word as UTF-8 to its most frequent tag; of equally frequent ones the first in the order of the tags.
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


def fit(ground: Ground) -> Baseline:
    """Returns the most frequent tags of the training split."""
    examples = ground.examples("train")
    words, index = np.unique(examples["tokens"].values, return_inverse=True)
    tags = examples["tags"].values
    counts = np.zeros((len(words), int(tags.max()) + 1), np.int32)
    np.add.at(counts, (index, tags), 1)
    best = counts.argmax(axis=1).tolist()
    return MostFrequentTag(dict(zip(words.tolist(), best, strict=True)), int(counts.sum(axis=0).argmax()))
