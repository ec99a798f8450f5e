"""The packages `pipelines` and `tuning`, which lie beside `seqapps` and share their names with folders of many users.

Python keeps one module for each name, and takes the first that `sys.path` offers. `take` loads ours from where seqapps
lies, whatever the path offers, and refuses a name under which another module is loaded already. Whoever imports one of
the names in a program gets ours from then on: `tell` warns of each file or folder that this hides. See
docs/decisions/0038-names-of-top-level-packages.md.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from threading import RLock
from types import ModuleType

from seqapps.errors import UsageError
from seqapps.runtime import launcher

NAMES = ("pipelines", "tuning")
"""Top-level packages of this distribution besides `seqapps`."""

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the three packages."""

_DEPTH = ("*.py", "*/*.py")
"""A folder without `__init__.py` counts as code when it holds a Python file, at most this deep."""
_lock = RLock()
_taking = set[str]()
_told = set[Path]()


def take(*names: str) -> None:
    """Makes each name mean the package of this distribution, for every later `import` of this process.

    Args:
        names: of `NAMES`.

    Raises:
        UsageError: another module is loaded under one of them; says which, and the remedies.
    """
    for name in names:
        loaded = sys.modules.get(name)
        if loaded is None:
            _load(name)
        elif not _is_ours(name, places := places_of(loaded)):
            place = places[0] if places else "elsewhere"
            raise UsageError(
                f"`{name}` is imported from {place} in this process, and seqapps needs its own package of that name, "
                f"{ROOT / name}: Python keeps one module for each name. Remedy: rename yours, or move it into a "
                "package of your own, or run seqapps in a process of its own (`seqapps run CONFIG`)."
            )


def tell(*names: str, stacklevel: int = 2) -> None:
    """Warns of every file or folder that a name does not mean because it means our package; of each once.

    Args:
        names: of `NAMES`.
        stacklevel: as of `warnings.warn`, seen from here.
    """
    for name in names:
        for place in others(name):
            if place not in _told:
                _told.add(place)
                warnings.warn(
                    f"`import {name}` gives seqapps' package in this process ({ROOT / name}), not {place}. Rename "
                    "yours, or move it into a package of your own.",
                    stacklevel=stacklevel + 1,
                )


def imported(name: str) -> None:
    """Called by our two packages while they are imported: warns as `tell` does unless seqapps itself imports them.

    A user's folder without `__init__.py` never gets its name while ours is installed, even in a program without
    seqapps. The processes that Beam starts run no code of a user, and stay silent.
    """
    if name not in _taking and not launcher():
        tell(name, stacklevel=3)


def others(name: str, path: Iterable[str] | None = None) -> list[Path]:
    """Returns the modules, packages and folders of Python files that a search path offers under a name, but ours.

    Args:
        name: of `NAMES`.
        path: folders, or what else `sys.path` may hold; None for `sys.path`.
    """
    found = dict[Path, None]()
    for entry in sys.path if path is None else path:
        spec = PathFinder.find_spec(name, [entry or os.getcwd()])
        for place in _places(spec):
            if not _is_ours(name, [place]) and (not _is_plain(spec) or _has_code(place)):
                found[place] = None
    return list(found)


def places_of(module: ModuleType) -> list[Path]:
    """Returns the file of a module, or the folders of a package."""
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    file = getattr(module, "__file__", None)
    return folders or ([Path(file)] if file else [])


def _load(name: str) -> None:
    with _lock, _first_in_line():
        _taking.add(name)
        try:
            importlib.import_module(name)
        finally:
            _taking.discard(name)


class _Finder:
    """Finds our packages where seqapps lies."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Returns the specification of one of `NAMES`; None for others, as of `importlib.abc.MetaPathFinder`."""
        return spec_from_file_location(name, ROOT / name / "__init__.py") if name in NAMES else None


@contextmanager
def _first_in_line() -> Iterator[None]:
    """Asks our finder before `sys.path`, for the time of one import."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _places(spec: ModuleSpec | None) -> list[Path]:
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    return folders or ([Path(spec.origin)] if spec.origin else [])


def _is_plain(spec: ModuleSpec | None) -> bool:
    """Whether what was found is a folder without `__init__.py`."""
    return spec is not None and spec.loader is None


def _has_code(folder: Path) -> bool:
    return any(True for pattern in _DEPTH for _ in folder.glob(pattern))


def _is_ours(name: str, places: Sequence[Path]) -> bool:
    return [place.resolve() for place in places] == [ROOT / name]
