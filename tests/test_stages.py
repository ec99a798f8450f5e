"""Stages: what is done is not done again, and why something runs is said."""

from __future__ import annotations

import ast
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from seqapps import applications
from seqapps.applications import Application, config_from
from seqapps.dataset import manifest
from seqapps.dataset.manifest import Manifest, sha256_of, write_manifest
from seqapps.dataset.schema import Feature, Schema
from seqapps.workflow import promote, train, tune
from seqapps.workflow import sources as _sources
from seqapps.workflow.pipeline import PipelineRun
from seqapps.workflow.records import Inputs, Record, Records, mark_of
from seqapps.workspace import Workspace

DIGEST = "0" * 64


def inputs(**changes: Any) -> Inputs:
    values: dict[str, Any] = {
        "stage": "train",
        "config": {"seed": 1, "training": {"epochs": 3, "clip": "norm"}},
        "upstream": {"data": DIGEST, "champion": "none"},
        "code": "a",
    }
    return Inputs(**{**values, **changes})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws")


class Doer:
    """Does the stage, and remembers how often it was asked to and what was said."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.times, self.said = workspace, 0, list[str]()

    def __call__(self, stage_inputs: Inputs) -> Record:
        def work() -> Record:
            self.times += 1
            folder = self.workspace.run("x", stage_inputs.fingerprint)
            folder.mkdir(parents=True, exist_ok=True)
            return Record(stage_inputs, (folder,), {"run_id": str(self.times), "page": ""})

        return Records(self.workspace, "x").perform(stage_inputs, work, self.said.append)


def test_second_time_is_up_to_date(workspace: Workspace) -> None:
    do = Doer(workspace)
    first, second = do(inputs()), do(inputs())
    assert do.times == 1
    assert do.said == ["train: runs for the first time", f"train: up to date ({first.outputs[0]})"]
    assert (second.outputs, second.result) == (first.outputs, first.result)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"config": {"seed": 1, "training": {"epochs": 5, "clip": "norm"}}}, "config changed: training.epochs 3 -> 5"),
        (
            {"config": {"seed": 2, "training": {"epochs": 3, "momentum": 0.5}}},
            'config changed: seed 1 -> 2, training.clip "norm" -> unset, training.momentum unset -> 0.5',
        ),
        ({"upstream": {"data": "1" * 64, "champion": "none"}}, "data changed"),
        ({"upstream": {"data": DIGEST, "champion": "4"}}, "champion changed: none -> 4"),
        ({"code": "b"}, "code changed"),
        (
            {"code": "b", "config": {"seed": 9, "training": {"epochs": 3, "clip": "norm"}}},
            "config changed: seed 1 -> 9; code changed",
        ),
    ],
)
def test_what_changed_is_named(workspace: Workspace, changes: dict[str, Any], why: str) -> None:
    do = Doer(workspace)
    do(inputs())
    do(inputs(**changes))
    assert do.times == 2
    assert do.said[-1] == f"train: runs because {why}"


def test_many_changes_are_cut_short(workspace: Workspace) -> None:
    do = Doer(workspace)
    do(inputs(config={name: 0 for name in "abcdef"}))
    do(inputs(config={name: 1 for name in "abcdef"}))
    assert do.said[-1] == "train: runs because config changed: a 0 -> 1, b 0 -> 1, c 0 -> 1, d 0 -> 1 and 2 more"


def test_going_back_finds_what_was_made(workspace: Workspace) -> None:
    do = Doer(workspace)
    do(inputs())
    do(inputs(code="b"))
    do(inputs())
    assert do.times == 2
    assert "up to date" in do.said[-1]


def test_what_other_code_made_counts_when_asked(workspace: Workspace) -> None:
    do = Doer(workspace)
    record = do(inputs())
    newer = inputs(code="b")
    assert Records(workspace, "x").find(newer) is None
    found = Records(workspace, "x", any_code=True).find(newer)
    assert found is not None
    # It keeps its own fingerprint: stages after it know it by that.
    assert found.inputs.fingerprint == record.inputs.fingerprint
    assert Records(workspace, "x", any_code=True).find(inputs(code="b", config={"seed": 7})) is None


def test_missing_output_runs_again(workspace: Workspace) -> None:
    do = Doer(workspace)
    record = do(inputs())
    record.outputs[0].rmdir()
    assert Records(workspace, "x").find(inputs()) is None
    assert Records(workspace, "x").reason(inputs()) == f"runs because {record.outputs[0].resolve()} is missing"
    do(inputs())
    assert do.times == 2


@pytest.mark.parametrize("now", [b"1234", b"12345679", b"", b"123456789"])
def test_output_that_was_changed_runs_again(workspace: Workspace, now: bytes) -> None:
    do = Doer(workspace)
    made = do(inputs())
    file = made.outputs[0] / "weights"
    file.write_bytes(b"12345678")
    Records(workspace, "x").remember(made)
    do(inputs())
    assert do.times == 1
    times = file.stat()
    file.write_bytes(now)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert Records(workspace, "x").lack(inputs()) == f"{file} was changed"
    do(inputs())
    assert do.said[-1] == f"train: runs because {file} was changed"
    file.unlink()
    Records(workspace, "x").remember(made)
    file.write_bytes(b"what came later is nobody's business")
    do(inputs())
    assert do.said[-1].startswith("train: up to date")


def test_a_file_is_read_again_only_where_its_stamp_changed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    do, read = Doer(workspace), list[str]()
    made = do(inputs())
    file = made.outputs[0] / "weights"
    file.write_bytes(b"12345678")
    Records(workspace, "x").remember(made)
    monkeypatch.setattr(manifest, "sha256_of", lambda path: read.append(Path(path).name) or sha256_of(path))
    do(inputs())
    assert read == []
    file.touch()
    do(inputs())
    do(inputs())
    assert read == ["weights"]
    shutil.copytree(workspace.root, tmp_path / "copy")
    for _ in range(2):
        assert Records(Workspace(tmp_path / "copy"), "x").find(inputs()) is not None
    assert read == ["weights"] * 2
    assert do.times == 1


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": "stage 1"}', '{"format": "stage 1", "outputs": 1, "stage": "train"}', "\xff"]
)
def test_damaged_record_runs_again_and_says_so(workspace: Workspace, content: str) -> None:
    do = Doer(workspace)
    do(inputs())
    for file in (workspace.root / "stages" / "x").iterdir():
        file.write_bytes(content.encode("latin-1"))
    do(inputs())
    record = workspace.stage("x", "train")
    assert do.said[-1] == f"train: runs because its record is damaged ({record})"
    do(inputs())
    assert do.said[-1].startswith("train: up to date")


def test_a_folder_that_other_inputs_overwrote_is_made_again(workspace: Workspace) -> None:
    made = list[str]()

    def do(stage_inputs: Inputs) -> None:
        def work() -> Record:
            made.append(stage_inputs.code)
            folder = workspace.run("x", "shared") / "evaluation"
            folder.mkdir(parents=True, exist_ok=True)
            mark = mark_of(folder, stage_inputs)
            mark.touch()
            return Record(stage_inputs, (folder, mark), {"run_id": "", "page": ""})

        Records(workspace, "x").perform(stage_inputs, work, lambda _: None)

    for code in ("a", "a", "b", "a", "a"):
        do(inputs(code=code))
    assert made == ["a", "b", "a"]


def test_work_that_fails_leaves_no_record(workspace: Workspace) -> None:
    def fail() -> Record:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        Records(workspace, "x").perform(inputs(), fail, print)
    assert Records(workspace, "x").find(inputs()) is None
    assert Records(workspace, "x").last("train") is None


def test_workspace_can_be_moved(workspace: Workspace, tmp_path: Path) -> None:
    do = Doer(workspace)
    do(inputs())
    workspace.root.rename(tmp_path / "elsewhere")
    moved = Workspace(tmp_path / "elsewhere")
    found = Records(moved, "x").find(inputs())
    assert found is not None
    assert found.outputs[0].is_relative_to(moved.root)


@pytest.mark.parametrize(
    ("field", "again"),
    [
        ({"class_weights": "balanced"}, True),
        ({"max_length": 9}, True),
        ({"truncate": "tail"}, True),
        ({"shard_bytes": 5_000}, False),
        ({"max_row_bytes": 5_000}, False),
    ],
)
def test_a_field_of_data_that_training_may_read_trains_again(
    tmp_path: Path, workspace: Workspace, field: dict[str, Any], again: bool
) -> None:
    schema = Schema(features=(Feature(name="ids", dtype="int64", shape=(None,), meaning="ids"),))
    empty: dict[str, Any] = {"splits": {}, "rejected": {}, "lengths": {}, "vocabularies": {}, "tables": {}}
    made_by: dict[str, Any] = {"sources": (), "fingerprint": "f", "code_version": "1", "settings": {}}
    write_manifest(tmp_path, Manifest(application="text_classification", schema_=schema, **empty, **made_by))
    tables = {"application": "text_classification", "source": {"format": "tsv", "files": ["x.tsv"]}}

    def pipeline(data: dict[str, Any]) -> PipelineRun:
        return PipelineRun(config_from({**tables, "data": data}, "test"), workspace, Console(quiet=True), "x.toml")

    def digests(of: PipelineRun) -> dict[str, str]:
        trained = Record(train.inputs(of, tmp_path), (tmp_path / "model",), {})
        served = promote.package_inputs(of, tmp_path, trained)
        return {"tune": tune.inputs(of, tmp_path).fingerprint, "train": trained.inputs.fingerprint} | {
            "saved_model": served.fingerprint
        }

    before, after = digests(pipeline({})), digests(pipeline(field))
    assert {stage: before[stage] != after[stage] for stage in before} == dict.fromkeys(before, again)


def test_the_winner_of_a_search_is_measured_as_todays_configuration_says(workspace: Workspace) -> None:
    tables: dict[str, Any] = {"application": "translation", "source": {"format": "tsv", "files": ["x.tsv"]}}
    at_the_search = config_from({**tables, "model": {"units": [7]}, "evaluation": {"beam": 4}}, "test")
    today = config_from({**tables, "evaluation": {"beam": 1}, "tuning": {"algorithm": "random"}}, "test")
    record = Record(Inputs("tune", {}), (workspace.root,), {"config": at_the_search.model_dump(mode="json")})
    won = tune.with_winner(PipelineRun(today, workspace, Console(quiet=True), "x.toml"), record).config
    assert (won.model.model_dump()["units"], won.evaluation.model_dump()["beam"], won.tuning.algorithm) == (
        (7,),
        1,
        "none",
    )


def test_a_search_goes_on_under_another_budget_and_other_code(tmp_path: Path, workspace: Workspace) -> None:
    base = {"data": "d" * 64}

    def identity(code: str = "a", **tuning: Any) -> str:
        tables = {"algorithm": "random", "trials": 3, "minutes": 0.0, "epochs": 0, **tuning}
        return tune._identity(Inputs("tune", {"seed": 1, "tuning": tables}, base, code))

    assert identity() == identity(trials=5) == identity(minutes=9.0) == identity(code="b")
    assert len({identity(), identity(algorithm="bayesian"), identity(epochs=2)}) == 3


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of three modules: `app` imports `low` in a function; nobody imports `other`."""
    monkeypatch.setattr(_sources, "ROOT", tmp_path)
    monkeypatch.setitem(_sources.ROOTS, "train", ("seqapps/{application}.py", "seqapps/{architecture}.py"))
    folder = tmp_path / "seqapps"
    folder.mkdir()
    (folder / "arch.py").write_text("x = 1\n")
    (folder / "app.py").write_text(APP)
    (folder / "low.py").write_text("y = 1\n")
    (folder / "other.py").write_text("z = 1\n")
    return folder


