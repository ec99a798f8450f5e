"""Text classification, single-label or multi-label, with probabilities. Many to one.

Sentiment, topics, question types, intents. A row is a text and its label; equal texts always go to the same split. A
label of validation or test that does not occur in the training split counts as wrong.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqapps import architectures
from seqapps.applications import Application, Breakdown, Call, Refusal
from seqapps.applications import answers as answering
from seqapps.calls import SUGGESTING
from seqapps.config import DataConfig
from seqapps.dataset.analysed import Analysis, LabelledRows, Record
from seqapps.dataset.ragged import Ragged, RawBlock, evenly_spaced
from seqapps.dataset.schema import Feature, Schema
from seqapps.dataset.text_files import as_bytes, as_text
from seqapps.errors import ConfigError, DataError, quoted
from seqapps.preprocessing.pretrained import PretrainedConfig, check_embedding
from seqapps.preprocessing.tokenizer_config import TokenizerConfig, check_subwords

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from seqapps.applications.base import Resources
    from seqapps.batching import Batches
    from seqapps.dataset.manifest import Manifest
    from seqapps.optimization.losses import Objective

_LONGEST_SHOWN = 300
_GOLDEN_ROWS = 4


class Tokens(TokenizerConfig):
    """How text becomes tokens; `NFKC` and lower case by default. No text is made of them again."""

    spacing: Literal["dropped"] = "dropped"
    normalization: Literal["none", "NFC", "NFKC"] = "NFKC"
    lowercase: bool = True


class Data(DataConfig):
    """The `data` section of a text classification.

    Args:
        tokens: how text becomes tokens.
        vocabulary_size: largest number of tokens with the four special ones; 0 keeps all (not for `subword`).
        min_count: rarer tokens become `<unk>`.
        max_length: most tokens of a text; 0 keeps all.
        truncate: which end of a longer text is kept: `head`, `tail` or `both` (half of the tokens from each).
        multi_label: whether a text has any number of labels: a JSON list (`[]` is none), or see `label_separator`.
        label_separator: what stands between several labels of a text, such as `,`.
        label_until: the label ends before this text: with `:`, `DESC:manner` is `DESC`.
        objective: the metric that decides which weights are kept, what a search looks for and what the gate compares:
            `auto` is accuracy, of several labels micro F1; macro F1 where every class is worth the same, however rare.
        class_weights: `balanced` makes every class weigh the same in the training loss, however rare it is.
        pretrained: word vectors that the embedding begins with.
    """

    tokens: Tokens = Tokens()
    vocabulary_size: int = Field(20_000, ge=0)
    min_count: int = Field(1, ge=1)
    max_length: int = Field(512, ge=0)
    truncate: Literal["head", "tail", "both"] = "head"
    multi_label: bool = False
    label_separator: str = ""
    label_until: str = ""
    objective: Literal["auto", "accuracy", "macro_f1", "micro_f1", "log_loss"] = "auto"
    class_weights: Literal["none", "balanced"] = "none"
    pretrained: PretrainedConfig = PretrainedConfig()

    @property
    def further_files(self) -> tuple[str, ...]:
        return (self.pretrained.path,) if self.pretrained.path else ()


@dataclass(frozen=True)
class Classification:
    """The predicted labels of a text.

    Args:
        text: the input, as valid UTF-8.
        label: the most probable label.
        probability: of that label.
        probabilities: label to probability, the most probable first. They sum to 1, unless multi-label.
        labels: the predicted labels: `label`, or if multi-label those with a probability above one half.
        weights: each token and its attention weight (`--weights`, attention pooling); empty otherwise.
    """

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]
    labels: tuple[str, ...]
    weights: tuple[tuple[str, float], ...] = ()


class TextClassification(Application):
    """A recurrent classifier of texts."""

    name = "text_classification"
    data = Data
    analysed = LabelledRows
    architectures = ("classifier",)
    second = "log_loss"
    judged = True
    needs: ClassVar[Mapping[str, tuple[str, str]]] = {"--weights": ("attention", '`model.pooling` = "attention"')}
    _scorer: tuple[Any, Any] | None = None

    @property
    def _data(self) -> Data:
        assert isinstance(self.config.data, Data)
        return self.config.data

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """The text and its label; with several labels in a cell, an empty one means no label."""
        return "text", "label?" if self._data.label_separator else "label"

    @property
    def objective(self) -> str:  # type: ignore[override]
        """The metric in `data.objective`: by default accuracy, or micro F1 if multi-label."""
        if self._data.objective != "auto":
            return self._data.objective
        return "micro_f1" if self._data.multi_label else "accuracy"

    @property
    def direction(self) -> Literal["min", "max"]:  # type: ignore[override]
        """Maximised, except for the log loss."""
        return "min" if self.objective == "log_loss" else "max"

    def check(self) -> None:
        data = self._data
        if self.config.source.rows == "document":
            raise ConfigError(
                '`source.rows` = "document" is running text that may be cut anywhere, and a label is that of a whole '
                'text. Received: document. Allowed: line, paragraph, file ("file" makes one text of each file).'
            )
        check_subwords(data.tokens.level, data.vocabulary_size, "data")
        if data.label_separator and not data.multi_label:
            raise ConfigError("`data.label_separator` is for `data.multi_label` = true. Received: false.")
        if data.class_weights == "balanced" and data.multi_label:
            raise ConfigError(
                '`data.class_weights` = "balanced" is for one label a text. Received: `data.multi_label` = true.'
            )
        if data.pretrained.path and data.tokens.level != "word":
            raise ConfigError(
                f"`data.pretrained` holds vectors of words. Received: `data.tokens.level` = {data.tokens.level!r}. "
                'Allowed: "word".'
            )
        if self.config.training.batching != "length":
            raise ConfigError("`training.batching` must be \"length\" for classification. Received: 'stream'.")
        check_embedding(self.config.model, data.pretrained)

    # ---- inside Beam

    def reject(self, raw: RawBlock) -> list[Refusal]:
        refused = []
        for row, text in enumerate(raw.columns["label"]):
            try:
                names = self._labels_of(text)
            except ValueError as error:
                refused.append(Refusal(row, str(error), text=text))
                continue
            if not names and not self._data.multi_label:
                refused.append(Refusal(row, "no-label", text=text))
        return refused

    def split_keys(self, raw: RawBlock) -> list[bytes]:
        return raw.columns["text"]

    def vocabularies(self, raw: RawBlock) -> Analysis:
        from seqapps.preprocessing.analysis import analyse_text
        from seqapps.preprocessing.labelling import analyse_labels

        texts = raw.columns["text"]
        words, text = analyse_text(texts, self._data.tokens)
        names, labels = analyse_labels([self._labels_of(text) for text in raw.columns["label"]])
        return Analysis({"text": words, "label": names}, LabelledRows(text, labels, texts))

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> Resources:
        from seqapps.preprocessing.analysis import learn_tokenizer
        from seqapps.preprocessing.labels import Labels
        from seqapps.preprocessing.pretrained import vectors_of

        data = self._data
        tokenizer = learn_tokenizer(counts["text"], data.tokens, data.vocabulary_size, data.min_count)
        labels = Labels.from_counts(counts.get("label", {}))
        if labels.size < 2 and not data.multi_label:
            raise DataError(f"The training split must hold two labels or more. Received: {list(labels.names)}.")
        learned: dict[str, Any] = {"text": tokenizer, "label": labels}
        if data.pretrained.path:
            embedding = int(getattr(self.config.model, "embedding", 0))
            assert tokenizer.vocabulary is not None
            learned["vectors"] = vectors_of(
                data.pretrained, tokenizer.vocabulary.tokens, counts["text"], embedding=embedding
            )
        return learned

    def schema(self) -> Schema:
        labels = "indices of the labels; -1 is one that the training split does not have"
        return Schema(
            features=(
                Feature(name="ids", dtype="int64", shape=(None,), meaning="ids of the tokens, closed by <eos>"),
                Feature(name="labels", dtype="int64", shape=(None,), meaning=labels),
                Feature(name="text", dtype="string", shape=(), meaning="the text as it was given"),
                Feature(name="label", dtype="string", shape=(), meaning="the labels as text"),
            )
        )

    def encode(self, rows: Record, resources: Resources) -> dict[str, Ragged]:
        from seqapps.preprocessing.analysis import encode_text
        from seqapps.preprocessing.labelling import encode_labels
        from seqapps.preprocessing.shortening import shorten_rows

        assert isinstance(rows, LabelledRows)
        texts = rows.raw
        ids = encode_text(rows.text, resources["text"], ends=np.zeros(len(texts), np.bool_))
        indices, labels = encode_labels(rows.labels, resources["label"])
        return {
            "ids": shorten_rows(ids, self._data.max_length, self._data.truncate),
            "labels": indices,
            "text": Ragged(np.array(texts, dtype=object), np.arange(len(texts) + 1, dtype=np.int64)),
            "label": labels,
        }

    # ---- batches and model

    def batches(self, folder: Path, manifest: Manifest, split: str) -> Batches:
        import tensorflow as tf

        from seqapps.batching.rows import RowBatches
        from seqapps.preprocessing.labels import Labels

        labels = Labels.from_facts(manifest.vocabularies["label"].facts)
        balanced = self._data.class_weights == "balanced" and split == "train"
        weight_of = tf.constant(labels.balanced_weights() if balanced else np.ones(labels.size, np.float32))
        multi = self._data.multi_label

        def collate(dense: Any, lengths: Any, present: Any) -> tuple[dict[str, Any], Any, Any]:
            x = {"tokens": tf.cast(dense["ids"], tf.int32)}
            index = tf.cast(dense["labels"], tf.int32)
            if multi:
                real = tf.sequence_mask(lengths["labels"], tf.shape(index)[1], tf.float32)
                hot = tf.one_hot(index, labels.size) * real[:, :, None]  # a label below 0 becomes a row of zeros
                return x, tf.minimum(tf.reduce_sum(hot, axis=1), 1.0), present
            # A label unseen in training has no loss; the metrics count it as wrong.
            known = tf.cast(index[:, 0] >= 0, tf.float32)
            y = tf.maximum(index[:, 0], 0)
            return x, y, present * known * tf.gather(weight_of, y)

        features = self.examples(folder, manifest, split)
        return RowBatches.of_split(
            {name: features[name] for name in ("ids", "labels")},
            collate,
            lengths=features["ids"].lengths,
            tokens=int(features["ids"].splits[-1]),
            config=self.config,
            split=split,
        )

    def build(self, manifest: Manifest, *, use_cudnn: bool | Literal["auto"] = "auto") -> keras.Model:
        architecture = architectures.load(self.config.model.architecture)
        model: keras.Model = architecture.build(
            self.config.model,
            vocabulary_size=manifest.vocabularies["text"].size,
            classes=manifest.vocabularies["label"].size,
            use_cudnn=use_cudnn,
            seed=self.config.seed,
        )
        return model

    def initialise(self, model: keras.Model, resources: Resources) -> None:
        if "vectors" in resources:
            resources["vectors"].fill(model.get_layer("embedding"))

    def criterion(self, manifest: Manifest, model: keras.Model) -> Objective:
        import tensorflow as tf

        from seqapps.optimization.losses import Objective, cross_entropy

        def several(outputs: Mapping[str, Any], y: Any) -> Any:
            logits = tf.cast(outputs["logits"], tf.float32)
            return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(y, logits), axis=1)

        def one(outputs: Mapping[str, Any], y: Any) -> Any:
            return cross_entropy(outputs["logits"], y)

        return Objective(self.objective, self.direction, several if self._data.multi_label else one, None)

    # ---- evaluation

    def predict(self, model: keras.Model, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns the probability of each class, `<float32>[N, C]`."""
        import tensorflow as tf

        from seqapps.batching.buckets import Buckets

        ids, training = examples["ids"], self.config.training
        buckets = Buckets(
            ids.lengths, batch_size=training.batch_size, token_budget=training.token_budget, seed=0, shuffle=False
        )
        score = self._compiled(model)
        found = np.zeros((len(ids), int(model.output["logits"].shape[-1])), np.float32)
        for batch in buckets.order(0):
            rows = batch[batch >= 0]
            part = ids.take(rows)
            real = np.arange(part.lengths.max(initial=0)) < part.lengths[:, None]
            tokens = np.zeros(real.shape, np.int32)
            tokens[real] = part.values
            found[rows] = score(tf.constant(tokens)).numpy()
        return found

    def statistics(self, prediction: NDArray[Any], examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns the sums of `seqapps.metrics.classification` for each example."""
        from seqapps.metrics.classification import multi_hot, multi_statistics, single_statistics

        labels = examples["labels"]
        if not self._data.multi_label:
            return single_statistics(prediction, labels.values.astype(np.int64))
        rows = np.repeat(np.arange(len(labels)), labels.lengths)
        unseen = np.bincount(rows, weights=labels.values < 0, minlength=len(labels))
        return multi_statistics(prediction, multi_hot(labels, prediction.shape[1]), unseen)

    def metrics(self, totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        from seqapps.metrics.classification import metrics

        found = metrics(totals, calibrated=not self._data.multi_label)
        return {name: found.pop(name) for name in (self.objective,)} | found

    def slices(self, field: str, examples: Mapping[str, Ragged]) -> list[str] | None:
        return [text.decode() for text in examples["label"].values.tolist()] if field == "label" else None

    def breakdowns(self, totals: NDArray[np.float64], resources: Resources) -> list[Breakdown]:
        from seqapps.metrics.classification import class_table

        rows = class_table(totals, resources["label"].names, calibrated=not self._data.multi_label)
        return [Breakdown("classes", ("label", "rows", "precision", "recall", "F1"), rows)]

    def pictures(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, folder: Path
    ) -> dict[str, Path]:
        from seqapps.metrics.classification import confusion
        from seqapps.plots.confusion import draw_confusion

        if self._data.multi_label:
            return {}
        truth, labels = examples["labels"].values.astype(np.int64), resources["label"]
        counts = confusion(np.argmax(prediction, axis=1), truth, labels.size)
        folder.mkdir(parents=True, exist_ok=True)
        return {"confusion matrix": draw_confusion(counts, labels.names, folder / "confusion.png")}

    def shown(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, rows: Sequence[int]
    ) -> list[dict[str, str]]:
        from seqapps.metrics.classification import predicted_labels

        names = resources["label"].names
        result = []
        for row in rows:
            text, label = (examples[name].values[row].decode("utf-8", "replace") for name in ("text", "label"))
            order = np.argsort(-prediction[row], kind="stable")
            predicted = predicted_labels(prediction[row]) if self._data.multi_label else order[:1]
            received = ", ".join(f"{names[index]} {prediction[row, index]:.1%}" for index in predicted)
            cut = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
            result.append({"text": cut, "expected": label, "received": received})
        return result

    # ---- serving

    def signatures(self, model: keras.Model, resources: Resources) -> tuple[tf.Module, dict[str, Any]]:
        from seqapps.inference.text_classifier import TextClassifier

        data = self._data
        classifier = TextClassifier(
            model,
            resources["text"],
            resources["label"],
            max_length=data.max_length,
            kept=data.truncate,
            multi_label=data.multi_label,
        )
        return classifier, classifier.signatures()

    def golden_inputs(self, folder: Path, manifest: Manifest, resources: Resources) -> dict[str, list[dict[str, Any]]]:
        texts = self.examples(folder, manifest, "test" if "test" in manifest.splits else "validation")["text"].values
        chosen = evenly_spaced(len(texts), _GOLDEN_ROWS)
        calls = [{"text": [texts[row].decode("utf-8", "replace") for row in chosen]}, {"text": ["", "¿", "x " * 40]}]
        names = ["serving_default"]
        if getattr(self.config.model, "pooling", "") == "attention":
            names.append("attention")
        return {name: list(calls) for name in names}

    # ---- prediction

    @classmethod
    def options(cls, parser: argparse.ArgumentParser) -> None:
        usual = SUGGESTING["k"].default
        parser.add_argument(
            "-k", type=int, default=usual, metavar="N", help="labels shown with their probabilities (%(default)s)"
        )
        parser.add_argument("--weights", action="store_true", help="the weight of each token (attention pooling)")

    @classmethod
    def check_options(cls, options: argparse.Namespace) -> None:
        answering.check_settings(options, SUGGESTING)

    @classmethod
    def answer(cls, call: Call, rows: Sequence[Any], options: argparse.Namespace, first: int) -> list[Any]:
        texts = [as_bytes(row) for row in rows]
        found = call("attention" if options.weights else "serving_default", text=texts)
        return [_classification(found, row, text) for row, text in enumerate(texts)]

    @classmethod
    def heading(cls, answer: Any) -> str:
        """Returns the text."""
        return quoted(answer.text)

    @classmethod
    def line(cls, answer: Any, options: argparse.Namespace, one_line: bool) -> str:
        labels = ", ".join(answer.labels)
        best = list(answer.probabilities.items())[: options.k]
        weights = [f"{token} {weight:.3f}" for token, weight in answer.weights]
        if one_line:
            cells = [labels, *(cell for name, share in best for cell in (name, f"{share:.6f}"))]
            return "\t".join([*cells, *([" ".join(weights)] if weights else [])])
        width = max(len(name) for name, _ in best)
        shares = [f"  {name:<{width}}  {share:7.2%}" for name, share in best]
        return "\n".join([labels or "(no label)", *shares, *(["  " + "  ".join(weights)] if weights else [])])

    # ---- parts

    def _compiled(self, model: keras.Model) -> Any:
        """Returns tokens to probabilities as one compiled graph, cached because it is called after every epoch."""
        import tensorflow as tf

        from seqapps.inference.text_classifier import probabilities_of

        if self._scorer is None or self._scorer[0] is not model:

            @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])  # type: ignore[untyped-decorator]
            def score(tokens: Any) -> Any:
                outputs = model({"tokens": tokens}, training=False)
                return probabilities_of(outputs["logits"], multi_label=self._data.multi_label)

            self._scorer = (model, score)
        return self._scorer[1]

    def _labels_of(self, text: bytes) -> list[bytes]:
        """Returns the labels of a row, without duplicates, in their order.

        Raises:
            ValueError: names the reason in a few words; rejected rows are counted by it.
        """
        from seqapps.preprocessing.labelling import labels_of

        data = self._data
        return labels_of(text, several=data.multi_label, separator=data.label_separator, until=data.label_until)


def _classification(found: Mapping[str, Any], row: int, text: bytes) -> Classification:
    names = found["labels"][row]
    pairs = sorted(zip(names, found["probabilities"][row], strict=True), key=lambda pair: -pair[1])
    label = found["label"][row]
    labels: tuple[str, ...] = (label,)
    if "predicted" in found:
        above = {name for name, predicted in zip(names, found["predicted"][row], strict=True) if predicted}
        labels = tuple(name for name, _ in pairs if name in above)
    weights: tuple[tuple[str, float], ...] = ()
    if "weights" in found:
        together = zip(found["tokens"][row], found["weights"][row], strict=True)
        weights = tuple((token, weight) for token, weight in together if token)
    return Classification(as_text(text), label, found["probability"][row], dict(pairs), labels, weights)


APPLICATION = TextClassification
