"""All stages as a user runs them: real processes, real Beam, MLflow and SavedModel, on a corpus of eighty lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_lines import harm
from little import CONFIG
from stores import copy_empty
from warm import Warm

from seqapps.dataset.manifest import read_manifest
from seqapps.errors import REFUSED
from seqapps.registry.tracking import Tracker
from seqapps.training import checkpoints

STAGES = ("prepare", "train", "evaluate", "saved_model", "promote", "export")


class User:
    """Runs commands in one workspace, as a user does.

    Args:
        folder: where the commands run.
        store: where an empty store is put beforehand, in the workspace; None lets MLflow make it of nothing.
    """

    def __init__(self, folder: Path, store: str | None = "mlflow.db") -> None:
        self.folder = folder
        self.workspace = folder / "ws"
        if store:
            copy_empty(self.workspace / store)
        (folder / "little.toml").write_text(CONFIG)

    def __call__(self, *words: str, code: int = 0) -> tuple[str, str]:
        """Returns (stdout, stderr) of `seqapps ...`. A run ends with 3 where it says that the gate refused."""
        done = self.start(*words).finish()
        is_decided = words[0] in ("run", "promote") and "--dry-run" not in words
        is_refused = is_decided and " was refused; " in done.stdout
        assert done.returncode == (REFUSED if is_refused else code), f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout, done.stderr

    def start(self, *words: str) -> Warm:
        """Starts `seqapps ...`."""
        return Warm("seqapps", *words, "--workspace", "ws", cwd=self.folder)

    def cold(self, *words: str) -> tuple[str, str]:
        """Returns (stdout, stderr) of `seqapps ...` in an interpreter that begins with nothing imported."""
        done = subprocess.run(
            [sys.executable, "-m", "seqapps", *words, "--workspace", "ws"],
            capture_output=True, text=True, cwd=self.folder, check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )  # fmt: skip
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout, done.stderr

    def stages(self, stderr: str) -> dict[str, str]:
        """Returns stage to what was said of it, without paths and without what it says while it works."""
        said = [line.partition(": ") for line in stderr.splitlines() if line.partition(": ")[0] in STAGES]
        return {stage: text.partition(" (")[0] for stage, _, text in said if text.startswith(("runs", "up to date"))}

    def ledger(self) -> list[tuple[str, str, str]]:
        """Returns (action, from, to) of every decision, as the file among MLflow's artifacts has it."""
        files = list(self.workspace.glob("mlartifacts/**/ledger.jsonl"))
        assert len(files) == 1
        entries = [json.loads(line) for line in files[0].read_text().splitlines()]
        return [(entry["action"], entry["from"], entry["to"]) for entry in entries]


def test_pipeline_then_again_then_changed_then_back(tmp_path: Path) -> None:
    user = User(tmp_path, store=None)

    # The first time everything runs.
    out, err = user.cold("run", "little.toml")
    assert user.stages(err) == dict.fromkeys(STAGES, "runs for the first time")
    assert "version 1 is the champion now" in out
    assert "uniform" in out and "writes on (serving_default)" in out and "suggests next (complete)" in out
    exported = user.workspace / "exports" / "little" / "1"
    assert (exported / "saved_model.pb").exists()
    assert f"mlflow ui --backend-store-uri sqlite:///{user.workspace / 'mlflow.db'}" in out
    prepared, *others = user.workspace.glob("prepared/little-*")
    assert others == [] and read_manifest(prepared).rows == 80

    # The second time nothing runs, and the end is the same.
    again, err = user("run", "little.toml")
    assert user.stages(err) == dict.fromkeys(STAGES, "up to date")
    assert again == out

    # A changed field runs what depends on it, and says so.
    _, err = user("run", "little.toml", "--set", "training.epochs=2")
    said = user.stages(err)
    assert said["prepare"] == "up to date"
    assert said["train"] == "runs because config changed: training.epochs 1 -> 2"
    assert said["evaluate"] == "runs because champion changed: none -> 1; model changed"
    changed = ("--set", "training.epochs=2")
    evaluation = json.loads(next(user.workspace.glob("runs/*/evaluation/evaluation.json")).read_text())
    assert set(evaluation["baselines"]) == {"uniform"}

    # What only an evaluation reads is read anew: the model stays.
    out, err = user("evaluate", "little.toml", *changed, "--set", 'baselines.names=["unigram"]')
    assert user.stages(err)["evaluate"].startswith("runs because config changed: baselines.names")
    assert "unigram" in out and "uniform" not in out
    out, err = user("evaluate", "little.toml", *changed)
    assert user.stages(err)["evaluate"].startswith("runs because config changed: baselines.names")
    assert "uniform" in out and "unigram" not in out

    # By force the second version is champion at the latest now; a rollback brings the first one back.
    out, _ = user("promote", "little.toml", *changed, "--force", "the test wants it")
    user("rollback", "little", "--reason", "the test wants it back")
    assert user.ledger()[0] == ("promote", "", "1")
    assert user.ledger()[-1] == ("rollback", "2", "1")

    # What was rolled back does not come back because the command ran again, and version 1 is up to date as ever.
    _, err = user("run", "little.toml", *changed)
    assert set(user.stages(err).values()) == {"up to date"}
    _, err = user("run", "little.toml")
    assert set(user.stages(err).values()) == {"up to date"}
    assert user.ledger()[-1] == ("rollback", "2", "1")

    # The champion answers; the report holds it all; a wrong name is reported with the right one.
    answer, _ = user("predict", "little@champion", "the cat", "--complete", "--json", "-k", "3")
    assert len(json.loads(answer)["tokens"]) == 3
    report, _ = user("report", "little.toml")
    for part in ("ledger of little", "rollback", "vocabulary text", "MLflow page"):
        assert part in report
    _, err = user("predict", "litle@champion", "the cat", code=2)
    assert "Nearest: little" in err
    _damaged_is_mended(user)


