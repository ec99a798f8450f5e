"""Subword tokenisation with SentencePiece, trained on word counts; lossless.

Source: Kudo 2018, "Subword Regularization", https://arxiv.org/abs/1804.10959 (the unigram model); Kudo & Richardson
2018, "SentencePiece", https://arxiv.org/abs/1808.06226.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import sentencepiece
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.dataset.ragged import Ragged
from seqapps.errors import DataError
from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig, normalize
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD, UNKNOWN

_BYTES_FROM = 512
"""From this vocabulary size on, 256 byte tokens encode characters unseen in training (byte fallback)."""


def count_words(texts: list[bytes], config: TokenizerConfig) -> tuple[list[bytes], NDArray[np.int64]]:
    """Returns the words of the texts, each with the one space before it, and their counts.

    A run of further spaces counts as a word of its own, so that indentation can become one token.
    """
    text = normalize(tf.constant(texts, tf.string, shape=(len(texts),)), config)
    text = tf.strings.regex_replace(text, r"[\t\r\n\v\f]+", "\n")
    text = tf.strings.regex_replace(text, r"( *)( [^\s])", "\n\\1\n\\2")
    words, _, counts = tf.unique_with_counts(tf.strings.split(text, sep="\n").flat_values)
    kept = np.flatnonzero(words.numpy() != b"")
    return words.numpy()[kept].tolist(), counts.numpy()[kept].astype(np.int64)


def learn(counts: Mapping[bytes, int], vocabulary_size: int, min_count: int) -> bytes:
    """Returns a serialised SentencePiece model. Equal counts give equal bytes.

    No space is prepended to the text and none is removed, and line feed and tab are tokens: the pieces of a text
    concatenate to the text.

    Raises:
        DataError: no words, or a vocabulary that cannot hold their characters.
    """
    words = sorted((word, count) for word, count in counts.items() if count >= min_count)
    if not words:
        raise DataError("Subwords are learned from the words of the training split. Received: none.")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(f"{word.decode()}\t{count}" for word, count in words),
            input_format="tsv",
            model_writer=model,
            vocab_size=vocabulary_size,
            hard_vocab_limit=False,
            num_threads=1,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            character_coverage=1.0,
            byte_fallback=vocabulary_size >= _BYTES_FROM,
            user_defined_symbols=["\n", "\t"],
            pad_id=PAD,
            unk_id=UNKNOWN,
            bos_id=BEGIN,
            eos_id=END,
            minloglevel=2,
        )
    except RuntimeError as error:
        needed = re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(error))
        remedy = f"at least {needed.group(1)}" if needed else "a larger one, or more text"
        raise DataError(
            f"`data.vocabulary_size` cannot hold the characters of the training split. Received: {vocabulary_size}. "
            f"Needed: {remedy}."
        ) from error
    return model.getvalue()


def encode(texts: list[bytes], tokenizer: Tokenizer) -> Ragged:
    """Returns the ids of each text, `<int64>`, without END.

    A line feed is a token of its own and no token crosses it, so a long text is encoded line by line: the ids are the
    same, and the Viterbi search is limited to a line.
    """
    lines = [text.split(b"\n") for text in texts]
    rows: list[bytes] = []
    for row in lines:
        rows += [line + b"\n" for line in row[:-1]]
        rows.append(row[-1])
    ragged = tokenizer.encode(tf.constant(rows, tf.string, shape=(len(rows),)))
    ends = np.cumsum([0, *map(len, lines)])
    splits: Any = ragged.row_splits.numpy()
    return Ragged(ragged.flat_values.numpy().astype(np.int64), splits[ends].astype(np.int64))


def coverage(counts: Mapping[bytes, int], tokenizer: Tokenizer) -> float:
    """Returns the share of known tokens in the counted words."""
    words = sorted(counts)
    pieces = encode(words, tokenizer) if words else Ragged(np.zeros(0, np.int64), np.zeros(1, np.int64))
    weights = np.repeat(np.asarray([counts[word] for word in words], np.int64), pieces.lengths)
    return 1.0 - float(weights[pieces.values == UNKNOWN].sum()) / max(int(weights.sum()), 1)
