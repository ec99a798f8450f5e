"""Every stage of a run, killed before every change that it makes, and run again: the end of an unbroken run.

A change is a file or a folder that is made or opened for writing, a rename, a link, an fsync, a removal, or a call of
MLflow's client that writes. A stage begins from a copy of a workspace in which those before it are done; that and the
unbroken end are made once for a state of the code, and kept in the folder of temporary files. Each item kills before
every `BLOCKS`-th change, from another one on.

A search and answers that go to a file are stages of their own. What may differ after a killed search: the trial that
was killed is one more run in MLflow, marked KILLED, and begins again.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from little import CONFIG, CORPUS
from mutations import command, copy, crown, differences, end_of

from seqapps.registry.provenance import lock_file

ROOT = Path(__file__).parents[2]
DETERMINISTIC = CONFIG.replace("epochs = 1", "epochs = 2\ndeterministic = true")
BLOCKS = {"prepare": 32, "train": 24, "evaluate": 12, "run": 48, "rollback": 6}
"""Stages in their order, and how many items each has; `run` does what is left: SavedModel to report."""
WORDS = {"rollback": ("rollback", "little", "--reason", "complaints")}
"""Of a stage that is not for a configuration."""
SEARCH = DETERMINISTIC + '\n[tuning]\nalgorithm = "random"\ntrials = 2\nepochs = 1\nspace = "regularisation"\n'
SEARCH_BLOCKS, SHARE = 4, 9
"""Items of the search, and how many changes lie between two that are tried."""
PREDICT = ("predict", "little@champion", "--input", "asked.txt", "--output", "answers.txt", "--json")
_SAID = re.compile(r"^#.*\n", re.MULTILINE)


def before(stage: str) -> Path:
    """Returns a user's folder in which everything before a stage is done."""
    stages = list(BLOCKS)
    if stage == "rollback":
        return _made("before-rollback", _crowned)
    if stage != stages[0]:
        return after(stages[stages.index(stage) - 1])
    return _made("begun", lambda made: made.mkdir() or (made / "little.toml").write_text(DETERMINISTIC))


def after(stage: str) -> Path:
    """Returns a user's folder in which a stage is done, too, unbroken; `changes.txt` has what it changed."""

    def make(made: Path) -> None:
        copy(before(stage), made)
        code, changes, said = command(made, *words_of(stage))
        assert code == 0, said
        (made / "changes.txt").write_text("\n".join(changes))

    return _made(f"after-{stage}", make)


def _crowned(made: Path) -> None:
    crown(copy(after("run"), made) / "ws", 2)


def _made(name: str, make: Callable[[Path], object]) -> Path:
    """Returns a folder that is made once for a state of the code, by whichever process asks first."""
    folder = _kept() / name
    with lock_file(_kept() / f"{name}.lock"):
        if not folder.exists():
            making = _kept() / f"making-{name}"
            shutil.rmtree(making, ignore_errors=True)
            make(making)
            making.rename(folder)
    return folder


def words_of(stage: str) -> tuple[str, ...]:
    """Returns the command of a stage."""
    return WORDS.get(stage, (stage, "little.toml"))


def _kept() -> Path:
    files = sorted(file for name in ("seqapps", "pipelines", "tests") for file in (ROOT / name).rglob("*.py"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"seqapps-killed-{digest}"


@pytest.mark.parametrize(("stage", "block"), [(stage, block) for stage in BLOCKS for block in range(BLOCKS[stage])])
def test_killed_before_a_change_and_run_again(stage: str, block: int, tmp_path: Path) -> None:
    base, words = before(stage), words_of(stage)
    changes, expected = (after(stage) / "changes.txt").read_text().splitlines(), end_of(after(stage) / "ws")
    wrong, ends = [], []
    for number in range(block + 1, len(changes) + 1, BLOCKS[stage]):
        folder = copy(base, tmp_path / f"{number}")
        killed, _, said = command(folder, *words, kill_at=number)
        assert killed in (-signal.SIGKILL, 0), said  # threads and times make a change more or less
        ends.append(killed)
        code, _, said = command(folder, *words)
        found = [said[-500:]] if code else differences(expected, end_of(folder / "ws"))
        if found:
            wrong.append((number, changes[number - 1], *found))
        shutil.rmtree(folder)
    assert wrong == []
    assert 2 * ends.count(-signal.SIGKILL) > len(ends), ends  # else nothing was tried


def end_of_search(workspace: Path) -> dict[str, Any]:
    """Returns what a search found and left."""
    records = [json.loads(path.read_text()) for path in sorted(workspace.glob("tuning/*/records/*.json"))]
    reported = ("trial", "status", "overrides", "objective", "epochs", "parameters", "seed", "reason")
    best = [path.read_text() for path in workspace.glob("tuning/*/best.toml")]
    with sqlite3.connect(workspace / "mlflow.db") as store:
        question = "select name, status from runs where status <> 'KILLED' and name like 'trial-%' order by name"
        runs = list(store.execute(question))
        (running,) = store.execute("select count(*) from runs where status = 'RUNNING'").fetchone()
    files = [path.relative_to(workspace) for path in workspace.rglob("*") if path.is_file()]
    return {
        "records": [{key: record[key] for key in reported} for record in records],
        "best": [_SAID.sub("", text) for text in best],
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


@pytest.mark.parametrize("block", range(SEARCH_BLOCKS))
def test_a_search_killed_before_a_change_finds_the_same(
    searched: tuple[Path, list[str], dict[str, Any]], block: int, tmp_path: Path
) -> None:
    base, changes, expected = searched
    assert len(expected["records"]) == 2
    wrong = []
    for number in range(block * SHARE + 1, len(changes) + 1, SEARCH_BLOCKS * SHARE):
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
    code, changes, said = command(whole, *PREDICT)
    assert code == 0, said
    expected = (whole / "answers.txt").read_bytes()
    assert expected.count(b"\n") == 6
    for number in range(1, len(changes) + 1):
        folder = copy(base, tmp_path / f"{number}")
        command(folder, *PREDICT, kill_at=number)
        assert not (folder / "answers.txt").exists() or (folder / "answers.txt").read_bytes() == expected
        assert command(folder, *PREDICT)[0] == 0
        assert (folder / "answers.txt").read_bytes() == expected
        assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
