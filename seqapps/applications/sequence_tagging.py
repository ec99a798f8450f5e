"""Sequence tagging: parts of speech, named entities, slots (many to many, aligned).

x = w_0 .. w_{T-1}, y = one tag per token. In a span scheme (such as BIO) the tags mark labelled spans of the text.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqapps import architectures
from seqapps.applications import Application, Breakdown, Call, Refusal
from seqapps.applications import answers as answering
from seqapps.config import DataConfig, Section
from seqapps.dataset.analysed import Analysis, Record, TaggedRows
from seqapps.dataset.ragged import Ragged, RawBlock, evenly_spaced
from seqapps.dataset.schema import Feature, Schema
from seqapps.dataset.text_files import as_bytes, as_text
from seqapps.errors import ConfigError, DataError
from seqapps.preprocessing.pretrained import PretrainedConfig, check_embedding
from seqapps.preprocessing.spans import Scheme, TagSet, type_names

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from seqapps.applications.base import Resources
    from seqapps.batching import Batches
    from seqapps.dataset.manifest import Manifest
    from seqapps.inference.text_tagger import SplitTagger
    from seqapps.optimization.losses import Objective
    from seqapps.preprocessing.tagged_rows import Annotation
    from seqapps.preprocessing.tokenizers import TokenizerConfig
    from seqapps.preprocessing.word_features import WordEncoder

_GOLDEN_ROWS = 4
_STRANGE = "\u00a0Cafe\u0301 \U0001f600\u200dÀ, \uff21\uff11 ½km\u3000x"
_PLAIN_TOKEN = re.compile(r"[^ \t\n\r\v\f]+")
"""Tokens of a text separated by white space, as `bytes.split` splits aligned files."""


class Tokens(Section):
    """How raw text becomes tokens, and tokens become known words. Tokens that are given are taken as they are.

    Args:
        words: `unicode` (runs of letters, marks and digits; other visible characters alone) or `whitespace`.
        normalization: Unicode form of a token before it is looked up.
        lowercase: case folding of a token before it is looked up; its characters and its shape keep their case.
    """

    words: Literal["unicode", "whitespace"] = "unicode"
    normalization: Literal["none", "NFC", "NFKC"] = "NFKC"
    lowercase: bool = False


class Data(DataConfig):
    """The `data` section of a sequence tagging.

    Args:
        annotation: `tags` (columns `tokens` and `tags`) or `spans` (columns `text` and `spans`, a JSON list of
            `[start, end, label]` in characters, the end not in the span).
        scheme: of the tags: `none` (each stands for its token, such as a part of speech), `IOB1`, `BIO` (also called
            IOB2) or `BIOES`. Tags that are not ones of the scheme, or stand in a wrong order, are rejected.
        train_scheme: the scheme that is trained and served; empty takes `scheme`. Spans are measured alike in all.
        tokens: how text becomes tokens, and tokens known words.
        vocabulary_size: largest number of words with the four special ones; 0 keeps all.
        min_count: rarer words become `<unk>`, which is how a model learns what an unknown word can be.
        word_characters: most characters of a word that are read: of a longer one its first and last half.
        pretrained: word vectors that the embedding begins with.
    """

    annotation: Literal["tags", "spans"] = "tags"
    scheme: Scheme = "none"
    train_scheme: Literal["", "IOB1", "BIO", "BIOES"] = ""
    tokens: Tokens = Tokens()
    vocabulary_size: int = Field(0, ge=0)
    min_count: int = Field(1, ge=1)
    word_characters: int = Field(24, ge=1)
    pretrained: PretrainedConfig = PretrainedConfig()

    @property
    def further_files(self) -> tuple[str, ...]:
        return (self.pretrained.path,) if self.pretrained.path else ()


@dataclass(frozen=True)
class TextSpan:
    """A labelled span of a text: characters from `start` up to `end`, exclusive."""

    start: int
    end: int
    label: str
    text: str


@dataclass(frozen=True)
class Tagging:
    """A tagged text.

    Args:
        text: the input, as valid UTF-8; all positions count its characters (Unicode code points).
        tokens, tags: of the text, one tag per token.
        offsets: start and end (exclusive) of each token.
        spans: the spans that the tags mark; None if every tag describes its token alone.
        log_probability: natural logarithm of the joint probability of all tags.
    """

    text: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    spans: tuple[TextSpan, ...] | None
    log_probability: float


class SequenceTagging(Application):
    """A recurrent tagger, with or without a conditional random field."""

    name = "sequence_tagging"
    data = Data
    analysed = TaggedRows
    architectures = ("tagger",)
    direction: Literal["min", "max"] = "max"
    judged = True
    _tagger: SplitTagger | None = None

    @property
    def _data(self) -> Data:
        assert isinstance(self.config.data, Data)
        return self.config.data

    @property
    def _scheme(self) -> Scheme:
        return self._data.train_scheme or self._data.scheme

    @property
    def token(self) -> str:
        """Name of what the lengths of the prepared data count."""
        return "token"

    @property
    def objective(self) -> str:  # type: ignore[override]
        """F1 of the spans; accuracy if every tag describes its token alone."""
        return "accuracy" if self._scheme == "none" else "f1"

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """Tokens and tags, or a text and its spans."""
        return ("tokens", "tags") if self._data.annotation == "tags" else ("text", "spans")

    def check(self) -> None:
        data, source = self._data, self.config.source
        if data.scheme == "none" and (data.train_scheme or data.annotation == "spans"):
            field = "data.train_scheme" if data.train_scheme else "data.annotation"
            raise ConfigError(f'`{field}` is about spans, and `data.scheme` is "none". Example: scheme = "BIO".')
        if data.annotation == "spans" and source.format not in ("jsonl", "csv", "tsv"):
            raise ConfigError(
                '`data.annotation` = "spans" needs rows with a text and a JSON list of spans. '
                f"Received: `source.format` = {source.format!r}. Allowed: jsonl, csv, tsv."
            )
        if self.config.training.batching != "length":
            raise ConfigError("`training.batching` must be \"length\" for tagging. Received: 'stream'.")
        check_embedding(self.config.model, data.pretrained)

    # ---- inside Beam

    def reject(self, raw: RawBlock) -> list[Refusal]:
        rows = enumerate(self._annotation().sentences(raw))
        return [Refusal(row, found) for row, found in rows if isinstance(found, str)]

    def split_keys(self, raw: RawBlock) -> list[bytes]:
        return raw.columns[self.columns[0]]

    def vocabularies(self, raw: RawBlock) -> Analysis:
        from seqapps.preprocessing.tagged_rows import analyse

        sentences = [found for found in self._annotation().sentences(raw) if not isinstance(found, str)]
        return analyse(sentences, self._words_config())

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> Resources:
        from seqapps.preprocessing.analysis import learn_tokenizer
        from seqapps.preprocessing.labels import Labels
        from seqapps.preprocessing.pretrained import vectors_of
        from seqapps.preprocessing.tagged_rows import all_tags
        from seqapps.preprocessing.tokenizers import TokenizerConfig

        data, config = self._data, self._words_config()
        words = learn_tokenizer(counts["words"], config, data.vocabulary_size, data.min_count)
        letters = TokenizerConfig(level="character", normalization=data.tokens.normalization)
        tags = Labels.from_counts(all_tags(counts["tags"], self._scheme))
        if tags.size < 2:
            raise DataError(f"The training split must hold two tags or more. Received: {list(tags.names)}.")
        learned: dict[str, Any] = {
            "words": words,
            "characters": learn_tokenizer(counts["characters"], letters, 0, 1),
            "tags": tags,
        }
        if data.pretrained.path:
            size = int(getattr(self.config.model, "embedding", 0))
            assert words.vocabulary is not None
            learned["vectors"] = vectors_of(data.pretrained, words.vocabulary.tokens, counts["words"], embedding=size)
        return learned

    def schema(self) -> Schema:
        width = self._data.word_characters
        tags = "numbers of the tags; those after the tags of the training split are of types that it does not have"
        return Schema(
            features=(
                Feature(name="words", dtype="int64", shape=(None,), meaning="ids of the words"),
                Feature(name="characters", dtype="int64", shape=(None, width), meaning="ids of each word's characters"),
                Feature(name="shapes", dtype="int64", shape=(None,), meaning="shapes of the words: capitals, digits"),
                Feature(name="tags", dtype="int64", shape=(None,), meaning=tags),
                Feature(name="tag_count", dtype="int64", shape=(), meaning="tags of the training split, in every row"),
                Feature(name="tokens", dtype="string", shape=(None,), meaning="the tokens as they are written"),
                Feature(name="text", dtype="string", shape=(), meaning="the text, or the tokens with spaces between"),
            )
        )

    def encode(self, rows: Record, resources: Resources) -> dict[str, Ragged]:
        from seqapps.preprocessing.tagged_rows import encode

        assert isinstance(rows, TaggedRows)
        labels = resources["tags"]
        return encode(rows, self._encoder(resources), labels, TagSet.of_size(labels.size, self._scheme))

    # ---- batches and model

    def examples(self, folder: Path, manifest: Manifest, split: str) -> dict[str, Ragged]:
        """Returns the features, and `unknown`: whether a token does not occur in the training split."""
        found = super().examples(folder, manifest, split)
        known = found if split == "train" else super().examples(folder, manifest, "train")
        words = set(known["tokens"].values.tolist())
        unknown = np.fromiter((token not in words for token in found["tokens"].values.tolist()), np.bool_)
        return {**found, "unknown": Ragged(unknown, found["tokens"].splits)}

    def batches(self, folder: Path, manifest: Manifest, split: str) -> Batches:
        import tensorflow as tf

        from seqapps.batching.rows import RowBatches

        model = self.config.model
        tags = TagSet.of_size(manifest.vocabularies["tags"].size, self._scheme)
        nothing = 0 if tags.scheme == "none" else tags.outside
        read = {"characters": getattr(model, "characters", "none") != "none", "shapes": getattr(model, "shapes", 0) > 0}
        names = ["words", *(name for name, is_read in read.items() if is_read)]

        def collate(dense: Any, lengths: Any, present: Any) -> tuple[dict[str, Any], Any, Any]:
            x = {name: tf.cast(dense[name], tf.int32) for name in names}
            if "characters" in x:
                used = tf.reduce_any(x["characters"] > 0, axis=[0, 1])
                x["characters"] = x["characters"][:, :, : tf.maximum(tf.math.count_nonzero(used, dtype=tf.int32), 1)]
            y = tf.cast(dense["tags"], tf.int32)
            real = tf.sequence_mask(lengths["words"], tf.shape(y)[1])
            known = real & (y < tags.size)  # a tag unseen in training has no loss, but counts in the metrics
            return x, tf.where(known, y, nothing), tf.cast(known, tf.float32) * present[:, None]

        features = super().examples(folder, manifest, split)
        return RowBatches.of_split(
            {name: features[name] for name in (*names, "tags")},
            collate,
            lengths=features["words"].lengths,
            tokens=int(np.count_nonzero(features["tags"].values < tags.size)),
            config=self.config,
            split=split,
        )

    def build(self, manifest: Manifest, *, use_cudnn: bool | Literal["auto"] = "auto") -> keras.Model:
        from seqapps.preprocessing.word_features import SHAPE_COUNT

        files = manifest.vocabularies
        model: keras.Model = architectures.load(self.config.model.architecture).build(
            self.config.model,
            sizes=(files["words"].size, files["characters"].size, SHAPE_COUNT),
            allowed=TagSet.of_size(files["tags"].size, self._scheme).allowed(),
            use_cudnn=use_cudnn,
            seed=self.config.seed,
        )
        return model

    def initialise(self, model: keras.Model, resources: Resources) -> None:
        if "vectors" in resources:
            resources["vectors"].fill(model.get_layer("embedding"))

    def criterion(self, manifest: Manifest, model: keras.Model) -> Objective:
        from seqapps.inference.text_tagger import tag_losses
        from seqapps.optimization.losses import Objective

        return Objective(self.objective, self.direction, tag_losses, None)

    # ---- evaluation

    def predict(self, model: keras.Model, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns the tag of every token of the split, `<int32>[tokens]`."""
        from seqapps.inference.text_tagger import SplitTagger

        if self._tagger is None or self._tagger.model is not model:
            self._tagger = SplitTagger(model)
        return self._tagger(examples)

    def statistics(self, prediction: NDArray[Any], examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns the counts of `seqapps.metrics.tagging` for each sentence."""
        from seqapps.metrics.tagging import statistics

        expected, tags = examples["tags"], TagSet.of_size(int(examples["tag_count"].values[0]), self._scheme)
        return statistics(prediction, expected.values, examples["unknown"].values, expected.splits, tags)

    def metrics(self, totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        from seqapps.metrics.tagging import span_metrics, token_metrics

        return ({} if self._scheme == "none" else span_metrics(totals)) | token_metrics(totals)

    def breakdowns(self, totals: NDArray[np.float64], resources: Resources) -> list[Breakdown]:
        from seqapps.metrics.tagging import type_table

        rows = type_table(totals, type_names(resources["tags"].names, self._scheme))
        kind = "tag" if self._scheme == "none" else "type"
        return [Breakdown(f"{kind}s", (kind, "expected", "received", "precision", "recall", "F1"), rows)]

    def pictures(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, folder: Path
    ) -> dict[str, Path]:
        from seqapps.plots.confusion import draw_confusion

        if self._scheme != "none":
            return {}
        labels, expected = resources["tags"], examples["tags"].values
        known = expected < labels.size
        pairs = expected[known].astype(np.int64) * labels.size + prediction[known]
        counts = np.bincount(pairs, minlength=labels.size**2).reshape(labels.size, labels.size)
        folder.mkdir(parents=True, exist_ok=True)
        return {"confusion matrix": draw_confusion(counts, labels.names, folder / "confusion.png")}

    def shown(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, rows: Sequence[int]
    ) -> list[dict[str, str]]:
        from seqapps.preprocessing.tagged_rows import marked

        names, outside = [*resources["tags"].names], "?" if self._scheme == "none" else "O"
        received, result = Ragged(prediction, examples["tags"].splits), []
        for row in rows:
            tokens = [token.decode() for token in examples["tokens"].row(row).tolist()]
            pair = [
                [names[tag] if tag < len(names) else outside for tag in tags.row(row).tolist()]
                for tags in (examples["tags"], received)
            ]
            expected, predicted = (marked(tokens, tags, self._scheme) for tags in pair)
            result.append({"text": examples["text"].values[row].decode(), "expected": expected, "received": predicted})
        return result

    # ---- serving

    def signatures(self, model: keras.Model, resources: Resources) -> tuple[tf.Module, dict[str, Any]]:
        from seqapps.inference.text_tagger import TextTagger

        names = resources["tags"].names
        tags = TagSet.of_size(len(names), self._scheme)
        tagger = TextTagger(model, self._encoder(resources), names, tags, words=self._data.tokens.words)
        return tagger, tagger.signatures()

    def golden_inputs(self, folder: Path, manifest: Manifest, resources: Resources) -> dict[str, list[dict[str, Any]]]:
        found = super().examples(folder, manifest, "test" if "test" in manifest.splits else "validation")
        rows = evenly_spaced(len(found["text"]), _GOLDEN_ROWS).tolist()
        texts = [found["text"].values[row].decode() for row in rows]
        tokens = [[token.decode() for token in found["tokens"].row(row).tolist()] for row in rows]
        return {
            "serving_default": [{"text": texts}, {"text": [_STRANGE, "", " \n"]}, {"text": [""]}],
            "tag_tokens": [{"tokens": _padded(tokens)}, {"tokens": [[""]]}],
        }

    # ---- prediction

    @classmethod
    def options(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--tokenised", action="store_true", help="the tokens are what stands between white space")

    @classmethod
    def answer(cls, call: Call, rows: Sequence[Any], options: argparse.Namespace, first: int) -> list[Any]:
        if not options.tokenised:
            found = call("serving_default", text=[as_bytes(row) for row in rows])
            places = [list(zip(*pair, strict=True)) for pair in zip(found["starts"], found["ends"], strict=True)]
            return [_tagging(found, row, text, places[row]) for row, text in enumerate(found["text"])]
        texts = [as_text(row) for row in rows]
        matches = [list(_PLAIN_TOKEN.finditer(text)) for text in texts]
        found = call("tag_tokens", tokens=_padded([[match.group() for match in row] for row in matches]))
        tokens = [[match.span() for match in row] for row in matches]
        return [_tagging(found, row, text, tokens[row], by_token=True) for row, text in enumerate(texts)]

    @classmethod
    def line(cls, answer: Any, options: argparse.Namespace, one_line: bool) -> str:
        """Returns `token/TAG` for each token, or the text with its spans in brackets."""
        if answer.spans is None:
            return " ".join(f"{token}/{tag}" for token, tag in zip(answer.tokens, answer.tags, strict=True))
        text = _bracketed(answer.text, answer.spans)
        return answering.escaped(text) if one_line else text

    @classmethod
    def showcase(cls, golden: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
        """Returns the texts of the first call, tagged."""
        calls = golden.get("serving_default") or []
        options = argparse.Namespace(tokenised=False)
        if not calls:
            return []
        recorded = Call(lambda _, **__: dict(calls[0]["outputs"]))
        rows = cls.answer(recorded, calls[0]["inputs"]["text"], options, 0)
        return [f"  {cls.line(row, options, one_line=True)}" for row in rows]

    # ---- parts

    def _annotation(self) -> Annotation:
        from seqapps.preprocessing.tagged_rows import Annotation

        data = self._data
        return Annotation(
            spans=data.annotation == "spans",
            lists=self.config.source.format in ("jsonl", "conll", "conllu"),
            words=data.tokens.words,
            scheme=data.scheme,
            to=self._scheme,
        )

    def _words_config(self) -> TokenizerConfig:
        from seqapps.preprocessing.tokenizers import TokenizerConfig

        return TokenizerConfig(level="word", **self._data.tokens.model_dump())

    def _encoder(self, resources: Resources) -> WordEncoder:
        from seqapps.preprocessing.word_features import WordEncoder

        return WordEncoder(resources["words"], resources["characters"], self._data.word_characters)


def _padded(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    width = max([1, *map(len, rows)])
    return [[*row, *[""] * (width - len(row))] for row in rows]


def _tagging(
    found: Mapping[str, Any], row: int, text: str, places: Sequence[tuple[int, int]], *, by_token: bool = False
) -> Tagging:
    """Returns one row of the outputs; `by_token` if its spans count tokens, whose characters are in `places`."""
    length, spans = found["length"][row], None
    if "span_labels" in found:
        columns = (found[name][row][: found["span_count"][row]] for name in ("span_starts", "span_ends", "span_labels"))
        borders = [
            (places[start][0], places[end - 1][1], label) if by_token else (start, end, label)
            for start, end, label in zip(*columns, strict=True)
        ]
        spans = tuple(TextSpan(start, end, label, text[start:end]) for start, end, label in borders)
    return Tagging(
        text=text,
        tokens=tuple(found["tokens"][row][:length]),
        tags=tuple(found["tags"][row][:length]),
        offsets=tuple(places[:length]),
        spans=spans,
        log_probability=found["log_probability"][row],
    )


def _bracketed(text: str, spans: Sequence[TextSpan]) -> str:
    parts, end = [], 0
    for span in spans:
        parts += [text[end : span.start], f"[{span.label} {span.text}]"]
        end = span.end
    return "".join([*parts, text[end:]])


APPLICATION = SequenceTagging
