"""Pairs of sentences: which belong together in a split, and which are too long."""

from __future__ import annotations

import re
import unicodedata

_BETWEEN_WORDS = re.compile(r"[\W_]+")


def sentence_key(text: bytes) -> bytes:
    """Returns what two sentences share that differ in case, spaces, signs and Unicode form alone: `Run!` and `run .`.

    Pairs with equal keys go into one split, so that no translation of a test sentence is seen in training.
    """
    normal = unicodedata.normalize("NFKC", text.decode("utf-8", errors="replace")).casefold()
    return (_BETWEEN_WORDS.sub(" ", normal).strip() or normal).encode()


def refusal(sides: tuple[bytes, ...], units: tuple[str, ...], longest: int) -> str:
    """Returns why a pair cannot be taken, or nothing.

    Args:
        sides: source and target.
        units: the kind of unit of each side.
        longest: most words of a side, as white space divides them (most code points for `character`); 0 takes all.
    """
    for text, unit in zip(sides, units, strict=True):
        words = text.decode("utf-8", errors="replace")
        if not words.strip():
            return "empty"
        if longest and (len(words) if unit == "character" else len(words.split())) > longest:
            return "too-long"
    return ""
