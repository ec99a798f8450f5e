"""Laws of the classical rivals: the CRF of taggers; exponential smoothing, theta and seasonal ARIMA of series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from seqapps.baselines import Infeasible, crf, ets, sarima, theta
from seqapps.baselines._timelines import MOST_MODELS, MOST_STEPS, Timeline, check, filled, fit_one, timelines
from seqapps.dataset.ragged import Ragged
from seqapps.preprocessing.scaling import Scaling
from seqapps.preprocessing.series.timeline import Frequency

# ---- the CRF


def tagged(*sentences: str) -> dict[str, Ragged]:
    """Sentences such as `the/0 cat/1` to the features that a baseline reads."""
    pairs = [[token.rsplit("/", 1) for token in sentence.split()] for sentence in sentences]
    splits = np.cumsum([0, *map(len, pairs)]).astype(np.int64)
    tokens = np.array([word.encode() for sentence in pairs for word, _ in sentence], object)
    tags = np.array([int(tag) for sentence in pairs for _, tag in sentence], np.int64)
    return {"tokens": Ragged(tokens, splits), "tags": Ragged(tags, splits)}


def fitted(examples: dict[str, Ragged], most_steps: int = crf.MOST_STEPS) -> crf.Crf:
    return crf.train(examples, most_steps, lambda line: None)


def test_what_is_read_of_a_word() -> None:
    first, second = crf.features_of(["McFly-88", "Ran"])
    assert first[:13] == [
        "bias", "w=McFly-88", "l=mcfly-88", "X=XxXxx-dd", "x=XxXx-d",
        "p1=m", "e1=8", "p2=mc", "e2=88", "p3=mcf", "e3=-88", "p4=mcfl", "e4=y-88",
    ]  # fmt: skip
    assert first[13:] == ["first", "+1=ran", "+1x=Xx", "+1e=ran", "0+1=mcfly-88 ran"]
    assert second[-5:] == ["-1=mcfly-88", "-1x=XxXx-d", "-1e=-88", "-1+0=mcfly-88 ran", "last"]
    assert [f for f in crf.features_of(list("abcde"))[2] if f[:2] in ("-2", "+2")] == ["-2=a", "+2=e"]


def test_an_unseen_word_is_predicted_from_its_form_and_its_neighbours() -> None:
    names = [f"{name}/1 walks/2 home/0" for name in ("Anna", "Berta", "Carla", "Dora", "Emma")]
    verbs = [f"we/0 {verb}/2 them/0" for verb in ("walked", "talked", "pushed", "pulled", "asked")]
    found = fitted(tagged(*names * 3, *verbs * 3))
    assert found.converged
    assert found.predict(tagged("Zelda/1 walks/2 home/0", "we/0 kicked/2 them/0")).tolist() == [1, 2, 0, 0, 2, 0]


def test_a_tag_is_predicted_from_the_tag_before() -> None:
    """The second `x` differs from the first by the tag before it alone: a window of words does not tell them apart."""
    found = fitted(tagged(*["a/0 x/1 x/1 x/1 x/1 x/1 x/1 b/0", "c/0 x/2 x/2 x/2 x/2 x/2 x/2 b/0"] * 10))
    given = tagged("a/0 x/1 x/1 x/1 x/1 x/1 x/1 b/0", "c/0 x/2 x/2 x/2 x/2 x/2 x/2 b/0")
    assert found.predict(given).tolist() == given["tags"].values.tolist()


def noisy(rows: int, seed: int) -> dict[str, Ragged]:
    """Sentences whose tag is the last letter of the word three times in four."""
    random = np.random.default_rng(seed)
    words = np.array([first + last for first in "bcdfg" for last in "aeiou"])
    lines = []
    for _ in range(rows):
        chosen = random.choice(words, 8)
        tags = ["aeiou".index(word[-1]) if random.random() < 0.75 else random.integers(5) for word in chosen]
        lines.append(" ".join(f"{word}/{tag}" for word, tag in zip(chosen, tags, strict=True)))
    return tagged(*lines)


def test_the_crf_has_converged() -> None:
    """Half as many steps again change its figure by less than that figure's standard error, and a cap is reported."""
    train, held_out = noisy(150, 1), noisy(150, 2)
    truth = held_out["tags"].values
    first = fitted(train)
    assert first.converged
    assert f"{first.steps} steps of L-BFGS" in first.description
    accuracy = float(np.mean(first.predict(held_out) == truth))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crf, "TOLERANCE", 0.0)
        more = fitted(train, first.steps * 3 // 2)
    other = float(np.mean(more.predict(held_out) == truth))
    assert more.steps > first.steps
    assert abs(accuracy - other) < np.sqrt(accuracy * (1 - accuracy) / len(truth))
    lines: list[str] = []
    assert not crf.train(train, 25, lines.append).converged
    assert lines[0].startswith("step 25, loss ")


def test_of_a_large_split_the_first_sentences_are_learned_from() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crf, "_TOKENS", 5)
        found = fitted(tagged("a/0 b/1", "a/0 b/1", "c/1 d/0"))
    assert "the first 4 tokens" in found.description


# ---- series


def seasonal(count: int, season: int, seed: int = 3) -> NDArray[np.float64]:
    """A series above 0 with a trend and a season that grows with it."""
    random, time = np.random.default_rng(seed), np.arange(count)
    factor = 1.0 + 0.3 * np.sin(2.0 * np.pi * time / season)
    return np.asarray((50.0 + 0.5 * time) * factor * np.exp(random.normal(scale=0.02, size=count)), np.float64)


@pytest.fixture(scope="module")
def series() -> NDArray[np.float64]:
    return seasonal(60, 6)


