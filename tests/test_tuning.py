"""Searches with the real KerasTuner and a real store, on a prepared folder that trains in a second."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras_tuner
import numpy as np
import pytest
from rich.console import Console
from tiny import make_config, make_prepared

from seqapps.applications import config_from, load_config
from seqapps.config import RunConfig
from seqapps.errors import ConfigError, RunError, UsageError
from seqapps.registry.tracking import Tracker
from seqapps.workflow import train
from seqapps.workflow.pipeline import PipelineRun
from seqapps.workspace import Workspace
from tuning import spaces
from tuning.oracles import make_oracle
from tuning.progress import SearchDisplay
from tuning.report import picture, ranked, trials_table
from tuning.search import SearchResult, search
from tuning.spaces import stacked
from tuning.trials import PartBatches, TrialRecord, of_trial, with_overrides


def small(hp: Any, config: RunConfig) -> dict[str, Any]:
    """A space whose models are traced quickly."""
    return {
        "model.cell": hp.Choice("cell", ["gru", "simple_rnn"]),
        "model.units": [hp.Choice("width", [4, 6, 8, 10, 12])],
        "training.learning_rate": round(hp.Float("learning_rate", 1e-3, 1e-1, sampling="log"), 5),
    }


class Bench:
    """A prepared folder, a store, and what was said."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, declare: Any = small) -> None:
        self.root, self.text = root, io.StringIO()
        self.config, self.prepared, _ = make_prepared(root / "prepared")
        self.tracker = Tracker.open(self.config, Workspace(root))
        monkeypatch.setattr(spaces, "load", lambda name: declare)

    def search(self, **tuning: Any) -> SearchResult:
        tables = {**self.config.model_dump(mode="json"), "tuning": {"epochs": 1, "max_rows_fraction": 0.5, **tuning}}
        config = config_from(tables, "bench")
        console = Console(file=self.text, width=80, soft_wrap=True)  # as the command's own
        return search(config, self.prepared, self.root / "search", tracker=self.tracker, console=console)

    def children(self, result: SearchResult) -> list[tuple[str, str]]:
        runs = self.tracker.children(result.run_id)
        return sorted((run.data.tags["seqapps.trial"], run.info.status) for run in runs)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_search_writes_a_winner_that_loads(bench: Bench) -> None:
    result = bench.search(algorithm="random", trials=2)
    assert [trial.status for trial in result.trials] == ["completed", "completed"]
    assert result.winner.objective == min(trial.objective or 0.0 for trial in result.trials)
    assert load_config(result.config_path) == result.best
    assert result.best.tuning.algorithm == "none"
    first, second = result.trials
    assert first.seed == bench.config.seed != second.seed
    assert result.best.seed == result.winner.seed
    assert result.best.split_seed == bench.config.split_seed
    assert result.best.training.learning_rate == result.winner.overrides["training.learning_rate"]
    header = result.config_path.read_text().splitlines()
    assert header[0] == f"# seqapps train --config {result.config_path}"
    assert f"{result.winner.objective:.4f}" in header[1]
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    assert bench.children(result) == [("0000", "FINISHED"), ("0001", "FINISHED")]
    names = {item.path for item in bench.tracker.client.list_artifacts(result.run_id)}
    assert {"best.toml", "trials.png", "trials.txt", "trials.json", "config.toml"} <= names
    parent = bench.tracker.run(result.run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["best_perplexity"] == pytest.approx(result.winner.objective)
    params = bench.tracker.run(result.winner.run_id).data.params
    assert params["model.units"] == str(result.winner.overrides["model.units"])

    # The same again runs nothing; more trials go on.
    again = bench.search(algorithm="random", trials=2)
    assert again.trials == result.trials
    assert len(bench.children(again)) == 2
    more = bench.search(algorithm="random", trials=3)
    assert more.trials[:2] == result.trials
    assert len(more.trials) == 3
    assert more.run_id == result.run_id
    said = bench.text.getvalue()
    assert "about" in said and "\u2026" not in said
    table = [line for line in said.splitlines() if line[:1] in ("\u250f", "\u2502", "\u2503")]
    assert table and max(map(len, table)) <= 80


def test_a_trial_that_fails_says_why_and_the_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def declare(hp: Any, config: RunConfig) -> dict[str, Any]:
        overrides = small(hp, config)
        seen.append("space")
        # The first call declares the space; then one call a trial.
        match len(seen):
            case 2:
                return {**overrides, "model.bidirectional": True}
            case 3:
                return {**overrides, "model.unitz": [4]}
            case 4:
                raise ValueError("the space is broken")
        return overrides

    bench = Bench(tmp_path, monkeypatch, declare)
    result = bench.search(algorithm="random", trials=4)
    assert [trial.status for trial in result.trials] == ["failed", "failed", "failed", "completed"]
    assert "`model.bidirectional` = true cannot be a language model" in result.trials[0].reason
    assert "`model.unitz` does not exist" in result.trials[1].reason
    assert "Nearest: units" in result.trials[1].reason
    assert result.trials[2].reason == "ValueError: the space is broken"
    said = bench.text.getvalue()
    assert "trial 0002 failed after 0 s: ValueError: the space is broken" in said
    assert "3 trials in a row failed; the search goes on" in said
    assert bench.children(result)[0] == ("0000", "FAILED")
    tags = bench.tracker.run(result.trials[2].run_id).data.tags
    assert tags["seqapps.failure"] == "ValueError: the space is broken"


def test_when_all_trials_fail_the_reasons_are_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def declare(hp: Any, config: RunConfig) -> dict[str, Any]:
        return {"training.learning_rate": hp.Float("learning_rate", -2.0, -1.0)}

    bench = Bench(tmp_path, monkeypatch, declare)
    reasons = r"(?s)no trial of 2 gave a perplexity:\n  trial 0000: .*greater than 0.*  trial 0001"
    with pytest.raises(RunError, match=reasons):
        bench.search(algorithm="random", trials=2)
    (parent,) = bench.tracker.find(kind="search")
    assert parent.info.status == "FAILED"


def test_hyperband_goes_on_from_the_earlier_round(bench: Bench) -> None:
    result = bench.search(algorithm="hyperband", trials=5, epochs=3)
    oracle = json.loads((bench.root / "search" / "oracle" / "oracle.json").read_text())
    values = {name: trial["hyperparameters"]["values"] for name, trial in oracle["trials"].items()}
    later = [name for name in values if "tuner/trial_id" in values[name]]
    assert later
    by_name = {trial.trial: trial for trial in result.trials}
    for name in later:
        earlier = values[name]["tuner/trial_id"]
        assert by_name[name].overrides == by_name[earlier].overrides
        assert (by_name[earlier].epochs, by_name[name].epochs) == (1, 3)
        # Its first epoch is that of the earlier round: only two more were trained.
        logged = bench.tracker.client.get_metric_history(by_name[name].run_id, "validation_perplexity")
        assert [item.step for item in logged] == [2, 3]
        assert (by_name[name].objective or 0.0) <= (by_name[earlier].objective or 0.0)


@pytest.mark.parametrize("algorithm", ["random", "bayesian", "hyperband"])
def test_the_first_trial_has_the_values_of_the_configuration(algorithm: str, tmp_path: Path) -> None:
    tuning = {"algorithm": algorithm, "trials": 4, "space": "recurrence"}
    config = make_config(model={"units": [6, 6], "dropout": 0.25}, tuning=tuning)
    declare = spaces.load("recurrence")
    oracle = make_oracle(config, declare, "perplexity", "min", tmp_path)
    trials = [oracle.create_trial(f"tuner{number}") for number in range(3)]
    found = [with_overrides(config, declare(trial.hyperparameters, config), "a trial") for trial in trials]
    assert (found[0].model, found[0].training) == (config.model, config.training)
    assert config.model not in [other.model for other in found[1:]]


@pytest.mark.parametrize(("tuned", "epochs"), [(0, 2), (1, 1)])
def test_a_trial_takes_the_epochs_of_the_training_unless_fewer_are_asked_for(
    bench: Bench, tuned: int, epochs: int
) -> None:
    assert bench.config.training.epochs == 2
    result = bench.search(algorithm="random", trials=1, epochs=tuned)
    assert result.winner.epochs == epochs


def test_no_trial_starts_after_the_minutes(bench: Bench) -> None:
    result = bench.search(algorithm="bayesian", trials=0, minutes=0.0001)
    assert len(result.trials) == 1


def test_a_configuration_without_a_search_says_what_to_add(bench: Bench) -> None:
    with pytest.raises(UsageError, match=r"(?s)Add to the file:\n\n\[tuning\]\nalgorithm = \"random\"\ntrials = 20"):
        bench.search(algorithm="none")


def test_bayesian_search_learns_and_goes_on_like_an_unbroken_one(tmp_path: Path) -> None:
    config = make_config(tuning={"algorithm": "bayesian", "trials": 8})

    def declare(hp: Any, config: RunConfig) -> dict[str, Any]:
        return {"x": hp.Float("x", -5.0, 5.0)}

    def values(folder: Path, stops: set[int]) -> list[float]:
        oracle = make_oracle(config, declare, "perplexity", "min", folder)
        tried = []
        for number in range(8):
            if number in stops:
                oracle = make_oracle(config, declare, "perplexity", "min", folder)
            trial = oracle.create_trial("tuner0")
            if number in stops:  # killed inside the trial
                oracle = make_oracle(config, declare, "perplexity", "min", folder)
                assert oracle.create_trial("tuner0").trial_id == trial.trial_id
                trial = oracle.trials[trial.trial_id]
            x = trial.hyperparameters.values["x"]
            oracle.update_trial(trial.trial_id, {"perplexity": (x - 2.0) ** 2}, step=1)
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
            tried.append(x)
        return tried

    unbroken = values(tmp_path / "a", set())
    assert values(tmp_path / "b", {2, 5}) == unbroken
    assert min(abs(x - 2.0) for x in unbroken[3:]) < 0.5


def test_a_finished_trial_in_the_last_snapshot_is_not_queued_again(tmp_path: Path) -> None:
    config = make_config(tuning={"algorithm": "random", "trials": 3})
    oracle = make_oracle(config, small, "perplexity", "min", tmp_path)
    trial = oracle.create_trial("tuner0")
    oracle.update_trial(trial.trial_id, {"perplexity": 3.0}, step=1)
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    again = make_oracle(config, small, "perplexity", "min", tmp_path)
    assert again._retry_queue == []
    assert again.trials["0000"].score == 3.0
    assert again.create_trial("tuner0").trial_id == "0001"


def test_the_space_of_stacked_lies_around_the_configuration() -> None:
    config = make_config(model={"units": [64], "embedding": 32}, training={"learning_rate": 0.01})
    hp = keras_tuner.HyperParameters()
    overrides = stacked.declare(hp, config)
    assert with_overrides(config, overrides, "default").model == config.model
    names = {item.name for item in hp.space}
    assert names == {"cell", "depth", "width", "embedding", "dropout", "learning_rate", "clip_threshold"}
    hp.values |= {"depth": 3, "width": 128, "cell": "simple_rnn", "dropout": 0.3}
    deep = with_overrides(config, stacked.declare(hp, config), "trial")
    assert deep.model.model_dump()["units"] == (128, 128, 128)
    assert deep.model.model_dump()["dropout"] == 0.3


def test_a_clip_threshold_that_would_be_idle_is_not_searched() -> None:
    hp = keras_tuner.HyperParameters()
    assert "training.clip_threshold" not in stacked.declare(hp, make_config(training={"clip": "none"}))


def test_an_unknown_space_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"`tuning.space` does not exist. Received: 'staked'. .*Nearest: stacked\."):
        spaces.load("staked")


