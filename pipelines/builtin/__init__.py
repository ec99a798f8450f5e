"""Texts that need no download: parts of CPython, and generated tasks. One file each, the folder is the registry:
`python-docs` is `python_docs.py`, whose `files(cache)` returns (name, path) pairs."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path

from seqapps.errors import ConfigError, unknown_name
from seqapps.files import new_folder


def names() -> list[str]:
    """Returns the built-in texts."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def builtin_files(name: str, cache: Path) -> list[tuple[str, Path]]:
    """Returns (name, path) of every file of a built-in text, sorted by name.

    Args:
        name: see `names`.
        cache: folder of the workspace in which generated texts are written once.

    Raises:
        ConfigError: there is no such text; lists the names and the nearest.
    """
    if name not in names():
        raise ConfigError(unknown_name("`source.builtin`", name, names()))
    files: Callable[[Path], list[tuple[str, Path]]] = importlib.import_module(
        f"{__name__}.{name.replace('-', '_')}"
    ).files
    return sorted(files(cache))


def written_once(folder: Path, make: Callable[[], Mapping[str, str]]) -> Path:
    """Returns a folder of texts, writing it first if it does not exist.

    Args:
        folder: its path; its name includes everything its content depends on, such as the version of Python.
        make: returns a mapping of file name (with folders) to text.
    """
    if folder.is_dir():
        return folder
    with new_folder(folder) as building:
        for name, text in make().items():
            path = building / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    return folder
