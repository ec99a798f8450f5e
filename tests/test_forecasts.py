"""Forecasts: their metrics and losses by hand, their baselines, and a file's way through preparation to an answer."""

from __future__ import annotations

import argparse
import gzip
import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal
from rich.console import Console

from pipelines.prepare import prepare
from seqapps import baselines
from seqapps.applications import Call, application_of, config_from, load_config
from seqapps.applications.time_series import Forecast, TimeSeries
from seqapps.baselines.linear_autoregression import solve
from seqapps.dataset.manifest import Manifest, read_manifest
from seqapps.dataset.ragged import Ragged, RawBlock
from seqapps.errors import ConfigError, DataError, UsageError
from seqapps.layers.feedback import FeedbackCell
from seqapps.layers.forecasting import absolute_error, pinball_loss, squared_error
from seqapps.metrics.forecasting import blocks_of, dense, error_sums, figures
from seqapps.plots.forecasts import apart
from seqapps.preprocessing.series.parts import Part
from seqapps.preprocessing.series.recent import content_of
from seqapps.serving import check
from seqapps.training import loop as training
from seqapps.training.trained_model import load_resources
from seqapps.workspace import Workspace

NAN = np.nan
CONTRACTS = Path(__file__).parent / "contracts"


def figures_of(forecast: Any, truth: Any, naive: float = 2.0, levels: tuple[float, ...] = ()) -> dict[str, float]:
    """The figures of windows of one step and one target."""
    point = np.array(forecast, np.float64).reshape(len(truth), 1, 1, -1)
    sums = error_sums(point, np.array(truth, np.float64)[:, None, None], np.full((len(truth), 1), naive), levels)
    found = figures(sums.sum(axis=(0, 1, 2)), quantiles=bool(levels))
    return {name: float(value) for name, value in found.items()}


# ---- metrics


def test_figures_by_hand() -> None:
    # Errors 1, 3, 0 of truths 2, 10, 0; the fourth truth is missing.
    found = figures_of([3.0, 7.0, 0.0, 99.0], [2.0, 10.0, 0.0, NAN])
    assert found["mae"] == pytest.approx(4 / 3)
    assert found["rmse"] == pytest.approx((10 / 3) ** 0.5)
    assert found["mase"] == pytest.approx(2 / 3)  # 4/3 over the naive error of 2
    assert found["smape"] == pytest.approx((200 * 1 / 5 + 200 * 3 / 17 + 0) / 3)
    assert list(found) == ["mae", "rmse", "mase", "smape"]


def test_quantile_figures_by_hand() -> None:
    # Point, then the quantiles 0.1, 0.5, 0.9. Truth 5 lies between 1 and 8; truth 9 above 8.
    found = figures_of([[4, 1, 4, 8], [4, 1, 4, 8]], [5.0, 9.0], levels=(0.1, 0.5, 0.9))
    first = (0.1 * 4 + 0.5 * 1 + 0.1 * 3) / 3
    second = (0.1 * 8 + 0.5 * 5 + 0.9 * 1) / 3
    assert found["pinball"] == pytest.approx((first + second) / 2)
    assert found["coverage"] == 0.5


def test_what_a_system_does_not_give_is_no_number() -> None:
    found = figures_of([4.0], [5.0], levels=(0.1, 0.5, 0.9))
    assert np.isnan(found["pinball"])
    assert np.isnan(found["coverage"])
    assert np.isnan(figures_of([4.0], [5.0], naive=NAN)["mase"])


def test_scaled_errors_are_those_of_each_series() -> None:
    # Errors 1 and 8 of series whose naive errors are 2 and 4; a third series never changed.
    truth, point = np.zeros((3, 1, 1)), np.array([1.0, 8.0, 5.0]).reshape(3, 1, 1, 1)
    sums = error_sums(point, truth, np.array([[2.0], [4.0], [0.0]]), ()).sum(axis=(0, 1, 2))
    found = figures(sums, quantiles=False)
    assert (float(found["mase"]), float(found["mae"])) == (pytest.approx(1.25), pytest.approx(14 / 3))


