"""The source files that a stage's result depends on: its entry files, and all that they import. Static analysis.

The methods of an application that a stage does not call are left out, with all that only they import: another colour
in a plot does not invalidate a trained model.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import seqapps

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
    "seqapps.config",  # its values are a separate component
    "seqapps.errors",
    "seqapps.files",
    "seqapps.runtime",
    "seqapps.top_level",
    "seqapps.training.log",
    "seqapps.registry.tracking",
    "seqapps.workspace",
}
"""Modules whose code does not affect results."""


_SHARED = ("__init__", "answers", "base")
"""Files in the applications folder that are not applications."""


class _Source(NamedTuple):
    """A file for a digest: the files that it imports, and its text without comments, docstrings and layout."""

    imports: tuple[Path, ...]
    meaning: str


def code_digest(stage: str, *, application: str, architecture: str) -> str:
    """Returns the sha256 of the source files of a stage, ignoring comments, docstrings and layout."""
    names = {"application": application, "architecture": architecture}
    roots = [file for pattern in ROOTS[stage] for file in sorted(ROOT.glob(pattern.format(**names)))]
    digest, without = hashlib.sha256(), NOT_CALLED.get(stage, frozenset())
    for file in sorted(closure(roots, without)):
        digest.update(f"{file.relative_to(ROOT)}\n".encode())
        digest.update(_read(file, without).meaning.encode())
    return digest.hexdigest()


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
    if without and file.parent == ROOT / "seqapps" / "applications" and file.stem not in _SHARED:
        _leave_out(tree, without)
    names = {name for name in _names(tree) if name not in _WITHOUT_EFFECT}
    imports = tuple(found for name in sorted(names) if (found := _file_of(name)) is not None)
    return _Source(imports, _meaning(tree))


def _leave_out(tree: ast.Module, methods: frozenset[str]) -> None:
    """Removes methods of an application, and what is then unused: private definitions, module-level imports."""
    bodies: list[Any] = [*applications_in(tree), tree]
    without: Collection[str] = methods
    while without:
        for node in bodies:
            node.body = [line for line in node.body if getattr(line, "name", "") not in without] or [ast.Pass()]
        named = {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(tree)}
        private = {name for node in bodies for line in node.body if (name := getattr(line, "name", "")).startswith("_")}
        without = {name for name in private - named if not name.endswith("__")}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [item for item in node.names if (item.asname or item.name).partition(".")[0] in named]
    tree.body = [node for node in tree.body if getattr(node, "names", True)]


def applications_in(tree: ast.Module) -> list[ast.ClassDef]:
    """Returns the classes of a module that are applications."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return [node for node in classes if any(ast.unparse(base) == "Application" for base in node.bases)]


def _names(tree: ast.AST) -> Iterator[str]:
    """Yields every module that is imported, or that an imported name may be."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.Import(names=names):
                yield from (item.name for item in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module
                yield from (f"{module}.{item.name}" for item in names)
            case ast.stmt() | ast.ExceptHandler() | ast.match_case():  # an expression contains no statement
                yield from _names(node)


def _file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


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