def test_a_part_of_the_batches() -> None:
    import tensorflow as tf

    class Ten:
        steps, tokens, batch_size, carries, padding = 10, 1000, 4, True, 0.0

        def dataset(self, epoch: int, start: int = 0) -> Any:
            return tf.data.Dataset.range(start, 10)

    part = PartBatches(Ten(), 0.3)
    assert (part.steps, part.tokens, part.batch_size, part.carries) == (3, 300, 4, True)
    assert [int(item) for item in part.dataset(0)] == [0, 1, 2]
    assert [int(item) for item in part.dataset(0, 2)] == [2]
    assert PartBatches(Ten(), 0.01).steps == 1


def test_a_trial_has_its_figure_again_when_it_is_trained(bench: Bench) -> None:
    result = bench.search(algorithm="random", trials=2, epochs=0, max_rows_fraction=1.0)
    assert "Trained again, it has the same figure." in result.config_path.read_text()
    trial = result.trials[1]  # by the command, and no longer after another one
    config = of_trial(bench.config, trial.overrides, trial.seed, "a trial")
    pipeline = PipelineRun(config, Workspace(bench.root), Console(quiet=True), "best.toml")
    train._train(pipeline, bench.prepared, bench.root / "again", "identity")
    assert json.loads((bench.root / "again" / "history.json").read_text())["best"] == trial.objective


