"""One-vs-rest logistic regression on count features of a text, shared by the linear text baselines.

    p(c | x) = sigma(w_c . (r_c x) + b_c), over their sum where a text has one label;  r_c = 1, or the ratios below

The regularisation strength is selected on the validation split, by the objective (ties by log loss). Fitted by
LIBLINEAR's trust region Newton method, until the gradient is 1e-4 of the first one.

Source: Lin, Weng & Keerthi 2008, "Trust Region Newton Method for Large-Scale Logistic Regression".
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import BaselineContext
from seqapps.dataset.ragged import Ragged
from seqapps.metrics.classification import metrics, multi_hot, multi_statistics, single_statistics
from seqapps.threads import one_thread

STRENGTHS = (1.0, 4.0, 16.0, 64.0, 256.0)
"""C of scikit-learn, the inverse of the penalty's weight."""
MOST_STEPS = 1_000
"""Newton steps of one regression; ten are usual."""
TOLERANCE = 1e-4
_LARGE = 8_000_000
"""Characters of the training split above which a pair of words must stand in two rows, and n-grams of characters are
left out: 100,000 rows of 20 words stay far below 4 GB."""
_BYTES_A_VALUE = 48
"""Of features, for one label at work: its own copy, that of scikit-learn, and LIBLINEAR's."""
_MOST_BYTES = 2 * 1024**3
_FEW = 100
_WORD = r"(?u)\w+|[^\w\s]"
_LONGEST_GRAM = 5

Transform = Callable[[Sequence[str]], Any]
"""Texts to `<float64>[N, terms]`, sparse."""


class Features(NamedTuple):
    """Features fitted on the training split.

    Args:
        name: display name of what they count.
        transform: texts to features.
        by_label: whether they are scaled for each label by its naive Bayes ratios.
    """

    name: str
    transform: Transform
    by_label: bool = False


class Truth(NamedTuple):
    """The true labels of a split.

    Args:
        labels: indices of each row's labels, below 0 for labels unseen in training.
        hot: 1 where a row has a label, `<int8>[N, C]`.
        multi: whether a row has any number of labels.
    """

    labels: Ragged
    hot: NDArray[np.int8]
    multi: bool


@dataclass(frozen=True)
class LinearText:
    """Fitted regressions.

    Args:
        features: that they weigh.
        weights: w_c r_c of each label, `<float32>[C, terms]`.
        biases: b_c, `<float64>[C]`; infinite for a label that all training rows have, or none.
        multi: whether a row has any number of labels.
        strength: C of scikit-learn.
        steps: largest number of Newton steps of a regression.
        converged: whether every regression converged before its cap of steps.
    """

    features: Features
    weights: NDArray[np.float32]
    biases: NDArray[np.float64]
    multi: bool
    strength: float
    steps: int
    converged: bool

    @property
    def description(self) -> str:
        """What it is."""
        return (
            f"logistic regression on {self.features.name} ({self.weights.shape[1]:,} features), C = {self.strength:g}"
        )

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float32]:
        """Returns probabilities, `<float32>[N, C]`."""
        return self.score(self.features.transform(texts_of(examples)))

    def score(self, x: Any) -> NDArray[np.float32]:
        """The same for features, `<float64>[N, terms]`."""
        from scipy.special import expit

        p: NDArray[np.float64] = expit(np.asarray(x @ self.weights.T, np.float64) + self.biases)
        if not self.multi:
            p /= np.maximum(p.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        return p.astype(np.float32)


# ---- features


def word_features(texts: Sequence[str]) -> tuple[Features, Any]:
    """Returns tf-idf of words and word bigrams, with `1 + log(count)` as term frequency and L2-normalised rows.

    Returns:
        The features, and those of the texts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, **_words_of(texts))
    x = vectorizer.fit_transform(texts)
    return Features("tf-idf of words and pairs of words", vectorizer.transform), x


def presence_features(texts: Sequence[str]) -> tuple[Features, Any]:
    """Returns the presence of each word and word bigram, scaled for each label by `ratios`; see above."""
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(binary=True, dtype=np.float64, **_words_of(texts))
    x = vectorizer.fit_transform(texts)
    name = "naive Bayes ratios of words and pairs of words (NB-SVM)"
    return Features(name, vectorizer.transform, by_label=True), x


def character_features(texts: Sequence[str], words: Features) -> tuple[Features, Any]:
    """Returns `words` and tf-idf of the character 1- to 5-grams that occur in at least two texts; see above."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    # In a small data set, no two texts may share a character.
    fewest = 2 if len(texts) > _FEW else 1
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, _LONGEST_GRAM), min_df=fewest, sublinear_tf=True)

    def beside(rows: Sequence[str], characters: Any) -> Any:
        return csr_matrix(hstack([words.transform(rows), characters]))

    x = beside(texts, vectorizer.fit_transform(texts))
    name = f"tf-idf of words, pairs of words and n-grams of 1 to {_LONGEST_GRAM} characters"
    return Features(name, lambda rows: beside(rows, vectorizer.transform(rows))), x


