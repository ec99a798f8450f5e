"""The command `diagnose`: a trained run on the terminal, as JSON, and on its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import make_prepared

from seqapps import formats
from seqapps.__main__ import main
from seqapps.applications import application_of
from seqapps.training import loop as training
from seqapps.training.trained_model import save_trained


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with prepared data and a run folder of a model that no step has moved."""
    root = tmp_path_factory.mktemp("diagnose")
    prepared = root / "prepared" / "tiny-0123456789ab"
    config, prepared, manifest = make_prepared(prepared, model={"cell": "simple_rnn", "units": [8]})
    training.configure(config)
    application = application_of(config)
    save_trained(root / "runs" / "tiny" / "model", application, manifest, application.build(manifest), prepared)
    return root


def test_a_run_is_diagnosed_as_json_on_the_terminal_and_on_its_page(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["diagnose", str(workspace / "runs" / "tiny"), "--workspace", str(workspace)]
    assert main([*words, "--json", "--epoch", "2", "--step", "3"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["model"], printed["batch"], printed["rows"]) == ("trained", [2, 3], 4)
    (layer,) = printed["layers"]
    assert (layer["name"], layer["cell"], len(layer["gradient"])) == ("simple_rnn_0", "SimpleRNNCell", 16)
    folder = workspace / "runs" / "tiny" / "diagnosis"
    assert json.loads((folder / "diagnosis.json").read_text()) == formats.stamped("diagnosis", printed)
    assert sorted(path.name for path in folder.iterdir()) == ["diagnosis.json", "gates.png", "gradients.png"]

    assert main(words) == 0
    shown = capsys.readouterr()
    assert "simple_rnn_0: the gradient neither vanishes nor explodes" in shown.out
    assert "the trained model in" in shown.err

    assert main(["report", words[1], "--workspace", str(workspace)]) == 0
    page = (workspace / "runs" / "tiny" / "report.html").read_text(encoding="utf-8")
    assert '<section id="gradients">' in page
    assert page.count("data:image/png;base64") == 2


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--step", "99999"], "diagnose: epoch 1 has no step 99999: its steps are 1 to "),
        (["--epoch", "0"], "diagnose: `--epoch` and `--step` are counted from 1. Received: 0 and 0."),
        (["--initial"], "diagnose: `--initial` is for a configuration."),
    ],
)
def test_what_cannot_be_asked(workspace: Path, words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["diagnose", str(workspace / "runs" / "tiny"), "--workspace", str(workspace)]
    assert main([*run, *words]) == 2
    assert text in capsys.readouterr().err
