"""Logistic regression on tf-idf of words and pairs of words: what a network over text has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, Ground
from seqapps.metrics.classification import THRESHOLD, multi_hot
from seqapps.preprocessing.blocks import Ragged

_STRENGTHS = (1.0, 4.0, 16.0, 64.0)
_WORD = r"(?u)\w+|[^\w\s]"
_STEPS, _TOLERANCE = 500, 1e-3
"""Of the solver. A stricter one takes twice the steps and moves the third digit."""


@dataclass(frozen=True)
class TfidfLogistic:
    """Fitted regressions.

    Args:
        vectorizer: text to `<float64>[N, terms]`, sparse.
        models: one for all classes, or one for each label where a row has any number of them; a number is the share of
            a label that all training rows have, or none.
        classes: C.
        columns: the classes that the one regression knows, `<int>[classes of training]`; unused otherwise.
        strength: C of scikit-learn, the inverse of the penalty's weight.
    """

    vectorizer: Any
    models: tuple[Any, ...]
    classes: int
    columns: NDArray[np.int64] | None
    strength: float

    @property
    def description(self) -> str:
        """What it is."""
        terms = len(self.vectorizer.vocabulary_)
        return f"logistic regression on tf-idf of {terms:,} words and pairs of words, C = {self.strength:g}"

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float32]:
        """Returns probabilities, `<float32>[N, C]`."""
        return self.score(self.vectorizer.transform(_texts(examples)))

    def score(self, x: Any) -> NDArray[np.float32]:
        """The same for vectors."""
        found = np.zeros((x.shape[0], self.classes), np.float32)
        if self.columns is not None:
            found[:, self.columns] = self.models[0].predict_proba(x)
            return found
        for place, model in enumerate(self.models):
            found[:, place] = model if isinstance(model, float) else model.predict_proba(x)[:, 1]
        return found


def fit(ground: Ground) -> Baseline:
    """Returns the regressions of the training split whose strength C is best on the validation split."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    train, validation = ground.examples("train"), ground.examples("validation")
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=_WORD, sublinear_tf=True)
    x = vectorizer.fit_transform(_texts(train))
    held_out = vectorizer.transform(_texts(validation))
    classes, data = ground.manifest.vocabularies["label"].size, ground.config.data
    multi, best, best_score = bool(getattr(data, "multi_label", False)), None, -1.0
    for strength in _STRENGTHS:
        options: dict[str, Any] = {"C": strength, "max_iter": _STEPS, "tol": _TOLERANCE}
        if getattr(data, "class_weights", "none") == "balanced":
            options["class_weight"] = "balanced"
        models, columns = (_several if multi else _one)(x, train["labels"], classes, options)
        fitted = TfidfLogistic(vectorizer, models, classes, columns, strength)
        score = _score(fitted.score(held_out), validation["labels"], multi)
        ground.report(f"C = {strength:g}: {score:.4f} on validation")
        if score > best_score:
            best, best_score = fitted, score
    assert best is not None
    return best


def _one(
    x: Any, labels: Ragged, classes: int, options: Mapping[str, Any]
) -> tuple[tuple[Any, ...], NDArray[np.int64] | None]:
    """Returns one regression over all classes, and the classes that it knows."""
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels.values).astype(np.int64)
    if len(present) < 2:
        return (_Constant(),), present
    return (LogisticRegression(**options).fit(x, labels.values),), present


def _several(
    x: Any, labels: Ragged, classes: int, options: Mapping[str, Any]
) -> tuple[tuple[Any, ...], NDArray[np.int64] | None]:
    """Returns one regression for each label; the share itself where all rows have it, or none."""
    from sklearn.linear_model import LogisticRegression

    truth = multi_hot(labels, classes)
    models = [
        float(share) if share in (0.0, 1.0) else LogisticRegression(**options).fit(x, truth[:, place])
        for place, share in enumerate(truth.mean(axis=0).tolist())
    ]
    return tuple(models), None


class _Constant:
    """What a training split with one class alone gives."""

    def predict_proba(self, x: Any) -> NDArray[np.float32]:
        return np.ones((x.shape[0], 1), np.float32)


def _score(probabilities: NDArray[np.float32], labels: Ragged, multi: bool) -> float:
    """Returns accuracy, or micro F1 where a row has any number of labels."""
    if not multi:
        return float(np.mean(np.argmax(probabilities, axis=1) == labels.values))
    truth, given = multi_hot(labels, probabilities.shape[1]) > 0, probabilities > THRESHOLD
    return float(2.0 * (truth & given).sum() / max(truth.sum() + given.sum(), 1))


def _texts(examples: Mapping[str, Ragged]) -> list[str]:
    return [text.decode("utf-8", "replace") for text in examples["text"].values.tolist()]
