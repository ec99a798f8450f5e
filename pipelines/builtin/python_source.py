"""The source of the installed standard library, without tests and files that are not UTF-8."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "idlelib", "lib2to3", "__pycache__"}


def files(cache: Path) -> list[tuple[str, Path]]:
    """Returns (name, path) of every module."""
    root = Path(sysconfig.get_path("stdlib"))
    return [(f"python-source/{path.relative_to(root).as_posix()}", path) for path in modules(root)]


def modules(root: Path) -> list[Path]:
    """Returns the modules below a folder that are UTF-8, sorted."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - _LEFT_OUT)
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    return sorted(path for path in found if _is_utf8(path))


def _is_utf8(path: Path) -> bool:
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