def test_the_naive_error_of_a_window_is_that_of_its_series(subject: Subject) -> None:
    examples = subject.examples("test")
    errors = subject.manifest.vocabularies["scaling"].facts["naive_of"]
    expected = [[errors[target][name.decode()] for target in ("sales", "price")] for name in examples["series"].values]
    assert_array_equal(examples["naive"].values, expected)
    assert errors["sales"]["north"] != errors["sales"]["south"]


def test_losses_by_hand() -> None:
    outputs = {"forecast": tf.constant([[[[1.0, 4.0]]]])}
    y = tf.constant([[[3.0]]])
    assert squared_error(outputs, y).numpy().tolist() == [[[4.0]]]
    assert absolute_error(outputs, y).numpy().tolist() == [[[2.0]]]
    assert_allclose(pinball_loss((0.2, 0.9), outputs, y), [[[(0.2 * 2 + 0.1 * 1) / 2]]], rtol=1e-6)


def test_the_quantile_is_where_the_pinball_loss_is_least() -> None:
    sample = tf.constant(np.random.default_rng(3).exponential(size=(999, 1, 1)), tf.float32)
    grid = np.linspace(0.0, 4.0, 801)
    losses = [
        float(tf.reduce_mean(pinball_loss((0.8,), {"forecast": tf.fill([1, 1, 1, 1], at)}, sample))) for at in grid
    ]
    assert grid[int(np.argmin(losses))] == pytest.approx(np.quantile(sample, 0.8), abs=0.01)


def test_blocks_hold_neighbours_of_one_series() -> None:
    names = np.array([b"a"] * 7 + [b"b"] * 3, object)
    assert blocks_of(names, 3).tolist() == [0, 3, 6, 7]
    assert blocks_of(names, 1).tolist() == [0, 2, 4, 6, 7, 9]
    assert blocks_of(names[:0], 1).tolist() == []


# ---- architectures


def test_decoder_is_the_loop_that_one_would_write() -> None:
    keras.utils.set_random_seed(3)
    cell = FeedbackCell("gru", (5,), targets=2, answers=3, point=1, cumulative=True)
    inputs = np.random.default_rng(1).normal(size=(4, 6, 3 + 6)).astype(np.float32)
    state, last = np.zeros((4, 5), np.float32), np.ones((4, 2), np.float32)
    found = keras.layers.RNN(cell, return_sequences=True)(inputs, initial_state=[state, last])
    for step in range(6):
        x = np.concatenate([inputs[:, step, :3], last], axis=1)
        output, state = cell.cells[0](x, [state])
        state = state[0] if isinstance(state, list) else state
        values = inputs[:, step, 3:] + np.asarray(cell.dense(output))
        values = values.reshape(4, 2, 3) + last[:, :, None]
        assert_allclose(found[:, step], values.reshape(4, 6), atol=1e-5)
        last = values[:, :, 1]


# ---- a file's way


class Subject(NamedTuple):
    """The application of `contracts/time_series.toml`, and its prepared folder."""

    application: TimeSeries
    folder: Path
    manifest: Manifest

    def examples(self, split: str) -> dict[str, Ragged]:
        return self.application.examples(self.folder, self.manifest, split)


def subject_of(folder: Path, *overrides: str) -> Subject:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQAPPS_CONTRACTS", str(CONTRACTS))
        config = load_config(CONTRACTS / "time_series.toml", overrides)
        prepared = prepare(config, Workspace(folder), console=Console(quiet=True))
    application = application_of(config)
    assert isinstance(application, TimeSeries)
    return Subject(application, prepared, read_manifest(prepared))


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject_of(tmp_path_factory.mktemp("series"))


@pytest.fixture(scope="module")
def model(subject: Subject) -> keras.Model:
    training.configure(subject.application.config)
    built = subject.application.build(subject.manifest)
    for variable in built.trainable_variables:  # not the zeros that some begin with
        variable.assign(variable + tf.random.stateless_normal(variable.shape, [7, 7], stddev=0.1))
    return built


