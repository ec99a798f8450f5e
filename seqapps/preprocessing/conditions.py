"""Conditions of text generation, a label or a vector: validation, counting, encoding and the model's input.

A condition is learned as the resource of its own name (`label`, `vector`), which is also the name of the model's input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from seqapps.dataset.analysed import Analysis, Counts, Record, TextOfLabels, TextOfVectors, TextRows
from seqapps.dataset.ragged import Ragged
from seqapps.dataset.schema import Feature
from seqapps.preprocessing.labelling import nested
from seqapps.preprocessing.labels import Labels
from seqapps.preprocessing.resources import Resource
from seqapps.preprocessing.scaling import Scaling, moments, scaling_of
from seqapps.preprocessing.vectors import numbers_of

_LABELS_SHOWN, _VECTORS_SHOWN = 7, 3


class Condition(Protocol):
    """One kind of condition."""

    name: ClassVar[str]
    """Name of its raw column, its resource and the model's input."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """Its features in a prepared example."""
        ...

    def refused(self, values: Sequence[bytes]) -> dict[int, str]:
        """Returns the rows whose value is not a valid condition, each with the reason."""
        ...

    analysed: ClassVar[type[Record]]
    """The rows that `encode` takes."""

    def analyse(self, values: Sequence[bytes], text: TextRows, counts: Mapping[str, Counts]) -> Analysis:
        """Returns the rows of text with their conditions, and the counts with those of the conditions, or the sums."""
        ...

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> dict[str, Resource]:
        """Returns the resources learned from the counts of the training split."""
        ...

    def scale(self, sums: Mapping[str, NDArray[np.float64]]) -> dict[str, Resource]:
        """Returns the resources computed from the sums of the training split."""
        ...

    def encode(self, rows: Record, resource: Any) -> dict[str, Ragged]:
        """Returns the rows of its features."""
        ...

    def given(self, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns the model's input for each row, `[rows, ...]`."""
        ...

    def typical(self, examples: Mapping[str, Ragged], resource: Any) -> list[Any]:
        """Returns a few typical conditions, in the form that a user passes."""
        ...


@dataclass(frozen=True)
class LabelCondition:
    """A label."""

    name: ClassVar[str] = "label"
    analysed: ClassVar[type[Record]] = TextOfLabels
    features: ClassVar[tuple[Feature, ...]] = (
        Feature(name="condition", dtype="int64", shape=(), meaning="index of the label, -1 where it is new"),
        Feature(name="label", dtype="string", shape=(), meaning="the label, as UTF-8"),
    )

    def refused(self, values: Sequence[bytes]) -> dict[int, str]:
        """Accepts every name, except JSON lists and objects."""
        return {row: f"label-is-{kind}" for row, value in enumerate(values) if (kind := nested(value))}

    def analyse(self, values: Sequence[bytes], text: TextRows, counts: Mapping[str, Counts]) -> Analysis:
        """Counts names."""
        names, numbers = np.unique(np.array(values, np.object_), return_counts=True)
        rows = TextOfLabels(text.text, text.ends, list(values))
        return Analysis({**counts, self.name: (names.tolist(), numbers)}, rows)

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> dict[str, Resource]:
        """Returns the `Labels` of the training split."""
        return {self.name: Labels.from_counts(counts[self.name])}

    def scale(self, sums: Mapping[str, NDArray[np.float64]]) -> dict[str, Resource]:
        """Nothing to scale."""
        return {}

    def encode(self, rows: Record, resource: Labels) -> dict[str, Ragged]:
        """Returns the index of each name, -1 if unseen in training, and the name."""
        assert isinstance(rows, TextOfLabels)
        labels = rows.label
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
    """A vector of numbers, standardised with the training split.

    Args:
        size: dimension of the vector.
    """

    size: int

    name: ClassVar[str] = "vector"
    analysed: ClassVar[type[Record]] = TextOfVectors

    @property
    def features(self) -> tuple[Feature, ...]:
        """The standardised numbers."""
        return (Feature(name=self.name, dtype="float32", shape=(self.size,), meaning="the condition, standardised"),)

    def refused(self, values: Sequence[bytes]) -> dict[int, str]:
        """Refuses values that are not lists of `size` finite numbers."""
        reasons = {}
        for row, numbers in enumerate(map(numbers_of, values)):
            if numbers is None or len(numbers) != self.size:
                reasons[row] = "no-vector" if numbers is None else "other-vector-size"
        return reasons

    def analyse(self, values: Sequence[bytes], text: TextRows, counts: Mapping[str, Counts]) -> Analysis:
        """Sums each number, and its square, over the rows."""
        vectors = np.array([numbers_of(value) for value in values], np.float64).reshape(len(values), self.size)
        sums: dict[str, NDArray[np.float64]] = {}
        for name, column in zip(self._names, vectors.T, strict=True):
            sums |= moments(name, column)
        return Analysis(counts, TextOfVectors(text.text, text.ends, vectors.astype(np.float32)), sums)

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> dict[str, Resource]:
        """Nothing to count."""
        return {}

    def scale(self, sums: Mapping[str, NDArray[np.float64]]) -> dict[str, Resource]:
        """Returns the `Scaling` of the training split."""
        return {self.name: scaling_of(sums, self._names, ())}

    def encode(self, rows: Record, resource: Scaling) -> dict[str, Ragged]:
        """Returns the standardised numbers."""
        assert isinstance(rows, TextOfVectors)
        scaled = resource.apply(rows.vector)
        return {self.name: Ragged(scaled.reshape(-1), np.arange(len(scaled) + 1, dtype=np.int64) * self.size)}

    def given(self, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns the standardised numbers, `<float32>[rows, size]`."""
        return examples[self.name].values.reshape(-1, self.size).astype(np.float32)

    def typical(self, examples: Mapping[str, Ragged], resource: Scaling) -> list[Any]:
        """Returns the vectors of the first rows in original units, rounded to remove float32 noise."""
        numbers = resource.undo(self.given(examples)[:_VECTORS_SHOWN])
        decimals = 5 - int(np.ceil(np.log10(np.abs(numbers).max(initial=1e-30))))
        return [[round(number, decimals) for number in row] for row in numbers.tolist()]

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.size)))