APP = """
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqapps.other import z


def f():
    from seqapps.low import y

    return y
"""


@pytest.mark.parametrize(
    ("file", "source", "changes"),
    [
        ("app.py", APP, False),
        ("app.py", '"""Says."""\n' + APP.replace("return y", '"""More."""\n    # why\n    return (y)'), False),
        ("app.py", APP.replace("return y", "return -y"), True),
        ("arch.py", "x = 2\n", True),
        ("low.py", "y = 2\n", True),
        ("other.py", "z = 2\n", False),
    ],
)
def test_code_digest_sees_what_the_stage_runs(house: Path, file: str, source: str, changes: bool) -> None:
    def digest() -> str:
        _sources._read.cache_clear()
        return _sources.code_digest("train", application="app", architecture="arch")

    before = digest()
    (house / file).write_text(source)
    assert (digest() != before) == changes


@pytest.mark.parametrize("stage", sorted(_sources.ROOTS))
def test_every_root_is_there(stage: str) -> None:
    patterns = [name.format(application="language_model", architecture="stacked") for name in _sources.ROOTS[stage]]
    assert [name for name in patterns if not list(_sources.ROOT.glob(name))] == []


@pytest.mark.parametrize("application", applications.names())
@pytest.mark.parametrize("stage", sorted(_sources.NOT_CALLED))
def test_no_stage_calls_a_method_that_its_digest_leaves_out(stage: str, application: str) -> None:
    roots = [
        file
        for name in _sources.ROOTS[stage]
        for file in _sources.ROOT.glob(name.format(application=application, architecture="stacked"))
    ]
    left_out = _sources.NOT_CALLED[stage]
    others = {_sources.ROOT / "seqapps/applications/base.py"}  # whose `options_of` is that of `predict`
    for file in _sources.closure(roots, left_out) - others | {_sources.ROOT / f"seqapps/workflow/{stage}.py"}:
        if not file.exists():
            continue
        text = _sources._read(file, left_out).meaning
        own = "".join(map(ast.unparse, _sources.applications_in(ast.parse(text))))
        called = re.findall(r"\bapplication\.(\w+)", text) + re.findall(r"\b(?:self|cls)\.(\w+)", own)
        assert left_out & set(called) == set(), file
    for name in left_out:
        assert hasattr(Application, name)


def test_a_colour_in_a_picture_trains_nothing_again() -> None:
    roots = [_sources.ROOT / "seqapps/applications/time_series.py"]
    with_all = {file.parent.name for file in _sources.closure(roots)}
    trained = {file.parent.name for file in _sources.closure(roots, _sources.NOT_CALLED["train"])}
    assert with_all - trained == {"plots", "inference"}
    assert {"batching", "series", "optimization"} <= trained


def test_training_depends_on_the_layers_and_not_on_the_screen() -> None:
    roots = [_sources.ROOT / "seqapps/training/loop.py", _sources.ROOT / "seqapps/architectures/stacked.py"]
    files = {str(file.relative_to(_sources.ROOT)) for file in _sources.closure(roots)}
    assert {"seqapps/layers/states.py", "seqapps/layers/heads.py", "seqapps/training/checkpoints.py"} <= files
    assert not any("/cli/" in file or "display" in file or "curves" in file or "evaluation" in file for file in files)