def test_a_hundredfold_future_changes_nothing_in_training(subject: Subject, tmp_path: Path) -> None:
    lines = (CONTRACTS / "time_series.csv").read_text().splitlines()
    header, rows = lines[0], [line.split(",") for line in lines[1:]]
    days = sorted({row[0] for row in rows})
    first = days[round(len(days) * 0.8)]
    for row in rows:
        if row[0] >= first:
            row[2:4] = [str(float(cell) * 100) if cell.replace(".", "").isdigit() else cell for cell in row[2:4]]
    (tmp_path / "future.csv").write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    other = subject_of(tmp_path / "workspace", f"source.files=['{tmp_path / 'future.csv'}']")
    assert other.manifest.vocabularies["scaling"].facts == subject.manifest.vocabularies["scaling"].facts
    for split, same in (("train", True), ("validation", True), ("test", False)):
        before, after = subject.examples(split), other.examples(split)
        equal = [np.array_equal(before[name].values, after[name].values) for name in ("history", "target")]
        assert equal == [same, same], split


def test_every_baseline_by_hand(subject: Subject) -> None:
    ground = baselines.Ground(
        config=subject.application.config,
        folder=subject.folder,
        manifest=subject.manifest,
        examples=subject.examples,
        report=lambda line: None,
    )
    test = subject.examples("test")
    past = subject.application.original(dense(test["history"])[:, :, :2, None], test)[..., 0]
    found = {name: baselines.load(name)(ground).predict(test)[..., 0] for name in subject.application.baselines()}
    classical = ["ets", "theta", "sarima"]
    assert list(found) == ["persistence", "drift", "seasonal_naive", "linear_autoregression", *classical]
    steps = np.arange(1, 4)[None, :, None]
    assert_allclose(found["persistence"], np.repeat(past[:, -1:], 3, axis=1), rtol=1e-5)
    assert_allclose(found["drift"], past[:, -1:] + steps * (past[:, -1:] - past[:, :1]) / 6, rtol=1e-5)
    # History and season are both seven days. The last three features of the history say what was there of sales, price.
    seen = dense(test["history"])[:, :3, -3:-1] > 0
    assert_allclose(found["seasonal_naive"][seen], past[:, :3][seen], rtol=1e-4)
    assert np.isfinite(found["linear_autoregression"]).all()
    truth = subject.application._truth(test)
    naive = np.nanmean(np.abs(found["persistence"] - truth), axis=(0, 1))
    for name in classical:
        assert (np.nanmean(np.abs(found[name] - truth), axis=(0, 1)) < naive).all(), name


def test_linear_autoregression_finds_the_coefficients() -> None:
    random, values = np.random.default_rng(5), [1.0, 0.5]
    for noise in random.normal(scale=0.1, size=4_000):
        values.append(0.3 + 0.5 * values[-1] - 0.3 * values[-2] + noise)
    y = np.array(values)
    x = np.stack([np.ones(len(y) - 2), y[:-2], y[1:-1]], axis=1)
    assert_allclose(solve(x, y[2:, None], np.ones((len(y) - 2, 1)), 0.0)[:, 0], [0.3, -0.3, 0.5], atol=0.05)


def test_penalised_least_squares_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import Ridge

    random = np.random.default_rng(5)
    x, y = random.normal(size=(50, 4)), random.normal(size=(50, 2))
    weights = np.ones((50, 2))
    weights[::3, 1] = 0.0
    found = solve(np.concatenate([np.ones((50, 1)), x], axis=1), y, weights, 2.0)
    for answer in (0, 1):
        rows = weights[:, answer] > 0
        ridge = Ridge(alpha=2.0).fit(x[rows], y[rows, answer])
        assert_allclose(found[:, answer], [ridge.intercept_, *ridge.coef_], rtol=1e-8)


