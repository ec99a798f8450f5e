"""Killed at a change, and run again: the same end as never killed; and the registry is what counts, not a record.

All points of all stages: `tests/torture/test_killed_anywhere.py`. Here are some that once ended otherwise.
"""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutations
import pytest
from little import CONFIG
from mutations import command, differences, end_of
from stores import copy_empty

from seqapps.registry.ledger import ledger
from seqapps.registry.tracking import Tracker
from seqapps.registry.versions import aliases, champion, trained_folder
from seqapps.workspace import Workspace

RUN = ("run", "little.toml")
Continue = Callable[[Path], Path]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder whose run was killed before the first change to the registry."""
    folder = tmp_path_factory.mktemp("evaluated")
    copy_empty(folder / "ws" / "mlflow.db")
    (folder / "little.toml").write_text(CONFIG)
    code, _, said = command(folder, *RUN, kill_at="create_logged_model")
    assert code == -signal.SIGKILL, said
    return folder


@pytest.fixture(scope="module")
def unbroken(evaluated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder after the rest of the run."""
    folder = mutations.copy(evaluated, tmp_path_factory.mktemp("unbroken") / "user")
    code, _, said = command(folder, *RUN)
    assert code == 0, said
    return folder


@pytest.fixture
def user(unbroken: Path, tmp_path: Path) -> Path:
    """A copy of the folder at its end: whatever is done there, the original stays."""
    return mutations.copy(unbroken, tmp_path / "user")


def tracker_of(folder: Path) -> Tracker:
    workspace = Workspace(folder / "ws")
    return Tracker(workspace.tracking_uri, workspace.artifacts, experiment="little")


def said_of(said: str, stage: str) -> str:
    return next(line for line in said.splitlines() if re.match(rf"{stage}: (runs|up to date)", line))


@pytest.mark.parametrize(
    "point",
    [
        "finalize_logged_model",  # a logged model stayed PENDING, with a copy of the SavedModel
        "create_model_version",
        "set_registered_model_alias#2",  # between ledger and alias: two entries for one move
        "replace .*/\\.promote-",  # the model was measured against itself
        "rename .*/exports/",
    ],
)
def test_killed_and_run_again_ends_as_never_killed(evaluated: Path, unbroken: Path, point: str, tmp_path: Path) -> None:
    folder = mutations.copy(evaluated, tmp_path / "user")
    code, _, said = command(folder, *RUN, kill_at=point)
    assert code == -signal.SIGKILL, said
    code, _, said = command(folder, *RUN)
    assert code == 0, said
    assert differences(end_of(unbroken / "ws"), end_of(folder / "ws")) == []


@pytest.mark.parametrize("point", ["set_registered_model_alias", "delete_model_version_tag"])
def test_a_rollback_killed_before_and_after_its_move_goes_back_once(user: Path, point: str, tmp_path: Path) -> None:
    mutations.crown(user / "ws", 2)
    words = ("rollback", "little", "--reason", "complaints")
    whole = mutations.copy(user, tmp_path / "whole")
    code, _, said = command(whole, *words)
    assert code == 0, said
    assert command(user, *words, kill_at=point)[0] == -signal.SIGKILL
    code, _, said = command(user, *words)
    assert code == 0, said
    assert aliases(tracker_of(user), "little")["champion"] == "2"
    assert differences(end_of(whole / "ws"), end_of(user / "ws")) == []


def test_a_version_that_was_deleted_is_registered_again(user: Path) -> None:
    tracker = tracker_of(user)
    tracker.client.delete_model_version("little", "1")
    assert aliases(tracker, "little") == {}
    code, _, said = command(user, *RUN)
    assert code == 0, said
    assert said_of(said, "evaluate").startswith("evaluate: up to date")
    assert said_of(said, "promote") == "promote: runs because version 1 of little is not in the registry"
    assert aliases(tracker, "little") == {"champion": "2", "challenger": "2"}
    assert (user / "ws" / "exports" / "little" / "2" / "saved_model.pb").exists()


def test_an_alias_that_was_taken_away_is_decided_on_again(user: Path) -> None:
    tracker = tracker_of(user)
    tracker.client.delete_registered_model_alias("little", "champion")
    code, _, said = command(user, "export", "little.toml")
    assert code == 2
    assert "(it would run because the champion of little should be version 1, and is none)" in said
    code, _, said = command(user, "promote", "little.toml")
    assert code == 0, said
    assert aliases(tracker, "little")["champion"] == "1"
    assert len(ledger(tracker, "little")) == 1


def test_a_copied_workspace_has_all_that_it_needs_and_leaves_the_original_alone(user: Path, tmp_path: Path) -> None:
    copied = mutations.copy(user, tmp_path / "copied")
    before = snapshot(user)
    code, _, said = command(copied, *RUN, "--set", 'baselines.names=["unigram"]')  # it logs figures and files
    assert code == 0, said
    assert said_of(said, "train").startswith("train: up to date")
    assert snapshot(user) == before
    shutil.rmtree(user)
    code, _, said = command(copied, "predict", "little@champion", "the cat", "--complete")
    assert code == 0, said
    current = champion(tracker_of(copied), "little")
    assert current is not None
    (model,) = copied.glob("ws/runs/*/model")
    assert trained_folder(tracker_of(copied), current, Workspace(copied / "ws")) == model
    assert not user.exists()


def snapshot(folder: Path) -> dict[str, Any]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "count"]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}
