"""Machine translation, and any other sequence-to-sequence task on text.

Many to many, encoder-decoder: log p(y | x) is maximised over pairs, with y = y_1 .. y_T closed by `<eos>`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqapps import architectures
from seqapps.applications import Application, Breakdown, Call, Refusal
from seqapps.applications import answers as answering
from seqapps.calls import SAMPLING, TRANSLATING
from seqapps.config import DataConfig, EvaluationConfig
from seqapps.dataset.analysed import Analysis, PairRows, Record
from seqapps.dataset.ragged import Ragged, RawBlock, evenly_spaced
from seqapps.dataset.schema import Feature, Schema
from seqapps.dataset.text_files import as_bytes, as_text
from seqapps.errors import ConfigError, DataError, UsageError, quoted, wrong_value
from seqapps.preprocessing.tokenizer_config import TokenizerConfig, check_subwords
from seqapps.preprocessing.vocabulary import BEGIN, PAD

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from seqapps.applications.base import Resources
    from seqapps.batching import Batches
    from seqapps.dataset.manifest import Manifest
    from seqapps.inference.translator import Search, Translator
    from seqapps.optimization.losses import Objective

SIDES = ("source", "target")
SHARED = "text"
"""Name of the vocabulary that both sides share, if they do."""
_SHOWN_ROWS, _SHOWN_TOKENS = 4, 24
_MOST_TOKENS = 100
"""Maximum length of a translation if the manifest does not hold the target lengths."""


class Side(TokenizerConfig):
    """How the text of one side becomes tokens; see `seqapps.preprocessing.tokenizer_config.TokenizerConfig`.

    `subword`, `character` and words that keep their spacing (the default) give the text back as it was; normalization
    `none` keeps every space as it is written, U+00A0 and U+202F too, and NFKC makes plain spaces of them.

    Args:
        vocabulary_size: largest number of tokens with the four special ones; 0 keeps all (not for `subword`).
        min_count: rarer tokens become `<unk>`.
    """

    level: Literal["character", "word", "subword"] = "subword"
    spacing: Literal["kept", "dropped"] = "kept"
    vocabulary_size: int = Field(8_000, ge=0)
    min_count: int = Field(1, ge=1)

    @property
    def tokens(self) -> TokenizerConfig:
        """The tokenizer's part of this configuration."""
        return TokenizerConfig(**self.model_dump(include=set(TokenizerConfig.model_fields)))


class Data(DataConfig):
    """The `data` section of a translation.

    Args:
        source, target: how the text of each side becomes tokens.
        shared_vocabulary: one vocabulary, counted over both sides.
        max_length: a pair with more words on a side, as white space divides them (more characters for `character`), is
            rejected as `too-long`; 0 takes all. Nothing is cut.
    """

    source: Side = Side()
    target: Side = Side()
    shared_vocabulary: bool = False
    max_length: int = Field(100, ge=0)


@dataclass(frozen=True)
class Alternative:
    """One of several translations; see `Translation`."""

    text: str
    score: float
    log_probability: float


@dataclass(frozen=True)
class Translation:
    """The translation of a text.

    Args:
        source: the input, as valid UTF-8.
        text: the best translation.
        score: log p divided by the length penalty, by which the alternatives are ranked.
        log_probability: log p(text | source), `<eos>` included.
        tokens: number of generated tokens, `<eos>` included.
        alternatives: the n-best list, `text` first (`--n-best`).
        picture: path of the attention plot (`--attention`); empty otherwise.
    """

    source: str
    text: str
    score: float
    log_probability: float
    tokens: int
    alternatives: tuple[Alternative, ...]
    picture: str = ""


class Scoring(EvaluationConfig):
    """How translations of the test split are generated and scored.

    Args:
        beam: hypotheses that the search keeps; 1 is greedy.
        length_penalty: a, by which a search compares hypotheses of several lengths: the highest
            log p / ((5 + length) / 6)^a wins (Wu et al. 2016, eq. 14; length counts the end of the sentence). 0 takes
            the probability alone; a larger one longer sentences.
        max_length: most tokens that are generated; 0 takes the power of two that holds the longest target of training,
            and a quarter more.
        bleu_tokenizer: what BLEU counts, by sacreBLEU's names: `13a` and `intl` words, `char` characters, `zh`
            characters of Chinese and words, `none` what white space divides.
    """

    beam: int = Field(4, ge=1, le=1_024)
    length_penalty: float = Field(0.6, ge=0.0)
    max_length: int = Field(0, ge=0, le=1 << 20)
    bleu_tokenizer: Literal["13a", "intl", "char", "zh", "none"] = "13a"


