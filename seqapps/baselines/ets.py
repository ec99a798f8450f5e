"""Exponential smoothing (ETS): level, trend and season as exponentially weighted averages.

Of the fifteen stable forms (error A or M; trend none, A or damped A; season none, A, or M with error M; those with an M
only for positive values) the one with the lowest AICc is selected, with initial states by Hyndman et al., sec. 2.6.1.
It is fitted by maximum likelihood from several starts, including its initial states. Missing values are filled forward.
It has no quantiles.

Source: Hyndman, Koehler, Snyder & Grose 2002, "A state space framework for automatic forecasting using exponential
smoothing methods"; fitted by statsmodels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from seqapps.baselines import Baseline, BaselineContext
from seqapps.baselines._likelihood import best_of
from seqapps.baselines._timelines import Values, filled, fit_each

APPLICATIONS = ("time_series",)
RANK = 50

LONGEST_SEASON = 24
"""Steps: every one is a number that is fitted."""
MOST_STEPS = 1_000
"""Of L-BFGS."""
_WEIGHTS = ((0.1, 0.1), (0.5, 0.1), (0.8, 0.02))
"""Of the level and of the season, to begin with."""
_SHORT = {None: "N", "add": "A", "mul": "M"}


@dataclass(frozen=True)
class Form:
    """Error, trend and season are `add`, `mul` or none."""

    error: str
    trend: str | None
    damped: bool
    seasonal: str | None
    season: int

    @property
    def name(self) -> str:
        """Such as `ETS(M,Ad,M)`."""
        return f"ETS({_SHORT[self.error]},{_SHORT[self.trend]}{'d' * self.damped},{_SHORT[self.seasonal]})"

    def over(self, values: Values, first: str = "estimated") -> Any:
        """Returns the model of statsmodels over some values; `first` says where its first states come from."""
        from statsmodels.tsa.exponential_smoothing.ets import ETSModel

        season = self.season if self.seasonal else None
        return ETSModel(
            values,
            error=self.error,
            trend=self.trend,
            damped_trend=self.damped,
            seasonal=self.seasonal,
            seasonal_periods=season,
            initialization_method=first,
        )


@dataclass(frozen=True)
class Smoothing:
    """A fitted form.

    Args:
        form: what is smoothed.
        params: of statsmodels, first states included.
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
        model = self.form.over(filled(values))
        with np.errstate(all="ignore"):
            _, states = model.smooth(self.params, return_raw=True)
            level, ahead = states[:, :1], np.arange(1, steps + 1)
            if self.form.trend:
                phi = float(self.params[model.param_names.index("damping_trend")]) if self.form.damped else 1.0
                level = level + states[:, 1:2] * np.cumsum(phi**ahead)[None]
            level = np.broadcast_to(level, (len(values), steps))
            if not self.form.seasonal:
                return np.array(level)
            seasons = self._seasons(model, states[:, -1], ahead)
            return level + seasons if self.form.seasonal == "add" else level * seasons

    def _seasons(self, model: Any, states: Values, ahead: Any) -> Values:
        """Returns the season of each step ahead as it is known at each step, `<float64>[T, steps]`."""
        season = self.form.season
        names = [f"initial_seasonal.{place}" for place in reversed(range(season))]  # 0 is the last before the series
        first = [self.params[model.param_names.index(name)] for name in names]
        known = np.concatenate([first, states])  # that of step t stands at t + season
        back = season - 1 - (ahead - 1) % season
        found: Values = known[np.arange(len(states))[:, None] + season - back[None]]
        return found


def fit(context: BaselineContext) -> Baseline:
    """Returns the form with the least AICc for each series.

    Raises:
        Infeasible: see `_timelines.check`.
    """
    return fit_each(context, "exponential smoothing (Hyndman et al. 2002), by AICc", smooth)


def smooth(values: Values, season: int) -> Smoothing:
    """Returns the form with the lowest AICc, fitted; without a season if there are fewer than two full seasons."""
    whole = filled(values)
    usable = season if 2 * season <= len(whole) and 1 < season <= LONGEST_SEASON else 0
    form = min(_forms(usable, positive=bool(whole.min() > 0)), key=lambda form: _criterion(form, whole))
    model = form.over(whole)
    return Smoothing(form, *best_of(model, _starts(model), MOST_STEPS))


def _starts(model: Any) -> Iterator[Values | None]:
    """Yields initial parameters of the fit: the library's own, and others with different level smoothing."""
    yield None
    for level, seasonal in _WEIGHTS:
        start = np.array(model.start_params, np.float64)
        for name, value in (
            ("smoothing_level", level),
            ("smoothing_trend", level / 5.0),
            ("smoothing_seasonal", seasonal),
        ):
            if name in model.param_names:
                start[model.param_names.index(name)] = value
        yield start


def _criterion(form: Form, values: Values) -> float:
    """Returns AICc; infinite if there are too few values for the number of parameters."""
    size = int(form.over(values).k_params) + 1
    if len(values) <= size + 1:
        return np.inf
    model = form.over(values, "heuristic")
    found = model.fit(maxiter=MOST_STEPS, disp=False, return_params=True)
    likelihood = float(model.loglike(found))
    return 2 * size - 2 * likelihood + 2 * size * (size + 1) / (len(values) - size - 1)


def _forms(season: int, *, positive: bool) -> Iterator[Form]:
    for error, (trend, damped) in product(("add", "mul"), ((None, False), ("add", False), ("add", True))):
        if error == "mul" and not positive:
            continue
        for seasonal in (None, "add", "mul") if season else (None,):
            if seasonal != "mul" or error == "mul":
                yield Form(error, trend, damped, seasonal, season)
