"""Raw rows to tagged sentences, or to the reason for rejection; and sentences to counts, arrays and features.

A row has either tokens and a tag for each, or a text and its labelled spans.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.dataset.analysed import Analysis, DictionaryRows, TaggedRows
from seqapps.dataset.ragged import Ragged, RawBlock
from seqapps.preprocessing.labels import Labels
from seqapps.preprocessing.spans import Scheme, Span, TagSet, converted, spans_of, split_tag, tag_names, tags_of, valid
from seqapps.preprocessing.tokenizers import TokenizerConfig, normalize
from seqapps.preprocessing.word_features import WordEncoder, split_with_offsets


class Sentence(NamedTuple):
    """A row: its text, its tokens and their tags."""

    text: bytes
    tokens: list[bytes]
    tags: list[str]


@dataclass(frozen=True)
class Annotation:
    """How rows are annotated.

    Args:
        spans: whether a row has `text` and `spans`, a JSON list of `[start, end, label]` in code points, end exclusive;
            otherwise it has `tokens` and `tags`.
        lists: whether `tokens` and `tags` are JSON lists; otherwise they are separated by white space.
        words: how a text is split into tokens, `unicode` or `whitespace`.
        scheme: of the input tags.
        to: of the output tags.
    """

    spans: bool
    lists: bool
    words: str
    scheme: Scheme
    to: Scheme

    def sentences(self, raw: RawBlock) -> list[Sentence | str]:
        """Returns each row's sentence, or the reason for its rejection."""
        if self.spans:
            return self._from_spans(raw.columns["text"], raw.columns["spans"])
        return [self._from_tags(*row) for row in zip(raw.columns["tokens"], raw.columns["tags"], strict=True)]

    def _from_tags(self, tokens: bytes, tags: bytes) -> Sentence | str:
        try:
            words, names = (_list(cell) if self.lists else cell.split() for cell in (tokens, tags))
        except ValueError as error:
            return str(error)
        if not words:
            return "no-tokens"
        if len(words) != len(names):
            return "unequal-lengths"
        if not all(word.strip() for word in words):
            return "empty-token"
        given = [name.decode() for name in names]
        if any(_is_blank(name) for name in given) or not valid(given, self.scheme):
            return "bad-tag"
        return Sentence(b" ".join(words), words, converted(given, self.scheme, self.to))

    def _from_spans(self, texts: list[bytes], spans: list[bytes]) -> list[Sentence | str]:
        with tf.device("CPU:0"):
            _, tokens, starts, ends = split_with_offsets(tf.constant(texts, tf.string, shape=(len(texts),)), self.words)
        splits, words = tokens.row_splits.numpy(), tokens.flat_values.numpy()
        first, last = starts.flat_values.numpy(), ends.flat_values.numpy()
        found: list[Sentence | str] = []
        for row, text in enumerate(texts):
            part = slice(splits[row], splits[row + 1])
            try:
                within = _token_spans(_spans(spans[row]), first[part].tolist(), last[part].tolist())
            except ValueError as error:
                found.append(str(error))
                continue
            kept = words[part].tolist()
            found.append(Sentence(text, kept, tags_of(within, len(kept), self.to)) if kept else "no-tokens")
        return found


def analyse(sentences: Sequence[Sentence], config: TokenizerConfig) -> Analysis:
    """Returns the counts of words, characters and tags, and the rows from which `encode` makes features.

    Args:
        sentences: the rows of a block.
        config: how a word is normalised.
    """
    tokens = np.array([token for sentence in sentences for token in sentence.tokens], dtype=object)
    distinct, index, numbers = np.unique(tokens, return_inverse=True, return_counts=True)
    # As objects: numpy byte arrays drop trailing NULs.
    names = np.array([tag.encode() for sentence in sentences for tag in sentence.tags], dtype=object)
    tags, tag_index, tag_numbers = np.unique(names, return_inverse=True, return_counts=True)
    words: Counter[bytes] = Counter()
    characters: Counter[bytes] = Counter()
    cased = config.model_copy(update={"lowercase": False})
    with tf.device("CPU:0"):
        written = tf.constant(distinct.tolist(), tf.string, shape=distinct.shape)
        forms, letters = (normalize(written, form).numpy().tolist() for form in (config, cased))
    for form, letter_form, number in zip(forms, letters, numbers.tolist(), strict=True):
        words[form] += number
        for character in letter_form.decode():
            characters[character.encode()] += number
    splits = np.cumsum([0, *(len(sentence.tokens) for sentence in sentences)], dtype=np.int64)
    tag_list = tags.tolist()
    return Analysis(
        counts={
            "words": _as_counts(words),
            "characters": _as_counts(characters),
            "tags": (tag_list, tag_numbers.astype(np.int64)),
        },
        rows=TaggedRows(
            DictionaryRows(distinct.tolist(), index.astype(np.int32), splits),
            DictionaryRows(tag_list, tag_index.astype(np.int32), splits),
            [sentence.text for sentence in sentences],
        ),
    )


