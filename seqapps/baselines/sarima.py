"""Seasonal ARIMA with automatic order selection on the training part.

    phi(L) Phi(L^m) (1 - L)^d (1 - L^m)^D (y_t - c) = theta(L) Theta(L^m) e_t

D is 1 if the season is strong (Wang, Smith & Hyndman 2006: above 0.64); d is increased while the KPSS test (Kwiatkowski
et al. 1992) rejects stationarity. The other orders and the constant are selected by AICc, stepwise from four initial
models; the search uses the conditional sum of squares, the selected form is fitted by exact likelihood from two starts.
The filter skips missing values. It has no quantiles.

Source: Hyndman & Khandakar 2008, "Automatic Time Series Forecasting: The forecast Package for R", sec. 3; fitted by
statsmodels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seqapps.baselines import Baseline, BaselineContext
from seqapps.baselines._likelihood import best_of
from seqapps.baselines._timelines import Values, filled, fit_each

APPLICATIONS = ("time_series",)
RANK = 70

LONGEST_SEASON = 24
"""Steps: the filter's work grows with its cube."""
MOST_STEPS = 500
"""Of L-BFGS."""
_STRONG = 0.64
_MOST = {"p": 5, "q": 5, "seasonal_p": 2, "seasonal_q": 2}
_MOST_TOGETHER = 5
_MOST_TRIED = 94
"""Forms of a search, as in R."""


@dataclass(frozen=True)
class Form:
    """Orders of a model; `constant` is a mean, or a drift after one difference."""

    p: int
    d: int
    q: int
    seasonal_p: int
    seasonal_d: int
    seasonal_q: int
    season: int
    constant: bool

    @property
    def name(self) -> str:
        """Such as `ARIMA(1,1,0)(0,1,1)[12] with drift`."""
        text = f"ARIMA({self.p},{self.d},{self.q})"
        if self.season:
            text += f"({self.seasonal_p},{self.seasonal_d},{self.seasonal_q})[{self.season}]"
        return text + (" with constant" if self.constant else "")

    @property
    def size(self) -> int:
        """Number of fitted parameters, including the variance."""
        return self.p + self.q + self.seasonal_p + self.seasonal_q + int(self.constant) + 1

    def over(self, values: Values) -> Any:
        """Returns the model of statsmodels over some values."""
        from statsmodels.tsa.statespace.sarimax import SARIMAX

        return SARIMAX(
            values,
            order=(self.p, self.d, self.q),
            seasonal_order=(self.seasonal_p, self.seasonal_d, self.seasonal_q, self.season),
            trend="c" if self.constant else None,
        )


@dataclass(frozen=True)
class Arima:
    """A fitted form.

    Args:
        form: its orders.
        params: of statsmodels.
        converged: whether the fit converged.
    """

    form: Form
    params: Values
    converged: bool

    @property
    def name(self) -> str:
        """The form."""
        return self.form.name

    def forecast(self, values: Values, steps: int) -> Values:
        """See `Model.forecast`."""
        model = self.form.over(values)
        model.update(self.params)
        state = model.ssm.filter().predicted_state[:, 1:]  # one-step prediction of the state
        seen, onward, constant = (
            np.asarray(model.ssm[name])[..., 0] if model.ssm[name].ndim > size else np.asarray(model.ssm[name])
            for name, size in (("design", 2), ("transition", 2), ("state_intercept", 1))
        )
        found = np.empty((len(values), steps))
        for step in range(steps):
            found[:, step] = (seen @ state)[0]
            state = onward @ state + constant.reshape(-1, 1)
        return found


def fit(context: BaselineContext) -> Baseline:
    """Returns the model of each series.

    Raises:
        Infeasible: see `_timelines.check`.
    """
    return fit_each(context, "seasonal ARIMA, orders by AICc (Hyndman & Khandakar 2008)", arima)


def arima(values: Values, season: int) -> Arima:
    """Returns the chosen form, fitted by the exact likelihood; without a season where fewer than three are there."""
    whole = filled(values)
    usable = season if 3 * season <= len(whole) and 1 < season <= LONGEST_SEASON else 0
    form = chosen(whole, usable)
    model = form.over(values)
    return Arima(form, *best_of(model, (None, _smoothing(model)), MOST_STEPS, cov_type="none"))


def _smoothing(model: Any) -> Values:
    """Returns a second set of initial parameters: a pure moving average, as in exponential smoothing. From the
    library's own start a fit can stop in a local maximum."""
    free = np.array([-1.0 if name.startswith("ma.") else 0.0 for name in model.param_names])
    free[-1] = 1.0  # the variance
    found: Values = model.transform_params(free)
    return found


# ---- the search


