"""Counts of a word between its two neighbours, backed off to each neighbour alone and to the word's frequency.

    p(w | l, r) = max(count(l w r) - D, 0) / count(l . r) + backoff(l, r) q(w | l, r)
    q(w | l, r) = p(w | l) p(w | r) / p(w), over its sum over all words
    p(w | l)    = max(count(l w) - D, 0) / count(l .) + backoff(l) p(w),   and so for r
    p(w)        = (count(w) + 1) / (words + V - 3)

q is Bayes' rule if the two neighbours are independent given the word. A backoff is the discounted mass, over the same
total. <bos> precedes the first word of a row and <eos> follows the last.

Source: Chen & Goodman 1999, "An empirical study of smoothing techniques for language modeling", eq. 26 (discounts).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext
from seqapps.baselines.kneser_ney import discounts
from seqapps.dataset.ragged import Ragged
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD

APPLICATIONS = ("masked_word",)
RANK = 20

_CELLS = 1 << 22
"""Probabilities that exist at one time: 32 MB."""

_Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Level:
    """The words of one kind of context.

    Args:
        contexts: key of each context, sorted, `<int64>[contexts]`.
        shares: discounted count over the context's total, `<float64>[contexts + 1, V]` sparse; the last row is empty.
        backoff: weight of the lower order, `<float64>[contexts + 1]`; 1 at the end, for an unseen context.
    """

    contexts: _Ints
    shares: Any
    backoff: NDArray[np.float64]

    def probability(self, contexts: _Ints, below: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns p of every word in each context, `<float64>[N, V]`, resting on `below <float64>[N or 1, V]`."""
        place = np.minimum(np.searchsorted(self.contexts, contexts), len(self.contexts) - 1)
        place = np.where(self.contexts[place] == contexts, place, len(self.contexts))
        p: NDArray[np.float64] = self.shares[place].toarray() + self.backoff[place][:, None] * below
        return p


@dataclass(frozen=True)
class NeighbourCounts:
    """A fitted model.

    Args:
        words: p(w), `<float64>[V]`; 0 for `<pad>`, `<bos>` and `<eos>`, which are never blanks.
        left, right, both: the levels above it; a context of `both` is l * V + r.
    """

    words: NDArray[np.float64]
    left: Level
    right: Level
    both: Level

    @property
    def description(self) -> str:
        """What it is, in one line."""
        rows = self.both.shares.nnz
        return f"counts of a word between its two neighbours, backed off, modified discounts, {rows:,} trigrams"

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float32]:
        """Returns nats, rank and best word of every word, `<float32>[words, 3]`."""
        from seqapps.metrics.ranks import ranked

        size, (left, words, right) = len(self.words), neighbours(examples["ids"])
        result, most = np.empty((len(words), 3), np.float32), max(1, _CELLS // size)
        for low in range(0, len(words), most):
            part = slice(low, low + most)
            with np.errstate(divide="ignore"):
                log_p = np.log(self.distribution(left[part], right[part]))
            result[part] = ranked(log_p, words[part], size)
        return result

    def distribution(self, left: _Ints, right: _Ints) -> NDArray[np.float64]:
        """Returns the probability of every word between each pair of neighbours, `<float64>[N, V]`."""
        below = self.words[None, :]
        product = self.left.probability(left, below) * self.right.probability(right, below)
        product = np.divide(product, below, out=np.zeros_like(product), where=below > 0)
        product /= product.sum(axis=1, keepdims=True)
        return self.both.probability(left * len(self.words) + right, product)


def fit(context: BaselineContext) -> Baseline:
    """Returns the counts of the training split."""
    size = context.manifest.vocabularies["text"].size
    left, words, right = neighbours(context.examples("train")["ids"])
    context.report(f"counting {len(words):,} words between their neighbours")
    counts = np.bincount(words, minlength=size) + 1.0
    counts[[PAD, BEGIN, END]] = 0.0
    levels = (_level(contexts, words, size) for contexts in (left, right, left * size + right))
    return NeighbourCounts(counts / counts.sum(), *levels)


def neighbours(ids: Ragged) -> tuple[_Ints, _Ints, _Ints]:
    """Returns the token before each word, the word, and the token after it, `<int64>[words]` each."""
    words = ids.values.astype(np.int64)
    left, right = np.roll(words, 1), np.roll(words, -1)
    filled = ids.lengths > 0
    left[ids.splits[:-1][filled]] = BEGIN
    right[ids.splits[1:][filled] - 1] = END
    return left, words, right


def _level(contexts: _Ints, words: _Ints, size: int) -> Level:
    names, parents = np.unique(contexts, return_inverse=True)
    keys, counts = np.unique(parents * size + words, return_counts=True)
    parents = keys // size
    taken = discounts(counts.astype(np.float64))[np.minimum(counts, 3)]
    totals = np.bincount(parents, weights=counts, minlength=len(names))
    freed = np.bincount(parents, weights=taken, minlength=len(names))
    from scipy.sparse import csr_matrix

    shares = csr_matrix(((counts - taken) / totals[parents], (parents, keys % size)), shape=(len(names) + 1, size))
    return Level(names, shares, np.append(freed / totals, 1.0))
