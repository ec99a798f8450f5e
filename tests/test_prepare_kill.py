"""`prepare`, killed with SIGKILL at several moments and run again: the same bytes as never killed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from warm import Warm

from seqapps.dataset.manifest import read_manifest
from seqapps.errors import DataError

CONFIG = """
application = "language_model"
[source]
files = ["{folder}/text.txt"]
[data]
shard_bytes = 2000
ngram_order = 3
max_reject_fraction = 0.2
tokens = {{ level = "word", lowercase = true }}
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


@pytest.mark.parametrize(
    ("signal", "beam", "code", "by"),
    [
        ("terminate", [], 143, "Ended by SIGTERM"),
        ("interrupt", [], 130, "Interrupted"),
        ("terminate", ["--direct_num_workers=2"], 143, "Ended by SIGTERM"),
        ("interrupt", ["--direct_num_workers=2"], 130, "Interrupted"),
    ],
)
def test_ended_by_a_signal(corpus: Path, signal: str, beam: list[str], code: int, by: str) -> None:
    """It is reported as what it was, not as a failure of the runner; no worker lives on, and what is done stays."""
    work = corpus / "ws" / "prepared"
    process = Warm("seqapps", "prepare", "tiny.toml", "--workspace", "ws", "--", *beam, cwd=corpus)

    def works() -> bool:
        if beam:
            return has_worker(process)
        return len([*work.glob(".build-*/work/*.counted.json")]) > 3

    wait_until(process, works)
    children = process.children
    getattr(process, signal)()
    done = process.finish(60)
    assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (
        code, f"{by}. Run the same command again to continue."
    )  # fmt: skip
    assert not psutil.wait_procs(children, 5)[1]
    (build,) = work.iterdir()
    assert build.name.startswith(".build-tiny-")


def test_workers_that_have_not_begun_end_with_the_launcher(corpus: Path) -> None:
    words = ["prepare", "tiny.toml", "--workspace", "ws", "--", "--direct_num_workers=2"]
    process = Warm("seqapps", *words, cwd=corpus)
    wait_until(process, lambda: has_worker(process))
    process.terminate()  # after SIGKILL they end as well, but Beam has them wait a minute before

    def left() -> list[int]:
        place = str(corpus / "ws")
        return [worker.pid for worker in psutil.process_iter() if place in _environment(worker)]

    deadline = time.monotonic() + 30
    while left() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert left() == []


def test_a_worker_that_was_killed_is_reported_and_the_same_command_goes_on(corpus: Path) -> None:
    words = ["prepare", "tiny.toml", "--workspace", "ws", "--", "--direct_num_workers=2"]
    process, work = Warm("seqapps", *words, cwd=corpus), corpus / "ws" / "prepared"
    wait_until(process, lambda: has_worker(process) and bool([*work.glob(".build-*/work/*.counted.json")]))
    for child in workers_of(process):
        child.kill()  # as the kernel does where memory ends
    done = process.finish(120)
    assert done.returncode == 1
    assert "the Beam runner failed" in done.stderr
    assert "Remedy: fewer `--direct_num_workers`, and the same command again" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    again = Warm("seqapps", *words[:4], cwd=corpus).finish(120)
    assert again.returncode == 0, again.stderr


def _environment(process: psutil.Process) -> str:
    try:
        return str(process.environ().get("PIPELINE_OPTIONS_FILE"))
    except psutil.Error:
        return ""


def has_worker(process: Warm) -> bool:
    """Whether a worker was started: it is importing."""
    return bool(workers_of(process))


def workers_of(process: Warm) -> list[psutil.Process]:
    found = []
    for child in process.children:
        with suppress(psutil.Error):
            if "sdk_worker" in " ".join(child.cmdline()):
                found.append(child)
    return found


def wait_until(process: Warm, ready: Callable[[], bool]) -> None:
    while not ready():
        assert process.poll() is None, process.finish()
        time.sleep(0.005)
