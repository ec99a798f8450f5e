"""Messages for errors that no lower layer has explained: where, what, remedy. Nothing heavy."""

from __future__ import annotations

import errno
import os
import re
import shutil
import traceback
from contextlib import suppress
from pathlib import Path

from seqapps.errors import RunError, SeqappsError
from seqapps.secrets import scrub
from seqapps.top_level import NAMES, ROOT

TRACE = "last-error.txt"
"""In the workspace: the traceback of the last unexpected error."""

_AGAIN = "What is done is kept: the same command goes on."
_UNREACHABLE = ("max retries exceeded", "connection refused", "failed to establish", "timed out", "connection aborted")
_LONGEST = 500


def explain(error: BaseException, command: str, workspace: Path, uri: str = "") -> SeqappsError:
    """Returns one message for an error: that of a `SeqappsError`, or one by its type.

    Args:
        error: the error to explain.
        command: the command.
        workspace: its workspace.
        uri: the MLflow store that the command line named; empty for the workspace's own.
    """
    if isinstance(error, SeqappsError):
        return error
    store = uri or str(workspace / "mlflow.db")
    chain = list(_causes(error))
    for link in chain:
        if found := _of_store(link, store) or _of_kind(link):
            return RunError(found)
    return RunError(_unforeseen(error, command, workspace))


def _causes(error: BaseException) -> list[BaseException]:
    """Returns the error and its chain of causes, the root cause last."""
    found = [error]
    while (cause := found[-1].__cause__ or found[-1].__context__) is not None and cause not in found:
        found.append(cause)
    return found


def _of_kind(error: BaseException) -> str:
    """Returns the message for an error of the system, of memory, of text or of a package; empty for others."""
    match error:
        case shutil.Error():
            said = f"copying failed: {_short(error)}. Remedy: see that the source is there and that the disk has room."
        case OSError():
            said = of_system(error)
        case ValueError() if "null byte" in str(error) or "null character" in str(error):
            said = "a name of a file has a zero byte, which no file can have. Remedy: another name."
        case UnicodeError():
            said = _of_text(error)
        case RecursionError():
            said = "something is nested too deeply to be read. Remedy: a configuration or a row with fewer brackets."
        case ImportError():
            said = f"a package does not import: {_short(error)}. Remedy: `seqapps doctor` says what to install."
        case _ if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
            said = (
                f"there was not enough memory: {_short(error)}. Remedy: a smaller `training.batch_size` or "
                f"`model.units`, or end what else runs. {_AGAIN}"
            )
        case _:
            said = ""
    return said


def of_system(error: OSError) -> str:
    """Returns the message for an error of the operating system, with a remedy."""
    path = _path_of(error)
    what = error.strerror or _short(error)
    template = _SYSTEM.get(error.errno or 0, _ANY)
    if error.errno in _BLOCKED:
        places = [Path(path), *Path(path).parents] if path else []
        blocking = next((place for place in places if place.is_file()), None)
        template = _STANDS if blocking is None else _FILE
        return template.format(path=path or "a place", what=what, file=blocking)
    longest = max(map(len, Path(path).parts), default=0)
    return template.format(path=path or "a place", what=what, user=_user(), size=longest, short=path[:60])


_FORBIDDEN = (
    "{path} cannot be opened: {what}. Remedy: give {user} the right to it (see `ls -ld {path}`), or name another place."
)
_NO_ROOM = f"no space is left on the disk ({{path}}). Remedy: make room, or `--workspace` on another disk. {_AGAIN}"
_FILE = "{file} is a file, and a folder is needed there ({path}). Remedy: move it away, or name another place."
_STANDS = "{path} stands in the way: {what}. Remedy: move it away, or name another place."
_ANY = f"{{path}}: {{what}}. Remedy: see that the disk, the network and the file are sound, and run again. {_AGAIN}"
_SYSTEM = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: "{path} cannot be written: its disk is read-only. Remedy: `--workspace` on another disk.",
    errno.ENAMETOOLONG: "a name of {size} characters is too long for a file: {short}... Remedy: a shorter name.",
    errno.ELOOP: "{path} is a link that leads back to itself. Remedy: remove it, or name the place that is meant.",
    errno.ENOENT: f"{{path}} does not exist. Remedy: see that the name is right. If it was removed: {_AGAIN}",
    errno.EMFILE: f"too many files are open at once. Remedy: `ulimit -n 4096`, and run again. {_AGAIN}",
}
_BLOCKED = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY)


