"""The Python API: the examples of docs/python.md, in their order, and what importing the package costs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import seqapps
from seqapps.errors import UsageError

PAGE = Path(__file__).parent.parent / "docs" / "python.md"
NAMES = ("keras", "mlflow", "numpy", "pydantic", "rich", "tensorflow")


def test_the_examples_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    told, run = capsys.readouterr(), names["run"]
    assert told.err == ""
    assert "`training.epoch`" in told.out
    assert "Nearest: epochs" in told.out
    assert (run.config.training.epochs, run.config.training.learning_rate) == (2, 0.01)
    assert run.promoted
    assert run.evaluation.metrics["perplexity"] < run.evaluation.baselines["unigram"].metrics["perplexity"]
    assert [path.exists() for path in (run.folder, run.exported, run.report)] == [True] * 3
    asked = ["the keys by the lamp"]
    assert run.model.predict(asked, max_length=5) == names["model"].predict(asked, max_length=5) == [names["answer"]]
    assert type(names["again"].layers[-2]) is seqapps.layers.GRU

    again = seqapps.run("sentences.toml", overrides={"training.learning_rate": 0.01})
    assert (again.folder, again.decision) == (run.folder, run.decision)
    assert "train: up to date" in capsys.readouterr().err
    with pytest.raises(UsageError, match="Nearest: sentences"):
        seqapps.load("sentense@champion")


def test_importing_the_package_is_light() -> None:
    code = f"import sys, seqapps; print([name for name in {NAMES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert {*seqapps.__all__} <= {*dir(seqapps)}


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'seqapps' has no attribute 'trane'"):
        seqapps.trane  # noqa: B018
