"""Per-label n-gram models, interpolated with the model over all labels.

    p(w | context, label) = a_label p_label(w | context) + (1 - a_label) p_all(w | context)

Both are interpolated Kneser-Ney models (see `kneser_ney`). The weight a of each label maximises the likelihood of its
rows of the validation split; it is 0 for a label unseen in training.

Source: Jelinek & Mercer 1980, "Interpolated estimation of Markov source parameters from sparse data" (shares from
held-out text). The log-likelihood is concave in a, so a is found by bisection of its derivative, to full precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext, kneser_ney
from seqapps.baselines._contexts import ages, contexts
from seqapps.baselines.kneser_ney import KneserNey, from_table
from seqapps.config import RunConfig
from seqapps.dataset.ragged import Ragged

APPLICATIONS = ("conditional_generation",)
RANK = 30


def missing(config: RunConfig) -> str:
    """Returns what a configuration lacks: n-grams, or labels to count them by."""
    if getattr(config.data, "condition", "label") != "label":
        return 'labels to count by. Received: `data.condition` = "vector"'
    return kneser_ney.missing(config)


_HALVINGS = 52
"""Of the interval from 0 to 1: a double has no more digits."""


@dataclass(frozen=True)
class ConditionalNgram:
    """A fitted model.

    Args:
        everything: the model over all labels.
        labels: the model of each label, in order.
        shares: a of each label.
    """

    everything: KneserNey
    labels: tuple[KneserNey, ...]
    shares: tuple[float, ...]

    @property
    def description(self) -> str:
        """What it is, in one line."""
        low, high = min(self.shares), max(self.shares)
        order, count = len(self.everything.orders), len(self.labels)
        return f"Kneser-Ney {order}-grams of each of {count} labels (shares {low:.2f} to {high:.2f}) over those of all"

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float32]:
        """Returns -log p of every token given the label of its row, in nats, `<float32>[tokens]`."""
        nats = self.everything.predict(examples)
        for label, (model, share) in enumerate(zip(self.labels, self.shares, strict=True)):
            tokens = _tokens_of(examples, label)
            own = np.exp(-model.predict({"ids": _rows_of(examples, label)}).astype(np.float64))
            p = share * own + (1.0 - share) * np.exp(-nats[tokens].astype(np.float64))
            nats[tokens] = -np.log(p)
        return nats


def fit(context: BaselineContext) -> Baseline:
    """Returns the models of the training split, with shares from the validation split."""
    examples, size = context.examples("train"), context.manifest.vocabularies["text"].size
    order = getattr(context.config.data, "ngram_order", 5)
    everything = from_table(table_of(examples["ids"], order), size)
    held_out, labels, shares = context.examples("validation"), [], []
    known = everything.predict(held_out)
    count = int(examples["condition"].values.max()) + 1
    for label in range(count):
        model = from_table(table_of(_rows_of(examples, label), order), size)
        own = np.exp(-model.predict({"ids": _rows_of(held_out, label)}).astype(np.float64))
        shares.append(best_share(own, np.exp(-known[_tokens_of(held_out, label)].astype(np.float64))))
        labels.append(model)
        context.report(f"label {label + 1} of {count}, share {shares[-1]:.2f}")
    return ConditionalNgram(everything, tuple(labels), tuple(shares))


def table_of(ids: Ragged, order: int) -> NDArray[np.int32]:
    """Returns the n-gram table of rows, as `prepare` writes it: `<int32>[n-grams, order + 1]`, the count last."""
    values = ids.values.astype(np.int64)
    at = np.arange(len(values))
    grams = np.concatenate([contexts(values, ages(values), at, order - 1), values[:, None]], axis=1)
    rows, counts = np.unique(grams, axis=0, return_counts=True)
    return np.concatenate([rows, counts[:, None]], axis=1).astype(np.int32)


def best_share(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Returns the weight a that maximises prod(a first + (1 - a) second); 1/2 without data."""
    more = first - second
    if not np.any(more):
        return 0.5
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        share = (low + high) / 2.0
        rises = np.sum(more / (second + share * more)) > 0.0
        low, high = (share, high) if rises else (low, share)
    return (low + high) / 2.0


def _rows_of(examples: Mapping[str, Ragged], label: int) -> Ragged:
    return examples["ids"].take(np.flatnonzero(examples["condition"].values == label))


def _tokens_of(examples: Mapping[str, Ragged], label: int) -> NDArray[np.int64]:
    """Returns the places of the tokens of a label's rows."""
    return np.flatnonzero(np.repeat(examples["condition"].values == label, examples["ids"].lengths))