def test_quantiles_increase_and_the_median_is_the_forecast(subject: Subject, model: keras.Model) -> None:
    found = subject.application.predict(model, subject.examples("test"))
    assert (np.diff(found[..., 1:], axis=-1) >= 0).all()
    assert_array_equal(found[..., 0], found[..., 2])


# ---- answers

NORTH = argparse.Namespace(series="north")


@pytest.fixture(scope="module")
def call(subject: Subject, model: keras.Model) -> Call:
    resources = load_resources(subject.folder / "vocabularies", subject.manifest)
    module, signatures = subject.application.signatures(model, resources)

    def answer(signature: str, **inputs: Any) -> dict[str, Any]:
        return check.answer(tf, signatures[signature], inputs)

    return Call(answer, module.facts())


def file_until(origin: str, ahead: int) -> str:
    """The lines up to an origin, and those of the next days without what only the future tells."""
    lines = (CONTRACTS / "time_series.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    days = sorted({row[0] for row in rows})
    last = days[days.index(origin) + ahead]
    kept = [[row[0], row[1], "", "", "", *row[5:]] if row[0] > origin else row for row in rows if row[0] <= last]
    return "\n".join([lines[0], *map(",".join, kept)]) + "\n"


def test_a_file_is_answered_as_its_window_is_evaluated(subject: Subject, model: keras.Model, call: Call) -> None:
    test = subject.examples("test")
    expected = subject.application.predict(model, test)
    north = np.flatnonzero(test["series"].values == b"north")[0]
    origin = str(np.datetime64(int(test["origin"].values[north]), "s").astype("datetime64[D]"))
    (found,) = TimeSeries.answer(call, [file_until(origin, 3)], NORTH, 0)
    assert found.file == ""
    assert (found.series, found.origin, found.targets) == ("north", origin, ("sales", "price"))
    assert found.times == tuple(str(np.datetime64(origin) + day) for day in (1, 2, 3))
    assert_allclose(found.values, expected[north, ..., 0], rtol=1e-4)
    assert_allclose(found.quantiles, expected[north, ..., 1:], rtol=1e-4)


@pytest.mark.parametrize("name", ["north.csv", "north.csv.gz"])
def test_files_are_read_as_for_a_training_and_named(call: Call, tmp_path: Path, name: str) -> None:
    path, text = tmp_path / name, file_until("2024-02-20", 3)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    first, second = TimeSeries.answer(call, [str(path), text], NORTH, 0)
    assert (first.file, second.file) == (str(path), "")
    assert replace(first, file="") == second
    assert [TimeSeries.heading(answer) for answer in (first, second)] == [f"{path} (north)", "(north)"]
    (row,) = TimeSeries.read_rows(str(path))
    assert TimeSeries.answer(call, [row], NORTH, 0) == [first]


def test_a_packed_file_that_is_cut_off_or_no_utf_8(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"t,y\n" * 9)[:-9])
    with pytest.raises(DataError, match=r"a\.csv\.gz cannot be read: Compressed file ended"):
        content_of(str(tmp_path / "a.csv.gz"))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress("\ufefft,y\n".encode("utf-16-le")))
    with pytest.raises(DataError, match=r"b\.csv\.gz: a text must be UTF-8\. Received: UTF-16"):
        content_of(str(tmp_path / "b.csv.gz"))


def test_standard_input_is_never_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"t,y")))
    assert [content_of(row) for row in TimeSeries.read_rows("-")] == [(b"t,y\n", "")]


