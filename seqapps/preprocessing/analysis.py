"""Texts to counts and rows of tokens in one pass, and these to ids in a second one, without a Python object per token.

The first pass tokenises. Its result is as compact as the text: the distinct tokens of the block, and for every position
the index of its token. When the vocabulary is known, ids are a look-up of the distinct tokens alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.dataset.analysed import Counts, DictionaryRows
from seqapps.dataset.ragged import Ragged
from seqapps.errors import DataError
from seqapps.preprocessing import subwords
from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig, normalize, split
from seqapps.preprocessing.vocabulary import END, Vocabulary


def analyse_text(texts: list[bytes], config: TokenizerConfig) -> tuple[Counts, DictionaryRows]:
    """Returns how often each token occurs, and the rows from which `encode_text` makes ids.

    Args:
        texts: valid UTF-8, one per row.
        config: how text is tokenised.

    Returns:
        The distinct tokens with their counts, and the rows of tokens. For `subword` the words are counted, and the
        rows are the texts themselves, because their tokens are only known when the vocabulary is.
    """
    with tf.device("CPU:0"):
        if config.level == "subword":
            return subwords.count_words(texts, config), _whole(texts)
        take_apart = _characters if config.level == "character" else _words
        tokens, counts, index, splits = take_apart(texts, config)
    index = index.astype(np.min_scalar_type(max(len(tokens) - 1, 0)), copy=False)
    return (tokens, counts), DictionaryRows(tokens, index, splits)


def learn_tokenizer(
    counts: Mapping[bytes, int], config: TokenizerConfig, vocabulary_size: int, min_count: int
) -> Tokenizer:
    """Returns the tokenizer of the most frequent tokens, or of the subwords learned from counted words.

    Raises:
        DataError: there is nothing to learn from, or `vocabulary_size` is too small for subwords.
    """
    if config.level == "subword":
        return Tokenizer(config, model=subwords.learn(counts, vocabulary_size, min_count))
    return Tokenizer(config, vocabulary=Vocabulary.from_counts(counts, vocabulary_size, min_count))


def encode_text(rows: DictionaryRows, tokenizer: Tokenizer, *, ends: NDArray[np.bool_]) -> Ragged:
    """Returns the ids of every row, `<int64>`, closed by END where `ends` says so.

    The ids are those of `tokenizer.encode` on the same texts.
    """
    if tokenizer.config.level == "subword":
        with tf.device("CPU:0"):
            return _closed(subwords.encode(rows.strings, tokenizer), ends)
    if tokenizer.vocabulary is None:
        raise DataError(f"A {tokenizer.config.level} tokenizer needs its vocabulary. Received: none.")
    ids = tokenizer.vocabulary.lookup(rows.strings).astype(np.int64)
    return _closed(Ragged(ids[rows.index], rows.splits), ends)


def _whole(texts: list[bytes]) -> DictionaryRows:
    """Returns every text as one string of its row."""
    return DictionaryRows(texts, np.arange(len(texts)), np.arange(len(texts) + 1, dtype=np.int64))


def _words(texts: list[bytes], config: TokenizerConfig) -> tuple[list[bytes], Any, Any, Any]:
    ragged = split(tf.constant(texts, tf.string, shape=(len(texts),)), config)
    tokens, index, counts = tf.unique_with_counts(ragged.flat_values, out_idx=tf.int32)
    return tokens.numpy().tolist(), counts.numpy().astype(np.int64), index.numpy(), ragged.row_splits.numpy()


def _characters(texts: list[bytes], config: TokenizerConfig) -> tuple[list[bytes], Any, Any, Any]:
    """Code points are integers, so that distinct ones are counted without a hash table."""
    normal = normalize(tf.constant(texts, tf.string, shape=(len(texts),)), config)
    ragged = tf.strings.unicode_decode(normal, "UTF-8")
    codes = ragged.flat_values.numpy()
    histogram = np.bincount(codes, minlength=1)
    present = np.flatnonzero(histogram)
    rank = np.zeros(len(histogram), np.int32)
    rank[present] = np.arange(len(present), dtype=np.int32)
    tokens = [chr(code).encode() for code in present.tolist()]
    return tokens, histogram[present].astype(np.int64), rank[codes], ragged.row_splits.numpy()


def _closed(ids: Ragged, ends: NDArray[np.bool_]) -> Ragged:
    """Appends END to every row that ends its example."""
    splits = ids.splits + np.concatenate([np.zeros(1, np.int64), np.cumsum(ends, dtype=np.int64)])
    return Ragged(np.insert(ids.values, ids.splits[1:][ends], END), splits)
