"""Word features of a tagger (id, characters, shape), and tokenisation of raw text with offsets.

One graph for Beam, training and the SavedModel.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig, normalize, split

SHAPES = (
    ("number", r"[^\pL]*\pN[^\pL]*"),
    ("with digits", r".*\pN.*"),
    ("no letter", r"[^\pL]*"),
    ("capitals", r"[^\p{Ll}]*\p{Lu}[^\p{Ll}]*\p{Lu}[^\p{Ll}]*"),
    ("capitalised", r"[^\pL]*\p{Lu}[^\p{Lu}]*"),
    ("mixed", r".*\p{Lu}.*"),
)
"""Word shapes, each with a regular expression for the whole word; the first match counts. Shape 0 is padding, the first
one here is 1, and words that match none (lower case, scripts without case) have the last number."""
SHAPE_COUNT = len(SHAPES) + 2

_SPACES = (*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
"""The code points at which `split` splits and that belong to no word."""


def split_with_offsets(text: Any, words: str) -> tuple[Any, Any, Any, Any]:
    """Returns the words of texts as they are written, with their offsets.

    The text is not normalised first: the offsets count code points of the input.

    Args:
        text: `<string>[B]`; bytes that are not UTF-8 are read as U+FFFD.
        words: `unicode` or `whitespace`, as in `TokenizerConfig`.

    Returns:
        The text as valid UTF-8, `<string>[B]`; words, ragged `<string>[B, None]`; start and end (exclusive) of each,
        ragged `<int32>[B, None]` each.
    """
    valid = normalize(text, TokenizerConfig())
    tokens = split(valid, TokenizerConfig.model_validate({"words": words}))
    codes = tf.strings.unicode_decode(valid, "UTF-8")
    spaces = tf.reduce_any(codes.flat_values[:, None] == tf.constant(_SPACES)[None, :], axis=1)
    place = tf.ragged.range(tf.cast(codes.row_lengths(), tf.int32)).flat_values
    # The concatenated words are the text without its spaces: the n-th visible character is the same in both.
    place = tf.boolean_mask(place, ~spaces)
    lengths = tf.strings.length(tokens.flat_values, "UTF8_CHAR")
    ends = tf.cumsum(lengths)
    first, last = tf.gather(place, ends - lengths), tf.gather(place, ends - 1)
    return valid, tokens, tokens.with_flat_values(first), tokens.with_flat_values(last + 1)


def shapes_of(words: Any) -> Any:
    """Returns the shape of each word, `<string>[N] -> <int32>[N]`, from 1 on; see `SHAPES`."""
    shapes = tf.fill(tf.shape(words), len(SHAPES) + 1)
    for index, (_, expression) in reversed(list(enumerate(SHAPES, 1))):
        shapes = tf.where(tf.strings.regex_full_match(words, f"(?s){expression}"), index, shapes)
    return shapes


class WordEncoder(tf.Module):  # type: ignore[misc]
    """Words to ids, character ids and shapes.

    Args:
        words: the word vocabulary; its normalisation and lower-casing apply to each word separately.
        characters: the character vocabulary.
        longest: maximum number of characters; of a longer word the first and the last half of them are kept.
    """

    def __init__(self, words: Tokenizer, characters: Tokenizer, longest: int) -> None:
        super().__init__(name="word_encoder")
        self.words, self.characters, self.longest = words, characters, longest

    def __call__(self, words: Any) -> dict[str, Any]:
        """`<string>[N]` to `words <int32>[N]`, `characters <int32>[N, longest]` (0 after the last) and `shapes
        <int32>[N]`."""
        return {"words": self.words.lookup(words), "characters": self._characters(words), "shapes": shapes_of(words)}

    def _characters(self, words: Any) -> Any:
        ids = self.characters.encode(words)
        lengths = tf.cast(ids.row_lengths(), tf.int32)[:, None]
        places = tf.range(self.longest)[None, :]
        behind = (places >= self.longest - self.longest // 2) & (lengths > self.longest)
        places = tf.where(behind, places + lengths - self.longest, places)
        real = places < lengths
        index = tf.cast(ids.row_starts(), tf.int32)[:, None] + places
        # One extra value at the end, so that gathering works when no word has a character.
        values = tf.concat([ids.flat_values, [0]], axis=0)
        return tf.where(real, tf.gather(values, tf.where(real, index, 0)), 0)
