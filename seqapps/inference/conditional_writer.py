"""Conditional text generation and scoring, as graph operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.calls import DRAWING, Settings
from seqapps.dataset.ragged import Ragged
from seqapps.inference._served import ERROR, TEXTS, Bounds, answering, plain, whole
from seqapps.inference.choosing import Sampling, keys_of
from seqapps.inference.text_generator import TextDecoder, cells_of_a_row
from seqapps.preprocessing.checkers import judged
from seqapps.preprocessing.tokenizers import Tokenizer
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD

_SHOWN = 20
_ROWS = 128
"""Number of texts that are sampled in one batch."""


class ConditionalWriter(TextDecoder):
    """A conditional model from conditions to texts.

    Args:
        begin: from the condition to the initial states.
        step: stateful model; see `TextDecoder`.
        tokenizer: text to ids and back.
        labels: their names, in order; empty for a vector.
        means, deviations: of a vector's elements, for standardisation; empty for a label.
    """

    def __init__(  # noqa: PLR0913
        self,
        begin: keras.Model,
        step: keras.Model,
        tokenizer: Tokenizer,
        *,
        labels: tuple[str, ...] = (),
        means: tuple[float, ...] = (),
        deviations: tuple[float, ...] = (),
    ) -> None:
        super().__init__(step, tokenizer, start=BEGIN)
        self.begin, self.labels = begin, labels
        self._means, self._deviations = tf.constant(means, tf.float32), tf.constant(deviations, tf.float32)
        if labels:
            values = tf.range(len(labels), dtype=tf.int32)
            table = tf.lookup.KeyValueTensorInitializer(tf.constant(labels), values)
            self._places = tf.lookup.StaticHashTable(table, default_value=-1)

    @property
    def condition(self) -> Any:
        """The type of a condition: `<string>[B]` or `<float32>[B, F]`."""
        if self.labels:
            return tf.TensorSpec([None], tf.string, "condition")
        return tf.TensorSpec([None, self._means.shape[0]], tf.float32, "condition")

    def facts(self) -> dict[str, Any]:
        """Returns `conditions`, the labels (none for a vector), and `size`, that of a vector (0 for a label)."""
        return {"conditions": list(self.labels), "size": int(self._means.shape[0])}

    def signatures(self) -> dict[str, Any]:
        """Returns the serving signatures by name: `serving_default` and, with its settings, `generate`; `score`."""
        return {"serving_default": plain(self.graph, DRAWING), "generate": self.graph, "score": self.scoring}

    def full(self) -> dict[str, tuple[str, Settings]]:
        return {"generate": ("serving_default", DRAWING)}

    @cached_property
    def graph(self) -> Any:
        """The graph of `generate`; its inputs depend on the type of the condition."""
        bounds = Bounds(DRAWING, product=(("max_length",), ("count",)), cells=cells_of_a_row)
        return answering(self, self.generate, {"condition": self.condition}, bounds)

    @cached_property
    def scoring(self) -> Any:
        """The graph of `score`."""
        return answering(self, self.score, {"condition": self.condition, "text": TEXTS}, Bounds(cells=cells_of_a_row))

    def generate(  # noqa: PLR0913, PLR0917 - the inputs of a signature
        self, condition: Any, max_length: Any, temperature: Any, top_k: Any, seed: Any, count: Any
    ) -> dict[str, Any]:
        """Generates `count` texts for each condition, token by token, until `<eos>` or the limit.

        A text's random numbers depend only on its row's seed, its index in the row and the step.

        Args:
            condition: `<string>[B]` or `<float32>[B, F]`.
            max_length: `<int64>[B]`, maximum number of tokens, `<eos>` included.
            temperature: `<float32>[B]`, divides the logits; 0: the most probable token.
            top_k: `<int64>[B]`, samples among the k most probable tokens; 0 samples among all.
            seed: `<int64>[B]`.
            count: `<int64>[B]`.

        Returns:
            `texts <string>[B, count]`; `length <int32>[B, count]` tokens, `<eos>` included; `ended <bool>[B, count]`
            whether the text ends with `<eos>`; `nats <float32>[B, count]` their -log p given the condition
            (temperature 1, all tokens). Padded with "" and 0 where another row requests more texts.
        """
        begin, error = self._begin(condition)
        count = whole(count)
        most = tf.reduce_max(count)
        states = {name: tf.repeat(state, most, axis=0) for name, state in begin.items()}
        shape = tf.stack([tf.shape(condition)[0], most])
        asked = tf.range(most) < count[:, None]
        keys = tf.reshape(keys_of(seed[:, None], tf.range(most)), [-1])
        sampling = Sampling(tf.repeat(temperature, most), tf.repeat(whole(top_k), most), keys)
        longest = tf.where(asked, whole(max_length)[:, None], 0)
        first = tf.fill([shape[0] * most], BEGIN)
        written, nats = self._write(states, first, tf.reshape(longest, [-1]), sampling)
        length = tf.math.count_nonzero(written, axis=1, dtype=tf.int32)
        text = self.tokenizer.decode(tf.RaggedTensor.from_tensor(written, padding=PAD))
        ended = tf.reduce_any(written == END, axis=1)
        outputs = {"texts": text, "length": length, "ended": ended, "nats": nats}
        return {**{name: tf.reshape(value, shape) for name, value in outputs.items()}, ERROR: error}

    def score(self, condition: Any, text: Any) -> dict[str, Any]:
        """Scores each text given its condition; the outputs are those of `TextGenerator.score`."""
        states, error = self._begin(condition)
        return {**self._scored(text, states), ERROR: error}

    def write(self, condition: Any, *, length: int, temperature: float, seed: int) -> list[str]:
        """Returns one text for each condition, for display."""
        rows = np.arange(len(condition))
        found = self.graph(
            condition=tf.constant(condition, self.condition.dtype),
            max_length=tf.constant(length + 0 * rows),
            temperature=tf.constant(np.full(len(rows), temperature, np.float32)),
            top_k=tf.constant(0 * rows),
            seed=tf.constant(seed + rows),
            count=tf.constant(1 + 0 * rows),
        )
        return [text.decode("utf-8", errors="replace") for text in found["texts"].numpy()[:, 0]]

    def draw(self, given: Mapping[str, NDArray[Any]], *, length: int, seed: int) -> list[list[int]]:
        """Returns the ids of a text for each row, sampled at temperature 1, up to and without `<eos>`.

        Args:
            given: the condition as the model's input, by name: `[rows, ...]`.
            length: maximum number of tokens of a text.
            seed: equal seeds give equal texts.
        """
        spec = {name: tf.TensorSpec([None, *values.shape[1:]], values.dtype) for name, values in given.items()}

        @tf.function(input_signature=[spec, tf.TensorSpec([], tf.int64)], autograph=False)  # type: ignore[untyped-decorator]
        def write(part: Any, seed: Any) -> Any:
            states = dict(self.begin(part, training=False))
            rows = tf.shape(next(iter(part.values())))[0]
            keys = keys_of(tf.fill([rows], seed), tf.range(rows))
            sampling = Sampling(tf.ones([rows]), tf.zeros([rows], tf.int32), keys)
            return self._write(states, tf.fill([rows], BEGIN), tf.fill([rows], length), sampling)[0]

        texts: list[list[int]] = []
        for low in range(0, len(next(iter(given.values()))), _ROWS):
            part = {name: tf.constant(values[low : low + _ROWS]) for name, values in given.items()}
            written = write(part, tf.constant(seed + low, tf.int64)).numpy()
            texts += [row[(row != PAD) & (row != END)].tolist() for row in written]
        return texts

    def judged(
        self,
        given: Mapping[str, NDArray[Any]],
        known: Ragged,
        is_valid: Callable[[str], bool] | None,
        *,
        length: int,
        seed: int,
    ) -> NDArray[np.float32]:
        """Returns the output of `checkers.judged` for a text sampled for each row, `<float32>[rows, 3]`.

        Args:
            given, length, seed: see `draw`.
            known: ids of the texts of the training split: other texts are novel.
            is_valid: returns whether a text is well formed; without it none is.
        """
        drawn = self.draw(given, length=length, seed=seed)
        texts = self.tokenizer.decode(tf.ragged.constant(drawn, ragged_rank=1, dtype=tf.int32)).numpy().tolist()
        seen = {tuple(known.row(row)[known.row(row) != END].tolist()) for row in range(len(known))}
        return judged(drawn, texts, seen, is_valid)

    def _begin(self, condition: Any) -> tuple[dict[str, Any], Any]:
        """Returns the initial states, and why a row has none, `<string>[B]`; "" where it has them."""
        if not self.labels:
            fine = tf.reduce_all(tf.math.is_finite(condition), axis=1)
            vector = (tf.where(fine[:, None], condition, 0.0) - self._means) / self._deviations
            error = tf.where(fine, "", "`condition` must be finite numbers. Received: another one.")
            return dict(self.begin({"vector": vector}, training=False)), error
        label = self._places.lookup(condition)
        shown = ", ".join(self.labels[:_SHOWN]) + (", ..." if len(self.labels) > _SHOWN else "")
        message = ["`condition` must be a label of the training data. Received: ", _quoted(condition)]
        error = tf.where(label < 0, tf.strings.join([*message, f". Allowed: {shown}."]), "")
        return dict(self.begin({"label": tf.maximum(label, 0)}, training=False)), error


def _quoted(text: Any) -> Any:
    valid = tf.strings.unicode_transcode(tf.strings.substr(text, 0, 100), "UTF-8", "UTF-8", errors="replace")
    return tf.strings.join(["'", valid, "'"])
