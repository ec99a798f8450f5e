"""Sentence pairs: keys for splitting, a length filter, and tokenisation of both sides."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

import numpy as np

from seqapps.dataset.analysed import Analysis, Counts, PairRows, Side
from seqapps.dataset.ragged import Ragged, RawBlock
from seqapps.preprocessing.analysis import analyse_text, encode_text
from seqapps.preprocessing.tokenizer_config import TokenizerConfig
from seqapps.preprocessing.tokenizers import Tokenizer

_BETWEEN_WORDS = re.compile(r"[\W_]+")


def sentence_key(text: bytes) -> bytes:
    """Returns a key that ignores case, spaces, punctuation and Unicode form: equal for `Run!` and `run .`.

    Pairs with equal keys go into one split, so that no translation of a test sentence is seen in training.
    """
    normal = unicodedata.normalize("NFKC", text.decode("utf-8", errors="replace")).casefold()
    return (_BETWEEN_WORDS.sub(" ", normal).strip() or normal).encode()


def refusal(sides: tuple[bytes, ...], levels: tuple[str, ...], longest: int) -> str:
    """Returns the reason to refuse a pair, or an empty text.

    Args:
        sides: source and target.
        levels: the level of the tokens of each side.
        longest: most words of a side, as white space divides them (most code points for `character`); 0 takes all.
    """
    for text, level in zip(sides, levels, strict=True):
        words = text.decode("utf-8", errors="replace")
        if not words.strip():
            return "empty"
        if longest and (len(words) if level == "character" else len(words.split())) > longest:
            return "too-long"
    return ""


def analyse_pairs(raw: RawBlock, sides: Mapping[str, tuple[str, TokenizerConfig]]) -> Analysis:
    """Tokenises both sides once.

    Args:
        raw: rows with a column for each side.
        sides: column to its vocabulary and how its text is tokenised. Sides of one vocabulary are counted together.
    """
    counts: dict[str, Counts] = {}
    rows: dict[str, Side] = {}
    for side, (vocabulary, config) in sides.items():
        texts = raw.columns[side]
        (tokens, found), encoded = analyse_text(texts, config)
        rows[side] = Side(encoded, texts)
        before, seen = counts.get(vocabulary, ([], np.zeros(0, np.int64)))
        counts[vocabulary] = ([*before, *tokens], np.concatenate([seen, found]))
    return Analysis(counts, PairRows(rows["source"], rows["target"]))


def encode_pairs(rows: PairRows, tokenizers: Mapping[str, Tokenizer]) -> dict[str, Ragged]:
    """Returns for each side its token ids, closed by `<eos>` (`source_ids`), and its original text (`source`)."""
    features: dict[str, Ragged] = {}
    for side, tokenizer in tokenizers.items():
        own: Side = getattr(rows, side)
        texts = own.raw
        features[f"{side}_ids"] = encode_text(own.text, tokenizer, ends=np.ones(len(texts), np.bool_))
        features[side] = Ragged(np.array(texts, dtype=object), np.arange(len(texts) + 1, dtype=np.int64))
    return features
