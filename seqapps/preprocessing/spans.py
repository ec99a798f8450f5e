"""Tags and the spans they encode, in the schemes IOB1, BIO (also called IOB2) and BIOES. Plain numpy.

    tokens   Angela  Merkel  visits  Paris
    BIO      B-PER   I-PER   O       B-LOC
    IOB1     I-PER   I-PER   O       I-LOC      B- only where a span follows one of its own type
    BIOES    B-PER   E-PER   O       S-LOC

Spans are decoded as in conlleval (Tjong Kim Sang & Buchholz 2000, "Introduction to the CoNLL-2000 Shared Task:
Chunking"), which tolerates tags in an invalid order. It defines B, I and O; E and S end and begin spans as in later
versions of it for BIOES.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqapps.errors import DataError

Scheme = Literal["none", "IOB1", "BIO", "BIOES"]
"""`none`: every tag describes its token alone, such as a part of speech."""

O, B, E, I, S = range(5)  # noqa: E741
LETTERS = "OBEIS"
"""Letter of each prefix code."""
BLOCKS: dict[str, tuple[int, ...]] = {"none": (S,), "IOB1": (B, I), "BIO": (B, I), "BIOES": (B, E, I, S)}
"""Prefixes of each type by scheme, in the order of the tags' names."""
NO_TYPE = -1

Codes = NDArray[np.int64]


class Span(NamedTuple):
    """A labelled span from `start` up to `end` (exclusive), in tokens or characters."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Chunks:
    """The spans of many concatenated rows.

    Args:
        starts, ends: positions in the concatenation, `<int64>[spans]`; the end is exclusive.
        types: `<int64>[spans]`.
        formed: whether the tags of the span are well formed in the scheme, `<bool>[spans]`.
    """

    starts: Codes
    ends: Codes
    types: Codes
    formed: NDArray[np.bool_]


@dataclass(frozen=True)
class TagSet:
    """The tags of a scheme as integers, for a number of types.

    The tags are sorted by name, so that those of one prefix are contiguous, types in order. After them come numbers
    for the tags of types unseen in training: one for each prefix, all of one additional type.

    Args:
        scheme: see `Scheme`.
        types: number of types; for `none` the types are the tags.
    """

    scheme: Scheme
    types: int

    @property
    def size(self) -> int:
        """Number of tags of the training split, without those of an unseen type."""
        return self.types * len(BLOCKS[self.scheme]) + (self.scheme != "none")

    @classmethod
    def of_size(cls, size: int, scheme: Scheme) -> TagSet:
        """Returns the set that has `size` tags.

        Raises:
            DataError: no set of the scheme has that many.
        """
        found = cls(scheme, (size - (scheme != "none")) // len(BLOCKS[scheme]))
        if found.size != size or not found.types:
            raise DataError(f"No set of tags in the scheme {scheme} has {size} tags.")
        return found

    @property
    def prefixes(self) -> Codes:
        """Prefix code of each tag, `<int64>[size + unseen]`."""
        blocks = np.array(BLOCKS[self.scheme], np.int64)
        known = np.repeat(blocks, self.types)
        return np.concatenate([np.insert(known, self._place_of_o, O) if self.scheme != "none" else known, blocks])

    @property
    def type_of(self) -> Codes:
        """Type of each tag, `<int64>[size + unseen]`; NO_TYPE for O, `types` for tags of an unseen type."""
        blocks = len(BLOCKS[self.scheme])
        known = np.tile(np.arange(self.types), blocks)
        known = np.insert(known, self._place_of_o, NO_TYPE) if self.scheme != "none" else known
        return np.concatenate([known, np.full(blocks, self.types)])

    @property
    def outside(self) -> int:
        """Number of the tag O (not for `none`)."""
        return self._place_of_o

    @property
    def _place_of_o(self) -> int:
        return self.types * sum(LETTERS[prefix] < "O" for prefix in BLOCKS[self.scheme])

    def unseen(self, name: str) -> int:
        """Returns the number of a tag whose type does not occur in the training split."""
        prefix = S if self.scheme == "none" else split_tag(name)[0]
        return self.size + BLOCKS[self.scheme].index(prefix)

    def chunks(self, tags: NDArray[Any], splits: NDArray[np.int64]) -> Chunks:
        """Returns the spans of rows of tags.

        Args:
            tags: `<int>[total]`.
            splits: row boundaries, `<int64>[rows + 1]`.
        """
        return chunks(self.prefixes[tags], self.type_of[tags], splits, self.scheme)

    def borders(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Returns for two adjacent tags whether a span begins with the second, and whether one ends with the first,
        `<bool>[size, size]` each; O stands for the beginning and the end of a row."""
        prefixes, types = self.prefixes[: self.size], self.type_of[: self.size]
        pair = (prefixes[:, None], types[:, None], prefixes[None, :], types[None, :])
        return _begins(*pair), _ends(*pair)

    def allowed(self) -> NDArray[np.bool_]:
        """Returns the allowed transitions, `<bool>[size + 1, size + 1]`: the last row is the beginning of a sentence,
        the last column its end."""
        prefixes = np.append(self.prefixes[: self.size], O)
        types = np.append(self.type_of[: self.size], NO_TYPE)
        before, after = prefixes[:, None], prefixes[None, :]
        same = types[:, None] == types[None, :]
        found: NDArray[np.bool_] = np.ones(same.shape, np.bool_)
        if self.scheme == "BIO":
            found = (after != I) | ((before != O) & same)
        if self.scheme == "IOB1":
            found = (after != B) | ((before != O) & same)
        if self.scheme == "BIOES":
            opened, goes_on = (before == B) | (before == I), (after == I) | (after == E)
            found = np.where(opened, goes_on & same, ~goes_on)
        return found


