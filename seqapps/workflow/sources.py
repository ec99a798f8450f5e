"""The source files that a stage's result depends on: its entry files, and all that they import. Static analysis.

What an installed package brings (`seqapps.plugins`) counts as the file of the folder would: its module, with all that
this imports of its package and of the three packages here.

The methods of an application that a stage does not call are left out, with all that only they import: another colour
in a plot does not invalidate a trained model.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import seqapps
from seqapps import applications, baselines, plugins

ROOT = Path(seqapps.__file__).parent.parent
"""The folder that holds the three packages."""

_MODEL = (
    "seqapps/applications/{application}.py",
    "seqapps/architectures/{architecture}.py",
    "seqapps/training/trained_model.py",
)
_TRAINING = (*_MODEL, "seqapps/training/loop.py")

ROOTS: dict[str, tuple[str, ...]] = {
    "tune": (*_TRAINING, "tuning/*.py", "tuning/spaces/*.py"),
    "train": _TRAINING,
    "evaluate": (*_MODEL, "seqapps/evaluation/evaluate.py", "seqapps/baselines/*.py"),
    "saved_model": (*_MODEL, "seqapps/serving/*.py"),
    "promote": ("seqapps/registry/promotion.py", "seqapps/registry/mlflow_pyfunc.py"),
    "export": (),
    "report": ("seqapps/report/*.py",),
}
"""Stage to its entry files. Modules that are loaded by name (applications, baselines, ...) must be listed here."""

_PACKAGES = ("pipelines", "seqapps", "tuning")

_SERVED = {
    "answer", "check_options", "golden_inputs", "heading", "line", "options", "read_rows", "reply", "showcase",
    "signatures",
}  # fmt: skip
_SCORED = {"baselines", "breakdowns", "pictures", "shown", "slices"}

NOT_CALLED: dict[str, frozenset[str]] = {
    "tune": frozenset(_SERVED | _SCORED | {"sampler"}),
    "train": frozenset(_SERVED | _SCORED),
    "evaluate": frozenset(_SERVED | {"sampler"}),
    "saved_model": frozenset(_SCORED - {"shown"} | {"sampler"}),  # golden examples are taken from those shown
}
"""Stage to methods of an application that it never calls."""

_WITHOUT_EFFECT = {
    "seqapps",  # only the version
    "seqapps.baselines",  # which ones there are; the stage that fits them lists the folder
    "seqapps.config",  # its values are a separate component
    "seqapps.errors",
    "seqapps.files",
    "seqapps.plugins",
    "seqapps.formats",  # a stage whose outputs have another format runs again, see `records`
    "seqapps.runtime",
    "seqapps.top_level",
    "seqapps.training.log",
    "seqapps.registry.tracking",
    "seqapps.workspace",
}
"""Modules whose code does not affect results."""


class _Source(NamedTuple):
    """A file for a digest: the files that it imports, and its text without comments, docstrings and layout."""

    imports: tuple[Path, ...]
    meaning: str


def code_digest(stage: str, *, application: str, architecture: str, space: str = "") -> str:
    """Returns the sha256 of the source files of a stage, ignoring comments, docstrings and layout.

    Args:
        stage: a key of ROOTS.
        application, architecture, space: the names that the configuration gives; an empty space is that of the
            architecture's name.

    Raises:
        ConfigError: an installed package brings something broken under one of the names.
    """
    names = {"application": application, "architecture": architecture}
    roots = [file for pattern in ROOTS[stage] for file in ROOT.glob(pattern.format(**names))]
    installed = _installed(stage, application, architecture, space or architecture)
    digest, without = hashlib.sha256(), NOT_CALLED.get(stage, frozenset())
    labels = {file: name for name, file in installed.items()}  # the folder of a package differs between machines
    labels |= {file: str(file.relative_to(ROOT)) for file in closure([*roots, *labels], without) if _is_ours(file)}
    for file, label in sorted(labels.items(), key=lambda item: item[1]):
        digest.update(f"{label}\n".encode())
        digest.update(_read(file, without).meaning.encode())
    return digest.hexdigest()


def _installed(stage: str, application: str, architecture: str, space: str) -> dict[str, Path]:
    """Returns the entry files of a stage that installed packages bring, by the names of their modules."""
    found: dict[str, Path] = {}
    for pattern in ROOTS[stage]:
        match pattern:
            case "seqapps/applications/{application}.py":
                found |= plugins.APPLICATIONS.sources(application)
            case "seqapps/architectures/{architecture}.py":
                found |= plugins.ARCHITECTURES.sources(architecture)
            case "tuning/spaces/*.py":
                found |= plugins.SEARCH_SPACES.sources(space)
            case "seqapps/baselines/*.py":
                for name in baselines.serving(application, applications.load(application).further_baselines):
                    found |= plugins.BASELINES.sources(name)
    return found


def _is_ours(file: Path) -> bool:
    """Returns whether a file belongs to one of the three packages."""
    return file.is_relative_to(ROOT) and file.relative_to(ROOT).parts[0] in _PACKAGES


def closure(roots: Iterable[Path], without: frozenset[str] = frozenset()) -> set[Path]:
    """Returns the files and all files of the three packages that they import, at module level or inside functions.

    Args:
        roots: the entry files.
        without: methods of applications to leave out, with what only they import.
    """
    seen: set[Path] = set()
    waiting = list(roots)
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += _read(file, without).imports
    return seen


@cache
def _read(file: Path, without: frozenset[str] = frozenset()) -> _Source:
    """Parses a file once per process: the stages of a pipeline share most files."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    if without and applications_in(tree):
        _leave_out(tree, without)
    names = {name for name in plugins.imported_names(tree) if name not in _WITHOUT_EFFECT}
    ours = sorted(name for name in names if name.partition(".")[0] in _PACKAGES)
    imports = tuple(found for name in ours if (found := plugins.file_of(name, ROOT)) is not None)
    return _Source(imports, _meaning(tree))


def _leave_out(tree: ast.Module, methods: frozenset[str]) -> None:
    """Removes methods of an application, and what is then unused: private definitions, module-level imports."""
    classes: list[Any] = applications_in(tree)
    _remove(classes, methods)
    bodies, without = [*classes, tree], {""}
    while without:
        _remove(bodies, without)
        named = {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(tree)}
        private = {name for node in bodies for line in node.body if (name := getattr(line, "name", "")).startswith("_")}
        without = {name for name in private - named if not name.endswith("__")}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [item for item in node.names if (item.asname or item.name).partition(".")[0] in named]
    tree.body = [node for node in tree.body if getattr(node, "names", True)]


def _remove(bodies: Iterable[Any], names: Collection[str]) -> None:
    """Removes definitions of these names from classes and modules."""
    for node in bodies:
        node.body = [line for line in node.body if getattr(line, "name", None) not in names] or [ast.Pass()]


def applications_in(tree: ast.Module) -> list[ast.ClassDef]:
    """Returns the classes of a module that are applications."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return [node for node in classes if any(ast.unparse(base) == "Application" for base in node.bases)]


def _meaning(tree: ast.Module) -> str:
    """Returns source text without comments, docstrings and layout; removes them from the tree."""
    _strip(tree)
    return ast.unparse(tree)


def _strip(tree: ast.AST) -> None:
    """Removes constant expression statements: docstrings, and those under a constant."""
    if isinstance(tree, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        tree.body = [line for line in tree.body if not _is_constant(line)] or [ast.Pass()]
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            _strip(node)


def _is_constant(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
