"""The scripts of examples/: plain Python in cells, that uses public names only.

They are run by `tests/torture/test_examples.py` and by `make examples`.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import seqapps

FOLDER = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))
OURS = {"pipelines", "seqapps", "tuning"}


def tree_of(name: str) -> ast.Module:
    return ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))


def test_there_is_one_for_each_application_and_one_for_the_layers() -> None:
    applications = {path.name for path in (FOLDER.parent / "configs").iterdir()}
    assert set(SCRIPTS) == applications | {"layers"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_imports_seqapps_alone_and_uses_its_public_names(name: str) -> None:
    used = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            ours = [item for item in node.names if item.name.partition(".")[0] in OURS]
            assert [(item.name, item.asname) for item in ours] in ([], [("seqapps", None)])
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in OURS
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "seqapps":
            used.add(node.attr)
    assert used and used <= set(seqapps.__all__)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_cells_that_begin_with_what_it_is_about(name: str) -> None:
    lines = (FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# %% [markdown]" and lines[1].startswith("# # ")
    cells = [line for line in lines if line.startswith("# %%")]
    assert {*cells} == {"# %%", "# %% [markdown]"}
    assert cells.count("# %% [markdown]") >= 4


def test_the_page_lists_every_script() -> None:
    table = re.findall(r"^\| \[`(\w+)\.py`\]\((\w+)\.py\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(table) == [(name, name) for name in SCRIPTS]
