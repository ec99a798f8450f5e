"""Applications, architectures, baselines and search spaces, found by name: files of the folder of their kind, and entry
points of installed packages.

    [project.entry-points."seqapps.baselines"]         # in the pyproject.toml of that package
    my_baseline = "my_package.my_baseline"             # a module that defines what a file of the folder defines

Listing names imports none of the modules; `Kind.module` imports one.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

from seqapps.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class Kind:
    """A kind of plugin.

    Args:
        noun: what one is, for messages.
        option: where a user writes its name, for messages.
        package: the package whose files are the ones of seqapps itself.
        group: the group of entry points by which other packages bring theirs.
        members: names that its module must define.
        shared: files of the folder that are none, besides those whose name begins with `_`.
    """

    noun: str
    option: str
    package: str
    group: str
    members: tuple[str, ...]
    shared: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """Returns all names, sorted.

        Raises:
            ConfigError: a name is there twice, or is no name; says which packages bring it.
        """
        return sorted(self._found())

    def built_in(self) -> list[str]:
        """Returns the names of the folder alone, sorted."""
        spec = importlib.util.find_spec(self.package)
        folders = (spec and spec.submodule_search_locations) or ()
        found = (module.name for module in pkgutil.iter_modules(folders))
        return sorted(name for name in found if not name.startswith("_") and name not in self.shared)

    def module(self, name: str) -> ModuleType:
        """Imports and returns the module of a name.

        Raises:
            ConfigError: there is no such name (lists all and the nearest), or another package brings a module that
                cannot be imported or lacks one of `members`; names the package and the remedy.
        """
        found = self._found()
        if name not in found:
            raise ConfigError(unknown_name(self.option, name, found))
        entry = found[name]
        module = importlib.import_module(f"{self.package}.{name}") if entry is None else self._imported(entry)
        missing = [member for member in self.members if not hasattr(module, member)]
        if missing:
            raise self.refused(name, f"does not define {', '.join(missing)}")
        return module

    def sources(self, name: str) -> dict[str, Path]:
        """Returns the Python files that an installed package brings for a name, by the names of their modules.

        These are its module, what that imports of its own top-level package, and what that imports of this kind's
        folder (an application that extends another). Empty for a name of the folder, and for none.

        Raises:
            ConfigError: as `module`, or the module is not a Python file.
        """
        if self._found().get(name) is None:
            return {}
        module = self.module(name)
        file = Path(module.__file__ or "")
        if file.suffix != ".py" or not file.is_file():
            raise self.refused(name, "is not a Python source file, by which seqapps knows what to run again")
        return self._imports_of(module.__name__, file)

    def applications(self, name: str) -> tuple[str, ...]:
        """Returns the applications that a baseline or an architecture names in its `APPLICATIONS`; none without it.

        Raises:
            ConfigError: as `module`, or `APPLICATIONS` is no tuple of names.
        """
        given = getattr(self.module(name), "APPLICATIONS", ())
        if not isinstance(given, tuple) or not all(isinstance(application, str) for application in given):
            raise self.refused(
                name, f'needs a tuple of names as APPLICATIONS, such as ("language_model",), and has {given!r}'
            )
        return given

    def refused(self, name: str, why: str) -> ConfigError:
        """Returns the error for a plugin that does not do what one of its kind must: which, of which package, why."""
        entry = self._found().get(name)
        if entry is None:
            return ConfigError(f"The {self.noun} {name!r} of seqapps {why}. Remedy: correct {self.package}.{name}.")
        package = entry.dist.name if entry.dist else entry.module
        return ConfigError(
            f"The {self.noun} {name!r} of {_owner(entry)} ({entry.value}) {why}. Remedy: install a version of "
            f"{package} that fits, or uninstall it: pip uninstall {package}."
        )

    def _found(self) -> dict[str, EntryPoint | None]:
        """Returns every name: of the folder to None, of another package to its entry point."""
        found: dict[str, EntryPoint | None] = dict.fromkeys(self.built_in())
        for entry in _installed(self.group):
            if not re.fullmatch("[a-z][a-z0-9_]*", entry.name):
                raise ConfigError(
                    f"{_owner(entry)} brings a {self.noun} under a name that is not allowed. Received: {entry.name!r}. "
                    f"Allowed: lower-case letters, digits and `_`, a letter first. Remedy: correct its entry point of "
                    f"{self.group}, or uninstall it."
                )
            if entry.name in found:
                other = found[entry.name]
                raise ConfigError(
                    f"Two {self.noun}s have the name {entry.name!r}: one of {_owner(other)} and one of "
                    f"{_owner(entry)}. Remedy: uninstall one of the packages, or rename its entry point of "
                    f"{self.group}."
                )
            found[entry.name] = entry
        return found

    def _imported(self, entry: EntryPoint) -> ModuleType:
        try:
            module = entry.load()
        except Exception as error:  # whatever the module of another package raises
            raise self.refused(entry.name, f"cannot be imported: {type(error).__name__}: {error}") from error
        if not isinstance(module, ModuleType):
            raise self.refused(entry.name, f"is a {type(module).__name__}, where its entry point must name a module")
        return module

    def _imports_of(self, module: str, file: Path) -> dict[str, Path]:
        """Returns the file and all that it imports, directly or not, of its package and of the kind's folder."""
        root, within = _root_of(module, file), importlib.import_module(self.package).__path__[0]
        top = module.partition(".")[0]
        found: dict[str, Path] = {}
        waiting = {module: file}
        while waiting:
            name, file = waiting.popitem()
            found[name] = file
            parent = name if file.name == "__init__.py" else name.rpartition(".")[0]
            for imported in imported_names(ast.parse(file.read_bytes()), parent):
                if imported.partition(".")[0] == top:
                    path = file_of(imported, root)
                elif imported.startswith(f"{self.package}."):
                    path = file_of(imported.removeprefix(f"{self.package}."), Path(within))
                else:
                    path = None
                if path is not None and imported not in found:
                    waiting[imported] = path
        return found


