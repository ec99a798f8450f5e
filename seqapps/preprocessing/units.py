"""How text becomes units, as a section of a configuration: plain Python, so that reading one loads no TensorFlow."""

from __future__ import annotations

from typing import Literal

from seqapps.config import Section


class TokenizerConfig(Section):
    """How text becomes units.

    Args:
        unit: `character` (Unicode code points), `word` or `subword` (SentencePiece, learned from the training split).
        words: `unicode` (runs of letters, marks and digits; every other visible character by itself) or `whitespace`
            (text that is already tokenised).
        normalization: Unicode form before anything else.
        lowercase: Unicode case folding.
    """

    unit: Literal["character", "word", "subword"] = "word"
    words: Literal["unicode", "whitespace"] = "unicode"
    normalization: Literal["none", "NFC", "NFKC"] = "none"
    lowercase: bool = False
