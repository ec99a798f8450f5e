"""Files and folders appear whole or not at all, whoever writes beside; what a killed writer left is swept."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from seqapps import files
from seqapps.errors import DataError, RunError

PROCESSES = get_context("fork")


def in_child(work: Callable[[], object]) -> int:
    """Does a piece of work in a forked process, which shares what only one process may have; returns its exit code."""
    child = PROCESSES.Process(target=work)
    child.start()
    child.join(30)
    return child.exitcode if child.exitcode is not None else 1


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_writers_with_one_process_id_lose_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    target = tmp_path / "record.json"

    def write() -> None:
        for number in range(100):
            files.write_json(target, {"number": number, "text": "x" * 5000})

    writers = [PROCESSES.Process(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert not target.exists() or target.read_text().endswith("}\n")
        files.sweep(tmp_path)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert names(tmp_path) == ["record.json"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    with pytest.raises(ZeroDivisionError), files.new_file(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), files.new_folder(tmp_path / "b") as building:
        building.mkdir()
        raise ZeroDivisionError
    assert (names(tmp_path), (tmp_path / "a").read_text()) == (["a"], "before")


def test_the_first_folder_stays_and_a_replacement_takes_its_place(tmp_path: Path) -> None:
    def make(text: str, replace: bool) -> None:
        with files.new_folder(tmp_path / "m" / "1", replace=replace) as building:
            (building / "inner").mkdir(parents=True)
            (building / "inner" / "file").write_text(text)

    for text, replace, kept in (("a", False, "a"), ("b", False, "a"), ("c", True, "c"), ("d", True, "d")):
        make(text, replace)
        assert (tmp_path / "m" / "1" / "inner" / "file").read_text() == kept
        assert names(tmp_path / "m") == ["1"]


@pytest.mark.parametrize("replace", [False, True])
def test_attempts_that_collide_all_end_well(tmp_path: Path, replace: bool) -> None:
    target = tmp_path / "vocabulary"

    def make() -> None:
        for _ in range(40):
            with files.new_folder(target, replace=replace) as building:
                building.mkdir()
                for number in range(3):
                    (building / f"{number}").write_text("the same")

    writers = [PROCESSES.Process(target=make) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert (names(tmp_path), names(target)) == (["vocabulary"], ["0", "1", "2"])


def test_sweep_takes_what_the_dead_left_and_nothing_that_is_being_written(tmp_path: Path) -> None:
    def killed() -> None:
        file, folder = files.new_file(tmp_path / "f"), files.new_folder(tmp_path / "d")
        with files.held(tmp_path, "work", "work"), file, folder as building:
            building.mkdir()
            (building / "part").touch()
            die()

    assert in_child(killed) == -signal.SIGKILL
    assert len(names(tmp_path)) == 4
    pending = files.Pending(tmp_path / "mine")
    with files.new_folder(tmp_path / "made") as building, files.held(tmp_path, "here", "it"):
        building.mkdir()
        assert in_child(lambda: files.sweep(tmp_path)) == 0
        assert building.is_dir() and pending.temporary.exists()
        assert len(names(tmp_path)) == 4
    pending.publish()
    assert names(tmp_path) == ["made", "mine"]


def test_what_another_machine_or_an_earlier_version_writes_is_left_over_after_a_day(tmp_path: Path) -> None:
    folders = [tmp_path / ".1.00000000-0123456789abcdef.tmp", tmp_path / ".1.77.building"]
    others = [*folders, tmp_path / ".x.json.77.tmp", tmp_path / ".download-ab12"]
    for folder in folders:
        folder.mkdir()
    for file in (others[2], others[3], folders[0] / "part"):
        file.touch()
    kept = [".hidden", "1.77.tmp", ".note.tmp"]
    for name in kept:
        (tmp_path / name).touch()
    files.sweep(tmp_path)
    assert len(names(tmp_path)) == 7
    before = time.time() - 86_500
    for path in tmp_path.rglob("*"):
        os.utime(path, (before, before))
    os.utime(folders[0] / "part")  # it is still being written
    files.sweep(tmp_path)
    assert names(tmp_path) == sorted([*kept, folders[0].name])


def test_who_does_the_work_already_is_named(tmp_path: Path) -> None:
    with files.held(tmp_path, "train-1", "`train` of `little`"):

        def second() -> None:
            with pytest.raises(RunError) as refused, files.held(tmp_path, "train-1", "`train` of `little`"):
                pass
            named = r"`train` of `little` is being done already by process \d+ on \S+, since \d{4}-"
            assert re.match(named, str(refused.value))

        assert in_child(second) == 0
    assert names(tmp_path) == []
    with files.held(tmp_path, "train-1", "it"):  # it was let go
        pass


@pytest.mark.parametrize("kind", ["empty", "cut", "garbage", "pickled", "one array"])
def test_damaged_arrays_are_reported_with_a_remedy(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "statistics.npz"
    np.savez(path, model=np.arange(500.0))
    assert_array_equal(files.read_arrays(path, "x")["model"], np.arange(500.0))
    whole = path.read_bytes()
    if kind == "pickled":
        np.savez(path, model=np.array([{}], dtype=object))
    elif kind == "one array":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    else:
        path.write_bytes({"empty": b"", "cut": whole[:400], "garbage": random.Random(1).randbytes(4_000)}[kind])
    with pytest.raises(DataError, match=r"statistics\.npz is damaged .* Remedy: run `seqapps evaluate` again\."):
        files.read_arrays(path, "run `seqapps evaluate` again")


def test_the_next_writer_of_a_file_takes_away_what_a_killed_one_left(tmp_path: Path) -> None:
    def die_while_writing(name: str) -> None:
        files.Pending(tmp_path / name)
        die()

    others = [".download-mine", ".answers.txt.backup.tmp", ".answers.txt.0123.tmp"]
    for name in others:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    for name in ("answers.txt", "other.txt"):
        assert in_child(lambda name=name: die_while_writing(name)) == -signal.SIGKILL  # type: ignore[misc]
    busy = files.Pending(tmp_path / "answers.txt")
    assert len(names(tmp_path)) == len(others) + 3
    files.sweep_beside(tmp_path / "answers.txt")
    left = set(names(tmp_path))
    assert left >= {*others, busy.temporary.name}
    assert len(left) == len(others) + 2
    busy.discard()
