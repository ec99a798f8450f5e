"""Standardisation: the mean and the standard deviation of each variable, from the training part alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps import formats
from seqapps.dataset.manifest import MADE_AGAIN
from seqapps.errors import DataError

FILE_NAME = "scaling.json"
UNEQUAL = 100.0
"""Largest ratio of the step sizes of two series, and of the overall deviation to a series' mean distance from its own
mean."""


@dataclass(frozen=True)
class Scaling:
    """z = (x - mean) / deviation, variable by variable; x is log(1 + value) for the variables in `logged`.

    Args:
        names: the variables.
        means, deviations: of each variable over the training part; a variable that never changes has deviation 1.
        counts: number of non-missing values of each variable in the training part.
        logged: variables whose logarithm is standardised.
        naive: variable to the mean absolute error of the seasonal naive forecast inside the training part, over all
            series, in original units.
        naive_of: variable to the same error of each series: the denominator of MASE. Source: Hyndman & Koehler 2006,
            "Another look at measures of forecast accuracy", sec. 3.
        spread_of: variable to the mean absolute distance of each series from its own mean over the training part; of
            the logarithm for the variables in `logged`.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    counts: tuple[int, ...] = ()
    logged: tuple[str, ...] = ()
    naive: Mapping[str, float] | None = None
    naive_of: Mapping[str, Mapping[str, float]] | None = None
    spread_of: Mapping[str, Mapping[str, float]] | None = None

    @property
    def size(self) -> int:
        """Number of variables."""
        return len(self.names)

    @property
    def facts(self) -> dict[str, Any]:
        """The part stored in the manifest: all of it."""
        return {
            "names": list(self.names),
            "means": list(self.means),
            "deviations": list(self.deviations),
            "counts": list(self.counts),
            "logged": list(self.logged),
            "naive": dict(self.naive or {}),
            "naive_of": {name: dict(errors) for name, errors in (self.naive_of or {}).items()},
            "spread_of": {name: dict(spreads) for name, spreads in (self.spread_of or {}).items()},
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Scaling:
        """Returns the scaling stored in a manifest."""
        return cls(
            names=tuple(facts["names"]),
            means=tuple(facts["means"]),
            deviations=tuple(facts["deviations"]),
            counts=tuple(facts.get("counts", ())),
            logged=tuple(facts.get("logged", ())),
            naive=dict(facts.get("naive", {})),
            naive_of={name: dict(errors) for name, errors in facts.get("naive_of", {}).items()},
            spread_of={name: dict(spreads) for name, spreads in facts.get("spread_of", {}).items()},
        )

    def of(self, names: tuple[str, ...]) -> Scaling:
        """Returns the scaling of some variables, in their order."""
        places = [self.names.index(name) for name in names]
        return Scaling(
            names=names,
            means=tuple(self.means[place] for place in places),
            deviations=tuple(self.deviations[place] for place in places),
            counts=tuple(self.counts[place] for place in places) if self.counts else (),
            logged=tuple(name for name in names if name in self.logged),
            naive={name: value for name, value in (self.naive or {}).items() if name in names},
            naive_of={name: errors for name, errors in (self.naive_of or {}).items() if name in names},
            spread_of={name: spreads for name, spreads in (self.spread_of or {}).items() if name in names},
        )

    def naive_errors_of(self, series: Sequence[str]) -> NDArray[np.float64]:
        """Returns the denominator of MASE for each series, `<float64>[series, variables]`.

        That is the in-sample error of the seasonal naive forecast on the series' training part; for a series without
        one, the error over all series, and NaN if there is none at all.
        """
        columns = []
        for name in self.names:
            own, pooled = (self.naive_of or {}).get(name, {}), (self.naive or {}).get(name, np.nan)
            columns.append([own.get(one, pooled) for one in series])
        return np.array(columns, np.float64).T.reshape(len(series), len(self.names))

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Standardises `<float>[..., variables]` in original units, `<float32>`; missing values stay missing."""
        plain = logarithm(values.astype(np.float64), self.names, self.logged)
        scaled = (plain - np.asarray(self.means)) / np.asarray(self.deviations)
        standard: NDArray[np.float32] = scaled.astype(np.float32)
        return standard

    def undo(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Converts standardised `<float>[..., variables]` to original units, `<float64>`."""
        plain = values.astype(np.float64) * np.asarray(self.deviations) + np.asarray(self.means)
        if self.logged:
            is_logged = np.array([name in self.logged for name in self.names])
            plain = np.where(is_logged, np.expm1(np.where(is_logged, plain, 0.0)), plain)
        return np.asarray(plain, np.float64)

    def save(self, folder: Path) -> None:
        """Writes `scaling.json` into `folder`, which is created."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE_NAME).write_text(
            json.dumps(formats.stamped("scaling", self.facts), indent=1) + "\n", encoding="utf-8"
        )

    @classmethod
    def load(cls, folder: Path) -> Scaling:
        """Reads what `save` wrote; raises a DataError for what cannot be read."""
        return formats.read(folder / FILE_NAME, "scaling", cls, MADE_AGAIN)


def logarithm(values: NDArray[np.float64], names: tuple[str, ...], logged: tuple[str, ...]) -> NDArray[np.float64]:
    """Returns log(1 + value) of the logged variables, NaN where it is undefined."""
    if not logged:
        return values
    is_logged = np.array([name in logged for name in names])
    inside = is_logged & (values > -1.0)
    return np.where(is_logged, np.where(inside, np.log1p(np.where(inside, values, 0.0)), np.nan), values)


def unequal(scaling: Scaling, name: str) -> str:
    """Returns a warning if one scale does not fit all series: their levels lie so far apart that the variation around
    each level vanishes, or the steps of some are hundreds of times those of others. Empty if it fits."""
    return _apart(scaling, name) or _unequal_steps(scaling, name)


def _apart(scaling: Scaling, name: str) -> str:
    spreads_of = (scaling.spread_of or {}).get(name) or {}
    deviation = scaling.deviations[scaling.names.index(name)]
    small = [series for series, spread in spreads_of.items() if 0 < UNEQUAL * spread <= deviation]
    if not small or len(spreads_of) < 2:
        return ""
    least = min(small, key=lambda one: spreads_of[one])
    of = " of the logarithm" if name in scaling.logged else ""
    more = f" (and {len(small) - 1} more)" if len(small) > 1 else ""
    return (
        f"{name}: the levels of the series lie far apart: one deviation{of}, {deviation:.4g}, standardises all, and "
        f"series {least!r}{more} keeps within {spreads_of[least]:.4g} of its own mean: its changes are hardly learned. "
        "Remedy: a configuration for each level, or values that were divided by the level of their series"
    )


def _unequal_steps(scaling: Scaling, name: str) -> str:
    """Returns the warning about step sizes; those of a logged variable cannot be compared."""
    errors = {series: error for series, error in ((scaling.naive_of or {}).get(name) or {}).items() if error > 0}
    if len(errors) < 2 or name in scaling.logged:
        return ""
    least, most = min(errors, key=lambda one: errors[one]), max(errors, key=lambda one: errors[one])
    if errors[most] < UNEQUAL * errors[least]:
        return ""
    return (
        f"{name}: the steps of series {most!r} are {errors[most] / errors[least]:,.0f} times those of {least!r}, and "
        "one deviation standardises all: the small ones are hardly learned. `data.log` brings them together; "
        '`data.objective` = "mase" measures each by its own'
    )


# ---- sums of the training part, added up over files


def moments(name: str, values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Returns the sums from which the mean and the deviation of one variable follow, under a name of their own.

    Sums of squares of numbers far from zero lose precision by cancellation, so they are taken around a reference near
    the mean. It is part of the name: only sums around the same reference are added. The reference lies on a grid of
    about the deviation, so that similar files share it.

    Args:
        name: of the variable.
        values: its non-missing values, `<float64>[count]`.

    Returns:
        `moments/<name>@<reference>` to (count, sum of x - r, sum of (x - r)^2); nothing without values.
    """
    if not len(values):
        return {}
    mean, deviation = float(values.mean()), float(values.std())
    cell = 2.0 ** np.ceil(np.log2(deviation)) if deviation > 0.0 else 0.0
    reference = float(np.round(mean / cell) * cell) if cell and np.isfinite(mean / cell) else mean
    apart = values - reference
    return {f"moments/{name}@{reference.hex()}": np.array([len(values), apart.sum(), np.square(apart).sum()])}


def naive_errors(name: str, series: str, values: NDArray[np.float64], season: int) -> dict[str, NDArray[np.float64]]:
    """Returns `naive/<name><tab><series>` to (count, sum) of |y_t - y_{t - season}| where neither is missing."""
    errors = np.abs(values[season:] - values[:-season])
    seen = errors[np.isfinite(errors)]
    return {f"naive/{name}\t{series}": np.array([len(seen), seen.sum()])}


def spreads(name: str, series: str, values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Returns `spread/<name><tab><series>` to (count, sum) of the distances of a series from its own mean."""
    seen = values[np.isfinite(values)]
    apart = np.abs(seen - seen.mean()) if len(seen) else seen
    return {f"spread/{name}\t{series}": np.array([len(apart), apart.sum()])}


def scaling_of(sums: Mapping[str, NDArray[np.float64]], names: tuple[str, ...], logged: tuple[str, ...]) -> Scaling:
    """Returns the scaling of variables from sums of `moments` and `naive_errors`.

    Groups with different references are merged as in Chan, Golub & LeVeque 1983, "Algorithms for Computing the Sample
    Variance", eq. 2.1.

    Raises:
        DataError: a variable has no value in the training part.
    """
    means, deviations, counts = [], [], []
    for name in names:
        count, mean, squares = 0.0, 0.0, 0.0
        for key in sorted(key for key in sums if key.startswith("moments/") and key[8:].rpartition("@")[0] == name):
            number, first, second = sums[key].tolist()
            middle = float.fromhex(key.rpartition("@")[2]) + first / number
            within, total = second - first * first / number, count + number
            squares += within + (middle - mean) ** 2 * count * number / total
            mean += (middle - mean) * number / total
            count = total
        if not count:
            raise DataError(
                f"Column `{name}` has no number in the training part. Remedy: leave it out, or another `data.split`."
            )
        deviation = float(np.sqrt(max(squares, 0.0) / count))
        means.append(mean)
        deviations.append(deviation if deviation > 1e-12 * abs(mean) else 1.0)
        counts.append(int(count))
    naive, naive_of = _means("naive", sums, names)
    _, spread_of = _means("spread", sums, names)
    return Scaling(names, tuple(means), tuple(deviations), tuple(counts), logged, naive, naive_of, spread_of)


def _means(
    kind: str, sums: Mapping[str, NDArray[np.float64]], names: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Returns the mean of `naive_errors` or `spreads` of each variable, over all series and of each series."""
    pooled, each = {}, {}
    for name in names:
        start = f"{kind}/{name}\t"
        found = {key.removeprefix(start): sums[key] for key in sorted(sums) if key.startswith(start) and sums[key][0]}
        if found:
            count, total = np.sum(list(found.values()), axis=0).tolist()
            pooled[name] = total / count
            each[name] = {series: float(values[1] / values[0]) for series, values in found.items()}
    return pooled, each
