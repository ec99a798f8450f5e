"""Atomic writes of files and folders, and cleaning up after killed processes. Plain Python.

A file is written under a temporary name, synced, and renamed; then its folder is synced, so that the name survives a
power cut. Temporary names are unique; process ids are not, because containers share them. The writer holds a lock on
the temporary file that the system releases when the process dies, which is how `sweep` tells left-over files from
those being written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import Any

from seqapps.errors import DataError, RunError

_OURS = re.compile(r"\..+\.([0-9a-f]{8})-[0-9a-f]{16}\.(tmp|lock)")
_WORK = re.compile(r"\..+\.running")
_OTHERS = re.compile(r"\..+\.\d+\.(tmp|building|old)|\..+\.[0-9a-f]{32}\.tmp|\.download-\w+")
"""Temporary names of earlier versions."""
_LEFT_OVER = (_OURS, _WORK, _OTHERS)
_A_DAY = 86_400.0
_NAME_BYTES = 200
"""Bytes of a name kept in that of its temporary file: a name may have 255."""


class Pending:
    """A file that is being written under a temporary name.

    Args:
        path: its final name; its folder is made when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.temporary, self._lock = _locked_beside(path, "tmp")

    def publish(self) -> None:
        """Renames the file to its final name. An existing file is replaced."""
        try:
            _sync(self.temporary)
            os.replace(self.temporary, self.path)
            _sync(self.path.parent)
        except BaseException:
            self.discard()
            raise
        os.close(self._lock)

    def discard(self) -> None:
        """Removes the temporary file."""
        self.temporary.unlink(missing_ok=True)
        os.close(self._lock)


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary name to write to; the file is renamed at the end, and removed on an error."""
    pending = Pending(Path(path))
    try:
        yield pending.temporary
    except BaseException:
        pending.discard()
        raise
    pending.publish()


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file, atomically."""
    with new_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text in UTF-8, atomically; line ends stay as they are."""
    write_bytes(path, text.encode())


def copy_file(source: Path, target: Path) -> None:
    """Copies a file, atomically."""
    with new_file(target) as temporary:
        shutil.copyfile(source, temporary)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes JSON, atomically."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    # A name that is not UTF-8 becomes an escape that JSON reads back as the same name.
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def read_json(path: str | os.PathLike[str], remedy: str, kind: type | UnionType = dict) -> Any:
    """Returns the content of a record.

    Args:
        path: of the file.
        remedy: what brings the file back, for the message.
        kind: the expected type of its content.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is empty, was cut, or holds something else.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged and cannot be read as JSON: {error}. Remedy: {remedy}.") from None
    if not isinstance(value, kind):
        what = type(value).__name__
        raise DataError(f"{path} is damaged: it holds a {what} alone. Remedy: {remedy}.")
    return value


