"""Names defined in the standard library, each with its kind: read from the source with `ast`.

Real data with exact labels. A row is a name with one of seven kinds; a name occurs once for each of its kinds.
`module` (a part of a module's dotted name), `class`, `exception` (a class that is named so, or whose base is),
`function` (not in a class), `method`, `parameter` (without self and cls) and `constant` (an upper-case name that a
module or a class assigns).
"""

from __future__ import annotations

import ast
import platform
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.builtin import written_once
from pipelines.builtin.python_source import modules

_EXCEPTIONS = ("Error", "Exception", "Warning")
_NOT_NAMED = {"self", "cls", "_", "__"}


def files(cache: Path) -> list[tuple[str, Path]]:
    """Returns (name, path) of the one file: a header `label`, `text`, then one name per line."""
    folder = written_once(cache / "builtin" / f"python-names-{platform.python_version()}", _table)
    return [("python-names/names.tsv", folder / "names.tsv")]


def _table() -> Mapping[str, str]:
    root = Path(sysconfig.get_path("stdlib"))
    found: set[tuple[str, str]] = set()
    for path in modules(root):
        found |= {("module", part) for part in path.relative_to(root).with_suffix("").parts if part != "__init__"}
        found |= set(names_in(path.read_text(encoding="utf-8")))
    rows = sorted((kind, name) for kind, name in found if name not in _NOT_NAMED and name.isidentifier())
    return {"names.tsv": "label\ttext\n" + "".join(f"{kind}\t{name}\n" for kind, name in rows)}


def names_in(source: str) -> Iterator[tuple[str, str]]:
    """Yields (kind, name) of everything that a module's source defines; nothing where it cannot be parsed."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    yield from _below(tree)


def _below(node: ast.AST) -> Iterator[tuple[str, str]]:
    holds = isinstance(node, ast.Module | ast.ClassDef)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield ("exception" if _is_exception(child) else "class"), child.name
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield ("method" if isinstance(node, ast.ClassDef) else "function"), child.name
        elif isinstance(child, ast.arg):
            yield "parameter", child.arg
        elif holds and isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            yield from (("constant", t.id) for t in targets if isinstance(t, ast.Name) and t.id.isupper())
        yield from _below(child)


def _is_exception(node: ast.ClassDef) -> bool:
    bases = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases]
    return any(name.endswith(_EXCEPTIONS) for name in (node.name, *bases))
