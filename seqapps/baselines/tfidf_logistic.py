"""Logistic regression on tf-idf of words and word bigrams, the standard first text classifier.

Its strength is chosen on the validation split; `_linear` says how it is fitted.
"""

from __future__ import annotations

from seqapps.baselines import Baseline, BaselineContext
from seqapps.baselines._linear import best_of, texts_of, word_features

APPLICATIONS = ("text_classification",)
RANK = 20


def fit(context: BaselineContext) -> Baseline:
    """Returns the regressions of the training split whose strength is best on the validation split."""
    return best_of(context, [word_features(texts_of(context.examples("train")))])
