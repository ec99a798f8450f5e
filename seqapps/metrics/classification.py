"""Classification metrics from per-example sums, so that a bootstrap resample only needs additions.

The true label is an index, or UNSEEN for one that does not occur in the training split. Such an example counts: it is
wrong, its label is an additional class that is never predicted, and its true label has probability zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.dataset.ragged import Ragged
from seqapps.preprocessing.labels import UNSEEN

Floats = NDArray[np.float64]

THRESHOLD = 0.5
"""Probability above which a label is predicted in multi-label classification."""
BINS = 15
"""Number of bins of the calibration error."""
_EPSILON = float(np.finfo(np.float64).eps)
"""Probabilities are clipped to this, as in scikit-learn: a single zero would make the log loss infinite."""
_HEAD = 3


def single_statistics(probabilities: NDArray[Any], truth: NDArray[np.int64]) -> Floats:
    """Returns per-example sums for single-label classification, `<float64>[N, 3 + 3 (C + 1) + 3 BINS]`.

    They are: 1, whether it is right, -log p of the true label; for each class and for unseen labels, whether it is
    true, predicted, both; for each bin of the largest probability, 1, that probability, whether it is right.

    Args:
        probabilities: `<float>[N, C]`.
        truth: `<int64>[N]`.
    """
    examples, classes = probabilities.shape
    p = probabilities.astype(np.float64)
    every, known = np.arange(examples), truth != UNSEEN
    chosen = np.argmax(p, axis=1)
    right = chosen == truth
    of_truth = np.where(known, p[every, np.where(known, truth, 0)], 0.0)
    nats = -np.log(np.clip(of_truth, _EPSILON, 1.0 - _EPSILON))
    true_class = np.where(known, truth, classes)
    counts = np.zeros((3, examples, classes + 1))
    counts[0, every, true_class] = 1.0
    counts[1, every, chosen] = 1.0
    counts[2, every, chosen] = right
    confidence = p[every, chosen]
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    bins = np.zeros((3, examples, BINS))
    bins[0, every, place], bins[1, every, place], bins[2, every, place] = 1.0, confidence, right
    head = np.stack([np.ones(examples), right, nats], axis=1)
    return np.concatenate([head, *counts, *bins], axis=1)


def multi_statistics(probabilities: NDArray[Any], truth: NDArray[Any], unseen: NDArray[Any]) -> Floats:
    """Returns per-example sums for multi-label classification, `<float64>[N, 3 + 3 (C + 1)]`.

    They are: 1, whether exactly the true labels are predicted, the mean binary cross entropy over the C labels; for
    each label and for unseen ones, how often it is true, predicted, both.

    Args:
        probabilities: `<float>[N, C]`; a label is predicted above THRESHOLD.
        truth: 1 where a label is true, `<int>[N, C]`.
        unseen: number of true labels of each example that do not occur in the training split, `<int>[N]`.
    """
    p = np.clip(probabilities.astype(np.float64), _EPSILON, 1.0 - _EPSILON)
    predicted, true = probabilities > THRESHOLD, truth > 0
    nats = -np.where(true, np.log(p), np.log1p(-p)).mean(axis=1)
    right = (predicted == true).all(axis=1) & (unseen == 0)
    nothing = np.zeros((len(p), 1))
    head = np.stack([np.ones(len(p)), right, nats], axis=1)
    columns = [head, true, unseen[:, None], predicted, nothing, predicted & true, nothing]
    return np.concatenate([np.asarray(column, np.float64) for column in columns], axis=1)


def multi_hot(labels: Ragged, classes: int) -> NDArray[np.int8]:
    """Returns the multi-hot encoding, `<int8>[N, C]`; unseen labels (below 0) are left out."""
    truth = np.zeros((len(labels), classes), np.int8)
    examples = np.repeat(np.arange(len(labels)), labels.lengths)
    known = labels.values >= 0
    truth[examples[known], labels.values[known]] = 1
    return truth


def metrics(totals: Floats, *, calibrated: bool) -> dict[str, Floats]:
    """Returns metric name to value from summed statistics, `<float64>[..., K] -> <float64>[...]`.

    accuracy: share of correct examples (multi-label: exactly the true labels are predicted). macro_f1: mean of
    F1 = 2 hits / (true + predicted) over the classes that are true or predicted at least once; for multi-label over all
    C, and the unseen one if it is true. micro_f1: F1 of the sums over all classes. 0 / 0 is 0. These are the averages
    of scikit-learn's `f1_score`, with its default `zero_division`.
    log_loss: mean -log p of the true label, in nats. ece: expected calibration error, the mean absolute difference of
    confidence and accuracy in BINS bins, weighted by their examples.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3 (ece).

    Args:
        totals: sums of `single_statistics` or `multi_statistics`.
        calibrated: whether they hold the bins of the calibration error.
    """
    examples = totals[..., 0]
    true, predicted, hits = class_sums(totals, calibrated=calibrated)
    both = true + predicted
    f1 = 2.0 * hits / np.maximum(both, 1.0)
    counted = both > 0
    if not calibrated:
        counted[..., :-1] = True
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {
            "accuracy": totals[..., 1] / examples,
            "macro_f1": f1.sum(axis=-1) / counted.sum(axis=-1),
            "micro_f1": 2.0 * hits.sum(axis=-1) / np.maximum(both.sum(axis=-1), 1.0),
            "log_loss": totals[..., 2] / examples,
        }
    if calibrated:
        _, confidence, right = np.split(totals[..., -3 * BINS :], 3, axis=-1)
        found["ece"] = np.abs(confidence - right).sum(axis=-1) / examples
    return found


def class_sums(totals: Floats, *, calibrated: bool) -> tuple[Floats, Floats, Floats]:
    """Returns how often each class, and an unseen one, is true, predicted and both, `<float64>[..., C + 1]` each."""
    end = totals.shape[-1] - (3 * BINS if calibrated else 0)
    true, predicted, hits = np.split(totals[..., _HEAD:end], 3, axis=-1)
    return true, predicted, hits


def class_table(totals: Floats, names: tuple[str, ...], *, calibrated: bool) -> tuple[tuple[str | float, ...], ...]:
    """Returns name, number of examples, precision, recall and F1 of each class; NaN where undefined.

    Args:
        totals: summed statistics `<float64>[K]`.
        names: the C labels; unseen ones get a row of their own when there are any.
        calibrated: see `metrics`.
    """
    table: list[tuple[str | float, ...]] = []
    sums = zip((*names, "(not in training)"), *class_sums(totals, calibrated=calibrated), strict=True)
    for place, (name, true, predicted, hits) in enumerate(sums):
        if place < len(names) or true:
            precision, recall = _share(hits, predicted), _share(hits, true)
            table.append((name, float(true), precision, recall, _share(2.0 * hits, true + predicted)))
    return tuple(table)


def predicted_labels(probabilities: NDArray[Any]) -> NDArray[np.int64]:
    """Returns the labels above THRESHOLD, the most probable first. `<float>[C] -> <int64>[predicted]`."""
    order = np.argsort(-probabilities, kind="stable")
    return order[probabilities[order] > THRESHOLD]


def confusion(chosen: NDArray[Any], truth: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Returns the confusion matrix, true classes as rows, predicted ones as columns, `<int64>[C, C]`.

    Examples with an unseen label are left out.
    """
    known = truth != UNSEEN
    flat = truth[known] * classes + chosen[known]
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