def is_large(texts: Sequence[str]) -> bool:
    """Returns whether character n-grams would need too much memory and time."""
    return sum(map(len, texts)) > _LARGE


def texts_of(examples: Mapping[str, Ragged]) -> list[str]:
    """Returns the texts of a split."""
    return [text.decode("utf-8", "replace") for text in examples["text"].values.tolist()]


def _words_of(texts: Sequence[str]) -> dict[str, Any]:
    return {"ngram_range": (1, 2), "token_pattern": _WORD, "min_df": 2 if is_large(texts) else 1}


# ---- fitting


def best_of(context: BaselineContext, candidates: Iterable[tuple[Features, Any]]) -> LinearText:
    """Returns the regressions with the features and the strength that are best on the validation split.

    Args:
        context: the data.
        candidates: features, and their values on the training rows; lazy, since they may be large.
    """
    train, held_out = (truth_of(context, split) for split in ("train", "validation"))
    texts = texts_of(context.examples("validation"))
    weights, objective = row_weights(context, train), _objective(context, train.multi)
    best, best_figure = None, (-np.inf, -np.inf)
    for features, x in candidates:
        check = features.transform(texts)
        for strength in STRENGTHS:
            fitted = regressions(x, train, features, strength=strength, weights=weights, steps=MOST_STEPS)
            found = figures(fitted.score(check), held_out)
            # Log loss is the only one of them that is minimised.
            figure = (-found["log_loss"] if objective == "log_loss" else found[objective], -found["log_loss"])
            context.report(f"{features.name}, C = {strength:g}: {objective} {found[objective]:.4f} on validation")
            if best is None or figure > best_figure:
                best, best_figure = fitted, figure
    assert best is not None
    return best


def truth_of(context: BaselineContext, split: str) -> Truth:
    """Returns the true labels of a split."""
    labels, classes = context.examples(split)["labels"], context.manifest.vocabularies["label"].size
    return Truth(labels, multi_hot(labels, classes), bool(getattr(context.config.data, "multi_label", False)))


def row_weights(context: BaselineContext, truth: Truth) -> NDArray[np.float64] | None:
    """Returns the training row weights for `class_weights = "balanced"`, `<float64>[N]`; None otherwise."""
    if getattr(context.config.data, "class_weights", "none") != "balanced":
        return None
    counts: NDArray[np.float64] = np.asarray(truth.hot.sum(axis=0), np.float64)
    shares: NDArray[np.float64] = truth.hot @ (1.0 / np.maximum(counts, 1.0))
    return shares * (len(shares) / max(int(np.count_nonzero(counts)), 1))


