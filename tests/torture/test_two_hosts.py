"""A real MLflow server, and processes that share no folder of temporary files, as those of two machines do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_promotion import House, write_evidence
from warm import Warm

from seqapps.dataset.manifest import digest_of
from seqapps.errors import RunError
from seqapps.registry import tracking
from seqapps.registry.ledger import ledger
from seqapps.registry.tracking import LEASE, Tracker
from seqapps.registry.versions import aliases, registered_names

ROOT = Path(__file__).parents[2]
CHILD = """
import io, json, sys, time
from pathlib import Path
from rich.console import Console
from tiny import make_config
from seqapps.registry import promotion
from seqapps.errors import RunError
from seqapps.registry.tracking import Tracker

uri, folder, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
tracker = Tracker(uri, None, experiment="tiny")
gate = promotion.gate

def both_decide(*arguments):
    (folder / f"{name}.ready").touch()
    while len(list(folder.glob("*.ready"))) < 2:
        time.sleep(0.01)
    return gate(*arguments)

promotion.gate = both_decide
try:
    decision = promotion.promote(
        tracker,
        config=make_config(promotion={"model": "shared"}, baselines={"names": ["uniform", "unigram"]}),
        run_id=tracker.start("train", kind="train").run_id,
        run_folder=folder / name,
        saved_model=folder / "saved_model",
        evaluation_folder=folder / name / "evaluation",
        console=Console(file=io.StringIO()),
    )
    print(json.dumps([decision.action, decision.before, decision.after]))
except RunError as error:
    print(json.dumps([str(error)]))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server that runs while the tests do."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            *words,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    uri, until = f"http://127.0.0.1:{port}", time.monotonic() + 600
    while not answers(f"{uri}/health"):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.5)
    yield uri
    os.killpg(process.pid, 15)
    process.wait(60)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_of_two_hosts_that_promote_at_once_one_moves_the_champion(server: str, tmp_path: Path) -> None:
    House(tmp_path)  # makes the SavedModel
    (tmp_path / "child.py").write_text(CHILD)
    children = []
    for name, perplexity in (("a", 10.0), ("b", 9.0)):
        write_evidence(tmp_path / name / "evaluation", perplexity)
        (tmp_path / f"tmp-{name}").mkdir()
        environment = {**os.environ, "TMPDIR": str(tmp_path / f"tmp-{name}"), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        words = (server, str(tmp_path), name)
        children.append(Warm(str(tmp_path / "child.py"), *words, cwd=ROOT, environment=environment))
    done = [child.finish() for child in children]
    assert [child.returncode for child in done] == [0, 0], done
    reported: list[Any] = sorted((json.loads(child.stdout.splitlines()[-1]) for child in done), key=len)
    ((refused,), (action, before, after)) = reported
    assert refused.startswith(f"the champion of `shared` changed from none to {after} while this was decided.")
    assert (action, before) == ("promote", "")
    tracker = Tracker(server, None, experiment="tiny")
    assert aliases(tracker, "shared")["champion"] == after
    assert [(entry.before, entry.after) for entry in ledger(tracker, "shared")] == [("", after)]
    assert [item.name for item in tracker.client.search_registered_models()] == ["shared"]


def test_a_lease_is_waited_for_and_that_of_a_dead_holder_is_taken(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "LEASE_SECONDS", 1.5)
    tracker = Tracker(server, None, experiment="tiny")
    tracker.client.create_registered_model(f"m{LEASE}", tags={"token": "of the dead", "holder": "somebody"})
    began = time.monotonic()
    with tracker.lease("m") as still_ours:
        assert time.monotonic() - began > 1.5
        still_ours()
        tracker.client.set_registered_model_tag(f"m{LEASE}", "token", digest_of("another"))
        with pytest.raises(RunError, match=r"another process took the lease on `m`\. Nothing was moved"):
            still_ours()
    assert f"m{LEASE}" not in registered_names(tracker)
    tracker.client.delete_registered_model(f"m{LEASE}")
    with tracker.lease("m"):
        assert f"m{LEASE}" in [item.name for item in tracker.client.search_registered_models()]
    assert f"m{LEASE}" not in [item.name for item in tracker.client.search_registered_models()]
