"""The outer door: what the system, a store or a library refuses is one message that says where, what and the remedy."""

from __future__ import annotations

import argparse
import errno
import os
import socket
import sqlite3
import time
from pathlib import Path

import pytest

from seqapps import __main__ as door
from seqapps.cli._failures import TRACE, explain
from seqapps.errors import RunError, SeqappsError, UsageError
from seqapps.files import read_json
from seqapps.registry.reachable import reach

AGAIN = "What is done is kept: the same command goes on."


def system(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    ("error", "shown", "remedy"),
    [
        (system(errno.ENOSPC, "ws/x"), "no space is left on the disk (ws/x).", f"on another disk. {AGAIN}"),
        (system(errno.EROFS, "ws"), "ws cannot be written: its disk is read-only.", "`--workspace` on another disk."),
        (system(errno.EACCES, "ws"), "ws cannot be opened: Permission denied.", "or name another place."),
        (system(errno.ELOOP, "l"), "l is a link that leads back to itself.", "or name the place that is meant."),
        (system(errno.ENAMETOOLONG, "a" * 300), "a name of 300 characters is too long for a file:", "a shorter name."),
        (MemoryError(), "there was not enough memory: MemoryError.", f"or end what else runs. {AGAIN}"),
        (ModuleNotFoundError("No module named 'x'"), "a package does not", "`seqapps doctor` says what to install."),
        (
            UnicodeEncodeError("utf-8", "caf\udce9.txt", 3, 4, ""),
            "there are bytes that are not UTF-8: 'caf\\udce9.txt'.",
            "rename it where they stand in its name.",
        ),
        (sqlite3.OperationalError("database is locked"), "ws/mlflow.db is locked by", f"(`fuser` names it). {AGAIN}"),
        (sqlite3.DatabaseError("disk image is malformed"), "ws/mlflow.db is damaged.", "`seqapps run CONFIG`."),
    ],
)  # fmt: skip
def test_kind_of_error_to_message(error: Exception, shown: str, remedy: str) -> None:
    message = str(explain(error, "run", Path("ws")))
    assert message.startswith(shown) and " Remedy: " in message and message.endswith(remedy)


def test_file_where_a_folder_must_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "ws").touch()
    with pytest.raises(OSError) as caught:
        (tmp_path / "ws" / "cache").mkdir(parents=True)
    assert str(explain(caught.value, "run", Path("ws"))) == (
        f"{tmp_path / 'ws'} is a file, and a folder is needed there ({tmp_path / 'ws' / 'cache'}). "
        "Remedy: move it away, or name another place."
    )


def test_cause_behind_an_error_is_what_is_reported() -> None:
    try:
        try:
            raise system(errno.ENOSPC, "ws/x")
        except OSError as error:
            raise ValueError("could not save") from error
    except ValueError as error:
        assert str(explain(error, "run", Path("ws"))).startswith("no space is left on the disk (ws/x).")


def test_error_without_words_keeps_its_traceback_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Command:
        HELP = "fails"

        @staticmethod
        def add_arguments(parser: argparse.ArgumentParser) -> None:
            pass

        @staticmethod
        def run(arguments: argparse.Namespace, console: object) -> int:
            raise KeyError("nobody thought of it")

    monkeypatch.setattr(door, "load", lambda command: Command)
    assert door.main(["doctor", "--workspace", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert "KeyError: 'nobody thought of it'" in message and str(tmp_path / TRACE) in message
    assert "nobody thought of it" in (tmp_path / TRACE).read_text()
    with pytest.raises(KeyError):
        door.main(["doctor", "--workspace", str(tmp_path), "--debug"])


@pytest.mark.parametrize("content", ["", "{", "[1]", "\udcff"])
def test_damaged_record_is_named_with_its_remedy(content: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(SeqappsError, match=rf"^{file} is damaged.* Remedy: run it again\.$"):
        read_json(file, "run it again")


def test_server_that_is_down_is_reported_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://me:secret@127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(RunError, match=r"^the tracking server http://127\.0\.0\.1:\d+ does not answer: .*-uri`\.$"):
        reach(address)
    assert time.monotonic() - began < 5


def test_server_that_never_answers_is_reported_after_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqapps.registry.reachable.SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(RunError, match="does not answer"):
        reach(f"http://127.0.0.1:{server.getsockname()[1]}")


def test_driver_of_a_database_that_is_missing_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        reach("postgresql://me:secret@localhost/x")
    assert str(caught.value) == (
        "postgresql://localhost/x needs the package psycopg, which is not installed. Remedy: pip install "
        "'psycopg[binary]', or the address of an MLflow server, such as http://127.0.0.1:5000."
    )


def test_store_of_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"^`tracking\.uri` names no store .* Received: 'ftp://x/y'\. Allowed: http://,"
    ):
        reach("ftp://x/y")


def test_database_that_was_cut_is_reported_before_mlflow_tries_it(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    with sqlite3.connect(file) as base:
        base.execute("create table t (x)")
        base.executemany("insert into t values (?)", [("x" * 1000,)] * 50)
    base.close()
    reach(f"sqlite:///{file}")
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"no database" * 100):
        file.write_bytes(damaged)
        with pytest.raises(RunError, match="is no database: it was cut or overwritten"):
            reach(f"sqlite:///{file}")


def test_database_that_is_locked_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqapps.registry.reachable.SECONDS", 0.1)
    file = tmp_path / "mlflow.db"
    base = sqlite3.connect(file, isolation_level=None)
    base.execute("create table t (x)")
    base.execute("begin exclusive")
    with pytest.raises(RunError, match=r"database is locked\. Remedy: wait for the process"):
        reach(f"sqlite:///{file}")
    base.close()
