"""The distribution as users have it: its files, a whole run from an empty folder, and a user's modules of our names."""

from __future__ import annotations

import configparser
import json
import subprocess
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from installed import (
    NAMES,
    PACKAGES,
    ROOT,
    TINY,
    Environment,
    build,
    copy_sources,
    end,
    make_environment,
    of_user,
    start,
)

import seqapps
from seqapps.__main__ import overview
from seqapps.errors import REFUSED

FORMS = ("package", "folder", "file")
ENDED = {"source.builtin": "nosuch", "tuning.algorithm": "random"}
"""A run that needs both packages, and ends as soon as it has them."""
RUN = f"""
import seqapps
try:
    seqapps.run("tiny.toml", overrides={ENDED})
except seqapps.SeqappsError as error:
    print(error)
"""
IMPORT = """
import pipelines, tuning
print(*(getattr(module, "__file__", module.__path__) for module in (pipelines, tuning)), sep="\\n")
"""
CONFIG_ERROR = "`source.builtin` does not exist. Received: 'nosuch'."


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`sdist`, `wheel` (from the tree) and `again` (from the sdist)."""
    folder = tmp_path_factory.mktemp("dist")
    sources = copy_sources(folder / "sources")
    again, sdist = build(sources, folder / "both")
    (wheel,) = build(sources, folder / "wheel", "--wheel")
    return {"sdist": sdist, "again": again, "wheel": wheel}


@pytest.fixture(scope="module")
def fresh(dist: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel; its folder has the name that most have."""
    environment = make_environment(tmp_path_factory.mktemp("fresh") / ".venv")
    environment.install(str(dist["wheel"]))
    return environment


@dataclass(frozen=True)
class Begun:
    """The two commands that take long, and run while the other tests do.

    Args:
        folder: holds nothing but a configuration when `run` begins.
        run: a whole run in that folder.
        workers: a job with Beam's processes, in a folder with a user's packages of our names.
    """

    folder: Path
    run: subprocess.Popen[str]
    workers: subprocess.Popen[str]