def _damaged_is_mended(user: User) -> None:
    """A damaged file of the same size, files of the champion that are gone: the command that is named mends it."""
    harm(user.workspace, "garbage", "prepared/*/train/*.tfrecord")
    _, err = user("train", "little.toml", code=2)
    assert "was changed). Run `seqapps prepare little.toml --workspace ws` first" in err
    user("prepare", "little.toml")
    user("train", "little.toml")
    harm(user.workspace, "remove", "mlartifacts/*/models")
    _, err = user("predict", "little@champion", "the cat", code=1)
    assert "the files of version 1 of `little` were removed. Run `seqapps promote CONFIG`" in err
    user("promote", "little.toml")
    user("predict", "little@champion", "the cat")


def test_dry_run_with_a_search_stays_in_its_folder(tmp_path: Path) -> None:
    user = User(tmp_path, store="dry-run/mlflow.db")
    out, err = user("run", "little.toml", "--dry-run", "--set", "tuning.algorithm=random")
    assert "dry run: 200 rows and one epoch" in err
    assert [path.name for path in user.workspace.iterdir()] == ["dry-run"]
    winner = next(user.workspace.glob("dry-run/tuning/*/best.toml"))
    assert "MLflow page" in out

    # The winner is a configuration like any other, and its training is the one that was done.
    _, err = user("config", "--config", str(winner))
    assert err == ""


def wait_for(user: User, pattern: str) -> None:
    """Waits until the workspace has a file."""
    until = time.monotonic() + 300
    while not list(user.workspace.glob(pattern)) and time.monotonic() < until:
        time.sleep(0.01)


def test_sigterm_leaves_a_checkpoint_and_a_second_training_is_refused(tmp_path: Path) -> None:
    user = User(tmp_path)
    user("prepare", "little.toml")
    words = ("train", "little.toml", "--set", "training.early_stopping=0", "--set", "training.epochs=100000")
    process = user.start(*words)
    wait_for(user, "runs/*/samples/epoch-001.txt")
    _, err = user(*words, code=1)
    assert re.match(r"`train` of `little` is being done already by process \d+ on \S+, since \d{4}-.* UTC\. Wait", err)

    process.terminate()
    done = process.finish()
    assert done.returncode == 143, done.stderr
    assert done.stderr.endswith("Ended by SIGTERM. Run the same command again to continue.\n")
    (folder,) = user.workspace.glob("runs/*")
    assert checkpoints.read(folder / checkpoints.FILE_NAME).meta["epoch"] >= 1
    stored = json.loads((folder / "run.json").read_text())
    assert Tracker(stored["uri"], None, experiment="little").run(stored["run_id"]).info.status == "KILLED"
    assert not list(user.workspace.glob("stages/*/.*"))


def test_killed_training_goes_on_in_the_same_run(tmp_path: Path) -> None:
    user = User(tmp_path)
    user("prepare", "little.toml")
    words = ("train", "little.toml", "--set", "training.checkpoint_steps=3", "--set", "training.early_stopping=0")
    words = (*words, "--set", "training.epochs=12")
    process = user.start(*words)
    wait_for(user, "runs/*/checkpoint.npz")
    process.kill()
    (folder,) = user.workspace.glob("runs/*")
    before = json.loads((folder / "run.json").read_text())
    assert not (folder / "model").exists()

    _, err = user(*words)
    assert "Going on from the checkpoint" in err
    assert json.loads((folder / "run.json").read_text()) == before
    runs = Tracker(before["uri"], None, experiment="little").find(kind="train")
    assert [(run.info.run_id, run.info.status) for run in runs] == [(before["run_id"], "FINISHED")]


@pytest.mark.parametrize("command", ["train", "evaluate", "promote", "export"])
def test_command_without_the_one_before_it(tmp_path: Path, command: str) -> None:
    _, err = User(tmp_path)(command, "little.toml", code=2)
    assert err.startswith("`prepare` is not done for this configuration (it would run for the first time).")
