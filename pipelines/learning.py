"""Vocabularies and scalings from the counts and sums of the training split, and the check of rejected rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.storage import Build, read_record, write_record
from seqapps.applications import Application
from seqapps.dataset.manifest import sha256_of_folder
from seqapps.errors import DataError, RunError
from seqapps.files import new_folder
from seqapps.preprocessing import resources, subwords
from seqapps.preprocessing.pretrained import Vectors
from seqapps.preprocessing.resources import Resource
from seqapps.preprocessing.tokenizers import Tokenizer

_REMEDIES = {
    "label-is-an-object": "; a label is one text, such as the value that `source.fields` names",
    "label-is-a-list": "; several labels of a text need `data.multi_label` = true of text_classification",
    "labels-are-no-texts": '; the labels of a text are texts: ["1", "2"], and not [1, 2]',
    "labels-are-no-list": "; with one label a text leave `data.multi_label` out, or give `data.label_separator`",
}
"""Reject reason to a remedy."""


@dataclass
class Tally:
    """Totals of the first pass: an accumulator, changed in place.

    Args:
        counts: vocabulary name to token to its frequency in the training split.
        read: rows read, kept or not.
        rejected: reason to refused rows.
        elements: elements included.
        kept: rows of the training split.
        sums: name of an element's record and its sums, which are added up in the order of the names.
    """

    counts: dict[str, Counter[bytes]] = field(default_factory=dict)
    read: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    elements: int = 0
    kept: int = 0
    sums: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def add(self, other: Tally) -> Tally:
        """Adds another tally and returns this one."""
        for name, counts in other.counts.items():
            self.counts.setdefault(name, Counter()).update(counts)
        self.read += other.read
        self.rejected.update(other.rejected)
        self.elements += other.elements
        self.kept += other.kept
        self.sums += other.sums
        return self

    def total_sums(self) -> dict[str, NDArray[np.float64]]:
        """Returns the sums of all elements. Float addition depends on the order: that of the files."""
        totals: dict[str, NDArray[np.float64]] = {}
        for _, sums in sorted(self.sums, key=lambda item: item[0]):
            for name, values in sums.items():
                totals[name] = totals.get(name, np.zeros(())) + np.asarray(values, np.float64)
        return totals


def learn(tally: Tally, application: Application, build: Build, elements: int) -> Path:
    """Writes the tokenizer folders and returns the path of their record.

    Raises:
        RunError: the runner lost elements on the way.
        DataError: too many rows were refused, or none is left.
    """
    if tally.elements != elements:
        raise RunError(
            f'The Beam runner lost data: {tally.elements} of {elements} elements arrived at "Merge counts". '
            "Use another runner, for example --runner=FnApiRunner."
        )
    check_rejects(tally, application.config.data.max_reject_fraction, build)
    if not tally.kept or (tally.counts and not any(sum(counts.values()) for counts in tally.counts.values())):
        raise DataError(
            f"The training split is empty: {tally.read} rows were read, {sum(tally.rejected.values())} of them rejected"
            f"{_listed(tally.rejected)}. Remedy: more rows, another `data.split`, or `data.max_row_bytes`."
        )
    if not build.learned.exists():
        learned = {**application.learn(tally.counts), **application.scale(tally.total_sums())}
        record = {name: _save(name, resource, build, tally) for name, resource in sorted(learned.items())}
        write_record(build.learned, record)
    return build.learned


def check_rejects(tally: Tally, allowed: float, build: Build) -> None:
    """Raises when the share of refused rows is above `allowed`; names the most frequent reason."""
    rejected = tally.rejected.total()
    if rejected <= allowed * tally.read:
        return
    leading, count = min(tally.rejected.items(), key=lambda item: (-item[1], item[0]))
    raise DataError(
        f"{rejected} of {tally.read} rows were rejected, {rejected / tally.read:.2%}, above "
        f"`data.max_reject_fraction` = {allowed:g}. The reason that led: {leading} ({count})"
        f"{_REMEDIES.get(leading, '')}. All{_listed(tally.rejected)}. The rows are in {build.rejects}."
    )


def _listed(rejected: Mapping[str, int]) -> str:
    ordered = sorted(rejected.items(), key=lambda item: (-item[1], item[0]))
    return ": " + ", ".join(f"{reason} {count}" for reason, count in ordered) if ordered else ""


def load_resources(build: Build) -> dict[str, Any]:
    """Returns the tokenizers, labels and scalings that `learn` wrote."""
    return {name: resources.load(build.vocabularies / name) for name in read_record(build.learned)}


def _save(name: str, resource: Resource, build: Build, tally: Tally) -> dict[str, Any]:
    folder = build.vocabularies / name
    with new_folder(folder) as building:  # a retry by the runner learns the same
        resource.save(building)
    return {
        "folder": f"vocabularies/{name}",
        "size": resource.size,
        "sha256": sha256_of_folder(folder),
        "coverage": _coverage(tally.counts.get(name, Counter()), resource),
        "facts": resource.facts,
        "initial": isinstance(resource, Vectors),
    }


def _coverage(counts: Mapping[bytes, int], resource: Resource) -> float:
    if isinstance(resource, Vectors):
        return resource.coverage
    if not isinstance(resource, Tokenizer):
        return 1.0
    if resource.vocabulary is None:
        return subwords.coverage(counts, resource)
    ids = resource.vocabulary.ids
    known = sum(count for token, count in counts.items() if token in ids)
    return known / max(sum(counts.values()), 1)