@pytest.mark.parametrize(
    ("row", "series", "message"),
    [
        ("no-such-file.csv", "north", 'TEXT is the path of a CSV file, or its content. Received: "no-such-file.csv"'),
        ((CONTRACTS / "time_series.csv").read_text(), "", "holds 2 series: say which by `--series`. Allowed: north"),
        ((CONTRACTS / "time_series.csv").read_text(), "nroth", "Nearest: north"),
    ],
)
def test_wrong_calls_are_told(call: Call, row: str, series: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TimeSeries.answer(call, [row], argparse.Namespace(series=series), 0)


def test_a_file_that_cannot_be_forecast_is_told(call: Call) -> None:
    text = (CONTRACTS / "time_series.csv").read_text()
    with pytest.raises(DataError, match="needs 3 lines after the last target, with open"):
        TimeSeries.answer(call, [text], NORTH, 0)
    with pytest.raises(DataError, match=r"holds no series\. Received: 1 lines, refused as bad-time"):
        TimeSeries.answer(call, [text.splitlines()[0] + "\nnever,north,1,2,clear,1,120\n"], NORTH, 0)


def test_refused_lines_of_an_answer_are_named(subject: Subject, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    test = subject.examples("test")
    north = np.flatnonzero(test["series"].values == b"north")[0]
    origin = str(np.datetime64(int(test["origin"].values[north]), "s").astype("datetime64[D]"))
    header, *lines = file_until(origin, 3).splitlines()
    TimeSeries.answer(call, ["\n".join([header, "never,north,1,2,clear,1,120", *lines]) + "\n"], NORTH, 0)
    assert "the text: 1 of " in (told := capsys.readouterr().err)
    assert "refused: line 2 bad-time" in told


def test_an_answer_for_people() -> None:
    answer = Forecast("", "2000-01-31", ("2000-02-29",), ("y",), ((1.5,),), (0.1, 0.5, 0.9), (((1.0, 1.5, 2.25),),))
    # The forecast is the median, which is told once.
    assert TimeSeries.line(answer, NORTH, one_line=True) == "2000-02-29\t1.5\t1\t2.25"
    assert TimeSeries.line(answer, NORTH, one_line=False).splitlines() == [
        "time          y  0.1   0.9",
        "2000-02-29  1.5    1  2.25",
    ]


def test_prepare_ends_with_the_first_row_the_step_and_the_clock(tmp_path: Path) -> None:
    lines = [f"2021-06-{1 + hour // 24:02d}T{hour % 24:02d}:00+02:00,{hour % 5}" for hour in range(96)]
    (tmp_path / "y.csv").write_text("t,y\n" + "\n".join(lines), encoding="utf-8")
    tables: dict[str, Any] = {
        "application": "time_series",
        "source": {"files": [str(tmp_path / "y.csv")]},
        "data": {"time": "t", "targets": ["y"], "history": 4, "calendar": ["hour"]},
    }
    told = {}
    for zone in ("", "Europe/Berlin"):
        console = Console(file=io.StringIO(), width=200)
        config = config_from({**tables, "data": {**tables["data"], "time_zone": zone}}, "test")
        prepare(config, Workspace(tmp_path / "workspace"), console=console)
        told[zone] = console.file.getvalue()  # type: ignore[attr-defined]
    assert "first row: t = '2021-05-31T22:00Z'; y = '0'" in told[""]
    assert "warning: times with an offset and the features of the calendar are those of UTC" in told[""]
    assert "first row: t = '2021-06-01T00:00+02:00'; y = '0'" in told["Europe/Berlin"]
    assert "step: 1h, by the clock of Europe/Berlin where times have an offset" in told["Europe/Berlin"]
    assert "warning" not in told["Europe/Berlin"]


def test_large_forecasts_keep_their_digits() -> None:
    answer = Forecast("", "2000", ("2001",), ("y",), ((123456789.4,),), (0.1,), (((0.000123456789,),),))
    assert answer.rows() == [["2001", "123456789", "0.000123457"]]


def test_golden_windows_for_people_say_what_is_missing() -> None:
    inputs = {"history": [[[NAN], [2.0], [3.25]], [[1.0], [2.0], [NAN]]]}
    golden = {"serving_default": [{"inputs": inputs, "outputs": {"forecast": [[[4.0]], [[5.5]]]}}]}
    assert TimeSeries.showcase(golden) == ["  .. missing 2 3.25 -> 4", "  .. 1 2 missing -> 5.5"]


def test_windows_that_are_drawn_do_not_overlap() -> None:
    days = np.datetime64("2000-01-01", "s") + np.arange(9)[:, None] * 86_400 + np.arange(3) * 86_400
    assert apart(days) == [8, 5, 2]
    assert apart(days[[0, 1, 6, 7]]) == [3, 1]


def test_pictures_are_drawn(subject: Subject, model: keras.Model, tmp_path: Path) -> None:
    test = subject.examples("test")
    resources = load_resources(subject.folder / "vocabularies", subject.manifest)
    found = subject.application.pictures(subject.application.predict(model, test), test, resources, tmp_path)
    assert set(found) == {"forecast and truth", "error by step"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in found.values())


# ---- configurations


def config_of(*, files: tuple[str, ...] = ("x.csv",), **data: Any) -> Any:
    tables: dict[str, Any] = {"application": "time_series", "source": {"files": files, **data.pop("source", {})}}
    tables["baselines"] = data.pop("baselines", {})
    return config_from({**tables, "data": {"time": "t", "targets": ["y"], **data}}, "test")


def block_of(source: str, values: int) -> RawBlock:
    lines = "".join(f"{1900 + year},{year}\n" for year in range(values))
    one = np.ones(1, np.bool_)
    return RawBlock(source, np.ones(1, np.int64), {"text": [("t,y\n" + lines).encode()]}, one, one)


@pytest.mark.parametrize(
    ("files", "names"), [(("north.csv",), [""]), (("north.csv", "south.csv"), ["north"]), (("*.csv",), ["north"])]
)
def test_series_of_several_files_have_the_name_of_their_file(files: tuple[str, ...], names: list[str]) -> None:
    application = application_of(config_of(files=files, history=2))
    train = application.divide(block_of("shops/north.csv", 30), "")["train"]
    assert [Part.load(data).series.name for data in train.columns["part"]] == names


def test_parts_without_a_window_are_reported() -> None:
    application = application_of(config_of(history=2, horizon=2, split={"validation": 0.1, "test": 0.2}))
    raw = block_of("north.csv", 10)
    assert set(application.divide(raw, "")) == {"train", "test"}
    assert application.reject(raw) == []
    (told,) = application.left_out(raw, "")
    assert (told.reason, told.whole) == ("too-short", False)
    assert told.text == b"series '': the validation part has 1 steps, a window needs 2"
    assert [refusal.reason for refusal in application.left_out(block_of("north.csv", 3), "validation")] == ["too-short"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"fold": [3, 2]}, r"`data.fold` = \[k, K\] is the k-th of K pieces .* Received: \[3, 2\]"),
        ({"fold": [1, 2], "split": {"test": 0.0}}, "with a share of 0"),
        ({"fold": [1, 2], "files": (), "source": {"train": ["x.csv"]}}, "with `source.train`"),
        ({"covariates": ["y"]}, "Column `y` stands in two"),
        ({"log": ["z"]}, "`data.log`: column"),
        ({"frequency": "hourly"}, "a number and one of s, min, h, d, w, M, ME"),
        ({"split": {"by": "row"}}, "divided by time"),
        ({"source": {"fields": {"y": "z"}}}, "`source.fields` is never read for a series"),
        (
            {"source": {"from_path": {"series": "stem"}}},
            r"`source.from_path` is never read for a series: each of several files is a series that has the file's "
            r"name. Received: series. Remedy: leave it out; .* by `data.series`",
        ),
        ({"baselines": {"names": ["seasonal_naive"]}}, "seasonal_naive, which needs a `data.season` of at least 2"),
    ],
)
def test_what_does_not_go_together_is_told(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(**data)


def test_all_series_have_one_step(subject: Subject) -> None:
    with pytest.raises(DataError, match=r"All series must have one step. Received: 1d \(60 steps\), 1h \(9 steps\)"):
        subject.application.learn({"frequency": {b"1h": 9, b"1d": 60}})
