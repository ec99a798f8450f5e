"""Shared code of the classical univariate models: series reassembled from their windows, and one model for each.

Every target of every series is forecast from its own past alone, in original units: no covariate, no known column, no
other series, no logarithm. Models are selected by AICc, which needs no validation part, so they are also fitted to the
validation part, unless that is scored because there is no test part. In the test part the states are updated with the
observations, without refitting, so that a forecast from step t uses all values before it and none after.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext, Infeasible
from seqapps.baselines._windows import horizon_of, past_of, rows_of, targets_of
from seqapps.dataset.ragged import Ragged
from seqapps.preprocessing.scaling import Scaling
from seqapps.preprocessing.series.timeline import Frequency, Grid
from seqapps.threads import one_thread

Values = NDArray[np.float64]

MOST_MODELS = 20
"""Targets times series: each is fitted by itself."""
MOST_STEPS = 5_000
"""Steps of all of them before the test part: about a minute."""
FEWEST_STEPS = 12
"""Of one before the test part: a model has up to ten numbers without its seasons."""


class Model(Protocol):
    """A model of one series after fitting."""

    @property
    def name(self) -> str:
        """Its form, such as `ETS(M,A,M)`."""
        ...

    @property
    def converged(self) -> bool:
        """Whether its fit converged."""
        ...

    def forecast(self, values: Values, steps: int) -> Values:
        """Returns the forecast of the next `steps` after each value, `<float64>[T] -> [T, steps]`; the first value is
        the first that it was fitted to, and missing values are NaN."""
        ...


Fit = Callable[[Values, int], Model]
"""Fits a model to values (NaN where missing), with the steps of a season (0 for none)."""


@dataclass(frozen=True)
class LastValue:
    """The model of a constant series."""

    name = "constant"
    converged = True

    def forecast(self, values: Values, steps: int) -> Values:
        """See `Model.forecast`."""
        return np.repeat(filled(values)[:, None], steps, axis=1)


@dataclass(frozen=True)
class Scaled:
    """A model of a series in units of its deviation, so that no tolerance of a fit depends on the unit of measurement.

    Nothing is subtracted, so that positive values stay positive.
    """

    model: Model
    scale: float

    @property
    def name(self) -> str:
        """See `Model.name`."""
        return self.model.name

    @property
    def converged(self) -> bool:
        """See `Model.converged`."""
        return self.model.converged

    def forecast(self, values: Values, steps: int) -> Values:
        """See `Model.forecast`."""
        return self.scale * self.model.forecast(values / self.scale, steps)


@dataclass(frozen=True)
class Timeline:
    """A series on the grid of steps.

    Args:
        first: number of the first step on the grid.
        values: `<float64>[T, V]`, NaN where missing.
    """

    first: int
    values: Values

    @property
    def end(self) -> int:
        """Number of the step after the last."""
        return self.first + len(self.values)


@dataclass(frozen=True)
class EachByItself:
    """One model for each target of each series.

    Args:
        kind: their description, with the source.
        scaling: of the targets.
        step: of the times.
        seen: series to the values that its models were fitted to.
        models: series to the models of its targets.
    """

    kind: str
    scaling: Scaling
    step: Frequency
    seen: Mapping[bytes, Timeline]
    models: Mapping[bytes, tuple[Model, ...]]

    @property
    def description(self) -> str:
        """Their description, and the form of each, up to three."""
        names = [model.name for models in self.models.values() for model in models]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return f"{self.kind}: {shown}"

    @property
    def converged(self) -> bool:
        """Whether every fit converged."""
        return all(model.converged for models in self.models.values() for model in models)

    def predict(self, examples: Mapping[str, Ragged]) -> Values:
        """Returns forecasts in original units, `<float64>[N, P, V, 1]`; the last value for a series without a model or
        beginning before its training part, and where the model returns no finite number."""
        steps, series = horizon_of(examples), examples["series"].values
        found = np.repeat(past_of(examples, self.scaling)[:, -1:], steps, axis=1)
        origins = examples["origin"].values.astype(np.int64)
        for name, here in timelines(examples, self.step, self.scaling).items():
            if name not in self.models or here.first < self.seen[name].first:
                continue
            whole, rows = _joined(self.seen[name], here), np.flatnonzero(series == name)
            at = numbers_of(origins[rows], self.step)
            for target, model in enumerate(self.models[name]):
                with one_thread():
                    ahead = model.forecast(whole.values[:, target], steps)[at - whole.first]
                found[rows, :, target] = np.where(np.isfinite(ahead), ahead, found[rows, :, target])
        return found[..., None]


def fit_each(context: BaselineContext, kind: str, fit: Fit) -> Baseline:
    """Returns a model for every target of every series of the training part.

    Raises:
        Infeasible: there are too many series, too many steps, or too few; names the limit.
    """
    scaling, manifest = targets_of(context), context.manifest
    examples = [context.examples("train")]
    if "test" in manifest.splits and manifest.splits["test"].rows:
        examples.append(context.examples("validation"))
    step = Frequency.parse(manifest.vocabularies["frequency"].facts["names"][0])
    seen, *more = (timelines(part, step, scaling) for part in examples)
    for part in more:
        seen = {name: _joined(before, part[name]) if name in part else before for name, before in seen.items()}
    check(seen, scaling.size)
    season, models = int(getattr(context.config.data, "season", 0)), {}
    for name, whole in seen.items():
        models[name] = tuple(fit_one(fit, values, season) for values in whole.values.T)
        chosen = ", ".join(model.name for model in models[name])
        context.report(f"{name.decode()}: {chosen}" if name else chosen)
    return EachByItself(kind, scaling, step, seen, models)


def fit_one(fit: Fit, values: Values, season: int) -> Model:
    """Returns the fitted model of one series; a constant one needs no fit."""
    whole = filled(values)
    if np.ptp(whole) <= np.finfo(np.float32).eps * np.abs(whole).max():  # prepared windows are float32
        return LastValue()
    spread = float(np.ptp(whole))
    scale = spread * float(np.std(whole / spread))
    with one_thread(), warnings.catch_warnings():  # of fits that have not converged, which `converged` reports
        warnings.simplefilter("ignore")
        return Scaled(fit(values / scale, season), scale)


def check(parts: Mapping[bytes, Timeline], targets: int) -> None:
    """Raises if univariate models would take too long, or have too little data.

    Raises:
        Infeasible: names the number of series or steps, and the limit.
    """
    count, steps = len(parts) * targets, targets * sum(len(part.values) for part in parts.values())
    if count > MOST_MODELS:
        raise Infeasible(f"one model for each series and target is for up to {MOST_MODELS}. Received: {count:,}")
    if steps > MOST_STEPS:
        raise Infeasible(f"it is for up to {MOST_STEPS:,} steps before the test part. Received: {steps:,}")
    for name, part in parts.items():
        for values in part.values.T:
            seen = int(np.count_nonzero(np.isfinite(values)))
            if seen < FEWEST_STEPS:
                of = f" of series {name.decode()!r}" if name else ""
                raise Infeasible(f"it needs {FEWEST_STEPS} steps{of}. Received: {seen}")


def timelines(examples: Mapping[str, Ragged], step: Frequency, scaling: Scaling) -> dict[bytes, Timeline]:
    """Returns the series that windows are cut from, in original units.

    Values that were targets are as observed, NaN where missing. Before the first target, and between windows with gaps,
    values come from the histories, in which missing values are filled.
    """
    if not len(examples["target"]):
        return {}
    size = scaling.size
    origins = examples["origin"].values.astype(np.int64)
    history = scaling.undo(rows_of(examples["history"])[:, :, :size])
    target = np.where(rows_of(examples["scored"]) > 0, scaling.undo(rows_of(examples["target"])), np.nan)
    before, after, found = history.shape[1], target.shape[1], {}
    series = examples["series"].values
    for name in dict.fromkeys(series.tolist()):
        rows = np.flatnonzero(series == name)
        at = numbers_of(origins[rows], step)
        first = int(at.min()) - before + 1
        values = np.full((int(at.max()) + after + 1 - first, size), np.nan)
        values[at[:, None] - first + np.arange(1 - before, 1)] = history[rows]
        values[at[:, None] - first + np.arange(1, after + 1)] = target[rows]
        found[name] = Timeline(first, values)
    return found


def numbers_of(origins: NDArray[np.int64], step: Frequency) -> NDArray[np.int64]:
    """Returns the numbers of the steps of one series' times."""
    return Grid.through(origins, step).index(origins)[0]


def filled(values: Values) -> Values:
    """Returns values filled forward, and backward before the first one: `<float64>[T]`."""
    seen = np.isfinite(values)
    last = np.maximum.accumulate(np.where(seen, np.arange(len(values)), -1))
    return values[np.where(last < 0, int(seen.argmax()), last)]


def _joined(before: Timeline, after: Timeline) -> Timeline:
    """Returns one series of two parts; where both have a step, the observed value."""
    first, end = min(before.first, after.first), max(before.end, after.end)
    values = np.full((end - first, before.values.shape[1]), np.nan)
    values[before.first - first : before.end - first] = before.values
    place = values[after.first - first : after.end - first]
    place[:] = np.where(np.isfinite(place), place, after.values)
    return Timeline(first, values)
