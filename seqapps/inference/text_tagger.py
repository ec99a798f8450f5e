"""Tagging with a model: of whole splits, and of raw text in the SavedModel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.batching.buckets import Buckets
from seqapps.dataset.ragged import Ragged
from seqapps.inference._served import TEXTS, ServedModule, traced, widest
from seqapps.layers.crf import log_partition, negative_log_likelihood, viterbi
from seqapps.optimization.losses import cross_entropy
from seqapps.preprocessing.spans import TagSet, type_names
from seqapps.preprocessing.word_features import WordEncoder, split_with_offsets

_STEPS = 4096
"""Words x rows of one call in tagging a whole split."""


def tag_losses(outputs: Mapping[str, Any], tags: Any) -> Any:
    """Returns -log p of each tag (softmax), or that of the row divided among its tags (CRF), `<float32>[B, T]`."""
    if "transitions" in outputs:
        return negative_log_likelihood(outputs["logits"], tags, outputs["mask"], outputs["transitions"][0])
    return cross_entropy(outputs["logits"], tags)


def best_tags(outputs: Mapping[str, Any], mask: Any) -> tuple[Any, Any]:
    """Returns the most probable tags, `<int32>[B, T]` (0 on padding), and their log p, `<float32>[B]`.

    Args:
        outputs: of the model; with `transitions` the tags of a row are decoded jointly.
        mask: `<bool>[B, T]`.
    """
    logits = tf.cast(outputs["logits"], tf.float32)
    if "transitions" in outputs:
        tags, score = viterbi(logits, mask, outputs["transitions"][0])
        return tags, score - log_partition(logits, mask, outputs["transitions"][0])
    tags = tf.where(mask, tf.argmax(logits, axis=-1, output_type=tf.int32), 0)
    nats = tf.reduce_max(tf.nn.log_softmax(logits), axis=-1)
    return tags, tf.reduce_sum(tf.where(mask, nats, 0.0), axis=1)


class SplitTagger:
    """Tags whole splits with a model, in one graph that is cached across calls.

    Args:
        model: the tagger.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self._names = [tensor.name for tensor in model.inputs]
        specs = {tensor.name: tf.TensorSpec(tensor.shape, tf.int32) for tensor in model.inputs}
        self._graph = tf.function(self._tag, input_signature=[specs], autograph=False)

    def __call__(self, examples: Mapping[str, Ragged]) -> NDArray[np.int32]:
        """Returns the tag of every token of all rows, `<int32>[tokens]`."""
        columns = {name: examples[name] for name in self._names}
        splits, lengths = columns["words"].splits, columns["words"].lengths
        found = np.zeros(int(splits[-1]), np.int32)
        buckets = Buckets(lengths, batch_size=1, token_budget=_STEPS, seed=0, shuffle=False)
        for rows in buckets.order(0):
            real = np.arange(lengths[rows].max()) < lengths[rows][:, None]
            x = {name: _dense(column.take(rows).values, real) for name, column in columns.items()}
            if "characters" in x:
                x["characters"] = x["characters"][:, :, : longest_word(x["characters"])]
            places = splits[rows][:, None] + np.arange(real.shape[1])
            found[places[real]] = self._graph(x).numpy()[real]
        return found

    def _tag(self, x: Mapping[str, Any]) -> Any:
        return best_tags(self.model(x, training=False), tf.not_equal(x["words"], 0))[0]


def longest_word(characters: NDArray[Any]) -> int:
    """Returns the maximum number of characters of a word, at least 1, of `<int>[..., C]` padded with 0."""
    used = characters.reshape(-1, characters.shape[-1]).any(axis=0)
    return max(1, int(used.sum()))


def _cells(tagger: TextTagger, settings: Any, longest: Any) -> Any:
    """Returns the values of a row: its words in the widest layer, and the characters of its words."""
    return longest * (widest(tagger.model) + tagger.encoder.longest)


