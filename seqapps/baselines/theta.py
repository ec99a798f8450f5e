"""The theta method: exponential smoothing of the seasonally adjusted series with half of its linear trend as drift.

    y_{T+h} = s_{T+h} (l_T + b/2 (h - 1 + 1/a - (1-a)^T / a));  l_t = a y_t / s_t + (1-a) l_{t-1}

Seasons are divided out if their autocorrelation is significant (at 10 %), or subtracted if a factor would not be
positive. Missing values are filled forward. It has no quantiles.

Source: Assimakopoulos & Nikolopoulos 2000, "The theta model"; in the form of Hyndman & Billah 2003, "Unmasking the
Theta method"; fitted by statsmodels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqapps.baselines import Baseline, BaselineContext
from seqapps.baselines._timelines import Values, filled, fit_each

APPLICATIONS = ("time_series",)
RANK = 60

_LEAST = 1e-4
"""The least a: with 0 nothing is learned."""
_GRID = 100
_SIGNIFICANT = 1.645**2
"""The 90 % point of chi squared with one degree of freedom."""


@dataclass(frozen=True)
class Theta:
    """A fitted series.

    Args:
        alpha, drift: a and b.
        seasons: factors or summands of the steps of a season from the first of all on; empty for none.
        multiplied: whether they are factors.
        converged: always; the line has a closed form, and the one weight is found by grid search.
    """

    alpha: float
    drift: float
    seasons: Values
    multiplied: bool
    converged: bool = True

    @property
    def name(self) -> str:
        """With how its seasons are taken out."""
        kind = f", {'factors' if self.multiplied else 'summands'} of {len(self.seasons)} steps"
        return f"theta(a = {self.alpha:.2f}{kind if len(self.seasons) else ''})"

    def forecast(self, values: Values, steps: int) -> Values:
        """See `Model.forecast`."""
        plain, time = self._without(filled(values)), np.arange(1, len(values) + 1)
        level, levels = float(plain[0]), np.empty(len(plain))
        for place, value in enumerate(plain.tolist()):
            level += self.alpha * (value - level)
            levels[place] = level
        ahead = np.arange(steps)[None] + (1.0 - (1.0 - self.alpha) ** time[:, None]) / self.alpha
        found: Values = levels[:, None] + self.drift / 2.0 * ahead
        if not len(self.seasons):
            return found
        season = self.seasons[(time[:, None] + np.arange(steps)) % len(self.seasons)]
        found = found * season if self.multiplied else found + season
        return found

    def _without(self, values: Values) -> Values:
        if not len(self.seasons):
            return values
        season = self.seasons[np.arange(len(values)) % len(self.seasons)]
        plain: Values = values / season if self.multiplied else values - season
        return plain


def fit(context: BaselineContext) -> Baseline:
    """Returns the fitted series.

    Raises:
        Infeasible: see `_timelines.check`.
    """
    return fit_each(context, "theta method (Assimakopoulos & Nikolopoulos 2000)", theta)


def theta(values: Values, season: int) -> Theta:
    """Returns smoothing and drift of a series, without its season."""
    from statsmodels.tsa.forecasting.theta import ThetaModel

    whole = filled(values)
    seasons, multiplied = _seasons(whole, season)
    plain = Theta(1.0, 0.0, seasons, multiplied)._without(whole)
    fitted = ThetaModel(plain, period=1, deseasonalize=False).fit()
    alphas = [max(float(fitted.params["alpha"]), _LEAST), _best_weight(plain)]
    alpha = min(alphas, key=lambda alpha: round(_squares(alpha, plain) / _squares(1.0, plain), 9))
    return Theta(alpha, float(fitted.params["b0"]), seasons, multiplied)


def _best_weight(plain: Values) -> float:
    """Returns the a with the least squared errors: the best of a grid, refined between its neighbours. The library's
    search can stop in a local minimum."""
    from scipy.optimize import minimize_scalar

    grid = np.linspace(_LEAST, 1.0, _GRID)
    place = int(np.argmin([_squares(alpha, plain) for alpha in grid]))
    bounds = grid[max(place - 1, 0)], grid[min(place + 1, _GRID - 1)]
    found = minimize_scalar(_squares, bounds=bounds, args=(plain,), method="bounded", options={"xatol": 1e-9})
    return min(float(found.x), float(grid[place]), key=lambda alpha: _squares(alpha, plain))


def _squares(alpha: float, plain: Values) -> float:
    """Returns the squared errors one step ahead, from the first value as level; above 0."""
    from scipy.signal import lfilter

    levels, _ = lfilter([alpha], [1.0, alpha - 1.0], plain, zi=[(1.0 - alpha) * plain[0]])
    return float(np.square(plain[1:] - levels[:-1]).sum()) or float(np.finfo(np.float64).tiny)


def _seasons(values: Values, season: int) -> tuple[Values, bool]:
    """Returns the seasonal components and whether they are factors; empty if there is no significant season."""
    from statsmodels.tsa.seasonal import seasonal_decompose
    from statsmodels.tsa.stattools import acf

    if season < 2 or len(values) < 2 * season or not values.std() > 0:
        return np.zeros(0), False
    correlations = acf(values, nlags=season, fft=True)
    if len(values) * correlations[-1] ** 2 / np.square(correlations[:-1]).sum() <= _SIGNIFICANT:
        return np.zeros(0), False
    if values.min() > 0:
        factors = np.asarray(seasonal_decompose(values, "multiplicative", period=season).seasonal)[:season]
        if factors.min() > 0:
            return factors, True
    return np.asarray(seasonal_decompose(values, "additive", period=season).seasonal)[:season], False
