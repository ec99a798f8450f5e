"""An exported language model, loaded, and the answers it gives. It takes TensorFlow, and none of our graphs' code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from seqapps.errors import DataError
from seqapps.preprocessing.vocabulary import END
from seqapps.serving import check
from seqapps.trained import WEIGHTS

FILE_NAME = "model.json"
BATCH = 64
"""Texts of one call of a signature."""

_INT32 = 1 << 31


@dataclass(frozen=True)
class Continuation:
    """What a language model writes after a prompt.

    Args:
        prompt: as given, as valid UTF-8.
        text: what was written; `prompt + text` reads well.
        units: how many units were written, `<eos>` included.
        nats: their -log p under the model.
        ended: whether the model ended the text by itself.
    """

    prompt: str
    text: str
    units: int
    nats: float
    ended: bool

    @property
    def full_text(self) -> str:
        """The prompt and what was written after it."""
        return self.prompt + self.text


@dataclass(frozen=True)
class Completions:
    """The most probable next units after a prompt, the best first; `<eos>` means that the text ends."""

    prompt: str
    units: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Score:
    """How probable a text is: log p of each unit in nats, `<eos>` last, their sum, and exp(-total / units)."""

    text: str
    units: tuple[str, ...]
    log_probabilities: tuple[float, ...]
    total: float
    perplexity: float


class Served:
    """A language model that was loaded from a SavedModel.

    Args:
        model: what `tf.saved_model.load` gave.
        record: its `model.json`.
    """

    def __init__(self, model: Any, record: Mapping[str, Any]) -> None:
        self.record = record
        self._model = model

    def generate(
        self,
        prompts: Sequence[str | bytes],
        *,
        max_length: int = 100,
        temperature: float = 0.8,
        top_k: int = 0,
        seed: int = 1,
    ) -> list[Continuation]:
        """Returns a continuation of each prompt; `temperature` 0 takes the most probable unit, `top_k` 0 draws among
        all. Equal calls give equal texts, and prompts that are appended change nothing before them."""
        answers = []
        for index, batch in enumerate(_batches(prompts)):
            rows = self._call(
                "serving_default",
                prompt=batch,
                max_length=max_length,
                temperature=temperature,
                top_k=top_k,
                seed=batch_seed(seed, index),
            )
            answers += [
                Continuation(
                    prompt=full[: len(full) - len(text)], text=text, units=length, nats=nats, ended=END in ids
                )
                for full, text, length, nats, ids in zip(
                    rows["full_text"], rows["text"], rows["length"], rows["nats"], rows["ids"], strict=True
                )
            ]
        return answers

    def complete(self, prompts: Sequence[str | bytes], *, k: int = 5) -> list[Completions]:
        """Returns the k most probable next units of each prompt."""
        answers = []
        for batch in _batches(prompts):
            rows = self._call("complete", prompt=batch, k=k)
            answers += [
                Completions(prompt=_text(prompt), units=tuple(units), probabilities=tuple(probabilities))
                for prompt, units, probabilities in zip(batch, rows["units"], rows["probabilities"], strict=True)
            ]
        return answers

    def score(self, texts: Sequence[str | bytes]) -> list[Score]:
        """Returns the log-probability of each text, unit by unit."""
        answers = []
        for batch in _batches(texts):
            rows = self._call("score", text=batch)
            for index, text in enumerate(batch):
                length = rows["length"][index]
                answers.append(
                    Score(
                        text=_text(text),
                        units=tuple(rows["units"][index][:length]),
                        log_probabilities=tuple(rows["log_probabilities"][index][:length]),
                        total=rows["total"][index],
                        perplexity=rows["perplexity"][index],
                    )
                )
        return answers

    def _call(self, signature: str, **inputs: Any) -> dict[str, Any]:
        if signature not in self._model.signatures:
            raise DataError(
                f"The model has no signature {signature!r}. Received: application {self.record['application']!r} with "
                f"{sorted(self._model.signatures)}."
            )
        return check.answer(tf, self._model.signatures[signature], inputs)


def load(folder: Path) -> Served:
    """Returns the model of an exported folder, ready to answer.

    Raises:
        DataError: the folder holds no exported model; a trained model says that it must be exported first.
    """
    record = read_record(folder)
    if record["needs_tensorflow_text"]:
        import tensorflow_text  # noqa: F401  # registers the operations of the tokenizer
    return Served(tf.saved_model.load(str(folder)), record)


def read_record(folder: Path) -> dict[str, Any]:
    """Returns `model.json` of an exported folder.

    Raises:
        DataError: see `load`.
    """
    if not (folder / "saved_model.pb").exists():
        if (folder / WEIGHTS).exists() or (folder / "model" / WEIGHTS).exists():
            raise DataError(f"{folder} holds a trained model, which is not exported yet. Run `seqapps export CONFIG`.")
        raise DataError(f"{folder} holds no exported model (saved_model.pb). Run `seqapps export CONFIG`.")
    try:
        record: dict[str, Any] = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder} is a SavedModel without {FILE_NAME}: seqapps did not export it.") from None
    return record


def batch_seed(seed: int, index: int) -> int:
    """Returns the seed of a batch: rows differ by their index, batches by their seed, which stays in 32 bits."""
    return (seed + index + _INT32) % (2 * _INT32) - _INT32


def _batches(texts: Sequence[str | bytes]) -> list[list[bytes]]:
    # A command line that is not UTF-8 reaches Python as surrogates, which go back to the bytes they stood for.
    raw = [text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text for text in texts]
    return [raw[low : low + BATCH] for low in range(0, len(raw), BATCH)]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")
