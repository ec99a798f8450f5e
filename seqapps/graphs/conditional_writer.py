"""Texts for a condition, as graph operations: written from it, and scored given it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.graphs.choosing import Sampling
from seqapps.graphs.text_generator import TextDecoder
from seqapps.preprocessing.blocks import Ragged
from seqapps.preprocessing.checkers import judged
from seqapps.preprocessing.tokenizers import Tokenizer
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD

_SHOWN = 20
_ROWS = 128
"""Texts that are drawn side by side."""


class ConditionalWriter(TextDecoder):
    """A conditional model that takes conditions and gives texts.

    Args:
        begin: condition to the states before the first step.
        step: carries them; see `TextDecoder`.
        tokenizer: text to ids and back.
        labels: their names, in order; empty for a vector.
        means, deviations: of a vector's numbers, which are standardised first; empty for a label.
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
        """What a condition is: `<string>[B]` or `<float32>[B, F]`."""
        if self.labels:
            return tf.TensorSpec([None], tf.string, "condition")
        return tf.TensorSpec([None, self._means.shape[0]], tf.float32, "condition")

    def signatures(self) -> dict[str, Any]:
        """Returns the serving signatures by name: `serving_default` (`generate`), `score` and `conditions`."""
        number, text = tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.string)
        sampling = (number, tf.TensorSpec([], tf.float32), number, number, number)
        graphs = {
            "serving_default": tf.function(self.generate, input_signature=[self.condition, *sampling], autograph=False),
            "score": tf.function(self.score, input_signature=[self.condition, text], autograph=False),
            "conditions": tf.function(self.conditions, input_signature=[], autograph=False),
        }
        return {name: graph.get_concrete_function() for name, graph in graphs.items()}

    def generate(  # noqa: PLR0913, PLR0917 - the inputs of a signature
        self, condition: Any, max_length: Any, temperature: Any, top_k: Any, seed: Any, count: Any
    ) -> dict[str, Any]:
        """Writes `count` texts for each condition, unit by unit, until `<eos>` or the limit.

        A text's random numbers follow from the seed, the step and its place: equal calls give equal texts, and rows
        that are appended change nothing before them.

        Args:
            condition: `<string>[B]` or `<float32>[B, F]`.
            max_length: `<int32>[]`, most units that are written, `<eos>` included.
            temperature: `<float32>[]`, divides the logits; 0 takes the most probable unit.
            top_k: `<int32>[]`, draws among the k most probable units; 0 draws among all.
            seed: `<int32>[]`.
            count: `<int32>[]`.

        Returns:
            `texts <string>[B, count]`; `length <int32>[B, count]` units, `<eos>` included; `ended <bool>[B, count]`
            whether the model ended the text by itself; `nats <float32>[B, count]` their -log p given the condition
            (temperature 1, all units).
        """
        for name, value, least in (("max_length", max_length, 1), ("top_k", top_k, 0), ("count", count, 1)):
            tf.debugging.assert_greater_equal(value, least, f"`{name}` must be at least {least}.")
        tf.debugging.assert_greater_equal(temperature, 0.0, "`temperature` must be at least 0.")
        states = {name: tf.repeat(state, count, axis=0) for name, state in self._begin(condition).items()}
        shape = tf.stack([tf.shape(condition)[0], count])
        first = tf.fill([shape[0] * count], BEGIN)
        written, nats = self._write(states, first, max_length, Sampling(temperature, top_k, seed))
        length = tf.math.count_nonzero(written, axis=1, dtype=tf.int32)
        text = self.tokenizer.decode(tf.RaggedTensor.from_tensor(written, padding=PAD))
        ended = tf.reduce_any(written == END, axis=1)
        outputs = {"texts": text, "length": length, "ended": ended, "nats": nats}
        return {name: tf.reshape(value, shape) for name, value in outputs.items()}

    def score(self, condition: Any, text: Any) -> dict[str, Any]:
        """Scores each text given its condition; the outputs are those of `TextGenerator.score`."""
        return self._scored(text, self._begin(condition))

    def conditions(self) -> dict[str, Any]:
        """Returns `names <string>[C]`, the labels (none for a vector), and `size <int32>[]`, the vector's numbers."""
        return {"names": tf.constant(self.labels, tf.string, [len(self.labels)]), "size": tf.size(self._means)}

    def write(self, condition: Any, *, length: int, temperature: float, seed: int) -> list[str]:
        """Returns one text for each condition, for people."""
        found = self.generate(
            tf.constant(condition, self.condition.dtype),
            tf.constant(length),
            tf.constant(temperature, tf.float32),
            tf.constant(0),
            tf.constant(seed),
            tf.constant(1),
        )
        return [text.decode("utf-8", errors="replace") for text in found["texts"].numpy()[:, 0]]

    def draw(self, given: Mapping[str, NDArray[Any]], *, length: int, seed: int) -> list[list[int]]:
        """Returns the ids of a text for each row, drawn at temperature 1, without `<eos>` and what follows.

        Args:
            given: the condition as the model takes it, by the name of its input: `[rows, ...]`.
            length: most units of a text.
            seed: equal seeds give equal texts.
        """
        spec = {name: tf.TensorSpec([None, *values.shape[1:]], values.dtype) for name, values in given.items()}

        @tf.function(input_signature=[spec, tf.TensorSpec([], tf.int32)], autograph=False)  # type: ignore[untyped-decorator]
        def write(part: Any, seed: Any) -> Any:
            states = dict(self.begin(part, training=False))
            first = tf.fill([tf.shape(next(iter(part.values())))[0]], BEGIN)
            return self._write(states, first, tf.constant(length), Sampling(tf.constant(1.0), tf.constant(0), seed))[0]

        texts: list[list[int]] = []
        for low in range(0, len(next(iter(given.values()))), _ROWS):
            part = {name: tf.constant(values[low : low + _ROWS]) for name, values in given.items()}
            written = write(part, tf.constant(seed + low)).numpy()
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
        """Returns what `checkers.judged` tells of a text drawn for each row, `<float32>[rows, 3]`.

        Args:
            given, length, seed: see `draw`.
            known: ids of the texts of the training split: what is not among them is novel.
            is_valid: says whether a text is well formed; without it none is.
        """
        drawn = self.draw(given, length=length, seed=seed)
        texts = self.tokenizer.decode(tf.ragged.constant(drawn, ragged_rank=1, dtype=tf.int32)).numpy().tolist()
        seen = {tuple(known.row(row)[known.row(row) != END].tolist()) for row in range(len(known))}
        return judged(drawn, texts, seen, is_valid)

    def _begin(self, condition: Any) -> dict[str, Any]:
        """Gives the states before the first step."""
        if not self.labels:
            vector = (condition - self._means) / self._deviations
            return dict(self.begin({"vector": vector}, training=False))
        label = self._places.lookup(condition)
        shown = ", ".join(self.labels[:_SHOWN]) + (", ..." if len(self.labels) > _SHOWN else "")
        with tf.control_dependencies(
            [tf.debugging.assert_non_negative(label, f"`condition` must be a label of the training data: {shown}.")]
        ):
            return dict(self.begin({"label": tf.identity(label)}, training=False))
