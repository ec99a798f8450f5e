"""Whole runs with a search and Beam's processes, of a wheel and of an editable install, beside a user's `pipelines` and
`tuning`, wherever these lie and whether they are packages, folders or files."""

from __future__ import annotations

from pathlib import Path

import pytest
from installed import TINY, Environment, build, copy_sources, end, make_environment, of_user, start

from seqapps.errors import REFUSED

SEARCH = 'tuning = { algorithm = "random", trials = 1, epochs = 1 }\n'
WORKERS = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
SCRIPT = f"""
import seqapps
if __name__ == "__main__":
    run = seqapps.run("tiny.toml", beam_arguments={WORKERS})
    print(run.report.exists())
"""


CASES = (
    ("wheel", "package", "beside"),
    ("wheel", "file", "PYTHONPATH"),
    ("wheel", "folder", "working folder"),
    ("editable", "folder", "beside"),
    ("editable", "package", "PYTHONPATH"),
    ("editable", "file", "working folder"),
)
"""How seqapps is installed, what the user's modules are, and where they lie."""


def installed(how: str, folder: Path) -> Environment:
    """Returns a new environment with a `wheel` or an `editable` install."""
    sources = copy_sources(folder / "sources")
    found = make_environment(folder / ".venv")
    if how == "wheel":
        found.install(*map(str, build(sources, folder / "dist", "--wheel")))
    else:
        found.install("--editable", str(sources))
    return found


@pytest.mark.parametrize(("how", "form", "place"), CASES)
def test_whole_run_beside_modules_of_a_user(
    how: str, form: str, place: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment = installed(how, tmp_path_factory.mktemp(how))
    users = tmp_path if place == "working folder" else tmp_path / "users"
    hidden = of_user(users, form)
    (tmp_path / "tiny.toml").write_text(TINY + SEARCH)
    path = users if place == "PYTHONPATH" else None
    if place == "beside":
        (users / "script.py").write_text(SCRIPT)
        out, err = end(start([environment.python, str(users / "script.py")], tmp_path, path))
        assert out.endswith("True\n")
        assert [module for module in hidden if f", not {module}. Rename yours" in err] == hidden
    else:
        words = [environment.python, "-m", "seqapps", "run", "tiny.toml", "--", *WORKERS]
        _, err = end(start(words, tmp_path, path), REFUSED)
        assert "UserWarning" not in err
    assert all(f"{stage}: runs for the first time" in err for stage in ("prepare", "tune", "train", "report"))
