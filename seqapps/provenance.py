"""Where a run comes from: user, machine, process, git commit; whether its process lives; locks among processes."""

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

_PROCESS = ("seqapps.host", "seqapps.boot", "seqapps.pid", "seqapps.process_started")


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Waits for the lock and holds it; the system lets it go when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def user() -> str:
    """Returns the name of who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        return str(os.getuid())


def process_tags() -> dict[str, str]:
    """Returns what tells this process from every other one, on this machine or another, before or after a restart."""
    started = psutil.Process().create_time()
    return dict(zip(_PROCESS, (platform.node(), _boot(), str(os.getpid()), f"{started:.0f}"), strict=True))


def _boot() -> str:
    """Returns the id of this start of the machine; after a restart, process ids mean other processes."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def is_gone(tags: Mapping[str, str]) -> bool:
    """Whether the process that a run recorded is known to be dead; another machine's is not known."""
    host, boot, pid, started = (tags.get(key, "") for key in _PROCESS)
    if host != platform.node() or not pid:
        return False
    if boot != _boot():
        return True
    try:
        process = psutil.Process(int(pid))
        if abs(process.create_time() - float(started)) > 2.0:
            return True  # the id was given to another process
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def git_tags() -> dict[str, str]:
    """Returns the commit of the working folder and whether it has changes; nothing outside a repository."""

    def ask(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        commit, changes = ask("rev-parse", "HEAD"), ask("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"mlflow.source.git.commit": commit, "seqapps.git_dirty": str(bool(changes)).lower()}