@pytest.fixture(scope="module", autouse=True)
def begun(fresh: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    empty, users = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("users")
    for folder in (empty, users):
        (folder / "tiny.toml").write_text(TINY)
    of_user(users, "package")
    beam = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    found = Begun(
        empty,
        start([fresh.seqapps, "run", "tiny.toml"], empty),
        start([fresh.python, "-m", "seqapps", "prepare", "tiny.toml", "--", *beam], users),
    )
    yield found
    for process in (found.run, found.workers):
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def workspace(begun: Begun) -> Path:
    """The workspace of the whole run. One epoch is no match for the unigram: the gate refuses the model."""
    out, err = end(begun.run, REFUSED)
    assert "report: runs for the first time" in err and "version 1 was refused" in out
    return begun.folder / "seqapps-workspace"


def files_of(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_wheel_holds_every_file_of_the_packages_and_no_other(dist: dict[str, Path]) -> None:
    ours = [file for name in PACKAGES for file in (ROOT / name).rglob("*") if "__pycache__" not in file.parts]
    tree = {file.relative_to(ROOT).as_posix(): file.read_bytes() for file in ours if file.is_file()}
    found = files_of(dist["wheel"])
    about = {name.partition("/")[2] for name in found if name.startswith(f"seqapps-{seqapps.__version__}.dist-info/")}
    assert {name: data for name, data in found.items() if name.partition("/")[0] in PACKAGES} == tree
    assert about == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}
    assert len(found) == len(tree) + len(about)


def test_wheel_from_the_sdist_is_that_of_the_tree(dist: dict[str, Path]) -> None:
    assert files_of(dist["again"]) == files_of(dist["wheel"])
    names = subprocess.run(
        ["tar", "tzf", str(dist["sdist"])], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {name.split("/")[1] for name in names} >= {*PACKAGES, "LICENSE", "README.md", "pyproject.toml", "setup.cfg"}
    assert not [name for name in names if "/tests/" in name]


def test_build_system_is_declared_for_the_tests() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    dev = {line for line in parser["options.extras_require"]["dev"].splitlines() if line[:1] not in ("", "#")}
    assert {*tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]} <= dev


def test_installed_package_is_the_one_that_runs(fresh: Environment, tmp_path: Path) -> None:
    program = "import seqapps, importlib.metadata as m; print(seqapps.__file__, m.version('seqapps'))"
    out, _ = end(start([fresh.python, "-c", program], tmp_path))
    assert out == f"{fresh.packages / 'seqapps' / '__init__.py'} {seqapps.__version__}\n"
    assert end(start([fresh.seqapps, "--version"], tmp_path))[0] == f"seqapps {seqapps.__version__}\n"
    assert end(start([fresh.seqapps, "--help"], tmp_path))[0] == f"{overview()}\n"
    assert [*tmp_path.iterdir()] == []


def test_unforeseen_error_names_our_line_in_an_environment(fresh: Environment, tmp_path: Path) -> None:
    program = """
from pathlib import Path
from seqapps.cli._failures import explain
from seqapps.errors import nearest
try:
    nearest(None, [])
except TypeError as error:
    print(explain(error, "run", Path("missing")))
"""
    out, _ = end(start([fresh.python, "-c", program], tmp_path))
    assert "(seqapps/errors.py:" in out


@pytest.mark.parametrize(
    ("command", "place", "form"),
    [
        ("seqapps", "working folder", "package"),
        *(("seqapps", "PYTHONPATH", form) for form in FORMS),
        *(("python -m seqapps", "working folder", form) for form in FORMS),
        ("python -m seqapps", "PYTHONPATH", "package"),
    ],
)
def test_command_takes_our_packages_and_runs_none_of_a_user(
    command: str, place: str, form: str, fresh: Environment, tmp_path: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    users = tmp_path if place == "working folder" else tmp_path / "path"
    of_user(users, form)
    settings = [f"{name}={value}" for name, value in ENDED.items()]
    program = [fresh.seqapps] if command == "seqapps" else [fresh.python, "-m", "seqapps"]
    words = [*program, "run", "tiny.toml", "--set", *settings]
    _, err = end(start(words, tmp_path, users if place == "PYTHONPATH" else None), code=2)
    assert err.startswith(CONFIG_ERROR) and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("place", "form"),
    [*(("beside the script", form) for form in FORMS), *(("PYTHONPATH", form) for form in FORMS), ("-c", "package")],
)
def test_program_that_runs_seqapps_is_reported_what_it_cannot_import(
    place: str, form: str, fresh: Environment, tmp_path: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    users = tmp_path / "path" if place == "PYTHONPATH" else tmp_path
    hidden = of_user(users, form)
    script = tmp_path / "script.py"
    script.write_text(RUN + IMPORT)
    words = ["-c", RUN + IMPORT] if place == "-c" else [str(script)]
    out, err = end(start([fresh.python, *words], tmp_path, users if place == "PYTHONPATH" else None))
    assert out.splitlines()[0].startswith(CONFIG_ERROR)
    assert out.splitlines()[1:] == [str(fresh.packages / name / "__init__.py") for name in NAMES]
    message = [line for line in err.splitlines() if "Warning" in line]
    assert len(message) == 2
    for line, name, path in zip(message, NAMES, hidden, strict=True):
        place = str(fresh.packages / name)
        assert f"UserWarning: `import {name}` gives seqapps' package in this process ({place}), not {path}." in line
        assert line.startswith("<string>:4:" if "-c" in words else f"{script}:4:")


@pytest.mark.parametrize("form", ["package", "file"])
@pytest.mark.parametrize("name", NAMES)
def test_run_refuses_a_name_that_the_program_has_taken(
    form: str, name: str, fresh: Environment, tmp_path: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    taken = of_user(tmp_path, form)[NAMES.index(name)]
    script = tmp_path / "script.py"
    script.write_text(f"import {name}\n{RUN}\nprint({name}.MINE)\n")
    out, err = end(start([fresh.python, str(script)], tmp_path))
    assert out.splitlines() == [
        f"`{name}` is imported from {taken} in this process, and seqapps needs its own package of that name, "
        f"{fresh.packages / name}: Python keeps one module for each name. Remedy: rename yours, or move it into a "
        "package of your own, or run seqapps in a process of its own (`seqapps run CONFIG`).",
        "True",
    ]
    assert err == ""


def test_run_without_a_search_leaves_the_name_tuning_to_the_program(fresh: Environment, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    of_user(tmp_path / "users", "file")
    (tmp_path / "users" / "pipelines.py").unlink()
    script = tmp_path / "users" / "script.py"
    script.write_text(f"import tuning\n{RUN}\nprint(tuning.MINE)\n".replace("random", "none"))
    out, err = end(start([fresh.python, str(script)], tmp_path))
    assert out.startswith(CONFIG_ERROR) and out.endswith("\nTrue\n") and err == ""


def test_folder_without_init_that_an_installed_package_hides_is_reported(fresh: Environment, tmp_path: Path) -> None:
    hidden = of_user(tmp_path, "folder")
    script = tmp_path / "script.py"
    script.write_text(IMPORT.lstrip())
    out, err = end(start([fresh.python, str(script)], tmp_path))
    assert out.splitlines() == [str(fresh.packages / name / "__init__.py") for name in NAMES]
    message = [line for line in err.splitlines() if line.startswith(f"{script}:1: UserWarning")]
    assert [path for path in hidden if any(f"not {path}." in line for line in message)] == hidden


def test_folder_of_data_is_no_module(fresh: Environment, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "first.yaml").touch()
    assert end(start([fresh.python, "-c", RUN], tmp_path))[1] == ""


DOCTOR = """
import dataclasses, json
from seqapps.cli.doctor import package
print(json.dumps([dataclasses.astuple(package(name)) for name in ("pipelines", "tuning")]))
"""


def test_doctor_tells_what_has_our_names(fresh: Environment, tmp_path: Path) -> None:
    there = [str(fresh.packages / name) for name in NAMES]
    (tmp_path / "empty").mkdir()
    found = json.loads(end(start([fresh.python, "-c", DOCTOR], tmp_path / "empty"))[0])
    assert found == [[name, True, place] for name, place in zip(NAMES, there, strict=True)]

    hidden = of_user(tmp_path / "mine", "file")
    found = json.loads(end(start([fresh.python, "-P", "-c", DOCTOR], tmp_path / "mine"))[0])
    assert found == [
        [name, True, f"{place}; a program that runs seqapps cannot import {path} by this name"]
        for name, place, path in zip(NAMES, there, hidden, strict=True)
    ]


def test_doctor_finds_a_distribution_that_was_installed_over_ours(dist: dict[str, Path], tmp_path: Path) -> None:
    rival = tmp_path / "rival-1.0-py3-none-any.whl"
    with zipfile.ZipFile(rival, "w") as archive:
        archive.writestr("tuning/__init__.py", "")
        archive.writestr("rival-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n")
        archive.writestr("rival-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("rival-1.0.dist-info/RECORD", "tuning/__init__.py,,\n")
    environment = make_environment(tmp_path / "other")
    environment.install(str(dist["wheel"]), str(rival))
    found = json.loads(end(start([environment.python, "-c", DOCTOR], tmp_path))[0])
    place = environment.packages / "tuning"
    assert found[1] == ["tuning", False, f"rival is installed over {place}. Remedy: an environment for seqapps alone"]
    assert found[0][:2] == ["pipelines", True]


def test_processes_of_beam_take_our_packages(begun: Begun) -> None:
    out, err = end(begun.workers)
    assert "prepared seqapps-workspace/prepared/tiny-" in out + err
    assert "Warning" not in err


def test_whole_run_from_a_folder_with_nothing_but_a_configuration(workspace: Path) -> None:
    assert sorted(file.name for file in workspace.parent.iterdir()) == ["seqapps-workspace", "tiny.toml"]
    (report,) = workspace.glob("runs/*/report.html")
    page = report.read_text(encoding="utf-8")
    assert "<style" in page and "Content-Security-Policy" in page
    assert (workspace / "exports" / "tiny" / "1" / "saved_model.pb").exists()


def test_same_run_from_python_is_done(workspace: Path, fresh: Environment) -> None:
    program = 'import seqapps; run = seqapps.run("tiny.toml"); print(run.promoted, run.report.exists())'
    out, err = end(start([fresh.python, "-c", program], workspace.parent))
    assert out.endswith("False True\n")
    assert [line for line in err.splitlines() if "up to date" not in line and "was refused" not in line] == []
    assert err.count("up to date") == 7


SERVED = """
import json, sys
import pipelines, tuning
import mlflow, seqapps
workspace, model = sys.argv[1:]
(answer,) = seqapps.load("tiny@1", workspace=workspace).predict(["the key of the"], max_length=3, seed=1)
(row,) = mlflow.pyfunc.load_model(model).predict(["the key of the"], params={"max_length": 3, "seed": 1})
print(json.dumps([answer.text, row["text"], pipelines.MINE, tuning.MINE]))
"""


def test_served_models_need_none_of_the_names(workspace: Path, fresh: Environment, tmp_path: Path) -> None:
    of_user(tmp_path, "package")
    (tmp_path / "serve.py").write_text(SERVED)
    (model,) = {file.parent for file in (workspace / "mlartifacts").rglob("MLmodel")}
    out, _ = end(start([fresh.python, "serve.py", str(workspace), str(model)], tmp_path))
    text, row, *mine = json.loads(out.splitlines()[-1])
    assert text == row and len(text.split()) == 3 and mine == [True, True]