def test_smoothing_forecasts_what_the_library_forecasts(series: NDArray[np.float64]) -> None:
    found = ets.smooth(series, 6)
    assert found.form.seasonal, found.name
    library = found.form.over(series).smooth(found.params)
    ahead = found.forecast(series, 8)
    assert_allclose(ahead[-1], library.forecast(8), rtol=1e-9)
    assert_allclose(ahead[:-1, 0], library.fittedvalues[1:], rtol=1e-9)


def test_arima_forecasts_what_the_library_forecasts(series: NDArray[np.float64]) -> None:
    found = sarima.arima(series, 6)
    assert found.form.seasonal_d == 1, found.name
    library = found.form.over(series).filter(found.params)
    ahead = found.forecast(series, 8)
    assert_allclose(ahead[-1], library.forecast(8), rtol=1e-6)
    assert_allclose(ahead[20:-1, 0], library.fittedvalues[21:], rtol=1e-6)


@pytest.mark.parametrize("season", [0, 6])
def test_theta_forecasts_what_the_library_forecasts(series: NDArray[np.float64], season: int) -> None:
    from statsmodels.tsa.forecasting.theta import ThetaModel

    if not season:  # without one to be taken out: the library's own weight of a season ends beside the best
        series = 50.0 + np.cumsum(np.random.default_rng(5).normal(size=60))
    found = theta.theta(series, season)
    assert len(found.seasons) == season
    library = ThetaModel(series, period=season or 1, deseasonalize=season > 0, method="mul").fit()
    assert_allclose(found.forecast(series, 8)[-1], library.forecast(8, theta=2), rtol=1e-4)


FITS: list[Callable[[Any, int], Any]] = [ets.smooth, theta.theta, sarima.arima]


@pytest.mark.parametrize("fit", FITS)
def test_a_forecast_knows_nothing_of_what_comes(series: NDArray[np.float64], fit: Callable[[Any, int], Any]) -> None:
    found = fit(series[:48], 6)
    other = series.copy()
    other[51:] *= 100.0
    assert_allclose(found.forecast(other, 3)[:51], found.forecast(series, 3)[:51], rtol=1e-12)
    beats = np.abs(found.forecast(series, 1)[47:-1, 0] - series[48:]).mean()
    assert beats < 0.7 * np.abs(np.diff(series[47:])).mean()


@pytest.mark.parametrize("fit", FITS)
def test_a_series_that_never_changes_goes_on(fit: Callable[[Any, int], Any]) -> None:
    values = np.full(30, 7.0)
    assert_allclose(fit_one(fit, values, 6).forecast(values, 3), 7.0, atol=1e-6)


def test_orders_are_found() -> None:
    """A walk is differenced once, a season that stands is differenced over the season, noise not at all."""
    noise = np.random.default_rng(11).normal(size=120)
    assert sarima.chosen(noise, 0).d == 0
    assert sarima.chosen(np.cumsum(noise), 0).d == 1
    form = sarima.chosen(np.tile([5.0, 1.0, 9.0, 3.0], 30) + 0.1 * noise, 4)
    assert (form.d, form.seasonal_d) == (0, 1)
    second = [0.0, 0.0]
    for value in noise:
        second.append(1.2 * second[-1] - 0.6 * second[-2] + value)
    values = np.array(second[2:])
    rest = sarima.arima(values, 0).forecast(values, 1)[20:-1, 0] - values[21:]
    assert rest.std() < 1.1 * noise.std() < 0.8 * values.std()


def test_what_is_missing_is_the_last_one_seen() -> None:
    nothing = np.nan
    assert filled(np.array([nothing, 2.0, nothing, nothing, 3.0, nothing])).tolist() == [2.0, 2.0, 2.0, 2.0, 3.0, 3.0]


def windows(values: list[float], history: int, horizon: int, name: bytes = b"") -> dict[str, Ragged]:
    """Windows of a daily series, scaled by a mean of 1 and a deviation of 2."""
    y = (np.array(values) - 1.0) / 2.0
    origins = np.arange(history, len(y) - horizon + 1)
    past, future = (
        np.stack([y[at - history : at] for at in origins]),
        np.stack([y[at : at + horizon] for at in origins]),
    )
    seen = np.isfinite(future)
    parts = {
        "history": np.nan_to_num(past)[..., None].reshape(-1, 1),
        "target": np.nan_to_num(future).reshape(-1, 1),
        "scored": seen.astype(np.float32).reshape(-1, 1),
        "origin": (origins - 1) * 86_400,
        "series": np.full(len(origins), name, object),
    }
    return {key: Ragged(rows, np.arange(len(origins) + 1) * (len(rows) // len(origins))) for key, rows in parts.items()}


def test_series_are_put_together_from_their_windows() -> None:
    values = [1.0, 2.0, 3.0, 4.0, np.nan, 6.0, 7.0, 8.0]
    scaling = Scaling(("y",), (1.0,), (2.0,))
    found = timelines(windows(values, 3, 2), Frequency(86_400), scaling)[b""]
    assert found.first == 0
    assert_allclose(found.values[:, 0], values)


def test_where_models_of_single_series_are_not_for() -> None:
    def of(count: int, steps: int) -> dict[bytes, Timeline]:
        return {str(number).encode(): Timeline(0, np.ones((steps, 1))) for number in range(count)}

    check(of(MOST_MODELS, 20), 1)
    for parts, targets, message in (
        (of(MOST_MODELS, 20), 2, "one model for each series and target is for up to 20. Received: 40"),
        (of(1, MOST_STEPS + 1), 1, "it is for up to 5,000 steps before the test part. Received: 5,001"),
        (of(1, 11), 1, "it needs 12 steps of series '0'. Received: 11"),
    ):
        with pytest.raises(Infeasible, match=message):
            check(parts, targets)
