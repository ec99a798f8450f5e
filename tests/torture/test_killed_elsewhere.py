"""A search and a long answer, killed before a change and run again: what an unbroken one gives, and nothing left over.

They are told from the pipeline's stages by what may differ: a trial that was killed is one more run in MLflow, marked
KILLED, and begins again under an id of its own.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from little import CORPUS
from mutations import command, copy
from test_killed_anywhere import DETERMINISTIC, after

SEARCH = DETERMINISTIC + '\n[tuning]\nalgorithm = "random"\ntrials = 2\nepochs = 1\nspace = "regularisation"\n'
BLOCKS, SHARE = 8, 3
"""Items of the search, and how many changes lie between two that are tried."""
WORDS = ("predict", "little@champion", "--input", "asked.txt", "--output", "answers.txt", "--json")
_RUN = re.compile(r"\b[0-9a-f]{32}\b")


def end_of_search(workspace: Path) -> dict[str, Any]:
    """Returns what a search found and left."""
    records = [json.loads(path.read_text()) for path in sorted(workspace.glob("tuning/*/records/*.json"))]
    told = ("trial", "status", "overrides", "objective", "epochs", "parameters", "seed", "reason")
    best = [path.read_text() for path in workspace.glob("tuning/*/best.toml")]
    with sqlite3.connect(workspace / "mlflow.db") as store:
        question = "select name, status from runs where status <> 'KILLED' and name like 'trial-%' order by name"
        runs = list(store.execute(question))
        (running,) = store.execute("select count(*) from runs where status = 'RUNNING'").fetchone()
    files = [path.relative_to(workspace) for path in workspace.rglob("*") if path.is_file()]
    return {
        "records": [{key: record[key] for key in told} for record in records],
        "best": [_RUN.sub("RUN", text) for text in best],
        "trials": runs,
        "running": running,
        "left over": sorted(str(file) for file in files if re.search(r"\.tmp$|\.running$|/work/", f"/{file}")),
    }


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], dict[str, Any]]:
    """A user's folder with prepared data, the changes that an unbroken search makes, and its end."""
    base = copy(after("prepare"), tmp_path_factory.mktemp("search") / "base")
    (base / "little.toml").write_text(SEARCH)
    whole = copy(base, base.with_name("whole"))
    code, changes, said = command(whole, "tune", "little.toml")
    assert code == 0, said
    return base, changes, end_of_search(whole / "ws")


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_search_killed_before_a_change_finds_the_same(
    searched: tuple[Path, list[str], dict[str, Any]], block: int, tmp_path: Path
) -> None:
    base, changes, expected = searched
    assert len(expected["records"]) == 2
    wrong = []
    for number in range(block * SHARE + 1, len(changes) + 1, BLOCKS * SHARE):
        folder = copy(base, tmp_path / f"{number}")
        assert command(folder, "tune", "little.toml", kill_at=number)[0] in (-signal.SIGKILL, 0)
        code, _, said = command(folder, "tune", "little.toml")
        found = end_of_search(folder / "ws") if code == 0 else said[-500:]
        if found != expected:
            wrong.append((number, changes[number - 1], found))
        shutil.rmtree(folder)
    assert wrong == [], expected


def test_answers_to_a_file_that_was_killed_are_written_by_the_next_call(tmp_path: Path) -> None:
    base = copy(after("run"), tmp_path / "base")
    (base / "asked.txt").write_text("".join(CORPUS.read_text().splitlines(keepends=True)[:5]) + "\n")
    whole = copy(base, tmp_path / "whole")
    code, changes, said = command(whole, *WORDS)
    assert code == 0, said
    expected = (whole / "answers.txt").read_bytes()
    assert expected.count(b"\n") == 6
    for number in range(1, len(changes) + 1):
        folder = copy(base, tmp_path / f"{number}")
        command(folder, *WORDS, kill_at=number)
        assert not (folder / "answers.txt").exists() or (folder / "answers.txt").read_bytes() == expected
        assert command(folder, *WORDS)[0] == 0
        assert (folder / "answers.txt").read_bytes() == expected
        assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
