"""Configuration of tokenisation. Plain Python, so that reading a configuration does not load TensorFlow."""

from __future__ import annotations

from typing import Literal

from seqapps.config import Section
from seqapps.errors import ConfigError


class TokenizerConfig(Section):
    """How text becomes tokens.

    Args:
        level: `character` (Unicode code points), `word` or `subword` (SentencePiece, learned from the training split).
        words: `unicode` (runs of letters, marks and digits; every other visible character by itself) or `whitespace`
            (text that is already tokenised).
        normalization: Unicode form before anything else.
        lowercase: Unicode case folding.
        spacing: of `unicode` words: `kept` (a sign says by a mark, U+FFED, on which side no space stands, and white
            space other than one space between two tokens is a token; the text comes back as it was) or `dropped` (`6.2`
            and `6 . 2` have the same tokens, and come back as a guess). Characters and subwords hold their spaces, and
            `whitespace` words come back with one space between them.
    """

    level: Literal["character", "word", "subword"] = "word"
    words: Literal["unicode", "whitespace"] = "unicode"
    normalization: Literal["none", "NFC", "NFKC"] = "none"
    lowercase: bool = False
    spacing: Literal["kept", "dropped"] = "dropped"

    @property
    def keeps_spacing(self) -> bool:
        """Whether the tokens encode the spacing."""
        return self.level == "word" and self.words == "unicode" and self.spacing == "kept"


def check_subwords(level: str, vocabulary_size: int, section: str) -> None:
    """Raises if subwords have no vocabulary size to learn.

    Args:
        level: of the tokenizer.
        vocabulary_size: as configured; 0 means that none was given.
        section: of the configuration that holds both, such as `data`, for the message.

    Raises:
        ConfigError: names the key, the value received and an example.
    """
    if level == "subword" and not vocabulary_size:
        raise ConfigError(f"`{section}.vocabulary_size` must be given for subwords. Received: 0. Example: 8000.")