def chosen(values: Values, season: int) -> Form:
    """Returns the form with the lowest AICc in a stepwise search."""
    seasonal_d = int(season > 0 and _strength(values, season) > _STRONG)
    d = _differences(_differenced(values, 0, seasonal_d, season))
    level = _differenced(values, d, seasonal_d, season)
    can = d + seasonal_d <= 1
    begin = _beginnings(d, seasonal_d, season, constant=can)
    if can:
        begin.append(replace(begin[1], constant=False))
    tried = {form: _criterion(form, level) for form in dict.fromkeys(begin)}
    best = min(tried, key=lambda form: tried[form])
    while len(tried) < _MOST_TRIED:
        for form in _neighbours(best, can):
            if form in tried:
                continue
            tried[form] = _criterion(form, level)
            if tried[form] < tried[best]:
                best = form
                break
        else:
            break
    return best


def _beginnings(d: int, seasonal_d: int, season: int, *, constant: bool) -> list[Form]:
    seasonal = int(season > 0)
    return [
        Form(p, d, q, seasonal_p * seasonal, seasonal_d, seasonal_q * seasonal, season, constant)
        for p, q, seasonal_p, seasonal_q in ((2, 2, 1, 1), (0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1))
    ]


def _neighbours(form: Form, can: bool) -> Iterator[Form]:
    """Yields forms that differ by one in an order or in two that belong together, and by the constant."""
    changes: list[dict[str, int]] = []
    for names in (("seasonal_p",), ("seasonal_q",), ("p",), ("q",), ("seasonal_p", "seasonal_q"), ("p", "q")):
        changes += [dict.fromkeys(names, by) for by in (-1, 1)]
    for one in (-1, 1):
        changes += [{"p": one, "q": -one}, {"seasonal_p": one, "seasonal_q": -one}]
    most = _MOST if form.season else {**_MOST, "seasonal_p": 0, "seasonal_q": 0}
    for change in changes:
        orders = {name: getattr(form, name) + by for name, by in change.items()}
        inside = all(0 <= order <= most[name] for name, order in orders.items())
        other = replace(form, **orders)
        if inside and other.p + other.q + other.seasonal_p + other.seasonal_q <= _MOST_TOGETHER:
            yield other
    if can:
        yield replace(form, constant=not form.constant)


def _criterion(form: Form, level: Values) -> float:
    """Returns AICc of a form over a differenced series, from the conditional sum of squares."""
    from scipy.optimize import minimize

    count = len(level)
    if count <= form.size + 2:
        return np.inf
    begin = np.zeros(form.size - 1)
    if form.constant:
        begin[-1] = level.mean()
    scale = float(np.square(level).mean()) or 1.0

    def error(x: Values) -> float:
        value = float(np.square(_residuals(form, x, level)).mean()) / scale
        return value if np.isfinite(value) else 1e30

    least = error(begin) if not len(begin) else float(minimize(error, begin, method="BFGS").fun)
    size = form.size
    return count * math.log(max(least * scale, 1e-300)) + 2 * size + 2 * size * (size + 1) / (count - size - 1)


def _residuals(form: Form, x: Values, level: Values) -> Values:
    """Returns e of a differenced series; x are free numbers, from which stationary and invertible weights follow."""
    from scipy.signal import lfilter
    from statsmodels.tsa.statespace.tools import constrain_stationary_univariate

    polynomials, place = [], 0
    for order, step in ((form.p, 1), (form.seasonal_p, form.season), (form.q, 1), (form.seasonal_q, form.season)):
        found = np.zeros(order * max(step, 1) + 1)
        found[0] = 1.0
        if order:
            found[step::step] = -constrain_stationary_univariate(x[place : place + order])
        polynomials.append(found)
        place += order
    ar, ma = (np.convolve(polynomials[first], polynomials[first + 1]) for first in (0, 2))
    found_residuals: Values = lfilter(ar, ma, level - (x[-1] if form.constant else 0.0))
    return found_residuals


def _strength(values: Values, season: int) -> float:
    """Returns 1 - var(rest) / var(season + rest). Source: Wang, Smith & Hyndman 2006, sec. 3.1."""
    from statsmodels.tsa.seasonal import STL

    parts = STL(values, period=season, robust=False).fit()
    whole = float(np.var(parts.seasonal + parts.resid))
    return max(0.0, 1.0 - float(np.var(parts.resid)) / whole) if whole else 0.0


def _differences(values: Values) -> int:
    """Returns how often a series is differenced until it is stationary, twice at most."""
    from statsmodels.tsa.stattools import kpss

    for count in range(2):
        if not values.std() > 1e-12 * float(np.abs(values).max()):
            return count
        lags = int(3 * np.sqrt(len(values)) / 13)
        with warnings.catch_warnings():  # the KPSS p-value may lie outside its table and is clipped
            warnings.simplefilter("ignore")
            share = kpss(values, regression="c", nlags=lags)[1]
        if share > 0.05:
            return count
        values = np.diff(values)
    return 2


def _differenced(values: Values, d: int, seasonal_d: int, season: int) -> Values:
    for _ in range(seasonal_d):
        values = values[season:] - values[:-season]
    return np.diff(values, d)
