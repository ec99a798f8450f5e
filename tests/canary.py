"""A secret in the address of the data and of the store, and everything that commands write and say with it."""

from __future__ import annotations

import base64
import hashlib
import http.server
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from little import CORPUS, config_from_source
from stores import copy_empty
from warm import Warm

CANARY, USER = "canary-7f3e9a51", "finch-20c4"
SOURCE = """url = "http://${FINCH}:${CANARY}@127.0.0.1:%d/${CANARY}/corpus.txt?token=${CANARY}"
sha256 = "%s"
"""
TRACKING = """
[tracking]
uri = "sqlite:///${STORE}/mlflow.db"
"""

Line = tuple[tuple[str, ...], int]
"""Words of a command, and the exit code that it has."""


@contextmanager
def served() -> Iterator[int]:
    """Gives the port of a server that hands the corpus to who knows user, password, path and token."""
    wanted = base64.b64encode(f"{USER}:{CANARY}".encode()).decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = self.headers.get("Authorization") == f"Basic {wanted}"
            good = good and self.path == f"/{CANARY}/corpus.txt?token={CANARY}"
            self.send_response(200 if good else 403)
            self.end_headers()
            self.wfile.write(CORPUS.read_bytes() if good else b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def check_lines(lines: Sequence[Line], place: Path) -> Path:
    """Runs commands one after another below a folder, and asserts that no output, no file and no store has a secret.

    Returns the folder in which they ran.
    """
    store = place / f"elsewhere-{CANARY}"  # what stands for it in the address is as secret
    copy_empty(store / "mlflow.db")
    folder = place / "work"
    folder.mkdir()
    sha256 = hashlib.sha256(CORPUS.read_bytes()).hexdigest()
    secrets = {"CANARY": CANARY, "FINCH": USER, "STORE": str(store)}
    environment = {**os.environ, **secrets, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with served() as port:
        (folder / "little.toml").write_text(config_from_source(SOURCE % (port, sha256)) + TRACKING)
        for words, code in lines:
            where = () if "--workspace" in words or words[0] == "doctor" else ("--workspace", "ws")
            done = Warm("seqapps", *words, *where, cwd=folder, environment=environment).finish()
            assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
            said = (done.stdout + done.stderr).replace("\n", "")
            assert not [secret for secret in (CANARY, USER) if secret in said], f"{words}\n{done.stdout}\n{done.stderr}"
    (place / "dump.sql").write_text("\n".join(sqlite3.connect(store / "mlflow.db").iterdump()))
    places = [str(folder), str(place / "dump.sql")]
    search = ["grep", "--recursive", "--text", "--files-with-matches", "-e", CANARY, "-e", USER, *places]
    assert subprocess.run(search, capture_output=True, text=True, check=False).stdout == ""
    assert not [path for path in folder.rglob("*") if CANARY in path.name]
    return folder