def encode(rows: TaggedRows, encoder: WordEncoder, labels: Labels, tags: TagSet) -> dict[str, Ragged]:
    """Returns the features of the rows of a block: see `SequenceTagging.schema`."""
    distinct, names = rows.tokens.strings, rows.tags.strings
    index, splits = rows.tokens.index, rows.tokens.splits
    with tf.device("CPU:0"):
        found = {name: value.numpy() for name, value in encoder(tf.constant(distinct)).items()}
    numbers = [labels.index.get(name, tags.size) for name in names]
    known = np.array(
        [tags.unseen(name.decode()) if n == tags.size else n for n, name in zip(numbers, names, strict=True)], np.int64
    )
    one = np.arange(len(splits), dtype=np.int64)
    return {
        "words": Ragged(found["words"].astype(np.int64)[index], splits),
        "characters": Ragged(found["characters"].astype(np.int64)[index], splits),
        "shapes": Ragged(found["shapes"].astype(np.int64)[index], splits),
        "tags": Ragged(known[rows.tags.index], splits),
        "tag_count": Ragged(np.full(len(one) - 1, tags.size, np.int64), one),
        "tokens": Ragged(np.array(distinct, dtype=object)[index], splits),
        "text": Ragged(np.array(rows.texts, dtype=object), one),
    }


def all_tags(counts: Mapping[bytes, int], scheme: Scheme) -> dict[bytes, int]:
    """Returns all tags that the types in `counts` can have, with their counts."""
    given = {name.decode(): count for name, count in counts.items()}
    types = given if scheme == "none" else {split_tag(name)[1] for name in given if name != "O"}
    return {name.encode(): given.get(name, 0) for name in tag_names(types, scheme)}


def marked(tokens: Sequence[str], tags: Sequence[str], scheme: Scheme) -> str:
    """Returns a tagged sentence as text: `The/DET cat/NOUN`, or `in [city New York]`."""
    if scheme == "none":
        return " ".join(f"{token}/{tag}" for token, tag in zip(tokens, tags, strict=True))
    words = list(tokens)
    for start, end, label in spans_of(tags, scheme):
        words[start] = f"[{label} {words[start]}"
        words[end - 1] += "]"
    return " ".join(words)


def _list(cell: bytes) -> list[bytes]:
    try:
        found = json.loads(cell)
        if isinstance(found, list) and all(isinstance(item, str) for item in found):
            return [item.encode() for item in found]  # raises for a lone surrogate, written as an escape
    except (ValueError, RecursionError):
        pass
    raise ValueError("unreadable-list")


def _is_blank(tag: str) -> bool:
    """Whether a tag, or the type in `prefix-type`, has no visible character."""
    return not tag.strip() or tag.partition("-")[2].isspace()


def _spans(cell: bytes) -> list[Span]:
    """Returns the spans of a row in order."""
    try:
        found = json.loads(cell)
        spans = [Span(start, end, label) for start, end, label in found]
        "".join(span.label for span in spans).encode()  # raises for a lone surrogate, written as an escape
    except (TypeError, ValueError, RecursionError):
        raise ValueError("bad-span") from None
    for span in spans:
        whole = all(type(number) is int for number in span[:2])
        if not whole or not span.label.strip() or not 0 <= span.start < span.end:
            raise ValueError("bad-span")
    return sorted(spans)


def _token_spans(spans: list[Span], starts: list[int], ends: list[int]) -> list[Span]:
    """Returns spans of characters as spans of tokens."""
    if any(one.end > other.start for one, other in pairwise(spans)):
        raise ValueError("overlapping-spans")
    first = {start: token for token, start in enumerate(starts)}
    last = {end: token for token, end in enumerate(ends)}
    if any(span.start not in first or span.end not in last for span in spans):
        raise ValueError("span-off-token-border")
    return [Span(first[span.start], last[span.end] + 1, span.label) for span in spans]


def _as_counts(counts: Mapping[bytes, int]) -> tuple[list[bytes], NDArray[np.int64]]:
    return list(counts), np.fromiter(counts.values(), np.int64, len(counts))
