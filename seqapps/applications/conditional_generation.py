"""Conditional generation: texts for a label or a vector, such as a name for a kind of thing or a tune in a style.

One to many: the condition sets the state in which a recurrent language model begins. x = <bos>, w_0 .. w_{T-2} and
y = w_0 .. w_{T-1}; `<eos>` closes every text and counts as a unit.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqapps import answering, architectures
from seqapps.applications import Application, Call, Refusal
from seqapps.config import DataConfig, Section
from seqapps.errors import ConfigError, UsageError, unknown_name
from seqapps.preprocessing.blocks import Analysis, Ragged, RawBlock
from seqapps.preprocessing.vectors import numbers_of
from seqapps.schema import Feature, Schema

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from seqapps.applications import Resources
    from seqapps.data import Batches
    from seqapps.manifest import Manifest


class Tokens(Section):
    """How text becomes units; see `seqapps.preprocessing.tokenizers.TokenizerConfig`.

    Args:
        unit: `character` (Unicode code points), `word` or `subword` (SentencePiece, learned from the training split).
        words: `unicode` (runs of letters, marks and digits; other visible characters alone) or `whitespace`.
        normalization: Unicode form before anything else.
        lowercase: Unicode case folding.
    """

    unit: Literal["character", "word", "subword"] = "character"
    words: Literal["unicode", "whitespace"] = "unicode"
    normalization: Literal["none", "NFC", "NFKC"] = "none"
    lowercase: bool = False


class Data(DataConfig):
    """The `data` section of conditional generation.

    Args:
        tokens: how text becomes units.
        vocabulary_size: largest number of units with the four special ones; 0 keeps all (not for `subword`).
        min_count: rarer units become `<unk>`.
        condition: `label` (a name in the column `label`) or `vector` (numbers in the column `vector`, as a JSON list).
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
    """Texts for a condition.

    Args:
        condition: as given.
        texts: what was written.
        units: how many units each has, `<eos>` included.
        nats: their -log p given the condition.
        ended: whether the model ended each text by itself.
    """

    condition: str
    texts: tuple[str, ...]
    units: tuple[int, ...]
    nats: tuple[float, ...]
    ended: tuple[bool, ...]


@dataclass(frozen=True)
class ConditionalScore:
    """How probable a text is given a condition: log p of each unit in nats, `<eos>` last, their sum, and perplexity."""

    condition: str
    text: str
    units: tuple[str, ...]
    log_probabilities: tuple[float, ...]
    total: float
    perplexity: float


class Located(dict[str, Ragged]):
    """Features of a split that know the prepared folder they were read from: whether a sample is new is told by the
    training split there."""

    def __init__(self, features: Mapping[str, Ragged], folder: Path, manifest: Manifest) -> None:
        super().__init__(features)
        self.folder, self.manifest = folder, manifest