def split_tag(name: str) -> tuple[int, str]:
    """Returns prefix code and type of a tag such as `B-LOC`; O has no type.

    Raises:
        ValueError: it is neither O nor `prefix-type` with the prefix B, I, E or S.
    """
    letter, hyphen, label = name.partition("-")
    if name == "O":
        return O, ""
    if len(letter) != 1 or letter not in "BEIS" or not hyphen or not label:
        raise ValueError("bad-tag")
    return LETTERS.index(letter), label


def tag_names(types: Iterable[str], scheme: Scheme) -> list[str]:
    """Returns all tags of the types, sorted by their bytes: the order of a TagSet."""
    ordered = sorted(types, key=str.encode)
    if scheme == "none":
        return ordered
    names = [f"{LETTERS[prefix]}-{label}" for prefix in BLOCKS[scheme] for label in ordered]
    return sorted([*names, "O"], key=str.encode)


def type_names(names: Sequence[str], scheme: Scheme) -> list[str]:
    """Returns the types of sorted tags, in order."""
    return list(names) if scheme == "none" else sorted({name[2:] for name in names if name != "O"}, key=str.encode)


def valid(tags: Sequence[str], scheme: Scheme) -> bool:
    """Returns whether the tags of a row belong to the scheme and are in a valid order."""
    if scheme == "none":
        return all(tags)
    try:
        prefixes, types, _ = _codes(tags)
    except ValueError:
        return False
    known = np.isin(prefixes, [O, *BLOCKS[scheme]]).all()
    return bool(known and chunks(prefixes, types, np.array([0, len(tags)]), scheme).formed.all())


def spans_of(tags: Sequence[str], scheme: Scheme, *, strict: bool = False) -> list[Span]:
    """Returns the token spans that the tags of a row encode.

    Args:
        tags: such as `["B-PER", "I-PER", "O"]`.
        scheme: not `none`.
        strict: leaves out spans whose tags are not well formed in the scheme.

    Raises:
        ValueError: a tag is neither O nor `prefix-type`.
    """
    prefixes, types, labels = _codes(tags)
    found = chunks(prefixes, types, np.array([0, len(tags)]), scheme)
    rows = zip(found.starts.tolist(), found.ends.tolist(), found.types.tolist(), found.formed.tolist(), strict=True)
    return [Span(start, end, labels[label]) for start, end, label, formed in rows if formed or not strict]