def test_a_trial_with_another_seed_keeps_the_split_of_the_rows() -> None:
    config = make_config()
    assert of_trial(config, {}, config.seed, "") == config
    other = of_trial(config, {"training.epochs": 7}, 99, "")
    assert (other.seed, other.training.epochs, other.data.split.seed) == (99, 7, config.seed)
    assert other.preparation == config.preparation


def _records() -> list[TrialRecord]:
    def record(number: int, objective: float | None, **overrides: Any) -> TrialRecord:
        status: Any = "failed" if objective is None else "completed"
        reason = "out of memory" if objective is None else ""
        return TrialRecord(f"{number:04d}", status, overrides, objective, 1, 2.0, 10, reason, "", 1)

    random = np.random.default_rng(0)
    cells = ("lstm", "gru", "simple_rnn")
    good = [
        record(at, 10.0 + at % 3, cell=cells[at % 3], units=[4] * (1 + at % 2), rate=float(random.random()))
        for at in range(8)
    ]
    return [*good, record(9, None, cell="lstm", units=[900], rate=1.0)]


def test_the_table_ranks_trials_and_names_failures() -> None:
    text = io.StringIO()
    Console(file=text, width=160).print(trials_table(_records(), "perplexity", "min"))
    lines = text.getvalue().splitlines()
    assert [record.trial for record in ranked(_records(), "min")][:3] == ["0000", "0003", "0006"]
    assert ranked(_records(), "max")[0].trial == "0002"
    assert "0000" in lines[4]
    assert "out of memory" in lines[-2]
    assert "4x4" in text.getvalue()


