"""The door to MLflow, with a real SQLite store."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import make_config, make_prepared
from warm import Warm

from seqapps.applications import config_from
from seqapps.errors import UsageError
from seqapps.registry.tracking import Tracker, TrackingListener, flatten
from seqapps.workspace import Workspace

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def tracker(workspace: Workspace) -> Tracker:
    return Tracker.open(make_config(), workspace)


def test_everything_lies_in_the_workspace(tracker: Tracker, workspace: Workspace) -> None:
    run = tracker.start("a", kind="train")
    tracker.log_text(run.run_id, "hello", "samples/one.txt")
    assert (workspace.root / "mlflow.db").exists()
    assert list(workspace.artifacts.rglob("one.txt"))
    assert tracker.experiment == "tiny"
    assert not Path("mlruns").exists()


def test_a_run_knows_where_it_comes_from(tracker: Tracker) -> None:
    parent = tracker.start("parent", kind="search")
    run = tracker.start("child", kind="trial", parent=parent.run_id, tags={"seqapps.trial": "0003"})
    tags = tracker.run(run.run_id).data.tags
    assert tags["seqapps.kind"] == "trial"
    assert tags["seqapps.trial"] == "0003"
    assert tags["seqapps.pid"] == str(os.getpid())
    assert {"mlflow.user", "seqapps.version", "seqapps.host", "seqapps.boot"} <= set(tags)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if commit.returncode == 0:
        assert tags["mlflow.source.git.commit"] == commit.stdout.strip()
        assert tags["seqapps.git_dirty"] in ("true", "false")
    assert [item.info.run_id for item in tracker.children(parent.run_id)] == [run.run_id]


def test_the_configuration_is_parameters_and_a_file_that_loads(tracker: Tracker) -> None:
    config = make_config(source={"files": [f"{number:04d}.txt" for number in range(2000)]})
    run = tracker.start("config", kind="train")
    tracker.log_config(run.run_id, config)
    tracker.log_config(run.run_id, config)  # a resumed run logs it again
    params = tracker.run(run.run_id).data.params
    assert params["model.units"] == "[8]"
    assert params["training.schedule.name"] == "constant"
    assert len(params["source.files"]) == 6000
    text = tracker.read_text(run.run_id, "config.toml")
    assert text is not None
    assert config_from(tomllib.loads(text), "config.toml") == config


def test_the_data_set_is_the_manifest(tracker: Tracker, tmp_path: Path) -> None:
    _, folder, manifest = make_prepared(tmp_path / "prepared")
    run = tracker.start("data", kind="train")
    tracker.log_dataset(run.run_id, manifest, folder)
    logged = tracker.run(run.run_id)
    assert logged.inputs is not None
    (item,) = logged.inputs.dataset_inputs
    assert item.dataset.digest == manifest.fingerprint[:36]
    assert {tag.key: tag.value for tag in item.tags}["seqapps.fingerprint"] == manifest.fingerprint
    assert logged.data.tags["seqapps.data"] == manifest.fingerprint


def test_the_listener_logs_epochs_and_samples(tracker: Tracker) -> None:
    run = tracker.start("epochs", kind="train")
    listener = TrackingListener(tracker, run.run_id)
    listener.on_start(None)
    listener.on_step(None)
    for epoch, perplexity in ((1, 30.0), (2, 20.0)):
        listener.on_epoch(
            SimpleNamespace(
                epoch=epoch,
                validation_perplexity=perplexity,
                loss=float("nan"),
                best=True,
                non_finite_steps=3,
                sample=f"text {epoch}",
            )
        )
    listener.on_end(None)
    history = tracker.client.get_metric_history(run.run_id, "validation_perplexity")
    assert [(item.step, item.value) for item in history] == [(1, 30.0), (2, 20.0)]
    metrics = tracker.run(run.run_id).data.metrics
    assert metrics == {"validation_perplexity": 20.0, "non_finite_steps": 3.0}
    assert tracker.read_text(run.run_id, "samples/epoch-002.txt") == "text 2\n"
    assert tracker.read_text(run.run_id, "samples/epoch-003.txt") is None


_CHILD = """
import sys
from pathlib import Path
from seqapps.registry.tracking import Tracker
tracker = Tracker(sys.argv[1], Path(sys.argv[2]), experiment=sys.argv[3])
print(tracker.start("child", kind="train").run_id, flush=True)
"""


def child(folder: Path, *words: str) -> Warm:
    """A process of its own that opens a store; what is missing there, MLflow makes of nothing."""
    (folder / "child.py").write_text(_CHILD)
    return Warm(str(folder / "child.py"), *words, cwd=ROOT)


def test_a_run_of_a_dead_process_is_closed_and_can_be_resumed(
    tracker: Tracker, workspace: Workspace, tmp_path: Path
) -> None:
    done = child(tmp_path, tracker.uri, str(workspace.artifacts), tracker.experiment).finish()
    assert done.returncode == 0, done.stderr
    dead = done.stdout.split()[-1]
    alive = tracker.start("alive", kind="train").run_id
    elsewhere = tracker.start("elsewhere", kind="train").run_id
    tracker.set_tags(elsewhere, {"seqapps.host": "another-machine", "seqapps.pid": "1"})
    # Containers share names of hosts: here on one machine, and on another one, whose boot is another too.
    beside, apart = (tracker.start("container", kind="train").run_id for _ in range(2))
    tracker.set_tags(beside, {"seqapps.pid_space": "pid:[1]", "seqapps.pid": "4194304"})
    tracker.set_tags(apart, {"seqapps.boot": "another", "seqapps.machine": "", "seqapps.pid": "4194304"})
    assert tracker.reap() == [dead]
    assert tracker.run(dead).info.status == "KILLED"
    for run in (alive, elsewhere, beside, apart):
        assert tracker.run(run).info.status == "RUNNING"
    tracker.resume(dead)
    assert tracker.run(dead).info.status == "RUNNING"
    assert tracker.reap() == []


def test_two_processes_can_meet_an_empty_store(tmp_path: Path) -> None:
    words = (f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "files"), "both")
    done = [started.finish() for started in [child(tmp_path, *words) for _ in range(2)]]
    assert [each.returncode for each in done] == [0, 0], done


def test_a_retired_store_is_refused() -> None:
    with pytest.raises(UsageError, match=r"must be a server or a database.*Received: './mlruns'"):
        Tracker("./mlruns", None)


def test_an_unknown_run_is_a_users_error(tracker: Tracker) -> None:
    with pytest.raises(UsageError, match="run `0123` is not in sqlite"):
        tracker.resume("0123")


def test_flatten() -> None:
    assert flatten({"seed": 1, "data": {"split": {"by": "row"}}}) == {"seed": 1, "data.split.by": "row"}


def test_a_lease_and_what_killed_processes_left_of_leases_is_gone_at_its_end(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As beside a server: a holder that was killed, and one that was killed while it took such a lease away."""
    monkeypatch.setattr("seqapps.registry.tracking.SQLITE", "no such store")
    monkeypatch.setattr("seqapps.registry.tracking.LEASE_SECONDS", 0.5)
    client = tracker.client
    for left in ("m_1.seqapps-lease", "m_1.seqapps-lease.0abc", "m_1.seqapps-lease.1abc"):
        client.create_registered_model(left, tags={"token": "0def", "holder": "process 1 of nobody"})
    for other in ("m_1", "m_1.seqapps", "mx1.seqapps-lease.0abc"):
        client.create_registered_model(other)
    with tracker.lease("m_1") as still_ours:
        still_ours()
        names = [model.name for model in client.search_registered_models("name LIKE 'm_1.%'")]
        assert names == ["m_1.seqapps", "m_1.seqapps-lease", "mx1.seqapps-lease.0abc"]
    names = [model.name for model in client.search_registered_models("name LIKE 'm_1%'")]
    assert names == ["m_1", "m_1.seqapps", "mx1.seqapps-lease.0abc"]
