"""Tagging metrics: accuracy of tokens, unknown words and sentences, and span scores as in conlleval.

Source: Tjong Kim Sang & Buchholz 2000: a span is correct if its type and both boundaries are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.preprocessing.spans import Chunks, TagSet

Array = NDArray[np.float64]

_TOKENS, _RIGHT, _UNKNOWN, _UNKNOWN_RIGHT, _SENTENCES, _SENTENCES_RIGHT = range(6)
_STRICT = slice(6, 9)
_FIXED = 9


def statistics(
    predicted: NDArray[Any], expected: NDArray[Any], unknown: NDArray[np.bool_], splits: NDArray[np.int64], tags: TagSet
) -> Array:
    """Returns the counts of each sentence, `<float64>[sentences, 9 + 3 (types + 1)]`.

    Tokens and correct ones, unknown words and correct ones, sentences and those without an error; well-formed spans:
    expected, predicted, correct; then for every type (the last one stands for all types unseen in training) the spans
    expected, predicted and correct, type by type. Without a scheme every token is a span.

    Args:
        predicted, expected: tags of all sentences, concatenated, `<int>[tokens]`.
        unknown: out-of-vocabulary words, `<bool>[tokens]`.
        splits: sentence boundaries, `<int64>[sentences + 1]`.
        tags: their scheme.
    """
    examples = len(splits) - 1
    sentences = np.repeat(np.arange(examples, dtype=np.int64), np.diff(splits))

    def per_sentence(places: NDArray[np.int64], values: NDArray[Any]) -> Array:
        return np.bincount(sentences[places], weights=values, minlength=examples).astype(np.float64)

    everywhere = np.arange(len(expected))

    right = predicted == expected
    tokens, rights = np.diff(splits).astype(np.float64), per_sentence(everywhere, right)
    sums = [tokens, rights, *(per_sentence(everywhere, part) for part in (unknown, unknown & right))]
    sums += [np.ones(examples), (tokens == rights).astype(np.float64)]
    gold, found = tags.chunks(expected, splits), tags.chunks(predicted, splits)
    agree = _agree(gold, found, len(expected))
    formed = np.zeros(len(expected), np.bool_)
    formed[gold.starts] = gold.formed
    strict = agree & found.formed & formed[found.starts]
    counted = ((gold, gold.formed), (found, found.formed), (found, strict))
    sums += [per_sentence(part.starts, share) for part, share in counted]
    table = np.zeros((examples, 3, tags.types + 1))
    shares: tuple[tuple[Chunks, Any], ...] = ((gold, 1), (found, 1), (found, agree))
    for column, (part, share) in enumerate(shares):
        np.add.at(table[:, column], (sentences[part.starts], part.types), share)
    return np.concatenate([np.stack(sums, axis=1), table.reshape(examples, -1)], axis=1)


def token_metrics(totals: Array) -> dict[str, Array]:
    """Returns the accuracy of tokens, of unknown words (NaN without any) and of whole sentences.
    `<float64>[..., statistics] -> <float64>[...]` each."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "accuracy": totals[..., _RIGHT] / totals[..., _TOKENS],
            "unknown_accuracy": totals[..., _UNKNOWN_RIGHT] / totals[..., _UNKNOWN],
            "sentence_accuracy": totals[..., _SENTENCES_RIGHT] / totals[..., _SENTENCES],
        }


def span_metrics(totals: Array) -> dict[str, Array]:
    """Returns F1, precision and recall of spans as in conlleval, and F1 of well-formed spans alone."""
    table = totals[..., _FIXED:]
    table = table.reshape(*table.shape[:-1], 3, -1).sum(axis=-1)
    precision, recall, f1 = _rates(table)
    return {"f1": f1, "precision": precision, "recall": recall, "strict_f1": _rates(totals[..., _STRICT])[2]}


def type_table(totals: Array, names: Sequence[str]) -> tuple[tuple[str | float, ...], ...]:
    """Returns a row for each type that is expected or predicted: its name, how often it is expected and predicted,
    precision, recall and F1."""
    table = totals[_FIXED:].reshape(3, -1).T
    rows: list[tuple[str | float, ...]] = []
    for name, counts in zip([*names, "(not in training)"], table, strict=True):
        if counts.any():
            rates = [float(rate) for rate in _rates(counts)]
            rows.append((name, float(counts[0]), float(counts[1]), *rates))
    return tuple(rows)


def _agree(gold: Chunks, found: Chunks, tokens: int) -> NDArray[np.bool_]:
    """Returns which predicted spans are correct."""
    ends, types = np.full(tokens, -1, np.int64), np.full(tokens, -1, np.int64)
    ends[gold.starts], types[gold.starts] = gold.ends, gold.types
    agree: NDArray[np.bool_] = (ends[found.starts] == found.ends) & (types[found.starts] == found.types)
    return agree


def _rates(counts: Array) -> tuple[Array, Array, Array]:
    """Returns precision, recall and F1 of (expected, predicted, correct), `<float64>[..., 3]`; 0 where undefined."""
    expected, received, right = np.moveaxis(counts, -1, 0)
    precision, recall = right / np.maximum(received, 1.0), right / np.maximum(expected, 1.0)
    return precision, recall, 2.0 * right / np.maximum(expected + received, 1.0)
