"""What the repository says of itself is so: dependencies, commands, links and configurations of README and docs/."""

from __future__ import annotations

import ast
import configparser
import re
import shlex
import sys
from pathlib import Path

import pytest

from seqapps.__main__ import COMMANDS, parse
from seqapps.applications import load_config

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "examples/README.md")
DOCUMENTS = [*(ROOT / name for name in PAGES), *sorted(ROOT.glob("docs/**/*.md"))]
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


def test_the_page_of_commands_lists_them_in_order() -> None:
    table = (ROOT / "docs/commands.md").read_text().partition("## Commands")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+) ?[^|]*` \|", table, re.MULTILINE)
    assert tuple(listed) == COMMANDS


def test_the_readme_links_to_every_page() -> None:
    linked = set(re.findall(r"\]\(docs/(\w+\.md)", (ROOT / "README.md").read_text()))
    assert linked == {page.name for page in (ROOT / "docs").glob("*.md")}


def command_lines() -> list[tuple[str, str]]:
    """Page and command line, of every line of README and docs/ that begins with `seqapps`, and of tables of README."""
    found = []
    for page in DOCUMENTS:
        text = page.read_text().replace("\\\n", "")
        blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        shell = "\n".join(block for language, block in blocks if not language)
        lines = re.findall(r"^(?:\$ )?seqapps (.*?)(?: *[|#].*)?$", shell, re.MULTILINE)
        lines += re.findall(r"`seqapps ([a-z]+ configs/[^`]*)`", text)
        found += [(page.name, line) for line in lines]
    return found


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_every_command_line_of_the_documents_is_one(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQAPPS_DATA", "/data")
    parsed = parse(shlex.split(line))
    config = ROOT / str(getattr(parsed, "file", None) or "CONFIG")
    if config.is_file():
        load_config(config, parsed.overrides)


@pytest.mark.parametrize("target", ["demo", "examples", "test", "check", "bench", "lock", "help"])
def test_makefile_has_the_targets_that_are_promised(target: str) -> None:
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_the_documents_link_to_is_there(document: Path) -> None:
    missing = []
    for file, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", document.read_text()):
        target = document.parent / file if file else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(f"{file}#{anchor}")
    assert missing == []


@pytest.mark.parametrize("page", ["README.md", "docs/results.md", "docs/commands.md"])
def test_every_configuration_that_a_page_names_is_there(page: str) -> None:
    applications = "|".join(path.name for path in (ROOT / "configs").iterdir())
    named = set(re.findall(rf"(?:{applications})/\w+\.toml", (ROOT / page).read_text()))
    assert named and [name for name in named if not (ROOT / "configs" / name).exists()] == []
