"""Interpolated Kneser-Ney n-grams with modified discounts, from the n-gram table that `prepare` counts.

    p_k(w | c) = max(count_k(c w) - D_k(count), 0) / sum_v count_k(c v) + backoff_k(c) p_{k-1}(w | c')

c' is the context c without its first token; backoff_k(c) is the discounted mass, over the same total.

The highest order counts occurrences. A lower order counts in how many different contexts its n-gram was seen, that is
the distinct tokens before it; an n-gram that begins its example has only one, BEGIN, so there occurrences count. BEGIN
occurs once: a context that extends beyond the beginning has no order of its own and backs off with weight 1. The lowest
order is interpolated with the uniform distribution over all possible tokens.

Source: Kneser & Ney 1995, "Improved backing-off for m-gram language modeling"; Chen & Goodman 1999, "An empirical study
of smoothing techniques for language modeling", eq. 20 to 25 (modified discounts); Heafield et al. 2013, "Scalable
Modified Kneser-Ney Language Model Estimation" (beginnings).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext
from seqapps.baselines._contexts import ages, contexts
from seqapps.config import RunConfig
from seqapps.dataset.ragged import Ragged
from seqapps.errors import DataError
from seqapps.preprocessing.vocabulary import BEGIN, PAD

APPLICATIONS = ("language_model", "conditional_generation")
RANK = 20


def missing(config: RunConfig) -> str:
    """Returns what a configuration lacks: the n-grams that `prepare` counts."""
    order = getattr(config.data, "ngram_order", 0)
    return "" if order else "a `data.ngram_order` above 0. Received: 0. Example: 5"


TABLE = "ngrams"
_BLOCK = 1 << 20
"""Tokens that are scored at a time, which bounds the memory of a long text."""

_Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """The n-grams of one order. A context is a number: the place of its key in `contexts`.

    Args:
        contexts: key of each context, sorted: (number of the context without its first token) * V + first token.
        keys: key of each n-gram, sorted: (number of its context) * V + last token.
        shares: discounted count over the context's total, `<float64>[n-grams + 1]`; 0 at the end (number -1) for an
            n-gram that was never seen.
        backoff: weight of the order below, `<float64>[contexts + 1]`; 1 for a context without n-grams, and at the end
            for one that was never seen.
    """

    contexts: _Ints
    keys: _Ints
    shares: NDArray[np.float64]
    backoff: NDArray[np.float64]


@dataclass(frozen=True)
class KneserNey:
    """A fitted model; `orders[0]` is the unigrams.

    Args:
        orders: the n-grams of order 1, 2, ...
        size: V, the number of ids.
    """

    orders: tuple[Order, ...]
    size: int

    @property
    def description(self) -> str:
        """What it is, in one line."""
        rows = len(self.orders[-1].keys)
        return f"interpolated {len(self.orders)}-grams, modified Kneser-Ney discounts, {rows:,} n-grams"

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float32]:
        """Returns -log p of every token, in nats, `<float32>[tokens]`."""
        ids = examples["ids"].values.astype(np.int64)
        age, nats = ages(ids), np.empty(len(ids), np.float32)
        for low in range(0, len(ids), _BLOCK):
            at = np.arange(low, min(low + _BLOCK, len(ids)))
            nats[at] = -np.log(self._probability(contexts(ids, age, at, len(self.orders) - 1), ids[at]))
        return nats

    def next_distribution(self, context: Sequence[int]) -> NDArray[np.float64]:
        """Returns the probability of each token after `context`, `<float64>[V]`; `<pad>` and `<bos>` have none.

        Args:
            context: ids from the beginning of the example (or of a later one, after `<eos>`), the nearest last.
        """
        ids = np.array([*context, PAD], np.int64)
        before = contexts(ids, ages(ids), np.array([len(ids) - 1]), len(self.orders) - 1)
        p = self._probability(np.repeat(before, self.size, axis=0), np.arange(self.size))
        p[[PAD, BEGIN]] = 0.0
        return p

    def _probability(self, before: _Ints, tokens: _Ints) -> NDArray[np.float64]:
        """Returns p of each token after the context in its row of `before`, from the lowest order up."""
        p = np.full(len(tokens), 1.0 / (self.size - 2))
        context = np.zeros(len(tokens), np.int64)
        for distance, order in enumerate(self.orders):
            if distance:
                context = _find(order.contexts, context * self.size + before[:, -distance])
            place = _find(order.keys, context * self.size + tokens)
            p = order.shares[place] + order.backoff[context] * p
        return p


def fit(context: BaselineContext) -> Baseline:
    """Returns the model of the training split's n-gram table. The whole table is held in memory.

    Raises:
        DataError: the prepared folder has no n-gram table.
    """
    tables = context.manifest.tables.get(TABLE, ())
    if not tables:
        raise DataError(
            f"{context.folder}: kneser_ney needs the n-gram table of `prepare`, and there is none. "
            "Set data.ngram_order above 0, or leave kneser_ney out of baselines.names."
        )
    context.report(f"reading {sum(table.rows for table in tables):,} n-grams")
    rows = np.concatenate([np.load(context.folder / table.file) for table in tables])
    return from_table(rows, context.manifest.vocabularies["text"].size)


def from_table(table: NDArray[np.int32], size: int) -> KneserNey:
    """Returns the model of an n-gram table.

    Args:
        table: `<int32>[rows, order + 1]`: the tokens of an n-gram, contexts filled up with BEGIN, and its count.
        size: V, the number of ids.

    Raises:
        DataError: the table is empty or holds ids that the vocabulary does not.
    """
    order = table.shape[1] - 1
    if not len(table) or order < 1 or table[:, :-1].max() >= size:
        raise DataError(f"An n-gram table holds ids below {size} and counts. Received: shape {table.shape}.")
    levels, occurrences = _levels(table, size), table[:, order].astype(np.float64)
    orders = []
    for k, level in enumerate(levels, start=1):
        counts = np.bincount(level.types, weights=occurrences)
        if k < order:
            # One n-gram of the order above for each distinct token before this one.
            distinct = np.bincount(level.types[levels[k].rows], minlength=len(counts))
            counts = np.where(table[level.rows, order - k] == BEGIN, counts, distinct)
        # A second token BEGIN means that the context reaches further back than the beginning.
        real = table[level.rows, min(order - k + 1, order - 1)] != BEGIN
        orders.append(_order(level.contexts, level.parents[real], level.keys[real], counts[real]))
    return KneserNey(tuple(orders), size)


@dataclass(frozen=True)
class _Level:
    """The distinct last k tokens of the table's rows.

    Args:
        contexts: as in `Order`.
        parents: number of each n-gram's context.
        keys: as in `Order`.
        rows: a row of the table that ends with each n-gram.
        types: the n-gram with which each row of the table ends.
    """

    contexts: _Ints
    parents: _Ints
    keys: _Ints
    rows: _Ints
    types: _Ints


def _levels(table: NDArray[np.int32], size: int) -> list[_Level]:
    order = table.shape[1] - 1
    last = table[:, order - 1].astype(np.int64)
    names, context = np.zeros(1, np.int64), np.zeros(len(table), np.int64)
    levels = []
    for k in range(1, order + 1):
        if k > 1:
            names, context = np.unique(context * size + table[:, order - k], return_inverse=True)
        keys, rows, types = np.unique(context * size + last, return_index=True, return_inverse=True)
        levels.append(_Level(names, context[rows], keys, rows, types))
    return levels


def _order(names: _Ints, parents: _Ints, keys: _Ints, counts: NDArray[np.float64]) -> Order:
    """Returns discounted shares and backoff weights from the counts of one order."""
    taken = discounts(counts)[np.minimum(counts, 3).astype(np.int64)]
    totals = np.bincount(parents, weights=counts, minlength=len(names))
    freed = np.bincount(parents, weights=taken, minlength=len(names))
    backoff = np.divide(freed, totals, out=np.ones(len(names)), where=totals > 0)
    return Order(names, keys, np.append((counts - taken) / totals[parents], 0.0), np.append(backoff, 1.0))


def discounts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the discounts of counts of 0, 1, 2 and 3 or more, `<float64>[4]`.

    Three discounts need n-grams that occur once, twice, three and four times. If one kind is missing, or a discount
    leaves its range, one discount n1 / (n1 + 2 n2) serves all counts (Ney et al. 1994); if that cannot be estimated
    either, as over the few characters of an alphabet, it is 1/2.

    Source: Chen & Goodman 1999, eq. 26.
    """
    n = np.bincount(np.minimum(counts, 5).astype(np.int64), minlength=6).astype(np.float64)
    if not (n[1] and n[2]):
        return np.array([0.0, 0.5, 0.5, 0.5])
    single = n[1] / (n[1] + 2 * n[2])
    if n[3] and n[4]:
        three = np.array([k - (k + 1) * single * n[k + 1] / n[k] for k in (1, 2, 3)])
        if np.all((three > 0) & (three < [1, 2, 3])):
            return np.array([0.0, *three])
    return np.array([0.0, single, single, single])


def _find(keys: _Ints, wanted: _Ints) -> _Ints:
    """Returns the place of each wanted key among the sorted ones, -1 where it is not."""
    if not len(keys):
        return np.full(len(wanted), -1, np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, place, -1)
