"""Language models: next-token probabilities, scores of whole texts, and generation from a prompt.

Many to many, causal: x = w_0 .. w_{T-1}, y = w_1 .. w_T. `<eos>` closes every example and counts as a token.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqapps import architectures
from seqapps.applications import Application, Call
from seqapps.applications import answers as answering
from seqapps.calls import SUGGESTING, WRITING
from seqapps.config import DataConfig, EvaluationConfig
from seqapps.dataset.analysed import Analysis, Record, TextRows
from seqapps.dataset.ragged import Ragged, RawBlock
from seqapps.dataset.schema import Feature, Schema
from seqapps.dataset.text_files import as_bytes, as_text
from seqapps.errors import ConfigError, UsageError, quoted
from seqapps.preprocessing.tokenizer_config import TokenizerConfig, check_subwords
from seqapps.preprocessing.vocabulary import BEGIN, END

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from seqapps.applications.base import Resources
    from seqapps.batching import Batches
    from seqapps.dataset.manifest import Manifest

_TOKENS_SHOWN, _LONGEST_SHOWN = 5, 300
_DRAWING = ("--max-length", "--temperature", "--top-k", "--seed")


class Tokens(TokenizerConfig):
    """How text becomes tokens; words keep their spacing by default, so that what is written reads as text."""

    spacing: Literal["kept", "dropped"] = "kept"


class Data(DataConfig):
    """The `data` section of a language model.

    Args:
        tokens: how text becomes tokens.
        vocabulary_size: largest number of tokens with the four special ones; 0 keeps all (not for `subword`).
        min_count: rarer tokens become `<unk>`.
        keep_empty_lines: an empty line is an example that holds `<eos>` alone, instead of a rejected row.
        ngram_order: order of the Kneser-Ney baseline, whose counts are made in the job; 0 makes none.
    """

    tokens: Tokens = Tokens()
    vocabulary_size: int = Field(10_000, ge=0)
    min_count: int = Field(1, ge=1)
    keep_empty_lines: bool = False
    ngram_order: int = Field(5, ge=0, le=10)


@dataclass(frozen=True)
class Continuation:
    """Text generated after a prompt.

    Args:
        prompt: the prompt, as valid UTF-8.
        text: the generated text; `prompt + text` has the right spacing.
        tokens: number of generated tokens, `<eos>` included.
        nats: their -log p under the model.
        ended: whether the model generated `<eos>`.
    """

    prompt: str
    text: str
    tokens: int
    nats: float
    ended: bool

    @property
    def full_text(self) -> str:
        """The prompt and its continuation."""
        return self.prompt + self.text


@dataclass(frozen=True)
class Completions:
    """The most probable next tokens after a prompt, the best first; `<eos>` means that the text ends."""

    prompt: str
    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]


class Scoring(EvaluationConfig):
    """How the test split of a language model is scored.

    Args:
        streams: contiguous streams of stateful scoring; 1 carries the state over the whole text.
        window: time steps per call.
    """

    streams: int = Field(1, ge=1, le=1 << 20)
    window: int = Field(256, ge=1, le=1 << 20)


class LanguageModel(Application):
    """A recurrent language model over characters, words or subwords."""

    name = "language_model"
    data = Data
    analysed = TextRows
    architectures = ("stacked",)
    objective = "perplexity"
    direction: Literal["min", "max"] = "min"
    columns = ("text",)
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"training": {"batching": "stream"}}
    evaluation = Scoring
    idle: ClassVar[Mapping[str, tuple[str, ...]]] = {"--score": ("-k", *_DRAWING), "--complete": _DRAWING, "": ("-k",)}

    @property
    def _data(self) -> Data:
        assert isinstance(self.config.data, Data)
        return self.config.data

    @property
    def start(self) -> int:
        """The token before the first one: `<eos>` in a stream (the text before has ended), else `<bos>`."""
        return END if self.config.training.batching == "stream" else BEGIN

    def check(self) -> None:
        if getattr(self.config.model, "bidirectional", False):
            raise ConfigError(
                "`model.bidirectional` = true cannot be a language model: the backward direction sees the token that "
                "is to be predicted, so the loss falls to zero and the model can neither score nor write text. "
                "Received: true. Allowed: false."
            )
        check_subwords(self._data.tokens.level, self._data.vocabulary_size, "data")

    # ---- inside Beam

    def split_keys(self, raw: RawBlock) -> list[bytes]:
        return raw.columns["text"]

    def vocabularies(self, raw: RawBlock) -> Analysis:
        from seqapps.preprocessing.analysis import analyse_text

        counts, text = analyse_text(raw.columns["text"], self._data.tokens)
        return Analysis({"text": counts}, TextRows(text, raw.ends))

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> Resources:
        from seqapps.preprocessing.analysis import learn_tokenizer

        return {
            "text": learn_tokenizer(counts["text"], self._data.tokens, self._data.vocabulary_size, self._data.min_count)
        }

    def schema(self) -> Schema:
        meaning = "ids of the tokens of one example, closed by <eos> where the example ends"
        return Schema(features=(Feature(name="ids", dtype="int64", shape=(None,), meaning=meaning),))

    def encode(self, rows: Record, resources: Resources) -> dict[str, Ragged]:
        from seqapps.preprocessing.analysis import encode_text

        assert isinstance(rows, TextRows)
        return {"ids": encode_text(rows.text, resources["text"], ends=rows.ends)}

    @property
    def written(self) -> Mapping[str, tuple[str, TokenizerConfig]]:
        return {"text": ("ids", self._data.tokens)}

    # ---- batches and model

    def batches(self, folder: Path, manifest: Manifest, split: str) -> Batches:
        from seqapps.batching.documents import DocumentBatches
        from seqapps.batching.streams import StreamBatches

        training, ids = self.config.training, self.examples(folder, manifest, split)["ids"]
        if training.batching == "stream":
            return StreamBatches(ids.values, batch_size=training.batch_size, window=training.window, start=self.start)
        return DocumentBatches(
            ids,
            batch_size=training.batch_size,
            window=training.window,
            start=self.start,
            seed=self.config.seed,
            shuffle=split == "train",
            token_budget=training.token_budget,
        )

    def build(self, manifest: Manifest, *, use_cudnn: bool | Literal["auto"] = "auto") -> keras.Model:
        architecture = architectures.load(self.config.model.architecture)
        model: keras.Model = architecture.build(
            self.config.model,
            vocabulary_size=manifest.vocabularies["text"].size,
            carry=True,
            use_cudnn=use_cudnn,
            seed=self.config.seed,
        )
        return model

    @property
    def ngrams(self) -> tuple[str, int]:
        return "ids", self._data.ngram_order

    def sampler(
        self, model: keras.Model, resources: Resources, folder: Path, manifest: Manifest
    ) -> Callable[[int], str] | None:
        length, seed = self.config.training.sample_length, self.config.seed
        if not length:
            return None

        @cache
        def generator() -> Any:
            from seqapps.inference.text_generator import TextGenerator

            return TextGenerator(model, resources["text"], start=self.start)

        def sample(epoch: int) -> str:
            text: str = generator().write("", length=length, temperature=0.8, top_k=0, seed=seed + epoch)
            return text

        return sample

    # ---- evaluation

    def predict(self, model: keras.Model, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns -log p of every token of the split given all tokens before it, in nats, `<float32>[tokens]`."""
        from seqapps.inference.scoring import document_nats, stream_nats

        evaluation, ids = self.config.evaluation, examples["ids"]
        assert isinstance(evaluation, Scoring)
        if self.config.training.batching == "stream":
            return stream_nats(model, ids.values, self.start, streams=evaluation.streams, window=evaluation.window)
        return document_nats(model, ids, self.start, batch_size=self.config.training.batch_size)

    def statistics(self, prediction: NDArray[Any], examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns (nats, tokens) of each example; examples longer than `promotion.segment` tokens are cut there."""
        splits, segment = examples["ids"].splits, self.config.promotion.segment
        starts = np.concatenate([np.arange(low, high, segment) for low, high in pairwise(splits)])
        nats = np.add.reduceat(prediction.astype(np.float64), starts)
        return np.stack([nats, np.diff(np.append(starts, splits[-1]))], axis=1)

    def rows(self, examples: Mapping[str, Ragged]) -> NDArray[np.int64]:
        parts = -(-examples["ids"].lengths // self.config.promotion.segment)
        return np.repeat(np.arange(len(parts), dtype=np.int64), parts)

    def metrics(self, totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Returns cross entropy in nats and bits per token, and perplexity = exp(nats per token)."""
        nats = totals[..., 0] / totals[..., 1]
        return {"perplexity": np.exp(nats), "nats": nats, "bits": nats / np.log(2.0)}

    def shown(
        self, prediction: NDArray[Any], examples: Mapping[str, Ragged], resources: Resources, rows: Sequence[int]
    ) -> list[dict[str, str]]:
        """Returns texts, and their least probable tokens, each with its -log p."""
        import tensorflow as tf

        ids, tokenizer = examples["ids"], resources["text"]
        cells = []
        for row in rows:
            tokens = ids.row(row).astype(np.int32)
            nats = prediction[ids.splits[row] : ids.splits[row + 1]]
            worst = np.argsort(-nats, kind="stable")[:_TOKENS_SHOWN]
            text = tokenizer.decode(tf.RaggedTensor.from_tensor(tokens[None])).numpy()[0].decode("utf-8", "replace")
            written = tokenizer.written(tf.constant(tokens[worst])).numpy()
            costs = [
                f"{answering.visible(token.decode('utf-8', 'replace'))} {cost:.1f}"
                for token, cost in zip(written, nats[worst], strict=True)
            ]
            cut = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
            cells.append({"text": cut, "least expected (nats)": ", ".join(costs)})
        return cells

    # ---- serving

    def signatures(self, model: keras.Model, resources: Resources) -> tuple[tf.Module, dict[str, Any]]:
        from seqapps.inference.text_generator import TextGenerator

        generator = TextGenerator(model, resources["text"], start=self.start)
        return generator, generator.signatures()

    def golden_inputs(self, folder: Path, manifest: Manifest, resources: Resources) -> dict[str, list[dict[str, Any]]]:
        from seqapps.inference.text_generator import golden_calls

        split = "test" if "test" in manifest.splits else "validation"
        return golden_calls(self.examples(folder, manifest, split)["ids"], resources["text"])

    # ---- prediction

    @classmethod
    def options(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--complete", action="store_true", help="the most probable next tokens")
        parser.add_argument("--score", action="store_true", help="the log-probability of each token, and perplexity")
        usual = {name: setting.default for name, setting in {**WRITING, **SUGGESTING}.items()}
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
            "-k", type=int, default=usual["k"], metavar="N", help="suggestions of --complete (%(default)s)"
        )

    @classmethod
    def check_options(cls, options: argparse.Namespace) -> None:
        if options.complete and options.score:
            raise UsageError("predict: `--complete` and `--score` exclude each other. Received: both.")
        answering.check_settings(options, {**WRITING, **SUGGESTING})

    @classmethod
    def answer(cls, call: Call, rows: Sequence[Any], options: argparse.Namespace, first: int) -> list[Any]:
        texts = [as_bytes(row) for row in rows]
        if options.complete:
            found = call("complete_k", prompt=texts, **answering.for_rows(options, SUGGESTING, len(texts)))
            return [
                Completions(as_text(text), tuple(tokens), tuple(probabilities))
                for text, tokens, probabilities in zip(texts, found["tokens"], found["probabilities"], strict=True)
            ]
        if options.score:
            return answering.scores_of(call("score", text=texts), texts)
        found = call("generate", prompt=texts, **answering.for_rows(options, WRITING, len(texts), first))
        columns = (found[name] for name in ("full_text", "text", "length", "nats", "ids"))
        return [
            Continuation(prompt=full[: len(full) - len(text)], text=text, tokens=tokens, nats=nats, ended=END in ids)
            for full, text, tokens, nats, ids in zip(*columns, strict=True)
        ]

    @classmethod
    def line(cls, answer: Any, options: argparse.Namespace, one_line: bool) -> str:
        if isinstance(answer, Completions):
            return _completions(answer, one_line)
        if isinstance(answer, answering.Score):
            return answering.score_line(answer, one_line)
        return answering.escaped(answer.full_text) if one_line else str(answer.full_text)

    @classmethod
    def showcase(cls, golden: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
        """Returns generated texts and next-token suggestions."""
        lines: list[str] = []
        for heading, name in (("writes on", "serving_default"), ("suggests next", "complete")):
            for call in list(golden.get(name) or [])[:1]:
                prompts = call["inputs"]["prompt"]
                suggestions = [_suggestions(call["outputs"], row) for row in range(len(prompts))]
                pairs = zip(prompts, suggestions, strict=True)
                lines += [f"{heading} ({name})", *(f"  {quoted(asked)} -> {said}" for asked, said in pairs)]
        return lines

    @classmethod
    def reply(cls, call: Call, row: Any, options: argparse.Namespace, turn: int) -> str:
        """Returns suggestions for the next token and, unless only they are requested, a continuation."""
        if options.score:
            return super().reply(call, row, options, turn)
        found = call("complete_k", prompt=[as_bytes(row)], k=[options.k])
        pairs = zip(found["tokens"][0], found["probabilities"][0], strict=True)
        suggestions = "  ".join(f"{answering.visible(token)} {share:.1%}" for token, share in pairs)
        return suggestions if options.complete else f"{suggestions}\n{super().reply(call, row, options, turn)}"


def _completions(answer: Completions, one_line: bool) -> str:
    pairs = list(zip(answer.tokens, answer.probabilities, strict=True))
    if one_line:
        return "\t".join(f"{answering.visible(token)}\t{probability:.6f}" for token, probability in pairs)
    width = max((len(answering.visible(token)) for token in answer.tokens), default=0)
    rows = [f"  {answering.visible(token):<{width}}  {probability:8.4%}" for token, probability in pairs]
    return "\n".join([answer.prompt, *rows])


def _suggestions(outputs: Mapping[str, Any], row: int) -> str:
    if "probabilities" in outputs:
        pairs = zip(outputs["tokens"][row], outputs["probabilities"][row], strict=True)
        return "  ".join(f"{answering.visible(token)} {share:.0%}" for token, share in pairs)
    return quoted(outputs["text"][row])


APPLICATION = LanguageModel
