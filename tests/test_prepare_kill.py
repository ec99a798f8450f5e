"""`prepare`, killed with SIGKILL at several moments and run again: the same bytes as never killed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from warm import Warm

from seqapps.errors import DataError
from seqapps.manifest import read_manifest

CONFIG = """
application = "language_model"
[source]
files = ["{folder}/text.txt"]
[data]
shard_bytes = 2000
ngram_order = 3
max_reject_fraction = 0.2
tokens = {{ unit = "word", lowercase = true }}
"""


def bytes_of(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def start(folder: Path, workspace: Path, *beam: str) -> Warm:
    words = [str(folder / "tiny.toml"), "--workspace", str(workspace), "--", *beam]
    return Warm("pipelines.prepare", *words, cwd=folder, environment=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})


def kill_when(process: Warm, ready: Callable[[], bool]) -> bool:
    """Kills the process at the moment; returns False when it was done before."""
    while process.poll() is None:
        if ready():
            process.kill()
            return True
        time.sleep(0.001)
    return False


def finish(process: Warm) -> Path:
    done = process.finish()
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    words = [f"word{number * number % 97}" for number in range(16_000)]
    lines = [" ".join(words[place : place + 10]) for place in range(0, len(words), 10)]
    lines[7::50] = [""] * len(lines[7::50])
    (tmp_path / "text.txt").write_text("\n".join(lines))
    (tmp_path / "tiny.toml").write_text(CONFIG.format(folder=tmp_path))
    return tmp_path


def test_killed_and_run_again_is_the_same_as_never_killed(corpus: Path) -> None:
    unbroken = finish(start(corpus, corpus / "unbroken"))
    broken = corpus / "broken" / "prepared"
    work = broken / f".build-{unbroken.name}" / "work"
    moments: list[tuple[str, int, list[str]]] = [
        ("*.counted.json", 5, ["--direct_num_workers=2"]),  # in the first pass; the workers must end with the launcher
        ("*.encoded.json", 10, []),  # in the second pass
        ("tables.json", 0, []),  # the n-gram table stands, the manifest does not
    ]
    stamps: dict[Path, int] = {}
    for pattern, more_than, beam in moments:
        assert kill_when(start(corpus, broken.parent, *beam), lambda p=pattern, n=more_than: len([*work.glob(p)]) > n)
        assert not (broken / unbroken.name).exists()
        with pytest.raises(DataError, match="not a complete prepared data set"):
            read_manifest(broken / unbroken.name)
        if beam:
            assert_stands_still(broken)
        assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())  # what was done stays
        stamps = {path: path.stat().st_mtime_ns for path in work.glob("*.*ed.json")}
    again = finish(start(corpus, broken.parent))
    assert (again.name, bytes_of(again)) == (unbroken.name, bytes_of(unbroken))
    assert [path.name for path in broken.iterdir()] == [unbroken.name]


def assert_stands_still(folder: Path) -> None:
    time.sleep(1.0)
    before = sorted(folder.rglob("*"))
    time.sleep(1.5)
    assert sorted(folder.rglob("*")) == before
