"""Masked words: the missing word of a text, from the words on both sides of it ("Twinkle, twinkle, ____ star").

Trained on plain text. The prediction at a position never depends on the word there, so that in training and evaluation
every word of an example is predicted as a blank, in one forward pass.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqapps import architectures
from seqapps.applications import Application, Call
from seqapps.applications import answers as answering
from seqapps.calls import SUGGESTING
from seqapps.config import DataConfig
from seqapps.dataset.analysed import Analysis, Record, TextRows
from seqapps.dataset.ragged import Ragged, RawBlock, evenly_spaced
from seqapps.dataset.schema import Feature, Schema
from seqapps.dataset.text_files import as_bytes, as_text
from seqapps.errors import ConfigError, quoted
from seqapps.preprocessing.tokenizer_config import TokenizerConfig

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from seqapps.applications.base import Resources
    from seqapps.batching import Batches
    from seqapps.dataset.manifest import Manifest

_SHOWN = 30
"""Words at the beginning of a row that are shown in examples."""


class Tokens(TokenizerConfig):
    """How text becomes words.

    Args:
        level: `word`: a blank stands for one.
        spacing: `dropped`: a word is predicted; the text around it stays as it was.
    """

    level: Literal["word"] = "word"
    spacing: Literal["dropped"] = "dropped"


class Data(DataConfig):
    """The `data` section of masked words.

    Args:
        tokens: how text becomes words.
        vocabulary_size: largest number of words with the four special tokens; 0 keeps all.
        min_count: rarer words become `<unk>`.
    """

    tokens: Tokens = Tokens()
    vocabulary_size: int = Field(10_000, ge=0)
    min_count: int = Field(1, ge=1)


@dataclass(frozen=True)
class Filling:
    """Predicted words for the blanks of a text.

    Args:
        text: the input, as valid UTF-8.
        blanks: for every blank its words with their probabilities, the most probable first; empty if the text has no
            blank.
        filled: the text with the most probable word in every blank, each predicted independently.
    """

    text: str
    blanks: tuple[tuple[tuple[str, float], ...], ...]
    filled: str


class MaskedWord(Application):
    """A recurrent model of a word given the words on both sides."""

    name = "masked_word"
    data = Data
    analysed = TextRows
    architectures = ("cloze",)
    objective = "perplexity"
    direction: Literal["min", "max"] = "min"
    columns = ("text",)
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"training": {"sample_length": 3}}
    idle: ClassVar[Mapping[str, tuple[str, ...]]] = {"--score": ("-k",)}

    @property
    def _data(self) -> Data:
        assert isinstance(self.config.data, Data)
        return self.config.data

    def check(self) -> None:
        if self.config.source.rows == "document":
            raise ConfigError(
                '`source.rows` = "document" is one row a file, and a word is predicted from its whole row. Received: '
                "document. Allowed: line, paragraph, file."
            )
        if self.config.training.batching == "stream":
            raise ConfigError(
                '`training.batching` = "stream" cuts text anywhere, and a word is predicted from words on both sides. '
                "Received: stream. Allowed: length."
            )

    # ---- inside Beam

    def split_keys(self, raw: RawBlock) -> list[bytes]:
        return raw.columns["text"]

    def vocabularies(self, raw: RawBlock) -> Analysis:
        from seqapps.preprocessing.analysis import analyse_text

        counts, text = analyse_text(raw.columns["text"], self._data.tokens)
        return Analysis({"text": counts}, TextRows(text, np.zeros(len(text), np.bool_)))

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> Resources:
        from seqapps.preprocessing.analysis import learn_tokenizer

        size, least = self._data.vocabulary_size, self._data.min_count
        return {"text": learn_tokenizer(counts["text"], self._data.tokens, size, least)}

    def schema(self) -> Schema:
        meaning = "ids of the words of one row"
        return Schema(features=(Feature(name="ids", dtype="int64", shape=(None,), meaning=meaning),))

    def encode(self, rows: Record, resources: Resources) -> dict[str, Ragged]:
        from seqapps.preprocessing.analysis import encode_text

        assert isinstance(rows, TextRows)
        return {"ids": encode_text(rows.text, resources["text"], ends=rows.ends)}

    # ---- batches and model

    def batches(self, folder: Path, manifest: Manifest, split: str) -> Batches:
        """Returns batches in which x and y are the same words; the model shifts them, once for each direction."""
        import tensorflow as tf

        from seqapps.batching.rows import RowBatches

        ids = self.examples(folder, manifest, split)["ids"]

        def collate(dense: Mapping[str, Any], lengths: Mapping[str, Any], present: Any) -> tuple[Any, Any, Any]:
            words = tf.cast(dense["ids"], tf.int32)
            empty = tf.cast(tf.shape(words)[1] == 0, tf.int32)  # a batch of rows without words has one step
            words = tf.pad(words, [[0, 0], [0, empty]])
            weights = tf.sequence_mask(lengths["ids"], tf.shape(words)[1], tf.float32)
            return {"tokens": words}, words, weights

        return RowBatches.of_split(
            {"ids": ids},
            collate,
            lengths=ids.lengths,
            tokens=int(ids.splits[-1]),
            config=self.config,
            split=split,
        )

    def build(self, manifest: Manifest, *, use_cudnn: bool | Literal["auto"] = "auto") -> keras.Model:
        """Returns the model. The blank has an id beyond the vocabulary, so that no text can contain it."""
        size = manifest.vocabularies["text"].size
        architecture = architectures.load(self.config.model.architecture)
        model: keras.Model = architecture.build(
            self.config.model, vocabulary_size=size + 1, blank=size, use_cudnn=use_cudnn, seed=self.config.seed
        )
        return model

    def sampler(
        self, model: keras.Model, resources: Resources, folder: Path, manifest: Manifest
    ) -> Callable[[int], str] | None:
        """Returns a function that fills a blank in each of `training.sample_length` rows of the validation split."""
        count = self.config.training.sample_length
        if not count:
            return None

        @cache
        def ready() -> tuple[Any, list[str]]:
            from seqapps.inference.blank_filler import BlankFiller

            ids = self.examples(folder, manifest, "validation")["ids"]
            return BlankFiller(model, resources["text"]), _with_blanks(ids, resources["text"], count, blanks=1)

        def sample(epoch: int) -> str:
            from seqapps.inference.blank_filler import suggestions

            filler, texts = ready()
            return suggestions(filler, texts, k=4) if texts else ""

        return sample

    # ---- evaluation

    def predict(self, model: keras.Model, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns -log p in nats, rank and best word at every word of the split, each masked alone in its example.

        `<float32>[words, 3]`, see `seqapps.metrics.ranks.ranked`.
        """
        from seqapps.inference.blank_filler import word_ranks

        return word_ranks(model, examples["ids"], int(model.output["logits"].shape[-1]) - 1)

    def statistics(self, prediction: NDArray[Any], examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns (nats, words, words at rank 1, words at ranks 1 to 5) of each example."""
        from seqapps.metrics.ranks import NATS, RANK

        ids = examples["ids"]
        columns = [prediction[:, NATS], np.ones(len(prediction)), prediction[:, RANK] <= 1, prediction[:, RANK] <= 5]
        running = np.zeros((len(prediction) + 1, len(columns)))
        np.cumsum(np.stack(columns, axis=1).astype(np.float64), axis=0, out=running[1:])
        sums: NDArray[np.float64] = running[ids.splits[1:]] - running[ids.splits[:-1]]
        return sums

    def metrics(self, totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Returns perplexity = exp(nats per word), and top-1 and top-5 accuracy.

        `<unk>` counts in the perplexity as any other token. It is never suggested, so it always counts as a miss.
        """
        nats = totals[..., 0] / totals[..., 1]
        return {
            "perplexity": np.exp(nats),
            "nats": nats,
            "top1": totals[..., 2] / totals[..., 1],
            "top5": totals[..., 3] / totals[..., 1],
        }

    def shown(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, rows: Sequence[int]
    ) -> list[dict[str, str]]:
        """Returns examples with a blank at the least probable word."""
        from seqapps.inference.blank_filler import blanked
        from seqapps.metrics.ranks import BEST, NATS

        tokenizer, ids = resources["text"], examples["ids"]
        cells = []
        for row in rows:
            words, low = ids.row(row), int(ids.splits[row])
            if not len(words):
                continue
            worst = int(prediction[low : low + len(words), NATS].argmax())
            true, best = (_written(tokenizer, int(token)) for token in (words[worst], prediction[low + worst, BEST]))
            cells.append({"text": blanked(tokenizer, words, [worst]), "expected": true, "received": best})
        return cells

    # ---- serving

    def signatures(self, model: keras.Model, resources: Resources) -> tuple[tf.Module, dict[str, Any]]:
        from seqapps.inference.blank_filler import BlankFiller

        filler = BlankFiller(model, resources["text"])
        return filler, filler.signatures()

    def golden_inputs(self, folder: Path, manifest: Manifest, resources: Resources) -> dict[str, list[dict[str, Any]]]:
        split = "test" if "test" in manifest.splits else "validation"
        ids, tokenizer = self.examples(folder, manifest, split)["ids"], resources["text"]
        texts = _with_blanks(ids, tokenizer, 3, blanks=1) + _with_blanks(ids, tokenizer, 1, blanks=2)
        plain = [text.decode("utf-8", "replace") for text in tokenizer.decode(_ragged(ids, 2)).numpy()]
        return {
            "serving_default": [{"text": [*texts, "____", "no blank", ""]}],
            "fill": [{"text": [*texts, "____", ""], "k": [3] * (len(texts) + 2)}],
            "score": [{"text": [*plain, ""]}],
        }

    # ---- prediction

    @classmethod
    def options(cls, parser: argparse.ArgumentParser) -> None:
        usual = SUGGESTING["k"].default
        parser.add_argument("-k", type=int, default=usual, metavar="N", help="suggestions for each blank (%(default)s)")
        parser.add_argument("--score", action="store_true", help="the log-probability of each word given all others")

    @classmethod
    def check_options(cls, options: argparse.Namespace) -> None:
        answering.check_settings(options, SUGGESTING)

    @classmethod
    def answer(cls, call: Call, rows: Sequence[Any], options: argparse.Namespace, first: int) -> list[Any]:
        texts = [as_bytes(row) for row in rows]
        if options.score:
            return answering.scores_of(call("score", text=texts), texts)
        found = call("fill", text=texts, **answering.for_rows(options, SUGGESTING, len(texts)))
        columns = (found[name] for name in ("blanks", "words", "probabilities", "filled"))
        return [
            Filling(
                text=as_text(text),
                blanks=tuple(tuple(zip(*pair, strict=True)) for pair in list(zip(words, shares, strict=True))[:count]),
                filled=filled,
            )
            for text, count, words, shares, filled in zip(texts, *columns, strict=True)
        ]

    @classmethod
    def line(cls, answer: Any, options: argparse.Namespace, one_line: bool) -> str:
        if isinstance(answer, answering.Score):
            return answering.score_line(answer, one_line)
        return _filling(answer, one_line)

    @classmethod
    def showcase(cls, golden: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
        lines = []
        for call in list(golden.get("serving_default") or [])[:1]:
            found = call["outputs"]
            columns = (found[name] for name in ("blanks", "words", "probabilities"))
            for text, count, words, shares in zip(call["inputs"]["text"], *columns, strict=True):
                pairs = zip(words[:count], shares[:count], strict=True)
                suggestions = [" ".join(f"{w} {p:.0%}" for w, p in zip(*pair, strict=True)) for pair in pairs]
                lines += [f"  {quoted(text)} -> {'; '.join(suggestions)}"] if suggestions else []
        return ["fills", *lines] if lines else []


def _with_blanks(ids: Ragged, tokenizer: Any, count: int, *, blanks: int) -> list[str]:
    """Returns rows spread evenly over `ids`, with some of their known alphabetic words replaced by blanks."""
    from seqapps.inference.blank_filler import blanked

    is_word = np.array([token.isalpha() for token in tokenizer.vocabulary.tokens])
    found = []
    for row in range(len(ids)):
        words = ids.row(row)[:_SHOWN]
        places = np.flatnonzero(is_word[words])
        if len(places) > blanks + 2:
            chosen = [int(places[len(places) * part // (blanks + 1)]) for part in range(1, blanks + 1)]
            found.append((words, chosen))
    return [blanked(tokenizer, *found[place]) for place in evenly_spaced(len(found), count)]


def _ragged(ids: Ragged, count: int) -> Any:
    import tensorflow as tf

    rows = [ids.row(row)[:_SHOWN].tolist() for row in range(min(count, len(ids)))]
    return tf.ragged.constant(rows, ragged_rank=1, dtype=tf.int32)


def _written(tokenizer: Any, token: int) -> str:
    text: str = tokenizer.written(np.int32(token)).numpy().decode("utf-8", "replace")
    return text


def _filling(answer: Filling, one_line: bool) -> str:
    if one_line:
        return answering.escaped(answer.filled)
    if not answer.blanks:
        return f"{answer.text}\n  no blank: write two or more underscores where a word is missing"
    width = max(len(word) for blank in answer.blanks for word, _ in blank)
    lines = [answer.filled]
    for number, blank in enumerate(answer.blanks, 1):
        lines += [f"  blank {number}"] if len(answer.blanks) > 1 else []
        lines += [f"  {word:<{width}}  {probability:8.4%}" for word, probability in blank]
    return "\n".join(lines)


APPLICATION = MaskedWord
