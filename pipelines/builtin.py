"""Real text that every CPython carries: the language reference and the standard library's own source."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sysconfig
import tempfile
from pathlib import Path

from seqapps.errors import ConfigError, unknown_name

_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "idlelib", "lib2to3", "__pycache__"}


def builtin_files(name: str, cache: Path) -> list[tuple[str, Path]]:
    """Returns (name, path) of every file of a built-in text, sorted by name.

    Args:
        name: `python-docs` (each topic of `pydoc_data.topics` is a file) or `python-source`.
        cache: folder of the workspace in which the topics are written once.

    Raises:
        ConfigError: there is no such text; lists the names and the nearest.
    """
    makers = {"python-docs": _python_docs, "python-source": _python_source}
    if name not in makers:
        raise ConfigError(unknown_name("`source.builtin`", name, makers))
    return makers[name](cache)


def _python_docs(cache: Path) -> list[tuple[str, Path]]:
    folder = cache / "builtin" / f"python-docs-{platform.python_version()}"
    if not folder.is_dir():
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".python-docs-", dir=folder.parent))
        for topic, text in topics.items():
            (temporary / f"{topic}.txt").write_text(text, encoding="utf-8", newline="\n")
        try:
            temporary.rename(folder)
        except OSError:  # another process was faster; its files are the same
            shutil.rmtree(temporary)
    return sorted((f"python-docs/{path.name}", path) for path in folder.glob("*.txt"))


def _python_source(cache: Path) -> list[tuple[str, Path]]:
    """The modules where they are installed; tests, third-party packages and files of other encodings are left out."""
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - _LEFT_OUT)
        found += [Path(folder, file) for file in files if file.endswith(".py")]
    return sorted((f"python-source/{path.relative_to(root).as_posix()}", path) for path in found if _is_utf8(path))


def _is_utf8(path: Path) -> bool:
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
