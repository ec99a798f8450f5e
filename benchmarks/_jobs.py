"""What benchmarks/decoding.py asks for: two models, and the jobs that they are given. Needs numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from _workloads import WORKLOADS, Weights, Workload, first_weights

PAD, UNKNOWN, BEGIN, END = range(4)
"""The first ids of a vocabulary (seqapps/preprocessing/vocabulary.py); `<eos>` alone of them is ever written."""

LANGUAGE_MODEL = Workload("word LM, 2 x LSTM 256", "language_model", "lstm", 10_000, 10_000, 256, 256, 2, 1, 1)
TRANSLATOR = WORKLOADS["W7"]

WORDS = 19
"""Words of a source; with `<eos>` as long as a row of W7."""
PROMPT = "w1 w2 w3"


_NEVER = -30.0
"""A logit far below all others, which lie within a few units of 0."""


@dataclass(frozen=True)
class Job:
    """One kind of call.

    Args:
        model: `language model` or `translator`.
        search: `greedy`, `sampling` (temperature 0.8, among all tokens), `beam 5`, or `complete` (5 suggestions).
        rows: of the call.
        tokens: that each row gets, `<eos>` included.
    """

    model: Literal["language model", "translator"]
    search: Literal["greedy", "sampling", "beam 5", "complete"]
    rows: int
    tokens: int


JOBS = {
    f"{model}, {search}, {rows}": Job(model, search, rows, tokens)
    for model, searches, tokens in (
        ("language model", ("greedy", "sampling"), 100),
        ("translator", ("greedy", "beam 5", "sampling"), 40),
    )
    for search in searches
    for rows in (1, 32)
} | {"language model, complete, 1": Job("language model", "complete", 1, 1)}


def endless_weights(load: Workload) -> Weights:
    """Returns weights with which `<eos>` is never chosen before the limit: every call writes the same number of tokens.

    The time of a step does not depend on the weights.
    """
    weights = first_weights(load)
    weights["logits"][1][END] = _NEVER
    return weights


def source(row: int) -> str:
    """Returns the text of a row to translate: WORDS words."""
    return " ".join(f"w{(7 * row + 3 * place) % 1000}" for place in range(WORDS))


def source_ids(rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Returns the ids of such texts, `<int64>[rows, WORDS + 1]`: word w0 has the first id after the special ones."""
    found = [[int(word[1:]) + 4 for word in source(row).split()] + [END] for row in range(rows)]
    return np.array(found, np.int64)
