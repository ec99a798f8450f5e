"""A search that is killed with SIGKILL inside its second trial goes on, and ends as if it had never been killed."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from pathlib import Path

from rich.console import Console
from stores import copy_empty
from tiny import make_config, make_prepared
from warm import Warm

from seqapps.registry.tracking import Tracker
from seqapps.workspace import Workspace
from tuning.search import SearchResult, search

TUNING = {"algorithm": "random", "trials": 2, "epochs": 2}
SECOND = "0001"


def run_search(root: Path) -> SearchResult:
    """Searches in `root`, where `prepared` lies."""
    config = make_config(tuning=TUNING)
    tracker = Tracker.open(config, Workspace(root))
    console = Console(file=io.StringIO())
    return search(config, root / "prepared", root / "search", tracker=tracker, console=console)


def kill_inside(root: Path, trial: str) -> None:
    """Starts a search in a process of its own and kills it when `trial` has a checkpoint."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    child = Warm(__file__, str(root), cwd=root, environment=environment)
    mark = root / "search" / "work" / trial / "checkpoint.npz"
    try:
        while not mark.exists():
            assert child.poll() is None, f"the search ended before trial {trial}: {child.finish().stderr}"
            time.sleep(0.01)
    finally:
        child.kill()
    assert child.poll() == -signal.SIGKILL


def test_a_killed_search_loses_no_trial_and_ends_alike(tmp_path: Path) -> None:
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    for root in (killed, unbroken):
        make_prepared(root / "prepared")
        copy_empty(Workspace(root).root / "mlflow.db")
    kill_inside(killed, SECOND)
    records = killed / "search" / "records"
    before = {file.name: file.read_bytes() for file in records.glob("*.json")}
    assert set(before) == {"0000.json"}

    result, expected = run_search(killed), run_search(unbroken)

    # Finished trials were not run again: their records, with run and seconds, are the same bytes.
    assert {file.name: file.read_bytes() for file in records.glob("*.json")} | before == {
        file.name: file.read_bytes() for file in records.glob("*.json")
    }
    assert len(result.trials) == 2
    assert [trial.overrides for trial in result.trials] == [trial.overrides for trial in expected.trials]
    # The first of one search ran in another process; each second one ran after another first one, or alone.
    assert [trial.objective for trial in result.trials] == [trial.objective for trial in expected.trials]
    assert result.winner.trial == expected.winner.trial
    assert result.best == expected.best

    # One nested run a trial, and one more, marked KILLED, for the trial that was interrupted.
    tracker = Tracker.open(make_config(), Workspace(killed))
    runs = [(run.data.tags["seqapps.trial"], run.info.status) for run in tracker.children(result.run_id)]
    assert sorted(runs) == [
        ("0000", "FINISHED"),
        ("0001", "FINISHED"),
        ("0001", "KILLED"),
    ]
    assert json.loads((killed / "search" / "run.json").read_text())["run_id"] == result.run_id
    assert not (killed / "search" / "work").exists()


if __name__ == "__main__":
    run_search(Path(sys.argv[1]))
