"""Every baseline that is fitted by iteration has come to its end, whatever the unit of measurement; none escapes."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from seqapps import baselines
from seqapps.baselines import conditional_ngram, ets, sarima, theta
from seqapps.baselines._timelines import Values, fit_one

TESTS = Path(__file__).parent

AT_ONCE = {
    "copy_source", "drift", "kneser_ney", "linear_autoregression", "majority", "most_frequent_tag",
    "nearest_translation", "neighbour_counts", "persistence", "seasonal_naive", "uniform", "unigram", "unigram_word",
}  # fmt: skip
"""Counts, look-ups and closed forms."""

PROVEN = {
    "conditional_ngram": "test_converged.py::test_the_share_of_a_label_has_all_its_digits",
    "crf": "test_classical.py::test_the_crf_has_converged",
    "ets": "test_converged.py::test_half_as_many_steps_again_and_other_starts_find_nothing",
    "fixed_window": "test_baselines.py::"
    "test_fixed_window_has_converged_half_as_many_steps_again_change_less_than_the_standard_error",
    "linear_text": "test_linear_text.py::test_half_as_many_steps_again_change_less_than_the_standard_error",
    "sarima": "test_converged.py::test_half_as_many_steps_again_and_other_starts_find_nothing",
    "tfidf_logistic": "test_linear_text.py::test_half_as_many_steps_again_change_less_than_the_standard_error",
    "theta": "test_converged.py::test_no_other_weight_of_theta_is_better",
}
"""Baseline to the test that half as many steps again change its figure by less than that figure's standard error."""


def test_every_baseline_that_is_fitted_by_iteration_is_proven_to_have_converged() -> None:
    """A new file must be named here: with its proof, or as one that takes no steps."""
    assert sorted([*AT_ONCE, *PROVEN]) == baselines.names()
    for place in PROVEN.values():
        file, _, name = place.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, place


def test_every_baseline_that_was_measured_had_converged() -> None:
    """What a cap of steps ended is no figure of a rival."""
    measured = sorted((TESTS.parent / "benchmarks" / "results" / "baselines").glob("*/*.json"))
    assert measured
    for file in measured:
        for name, found in json.loads(file.read_text(encoding="utf-8"))["baselines"].items():
            assert found.get("converged") or found["left_out"], (file.name, name)


# ---- series


def series(count: int = 60, season: int = 6) -> Values:
    """A series above 0 with a trend and a season that grows with it."""
    random, time = np.random.default_rng(3), np.arange(count)
    factor = 1.0 + 0.3 * np.sin(2.0 * np.pi * time / season)
    return np.asarray((50.0 + 0.5 * time) * factor * np.exp(random.normal(scale=0.05, size=count)), np.float64)


FITS: dict[str, Callable[[Values, int], Any]] = {"ets": ets.smooth, "sarima": sarima.arima, "theta": theta.theta}


@pytest.mark.parametrize("name", FITS)
def test_a_forecast_does_not_depend_on_the_unit_of_measurement(name: str) -> None:
    values = series()
    plain = fit_one(FITS[name], values[:48], 6)
    expected = plain.forecast(values, 3)
    for unit in (1e-6, 1e6):
        found = fit_one(FITS[name], values[:48] * unit, 6)
        assert (found.name, found.converged) == (plain.name, True)
        assert_allclose(found.forecast(values * unit, 3) / unit, expected, atol=1e-3 * values.std())


@pytest.mark.filterwarnings("ignore::statsmodels.tools.sm_exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["ets", "sarima"])
def test_half_as_many_steps_again_and_other_starts_find_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = series()
    train = values[:48] / values[:48].std()
    found = FITS[name](train, 6)
    assert found.converged
    model = found.form.over(train)
    random, best = np.random.default_rng(1), float(model.loglike(found.params))
    for _ in range(4):
        start = found.params * np.exp(random.normal(scale=0.3, size=len(found.params)))
        other = model.fit(start_params=np.minimum(start, _highest(model)), maxiter=1_500, disp=False)
        assert not float(other.llf) > best + 0.05

    def error(fitted: Any) -> NDArray[np.float64]:
        ahead: NDArray[np.float64] = fitted.forecast(values / values[:48].std(), 1)[47:-1, 0]
        return np.square(ahead - values[48:] / values[:48].std())

    module = {"ets": ets, "sarima": sarima}[name]
    first = error(found)
    with monkeypatch.context() as patch:
        patch.setattr(module, "MOST_STEPS", module.MOST_STEPS * 3 // 2)
        patch.setattr("seqapps.baselines._likelihood._FINE", {"factr": 1.0, "pgtol": 1e-10})
        again = error(FITS[name](train, 6))
    assert abs(first.mean() - again.mean()) < first.std() / np.sqrt(len(first))
    with monkeypatch.context() as patch:
        patch.setattr(module, "MOST_STEPS", 1)
        assert not FITS[name](train, 6).converged


def _highest(model: Any) -> Any:
    """Returns the bounds of smoothing weights, which are below 1; none for others."""
    return [0.95 if "smoothing" in name or "damping" in name else np.inf for name in model.param_names]


@pytest.mark.parametrize("season", [0, 6])
def test_no_other_weight_of_theta_is_better(season: int) -> None:
    values = series()[:48]
    found = theta.theta(values, season)
    plain = found._without(values)

    def squares(alpha: float) -> float:
        level, errors = float(plain[0]), []
        for value in plain.tolist():
            errors.append(value - level)
            level += alpha * errors[-1]
        return float(np.square(errors).sum())

    best = min(map(squares, np.linspace(1e-3, 1.0, 400)))
    assert squares(found.alpha) < best * (1.0 + 1e-6)


def test_the_share_of_a_label_has_all_its_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    own, other = random.uniform(0.01, 0.9, 500), random.uniform(0.01, 0.9, 500)
    share = conditional_ngram.best_share(own, other)
    assert 0.1 < share < 0.9
    monkeypatch.setattr(conditional_ngram, "_HALVINGS", conditional_ngram._HALVINGS * 3 // 2)
    assert conditional_ngram.best_share(own, other) == pytest.approx(share, abs=1e-15)