def _of_text(error: UnicodeError) -> str:
    where = ""
    if isinstance(error, UnicodeDecodeError | UnicodeEncodeError):
        where = f": {error.object[max(0, error.start - 20) : error.end + 20]!r}"
    return (
        f"there are bytes that are not UTF-8{where}. Remedy: convert the file (`iconv -f latin1 -t utf-8`), or rename "
        "it where they stand in its name."
    )


def _of_store(error: BaseException, store: str) -> str:
    """Returns the message for a failure of MLflow's store; empty for others."""
    module, text = type(error).__module__, str(error)
    if not module.startswith(("sqlite3", "sqlalchemy", "mlflow", "alembic", "requests", "urllib3")):
        return ""
    low = text.lower()
    if any(words in low for words in _UNREACHABLE) or module.startswith(("requests", "urllib3")):
        return (
            f"the tracking server {store} does not answer: {_short(error)}. Remedy: start it, or name another one with "
            f"`--tracking-uri`. {_AGAIN}"
        )
    for words, message in _STORE.items():
        if words in low:
            return f"{store} {message}"
    return f"the tracking store {store} failed: {_short(error)}. {_AGAIN}"


_NEW = "Remedy: put a copy back, or begin a new `--workspace` with `seqapps run CONFIG`."
_STORE = {
    "is locked": f"is locked by another process. Remedy: wait for it, or end it (`fuser` names it). {_AGAIN}",
    "readonly database": "cannot be written. Remedy: give its file and its folder write permission.",
    "disk is full": f"cannot grow: the disk is full. Remedy: make room. {_AGAIN}",
    "unable to open": "cannot be opened. Remedy: see that it is a file, in a folder that can be written.",
    "not a database": f"is no database: it was cut or overwritten. {_NEW}",
    "malformed": f"is damaged. {_NEW}",
    "no such table": f"lacks a table: it was cut, or is no store of MLflow. {_NEW}",
    "locate revision": "was made by a newer MLflow. Remedy: the seqapps that made it, or another `--workspace`.",
}


def _unforeseen(error: BaseException, command: str, workspace: Path) -> str:
    """Returns the message for an unexpected error; its traceback goes to a file."""
    place = ""
    with suppress(OSError, ValueError):
        target = workspace / TRACE
        trace = scrub("".join(traceback.format_exception(error)))
        target.write_text(trace, encoding="utf-8", errors="backslashreplace")
        place = f" Its traceback lies in {target}."
    return (
        f"seqapps {command} met an error that it has no words for: {_short(error)} ({_line_of(error)}).{place} Remedy: "
        f"`--debug` shows the traceback; please report it. {_AGAIN}"
    )


def _line_of(error: BaseException) -> str:
    """Returns the innermost line of our own code in the traceback."""
    frames = [(Path(frame.filename).resolve(), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    folders = [ROOT / name for name in ("seqapps", *NAMES)]  # an installed seqapps lies among all other packages
    ours = [frame for frame in frames if any(frame[0].is_relative_to(folder) for folder in folders)]
    return f"{ours[-1][0].relative_to(ROOT)}:{ours[-1][1]}" if ours else "outside seqapps"


def _short(error: BaseException) -> str:
    """Returns an error's name and its first words, on one line."""
    text = re.sub(r"\s+", " ", str(error)).strip()
    return f"{type(error).__name__}: {text[:_LONGEST]}".rstrip(".") if text else type(error).__name__


def _path_of(error: OSError) -> str:
    name = error.filename if error.filename is not None else error.filename2
    return os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else ""


def _user() -> str:
    from seqapps.registry.provenance import user

    return user()
