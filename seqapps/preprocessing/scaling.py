"""Standardising: the mean and the standard deviation of each variable, from the training part alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILE_NAME = "scaling.json"


@dataclass(frozen=True)
class Scaling:
    """z = (x - mean) / deviation, variable by variable.

    Args:
        names: the variables.
        means, deviations: of each variable over the training part; a variable that never changes has deviation 1.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    @property
    def size(self) -> int:
        """How many variables there are."""
        return len(self.names)

    @property
    def facts(self) -> dict[str, Any]:
        """What a manifest keeps: all of it."""
        return {"names": list(self.names), "means": list(self.means), "deviations": list(self.deviations)}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Scaling:
        """Returns the scaling that a manifest keeps."""
        return cls(tuple(facts["names"]), tuple(facts["means"]), tuple(facts["deviations"]))

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """`<float>[..., variables]` in original units to standard ones, `<float32>`."""
        scaled = (values - np.asarray(self.means)) / np.asarray(self.deviations)
        standard: NDArray[np.float32] = scaled.astype(np.float32)
        return standard

    def undo(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """`<float>[..., variables]` in standard units to original ones, `<float64>`."""
        original: NDArray[np.float64] = values.astype(np.float64) * np.asarray(self.deviations) + np.asarray(self.means)
        return original

    def save(self, folder: Path) -> None:
        """Writes `scaling.json` into `folder`, which is created."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE_NAME).write_text(json.dumps(self.facts, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Scaling:
        """Reads what `save` wrote."""
        return cls.from_facts(json.loads((folder / FILE_NAME).read_text(encoding="utf-8")))
