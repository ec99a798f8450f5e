"""The format of every record: what a reader says of one that it cannot read, and the table of numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import tomllib
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from seqapps import exported, formats
from seqapps.applications import load_config
from seqapps.config import to_toml
from seqapps.dataset.manifest import HASHES, Book, Manifest, hashes_of, read_manifest, sha256_of
from seqapps.diagnosis.results import Diagnosis, read_diagnosis
from seqapps.errors import DataError, SeqappsError
from seqapps.evaluation import examples, slices
from seqapps.evaluation.evaluate import STATISTICS, Evaluation, read_evaluation
from seqapps.preprocessing.labels import Labels
from seqapps.preprocessing.pretrained import Looked, Vectors
from seqapps.preprocessing.scaling import Scaling
from seqapps.preprocessing.tokenizer_config import TokenizerConfig
from seqapps.preprocessing.tokenizers import Tokenizer
from seqapps.registry.ledger import Check, Entry, Evidence
from seqapps.registry.promotion import Decision
from seqapps.registry.tracking import NamedRun, named_run
from seqapps.registry.versions import ModelVersionRef, readable
from seqapps.training import checkpoints
from seqapps.training.checkpoints import Checkpoint, Position
from seqapps.training.log import TRAIN_AGAIN, Audit, History
from seqapps.training.trained_model import Stored as StoredModel
from seqapps.training.trained_model import read_trained
from seqapps.workflow import records, train
from seqapps.workflow.export import publish
from seqapps.workflow.records import Inputs, Record, Records
from seqapps.workspace import Workspace
from tuning.oracles import Snapshot
from tuning.trials import TrialRecord, read_records

# ---- the table

SHAPES: dict[str, tuple[Any, ...]] = {
    "manifest": (Manifest,),
    "tokenizer": (TokenizerConfig,),
    "labels": (Labels,),
    "scaling": (Scaling,),
    "vectors": (Looked,),
    "stage": (records.Stored, records.TuneResult, records.TrainResult, Decision, records.ExportResult),
    "search": (Snapshot,),
    "trial": (TrialRecord,),
    "winner": (),  # a configuration: its fields are checked where it is read
    "run": (NamedRun,),
    "audit": (Audit,),
    "checkpoint": (Position,),
    "history": (History,),
    "trained": (StoredModel,),
    "evaluation": (Evaluation,),
    "breakdowns": (examples.Tables,),
    "examples": (examples.Examples,),
    "slices": (slices.Stored,),
    "diagnosis": (Diagnosis,),
    "export": (exported.Exported,),
    "version": (),  # two tags: the format, and the folder of the run
    "ledger": (Entry, Evidence),
    "backtest": (Evaluation,),  # a list of them, `folds`
    "hashes": (Book,),
}
"""Kind to the shapes that its records are read as."""


def fields_of(shape: Any, prefix: str = "") -> Iterator[str]:
    """Yields the dotted names of all fields of a shape, and of the shapes in it."""
    for part in (shape, *typing.get_args(shape)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            hints: dict[str, Any] = {name: field.annotation for name, field in part.model_fields.items()}
        elif dataclasses.is_dataclass(part):
            named = typing.get_type_hints(part, vars(inspect.getmodule(part)))
            hints = {field.name: named[field.name] for field in dataclasses.fields(part)}
        else:
            hints = {}
            if part is not shape:
                yield from fields_of(part, prefix)
        for name, annotation in hints.items():
            yield f"{prefix}{name}"
            yield from fields_of(annotation, f"{prefix}{name}.")


def digest(kind: str) -> str:
    names = sorted({name for shape in SHAPES[kind] for name in fields_of(shape)})
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]


PINNED: dict[str, tuple[int, str]] = {
    "manifest": (1, "73550b43a793"),
    "tokenizer": (1, "68f08995377f"),
    "labels": (1, "74220a512bb1"),
    "scaling": (1, "2cccb494f76f"),
    "vectors": (1, "cf0d3917b9b0"),
    "stage": (1, "50bdf3ab63ce"),
    "search": (1, "b4bb790e6d1a"),
    "trial": (1, "068a6dfc6eb1"),
    "winner": (1, "e3b0c44298fc"),
    "run": (1, "f28831697184"),
    "audit": (1, "3d3052af57c1"),
    "checkpoint": (1, "446e40fd5e5e"),
    "history": (1, "69e616decabe"),
    "trained": (1, "7d6471a7b74c"),
    "evaluation": (1, "aeb43670d605"),
    "breakdowns": (1, "865fb7060242"),
    "examples": (1, "f6a19386cadb"),
    "slices": (1, "67c5f0657c61"),
    "diagnosis": (1, "436792f623a3"),
    "export": (1, "3e68f29fcbb9"),
    "version": (1, "e3b0c44298fc"),
    "ledger": (1, "a19f1c9e4ee9"),
    "backtest": (1, "aeb43670d605"),
    "hashes": (1, "e3b0c44298fc"),
}
"""Kind to its number, and the digest of the names of its fields."""


def test_every_kind_has_a_shape_and_is_pinned() -> None:
    assert list(formats.FORMATS) == list(SHAPES) == list(PINNED)


@pytest.mark.parametrize("kind", formats.FORMATS)
def test_fields_and_number_change_together(kind: str) -> None:
    number, fields = PINNED[kind]
    now = (formats.FORMATS[kind].number, digest(kind))
    assert now == (number, fields), (
        f"The fields or the number of `{kind}` changed: now {', '.join(sorted({*_names(kind)}))}. Where a field was "
        f"added, renamed or removed: raise its number in seqapps/formats.py by one. Then write {kind!r}: {now!r} into "
        "PINNED here, and say in CHANGELOG.md that records of this kind are made anew (or cannot be read)."
    )
    assert now[0] >= number


def _names(kind: str) -> Iterator[str]:
    for shape in SHAPES[kind]:
        yield from fields_of(shape)


# ---- readers

VALUES: dict[str, dict[str, Any]] = {
    "run": {"run_id": "a", "uri": "b"},
    "audit": {"largest": 0.0, "outputs": 1, "examples": 1, "padding": 0.0, "seconds": 0.1},
    "history": {
        "objective": "perplexity", "direction": "min", "best": 2.0, "best_epoch": 1, "stopped": "epochs",
        "parameters": 3, "epochs": [], "padding": 0.0,
    },
    "manifest": {
        "application": "language_model", "schema_": {"features": []}, "splits": {}, "rejected": {}, "lengths": {},
        "vocabularies": {}, "tables": {}, "sources": [], "fingerprint": "f", "code_version": "0.7", "settings": {},
        "found": {},
    },
    "labels": {"names": ["a"], "counts": [2]},
    "scaling": {"names": ["x"], "means": [0.0], "deviations": [1.0]},
    "vectors": {"coverage": 1.0, "words": 1},
    "tokenizer": {"level": "character"},
    "stage": {
        "stage": "train", "fingerprint": "f", "components": {"config": {}, "upstream": {}, "code": "c"},
        "outputs": ["model"], "contents": {}, "result": {"run_id": "a", "page": "b"},
    },
    "trial": {
        "trial": "0000", "status": "completed", "overrides": {}, "objective": 2.0, "epochs": 1, "seconds": 1.0,
        "parameters": 3, "reason": "", "run_id": "a", "seed": 1,
    },
    "trained": {"config": {}, "code_version": "0.7"},
    "evaluation": {
        "application": "language_model", "split": "test", "note": "", "token": "word", "tokens": 3, "sequences": 2,
        "objective": "perplexity", "direction": "min", "metrics": {"perplexity": 2.0}, "baselines": {}, "seconds": 1.0,
    },
    "breakdowns": {"tables": [{"title": "t", "columns": ["a"], "rows": [["x"], [None], [1]]}]},
    "examples": {"worst": [{"row": 1, "value": None, "columns": [["text", "a"]]}], "random": []},
    "slices": {"statistics": "none", "tables": []},
    "diagnosis": {
        "model": "initial", "batch": [1, 1], "rows": 1, "loss": 1.0, "finite": True, "layers": [], "variables": [],
        "clipping": None,
    },
    "export": {
        "application": "language_model", "name": "m", "config": {}, "vocabularies": {}, "signatures": {}, "limits": {},
        "manifest_fingerprint": "f", "code_version": "0.7", "tensorflow": "2", "needs_tensorflow_text": False,
        "golden": {},
    },
    "search": {"oracle": {}, "trials": {}},
    "ledger": {
        "when": "", "who": "", "action": "promote", "model": "m", "version": "1", "from": "", "to": "1", "run_id": "a",
        "reason": "", "evidence": {}, "id": "b",
    },
}  # fmt: skip
"""Kind to a small record of it, without its format."""
VALUES["trained"]["manifest"] = VALUES["manifest"]

Reader = Callable[[Path], Any]
"""Takes the record's file."""