class TextTagger(ServedModule):
    """A tagger of raw text.

    Args:
        model: the tagger.
        encoder: words to ids.
        names: the tags, in order.
        tags: their scheme.
        words: how raw text is split into words, `unicode` or `whitespace`.
    """

    most_bytes, most_cells = 1 << 13, 1 << 18  # the model reads a whole text at once, in both directions

    def __init__(
        self, model: keras.Model, encoder: WordEncoder, names: Sequence[str], tags: TagSet, *, words: str
    ) -> None:
        super().__init__(name="text_tagger")
        self.model, self.encoder, self._cut = model, encoder, words
        self._inputs = [tensor.name for tensor in model.inputs]
        self._names, self._tags = tf.constant(list(names)), tags
        self._types = tf.constant(type_names(list(names), tags.scheme))

    def signatures(self) -> dict[str, Any]:
        """Returns the serving signatures by name: `serving_default` (`tag_text`) and `tag_tokens`."""
        return {
            "serving_default": self.tag_text,
            "tag_tokens": self.tag_tokens,
        }

    @traced(TEXTS, cells=_cells)
    def tag_text(self, text: Any) -> dict[str, Any]:
        """Splits texts into words and tags them.

        Args:
            text: `<string>[B]`.

        Returns:
            `text <string>[B]`, as valid UTF-8; `tokens`, `tags <string>[B, T]` ("" on padding) and `starts`, `ends
            <int32>[B, T]`, the offsets of the tokens in `text`, in code points, end exclusive; `length <int32>[B]`,
            the number of tokens; `log_probability <float32>[B]` of the tags; and in a scheme of spans
            `span_labels <string>[B, S]`, `span_starts`, `span_ends <int32>[B, S]` and `span_count <int32>[B]`.
        """
        valid, tokens, starts, ends = split_with_offsets(text, self._cut)
        tags, nats = self._tag(tokens)
        answer = {"text": valid, "starts": _filled(starts, 0), "ends": _filled(ends, 0)}
        return answer | self._answer(tokens, tags, nats, answer["starts"], answer["ends"])

    @traced(tf.TensorSpec([None, None], tf.string), cells=_cells)
    def tag_tokens(self, tokens: Any) -> dict[str, Any]:
        """Tags tokenised sentences.

        Args:
            tokens: `<string>[B, T]`, "" on padding at the end.

        Returns:
            The outputs of `tag_text` without `text`, `starts` and `ends`; spans are token offsets, end exclusive.
        """
        ragged = tf.RaggedTensor.from_tensor(tf.strings.unicode_transcode(tokens, "UTF-8", "UTF-8"), padding="")
        tags, nats = self._tag(ragged)
        first = tf.range(tf.shape(tags)[1])[None, :] + tf.zeros_like(tags)
        return self._answer(ragged, tags, nats, first, first + 1)

    def _tag(self, tokens: Any) -> tuple[Any, Any]:
        """Returns the tags of ragged tokens, `<int32>[B, T]` with T at least 1, and their log p, `<float32>[B]`."""
        found = self.encoder(tokens.flat_values)
        x = {name: _filled(tokens.with_flat_values(found[name]), 0) for name in self._inputs}
        mask = tf.sequence_mask(tokens.row_lengths(), tf.shape(x["words"])[1])
        tags, nats = best_tags(self.model(x, training=False), mask)
        return tags, tf.where(tokens.row_lengths() > 0, nats, 0.0)

    def _answer(self, tokens: Any, tags: Any, nats: Any, starts: Any, ends: Any) -> dict[str, Any]:
        length = tf.cast(tokens.row_lengths(), tf.int32)
        mask = tf.sequence_mask(length, tf.shape(tags)[1])
        answer = {
            "tokens": _filled(tokens, ""),
            "tags": tf.where(mask, tf.gather(self._names, tags), ""),
            "length": length,
            "log_probability": nats,
        }
        return answer if self._tags.scheme == "none" else answer | self._spans(tags, mask, starts, ends)

    def _spans(self, tags: Any, mask: Any, starts: Any, ends: Any) -> dict[str, Any]:
        """Returns the spans of tags as in conlleval, from the start of the first token to the end of the last."""
        begins, closes = self._tags.borders()
        tags = tf.where(mask, tags, self._tags.outside)
        edge = tf.fill([tf.shape(tags)[0], 1], self._tags.outside)
        before, after = tf.concat([edge, tags[:, :-1]], axis=1), tf.concat([tags[:, 1:], edge], axis=1)
        first = tf.where(tf.gather_nd(tf.constant(begins), tf.stack([before, tags], axis=-1)))
        last = tf.where(tf.gather_nd(tf.constant(closes), tf.stack([tags, after], axis=-1)))
        known = tf.constant(self._tags.type_of[: self._tags.size], tf.int32)
        labels = tf.gather(self._types, tf.gather(known, tf.gather_nd(tags, first)))
        rows = tf.RaggedTensor.from_value_rowids(labels, first[:, 0], nrows=tf.shape(tags, tf.int64)[0])
        return {
            "span_labels": rows.to_tensor(""),
            "span_starts": rows.with_flat_values(tf.gather_nd(starts, first)).to_tensor(0),
            "span_ends": rows.with_flat_values(tf.gather_nd(ends, last)).to_tensor(0),
            "span_count": tf.cast(rows.row_lengths(), tf.int32),
        }


def _filled(ragged: Any, value: Any) -> Any:
    """Ragged `[B, None, ...]` to dense with at least one step, so that no axis is empty."""
    dense = ragged.to_tensor(value)
    missing = tf.maximum(1 - tf.shape(dense)[1], 0)
    return tf.pad(dense, [[0, 0], [0, missing], *[[0, 0]] * (dense.shape.rank - 2)], constant_values=value)


def _dense(values: NDArray[Any], real: NDArray[np.bool_]) -> NDArray[np.int32]:
    dense = np.zeros((*real.shape, *values.shape[1:]), np.int32)
    dense[real] = values
    return dense