class TranslationTask(Application):
    """A recurrent encoder-decoder over words, characters or subwords."""

    name = "translation"
    data = Data
    analysed = PairRows
    architectures = ("encoder_decoder",)
    objective = "bleu"
    direction: Literal["min", "max"] = "max"
    second = "perplexity"
    columns = SIDES
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"source": {"format": "tsv"}}
    evaluation = Scoring
    needs: ClassVar[Mapping[str, tuple[str, str]]] = {"--attention": ("attend", '`model.attention` other than "none"')}

    @property
    def _data(self) -> Data:
        assert isinstance(self.config.data, Data)
        return self.config.data

    @property
    def _scoring(self) -> Scoring:
        assert isinstance(self.config.evaluation, Scoring)
        return self.config.evaluation

    @property
    def token(self) -> str:
        return self._data.target.level

    def check(self) -> None:
        data = self._data
        for name in SIDES:
            check_subwords(self._side(name).level, self._side(name).vocabulary_size, f"data.{name}")
        if data.shared_vocabulary and data.source != data.target:
            raise ConfigError(
                "`data.shared_vocabulary` = true needs equal `data.source` and `data.target`. Received: "
                f"{data.source} and {data.target}."
            )
        if getattr(self.config.model, "tie_embeddings", "") == "all" and not data.shared_vocabulary:
            raise ConfigError(
                '`model.tie_embeddings` = "all" needs `data.shared_vocabulary` = true. Received: false. '
                'Allowed without it: "output", "none".'
            )
        if self.config.training.batching == "stream":
            raise ConfigError(
                '`training.batching` = "stream" carries a state from row to row, and pairs are rows by themselves. '
                'Allowed: "length".'
            )

    # ---- inside Beam

    def reject(self, raw: RawBlock) -> list[Refusal]:
        from seqapps.preprocessing.pairs import refusal

        data, levels = self._data, (self._data.source.level, self._data.target.level)
        pairs = zip(raw.columns["source"], raw.columns["target"], strict=True)
        reasons = [refusal(pair, levels, data.max_length) for pair in pairs]
        return [Refusal(row, reason) for row, reason in enumerate(reasons) if reason]

    def split_keys(self, raw: RawBlock) -> list[bytes]:
        """Returns the source without case, spaces and punctuation: all translations of a sentence share a split."""
        from seqapps.preprocessing.pairs import sentence_key

        return [sentence_key(text) for text in raw.columns["source"]]

    def vocabularies(self, raw: RawBlock) -> Analysis:
        from seqapps.preprocessing.pairs import analyse_pairs

        return analyse_pairs(raw, {side: (self._vocabulary(side), self._side(side).tokens) for side in SIDES})

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> Resources:
        from seqapps.preprocessing.analysis import learn_tokenizer

        learned = {}
        for side in SIDES:
            name, config = self._vocabulary(side), self._side(side)
            if name not in learned:
                counted = counts.get(name, {})
                learned[name] = learn_tokenizer(counted, config.tokens, config.vocabulary_size, config.min_count)
        return learned

    def schema(self) -> Schema:
        return Schema(
            features=(
                Feature(name="target_ids", dtype="int64", shape=(None,), meaning="tokens of the target, then <eos>"),
                Feature(name="source_ids", dtype="int64", shape=(None,), meaning="tokens of the source, then <eos>"),
                Feature(name="source", dtype="string", shape=(), meaning="the source as it was given"),
                Feature(name="target", dtype="string", shape=(), meaning="the reference as it was given"),
            )
        )

    def encode(self, rows: Record, resources: Resources) -> dict[str, Ragged]:
        from seqapps.preprocessing.pairs import encode_pairs

        assert isinstance(rows, PairRows)
        features = encode_pairs(rows, {side: resources[self._vocabulary(side)] for side in SIDES})
        return {feature.name: features[feature.name] for feature in self.schema().features}

    @property
    def written(self) -> Mapping[str, tuple[str, TokenizerConfig]]:
        return {"target": ("target_ids", self._data.target.tokens)}

    # ---- batches and model

    def batches(self, folder: Path, manifest: Manifest, split: str) -> Batches:
        import tensorflow as tf

        from seqapps.batching.rows import RowBatches, shift_right

        def collate(dense: Any, lengths: Any, present: Any) -> tuple[dict[str, Any], Any, Any]:
            y = tf.cast(dense["target_ids"], tf.int32)
            weights = tf.sequence_mask(lengths["target_ids"], tf.shape(y)[1], tf.float32)
            before = shift_right(y, BEGIN)
            x = {"source": tf.cast(dense["source_ids"], tf.int32), "target": tf.where(weights > 0, before, PAD)}
            return x, y, weights

        features = self.examples(folder, manifest, split)
        return RowBatches.of_split(
            {name: features[name] for name in ("source_ids", "target_ids")},
            collate,
            lengths=features["source_ids"].lengths + features["target_ids"].lengths,
            tokens=int(features["target_ids"].splits[-1]),
            config=self.config,
            split=split,
        )

    def build(self, manifest: Manifest, *, use_cudnn: bool | Literal["auto"] = "auto") -> keras.Model:
        architecture = architectures.load(self.config.model.architecture)
        sizes = {f"{side}_size": manifest.vocabularies[self._vocabulary(side)].size for side in SIDES}
        model: keras.Model = architecture.build(self.config.model, **sizes, use_cudnn=use_cudnn, seed=self.config.seed)
        model.longest = _longest(manifest)
        return model

    def criterion(self, manifest: Manifest, model: keras.Model) -> Objective:
        from dataclasses import replace

        from seqapps.optimization.losses import PERPLEXITY, cross_entropy

        smoothing = float(getattr(self.config.model, "label_smoothing", 0.0))
        if not smoothing:
            return PERPLEXITY
        return replace(PERPLEXITY, training_loss=lambda outputs, y: cross_entropy(outputs["logits"], y, smoothing))

    def sampler(
        self, model: keras.Model, resources: Resources, folder: Path, manifest: Manifest
    ) -> Callable[[int], str] | None:
        from seqapps.inference.translator import row_translator

        length = self.config.training.sample_length
        if not length:
            return None

        @cache
        def some() -> tuple[Any, dict[str, Ragged]]:
            rows = self.examples(folder, manifest, "validation")
            chosen = evenly_spaced(len(rows["source"]), _SHOWN_ROWS)
            translate = row_translator(
                self._translator(model, resources), self._search(model, beam=1, max_length=length)
            )
            return translate, {name: feature.take(chosen) for name, feature in rows.items()}

        def sample(epoch: int) -> str:
            translate, rows = some()
            texts = translate(rows["source_ids"])
            pairs = zip(rows["source"].values, texts, strict=True)
            return "\n".join(f"{as_text(source)} -> {as_text(text)}" for source, text in pairs)

        return sample

    # ---- evaluation

    def predict(self, model: keras.Model, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns translations, -log p of the references and the attention of some rows: one PREDICTION per row.

        Raises:
            DataError: the application was created without the resources of the model.
        """
        from seqapps.inference.translator import reference_nats, translate_rows
        from seqapps.metrics.translation import predictions

        if not self.resources:
            raise DataError("A translation is measured as text: make the application with the model's resources.")
        translator, source = self._translator(model, self.resources), examples["source_ids"]
        texts = translate_rows(translator, source, self._search(model))
        found = predictions(texts, reference_nats(translator, source, examples["target_ids"]))
        if translator.attends:
            for row in _short_rows(source, _SHOWN_ROWS):
                found["attention"][row] = translator.panel(examples["source"].values[row], texts[row])
        return found

    def statistics(self, prediction: NDArray[Any], examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns for each row: counts of BLEU and chrF, nats and tokens of the reference, exact match, and 1."""
        from seqapps.metrics.translation import statistics_of

        references, tokens = examples["target"].values, examples["target_ids"].lengths
        return statistics_of(prediction, references, tokens, self._scoring.bleu_tokenizer)

    def metrics(self, totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        from seqapps.metrics.translation import metrics_of

        return metrics_of(totals)

    def breakdowns(self, totals: NDArray[np.float64], resources: Resources) -> list[Breakdown]:
        """Returns the components of BLEU, with sacreBLEU's signatures."""
        from seqapps.metrics.translation import parts_of, signatures

        bleu, chrf = signatures(self._scoring.bleu_tokenizer)
        columns = ("part", "right", "of", "precision or penalty")
        return [Breakdown(f"BLEU {bleu}, chrF {chrf}", columns, parts_of(totals))]

    def pictures(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, folder: Path
    ) -> dict[str, Path]:
        from seqapps.plots.alignment import draw_attention

        panels = [panel for panel in prediction["attention"] if panel is not None]
        if not panels:
            return {}
        return {"Attention: source across, translation down": draw_attention(panels, folder / "attention.png")}

    def shown(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, rows: Sequence[int]
    ) -> list[dict[str, str]]:
        columns = {"source": examples["source"].values, "expected": examples["target"].values}
        columns["received"] = prediction["text"]
        return [{name: as_text(values[row]) for name, values in columns.items()} for row in rows]

    # ---- serving

    def signatures(self, model: keras.Model, resources: Resources) -> tuple[tf.Module, dict[str, Any]]:
        translator = self._translator(model, resources)
        return translator, translator.signatures()

    def golden_inputs(self, folder: Path, manifest: Manifest, resources: Resources) -> dict[str, list[dict[str, Any]]]:
        from seqapps.inference.translator import golden_calls

        split = "test" if "test" in manifest.splits and manifest.splits["test"].rows else "validation"
        rows = self.examples(folder, manifest, split)
        pairs = [[as_text(text) for text in rows[side].values] for side in SIDES]
        attends = getattr(self.config.model, "attention", "none") != "none"
        return golden_calls(pairs[0], pairs[1], attends=attends)

    # ---- prediction

    @classmethod
    def options(cls, parser: argparse.ArgumentParser) -> None:
        usual = {name: setting.default for name, setting in {**SAMPLING, **TRANSLATING}.items()}

        def number(option: str, meaning: str, kind: type = int) -> None:
            default = usual[option.strip("-").replace("-", "_")]
            parser.add_argument(option, type=kind, default=default, metavar="N", help=f"{meaning} (%(default)s)")

        number("--beam", "hypotheses of the search; 1: greedy")
        number("--n-best", "translations of each text")
        number("--max-length", "most tokens written; 0: as the data is long")
        number("--min-length", "fewest tokens written")
        number("--length-penalty", "0 prefers short translations", float)
        number("--no-repeat-ngram", "no N tokens twice; 0: any")
        parser.add_argument("--temperature", type=float, default=0.0, help="above 0 draws instead of searching (0)")
        number("--top-k", "draw among the N most probable; 0: all")
        number("--seed", "equal seeds give equal texts")
        parser.add_argument("--score", action="store_true", help="TEXT is source TAB target: log p of the target")
        parser.add_argument("--attention", default="", metavar="FILE", help="draw where the model looked, as PNG")

    @classmethod
    def check_options(cls, options: argparse.Namespace) -> None:
        answering.check_settings(options, {**SAMPLING, **TRANSLATING})
        if options.n_best > options.beam:
            most = f"must be at most `--beam`, which is {options.beam}"
            raise UsageError(wrong_value("predict: `--n-best`", options.n_best, most))
        if 0 < options.max_length <= options.min_length:
            least_of = f"must be below `--max-length` {options.max_length}, whose last token is `<eos>`"
            raise UsageError(wrong_value("predict: `--min-length`", options.min_length, least_of))
        for name in cls._not_read(options):
            given = f"`--{name.replace('_', '-')}`"
            mode = "`--score`" if options.score else "`--temperature`" if options.temperature else ""
            if mode:
                raise UsageError(f"predict: {mode} and {given} exclude each other. Received: both.")
            raise UsageError(f"predict: {given} is for `--temperature` above 0. Received: 0, which searches.")

    @classmethod
    def _not_read(cls, options: argparse.Namespace) -> list[str]:
        """Returns the options that differ from their default but have no effect."""
        search, draw = ("beam", "n_best", "length_penalty"), ("top_k", "seed")
        both = ("max_length", "min_length", "no_repeat_ngram", "attention", "temperature")
        parser = argparse.ArgumentParser(add_help=False)
        cls.options(parser)
        idle = (*search, *draw, *both) if options.score else search if options.temperature else draw
        return [name for name in idle if getattr(options, name) != parser.get_default(name)]

    @classmethod
    def answer(cls, call: Call, rows: Sequence[Any], options: argparse.Namespace, first: int) -> list[Any]:
        texts = [as_bytes(row) for row in rows]
        if options.score:
            return _scores(call, texts)
        if options.temperature:
            found = call("sample", source=texts, **answering.for_rows(options, SAMPLING, len(texts), first))
            shares = [[share] for share in found["log_probability"]]
            found |= {"texts": [[text] for text in found["text"]], "scores": shares, "log_probabilities": shares}
            found["count"] = [1] * len(texts)
        else:
            found = call("translate", source=texts, **answering.for_rows(options, TRANSLATING, len(texts)))
        pictures = [""] * len(texts)
        if options.attention:
            from seqapps.plots.alignment import draw_rows

            attended = call("attend", source=texts, target=[text.encode() for text in found["text"]])
            pictures = draw_rows(attended, options.attention, first)
            for text, picture in zip(texts, pictures, strict=True):
                shown = quoted(as_text(text))
                print(f"predict: {picture} shows where the model looked in {shown}", file=sys.stderr)
        return [
            _translation(as_text(text), found, row, picture)
            for row, (text, picture) in enumerate(zip(texts, pictures, strict=True))
        ]

    @classmethod
    def line(cls, answer: Any, options: argparse.Namespace, one_line: bool) -> str:
        if isinstance(answer, answering.Score):
            return answering.score_line(answer, one_line)
        if options.n_best == 1:
            return answering.escaped(answer.text) if one_line else str(answer.text)
        if one_line:
            cells = (f"{other.score:.4f}\t{answering.escaped(other.text)}" for other in answer.alternatives)
            return "\t".join(cells)
        lines = (f"  {other.score:8.4f}  {other.text}" for other in answer.alternatives)
        return "\n".join([answer.source, *lines])

    @classmethod
    def showcase(cls, golden: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
        """Returns the first golden translations."""
        call = (golden.get("serving_default") or [{"inputs": {"source": []}, "outputs": {"text": []}}])[0]
        pairs = zip(call["inputs"]["source"], call["outputs"]["text"], strict=True)
        return [f"  {quoted(source)} -> {quoted(text)}" for source, text in pairs]

    def _vocabulary(self, side: str) -> str:
        return SHARED if self._data.shared_vocabulary else side

    def _side(self, side: str) -> Side:
        config: Side = getattr(self._data, side)
        return config

    def _translator(self, model: keras.Model, resources: Resources) -> Translator:
        from seqapps.inference.translator import Translator

        tokenizers = [resources[self._vocabulary(side)] for side in SIDES]
        return Translator(model, tokenizers[0], tokenizers[1], model.longest)

    def _search(self, model: keras.Model, **changes: Any) -> Search:
        from seqapps.inference.translator import Search

        most = self._scoring.max_length or model.longest
        search = Search(self._scoring.beam, 1, most, 0, self._scoring.length_penalty, 0)
        return search._replace(**changes)


def _longest(manifest: Manifest) -> int:
    """Returns the maximum length of a translation in tokens: the power of two that bounds all training targets, plus a
    quarter."""
    bounds = [int(bound) for bound in manifest.lengths.get("train", {})]
    return max(bounds) * 5 // 4 if bounds else _MOST_TOKENS


def _short_rows(ids: Ragged, count: int) -> NDArray[np.int64]:
    """Returns rows, spread evenly, that are short enough for an attention plot."""
    short = np.flatnonzero(ids.lengths <= _SHOWN_TOKENS)
    return short[evenly_spaced(len(short), count)]


def _translation(source: str, found: Mapping[str, Any], row: int, picture: str) -> Translation:
    count = found["count"][row]
    columns = (found[name][row][:count] for name in ("texts", "scores", "log_probabilities"))
    alternatives = tuple(Alternative(*values) for values in zip(*columns, strict=True))
    best, tokens = alternatives[0], found["length"][row]
    return Translation(source, best.text, best.score, best.log_probability, tokens, alternatives, picture)


def _scores(call: Call, texts: Sequence[bytes]) -> list[answering.Score]:
    pairs = [text.partition(b"\t") for text in texts]
    missing = [source for source, tab, _ in pairs if not tab]
    if missing:
        raise UsageError(f"predict: `--score` takes source TAB target. Received: {quoted(as_text(missing[0]))}.")
    found = call("score", source=[pair[0] for pair in pairs], target=[pair[2] for pair in pairs])
    return answering.scores_of(found, texts)


APPLICATION = TranslationTask
