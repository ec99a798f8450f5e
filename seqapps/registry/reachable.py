"""Whether an MLflow store can be reached: checked once, before any lock is taken and before MLflow's retries."""

from __future__ import annotations

import os
import socket
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from seqapps.errors import RunError, UsageError
from seqapps.secrets import recorded

SECONDS = 15.0
"""Seconds after which a store without an answer counts as down."""

SQLITE = "sqlite:///"
_HEADER = b"SQLite format 3\x00"
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_PACKAGES = {
    "psycopg2": "psycopg2-binary",
    "psycopg": "psycopg[binary]",
    "MySQLdb": "mysqlclient",
    "pymysql": "pymysql",
    "pyodbc": "pyodbc",
}
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""A server that answered once may be down for a minute; MLflow's own retries take over a quarter of an hour."""


def reach(address: str) -> None:
    """Returns when a store answers.

    Args:
        address: `sqlite:///FILE`, `http(s)://...`, or another database.

    Raises:
        RunError: it does not answer, is locked, or is not a database.
        UsageError: the scheme is unknown to MLflow.
    """
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "localhost", parts.port
    except ValueError as error:
        raise UsageError(f"`tracking.uri` is no address: {error}. Received: {recorded(address)!r}.") from None
    kind = parts.scheme.partition("+")[0]
    if kind in ("http", "https"):
        _ask_server(address)
    elif kind == "sqlite":
        _ask_file(Path(address.removeprefix(SQLITE)))
    elif kind in _PORTS:
        _ask_driver(address)
        _ask_port(address, host, port or _PORTS[kind])
    else:
        raise UsageError(
            f"`tracking.uri` names no store that MLflow knows. Received: {recorded(address)!r}. Allowed: http://, "
            "https://, sqlite:///, postgresql://, mysql://, mssql://. Example: http://127.0.0.1:5000."
        )


def _ask_server(address: str) -> None:
    request = urllib.request.Request(f"{address.rstrip('/')}/health")
    try:
        parts = urlsplit(address)
        if parts.username is not None:  # urllib does not support a user in an address
            host = parts.hostname or ""
            netloc = f"{host}:{parts.port}" if parts.port else host
            request = urllib.request.Request(parts._replace(netloc=netloc, path=f"{parts.path}/health").geturl())
        with urllib.request.urlopen(request, timeout=SECONDS):
            return
    except urllib.error.HTTPError:
        return  # it answers; MLflow handles authorisation
    except (OSError, ValueError) as error:
        raise _down("the tracking server", address, getattr(error, "reason", error)) from None


def _ask_driver(address: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        make_url(address).get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        package = _PACKAGES.get(error.name or "", error.name)
        raise UsageError(
            f"{recorded(address)} needs the package {error.name}, which is not installed. Remedy: "
            f"pip install '{package}', or the address of an MLflow server, such as http://127.0.0.1:5000."
        ) from None
    except (SQLAlchemyError, AttributeError) as error:
        raise UsageError(f"{recorded(address)} is no address of a database: {error}.") from None


def _ask_port(address: str, host: str, port: int) -> None:
    try:
        with socket.create_connection((host, port), timeout=SECONDS):
            return
    except OSError as error:
        raise _down("the database", address, error) from None


def _ask_file(path: Path) -> None:
    """Reads the header and the list of tables; a missing file is made later."""
    if not path.exists() or (path.is_file() and not path.stat().st_size):
        return
    whole = path.is_file()
    if whole:
        with open(path, "rb") as file:
            header = file.read(100)
        pages = int.from_bytes(header[16:18], "big") * int.from_bytes(header[28:32], "big")
        whole = header[:16] == _HEADER and path.stat().st_size >= pages
    if not whole:
        raise RunError(
            f"{path} is no database: it was cut or overwritten. Remedy: put a copy back, or begin a new `--workspace` "
            "with `seqapps run CONFIG`."
        )
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=SECONDS)) as base:
            base.execute("select count(*) from sqlite_master").fetchone()
    except sqlite3.Error as error:
        remedy = "wait for the process that holds it, or end it" if "locked" in str(error) else "put a copy back"
        raise RunError(f"{path} cannot be read: {error}. Remedy: {remedy}.") from None


def _down(what: str, address: str, error: object) -> RunError:
    return RunError(
        f"{what} {recorded(address)} does not answer: {error}. Remedy: start it, or name another one with "
        "`--tracking-uri`."
    )
