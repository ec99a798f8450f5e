"""Texts to counts and arrays in one pass, and arrays to ids in a second one, without a Python object per token.

The first pass tokenises. Its result is as compact as the text: the distinct tokens of the block, and for every position
the index of its token. When the vocabulary is known, ids are a look-up of the distinct tokens alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.dataset.ragged import Ragged
from seqapps.errors import DataError
from seqapps.preprocessing import subwords
from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig, normalize, split
from seqapps.preprocessing.vocabulary import END, Vocabulary

Counts = tuple[list[bytes], NDArray[np.int64]]


def analyse_text(texts: list[bytes], config: TokenizerConfig) -> tuple[Counts, dict[str, NDArray[Any]]]:
    """Returns how often each token occurs, and the arrays from which `encode_text` makes ids.

    Args:
        texts: valid UTF-8, one per row.
        config: how text is tokenised.

    Returns:
        (distinct tokens, counts `<int64>[units]`), and for `character` and `word` the arrays `units` and `unit_splits`
        (the distinct tokens, concatenated), `index <uint>[tokens]` and `splits <int64>[rows + 1]`; for `subword` the
        text itself, because its tokens are only known when the vocabulary is.
    """
    with tf.device("CPU:0"):
        if config.unit == "subword":
            return subwords.count_words(texts, config), pack("text", texts)
        take_apart = _characters if config.unit == "character" else _words
        units, counts, index, splits = take_apart(texts, config)
    index = index.astype(np.min_scalar_type(max(len(units) - 1, 0)), copy=False)
    return (units, counts), {**pack("units", units), "index": index, "splits": splits}


def learn_tokenizer(
    counts: Mapping[bytes, int], config: TokenizerConfig, vocabulary_size: int, min_count: int
) -> Tokenizer:
    """Returns the tokenizer of the most frequent tokens, or of the subwords learned from counted words.

    Raises:
        DataError: there is nothing to learn from, or `vocabulary_size` is too small for subwords.
    """
    if config.unit == "subword":
        return Tokenizer(config, model=subwords.learn(counts, vocabulary_size, min_count))
    return Tokenizer(config, vocabulary=Vocabulary.from_counts(counts, vocabulary_size, min_count))


def encode_text(arrays: Mapping[str, NDArray[Any]], tokenizer: Tokenizer, *, ends: NDArray[np.bool_]) -> Ragged:
    """Returns the ids of every row, `<int64>`, closed by END where `ends` says so.

    The ids are those of `tokenizer.encode` on the same texts.
    """
    if tokenizer.config.unit == "subword":
        with tf.device("CPU:0"):
            return _closed(subwords.encode(unpack("text", arrays), tokenizer), ends)
    if tokenizer.vocabulary is None:
        raise DataError(f"A {tokenizer.config.unit} tokenizer needs its vocabulary. Received: none.")
    ids = tokenizer.vocabulary.lookup(unpack("units", arrays)).astype(np.int64)
    return _closed(Ragged(ids[arrays["index"]], arrays["splits"]), ends)


def scoped(name: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Returns the arrays of one of several texts of a row, with names prefixed by that of the text."""
    return {f"{name}/{key}": array for key, array in arrays.items()}


def scope(name: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Inverse of `scoped`: returns the arrays of one text under their own names."""
    return {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}


def pack(name: str, rows: list[bytes]) -> dict[str, NDArray[Any]]:
    """Returns byte strings as two arrays: their concatenation, and the offset of each."""
    splits = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=splits[1:])
    return {name: np.frombuffer(b"".join(rows), np.uint8), f"{name.removesuffix('s')}_splits": splits}


def unpack(name: str, arrays: Mapping[str, NDArray[Any]]) -> list[bytes]:
    """Inverse of `pack`."""
    data, splits = arrays[name].tobytes(), arrays[f"{name.removesuffix('s')}_splits"].tolist()
    return [data[low:high] for low, high in pairwise(splits)]


def _words(texts: list[bytes], config: TokenizerConfig) -> tuple[list[bytes], Any, Any, Any]:
    ragged = split(tf.constant(texts, tf.string, shape=(len(texts),)), config)
    units, index, counts = tf.unique_with_counts(ragged.flat_values, out_idx=tf.int32)
    return units.numpy().tolist(), counts.numpy().astype(np.int64), index.numpy(), ragged.row_splits.numpy()


def _characters(texts: list[bytes], config: TokenizerConfig) -> tuple[list[bytes], Any, Any, Any]:
    """Code points are integers, so that distinct ones are counted without a hash table."""
    normal = normalize(tf.constant(texts, tf.string, shape=(len(texts),)), config)
    ragged = tf.strings.unicode_decode(normal, "UTF-8")
    codes = ragged.flat_values.numpy()
    histogram = np.bincount(codes, minlength=1)
    present = np.flatnonzero(histogram)
    rank = np.zeros(len(histogram), np.int32)
    rank[present] = np.arange(len(present), dtype=np.int32)
    units = [chr(code).encode() for code in present.tolist()]
    return units, histogram[present].astype(np.int64), rank[codes], ragged.row_splits.numpy()


def _closed(ids: Ragged, ends: NDArray[np.bool_]) -> Ragged:
    """Appends END to every row that ends its example."""
    splits = ids.splits + np.concatenate([np.zeros(1, np.int64), np.cumsum(ends, dtype=np.int64)])
    return Ragged(np.insert(ids.values, ids.splits[1:][ends], END), splits)
