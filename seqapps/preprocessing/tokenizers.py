"""Tokenisation and detokenisation in one TensorFlow graph that Beam, training and the SavedModel share.

Tokens: `character` (Unicode code points), `word` (tensorflow-text) and `subword` (SentencePiece). One graph serves all
stages, so that training and serving tokenise alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow_text.python.ops.sentencepiece_tokenizer import gen_sentencepiece_tokenizer

from seqapps import formats
from seqapps.dataset.manifest import MADE_AGAIN
from seqapps.errors import DataError
from seqapps.preprocessing.tokenizer_config import TokenizerConfig
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD, SPECIALS, UNKNOWN, Vocabulary

__all__ = ["FILE_NAME", "SUBWORD_FILE", "Tokenizer", "TokenizerConfig", "join", "normalize", "split"]

FILE_NAME = "tokenizer.json"
SUBWORD_FILE = "sentencepiece.model"

_OTHER_SPACE = r"[\x{0085}\x{00A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]"
"""Every non-ASCII space; where the expression does not match, it costs no more than a scan."""
_ALONE = r"([^\pL\pM\pN\pZ\s\x{0085}])"
_JOINER = "\uffed"
"""Marks the side of a token without a space. It counts as a letter, so that it is never a punctuation token, and a
marked punctuation token is neither a word nor another punctuation token."""
_SIGN = r"[^\pL\pM\pN\x{FFED}]"
"""Characters that are tokens of their own if the spacing is kept, including white space."""
_BORDER = b"\xff"
"""Does not occur in UTF-8."""


class _Pieces(tf.saved_model.experimental.TrackableResource):  # type: ignore[misc]
    """A SentencePiece model that lives as long as the process.

    tensorflow-text does not name the resource, so it belongs to a kernel that TensorFlow drops with its caches: after
    `tf.random.set_seed` the tokenizer would fail with "Resource does not exist".
    """

    def __init__(self, model: bytes) -> None:
        super().__init__()
        self._model = model
        _ = self.resource_handle  # created here, not while a function is traced

    def _create_resource(self) -> Any:
        name = f"seqapps-{hashlib.sha256(self._model).hexdigest()}"
        return gen_sentencepiece_tokenizer.sentencepiece_op(model=self._model, shared_name=name)


class Tokenizer(tf.Module):  # type: ignore[misc]
    """Text to ids and ids to text as graph operations. The vocabulary is part of the graph.

    Args:
        config: how text is tokenised.
        vocabulary: the tokens (`character`, `word`).
        model: the serialised SentencePiece model (`subword`).
    """

    def __init__(
        self, config: TokenizerConfig, vocabulary: Vocabulary | None = None, model: bytes | None = None
    ) -> None:
        super().__init__(name="tokenizer")
        self.config = config
        self.vocabulary = vocabulary
        self.model = model
        if config.level == "subword":
            if model is None:
                raise DataError("A subword tokenizer needs its SentencePiece model. Received: none.")
            self._pieces = tf_text.SentencepieceTokenizer(model, out_type=tf.int32)
            self._pieces._model_resource = _Pieces(model)
            self.size = int(self._pieces.vocab_size())
            return
        if vocabulary is None:
            raise DataError(f"A {config.level} tokenizer needs its vocabulary. Received: none.")
        self.size = len(vocabulary)
        keys = list(vocabulary.ids)
        self._ids = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, [vocabulary.ids[key] for key in keys], tf.string, tf.int32),
            default_value=UNKNOWN,
        )
        unknown = "\ufffd" if config.level == "character" else "<unk>"
        self._tokens = tf.constant(["", unknown, "", "", *vocabulary.tokens[4:]])

    @property
    def facts(self) -> dict[str, Any]:
        """The part stored in the manifest: nothing beside the size."""
        return {}

    def normalize(self, text: Any) -> Any:
        """Returns valid, normalised UTF-8. `<string>[B] -> <string>[B]`; invalid bytes become U+FFFD."""
        return normalize(text, self.config)

    def split(self, text: Any) -> Any:
        """Returns the tokens of each text as ragged `<string>[B, None]` (`character` and `word`)."""
        return split(text, self.config)

    def encode(self, text: Any) -> Any:
        """Returns ids as ragged `<int32>[B, None]`, without `<bos>` and `<eos>`."""
        if self.config.level == "subword":
            return self._pieces.tokenize(self.normalize(text))
        tokens = self.split(text)
        return tokens.with_flat_values(self._ids.lookup(tokens.flat_values))

    def lookup(self, tokens: Any) -> Any:
        """Returns the ids of text that is already tokenised, `<string>[N] -> <int32>[N]` (`character` and `word`); each
        token is normalised as a text is."""
        return self._ids.lookup(self.normalize(tokens))

    def decode(self, ids: Any) -> Any:
        """Detokenises ragged ids. `<int32>[B, None] -> <string>[B]`; special tokens are skipped."""
        flat = ids.flat_values
        keep = (flat != PAD) & (flat != BEGIN) & (flat != END)
        ids = tf.ragged.boolean_mask(ids, ids.with_flat_values(keep))
        if self.config.level == "subword":
            return self._pieces.detokenize(ids)
        return join(ids.with_flat_values(tf.gather(self._tokens, ids.flat_values)), self.config)

    def written(self, ids: Any) -> Any:
        """Returns the text form of each token, `<int32>[...] -> <string>[...]`; special tokens by name (`SPECIALS`).

        A subword's space is a space; a byte token is written as its number, `<0x0A>`. If words keep their spacing,
        punctuation has its marks.
        """
        if self.config.level == "subword":
            pieces = tf.strings.regex_replace(self._pieces.id_to_string(ids), "\u2581", " ")
            names = tf.gather(tf.constant(SPECIALS), tf.minimum(ids, len(SPECIALS) - 1))
            return tf.where(ids < len(SPECIALS), names, pieces)
        assert self.vocabulary is not None
        return tf.gather(tf.constant(self.vocabulary.tokens), ids)

    def save(self, folder: Path) -> None:
        """Writes the tokenizer into `folder`, which is created."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(formats.stamped("tokenizer", self.config.model_dump()), indent=2, sort_keys=True) + "\n"
        (folder / FILE_NAME).write_text(text, encoding="utf-8")
        if self.vocabulary is not None:
            self.vocabulary.save(folder)
        if self.model is not None:
            (folder / SUBWORD_FILE).write_bytes(self.model)

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Reads what `save` wrote.

        Raises:
            FormatError: another version of seqapps wrote it.
            DataError: the folder holds no tokenizer, or a damaged one.
        """
        try:
            config = formats.read(folder / FILE_NAME, "tokenizer", TokenizerConfig, MADE_AGAIN)
        except FileNotFoundError:
            raise DataError(f"{folder} holds no {FILE_NAME}: it is not a tokenizer folder.") from None
        if config.level == "subword":
            return cls(config, model=(folder / SUBWORD_FILE).read_bytes())
        return cls(config, vocabulary=Vocabulary.load(folder))


def normalize(text: Any, config: TokenizerConfig) -> Any:
    """Returns valid, normalised UTF-8. `<string>[B] -> <string>[B]`."""
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
    if config.normalization != "none":
        text = tf_text.normalize_utf8(text, config.normalization)
    return tf_text.case_fold_utf8(text) if config.lowercase else text


def split(text: Any, config: TokenizerConfig) -> Any:
    """Returns the tokens of each text as ragged `<string>[B, None]`, before any vocabulary exists.

    For `subword` these are the words whose counts the vocabulary is learned from.
    """
    text = normalize(text, config)
    if config.level == "character":
        return tf.strings.unicode_split(text, "UTF-8")
    if config.keeps_spacing:
        return _split_with_marks(text)
    # Seven times as fast as one `regex_split`: few characters are separate tokens, and the plain split is a scan.
    if config.level == "word" and config.words == "unicode":
        text = tf.strings.regex_replace(text, _ALONE, r" \1 ")
    return tf.strings.split(tf.strings.regex_replace(text, _OTHER_SPACE, " "))


def join(tokens: Any, config: TokenizerConfig) -> Any:
    """Detokenises ragged tokens, `<string>[B, None] -> <string>[B]` (`character` and `word`).

    `join(split(text))` is the normalised text for characters, for words that keep their spacing, and for `whitespace`
    words separated by single spaces, with none at the ends; for other words it is heuristic.
    """
    if config.level == "character":
        return tf.strings.reduce_join(tokens, axis=-1)
    if config.keeps_spacing:
        return _join_by_marks(tokens)
    text = tf.strings.reduce_join(tokens, axis=-1, separator=" ")
    return text if config.words == "whitespace" else _attach_punctuation(text)


def changed(texts: Sequence[bytes], config: TokenizerConfig) -> list[tuple[bytes, bytes]]:
    """Returns texts whose round trip is not lossless although all tokens are known, each with its result."""
    if config.level == "subword" or not texts:
        return []
    with tf.device("CPU:0"):
        normal = normalize(tf.constant(list(texts), tf.string), config)
        back = join(split(normal, config), config)
    pairs = zip(normal.numpy().tolist(), back.numpy().tolist(), strict=True)
    edges = b" " if config.words == "whitespace" else b""  # carry no information in text that is already tokenised
    return [(text, other) for text, other in pairs if text.strip(edges) != other]


def _split_with_marks(text: Any) -> Any:
    """Encodes a space between two tokens by the absence of a mark between them.

    Of two adjacent tokens without a space between them, punctuation takes the mark, not a word (so that words remain
    unchanged), and of two punctuation tokens the second one.
    """
    parts = tf.strings.split(tf.strings.regex_replace(text, f"({_SIGN})", _BORDER + b"\\1" + _BORDER), sep=_BORDER)
    parts = tf.ragged.boolean_mask(parts, parts.with_flat_values(parts.flat_values != b""))
    flat, follows, precedes = parts.flat_values, *_neighbours(parts)
    is_sign, is_space = tf.strings.regex_full_match(flat, _SIGN), flat == b" "
    # A single space between two tokens that are not spaces.
    gap = is_space & follows & precedes & ~tf.roll(is_space, 1, 0) & ~tf.roll(is_space, -1, 0)
    before = is_sign & follows & ~tf.roll(gap, 1, 0)
    after = is_sign & precedes & ~tf.roll(gap | is_sign, -1, 0)
    marked = tf.strings.join([tf.where(before, _JOINER, ""), flat, tf.where(after, _JOINER, "")])
    return tf.ragged.boolean_mask(parts.with_flat_values(marked), parts.with_flat_values(~gap))


def _join_by_marks(tokens: Any) -> Any:
    flat, follows, _ = tokens.flat_values, *_neighbours(tokens)
    before = tf.strings.regex_full_match(flat, rf"\x{{FFED}}{_SIGN}\x{{FFED}}?")
    after = tf.strings.regex_full_match(flat, rf"\x{{FFED}}?{_SIGN}\x{{FFED}}")
    bare = tf.strings.regex_replace(flat, rf"^\x{{FFED}}?({_SIGN})\x{{FFED}}?$", r"\1")
    apart = follows & ~before & ~tf.roll(after, 1, 0)
    return tf.strings.reduce_join(tokens.with_flat_values(tf.strings.join([tf.where(apart, " ", ""), bare])), axis=-1)


def _neighbours(rows: Any) -> tuple[Any, Any]:
    """Returns which values have a predecessor in their row, and which a successor, `<bool>[total]` each."""
    places = tf.range(tf.size(rows.flat_values, out_type=tf.int64))
    row = rows.value_rowids()
    return places > tf.gather(rows.row_starts(), row), places + 1 < tf.gather(rows.row_limits(), row)


def _attach_punctuation(text: Any) -> Any:
    text = tf.strings.regex_replace(text, r" ([,.;:!?%)\]}’”])", r"\1")
    text = tf.strings.regex_replace(text, r"([(\[{“]) ", r"\1")
    return tf.strings.regex_replace(text, r"(\pL) (['’]) (\pL)", r"\1\2\3")
