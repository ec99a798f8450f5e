"""Maximum likelihood fits with statsmodels from several starting points.

A fit stops when a step gains little, and its gradients are finite differences: it can stop nats below the maximum and
still report convergence. So there are several starts, and the best one is continued with a finer tolerance until that
gains nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

GAIN = 0.01
"""Negligible difference of log-likelihoods, in nats."""
_ROUNDS = 3
_FINE = {"factr": 1e2, "pgtol": 1e-7}
"""Of L-BFGS: its own are 1e10 (gain, in units of rounding) and 1e-5 (slope)."""


def best_of(
    model: Any, starts: Iterable[NDArray[np.float64] | None], most_steps: int, **options: Any
) -> tuple[NDArray[np.float64], bool]:
    """Returns the parameters with the highest likelihood found, and whether the fit converged.

    Args:
        model: of statsmodels.
        starts: initial parameters; None for the model's own.
        most_steps: of L-BFGS for a fit.
        options: of the model's `fit`.
    """
    found = [_fitted(model, start, most_steps, **options) for start in starts]
    best = max(found, key=_height)
    for _ in range(_ROUNDS):
        finer = _fitted(model, best.params, most_steps, **_FINE, **options)
        gain = _height(finer) - _height(best)
        best, ended = (finer if gain > 0 else best), bool(best.mle_retvals["converged"])
        if not gain > GAIN:
            return np.asarray(best.params), ended
    return np.asarray(best.params), False


def _fitted(model: Any, start: NDArray[np.float64] | None, most_steps: int, **options: Any) -> Any:
    return model.fit(start_params=start, maxiter=most_steps, disp=False, **options)


def _height(result: Any) -> float:
    height = float(result.llf)
    return height if np.isfinite(height) else -np.inf
