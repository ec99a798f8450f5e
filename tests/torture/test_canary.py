"""A secret in the address of the data and of the store appears in nothing that the whole journey writes or says."""

from __future__ import annotations

import base64
import hashlib
import http.server
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
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
LINES = (
    (("run", "little.toml"), 0),
    (("run", "little.toml"), 0),
    (("config", "little.toml"), 0),
    (("report", "little.toml"), 0),
    (("diagnose", "little.toml"), 0),
    (("evaluate", "little.toml", "--slices", "length"), 0),
    (("predict", "little@champion", "the cat", "--tracking-uri", "sqlite:///${STORE}/mlflow.db"), 0),
    (("rollback", "little.toml", "--reason", "x"), 2),
    (("rollback", "little", "--reason", "x", "--tracking-uri", f"http://{USER}:{CANARY}@127.0.0.1:9"), 1),
    (("prepare", "little.toml", "--workspace", "new", "--set", 'source.sha256="' + "1" * 64 + '"'), 1),
    (("prepare", "little.toml", "--workspace", "new", "--set", 'source.url="http://${FINCH}:${CANARY}@[::1]:9/x"'), 1),
    (("prepare", "little.toml", "--workspace", "new", "--set", 'source.url="nothing://${CANARY}"'), 2),
    (("train", "little.toml", "--set", "seed=2", 'tracking.uri="http://${FINCH}:${CANARY}@127.0.0.1:9"'), 2),
    (("report", "little.toml", "--tracking-uri", "http://${FINCH}:${CANARY}@127.0.0.1:9"), 1),
    (("report", "little.toml", "--debug", "--tracking-uri", "http://${FINCH}:${CANARY}@127.0.0.1:9"), 1),
)  # fmt: skip


@pytest.fixture
def address() -> Iterator[int]:
    """The port of a server that gives the corpus to who knows user, password, path and token."""
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


def test_secret_appears_in_no_output_of_the_journey(tmp_path: Path, address: int) -> None:
    store = tmp_path / f"elsewhere-{CANARY}"  # what stands for it in the address is as secret
    copy_empty(store / "mlflow.db")
    folder = tmp_path / "work"
    folder.mkdir()
    sha256 = hashlib.sha256(CORPUS.read_bytes()).hexdigest()
    (folder / "little.toml").write_text(config_from_source(SOURCE % (address, sha256)) + TRACKING)
    secrets = {"CANARY": CANARY, "FINCH": USER, "STORE": str(store)}
    environment = {**os.environ, **secrets, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    for words, code in LINES:
        where = () if "--workspace" in words else ("--workspace", "ws")
        done = Warm("seqapps", *words, *where, cwd=folder, environment=environment).finish()
        assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
        said = (done.stdout + done.stderr).replace("\n", "")
        assert not [secret for secret in (CANARY, USER) if secret in said], f"{words}\n{done.stdout}\n{done.stderr}"
    (tmp_path / "dump.sql").write_text("\n".join(sqlite3.connect(store / "mlflow.db").iterdump()))
    places = [str(folder), str(tmp_path / "dump.sql")]
    search = ["grep", "--recursive", "--text", "--files-with-matches", "-e", CANARY, "-e", USER, *places]
    everything = subprocess.run(search, capture_output=True, text=True, check=False)
    assert everything.stdout == ""
    assert not [path for path in folder.rglob("*") if CANARY in path.name]
    exported = (next(folder.glob("ws/exports/*/1")) / "model.json").read_text()
    assert '"source"' not in exported and '"tracking"' not in exported
