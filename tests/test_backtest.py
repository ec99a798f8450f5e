"""`seqapps backtest`: the same training at later and later origins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqapps.__main__ import main
from seqapps.cli.backtest import table
from seqapps.dataset.manifest import read_manifest
from seqapps.evaluation.evaluate import Evaluation, Score

CONTRACTS = Path(__file__).parent / "contracts"


def test_backtest_trains_at_every_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEQAPPS_CONTRACTS", str(CONTRACTS))
    words = ["backtest", str(CONTRACTS / "time_series.toml"), "--folds", "2", "--workspace", str(tmp_path), "--quiet"]
    small = ["--set", "training.epochs=1", "--set", "data.horizon=1", "--set", 'baselines.names=["persistence"]']
    assert main([*words, *small]) == 0
    shown = capsys.readouterr().out
    assert "rmse at 2 origins" in shown
    assert "the model is best in " in shown
    folds = json.loads((tmp_path / "backtests" / "time_series.json").read_text())["folds"]
    # The last 12 of 60 days of two shops: two folds of six. A day on which a shop has no line is no window.
    assert [(fold["split"], fold["token"]) for fold in folds] == [("test", "step")] * 2
    manifests = [read_manifest(path.parent) for path in sorted(tmp_path.glob("prepared/*/manifest.json"))]
    assert [manifest.splits["test"].rows for manifest in manifests] == [12, 12]
    assert [manifest.splits["train"].rows for manifest in manifests] == [57, 69]
    assert not (tmp_path / "exports").exists()


def test_a_fold_without_a_test_window_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEQAPPS_CONTRACTS", str(CONTRACTS))
    words = ["backtest", str(CONTRACTS / "time_series.toml"), "--folds", "5", "--workspace", str(tmp_path), "--quiet"]
    assert main(words) == 1
    message = capsys.readouterr().err
    assert "has 2 steps, and `data.horizon` needs 3. Allowed: up to 4 folds (`--folds`, `data.fold`)" in message
    assert not (tmp_path / "runs").exists()


def test_backtest_is_for_series(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", "configs/language_model/python_docs.toml"]) == 2
    assert "`data.fold` is no field of language_model" in capsys.readouterr().err


def test_a_baseline_that_some_folds_leave_out_has_no_column() -> None:
    def fold(model: float, **baselines: float) -> Evaluation:
        scores = {name: Score(description="", metrics={"rmse": value}, seconds=0) for name, value in baselines.items()}
        return Evaluation(
            application="time_series",
            split="test",
            note="",
            token="step",
            tokens=10,
            sequences=10,
            objective="rmse",
            direction="min",
            metrics={"rmse": model},
            baselines=scores,
            seconds=0,
        )

    made = table([fold(2.0, persistence=3.0, ets=1.0), fold(2.0, persistence=3.0)])
    assert [str(column.header) for column in made.columns] == ["fold", "steps", "persistence", "model"]
    assert str(made.caption) == "* best; the model is best in 2 of 2"
