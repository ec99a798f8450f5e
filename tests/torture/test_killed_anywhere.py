"""Every stage of the journey, killed before every change that it makes, and run again: the end of an unbroken journey.

A change is a file or a folder that is made or opened for writing, a rename, a link, an fsync, a removal, or a call of
MLflow's client that writes. A stage begins from a copy of a workspace in which those before it are done; that and the
unbroken end are made once for a state of the code, and kept in the folder of temporary files. Each item kills before
every `BLOCKS`-th change, from another one on.
"""

from __future__ import annotations

import hashlib
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from little import CONFIG
from mutations import command, copy, crown, differences, end_of

from seqapps.provenance import lock_file

ROOT = Path(__file__).parents[2]
DETERMINISTIC = CONFIG.replace("epochs = 1", "epochs = 2\ndeterministic = true")
BLOCKS = {"prepare": 32, "train": 24, "evaluate": 12, "run": 48, "rollback": 6}
"""Stages in their order, and how many items each has; `run` does what is left: SavedModel to report."""
WORDS = {"rollback": ("rollback", "little", "--reason", "complaints")}
"""Of a stage that is not for a configuration."""


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
