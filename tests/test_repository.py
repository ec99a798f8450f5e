"""What the repository says of itself is so: dependencies, the README's verbs and commands."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest

from seqapps.__main__ import VERBS

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipelines", "seqapps", "tuning")
DISTRIBUTIONS = {"pycrfsuite": "python-crfsuite", "sklearn": "scikit-learn"}
"""Module to distribution, where the names differ by more than a dash."""


def declared() -> dict[str, str]:
    """Distribution to its bounds, of everything that is needed to run."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lines = parser["options"]["install_requires"].split("\n")
    found = (re.fullmatch(r"([\w-]+)(\S*)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def imported() -> set[str]:
    """Top-level modules that the three packages import, wherever they do."""
    names: set[str] = set()
    for file in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {item.name.partition(".")[0] for item in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - set(PACKAGES)


def test_everything_that_is_imported_is_declared() -> None:
    distributions = {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in imported()}
    assert distributions - set(declared()) == set()


@pytest.mark.parametrize(("name", "bounds"), declared().items())
def test_every_dependency_has_both_bounds(name: str, bounds: str) -> None:
    assert re.fullmatch(r">=[\d.]+,<[\d.]+", bounds)


@pytest.mark.parametrize("name", declared())
def test_every_dependency_is_locked(name: str) -> None:
    locked = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert name in locked


def test_readme_lists_the_verbs_in_order() -> None:
    table = (ROOT / "README.md").read_text().partition("## Verbs")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+) ?[^|]*` \|", table, re.MULTILINE)
    assert tuple(listed) == VERBS


@pytest.mark.parametrize("target", ["demo", "test", "check", "bench", "lock", "help"])
def test_makefile_has_the_targets_that_are_promised(target: str) -> None:
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_files_that_the_documents_name_are_there() -> None:
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    missing = [
        (document.name, link)
        for document in documents
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text())
        if not (document.parent / link).exists()
    ]
    assert missing == []


def test_every_configuration_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"configs/[\w/]+\.toml", (ROOT / "README.md").read_text()))
    assert named and [name for name in named if not (ROOT / name).exists()] == []