APPLICATIONS = Kind(
    noun="application",
    option="application",
    package="seqapps.applications",
    group="seqapps.applications",
    members=("APPLICATION",),
    shared=("answers", "base"),
)
ARCHITECTURES = Kind(
    noun="architecture",
    option="`model.architecture`",
    package="seqapps.architectures",
    group="seqapps.architectures",
    members=("Config", "build"),
)
BASELINES = Kind(
    noun="baseline",
    option="`baselines.names`",
    package="seqapps.baselines",
    group="seqapps.baselines",
    members=("APPLICATIONS", "fit"),
)
SEARCH_SPACES = Kind(
    noun="search space",
    option="`tuning.space`",
    package="tuning.spaces",
    group="seqapps.search_spaces",
    members=("declare",),
)


def imported_names(tree: ast.AST, package: str = "") -> Iterator[str]:
    """Yields every module that a file imports, at module level or inside functions, or that an imported name may be.

    Args:
        tree: the parsed file.
        package: the package that its relative imports begin at; empty leaves them out.
    """
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.Import(names=names):
                yield from (item.name for item in names)
            case ast.ImportFrom(names=names):
                module = _absolute(node, package)
                if module:
                    yield module
                    yield from (f"{module}.{item.name}" for item in names)
            case ast.stmt() | ast.ExceptHandler() | ast.match_case():  # an expression contains no statement
                yield from imported_names(node, package)


def file_of(module: str, root: Path) -> Path | None:
    """Returns the file of a module below the folder that holds its top-level package; None if it has none there."""
    path = root.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """Returns the full name of the module of `from .. import`; empty for a relative one if the package is not known."""
    if not node.level:
        return node.module or ""
    if not package:
        return ""
    return importlib.util.resolve_name("." * node.level + (node.module or ""), package)


def _root_of(module: str, file: Path) -> Path:
    """Returns the folder that holds the top-level package of a module."""
    above = module.count(".") + (file.name == "__init__.py")
    return file.absolute().parents[above]


@cache
def _installed(group: str) -> tuple[EntryPoint, ...]:
    """Returns the entry points of a group. Read once: it looks into every installed package."""
    return tuple(sorted(importlib.metadata.entry_points(group=group), key=lambda entry: (entry.name, _owner(entry))))


def _owner(entry: EntryPoint | None) -> str:
    """Returns the package that brings a plugin, with its version."""
    if entry is None:
        return "seqapps itself"
    return f"the package {entry.dist.name} {entry.dist.version}" if entry.dist else f"the module {entry.module}"
