"""Provenance of a run: user, machine, process, git commit; whether its process is alive; locks among processes."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

_PROCESS = (
    *("seqapps.host", "seqapps.machine", "seqapps.boot", "seqapps.pid_space", "seqapps.pid"),
    "seqapps.process_started",
)

_OUTERMOST = "pid:[4026531836]"
"""The initial process-id namespace of Linux: outside all containers."""


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Waits for the lock and holds it; the system releases it when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def user() -> str:
    """Returns the name of the user of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        return str(os.getuid())


def process_tags() -> dict[str, str]:
    """Returns tags that identify this process uniquely, across machines and restarts."""
    started = f"{psutil.Process().create_time():.0f}"
    values = (platform.node(), _machine(), _boot(), pid_space(), str(os.getpid()), started)
    return dict(zip(_PROCESS, values, strict=True))


def pid_space() -> str:
    """Returns the name of this process's id namespace, on Linux: a container has its own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _machine() -> str:
    """Returns the id of this machine, stable across restarts; empty in a container, which may not know it."""
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii").strip() if pid_space() == _OUTERMOST else ""
    except OSError:
        return ""


def _boot() -> str:
    """Returns the boot id of the machine; after a restart, process ids refer to other processes."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def is_gone(tags: Mapping[str, str]) -> bool:
    """Whether the process that a run recorded is known to be dead; that of another machine or container is unknown.

    Containers can share host names, on one machine and on several.
    """
    host, machine, boot, space, pid, started = (tags.get(key, "") for key in _PROCESS)
    if host != platform.node() or not pid:
        return False
    if boot != _boot():  # a restart of this machine, or another machine
        return bool(machine) and machine == _machine()
    if space and space != pid_space():
        return False
    try:
        process = psutil.Process(int(pid))
        if abs(process.create_time() - float(started)) > 2.0:
            return True  # the id was reused by another process
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def git_tags() -> dict[str, str]:
    """Returns the commit of the working folder and whether it has changes; empty outside a repository."""

    def ask(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        commit, changes = ask("rev-parse", "HEAD"), ask("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"mlflow.source.git.commit": commit, "seqapps.git_dirty": str(bool(changes)).lower()}