class ConditionalGeneration(Application):
    """A recurrent language model that begins where a condition puts it."""

    name = "conditional_generation"
    data = Data
    architectures = ("conditional",)
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
        if data.tokens.unit == "subword" and not data.vocabulary_size:
            raise ConfigError("`data.vocabulary_size` must be given for subwords. Received: 0. Example: 2000.")
        if (data.checker == "pattern") != bool(data.pattern):
            raise ConfigError(
                '`data.pattern` goes with `data.checker` = "pattern". Received: '
                f'checker = {data.checker!r}, pattern = {data.pattern!r}. Example: pattern = "[a-z]+".'
            )
        try:
            re.compile(data.pattern)
        except re.error as error:
            message = f"`data.pattern` is no regular expression: {error}. Received: {data.pattern!r}."
            raise ConfigError(message) from None
        missing = {name for name in self.config.baselines.names if name in _NGRAMS} if not data.ngram_order else set()
        if missing:
            raise ConfigError(f"`baselines.names` asks for {min(missing)} and `data.ngram_order` is 0. Example: 5.")
        if data.condition == "vector" and "conditional_ngram" in self.config.baselines.names:
            raise ConfigError("`baselines.names` asks for conditional_ngram, which counts by label. Received: vectors.")

    # ---- inside Beam

    def reject(self, raw: RawBlock) -> list[Refusal]:
        """Returns rows whose vector is not a list of `vector_size` finite numbers."""
        if self._data.condition == "label":
            return []
        size = self._data.vector_size
        vectors = [numbers_of(value) for value in raw.columns["vector"]]
        refused = []
        for row, (vector, text) in enumerate(zip(vectors, raw.columns["vector"], strict=True)):
            reason = "no-vector" if vector is None else "other-vector-size" if len(vector) != size else ""
            refused += [Refusal(row, reason, text=text)] if reason else []
        return refused

    def split_keys(self, raw: RawBlock) -> list[bytes]:
        """Returns the texts: one that has two labels stays in one split, so that no text of the test split is known."""
        return raw.columns["text"]

    def vocabularies(self, raw: RawBlock) -> Analysis:
        from seqapps.preprocessing.analysis import analyse_text, pack
        from seqapps.preprocessing.scaling import moments

        counts, arrays = analyse_text(raw.columns["text"], self._tokenizer_config())
        arrays = {**arrays, "ends": raw.ends}
        if self._data.condition == "vector":
            vectors = np.array([numbers_of(value) for value in raw.columns["vector"]], np.float64)
            vectors = vectors.reshape(len(raw), self._data.vector_size)
            sums: dict[str, NDArray[np.float64]] = {}
            for index in range(self._data.vector_size):
                sums |= moments(str(index), vectors[:, index])
            return Analysis({"text": counts}, {**arrays, "vector": vectors.astype(np.float32)}, sums)
        labels = raw.columns["label"]
        names, numbers = np.unique(np.array(labels, np.object_), return_counts=True)
        return Analysis({"text": counts, "label": (names.tolist(), numbers)}, {**arrays, **pack("labels", labels)})

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> Resources:
        from seqapps.preprocessing.analysis import learn_tokenizer
        from seqapps.preprocessing.labels import Labels

        size, least = self._data.vocabulary_size, self._data.min_count
        learned: dict[str, Any] = {"text": learn_tokenizer(counts["text"], self._tokenizer_config(), size, least)}
        if self._data.condition == "label":
            learned["label"] = Labels.from_counts(counts["label"])
        return learned

    def scale(self, sums: Mapping[str, NDArray[np.float64]]) -> Resources:
        from seqapps.preprocessing.scaling import scaling_of

        if self._data.condition == "label":
            return {}
        return {"vector": scaling_of(sums, tuple(map(str, range(self._data.vector_size))), ())}

    def schema(self) -> Schema:
        ids = Feature(name="ids", dtype="int64", shape=(None,), meaning="ids of the units of one text, closed by <eos>")
        if self._data.condition == "vector":
            shape = (self._data.vector_size,)
            vector = Feature(name="vector", dtype="float32", shape=shape, meaning="the condition, standardised")
            return Schema(features=(ids, vector))
        return Schema(
            features=(
                ids,
                Feature(name="condition", dtype="int64", shape=(), meaning="index of the label, -1 where it is new"),
                Feature(name="label", dtype="string", shape=(), meaning="the label, as UTF-8"),
            )
        )

    def encode(self, arrays: Mapping[str, NDArray[Any]], resources: Resources) -> dict[str, Ragged]:
        from seqapps.preprocessing.analysis import encode_text, unpack

        ids = encode_text(arrays, resources["text"], ends=arrays["ends"])
        ones = np.arange(len(ids) + 1, dtype=np.int64)
        if self._data.condition == "vector":
            scaled = resources["vector"].apply(arrays["vector"])
            return {"ids": ids, "vector": Ragged(scaled.reshape(-1), ones * self._data.vector_size)}
        labels = unpack("labels", arrays)
        names = np.empty(len(labels), np.object_)
        names[:] = labels
        return {"ids": ids, "condition": Ragged(resources["label"].lookup(labels), ones), "label": Ragged(names, ones)}

    @property
    def ngrams(self) -> tuple[str, int]:
        return "ids", self._data.ngram_order

    # ---- batches and model

    def batches(self, folder: Path, manifest: Manifest, split: str) -> Batches:
        import tensorflow as tf

        from seqapps.data.rows import RowBatches
        from seqapps.preprocessing.vocabulary import BEGIN

        training, examples = self.config.training, self.examples(folder, manifest, split)
        ids, name = examples["ids"], self._data.condition

        def collate(dense: Mapping[str, Any], lengths: Mapping[str, Any], present: Any) -> tuple[Any, Any, Any]:
            y = tf.cast(dense["ids"], tf.int32)
            weights = tf.sequence_mask(lengths["ids"], tf.shape(y)[1], tf.float32)
            x = tf.concat([tf.fill([tf.shape(y)[0], 1], BEGIN), y[:, :-1]], axis=1)
            given = tf.cast(dense["condition"][:, 0], tf.int32) if name == "label" else dense["vector"]
            return {"tokens": x * tf.cast(weights, tf.int32), name: given}, y, weights

        return RowBatches(
            {key: rows for key, rows in examples.items() if key in ("ids", "condition", "vector")},
            collate,
            lengths=ids.lengths,
            units=int(ids.splits[-1]),
            batch_size=training.batch_size,
            token_budget=training.token_budget,
            seed=self.config.seed,
            shuffle=split == "train",
        )

    def build(self, manifest: Manifest, *, use_cudnn: bool | Literal["auto"] = "auto") -> keras.Model:
        model: keras.Model = architectures.load(self.config.model.architecture).build(
            self.config.model,
            vocabulary_size=manifest.vocabularies["text"].size,
            labels=manifest.vocabularies["label"].size if self._data.condition == "label" else 0,
            features=self._data.vector_size,
            use_cudnn=use_cudnn,
        )
        return model

    def criterion(self, manifest: Manifest) -> Any:
        from seqapps.modeling.losses import PERPLEXITY, Objective

        return Objective("nats", "min", PERPLEXITY.loss, lambda nats: nats)

    def sampler(
        self, model: keras.Model, resources: Resources, folder: Path, manifest: Manifest
    ) -> Callable[[int], str] | None:
        """Returns what writes one text for each of a few conditions, of at most `training.sample_length` units."""
        length, seed = self.config.training.sample_length, self.config.seed
        if not length:
            return None

        @cache
        def ready() -> tuple[Any, list[Any]]:
            return self._writer(model, resources), self._some_conditions(folder, manifest, resources)

        def sample(epoch: int) -> str:
            writer, conditions = ready()
            texts = writer.write(conditions, length=length, temperature=0.8, seed=seed + epoch)
            lines = (f"{condition}: {text}" for condition, text in zip(conditions, texts, strict=True))
            return ("\n\n" if any("\n" in text for text in texts) else "\n").join(lines)

        return sample

    # ---- measuring

    def baselines(self) -> tuple[str, ...]:
        chosen = self.config.baselines.names or ("uniform", "unigram", *_NGRAMS)
        left_out = {"conditional_ngram"} if self._data.condition == "vector" else set()
        left_out |= set() if self._data.ngram_order else set(_NGRAMS)
        return tuple(name for name in chosen if name not in left_out)

    def examples(self, folder: Path, manifest: Manifest, split: str) -> dict[str, Ragged]:
        return Located(super().examples(folder, manifest, split), folder, manifest)

    def predict(self, model: keras.Model, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns -log p of every unit given the condition of its text, and what a sample for that condition was.

        `<float32>[units, 4]`: nats; and for `data.samples` texts that lie evenly over the split, at the last unit of
        each: whether the text that was drawn is novel, distinct and valid (1 or 0), and -1 at every other unit.
        """
        from seqapps.modeling.conditional import row_nats

        ids = examples["ids"]
        result = np.full((len(ids.values), 4), -1.0, np.float32)
        result[:, 0] = row_nats(model, ids, self._given(examples))
        if isinstance(examples, Located) and self._data.samples:
            rows = np.unique(np.linspace(0, len(ids) - 1, min(self._data.samples, len(ids))).astype(np.int64))
            result[ids.splits[1:][rows] - 1, 1:] = self._sampled(model, examples, rows)
        return result

    def statistics(self, prediction: NDArray[Any], examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns (nats, units, samples, novel, distinct, valid) of each text; a baseline draws no samples."""
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
        """Returns cross entropy per unit and perplexity given the condition, and of the samples the share that is no
        text of the training split (`novel`), no repetition of an earlier sample (`distinct`), well formed (`valid`)."""
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
            told = {"text": text.decode("utf-8", "replace")}
            if "label" in examples:
                told["condition"] = examples["label"].row(row)[0].decode("utf-8", "replace")
            told["nats per unit"] = f"{nats[ids.splits[row] : ids.splits[row + 1]].mean():.3f}"
            cells.append(told)
        return cells

    # ---- serving

    def signatures(self, model: keras.Model, resources: Resources) -> tuple[tf.Module, dict[str, Any]]:
        writer = self._writer(model, resources)
        return writer, writer.signatures()

    def golden_inputs(self, folder: Path, manifest: Manifest, resources: Resources) -> dict[str, list[dict[str, Any]]]:
        conditions = self._some_conditions(folder, manifest, resources)
        split = "test" if "test" in manifest.splits else "validation"
        examples = self.examples(folder, manifest, split)
        count = min(2, len(examples["ids"]))
        rows = self.shown(np.zeros(len(examples["ids"].values)), examples, resources, range(count))
        texts = [row["text"][:60] for row in rows]
        given: dict[str, Any] = {"condition": conditions, "max_length": 40}
        return {
            "serving_default": [
                {**given, "temperature": 0.8, "top_k": 0, "seed": 1, "count": 2},
                {**given, "temperature": 0.0, "top_k": 0, "seed": 1, "count": 1},
                {**given, "temperature": 1.0, "top_k": 5, "seed": 2, "count": 1},
            ],
            "score": [{"condition": [conditions[0]] * (len(texts) + 1), "text": [*texts, ""]}],
            "conditions": [{}],
        }

    # ---- answering

    @classmethod
    def options(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--count", type=int, default=1, metavar="N", help="texts for each condition (1)")
        parser.add_argument("--max-length", type=int, default=1000, metavar="N", help="most units of a text (1000)")
        parser.add_argument("--temperature", type=float, default=0.8, help="0 takes the most probable unit (0.8)")
        parser.add_argument(
            "--top-k", type=int, default=0, metavar="N", help="draw among the N most probable; 0: all (0)"
        )
        parser.add_argument("--seed", type=int, default=1, help="equal seeds give equal texts (1)")
        parser.add_argument(
            "--score", action="store_true", help="the log-probability of each unit; a row is CONDITION, a tab, TEXT"
        )

    @classmethod
    def check_options(cls, options: argparse.Namespace) -> None:
        answering.check_range(options, {"--count": 1, "--max-length": 1, "--temperature": 0, "--top-k": 0})
        answering.check_seed(options)

    @classmethod
    def answer(cls, call: Call, rows: Sequence[Any], options: argparse.Namespace, first: int) -> list[Any]:
        asked = [answering.text_of(row) for row in rows]
        known = call("conditions")
        if options.score:
            pairs = [_pair(row) for row in asked]
            conditions = [_condition(condition, known) for condition, _ in pairs]
            found = call("score", condition=conditions, text=[text for _, text in pairs])
            return _scores(found, pairs)
        found = call(
            "serving_default",
            condition=[_condition(row, known) for row in asked],
            max_length=options.max_length,
            temperature=options.temperature,
            top_k=options.top_k,
            seed=answering.batch_seed(options.seed, first // answering.BATCH),
            count=options.count,
        )
        columns = ([tuple(values) for values in found[name]] for name in ("texts", "length", "nats", "ended"))
        return [Generation(*values) for values in zip(asked, *columns, strict=True)]

    @classmethod
    def line(cls, answer: Any, options: argparse.Namespace, one_line: bool) -> str:
        if isinstance(answer, ConditionalScore):
            return _score(answer, one_line)
        if one_line:
            return "\t".join(answering.escaped(text) for text in answer.texts)
        return ("\n\n" if any("\n" in text for text in answer.texts) else "\n").join(answer.texts)

    @classmethod
    def showcase(cls, golden: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
        lines = []
        for call in list(golden.get("serving_default") or [])[:1]:
            for condition, texts in zip(call["inputs"]["condition"], call["outputs"]["texts"], strict=True):
                lines.append(f"  {answering.quoted(condition)} -> {'  '.join(map(answering.quoted, texts))}")
        return ["writes", *lines] if lines else []

    # ---- parts

    def _tokenizer_config(self) -> Any:
        from seqapps.preprocessing.tokenizers import TokenizerConfig

        return TokenizerConfig(**self._data.tokens.model_dump())

    def _given(self, examples: Mapping[str, Ragged]) -> dict[str, NDArray[Any]]:
        """Returns the condition of every row, by the name of the model's input."""
        if self._data.condition == "label":
            return {"label": examples["condition"].values.astype(np.int32)}
        return {"vector": examples["vector"].values.reshape(-1, self._data.vector_size).astype(np.float32)}

    def _writer(self, model: keras.Model, resources: Resources) -> Any:
        from seqapps.modeling.conditional import ConditionalWriter

        begin, step = architectures.load(self.config.model.architecture).decoder_of(model, self.config.model)
        if self._data.condition == "label":
            return ConditionalWriter(begin, step, resources["text"], labels=resources["label"].names)
        means, deviations = resources["vector"].means, resources["vector"].deviations
        return ConditionalWriter(begin, step, resources["text"], means=means, deviations=deviations)

    def _some_conditions(self, folder: Path, manifest: Manifest, resources: Resources) -> list[Any]:
        """Returns the most frequent labels, or the vectors of the first rows in original units."""
        if self._data.condition == "label":
            labels = resources["label"]
            order = sorted(range(labels.size), key=lambda place: -labels.counts[place])
            return [labels.names[place] for place in order[:7]]
        vectors = self._given(self.examples(folder, manifest, "validation"))["vector"][:3]
        rows: list[Any] = resources["vector"].undo(vectors).astype(np.float32).tolist()
        return rows

    def _sampled(self, model: keras.Model, examples: Located, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns whether the text drawn for each row is novel, distinct and valid, `<float32>[rows, 3]`.

        Texts are drawn at temperature 1: they are what the model believes, not its best.
        """
        import tensorflow as tf

        from seqapps.preprocessing.checkers import checker, judged
        from seqapps.preprocessing.resources import load
        from seqapps.preprocessing.vocabulary import END

        known = super().examples(examples.folder, examples.manifest, "train")["ids"]
        longest = int(max(known.lengths.max(initial=1), examples["ids"].lengths.max(initial=1)))
        files = examples.manifest.vocabularies
        resources = {name: load(examples.folder / file.folder) for name, file in files.items()}
        tokenizer = resources["text"]
        given = {name: values[rows] for name, values in self._given(examples).items()}
        drawn = self._writer(model, resources).draw(given, length=2 * longest, seed=self.config.seed)
        texts = tokenizer.decode(tf.ragged.constant(drawn, ragged_rank=1, dtype=tf.int32)).numpy().tolist()
        seen = {tuple(known.row(row)[known.row(row) != END].tolist()) for row in range(len(known))}
        return judged(drawn, texts, seen, checker(self._data.checker, self._data.pattern))


_NGRAMS = ("kneser_ney", "conditional_ngram")


def _condition(row: str, known: Mapping[str, Any]) -> Any:
    """Returns a condition as the graph takes it.

    Raises:
        UsageError: an unknown label, or no list of as many numbers as the model takes.
    """
    if not known["names"]:
        numbers = numbers_of(row.encode())
        if numbers is None or len(numbers) != known["size"]:
            example = json.dumps([0.0] * known["size"])
            raise UsageError(
                f"predict: a condition must be a JSON list of {known['size']} numbers. Received: {row!r}. "
                f"Example: {example}."
            )
        return numbers
    if row not in known["names"]:
        raise UsageError("predict: " + unknown_name("the condition", row, known["names"]))
    return row


def _pair(row: str) -> tuple[str, str]:
    condition, tab, text = row.partition("\t")
    if not tab:
        raise UsageError(f"predict: `--score` wants CONDITION, a tab, and TEXT in each row. Received: {row!r}.")
    return condition, text


def _scores(found: Mapping[str, Any], pairs: Sequence[tuple[str, str]]) -> list[Any]:
    scores = []
    for row, (condition, text) in enumerate(pairs):
        length = found["length"][row]
        units, shares = found["units"][row][:length], found["log_probabilities"][row][:length]
        total, perplexity = found["total"][row], found["perplexity"][row]
        scores.append(ConditionalScore(condition, text, tuple(units), tuple(shares), total, perplexity))
    return scores


def _score(answer: ConditionalScore, one_line: bool) -> str:
    if one_line:
        return f"{answer.total:.6f}\t{answer.perplexity:.6f}\t{len(answer.units)}"
    width = max(len(answering.visible(unit)) for unit in answer.units)
    pairs = zip(answer.units, answer.log_probabilities, strict=True)
    rows = [f"  {answering.visible(unit):<{width}}  {nats:9.4f}" for unit, nats in pairs]
    heading = f"{answer.condition}: {answer.text}"
    return "\n".join([heading, *rows, f"  total {answer.total:.4f} nats, perplexity {answer.perplexity:.4f}"])


APPLICATION = ConditionalGeneration