def regressions(  # noqa: PLR0913 - the data, what is fitted to it, and how long
    x: Any,
    truth: Truth,
    features: Features,
    *,
    strength: float,
    weights: NDArray[np.float64] | None = None,
    steps: int = MOST_STEPS,
    tolerance: float = TOLERANCE,
) -> LinearText:
    """Returns one regression for each label; only one in total for two exclusive labels.

    Args:
        x: features of the training rows, `<float64>[N, terms]`, sparse; its indices are sorted in place.
        truth: their labels.
        features: that x was computed with.
        strength: C of scikit-learn.
        weights: of the rows; None for equal weights.
        steps: maximum number of Newton steps of a regression.
        tolerance: a regression stops when its gradient is this share of the first one (for balanced labels).
    """
    from sklearn.exceptions import ConvergenceWarning

    # All labels share these indices: a solver that sorted them in place would corrupt x.
    x.sort_indices()
    classes = truth.hot.shape[1]
    slopes, biases = np.zeros((classes, x.shape[1]), np.float32), np.zeros(classes)
    options = {"C": strength, "max_iter": steps, "tol": tolerance}
    mirrored = classes == 2 and not truth.multi

    def fit(label: int) -> int:
        rows = truth.hot[:, label]
        share = float(rows.mean())
        if share in (0.0, 1.0):
            biases[label] = np.inf if share else -np.inf
            return 0
        ratio = ratios(x, rows) if features.by_label else np.ones(x.shape[1])
        slope, biases[label], made = _one(_scaled(x, ratio), rows, weights, options)
        slopes[label] = slope * ratio
        return made

    workers = max(1, min(len(os.sched_getaffinity(0)), _MOST_BYTES // (_BYTES_A_VALUE * x.nnz + 1)))
    with one_thread(), warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported by `converged`
        most = max(pool.map(fit, range(1 if mirrored else 0, classes)), default=0)
    if mirrored:
        slopes[0], biases[0] = -slopes[1], -biases[1]
    return LinearText(features, slopes, biases, truth.multi, strength, most, most < steps)


def ratios(x: Any, rows: NDArray[np.int8]) -> NDArray[np.float64]:
    """Returns the log ratio of each feature's share among the rows of a label and among the others, `<float64>[terms]`.

        r = log((p / |p|) / (q / |q|));  p = 1 + sum of the label's rows, q = 1 + sum of the others

    Source: Wang & Manning 2012, "Baselines and Bigrams", equation 2.
    """
    p = 1.0 + np.asarray(x[np.flatnonzero(rows)].sum(axis=0), np.float64).ravel()
    q = 1.0 + np.asarray(x[np.flatnonzero(rows == 0)].sum(axis=0), np.float64).ravel()
    found: NDArray[np.float64] = np.log(p / p.sum()) - np.log(q / q.sum())
    return found


def figures(probabilities: NDArray[np.float32], truth: Truth) -> dict[str, float]:
    """Returns the metrics of a classification."""
    if truth.multi:
        unseen = np.zeros(len(truth.hot))
        totals = multi_statistics(probabilities, truth.hot, unseen).sum(axis=0)
    else:
        totals = single_statistics(probabilities, truth.labels.values.astype(np.int64)).sum(axis=0)
    return {name: float(value) for name, value in metrics(totals, calibrated=not truth.multi).items()}


def _objective(context: BaselineContext, multi: bool) -> str:
    chosen = str(getattr(context.config.data, "objective", "auto"))
    return ("micro_f1" if multi else "accuracy") if chosen == "auto" else chosen


def _one(
    x: Any, rows: NDArray[np.int8], weights: NDArray[np.float64] | None, options: Mapping[str, Any]
) -> tuple[NDArray[np.float64], float, int]:
    """Returns weights `<float64>[terms]`, bias, and the number of steps. The options are scikit-learn's."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(solver="liblinear", **options)
    model.fit(x, rows, weights)
    return model.coef_[0], float(model.intercept_[0]), int(model.n_iter_[0])


def _scaled(x: Any, ratio: NDArray[np.float64]) -> Any:
    """Returns x with its columns scaled, without copying its indices."""
    from scipy.sparse import csr_matrix

    return csr_matrix((x.data * ratio[x.indices], x.indices, x.indptr), shape=x.shape)
