"""Conditional text generation from a label or a vector, such as a name for a category or a tune in a style.

One to many: the condition determines the initial state of a recurrent language model. x = <bos>, w_0 .. w_{T-2} and
y = w_0 .. w_{T-1}; `<eos>` closes every text and counts as a token.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqapps import architectures
from seqapps.applications import Application, Call, Refusal
from seqapps.applications import answers as answering
from seqapps.calls import DRAWING
from seqapps.config import DataConfig
from seqapps.dataset.analysed import Analysis, Record, TextRows
from seqapps.dataset.ragged import Ragged, RawBlock, evenly_spaced
from seqapps.dataset.schema import Feature, Schema
from seqapps.dataset.text_files import as_text
from seqapps.errors import ConfigError, UsageError, quoted, unknown_name
from seqapps.preprocessing.checkers import check_pattern, checker
from seqapps.preprocessing.tokenizer_config import TokenizerConfig, check_subwords
from seqapps.preprocessing.vectors import numbers_of

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from seqapps.applications.base import Resources
    from seqapps.batching import Batches
    from seqapps.dataset.manifest import Manifest
    from seqapps.preprocessing.conditions import Condition


class Tokens(TokenizerConfig):
    """How text becomes tokens; `character` by default. Words keep their spacing by default."""

    level: Literal["character", "word", "subword"] = "character"
    spacing: Literal["kept", "dropped"] = "kept"


class Data(DataConfig):
    """The `data` section of conditional generation.

    Args:
        tokens: how text becomes tokens.
        vocabulary_size: largest number of tokens with the four special ones; 0 keeps all (not for `subword`).
        min_count: rarer tokens become `<unk>`.
        condition: `label` (a name in the column `label`) or `vector` (numbers in the column `vector`, as a JSON list or
            one number alone).
        vector_size: numbers of a vector; rows with another number of them are refused.
        ngram_order: order of the n-gram baselines; 0 makes none.
        samples: texts that are drawn at evaluation, for conditions of the test split; 0 draws none.
        checker: what a sample must be to count as valid: `python_identifier`, `abc` (a tune in ABC notation),
            `pattern`, or `none`.
        pattern: regular expression that a valid sample must match as a whole (`pattern`).
    """

    tokens: Tokens = Tokens()
    vocabulary_size: int = Field(0, ge=0)
    min_count: int = Field(1, ge=1)
    condition: Literal["label", "vector"] = "label"
    vector_size: int = Field(0, ge=0)
    ngram_order: int = Field(5, ge=0, le=10)
    samples: int = Field(500, ge=0)
    checker: Literal["none", "python_identifier", "abc", "pattern"] = "none"
    pattern: str = ""


@dataclass(frozen=True)
class Generation:
    """Texts generated for a condition.

    Args:
        condition: the condition, as passed in.
        texts: the generated texts.
        tokens: number of tokens of each, `<eos>` included.
        nats: their -log p given the condition.
        ended: whether the model ended each text by itself.
    """

    condition: str
    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    nats: tuple[float, ...]
    ended: tuple[bool, ...]


@dataclass(frozen=True)
class ConditionalScore(answering.Score):
    """How probable a text is given a condition."""

    condition: str


class Located(dict[str, Ragged]):
    """Features of a split together with their prepared folder: its training split decides whether a sample is novel."""

    def __init__(self, features: Mapping[str, Ragged], folder: Path, manifest: Manifest) -> None:
        super().__init__(features)
        self.folder, self.manifest = folder, manifest


class ConditionalGeneration(Application):
    """A recurrent language model whose initial state is computed from a condition."""

    name = "conditional_generation"
    data = Data
    architectures = ("conditional",)
    idle: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "--score": ("--count", "--max-length", "--temperature", "--top-k", "--seed")
    }
    objective = "nats"
    direction: Literal["min", "max"] = "min"

    @property
    def _data(self) -> Data:
        assert isinstance(self.config.data, Data)
        return self.config.data

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]  # follows from the configuration
        return ("text", self._data.condition)

    def check(self) -> None:
        data = self._data
        if self.config.training.batching == "stream":
            raise ConfigError(
                '`training.batching` = "stream" has no rows, and a condition belongs to a row. Received: stream. '
                "Allowed: length."
            )
        if self.config.source.rows == "document":
            raise ConfigError(
                '`source.rows` = "document" is one running text, and a condition is that of a row. Received: '
                "document. Allowed: line, paragraph, file."
            )
        if (data.condition == "vector") != bool(data.vector_size):
            raise ConfigError(
                '`data.vector_size` goes with `data.condition` = "vector". Received: '
                f"condition = {data.condition!r}, vector_size = {data.vector_size}. Example: vector_size = 3."
            )
        check_subwords(data.tokens.level, data.vocabulary_size, "data")
        check_pattern(data.checker, data.pattern)

    # ---- inside Beam

    @cached_property
    def condition(self) -> Condition:
        """The condition that texts are generated for."""
        from seqapps.preprocessing.conditions import LabelCondition, VectorCondition

        return LabelCondition() if self._data.condition == "label" else VectorCondition(self._data.vector_size)

    @property
    def analysed(self) -> type[Record]:  # type: ignore[override]
        return self.condition.analysed

    def reject(self, raw: RawBlock) -> list[Refusal]:
        """Returns rows whose vector is not a list of `vector_size` finite numbers."""
        values = raw.columns[self.condition.name]
        return [Refusal(row, reason, text=values[row]) for row, reason in self.condition.refused(values).items()]

    def split_keys(self, raw: RawBlock) -> list[bytes]:
        """Returns the texts: one with two labels stays in one split, so that no test text is trained on."""
        return raw.columns["text"]

    def vocabularies(self, raw: RawBlock) -> Analysis:
        from seqapps.preprocessing.analysis import analyse_text

        counts, text = analyse_text(raw.columns["text"], self._data.tokens)
        return self.condition.analyse(raw.columns[self.condition.name], TextRows(text, raw.ends), {"text": counts})

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> Resources:
        from seqapps.preprocessing.analysis import learn_tokenizer

        size, least = self._data.vocabulary_size, self._data.min_count
        return {"text": learn_tokenizer(counts["text"], self._data.tokens, size, least), **self.condition.learn(counts)}

    def scale(self, sums: Mapping[str, NDArray[np.float64]]) -> Resources:
        return self.condition.scale(sums)

    def schema(self) -> Schema:
        ids = Feature(
            name="ids", dtype="int64", shape=(None,), meaning="ids of the tokens of one text, closed by <eos>"
        )
        return Schema(features=(ids, *self.condition.features))

    def encode(self, rows: Record, resources: Resources) -> dict[str, Ragged]:
        from seqapps.preprocessing.analysis import encode_text

        assert isinstance(rows, TextRows)
        ids = encode_text(rows.text, resources["text"], ends=rows.ends)
        return {"ids": ids, **self.condition.encode(rows, resources[self.condition.name])}

    @property
    def ngrams(self) -> tuple[str, int]:
        return "ids", self._data.ngram_order

    @property
    def written(self) -> Mapping[str, tuple[str, TokenizerConfig]]:
        return {"text": ("ids", self._data.tokens)}

    # ---- batches and model

    def batches(self, folder: Path, manifest: Manifest, split: str) -> Batches:
        import tensorflow as tf

        from seqapps.batching.rows import RowBatches, shift_right
        from seqapps.preprocessing.vocabulary import BEGIN

        examples = self.examples(folder, manifest, split)
        ids, name, given = examples["ids"], self.condition.name, self.condition.given(examples)

        def collate(dense: Mapping[str, Any], lengths: Mapping[str, Any], present: Any) -> tuple[Any, Any, Any]:
            y = tf.cast(dense["ids"], tf.int32)
            weights = tf.sequence_mask(lengths["ids"], tf.shape(y)[1], tf.float32)
            x = shift_right(y, BEGIN)
            return {"tokens": x * tf.cast(weights, tf.int32), name: dense[name][:, 0]}, y, weights

        return RowBatches.of_split(
            {"ids": ids, name: Ragged(given, np.arange(len(given) + 1))},
            collate,
            lengths=ids.lengths,
            tokens=int(ids.splits[-1]),
            config=self.config,
            split=split,
        )

    def build(self, manifest: Manifest, *, use_cudnn: bool | Literal["auto"] = "auto") -> keras.Model:
        model: keras.Model = architectures.load(self.config.model.architecture).build(
            self.config.model,
            vocabulary_size=manifest.vocabularies["text"].size,
            labels=manifest.vocabularies["label"].size if self._data.condition == "label" else 0,
            features=self._data.vector_size,
            use_cudnn=use_cudnn,
            seed=self.config.seed,
        )
        return model

    def criterion(self, manifest: Manifest, model: keras.Model) -> Any:
        from seqapps.optimization.losses import PERPLEXITY, Objective

        return Objective("nats", "min", PERPLEXITY.loss, lambda nats: nats)

    def sampler(
        self, model: keras.Model, resources: Resources, folder: Path, manifest: Manifest
    ) -> Callable[[int], str] | None:
        """Returns a function that generates a text of at most `training.sample_length` tokens for a few conditions."""
        length, seed = self.config.training.sample_length, self.config.seed
        if not length:
            return None

        @cache
        def ready() -> tuple[Any, list[Any]]:
            return self._writer(model, resources), self._typical(folder, manifest, resources)

        def sample(epoch: int) -> str:
            writer, conditions = ready()
            texts = writer.write(conditions, length=length, temperature=0.8, seed=seed + epoch)
            lines = (f"{condition}: {text}" for condition, text in zip(conditions, texts, strict=True))
            return ("\n\n" if any("\n" in text for text in texts) else "\n").join(lines)

        return sample

    # ---- evaluation

    def examples(self, folder: Path, manifest: Manifest, split: str) -> dict[str, Ragged]:
        return Located(super().examples(folder, manifest, split), folder, manifest)

    def predict(self, model: keras.Model, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns -log p of every token given the condition of its text, and the properties of generated samples.

        `<float32>[tokens, 4]`: nats; then, at the last token of `data.samples` texts spread evenly over the split,
        whether the text sampled for its condition is novel, distinct and valid (1 or 0); -1 at every other token.
        """
        from seqapps.inference.scoring import document_nats
        from seqapps.preprocessing.vocabulary import BEGIN

        ids, given = examples["ids"], {self.condition.name: self.condition.given(examples)}
        result = np.full((len(ids.values), 4), -1.0, np.float32)
        result[:, 0] = document_nats(model, ids, BEGIN, batch_size=self.config.training.batch_size, given=given)
        if isinstance(examples, Located) and self.resources and self._data.samples:
            rows = evenly_spaced(len(ids), self._data.samples)
            result[ids.splits[1:][rows] - 1, 1:] = self._sampled(model, examples, rows)
        return result

    def statistics(self, prediction: NDArray[Any], examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns (nats, tokens, samples, novel, distinct, valid) of each text; a baseline draws no samples."""
        ids = examples["ids"]
        table = prediction if prediction.ndim == 2 else np.stack([prediction, *[np.full_like(prediction, -1.0)] * 3], 1)
        table = table.astype(np.float64)
        drawn = table[:, 1] >= 0
        columns = [table[:, 0], np.ones(len(table)), drawn, *(np.maximum(table[:, place], 0.0) for place in (1, 2, 3))]
        running = np.zeros((len(table) + 1, len(columns)))
        np.cumsum(np.stack(columns, axis=1), axis=0, out=running[1:])
        sums: NDArray[np.float64] = running[ids.splits[1:]] - running[ids.splits[:-1]]
        return sums

    def metrics(self, totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Returns cross entropy per token and perplexity given the condition, and the shares of samples that are not in
        the training split (`novel`), do not repeat an earlier sample (`distinct`) and are well formed (`valid`)."""
        nats = totals[..., 0] / totals[..., 1]
        found = {"nats": nats, "bits": nats / np.log(2.0), "perplexity": np.exp(nats)}
        with np.errstate(divide="ignore", invalid="ignore"):
            if self._data.samples:
                found |= {"novel": totals[..., 3] / totals[..., 2], "distinct": totals[..., 4] / totals[..., 2]}
            if self._data.samples and self._data.checker != "none":
                found["valid"] = totals[..., 5] / totals[..., 2]
        return found

    def slices(self, field: str, examples: Mapping[str, Ragged]) -> list[str] | None:
        if field != "label" or "label" not in examples:
            return None
        return [label.decode("utf-8", "replace") for label in examples["label"].values]

    def shown(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, rows: Sequence[int]
    ) -> list[dict[str, str]]:
        import tensorflow as tf

        ids = examples["ids"]
        chosen = [ids.row(row).tolist() for row in rows]
        texts = resources["text"].decode(tf.ragged.constant(chosen, ragged_rank=1, dtype=tf.int32)).numpy()
        nats = prediction if prediction.ndim == 1 else prediction[:, 0]
        cells = []
        for row, text in zip(rows, texts, strict=True):
            columns = {"text": text.decode("utf-8", "replace")}
            if "label" in examples:
                columns["condition"] = examples["label"].row(row)[0].decode("utf-8", "replace")
            columns["nats per token"] = f"{nats[ids.splits[row] : ids.splits[row + 1]].mean():.3f}"
            cells.append(columns)
        return cells

    # ---- serving

    def signatures(self, model: keras.Model, resources: Resources) -> tuple[tf.Module, dict[str, Any]]:
        writer = self._writer(model, resources)
        return writer, writer.signatures()

    def golden_inputs(self, folder: Path, manifest: Manifest, resources: Resources) -> dict[str, list[dict[str, Any]]]:
        conditions = self._typical(folder, manifest, resources)
        split = "test" if "test" in manifest.splits else "validation"
        examples = self.examples(folder, manifest, split)
        count = min(2, len(examples["ids"]))
        rows = self.shown(np.zeros(len(examples["ids"].values)), examples, resources, range(count))
        texts = [row["text"][:60] for row in rows]

        def asked(**settings: Any) -> dict[str, Any]:
            each = {name: [value] * len(conditions) for name, value in {"max_length": 40, **settings}.items()}
            return {"condition": conditions, **each}

        return {
            "serving_default": [{"condition": conditions}],
            "generate": [
                asked(temperature=0.8, top_k=0, seed=1, count=2),
                asked(temperature=0.0, top_k=0, seed=1, count=1),
                asked(temperature=1.0, top_k=5, seed=2, count=1),
            ],
            "score": [{"condition": [conditions[0]] * (len(texts) + 1), "text": [*texts, ""]}],
        }

    # ---- prediction

    @classmethod
    def options(cls, parser: argparse.ArgumentParser) -> None:
        usual = {name: setting.default for name, setting in DRAWING.items()}
        parser.add_argument(
            "--count", type=int, default=usual["count"], metavar="N", help="texts for each condition (%(default)s)"
        )
        parser.add_argument(
            "--max-length", type=int, default=usual["max_length"], metavar="N", help="most tokens written (%(default)s)"
        )
        parser.add_argument(
            "--temperature", type=float, default=usual["temperature"], help="0 takes the most probable (%(default)s)"
        )
        parser.add_argument(
            "--top-k", type=int, default=usual["top_k"], metavar="N", help="draw among the N most probable; 0: all"
        )
        parser.add_argument(
            "--seed", type=int, default=usual["seed"], help="equal seeds give equal texts (%(default)s)"
        )
        parser.add_argument(
            "--score", action="store_true", help="the log-probability of each token; a row is CONDITION, a tab, TEXT"
        )

    @classmethod
    def check_options(cls, options: argparse.Namespace) -> None:
        answering.check_settings(options, DRAWING)

    @classmethod
    def answer(cls, call: Call, rows: Sequence[Any], options: argparse.Namespace, first: int) -> list[Any]:
        asked = [as_text(row) for row in rows]
        if options.score:
            pairs = [_pair(row) for row in asked]
            conditions = [_condition(condition, call.facts) for condition, _ in pairs]
            found = call("score", condition=conditions, text=[text for _, text in pairs])
            scored = zip(answering.scores_of(found, [text for _, text in pairs]), pairs, strict=True)
            return [ConditionalScore(**vars(score), condition=condition) for score, (condition, _) in scored]
        conditions = [_condition(row, call.facts) for row in asked]
        found = call("generate", condition=conditions, **answering.for_rows(options, DRAWING, len(asked), first))
        columns = ([tuple(values) for values in found[name]] for name in ("texts", "length", "nats", "ended"))
        return [Generation(*values) for values in zip(asked, *columns, strict=True)]

    @classmethod
    def heading(cls, answer: Any) -> str:
        """Returns the condition; empty for a score, whose line begins with it."""
        return "" if isinstance(answer, ConditionalScore) else str(answer.condition)

    @classmethod
    def line(cls, answer: Any, options: argparse.Namespace, one_line: bool) -> str:
        if isinstance(answer, ConditionalScore):
            return answering.score_line(answer, one_line, heading=f"{answer.condition}: {answer.text}")
        if one_line:
            return "\t".join(answering.escaped(text) for text in answer.texts)
        return ("\n\n" if any("\n" in text for text in answer.texts) else "\n").join(answer.texts)

    @classmethod
    def showcase(cls, golden: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
        lines = []
        for call in list(golden.get("serving_default") or [])[:1]:
            for condition, texts in zip(call["inputs"]["condition"], call["outputs"]["texts"], strict=True):
                lines.append(f"  {quoted(condition)} -> {'  '.join(map(quoted, texts))}")
        return ["writes", *lines] if lines else []

    # ---- parts

    def _writer(self, model: keras.Model, resources: Resources) -> Any:
        from seqapps.inference.conditional_writer import ConditionalWriter

        begin, step = architectures.load(self.config.model.architecture).decoder_of(model, self.config.model)
        known = resources[self.condition.name]
        if self._data.condition == "label":
            return ConditionalWriter(begin, step, resources["text"], labels=known.names)
        return ConditionalWriter(begin, step, resources["text"], means=known.means, deviations=known.deviations)

    def _typical(self, folder: Path, manifest: Manifest, resources: Resources) -> list[Any]:
        examples = self.examples(folder, manifest, "validation")
        return self.condition.typical(examples, resources[self.condition.name])

    def _sampled(self, model: keras.Model, examples: Located, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns whether the text drawn for each row is novel, distinct and valid, `<float32>[rows, 3]`.

        Texts are sampled at temperature 1, from the model's own distribution.
        """
        known = super().examples(examples.folder, examples.manifest, "train")["ids"]
        longest = int(max(known.lengths.max(initial=1), examples["ids"].lengths.max(initial=1)))
        given = {self.condition.name: self.condition.given(examples)[rows]}
        sampled: NDArray[np.float32] = self._writer(model, self.resources).judged(
            given, known, checker(self._data.checker, self._data.pattern), length=2 * longest, seed=self.config.seed
        )
        return sampled


def _condition(row: str, known: Mapping[str, Any]) -> Any:
    """Returns a condition as an input of the graph.

    Raises:
        UsageError: an unknown label, or not a list of as many numbers as the model takes.
    """
    if not known["conditions"]:
        numbers = numbers_of(row.encode())
        if numbers is None or len(numbers) != known["size"]:
            example = json.dumps([0.0] * known["size"])
            raise UsageError(
                f"predict: a condition must be a JSON list of {known['size']} numbers. Received: {row!r}. "
                f"Example: {example}."
            )
        return numbers
    if row not in known["conditions"]:
        raise UsageError("predict: " + unknown_name("the condition", row, known["conditions"]))
    return row


def _pair(row: str) -> tuple[str, str]:
    condition, tab, text = row.partition("\t")
    if not tab:
        raise UsageError(f"predict: `--score` wants CONDITION, a tab, and TEXT in each row. Received: {row!r}.")
    return condition, text


APPLICATION = ConditionalGeneration