def test_the_table_tells_small_figures_apart() -> None:
    text = io.StringIO()
    records = [replace(record, objective=1e-5 * (2 + place)) for place, record in enumerate(_records()[:2])]
    Console(file=text, width=160).print(trials_table(records, "rmse", "min"))
    assert "0.00002000" in text.getvalue() and "0.00003000" in text.getvalue()


def test_the_table_fits_eighty_columns_and_cuts_nothing() -> None:
    wide = {f"model.some_long_field_{letter}": letter * 6 for letter in "abcdefgh"}
    records = [replace(record, overrides={**record.overrides, **wide, "n": number}) for number, record in
               enumerate(_records())]  # fmt: skip
    records[0] = replace(records[0], overrides={**records[0].overrides, "model.some_long_field_a": "z", "m": [1, 2]})
    text = io.StringIO()
    Console(file=text, width=80).print(trials_table(records, "perplexity", "min"))
    shown = text.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert "\u2026" not in shown
    assert "what was tried" in shown and "10.0000" in shown and "out of memory" in " ".join(shown.split())
    said = " ".join(shown.split("the same in all:")[1].split())
    assert "some long field b bbbbbb" in said and "some long field a" not in said


def test_what_a_search_shows_fits_eighty_columns_and_cuts_nothing() -> None:
    text, best = io.StringIO(), replace(_records()[0], objective=2188.1234)
    console = Console(file=text, width=80, force_terminal=True, color_system=None, soft_wrap=True)
    with SearchDisplay(console, "expected_calibration_error") as display:
        display.begin("0003", "14 of 20", best, 700.0)
        display.on_start(SimpleNamespace(epochs=3, steps=100, epoch=0, step=0))
        display.on_epoch(SimpleNamespace(epoch=1, steps=100, objective=2199.5678))
        display._progress.refresh()
    words = text.getvalue().split()
    assert {"2,188.12", "2,199.57", "expected_calibration_error"} <= set(words)
    assert "\u2026" not in text.getvalue()


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    picture(_records(), "perplexity", "min", tmp_path / "a" / "trials.png")
    assert (tmp_path / "a" / "trials.png").read_bytes().startswith(b"\x89PNG")


CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*/*.toml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_value_of_a_space_is_a_configuration(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQAPPS_DATA", "/data")
    config = load_config(file, [])
    declare = spaces.load(config.model.architecture)
    first = keras_tuner.HyperParameters()
    begun = declare(first, config)
    names = set(begun)
    # A search begins with the configuration itself.
    assert with_overrides(config, begun, "first").model_dump() == config.model_dump()
    for seed in range(5):
        drawn = keras_tuner.HyperParameters()
        drawn.values = {each.name: each.random_sample(seed) for each in first.space}
        overrides = declare(drawn, config)
        assert set(overrides) == names
        load_config(file, [f"{key}={json.dumps(value)}" for key, value in overrides.items()])
