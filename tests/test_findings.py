"""What `prepare` tells at its end: the first row, classes, rows of two splits, texts that do not come back."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.findings import doubts
from pipelines.prepare import prepare
from seqapps.applications import config_from
from seqapps.errors import DataError
from seqapps.manifest import read_manifest
from seqapps.workspace import Workspace


def told(folder: Path, application: str, rows: dict[str, Any], /, **data: Any) -> list[str]:
    """Returns what `prepare` says beside sizes and rejects."""
    config = config_from({"application": application, "source": rows, "data": data}, "a test")
    console = Console(file=io.StringIO(), width=1000)
    target = prepare(config, Workspace(folder / "ws"), console=console)
    assert read_manifest(target).found["first"]
    lines: list[str] = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    end = next(number for number, line in enumerate(lines) if line.startswith("prepared "))
    return [line.removeprefix("prepare: ") for line in lines[end + 1 :]]


def test_classes_the_first_row_and_rows_of_two_splits(tmp_path: Path) -> None:
    rows = {
        "train": ["warm,1", "cold,2", "good,1.0", "bad,2"],
        "validation": ["good,2"],
        "test": ["bad,1", "bad,1", "ugly,2"],
    }
    for name, lines in rows.items():
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    source = {"format": "csv", **{name: [str(tmp_path / f"{name}.csv")] for name in rows}}
    assert told(tmp_path, "text_classification", source) == [
        "first row: text = 'warm'; label = '1'",
        "label: 3 in the training split: 2 2, 1 1, 1.0 1",
        "warning: label: '1' (1) and '1.0' (1) are one number in two spellings, and two classes",
        "warning: the test split has no row of the class '1.0', which the training split has. Remedy: another "
        "`data.split.seed`, larger shares of `data.split`, or more rows",
        "warning: the validation split has no row of the classes '1', '1.0', which the training split has. Remedy: "
        "another `data.split.seed`, larger shares of `data.split`, or more rows",
        "warning: 1 of 1 rows of the validation split (100.0%) stand in the training split, too",
        "warning: 2 of 3 rows of the test split (66.7%) stand in the training split, too",
    ]


def test_classes_that_may_be_one() -> None:
    assert doubts({"1": 3, "01": 1, "1.0": 2, "2": 5, "1e0": 1, "nan": 1, "NaN2": 1}) == [
        "'1' (3) and '01' (1) and '1.0' (2) and '1e0' (1) are one number in two spellings, and two classes"
    ]
    assert doubts({"Pos": 2, "pos": 1, "neg": 4}) == [
        "'Pos' (2) and 'pos' (1) differ in case alone, and are two classes"
    ]
    assert doubts({"a": 1, "b": 1, "+": 1, "-": 1, ".": 1}) == []


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"unit": "word"}, []),
        ({"unit": "character"}, []),
        (
            {"unit": "word", "spacing": "dropped"},
            [
                "target: 62.5% of the texts do not come back from their units as they were: '6.2' as '6. 2'. With "
                '`spacing` = "kept" of its tokens they do'
            ],
        ),
        (
            {"unit": "word", "words": "whitespace", "vocabulary_size": 5},
            [
                "target: 12.5% of the texts do not come back from their units as they were: 'a  b' as 'a b'. With "
                '`words` = "unicode" and `spacing` = "kept" of its tokens they do',
                "target: 62.5% of the texts hold a unit that the vocabulary lacks",
            ],
        ),
    ],
    ids=["kept", "characters", "dropped", "whitespace"],
)
def test_targets_that_do_not_come_back_are_told(target: dict[str, Any], said: list[str], tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("source\ttarget\nx\t6.2\ny\ta\nz\ta  b\nw\ta\n")
    (tmp_path / "valid.tsv").write_text("source\ttarget\nx\t6.2\ny\ta\nz\t6.2\nw\t6.2\n")
    source = {"train": [str(tmp_path / "pairs.tsv")], "validation": [str(tmp_path / "valid.tsv")]}
    sides = {"source": {"unit": "word"}, "target": target}
    lines = [line for line in told(tmp_path, "translation", source, **sides) if line.startswith("target")]
    assert lines == said


@pytest.mark.parametrize("application", ["text_classification", "conditional_generation"])
def test_a_list_is_no_label(application: str, tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"a {number}", "label": ["pos"]}) for number in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"The reason that led: label-is-a-list \(20\); several labels of a text need"):
        told(tmp_path, application, {"format": "jsonl", "files": [str(tmp_path / "rows.jsonl")]})