def read_arrays(path: str | os.PathLike[str], remedy: str) -> dict[str, Any]:
    """Returns the named arrays of an `.npz` file, every one of them read.

    Args:
        path: of the file.
        remedy: what brings the file back, for the message.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is empty, was cut, or holds something else.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    # For an `.npy` file under this name, NumPy returns a bare array, which is not a context manager.
    except (ValueError, KeyError, EOFError, TypeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"{path} is damaged and cannot be read as arrays ({what}). Remedy: {remedy}.") from None


@contextlib.contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """Yields a name beside a path for a folder that is removed at the end, or by `sweep` after a kill."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    mark, lock = _locked_beside(beside, "lock")
    folder = mark.with_suffix(".tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        mark.unlink(missing_ok=True)
        os.close(lock)


@contextlib.contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields a name beside `target` under which to make a folder; it is renamed to `target` at the end.

    Args:
        target: its final name.
        replace: whether it replaces a folder of that name; else an existing one stays, which another process made from
            the same inputs: the first writer wins.
    """
    with scratch(target) as building:
        yield building
        publish_folder(building, target, replace=replace)


def publish_folder(built: Path, target: Path, *, replace: bool = False) -> None:
    """Syncs a folder and renames it; see `new_folder`. The folder that is not kept is removed."""
    for folder, _, names in os.walk(built):
        for name in names:
            _sync(Path(folder, name))
        _sync(Path(folder))
    while not _renamed(built, target):
        if not replace:
            shutil.rmtree(built)
            return
        _set_aside(target)
    _sync(target.parent)


def _renamed(built: Path, target: Path) -> bool:
    try:
        os.rename(built, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _set_aside(target: Path) -> None:
    """Removes a folder atomically for its readers: a rename cannot replace one that has files."""
    with scratch(target) as old, contextlib.suppress(FileNotFoundError):  # another process was faster
        os.rename(target, old)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yields an empty folder in the system's temporary folder, removed at the end, or by `sweep` after a kill."""
    with scratch(Path(tempfile.gettempdir()) / "seqapps") as folder:
        folder.mkdir()
        yield folder


@contextlib.contextmanager
def temporaries_in(folder: Path) -> Iterator[None]:
    """Makes libraries put temporary files into a folder that is swept, in this process and its children."""
    before = os.environ.get("TMPDIR")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"], tempfile.tempdir = str(folder.resolve()), None  # None: the variable is read again
    try:
        yield
    finally:
        tempfile.tempdir = None
        os.environ.pop("TMPDIR")
        os.environ |= {"TMPDIR": before} if before is not None else {}


# ---- left-over files


def sweep(*folders: Path, below: bool = False) -> None:
    """Removes temporary files and folders whose writer is gone.

    A writer on this machine is known by its lock. Not every file system shares locks between machines: files of another
    machine count as left over when they have not changed for a day.

    Args:
        folders: where to look; missing ones are skipped.
        below: whether to look in their subfolders as well.
    """
    for folder in folders:
        for place, inner, names in os.walk(folder):
            temporary = {name for name in (*inner, *names) if any(kind.fullmatch(name) for kind in _LEFT_OVER)}
            for name in sorted(temporary):
                _remove_left_over(Path(place, name))
            inner[:] = [name for name in inner if below and name not in temporary]


def sweep_beside(path: Path) -> None:
    """Removes left-over temporaries of this file only; its folder may belong to others."""
    begins = f".{os.fsdecode(os.fsencode(path.name)[:_NAME_BYTES])}."
    for name in os.listdir(path.parent):
        if name.startswith(begins) and _OURS.fullmatch(name):
            _remove_left_over(path.with_name(name))


def _remove_left_over(path: Path) -> None:
    """Removes a temporary file or folder, unless it may still be written."""
    ours = _OURS.fullmatch(path.name)
    mark = path.with_suffix(".lock") if ours and path.is_dir() else path
    with contextlib.suppress(OSError), _lock_of(mark) as lock:
        if lock is False:
            return
        here = ours[1] == _machine() if ours else _WORK.fullmatch(path.name) is not None
        certain = here and lock is True
        if not certain:
            newest = max(os.lstat(file).st_mtime for file in (path, *path.rglob("*")))
            if time.time() - newest < _A_DAY:
                return
        if path.is_dir():
            shutil.rmtree(path)
        for file in {path, mark}:
            file.unlink(missing_ok=True)


@contextlib.contextmanager
def _lock_of(path: Path) -> Iterator[bool | None]:
    """Holds the lock of a file; see `_flock`. A folder without its lock file has no writer any more."""
    if not path.is_file():
        yield True
        return
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield _flock(handle)
    finally:
        os.close(handle)


def _locked_beside(path: Path, kind: str) -> tuple[Path, int]:
    """Returns a new, locked file beside a path, and its handle."""
    while True:
        name = os.fsdecode(os.fsencode(path.name)[:_NAME_BYTES])
        temporary = path.with_name(f".{name}.{_machine()}-{uuid.uuid4().hex[:16]}.{kind}")
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        if _flock(handle) is not False and _is(handle, temporary):
            return temporary, handle
        os.close(handle)  # a sweep removed it in between


@functools.cache
def _machine() -> str:
    """Returns eight digits that identify this boot of this machine; its containers share them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        boot = platform.node()
    return hashlib.sha256(boot.encode()).hexdigest()[:8]


# ---- locks on work


@contextlib.contextmanager
def held(folder: Path, name: str, what: str) -> Iterator[None]:
    """Holds a lock on a piece of work; the system releases it when the process dies, however that happens.

    Args:
        folder: the folder of the lock file.
        name: identifies the work.
        what: the work, for the message.

    Raises:
        RunError: another process holds it; says which, where, and since when.
    """
    path = folder / f".{name}.running"
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if _flock(handle) is False:
            with os.fdopen(handle, encoding="utf-8") as file:
                owner = file.read().strip() or "another process"
            raise RunError(
                f"{what} is being done already by {owner}. Wait until it has ended, or end it, and run again; what is "
                "done then is not done twice."
            )
        if _is(handle, path):
            break
        os.close(handle)  # its last holder removed it in between
    try:
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {platform.node()}, since {since}".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _flock(handle: int) -> bool | None:
    """Locks a file without waiting. Returns whether it was free; None if the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is(handle: int, path: Path) -> bool:
    """Whether a path still refers to the file of a handle."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