def tags_of(spans: Iterable[Span], length: int, scheme: Scheme) -> list[str]:
    """Returns the tags of a row of `length` tokens. The spans must be in order and must not overlap."""
    tags, before = ["O"] * length, Span(0, 0, "")
    for span in spans:
        start, end, label = span
        if scheme == "BIOES":
            tags[start:end] = [f"I-{label}"] * (end - start)
            tags[start], tags[end - 1] = f"B-{label}", f"E-{label}"
            if end - start == 1:
                tags[start] = f"S-{label}"
        else:
            tags[start:end] = [f"I-{label}"] * (end - start)
            if scheme == "BIO" or (before.end == start and before.label == label):
                tags[start] = f"B-{label}"
        before = span
    return tags


def converted(tags: Sequence[str], scheme: Scheme, to: Scheme) -> list[str]:
    """Returns the tags of a row in another scheme."""
    return list(tags) if to == scheme else tags_of(spans_of(tags, scheme), len(tags), to)


def chunks(prefixes: Codes, types: Codes, splits: NDArray[np.int64], scheme: Scheme) -> Chunks:
    """Returns the spans of concatenated rows, decoded as in conlleval.

    Args:
        prefixes, types: of each tag, `<int64>[total]`.
        splits: row boundaries, `<int64>[rows + 1]`.
        scheme: decides `formed`.
    """
    first = np.zeros(len(prefixes) + 1, np.bool_)
    first[splits] = True
    edge = np.array([O]), np.array([NO_TYPE])
    before = np.where(first[:-1], O, np.concatenate([edge[0], prefixes[:-1]]))
    before_type = np.where(first[:-1], NO_TYPE, np.concatenate([edge[1], types[:-1]]))
    after = np.where(first[1:], O, np.concatenate([prefixes[1:], edge[0]]))
    after_type = np.where(first[1:], NO_TYPE, np.concatenate([types[1:], edge[1]]))
    starts = np.flatnonzero(_begins(before, before_type, prefixes, types))
    lasts = np.flatnonzero(_ends(prefixes, types, after, after_type))
    opening, closing = prefixes[starts], prefixes[lasts]
    if scheme == "BIOES":
        formed = np.where(lasts == starts, opening == S, (opening == B) & (closing == E))
    elif scheme == "BIO":
        formed = opening == B
    elif scheme == "IOB1":
        formed = (opening == I) | ((before[starts] != O) & (before_type[starts] == types[starts]))
    else:
        formed = np.ones(len(starts), np.bool_)
    return Chunks(starts, lasts + 1, types[starts], formed)


def _begins(before: Codes, before_type: Codes, after: Codes, after_type: Codes) -> NDArray[np.bool_]:
    """Returns whether a span begins with the second of two tags (`startOfChunk` of conlleval)."""
    goes_on = ((before == B) | (before == I)) & ((after == I) | (after == E)) & (before_type == after_type)
    begins: NDArray[np.bool_] = (after != O) & ~goes_on
    return begins


def _ends(before: Codes, before_type: Codes, after: Codes, after_type: Codes) -> NDArray[np.bool_]:
    """Returns whether a span ends with the first of two tags (`endOfChunk` of conlleval)."""
    goes_on = ((before == B) | (before == I)) & ((after == I) | (after == E)) & (before_type == after_type)
    ends: NDArray[np.bool_] = (before != O) & ~goes_on
    return ends


def _codes(tags: Sequence[str]) -> tuple[Codes, Codes, list[str]]:
    """Returns prefixes and types of tags, and the types' names."""
    pairs = [split_tag(tag) for tag in tags]
    labels = sorted({label for _, label in pairs if label})
    number = {"": NO_TYPE, **{label: index for index, label in enumerate(labels)}}
    prefixes = np.array([prefix for prefix, _ in pairs], np.int64)
    return prefixes, np.array([number[label] for _, label in pairs], np.int64), labels
