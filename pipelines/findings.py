"""The data findings that `prepare` reports at its end, so that mistakes are seen before a model is trained.

The passes record them per element; here they are summed, stored in the manifest (`found`) and put into words.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.pieces import Element
from pipelines.storage import Build, load_arrays, read_record, save_arrays
from seqapps.applications import Application, application_of
from seqapps.config import RunConfig
from seqapps.dataset.analysed import Counts
from seqapps.dataset.manifest import Manifest
from seqapps.dataset.ragged import RawBlock
from seqapps.preprocessing.splits import SPLITS

_SAMPLED = 100
"""Texts of a block that are decoded again from their tokens."""
_LOOKED_AT = 1_000
"""Bytes of such a text: a document can be long."""
_SHOWN_CLASSES, _SHOWN_TEXT = 20, 120


CLASSES = {"label": ("class", "classes"), "tags": ("tag", "tags")}
"""Vocabularies of which a split can lack a part, to the singular and plural name of their entries; an application has
one of them."""


class Notes:
    """Findings of the first pass about one element.

    Args:
        application: the application of the configuration.
        build: the build folder.
        stem: the element's name.
    """

    def __init__(self, application: Application, build: Build, stem: str) -> None:
        self._application, self._build, self._stem = application, build, stem
        self._first: list[tuple[str, str]] = []
        self._texts: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, list[int]] = {}
        self._labels: dict[str, set[str]] = {}

    def count(self, split: str, counts: Counts | None) -> None:
        """Adds the labels or tags of rows of a split, if the application has them."""
        if counts is not None:
            self._labels.setdefault(split, set()).update(label.decode() for label in counts[0])

    def add(self, split: str, block: RawBlock) -> None:
        """Adds rows of a split."""
        if not self._first:
            self._first = [(name, _shown(text)) for name, text in self._application.first_row(block)]
        self._put_together(block)
        if keys_count(self._application):
            digests = (
                hashlib.blake2b(key, digest_size=8).digest() for key in self._application.known_keys(block, split)
            )
            self._keys.setdefault(split, []).extend(int.from_bytes(digest, "big") for digest in digests)

    def record(self) -> dict[str, Any]:
        """Writes the large parts to files and returns the rest for the element's record."""
        if self._keys:
            arrays: dict[str, NDArray[Any]] = {}
            for split, keys in self._keys.items():
                found = np.unique(np.array(keys, np.uint64), return_counts=True)
                arrays[f"{split}.key"], arrays[f"{split}.count"] = found
            save_arrays(_keys_file(self._build, self._stem), arrays)
        labels = {split: sorted(found) for split, found in self._labels.items()}
        return {"first": self._first, "texts": self._texts, "labels": labels}

    def _put_together(self, block: RawBlock) -> None:
        from seqapps.preprocessing.tokenizers import changed

        for column, (_, tokens) in self._application.written.items():
            sample = block.columns[column][:: max(1, len(block) // _SAMPLED)]
            texts = [text[:_LOOKED_AT].decode("utf-8", "ignore").encode() for text in sample]
            found = changed(texts, tokens)
            note = self._texts.setdefault(column, {"rows": 0, "changed": 0, "example": []})
            note["rows"] += len(texts)
            note["changed"] += len(found)
            if found and not note["example"]:
                note["example"] = [_shown(text) for text in min(found, key=lambda pair: len(pair[0]))]


def keys_count(application: Application) -> bool:
    """Returns whether equal rows can be in two splits: not where rows are split by the hash of their own key, and not
    where they are split by time. Documents are split by the names of their files."""
    config = application.config
    if type(application).divide is not Application.divide:
        return bool(config.source.train)
    return config.source.rows == "document" or bool(config.source.train or config.data.split.by != "row")


def gather(application: Application, build: Build, elements: Sequence[Element]) -> dict[str, Any]:
    """Returns the findings of both passes over all elements.

    Returns:
        `first`, (column, beginning of its text) of the first row; `texts`, column to how many `rows` were decoded
        again and how many `changed`, with an `example`, and to how many of all have an `unknown` token; `missing`,
        split to the classes that it or the training split lacks; `known`, split to how many of its rows are also in
        the training split.
    """
    counted = [read_record(build.counted(element.stem))["found"] for element in elements]
    encoded = [read_record(build.encoded(element.stem))["unknown"] for element in elements]
    texts: dict[str, dict[str, Any]] = {}
    for note in counted:
        for column, one in note["texts"].items():
            total = texts.setdefault(column, {"rows": 0, "changed": 0, "example": [], "unknown": 0})
            total["rows"] += one["rows"]
            total["changed"] += one["changed"]
            total["example"] = total["example"] or one["example"]
    for unknown in encoded:
        for column, rows in unknown.items():
            texts[column]["unknown"] += rows
    found: dict[str, Any] = {"first": next((note["first"] for note in counted if note["first"]), []), "texts": texts}
    labels: dict[str, set[str]] = defaultdict(set)
    for note in counted:
        for split, names in note["labels"].items():
            labels[split].update(names)
    found["missing"] = {
        split: sorted(labels["train"] ^ names) for split, names in sorted(labels.items()) if labels["train"] ^ names
    }
    if keys_count(application):
        found["known"] = _known(build, elements)
    return found


def summary(manifest: Manifest, config: RunConfig) -> list[str]:
    """Returns the findings about a prepared folder for people, one line each."""
    lines, application = [], application_of(config)
    if first := manifest.found.get("first"):
        lines.append("first row: " + "; ".join(f"{name} = {text!r}" for name, text in first))
    for name, file in manifest.vocabularies.items():
        if "names" in file.facts and "counts" in file.facts:
            counts = dict(zip(file.facts["names"], file.facts["counts"], strict=True))
            if said := application.counted(name, counts):
                lines.append(said)
                continue
            lines.append(f"{name}: {_classes(counts)}")
            lines += [f"warning: {name}: {doubt}" for doubt in doubts(counts)]
    lines += _missing_lines(manifest)
    lines += _text_lines(manifest, application)
    lines += [f"warning: {doubt}" for doubt in application.doubts(manifest)]
    known = manifest.found.get("known", {})
    for split in SPLITS:
        if rows := known.get(split, 0):
            of = manifest.splits[split].rows
            share = f"{rows:,} of {of:,} rows of the {split} split ({rows / of:.1%})"
            lines.append(f"warning: {share} stand in the training split, too")
    if config.data.split.same:
        lines.append("warning: `data.split.same` = true: figures say how well the training data is learned by heart")
    return lines


def doubts(counts: Mapping[str, int]) -> list[str]:
    """Returns why some classes may be the same: a number in two spellings (1 and 1.0), or names that differ in case."""
    groups: dict[Any, list[str]] = defaultdict(list)
    for name in counts:
        groups[_number(name)].append(name)
    same = [names for value, names in groups.items() if value is not None and len(names) > 1]
    cases: dict[str, list[str]] = defaultdict(list)
    for name in counts:
        cases[name.casefold()].append(name)
    found = [f"{_named(names, counts)} are one number in two spellings, and two classes" for names in same]
    pairs = [names for names in cases.values() if len(names) > 1]
    return found + [f"{_named(names, counts)} differ in case alone, and are two classes" for names in pairs]


def _named(names: Iterable[str], counts: Mapping[str, int]) -> str:
    return " and ".join(f"{name!r} ({counts[name]:,})" for name in names)


def _number(name: str) -> float | None:
    try:
        return float(name) if name.strip("+-.0123456789eE") == "" else None
    except ValueError:
        return None


def _classes(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{_shown(name.encode())} {count:,}" for name, count in ordered[:_SHOWN_CLASSES])
    more = len(ordered) - _SHOWN_CLASSES
    return f"{len(ordered):,} in the training split: {shown}" + (f", and {more:,} rarer ones" if more > 0 else "")


def _missing_lines(manifest: Manifest) -> list[str]:
    """Returns which classes of the training split another split lacks, and vice versa."""
    lines = []
    vocabulary = next((name for name in CLASSES if name in manifest.vocabularies), "")
    for split, names in manifest.found.get("missing", {}).items():
        training = set(manifest.vocabularies[vocabulary].facts["names"])
        for lacking, having, of in (
            (split, "training", [name for name in names if name in training]),
            ("training", split, [name for name in names if name not in training]),
        ):
            if of:
                shown = ", ".join(repr(name) for name in of[:_SHOWN_CLASSES])
                more = f" and {len(of) - _SHOWN_CLASSES:,} more" if len(of) > _SHOWN_CLASSES else ""
                classes = f"{CLASSES[vocabulary][len(of) > 1]} {shown}{more}"
                lines.append(
                    f"warning: the {lacking} split has no row of the {classes}, which the {having} split has. Remedy: "
                    "another `data.split.seed`, larger shares of `data.split`, or more rows"
                )
    return lines


def _text_lines(manifest: Manifest, application: Application) -> list[str]:
    lines = []
    for column, note in manifest.found.get("texts", {}).items():
        if note["changed"]:
            text, back = note["example"]
            plain = application.written[column][1].words == "whitespace"
            fields = '`words` = "unicode" and `spacing` = "kept"' if plain else '`spacing` = "kept"'
            lines.append(
                f"{column}: {note['changed'] / note['rows']:.1%} of the texts do not come back from their tokens as "
                f"they were: {text!r} as {back!r}. With {fields} of its tokens they do"
            )
        if note["unknown"]:
            share = note["unknown"] / max(manifest.rows, 1)
            lines.append(f"{column}: {share:.1%} of the texts hold a token that the vocabulary lacks")
    return lines


def _known(build: Build, elements: Sequence[Element]) -> dict[str, int]:
    """Returns how many rows of validation and test have the key of a training row."""
    files = [_keys_file(build, element.stem) for element in elements]
    stored = [load_arrays(file) for file in files if file.exists()]
    train = np.unique(np.concatenate([np.zeros(0, np.uint64), *(a["train.key"] for a in stored if "train.key" in a)]))
    found = {}
    for split in SPLITS[1:]:
        parts = [arrays for arrays in stored if f"{split}.key" in arrays]
        if parts:
            hits = (arrays[f"{split}.count"][np.isin(arrays[f"{split}.key"], train)].sum() for arrays in parts)
            found[split] = int(sum(hits))
    return found


def _keys_file(build: Build, stem: str) -> Path:
    return build.work / f"{stem}.keys.npz"


def _shown(text: bytes) -> str:
    whole = text.decode("utf-8", "replace")
    return whole if len(whole) <= _SHOWN_TEXT else f"{whole[:_SHOWN_TEXT]}..."
