"""The runner of long campaigns: each item ends once, a process that dies costs one item, a repeat goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

_ITEMS = """
import os
import pytest

@pytest.mark.parametrize("number", range(5))
def test_item(number):
    with open("ran", "a") as stream:
        stream.write(str(number))
    if number == 1 and not os.path.exists("mended"):
        os._exit(3)
    if number == 3:
        pytest.skip("for want of a reason")
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tests" / "torture"
    folder.mkdir(parents=True)
    for name in ("run.py", "conftest.py"):
        shutil.copy(HERE / "torture" / name, folder / name)
    (folder / "test_items.py").write_text(_ITEMS, encoding="utf-8")
    (tmp_path / "requirements.lock").touch()
    return tmp_path


def _run(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tests/torture/run.py", *words]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False, timeout=120)


def test_a_process_that_dies_costs_one_item_and_a_repeat_runs_that_alone(tree: Path) -> None:
    first = _run(tree)
    assert first.stdout.splitlines()[-1] == "torture: 3 passed, 1 failed, 1 skipped"
    assert "FAILED tests/torture/test_items.py::test_item[1]\n  its process ended with 3" in first.stdout
    assert "skipped: Skipped: for want of a reason" in first.stdout
    assert first.returncode == 1
    (tree / "mended").touch()
    (tree / "ran").unlink()
    second = _run(tree)
    assert second.stdout.splitlines()[-1] == "torture: 4 passed, 0 failed, 1 skipped"
    assert (second.returncode, (tree / "ran").read_text()) == (0, "1")


def test_a_failure_says_why_at_the_end(tree: Path) -> None:
    items = "def test_item():\n    print('much ' * 4000)\n    assert 1 + 1 == 3, 'x' * 4000 + 'the reason'\n"
    (tree / "tests" / "torture" / "test_items.py").write_text(items, encoding="utf-8")
    end = _run(tree).stdout
    assert "FAILED tests/torture/test_items.py::test_item\n  AssertionError: xxx" in end
    assert "the reason" in end
    assert len(end) < 2500


def test_without_time_it_says_what_was_not_run(tree: Path) -> None:
    whole, sample = _run(tree, "--minutes", "0"), _run(tree, "--minutes", "0", "--sample")
    assert "not run yet: 5 of 5 items" in whole.stdout
    assert (whole.returncode, sample.returncode) == (4, 0)


def test_a_name_that_nothing_has_is_a_wrong_call(tree: Path) -> None:
    ended = _run(tree, "--only", "nothing")
    assert ended.returncode == 2
    assert "Files: test_items.py" in ended.stderr
