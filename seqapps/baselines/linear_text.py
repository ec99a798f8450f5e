"""The strongest linear classifier of texts: logistic regression on the best of three kinds of features.

- tf-idf of words and pairs of words, as in `tfidf_logistic`;
- which words and pairs of words a text has, weighed for each label by their naive Bayes log ratios (NB-SVM; here with
  the logistic loss, which gives probabilities);
- tf-idf of words, of pairs of words and of n-grams of one to five characters, inside words and across them.

Features and strength are what is best on the validation split; the description names them. Above 8 million characters
of training text the n-grams of characters are left out. `_linear` says how it is fitted.

Source: Wang & Manning 2012, "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from seqapps.baselines import Baseline, Ground
from seqapps.baselines._linear import (
    Features,
    best_of,
    character_features,
    is_large,
    presence_features,
    texts_of,
    word_features,
)


def fit(ground: Ground) -> Baseline:
    """Returns the regressions of the training split that are best on the validation split."""
    return best_of(ground, _candidates(texts_of(ground.examples("train"))))


def _candidates(texts: Sequence[str]) -> Iterator[tuple[Features, Any]]:
    words, x = word_features(texts)
    yield words, x
    del x
    yield presence_features(texts)
    if not is_large(texts):
        yield character_features(texts, words)