def _line(path: Path) -> Entry:
    return Entry.from_json(path.read_text(encoding="utf-8"), str(path))


READERS: dict[str, tuple[str, Reader]] = {
    "run": ("run.json", lambda path: formats.read(path, "run", NamedRun, TRAIN_AGAIN)),
    "audit": ("audit.json", lambda path: formats.read(path, "audit", Audit, TRAIN_AGAIN)),
    "history": ("history.json", History.read),
    "manifest": ("manifest.json", lambda path: read_manifest(path.parent)),
    "labels": ("labels.json", lambda path: Labels.load(path.parent)),
    "scaling": ("scaling.json", lambda path: Scaling.load(path.parent)),
    "vectors": ("vectors.json", lambda path: Vectors.load(path.parent)),
    "tokenizer": ("tokenizer.json", lambda path: Tokenizer.load(path.parent)),
    "stage": ("train.json", records._stored),
    "trial": ("0000.json", lambda path: read_records(path.parent)),
    "trained": ("model.json", lambda path: read_trained(path.parent)),
    "evaluation": ("evaluation.json", lambda path: read_evaluation(path.parent)),
    "breakdowns": ("breakdowns.json", lambda path: examples.read_details(path.parent, {})),
    "examples": ("examples.json", lambda path: examples.read_details(path.parent, {})),
    "slices": ("slices.json", lambda path: slices.read_slices(path.parent)),
    "diagnosis": ("diagnosis.json", lambda path: read_diagnosis(path.parent)),
    "export": ("model.json", lambda path: exported.read(path.parent)),
    "search": ("oracle.json", lambda path: formats.read(path, "search", Snapshot, "remove it")),
    "ledger": ("ledger.jsonl", _line),
}
"""Kind to the name of a file, and what reads it."""


