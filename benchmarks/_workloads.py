"""Workloads of benchmarks/recurrent.py: sizes, batches, first weights, and how much arithmetic they are. Needs numpy.

Every engine gets the same batches and begins with the same weights, so that the losses of the first step must agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, list[NDArray[np.float32]]]
"""Layer name to its weights, in the layout of Keras."""

SENTENCE_LENGTHS = (
    *(521, 625, 491, 368, 419, 446, 435, 430, 455, 471, 488, 475, 421, 438, 443, 409, 379, 373, 351, 356, 300, 314),
    *(313, 256, 213, 216, 177, 180, 181, 135, 136, 111, 119, 100, 78, 76, 87, 71, 77, 57, 54, 60, 37, 34, 32, 21),
    *(22, 32, 23, 23, 18, 25, 11, 12, 11, 7, 11, 7, 8, 11, 4, 10, 2, 4, 5, 11, 3, 8, 1, 5, 4, 4, 2, 4, 1, 4),
)
"""How many sentences have 1, 2, ... 76 words: the training split of Universal Dependencies English-EWT (commit 15d613d
of UniversalDependencies/UD_English-EWT), words by their integer ids. Its 22 sentences of 77 to 159 words of the 12,544
are left out."""

_SORTED_BATCHES = 100
"""Rows are sorted by length in windows of this many batches, as seqapps/batching/buckets.py does."""


@dataclass(frozen=True)
class Workload:
    """A model and its batches.

    Args:
        title: what it is.
        kind: `language_model` (states carried from batch to batch), `tagger`, `classifier` or `encoder_decoder`.
        cell: `lstm` or `gru`.
        vocabulary, classes: numbers of ids, and of what is predicted.
        embedding, units, layers: sizes; of each direction.
        rows, steps: of a batch; `steps` is the longest of a classifier.
        cycle: different batches, one after the other.
    """

    title: str
    kind: Literal["language_model", "tagger", "classifier", "encoder_decoder"]
    cell: Literal["lstm", "gru"]
    vocabulary: int
    classes: int
    embedding: int
    units: int
    layers: int
    rows: int
    steps: int
    cycle: int = 1

    @property
    def bidirectional(self) -> bool:
        """Taggers and classifiers read both ways."""
        return self.kind in ("tagger", "classifier")

    @property
    def gates(self) -> int:
        """Matrices of a cell."""
        return {"lstm": 4, "gru": 3}[self.cell]

    @property
    def states(self) -> int:
        """States of a cell."""
        return {"lstm": 2, "gru": 1}[self.cell]


WORKLOADS = {
    "W1": Workload("word LM, 2 x LSTM 200", "language_model", "lstm", 10_000, 10_000, 200, 200, 2, 20, 35),
    "W2": Workload("word LM, 2 x LSTM 650", "language_model", "lstm", 10_000, 10_000, 650, 650, 2, 20, 35),
    "W3": Workload("character LM, 2 x LSTM 256", "language_model", "lstm", 65, 65, 64, 256, 2, 64, 128),
    "W4": Workload("BiLSTM tagger, 200 units", "tagger", "lstm", 20_000, 17, 100, 200, 1, 32, 0, cycle=8),
    "W5": Workload("BiLSTM classifier, 128 units, masked", "classifier", "lstm", 20_000, 2, 100, 128, 1, 64, 64),
    "W6": Workload("character LM, 2 x GRU 256", "language_model", "gru", 65, 65, 64, 256, 2, 64, 128),
    "W7": Workload("encoder-decoder, attention", "encoder_decoder", "lstm", 8_000, 8_000, 256, 256, 1, 64, 20),
}


class Batch(NamedTuple):
    """One batch.

    Args:
        x: ids by the name of the input, `<int32>[B, T]`, 0 on padding: `tokens`, `words`, or `source` and `target`.
        y: `<int32>[B, T]`, or `<int32>[B]` of a classifier.
        weights: `<float32>` of the shape of y, 0 on padding.
        lengths: real steps of each row, `<int64>[B]`.
        tokens: real units that are read, or written by an encoder-decoder.
    """

    x: dict[str, NDArray[np.int32]]
    y: NDArray[np.int32]
    weights: NDArray[np.float32]
    lengths: NDArray[np.int64]
    tokens: int


def batches(load: Workload) -> list[Batch]:
    """Returns the batches of a workload, the same at every call. Frequencies of units follow Zipf's law."""
    generator = np.random.default_rng(20)
    return [_batch(load, lengths, generator) for lengths in _lengths(load, generator)]


