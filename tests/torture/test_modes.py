"""Every mode of every application: held to every law, and taken through all stages, from raw rows to a service.

`tests/test_contracts.py` finds the modes, and holds them to the quick laws.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import test_contracts
from stores import copy_empty
from test_contracts import CONTRACTS, MODES, PAIRS, config_of
from warm import check_alone

from seqapps.__main__ import main
from seqapps.config import to_toml
from seqapps.serving import alone

# pytest looks for the fixtures of the laws in the module that runs them.
_FIXTURE = type(test_contracts.subject)
globals().update({name: value for name, value in vars(test_contracts).items() if isinstance(value, _FIXTURE)})

LAWS = [law for name, law in vars(test_contracts).items() if name.startswith("test_")]
SHORT = {"training.epochs": 1, "training.sample_length": 5, "promotion.resamples": 100, "promotion.segment": 16}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" in metafunc.fixturenames:
        metafunc.parametrize("subject", MODES, ids="-".join, indirect=True, scope="session")


@pytest.mark.usefixtures("subject")
def test_every_law_holds(request: pytest.FixtureRequest) -> None:
    for law in LAWS:
        try:
            law(**{name: request.getfixturevalue(name) for name in inspect.signature(law).parameters})
        except pytest.skip.Exception:  # the law is about what this application does not have
            continue


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Path]:
    """A workspace with an empty store."""
    copy_empty(tmp_path / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQAPPS_CONTRACTS", str(CONTRACTS))
        patch.setattr(alone, "Popen", check_alone)
        yield tmp_path


@pytest.mark.parametrize("case", [*PAIRS, *MODES], ids="-".join)
def test_all_stages(case: tuple[str, str], pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = pipeline / "mode.toml"
    file.write_text(to_toml(config_of(*case).model_dump(mode="json")))
    settings = [f"--set={name}={value}" for name, value in SHORT.items()]
    for command in ("prepare", "train", "evaluate", "promote", "export"):
        force = ["--force", "every mode is served"] if command == "promote" else []
        assert main([command, str(file), "--workspace", str(pipeline), *settings, *force]) == 0, capsys.readouterr()
    capsys.readouterr()

    folder = next((pipeline / "exports").glob("*/1"))
    name = folder.parent.name
    call = json.loads((folder / "golden.json").read_text(encoding="utf-8"))["serving_default"][0]["inputs"]
    assert (
        main(["predict", f"{name}@champion", *_row(case, call, pipeline), "--workspace", str(pipeline), "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out.splitlines()[0])

    mlflow.set_tracking_uri(f"sqlite:///{pipeline / 'mlflow.db'}")
    served = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    columns = {key: value for key, value in call.items() if isinstance(value, list)}
    single = {key: value for key, value in call.items() if not isinstance(value, list)}
    rows = len(next(iter(columns.values())))
    assert len(served.predict(pd.DataFrame(columns), params=single)) == rows


def _row(case: tuple[str, str], call: dict[str, Any], folder: Path) -> list[str]:
    """Returns a row that `predict` takes, with its further options."""
    if case[0] == "time_series" and case in MODES:
        return [str(CONTRACTS / "time_series" / "one.csv")]
    if case[0] == "time_series":
        header, *lines = (CONTRACTS / "time_series.csv").read_text(encoding="utf-8").splitlines()
        north = [line.split(",") for line in lines if ",north," in line]
        # The last three days are to come: what is known of them stands there, and no target.
        to_come = [[*day[:2], "", "", *day[4:]] for day in north[-3:]]
        file = folder / "north.csv"
        file.write_text("\n".join([header, *map(",".join, [*north[:-3], *to_come])]) + "\n", encoding="utf-8")
        return [str(file)]
    first = next(call[name][0] for name in ("text", "source", "prompt", "condition") if name in call)
    return [first if isinstance(first, str) else json.dumps(first)]
