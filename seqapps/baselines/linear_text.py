"""The strongest linear classifier of texts: logistic regression on the best of three kinds of features.

- tf-idf of words and word bigrams, as in `tfidf_logistic`;
- presence of words and word bigrams, scaled for each label by their naive Bayes log ratios (NB-SVM; here with the
  logistic loss, which yields probabilities);
- tf-idf of words, word bigrams and character n-grams of length one to five, within and across words.

Features and strength are selected on the validation split; the description names them. Above 8 million characters of
training text the character n-grams are left out. See `_linear` for the fitting.

Source: Wang & Manning 2012, "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from seqapps.baselines import Baseline, BaselineContext
from seqapps.baselines._linear import (
    Features,
    best_of,
    character_features,
    is_large,
    presence_features,
    texts_of,
    word_features,
)

APPLICATIONS = ("text_classification",)
RANK = 30


def fit(context: BaselineContext) -> Baseline:
    """Returns the regressions of the training split that are best on the validation split."""
    return best_of(context, _candidates(texts_of(context.examples("train"))))


def _candidates(texts: Sequence[str]) -> Iterator[tuple[Features, Any]]:
    words, x = word_features(texts)
    yield words, x
    del x
    yield presence_features(texts)
    if not is_large(texts):
        yield character_features(texts, words)
