"""Counts of the training split to tokenizer folders, and the check that not too many rows were refused."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.storage import Build, read_record, temporary_beside, write_record
from seqapps.applications import Application
from seqapps.errors import DataError, RunError
from seqapps.manifest import digest_of, sha256_of
from seqapps.preprocessing import subwords
from seqapps.preprocessing.tokenizers import Tokenizer


@dataclass
class Tally:
    """What the first pass found: an accumulator, so it is changed in place.

    Args:
        counts: vocabulary name to unit to how often it occurs in the training split.
        read: rows, kept or not.
        rejected: reason to refused rows.
        elements: elements that are in it.
    """

    counts: dict[str, Counter[bytes]] = field(default_factory=dict)
    read: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    elements: int = 0

    def add(self, other: Tally) -> Tally:
        """Adds another tally and returns this one."""
        for name, counts in other.counts.items():
            self.counts.setdefault(name, Counter()).update(counts)
        self.read += other.read
        self.rejected.update(other.rejected)
        self.elements += other.elements
        return self


def learn(tally: Tally, application: Application, build: Build, elements: int) -> Path:
    """Writes the tokenizer folders and returns the path of their record.

    Raises:
        RunError: the runner lost elements on the way.
        DataError: too many rows were refused, or none is left to learn from.
    """
    if tally.elements != elements:
        raise RunError(
            f"The Beam runner lost data: {tally.elements} of {elements} elements arrived at \"Merge counts\". "
            "Use another runner, for example --runner=FnApiRunner."
        )
    check_rejects(tally, application.config.data.max_reject_fraction, build)
    if not any(sum(counts.values()) for counts in tally.counts.values()):
        raise DataError(
            f"The training split is empty: {tally.read} rows were read, {sum(tally.rejected.values())} of them rejected"
            f"{_listed(tally.rejected)}. Remedy: more rows, another `data.split`, or `data.max_row_bytes`."
        )
    if not build.learned.exists():
        tokenizers = application.learn(tally.counts)
        record = {name: _save(name, tokenizer, build, tally) for name, tokenizer in sorted(tokenizers.items())}
        write_record(build.learned, record)
    return build.learned


def check_rejects(tally: Tally, allowed: float, build: Build) -> None:
    """Raises when the share of refused rows is above `allowed`; names the reason that led."""
    rejected = tally.rejected.total()
    if rejected <= allowed * tally.read:
        return
    leading, count = min(tally.rejected.items(), key=lambda item: (-item[1], item[0]))
    raise DataError(
        f"{rejected} of {tally.read} rows were rejected, {rejected / tally.read:.2%}, above "
        f"`data.max_reject_fraction` = {allowed:g}. The reason that led: {leading} ({count}). "
        f"All{_listed(tally.rejected)}. The rows are in {build.rejects}."
    )


def _listed(rejected: Mapping[str, int]) -> str:
    ordered = sorted(rejected.items(), key=lambda item: (-item[1], item[0]))
    return ": " + ", ".join(f"{reason} {count}" for reason, count in ordered) if ordered else ""


def load_resources(build: Build) -> dict[str, Tokenizer]:
    """Returns the tokenizers that `learn` wrote."""
    return {name: Tokenizer.load(build.vocabularies / name) for name in read_record(build.learned)}


def _save(name: str, tokenizer: Tokenizer, build: Build, tally: Tally) -> dict[str, Any]:
    folder = build.vocabularies / name
    build.vocabularies.mkdir(exist_ok=True)
    temporary = temporary_beside(folder)
    tokenizer.save(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return {
        "folder": f"vocabularies/{name}",
        "size": tokenizer.size,
        "sha256": digest_of({path.name: sha256_of(path) for path in sorted(folder.iterdir())}),
        "coverage": _coverage(tally.counts.get(name, Counter()), tokenizer),
    }


def _coverage(counts: Mapping[bytes, int], tokenizer: Tokenizer) -> float:
    if tokenizer.vocabulary is None:
        return subwords.coverage(counts, tokenizer)
    ids = tokenizer.vocabulary.ids
    known = sum(count for unit, count in counts.items() if unit in ids)
    return known / max(sum(counts.values()), 1)
