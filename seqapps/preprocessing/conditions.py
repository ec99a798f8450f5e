"""What a text is written for: a label, or numbers. How each is refused, counted, learned, encoded and given to a model.

A condition is learned as the resource of its own name (`label`, `vector`), and reaches the model as its input of that
name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from seqapps.dataset.ragged import Analysis, Ragged
from seqapps.dataset.schema import Feature
from seqapps.preprocessing.analysis import pack, unpack
from seqapps.preprocessing.labelling import nested
from seqapps.preprocessing.labels import Labels
from seqapps.preprocessing.resources import Resource
from seqapps.preprocessing.scaling import Scaling, moments, scaling_of
from seqapps.preprocessing.vectors import numbers_of

_LABELS_SHOWN, _VECTORS_SHOWN = 7, 3


class Condition(Protocol):
    """One kind of condition."""

    name: ClassVar[str]
    """Its raw column, its resource and the model's input."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """What it is in a prepared example."""
        ...

    def refused(self, values: Sequence[bytes]) -> dict[int, str]:
        """Returns row to the reason why its value is no condition."""
        ...

    def analyse(self, values: Sequence[bytes]) -> Analysis:
        """Returns what is counted, or summed, and the arrays that `encode` goes on with."""
        ...

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> dict[str, Resource]:
        """Returns what the counts of the training split give."""
        ...

    def scale(self, sums: Mapping[str, NDArray[np.float64]]) -> dict[str, Resource]:
        """Returns what the sums of the training split give."""
        ...

    def encode(self, arrays: Mapping[str, NDArray[Any]], resource: Any) -> dict[str, Ragged]:
        """Returns the rows of its features."""
        ...

    def given(self, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns the model's input for each row, `[rows, ...]`."""
        ...

    def typical(self, examples: Mapping[str, Ragged], resource: Any) -> list[Any]:
        """Returns a few conditions as people give them."""
        ...


@dataclass(frozen=True)
class LabelCondition:
    """A name."""

    name: ClassVar[str] = "label"
    features: ClassVar[tuple[Feature, ...]] = (
        Feature(name="condition", dtype="int64", shape=(), meaning="index of the label, -1 where it is new"),
        Feature(name="label", dtype="string", shape=(), meaning="the label, as UTF-8"),
    )

    def refused(self, values: Sequence[bytes]) -> dict[int, str]:
        """Takes every name, and no list or object of JSON."""
        return {row: f"label-is-{kind}" for row, value in enumerate(values) if (kind := nested(value))}

    def analyse(self, values: Sequence[bytes]) -> Analysis:
        """Counts names."""
        names, counts = np.unique(np.array(values, np.object_), return_counts=True)
        return Analysis({self.name: (names.tolist(), counts)}, pack("labels", list(values)))

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> dict[str, Resource]:
        """Returns the `Labels` of the training split."""
        return {self.name: Labels.from_counts(counts[self.name])}

    def scale(self, sums: Mapping[str, NDArray[np.float64]]) -> dict[str, Resource]:
        """Has nothing to scale."""
        return {}

    def encode(self, arrays: Mapping[str, NDArray[Any]], resource: Labels) -> dict[str, Ragged]:
        """Returns the index of each name, -1 where training has not seen it, and the name."""
        labels = unpack("labels", arrays)
        names = np.empty(len(labels), np.object_)
        names[:] = labels
        ones = np.arange(len(labels) + 1, dtype=np.int64)
        return {"condition": Ragged(resource.lookup(labels), ones), "label": Ragged(names, ones)}

    def given(self, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns the indices, `<int32>[rows]`."""
        return examples["condition"].values.astype(np.int32)

    def typical(self, examples: Mapping[str, Ragged], resource: Labels) -> list[Any]:
        """Returns the most frequent names."""
        order = sorted(range(resource.size), key=lambda place: -resource.counts[place])
        return [resource.names[place] for place in order[:_LABELS_SHOWN]]


@dataclass(frozen=True)
class VectorCondition:
    """Numbers, which are standardised by the training split.

    Args:
        size: how many there are.
    """

    size: int

    name: ClassVar[str] = "vector"

    @property
    def features(self) -> tuple[Feature, ...]:
        """The standardised numbers."""
        return (Feature(name=self.name, dtype="float32", shape=(self.size,), meaning="the condition, standardised"),)

    def refused(self, values: Sequence[bytes]) -> dict[int, str]:
        """Refuses what is no list of `size` finite numbers."""
        reasons = {}
        for row, numbers in enumerate(map(numbers_of, values)):
            if numbers is None or len(numbers) != self.size:
                reasons[row] = "no-vector" if numbers is None else "other-vector-size"
        return reasons

    def analyse(self, values: Sequence[bytes]) -> Analysis:
        """Sums each number, and its square, over the rows."""
        vectors = np.array([numbers_of(value) for value in values], np.float64).reshape(len(values), self.size)
        sums: dict[str, NDArray[np.float64]] = {}
        for name, column in zip(self._names, vectors.T, strict=True):
            sums |= moments(name, column)
        return Analysis({}, {self.name: vectors.astype(np.float32)}, sums)

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> dict[str, Resource]:
        """Has nothing to count."""
        return {}

    def scale(self, sums: Mapping[str, NDArray[np.float64]]) -> dict[str, Resource]:
        """Returns the `Scaling` of the training split."""
        return {self.name: scaling_of(sums, self._names, ())}

    def encode(self, arrays: Mapping[str, NDArray[Any]], resource: Scaling) -> dict[str, Ragged]:
        """Returns the standardised numbers."""
        scaled = resource.apply(arrays[self.name])
        return {self.name: Ragged(scaled.reshape(-1), np.arange(len(scaled) + 1, dtype=np.int64) * self.size)}

    def given(self, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns the standardised numbers, `<float32>[rows, size]`."""
        return examples[self.name].values.reshape(-1, self.size).astype(np.float32)

    def typical(self, examples: Mapping[str, Ragged], resource: Scaling) -> list[Any]:
        """Returns the numbers of the first rows, in original units, without what rounding adds to them."""
        numbers = resource.undo(self.given(examples)[:_VECTORS_SHOWN])
        decimals = 5 - int(np.ceil(np.log10(np.abs(numbers).max(initial=1e-30))))
        return [[round(number, decimals) for number in row] for row in numbers.tolist()]

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.size)))
