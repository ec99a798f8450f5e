"""The packages of the project, each above all that it imports, and circles among them: `python docs/imports.py`.

A package is a folder or a loose module directly below `seqapps`, `pipelines` or `tuning`. An import inside a function
counts; one for type checkers alone does not.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Prints counts, levels from the top, and every import that is part of a circle."""
    arrows = imports()
    below: dict[str, set[str]] = defaultdict(set)
    for upper, lower in arrows:
        below[upper].add(lower)
    packages = {package for arrow in arrows for package in arrow}
    print(f"{len(packages)} packages, {len(arrows)} imports between them")
    circle = [(upper, lower) for upper, lower in sorted(arrows) if upper in reach(lower, below)]
    for upper, lower in circle:
        print(f"circle: {upper} -> {lower} ({', '.join(sorted(arrows[upper, lower]))})")
    if circle:
        return
    levels: dict[int, list[str]] = defaultdict(list)
    for package in sorted(packages):
        levels[level(package, below)].append(package)
    for height in sorted(levels, reverse=True):
        print(f"{height:3}  {'  '.join(levels[height])}")


def imports() -> dict[tuple[str, str], set[str]]:
    """Returns (package, imported package) to the modules that import it."""
    modules = {}
    for name in ("seqapps", "pipelines", "tuning"):
        for file in (ROOT / name).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            modules[".".join(parts).removesuffix(".__init__")] = file
    arrows: dict[tuple[str, str], set[str]] = defaultdict(set)
    for module, file in modules.items():
        for name, parent in imported(ast.parse(file.read_text(encoding="utf-8"))):
            found = name if name in modules else parent
            if found in modules and package_of(found) != package_of(module):
                arrows[package_of(module), package_of(found)].add(module)
    return arrows


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yields what may be a module, and the module in which it may be a name."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.Import(names=names):
                yield from ((item.name, item.name) for item in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from ((f"{module}.{item.name}", module) for item in names)
            case _:
                yield from imported(node)


def package_of(module: str) -> str:
    """Returns the package that a module lies in."""
    return ".".join(module.split(".")[: 2 if module.startswith("seqapps.") else 1])


def reach(package: str, below: dict[str, set[str]]) -> set[str]:
    """Returns all that a package imports, over others as well."""
    seen: set[str] = set()
    waiting = [package]
    while waiting:
        found = below[waiting.pop()] - seen
        seen |= found
        waiting += found
    return seen


def level(package: str, below: dict[str, set[str]]) -> int:
    """Returns how many packages lie below on the longest way; there must be no circle."""
    return 1 + max((level(lower, below) for lower in below[package]), default=-1)


if __name__ == "__main__":
    main()
