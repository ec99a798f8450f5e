"""The labels of a classification or the tags of a sequence, with their indices and counts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps import formats
from seqapps.dataset.manifest import MADE_AGAIN
from seqapps.errors import DataError

FILE_NAME = "labels.json"
UNSEEN = -1
"""Index of a label that the training split does not have."""


@dataclass(frozen=True)
class Labels:
    """Labels in the order of their indices, from 0: sorted by their bytes, so that the order is independent of counts.

    Args:
        names: the labels.
        counts: how often each occurs in the training split.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of labels."""
        return len(self.names)

    @cached_property
    def index(self) -> dict[bytes, int]:
        """UTF-8 of each label to its index."""
        return {name.encode(): number for number, name in enumerate(self.names)}

    @property
    def facts(self) -> dict[str, Any]:
        """The part stored in the manifest: names and counts in order."""
        return {"names": list(self.names), "counts": list(self.counts)}

    @classmethod
    def from_counts(cls, counts: Mapping[bytes, int]) -> Labels:
        """Returns the labels of counts.

        Raises:
            DataError: there are none.
        """
        if not counts:
            raise DataError("The training split holds no label. Received: 0 labels.")
        ordered = sorted(counts)
        return cls(tuple(name.decode() for name in ordered), tuple(counts[name] for name in ordered))

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Labels:
        """Returns the labels stored in a manifest."""
        return cls(tuple(facts["names"]), tuple(facts["counts"]))

    def lookup(self, labels: Iterable[bytes]) -> NDArray[np.int64]:
        """Returns the index of each label, `<int64>[count]`; UNSEEN where the training split has no such label."""
        get = self.index.get
        return np.fromiter((get(label, UNSEEN) for label in labels), dtype=np.int64)

    def balanced_weights(self) -> NDArray[np.float32]:
        """Returns total / (labels x count) for each label, `<float32>[labels]`: all labels have equal total weight."""
        counts = np.asarray(self.counts, np.float64)
        weights: NDArray[np.float32] = (counts.sum() / (len(counts) * np.maximum(counts, 1.0))).astype(np.float32)
        return weights

    def save(self, folder: Path) -> None:
        """Writes `labels.json` into `folder`, which is created."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(formats.stamped("labels", self.facts), ensure_ascii=False, indent=1) + "\n"
        (folder / FILE_NAME).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Labels:
        """Reads what `save` wrote; raises a DataError for what cannot be read."""
        return formats.read(folder / FILE_NAME, "labels", cls, MADE_AGAIN)