def _lengths(load: Workload, generator: np.random.Generator) -> list[NDArray[np.int64]]:
    if load.kind == "tagger":
        counts = np.array(SENTENCE_LENGTHS) / sum(SENTENCE_LENGTHS)
        drawn = np.sort(generator.choice(np.arange(1, len(counts) + 1), load.rows * _SORTED_BATCHES, p=counts))
        # The middle batch of each eighth of the window: short rows and long rows as often as in an epoch.
        places = (np.arange(load.cycle) + 0.5) * _SORTED_BATCHES / load.cycle
        chosen = drawn.reshape(_SORTED_BATCHES, load.rows)[places.astype(np.int64)]
        return [generator.permutation(row) for row in generator.permutation(chosen)]
    lengths = np.full(load.rows, load.steps)
    if load.kind == "classifier":
        lengths = generator.integers(load.steps // 2, load.steps + 1, load.rows)
        lengths[0] = load.steps
    return [lengths]


def _batch(load: Workload, lengths: NDArray[np.int64], generator: np.random.Generator) -> Batch:
    shape = (load.rows, int(lengths.max()))
    real = np.arange(shape[1]) < lengths[:, None]
    chances = 1.0 / np.arange(1, load.vocabulary)
    names = {"tagger": ("words",), "encoder_decoder": ("source", "target")}.get(load.kind, ("tokens",))
    draw = {name: generator.choice(np.arange(1, load.vocabulary), shape, p=chances / chances.sum()) for name in names}
    x = {name: np.where(real, ids, 0).astype(np.int32) for name, ids in draw.items()}
    per_row = load.kind == "classifier"
    y = generator.integers(0, load.classes, load.rows if per_row else shape).astype(np.int32)
    weights = np.ones(load.rows, np.float32) if per_row else real.astype(np.float32)
    return Batch(x, y if per_row else np.where(real, y, 0).astype(np.int32), weights, lengths, int(lengths.sum()))


def recurrent_names(load: Workload) -> list[str]:
    """Returns the names of the recurrent layers."""
    if load.kind == "encoder_decoder":
        return ["encoder_lstm_0", "decoder_lstm_0"]
    prefix = "bi_" if load.bidirectional else ""
    return [f"{prefix}{load.cell}_{layer}" for layer in range(load.layers)]


def first_weights(load: Workload) -> Weights:
    """Returns what every engine begins with: uniform, embeddings in +-1, matrices in +-1 / sqrt(units), biases 0, an
    LSTM's forget bias 1."""
    generator = np.random.default_rng(21)
    units, directions = load.units, 2 if load.bidirectional else 1

    def matrix(*shape: int) -> NDArray[np.float32]:
        return (generator.uniform(-1.0, 1.0, shape) / math.sqrt(units)).astype(np.float32)

    def embedding() -> list[NDArray[np.float32]]:
        return [matrix(load.vocabulary, load.embedding) * np.float32(math.sqrt(units))]

    def dense(inputs: int, outputs: int) -> list[NDArray[np.float32]]:
        return [matrix(inputs, outputs), np.zeros(outputs, np.float32)]

    def recurrent(inputs: int) -> list[NDArray[np.float32]]:
        wide = load.gates * units
        bias = np.zeros((2, wide) if load.cell == "gru" else (wide,), np.float32)
        if load.cell == "lstm":
            bias[units : 2 * units] = 1.0
        return [matrix(inputs, wide), matrix(units, wide), bias]

    found: Weights = {}
    if load.kind == "encoder_decoder":
        found |= {f"{side}_embedding": embedding() for side in ("source", "target")}
        found |= {name: recurrent(load.embedding) for name in recurrent_names(load)}
        found |= {f"bridge_0_{state}": dense(units, units) for state in ("h", "c")}
        found["attention_keys"] = [matrix(units, units)]
        found["readout"] = dense(2 * units, load.embedding)
        return {**found, "logits": dense(load.embedding, load.classes)}
    found["embedding"] = embedding()
    inputs = load.embedding
    for name in recurrent_names(load):
        found[name] = [weight for _ in range(directions) for weight in recurrent(inputs)]
        inputs = directions * units
    return {**found, "logits": dense(inputs, load.classes)}


def forward_operations(load: Workload, batch: Batch) -> int:
    """Returns the floating-point operations of the matrix products of one forward pass, padding not counted.

    A multiplication and an addition are two. A training step is three times as many: the gradients of the inputs and of
    the weights are one product each. Lookups, gates, softmax and the optimizer are left out.
    """
    tokens, units = batch.tokens, load.units
    if load.kind == "encoder_decoder":
        step = 2 * load.gates * units * (load.embedding + units)
        longest = batch.x["source"].shape[1]
        attention = 2 * units * units + 2 * 2 * longest * units
        readout = 2 * 2 * units * load.embedding
        return tokens * (2 * step + attention + readout + 2 * load.embedding * load.classes) + 8 * load.rows * units**2
    directions, inputs, operations = 2 if load.bidirectional else 1, load.embedding, 0
    for _ in range(load.layers):
        operations += tokens * directions * 2 * load.gates * units * (inputs + units)
        inputs = directions * units
    return operations + 2 * inputs * load.classes * (load.rows if load.kind == "classifier" else tokens)
