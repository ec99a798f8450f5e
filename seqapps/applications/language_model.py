"""Language models: the probability of the next unit, of a whole text, and text that goes on from a prompt.

Many to many, causal: x = w_0 .. w_{T-1}, y = w_1 .. w_T. `<eos>` closes every example and counts as a unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqapps import architectures
from seqapps.applications import Application
from seqapps.config import DataConfig, Section
from seqapps.errors import ConfigError
from seqapps.preprocessing.blocks import Analysis, Ragged, RawBlock
from seqapps.preprocessing.vocabulary import BEGIN, END
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

    unit: Literal["character", "word", "subword"] = "word"
    words: Literal["unicode", "whitespace"] = "unicode"
    normalization: Literal["none", "NFC", "NFKC"] = "none"
    lowercase: bool = False


class Data(DataConfig):
    """The `data` section of a language model.

    Args:
        tokens: how text becomes units.
        vocabulary_size: largest number of units with the four special ones; 0 keeps all (not for `subword`).
        min_count: rarer units become `<unk>`.
        keep_empty_lines: an empty line is an example that holds `<eos>` alone, instead of a rejected row.
        ngram_order: order of the Kneser-Ney baseline, whose counts are made in the job; 0 makes none.
    """

    tokens: Tokens = Tokens()
    vocabulary_size: int = Field(10_000, ge=0)
    min_count: int = Field(1, ge=1)
    keep_empty_lines: bool = False
    ngram_order: int = Field(5, ge=0, le=10)


class LanguageModel(Application):
    """A recurrent language model over characters, words or subwords."""

    name = "language_model"
    data = Data
    architectures = ("stacked",)
    objective = "perplexity"
    direction = "min"
    columns = ("text",)

    @property
    def _data(self) -> Data:
        assert isinstance(self.config.data, Data)
        return self.config.data

    @property
    def start(self) -> int:
        """The unit before the first one: `<eos>` in a stream (the text before has ended), else `<bos>`."""
        return END if self.config.training.batching == "stream" else BEGIN

    def check(self) -> None:
        if getattr(self.config.model, "bidirectional", False):
            raise ConfigError(
                "`model.bidirectional` = true cannot be a language model: the backward direction sees the unit that is "
                "to be predicted, so the loss falls to zero and the model can neither score nor write text. Received: "
                "true. Allowed: false."
            )
        if self._data.tokens.unit == "subword" and not self._data.vocabulary_size:
            raise ConfigError("`data.vocabulary_size` must be given for subwords. Received: 0. Example: 8000.")
        if self.config.baselines.names and "kneser_ney" in self.config.baselines.names and not self._data.ngram_order:
            raise ConfigError("`baselines.names` asks for kneser_ney and `data.ngram_order` is 0. Example: 5.")

    # ---- inside Beam

    def split_keys(self, raw: RawBlock) -> list[bytes]:
        return raw.columns["text"]

    def vocabularies(self, raw: RawBlock) -> Analysis:
        from seqapps.preprocessing.analysis import analyse_text

        counts, arrays = analyse_text(raw.columns["text"], self._tokenizer_config())
        return Analysis(counts={"text": counts}, arrays={**arrays, "ends": raw.ends})

    def learn(self, counts: Mapping[str, Mapping[bytes, int]]) -> Resources:
        from seqapps.preprocessing.analysis import learn_tokenizer

        return {
            "text": learn_tokenizer(
                counts["text"], self._tokenizer_config(), self._data.vocabulary_size, self._data.min_count
            )
        }

    def schema(self) -> Schema:
        meaning = "ids of the units of one example, closed by <eos> where the example ends"
        return Schema(features=(Feature(name="ids", dtype="int64", shape=(None,), meaning=meaning),))

    def encode(self, arrays: Mapping[str, NDArray[Any]], resources: Resources) -> dict[str, Ragged]:
        from seqapps.preprocessing.analysis import encode_text

        return {"ids": encode_text(arrays, resources["text"], ends=arrays["ends"])}

    # ---- batches and model

    def batches(self, folder: Path, manifest: Manifest, split: str) -> Batches:
        from seqapps.data.documents import DocumentBatches
        from seqapps.data.streams import StreamBatches

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
        )

    def build(self, manifest: Manifest, *, use_cudnn: bool | Literal["auto"] = "auto") -> keras.Model:
        architecture = architectures.load(self.config.model.architecture)
        model: keras.Model = architecture.build(
            self.config.model, vocabulary_size=manifest.vocabularies["text"].size, carry=True, use_cudnn=use_cudnn
        )
        return model

    def sample(self, model: keras.Model, resources: Resources, *, length: int, seed: int) -> str:
        from seqapps.modeling.generation import TextGenerator

        generator = TextGenerator(model, resources["text"], start=self.start)
        return generator.write("", length=length, temperature=0.8, top_k=0, seed=seed)

    # ---- measuring

    def baselines(self) -> tuple[str, ...]:
        everything = ("uniform", "unigram", "kneser_ney", "fixed_window")
        chosen = self.config.baselines.names or everything
        return tuple(name for name in chosen if name != "kneser_ney" or self._data.ngram_order)

    def examples(self, folder: Path, manifest: Manifest, split: str) -> dict[str, Ragged]:
        from seqapps.data.records import read_split

        return read_split(folder, manifest, split)

    def predict(self, model: keras.Model, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns -log p of every unit of the split given all units before it, in nats, `<float32>[units]`."""
        from seqapps.modeling.scoring import document_nats, stream_nats

        evaluation, ids = self.config.evaluation, examples["ids"]
        if self.config.training.batching == "stream":
            return stream_nats(model, ids.values, self.start, streams=evaluation.streams, window=evaluation.window)
        return document_nats(model, ids, self.start, batch_size=self.config.training.batch_size)

    def statistics(self, prediction: NDArray[Any], examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns (nats, units) of each row; rows longer than `promotion.segment` units are cut there."""
        splits, segment = examples["ids"].splits, self.config.promotion.segment
        starts = np.concatenate([np.arange(low, high, segment) for low, high in pairwise(splits)])
        nats = np.add.reduceat(prediction.astype(np.float64), starts)
        return np.stack([nats, np.diff(np.append(starts, splits[-1]))], axis=1)

    def metrics(self, totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Returns cross entropy in nats and bits per unit, and perplexity = exp(nats per unit)."""
        nats = totals[..., 0] / totals[..., 1]
        return {"perplexity": np.exp(nats), "nats": nats, "bits": nats / np.log(2.0)}

    # ---- serving

    def signatures(self, model: keras.Model, resources: Resources) -> tuple[tf.Module, dict[str, Any]]:
        from seqapps.modeling.generation import TextGenerator

        generator = TextGenerator(model, resources["text"], start=self.start)
        return generator, generator.signatures()

    def golden_inputs(self, folder: Path, manifest: Manifest, resources: Resources) -> dict[str, list[dict[str, Any]]]:
        from seqapps.modeling.generation import golden_calls

        split = "test" if "test" in manifest.splits else "validation"
        return golden_calls(self.examples(folder, manifest, split)["ids"], resources["text"])

    def _tokenizer_config(self) -> Any:
        from seqapps.preprocessing.tokenizers import TokenizerConfig

        return TokenizerConfig(**self._data.tokens.model_dump())


APPLICATION = LanguageModel
