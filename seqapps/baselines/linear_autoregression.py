"""Linear autoregression: every step of the horizon is a linear function of all model inputs.

    y_{T+h} = b_h + w_h . (history, known future, what is one for the series);  w by least squares + penalty |w|^2

Direct: each step has its own weights. With one variable and one step it is AR(H). The penalty is selected on the
validation split, from candidates that include zero. Source: Hoerl & Kennard 1970, "Ridge Regression".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext
from seqapps.baselines._windows import rows_of, targets_of
from seqapps.dataset.ragged import Ragged
from seqapps.preprocessing.scaling import Scaling

APPLICATIONS = ("time_series",)
RANK = 40

PENALTIES = (0.0, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
_NUMBERS = ("history", "known", "static")
_CODES = ("codes", "known_codes", "static_codes")


@dataclass(frozen=True)
class LinearAutoregression:
    """Fitted weights.

    Args:
        scaling: of the targets.
        sizes: feature of categories to the size of each of its columns.
        weights: `<float64>[inputs + 1, P x V]`, the constant first.
        penalty: that was taken.
    """

    scaling: Scaling
    sizes: Mapping[str, tuple[int, ...]]
    weights: NDArray[np.float64]
    penalty: float

    @property
    def description(self) -> str:
        """What it is, in one line."""
        return f"linear, {len(self.weights) - 1} inputs, direct for each step, ridge penalty {self.penalty:g}"

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float64]:
        """Returns forecasts in original units, `<float64>[N, P, V, 1]`."""
        found = design(examples, self.sizes) @ self.weights
        return self.scaling.undo(found.reshape(len(found), -1, self.scaling.size))[..., None]


def fit(context: BaselineContext) -> Baseline:
    """Returns the weights that the training split gives."""
    train, held_out = context.examples("train"), context.examples("validation")
    sizes = {
        name: tuple(int(v) for v in rows_of(train[name]).reshape(-1, _width(train[name])).max(axis=0, initial=0))
        for name in _CODES
        if name in train
    }
    x, y, weights = design(train, sizes), *_targets(train)
    check, truth, counts = design(held_out, sizes), *_targets(held_out)
    best, penalty, kept = np.inf, 0.0, np.zeros((x.shape[1], y.shape[1]))
    for candidate in PENALTIES:
        found = solve(x, y, weights, candidate)
        error = float((counts * np.square(check @ found - truth)).sum() / max(counts.sum(), 1.0))
        if error < best:
            best, penalty, kept = error, candidate, found
    return LinearAutoregression(targets_of(context), sizes, kept, penalty)


def design(examples: Mapping[str, Ragged], sizes: Mapping[str, tuple[int, ...]]) -> NDArray[np.float64]:
    """Returns all inputs of every window side by side, a constant first, `<float64>[N, inputs + 1]`."""
    rows = len(examples["target"])
    parts = [np.ones((rows, 1))]
    parts += [rows_of(examples[name]).reshape(rows, -1) for name in _NUMBERS if name in examples]
    for name, columns in sizes.items():
        codes = rows_of(examples[name]).reshape(rows, -1, len(columns))
        for place, size in enumerate(columns):
            hot = np.concatenate([np.zeros((1, size)), np.eye(size)])[np.minimum(codes[:, :, place], size)]
            parts.append(hot.reshape(rows, -1))
    return np.concatenate(parts, axis=1).astype(np.float64)


def solve(
    x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64], penalty: float
) -> NDArray[np.float64]:
    """Returns w that makes sum of weights (x w - y)^2 + penalty |w|^2 least; the constant is free. `[inputs, answers]`.

    The least |w| of all where several do it. Answers with the same weights are solved together.
    """
    found = np.zeros((x.shape[1], y.shape[1]))
    patterns, which = np.unique(weights, axis=1, return_inverse=True)
    free = np.eye(x.shape[1])
    free[0, 0] = 0.0
    for number, pattern in enumerate(patterns.T):
        columns, rows = np.flatnonzero(which.ravel() == number), pattern > 0
        if penalty:
            moments = x[rows].T @ x[rows] + penalty * free
            found[:, columns] = np.linalg.solve(moments, x[rows].T @ y[rows][:, columns])
        else:
            found[:, columns] = np.linalg.lstsq(x[rows], y[rows][:, columns], rcond=None)[0]
    return found


def _width(feature: Ragged) -> int:
    return int(feature.values.shape[-1]) if feature.values.ndim > 1 else len(feature.values) // max(len(feature), 1)


def _targets(examples: Mapping[str, Ragged]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows = len(examples["target"])
    target, scored = (rows_of(examples[name]).reshape(rows, -1) for name in ("target", "scored"))
    return target.astype(np.float64), scored.astype(np.float64)
