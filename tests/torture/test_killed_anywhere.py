"""Every stage of the journey, killed before every change that it makes, and run again: the end of an unbroken journey.

A change is a file or a folder that is made or opened for writing, a rename, a link, an fsync, a removal, or a call of
MLflow's client that writes. A stage
begins from a copy of a workspace in which those before it are done; that is made once for a state of the code, and kept
in the folder of temporary files. Each item kills before every `BLOCKS`-th change, from another one on.
"""

from __future__ import annotations

import hashlib
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from little import CONFIG
from mutations import command, copy, crown, differences, end_of

from seqapps.provenance import lock_file

ROOT = Path(__file__).parents[2]
DETERMINISTIC = CONFIG.replace("epochs = 1", "epochs = 2\ndeterministic = true")
BLOCKS = {"prepare": 24, "train": 24, "evaluate": 12, "run": 36, "rollback": 6}
"""Stages in their order, and how many items each has; `run` does what is left: SavedModel to report."""
WORDS = {"rollback": ("rollback", "little", "--reason", "complaints")}
"""Of a stage that is not for a configuration."""


def base_of(stage: str) -> Path:
    """Returns a user's folder in which everything before a stage is done."""
    folder = _kept() / f"before-{stage}"
    with lock_file(_kept() / f"{stage}.lock"):
        if folder.exists():
            return folder
        stages = list(BLOCKS)
        if stage == stages[0]:
            made = _kept() / "making-first"
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            (made / "little.toml").write_text(DETERMINISTIC)
        else:
            earlier = stages[stages.index(stage) - 1]
            made = _kept() / f"making-{stage}"
            shutil.rmtree(made, ignore_errors=True)
            copy(base_of(earlier), made)
            code, _, said = command(made, *words_of(earlier))
            assert code == 0, said
            if stage == "rollback":
                crown(made / "ws", 2)
        made.rename(folder)
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
    base, words = base_of(stage), words_of(stage)
    unbroken = copy(base, tmp_path / "unbroken")
    code, changes, said = command(unbroken, *words)
    assert code == 0, said
    expected = end_of(unbroken / "ws")
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
