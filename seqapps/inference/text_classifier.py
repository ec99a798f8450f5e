"""Text classification as graph operations: the serving graphs of the SavedModel."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from seqapps.calls import MOST_BYTES
from seqapps.inference._served import TEXTS, Bounds, ServedModule, answering, traced, widest
from seqapps.metrics.classification import THRESHOLD
from seqapps.preprocessing.labels import Labels
from seqapps.preprocessing.shortening import Kept, closed, shorten
from seqapps.preprocessing.tokenizers import Tokenizer
from seqapps.preprocessing.vocabulary import PAD

_TOKEN = 10
"""Memory of a token during tokenisation, in numbers."""
_LONG, _LONG_CELLS = 1 << 17, 1 << 21
"""Bounds of truncated texts, of which the model reads only a part."""


def _cells(classifier: TextClassifier, settings: Any, longest: Any) -> Any:
    """Returns the values of a row: its tokens after truncation, in the widest layer."""
    steps = longest if not classifier._longest else tf.minimum(longest, classifier._longest)
    return tf.maximum((steps + 1) * widest(classifier.model), _TOKEN * longest)


class TextClassifier(ServedModule):
    """A classifier of raw text.

    Invalid UTF-8 is read as U+FFFD. The result of a row does not depend on the other rows in the batch.

    Args:
        model: from `tokens <int32>[B, T]` to `logits <float>[B, C]`, and `attention <float32>[B, T]` if it has any.
        tokenizer: text to ids.
        labels: the classes, in the order of the logits.
        max_length, kept: truncation of long texts; see `seqapps.preprocessing.shortening`.
        multi_label: whether a text has any number of labels instead of exactly one.
    """

    def __init__(  # noqa: PLR0913 - a model, its two vocabularies and what the data section says
        self,
        model: keras.Model,
        tokenizer: Tokenizer,
        labels: Labels,
        *,
        max_length: int,
        kept: Kept,
        multi_label: bool,
    ) -> None:
        super().__init__(name="text_classifier")
        self.model, self.tokenizer = model, tokenizer
        self._names = tf.constant(labels.names)
        self._longest, self._kept, self._multi = max_length, kept, multi_label
        if 0 < max_length <= MOST_BYTES:
            self.most_bytes, self.most_cells = _LONG, _LONG_CELLS

    def signatures(self) -> dict[str, Any]:
        """Returns the serving signatures by name: `serving_default` (`classify`), and `attention` where it has any."""
        found = {"serving_default": self.classify}
        if "attention" in self.model.output:
            found["attention"] = answering(self, self.attention, {"text": TEXTS}, Bounds(cells=_cells))
        return found

    @traced(TEXTS, cells=_cells)
    def classify(self, text: Any) -> dict[str, Any]:
        """Classifies each text.

        Args:
            text: `<string>[B]`; may be empty.

        Returns:
            `label <string>[B]` the most probable one and its `probability <float32>[B]`; `probabilities
            <float32>[B, C]` of the `labels <string>[B, C]`, the same in every row; for multi-label models also
            `predicted <bool>[B, C]`.
        """
        answer, _ = self._classify(self.ids(text))
        return answer

    def attention(self, text: Any) -> dict[str, Any]:
        """Classifies each text and returns the weight of each token. For models with attention pooling only.

        Returns:
            The outputs of `classify`, `tokens <string>[B, T]` as written in the text ("" on padding) and their `weights
            <float32>[B, T]`, which sum to 1; the last one is `<eos>`.
        """
        ids = self.ids(text)
        answer, outputs = self._classify(ids)
        return {**answer, "tokens": self._tokens(text, ids), "weights": tf.cast(outputs["attention"], tf.float32)}

    def ids(self, text: Any) -> Any:
        """Returns ids, truncated and terminated as in the prepared data. `<string>[B]` to ragged `<int32>[B, None]`."""
        return closed(shorten(self.tokenizer.encode(text), self._longest, self._kept))

    def _classify(self, ids: Any) -> tuple[dict[str, Any], Any]:
        outputs = self.model({"tokens": ids.to_tensor(PAD)}, training=False)
        probabilities = probabilities_of(outputs["logits"], multi_label=self._multi)
        best = tf.argmax(probabilities, axis=1)
        answer = {
            "label": tf.gather(self._names, best),
            "probability": tf.reduce_max(probabilities, axis=1),
            "probabilities": probabilities,
            "labels": tf.repeat(self._names[None, :], tf.shape(best)[0], axis=0),
        }
        if self._multi:
            answer["predicted"] = probabilities > THRESHOLD
        return answer, outputs

    def _tokens(self, text: Any, ids: Any) -> Any:
        """Returns the tokens as `<string>[B, T]`: unknown words as written in the text."""
        if self.tokenizer.config.level == "subword":
            return ids.with_flat_values(self.tokenizer.written(ids.flat_values)).to_tensor("")
        tokens = shorten(self.tokenizer.split(text), self._longest, self._kept)
        return tf.concat([tokens, tf.fill([tokens.nrows(), 1], "<eos>")], axis=1).to_tensor("")


def probabilities_of(logits: Any, *, multi_label: bool) -> Any:
    """Returns the softmax or, for multi-label models, the sigmoid. `<float>[B, C] -> <float32>[B, C]`."""
    logits = tf.cast(logits, tf.float32)
    return tf.sigmoid(logits) if multi_label else tf.nn.softmax(logits)