def written(kind: str, folder: Path, **changes: Any) -> Path:
    """Writes a record of a kind with changed fields (None: without it) and all that its reader needs beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "tokenizer":
        (folder / "tokens.json").write_text('["<pad>", "<unk>", "<bos>", "<eos>"]')
    (folder / STATISTICS).write_bytes(b"none")
    if kind == "vectors":
        import numpy as np

        Vectors(np.ones((5, 2), np.float32), np.ones(5, bool), 1.0, 1).save(folder)
    path = folder / READERS[kind][0]
    values = {**formats.stamped(kind, VALUES[kind]), **changes}
    path.write_text(json.dumps({name: values[name] for name in values if changes.get(name, "") is not None}))
    return path


def message(kind: str, path: Path) -> str:
    """Returns the one message of the reader."""
    with pytest.raises(SeqappsError) as raised:
        READERS[kind][1](path)
    assert type(raised.value) in (DataError, formats.FormatError)
    return str(raised.value)


def test_every_record_that_is_read_from_json_is_tried() -> None:
    assert set(formats.FORMATS) - set(READERS) == {"winner", "checkpoint", "version", "backtest", "hashes"}


@pytest.mark.parametrize("kind", READERS)
def test_a_record_of_this_version_is_read(kind: str, tmp_path: Path) -> None:
    READERS[kind][1](written(kind, tmp_path))


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda kind, now: f"{kind} {now - 1}", "has format {older}, this version writes {now}"),
        (lambda kind, now: f"{kind} {now + 1}", "has format {newer}, this version writes {now}"),
        (lambda kind, now: None, "has no format number, this version writes {now}"),
        (lambda kind, now: 7, 'has the format "7", this version writes'),
        (lambda kind, now: "other 1", 'is a record of the kind "other", and "{kind}" is needed'),
    ],
)
def test_another_format_is_one_message(kind: str, given: Callable[[str, int], Any], says: str, tmp_path: Path) -> None:
    now = formats.FORMATS[kind].number
    path = written(kind, tmp_path, format=given(kind, now))
    said = message(kind, path)
    assert f"{path} {says.format(older=now - 1, newer=now + 1, now=now, kind=kind)}" in said
    assert "Remedy: " in said and "the version of seqapps that wrote it" in said
    if "code_version" in VALUES[kind]:
        assert "the version of seqapps that wrote it (0.7)" in said


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("content", ["", "{", "nothing", "[1, 2]", '"text"', "3", "null", "[" * 5000])
def test_what_is_no_record_is_one_message(kind: str, content: str, tmp_path: Path) -> None:
    path = written(kind, tmp_path)
    path.write_text(content)
    said = message(kind, path)
    assert f"{path} is damaged" in said and "Remedy: " in said


@pytest.mark.parametrize("kind", READERS)
def test_a_cut_record_is_one_message(kind: str, tmp_path: Path) -> None:
    path = written(kind, tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    assert f"{path} is damaged" in message(kind, path)


@pytest.mark.parametrize("kind", READERS)
def test_every_field_that_is_missing_or_of_another_type_is_reported(kind: str, tmp_path: Path) -> None:
    for field, value in VALUES[kind].items():
        wrong: Any = 3 if isinstance(value, str | list | dict) else ["x"]
        said = message(kind, written(kind, tmp_path, **{field: wrong}))
        assert " is damaged: " in said and "Remedy: " in said, (field, said)
        try:
            READERS[kind][1](written(kind, tmp_path, **{field: None}))  # a field with a default may be missing
        except DataError as error:
            assert " is missing. Remedy: " in str(error), field


@pytest.mark.parametrize("kind", sorted(set(READERS) - {"tokenizer"}))
def test_a_field_that_no_version_of_this_number_has_is_reported(kind: str, tmp_path: Path) -> None:
    assert " is damaged: " in message(kind, written(kind, tmp_path, surprise=1))


# ---- what is made anew, and what is left as it is


def test_a_stage_says_which_format_its_record_has(tmp_path: Path) -> None:
    kept = Records(Workspace(tmp_path), "x")
    inputs, said = Inputs("report", {}), list[str]()
    (tmp_path / "page").write_text("a")
    kept.perform(inputs, lambda: Record(inputs, (tmp_path / "page",), {}), said.append)
    for number in (0, 2):
        for path in (tmp_path / "stages" / "x").iterdir():
            path.write_text(path.read_text().replace(formats.stamp("stage"), f"stage {number}"))
        kept.perform(inputs, lambda: Record(inputs, (tmp_path / "page",), {}), said.append)
        where = tmp_path / "stages" / "x" / "report.json"
        assert said[-1] == f"report: runs because its record has format {number}, this version writes 1 ({where})"
    kept.perform(inputs, lambda: Record(inputs, (tmp_path / "page",), {}), said.append)
    assert said[-1].startswith("report: up to date")


def test_a_stage_runs_whose_output_has_another_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, said, inputs = Records(Workspace(tmp_path), "x"), list[str](), Inputs("evaluate", {})
    folder = written("evaluation", tmp_path / "evaluation").parent

    def work() -> Record:
        written("evaluation", folder)
        return Record(inputs, (folder,), {})

    kept.perform(inputs, work, said.append)
    newer = {**formats.FORMATS, "evaluation": formats.FORMATS["evaluation"]._replace(number=2)}
    monkeypatch.setattr(formats, "FORMATS", newer)  # as the next version has it
    kept.perform(inputs, work, said.append)
    path = folder / "evaluation.json"
    assert said[-1] == f"evaluate: runs because {path} has format 1, this version writes 2"
    kept.perform(inputs, work, said.append)
    assert said[-1] == f"evaluate: up to date ({folder})"


def test_a_file_beside_a_training_in_another_format_makes_it_doubtful(tmp_path: Path) -> None:
    assert train.stale_beside(tmp_path) == ""
    for kind in ("audit", "run"):
        path = written(kind, tmp_path)
        assert train.stale_beside(tmp_path) == ""
        written(kind, tmp_path, format=f"{kind} 2")
        assert train.stale_beside(tmp_path) == f"{path} has format 2, this version writes 1"
        path.write_text("{")  # a damaged one is another matter: it is looked up or left out
        assert train.stale_beside(tmp_path) == ""


def test_an_export_of_another_version_is_not_replaced(tmp_path: Path) -> None:
    source = written("export", tmp_path / "source").parent
    for given in ("export 0", "export 2", None):
        target = written("export", tmp_path / "target", format=given)
        before = target.read_bytes()
        with pytest.raises(formats.FormatError, match=r"Remedy: remove .*target and run `seqapps run CONFIG`"):
            publish(source, target.parent)
        assert target.read_bytes() == before
    target.write_text("{")
    publish(source, target.parent)  # a damaged one is put back
    assert exported.read(target.parent) == exported.read(source)


def test_a_version_of_another_format_is_refused() -> None:
    ref = ModelVersionRef("m", "3", "run", Path("x"), "source", formats.stamp("version"))
    assert readable(ref) is ref
    for given, says in (("version 0", "has format 0"), ("", "has no format number")):
        with pytest.raises(formats.FormatError, match=rf"^version 3 of `m` {says}, this version writes 1\. Remedy: "):
            readable(dataclasses.replace(ref, format=given))


def test_evidence_of_the_ledger_is_checked(tmp_path: Path) -> None:
    evidence: dict[str, Any] = {
        "objective": "perplexity", "direction": "min", "split": "test", "tokens": 3, "sequences": 2, "metrics": {},
        "opponent": "", "checks": [dataclasses.asdict(Check("uniform", 1.0, None, True, ""))],
    }  # fmt: skip
    assert _line(written("ledger", tmp_path, evidence=evidence)).evidence == evidence
    evidence["checks"] = [{"against": "uniform"}]
    said = message("ledger", written("ledger", tmp_path, evidence=evidence))
    assert "is damaged: in its evidence, the field `checks.0.ours` is missing. Remedy: " in said


def test_a_checkpoint_of_another_format_gives_way_to_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    position: dict[str, Any] = {
        "epoch": 1, "step": 0, "best": 2.0, "best_loss": 1.0, "best_epoch": 1, "waited": 0,
        "schedule": {"waited": 0, "drops": 0}, "seconds": 1.0, "logs": [],
    }  # fmt: skip
    checkpoints.save(tmp_path, Checkpoint("a", {}, position))
    newer = {**formats.FORMATS, "checkpoint": formats.FORMATS["checkpoint"]._replace(number=2)}
    with monkeypatch.context() as patched:
        patched.setattr(formats, "FORMATS", newer)
        checkpoints.save(tmp_path, Checkpoint("a", {}, {**position, "epoch": 2}))
    found = checkpoints.find(tmp_path, "a")
    assert found.checkpoint is not None and found.checkpoint.meta == position
    assert found.note == (f"{tmp_path / 'checkpoint.npz'} has format 2, this version writes 1, and is left aside.")
    checkpoints.save(tmp_path, Checkpoint("a", {}, {**position, "logs": [{"epoch": 1}]}))
    with pytest.raises(DataError, match=r"as a checkpoint: ValueError: the field `logs\.0\.steps` "):
        checkpoints.read(tmp_path / checkpoints.FILE_NAME)


def test_a_winner_of_another_search_is_refused_and_a_configuration_needs_no_format(tmp_path: Path) -> None:
    tables = {"application": "language_model", "source": {"builtin": "python_docs"}}
    plain, path = tmp_path / "plain.toml", tmp_path / "best.toml"
    plain.write_text(to_toml(tables))
    path.write_text(to_toml(formats.stamped("winner", tables)))
    assert tomllib.loads(path.read_text())["format"] == formats.stamp("winner")
    assert load_config(path, ["name=x"]) == load_config(plain, ["name=x"])
    for given in ("winner 0", "winner 2", "run 1"):
        path.write_text(to_toml({"format": given, **tables}))
        with pytest.raises(SeqappsError, match=rf"{path} (has|is) .*Remedy: search again \(`seqapps tune CONFIG`\)"):
            load_config(path)


def test_hashes_and_the_run_are_found_again(tmp_path: Path) -> None:
    file, book = tmp_path / "a", tmp_path / HASHES
    file.write_text("a")
    for content in ("", "[1]", '{"format": "hashes 0"}', '{"/x": ["s", "h"]}', '{"format": "hashes 1", "/x": 3}'):
        book.write_text(content)
        assert hashes_of([file], book) == [sha256_of(file)]
        assert json.loads(book.read_text())["format"] == formats.stamp("hashes")
    for given in ("run 0", "run 2", None):
        assert named_run(written("run", tmp_path, format=given)) == NamedRun()
    assert named_run(written("run", tmp_path)) == NamedRun(run_id="a", uri="b")
