"""What `prepare` reports at its end: the first row, classes, rows of two splits, texts that do not come back."""

from __future__ import annotations

import io
import json
import math
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.findings import doubts
from pipelines.prepare import prepare
from seqapps.applications import config_from
from seqapps.dataset.manifest import read_manifest
from seqapps.errors import DataError
from seqapps.workspace import Workspace


def summary(folder: Path, application: str, rows: dict[str, Any], /, **data: Any) -> list[str]:
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
    assert summary(tmp_path, "text_classification", source) == [
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


SERIES = {"time": "t", "targets": ["y"], "history": 3, "horizon": 2}


def hours(values: list[float], series: str = "") -> str:
    """Returns lines of so many hours, with the name of the series where there is one."""
    times = (datetime(2021, 1, 1) + timedelta(hours=hour) for hour in range(len(values)))
    return "".join(
        f"{time.isoformat()},{value:g}{series and ',' + series}\n" for time, value in zip(times, values, strict=True)
    )


def test_windows_that_stand_in_training_too(tmp_path: Path) -> None:
    values = [math.sin(hour) for hour in range(60)]
    for name, lines in (("a", values), ("b", values), ("c", [0.0] * 60)):
        (tmp_path / f"{name}.csv").write_text("t,y\n" + hours(lines))
    source = {"format": "csv", "rows": "file", "train": [str(tmp_path / "a.csv")]}
    copied = summary(tmp_path, "time_series", source | {"test": [str(tmp_path / "b.csv")]}, **SERIES)
    assert "warning: 50 of 56 rows of the test split (89.3%) stand in the training split, too" in copied
    other = summary(tmp_path, "time_series", source | {"test": [str(tmp_path / "c.csv")]}, **SERIES)
    assert not [line for line in other if "too" in line]


def test_documents_that_stand_in_training_too(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.txt").write_text(
            "one text\nof two lines\n" * 30 + ("more\n" if name == "validation" else "")
        )
    source = {"rows": "document", **{name: [str(tmp_path / f"{name}.txt")] for name in ("train", "validation", "test")}}
    lines = summary(tmp_path, "language_model", source, ngram_order=0, vocabulary_size=0)
    assert "warning: 1 of 1 rows of the test split (100.0%) stand in the training split, too" in lines
    assert not [line for line in lines if "rows of the validation split" in line]


@pytest.mark.parametrize("log", [(), ("y",)])
def test_levels_that_lie_far_apart(tmp_path: Path, log: tuple[str, ...]) -> None:
    lines = "".join(
        hours([level + hour % 3 - 1 for hour in range(60)], name) for name, level in (("big", 1e6), ("small", 10))
    )
    (tmp_path / "x.csv").write_text("t,y,s\n" + lines)
    source = {"format": "csv", "rows": "file", "files": [str(tmp_path / "x.csv")]}
    found = [
        line for line in summary(tmp_path, "time_series", source, **SERIES, series="s", log=log) if "levels" in line
    ]
    assert len(found) == 1
    assert found[0].startswith("warning: y: the levels of the series lie far apart: one deviation")
    assert "series 'big'" in found[0]
    calm = "".join(
        hours([level + hour % 3 - 1 for hour in range(60)], name) for name, level in (("big", 30), ("small", 10))
    )
    (tmp_path / "x.csv").write_text("t,y,s\n" + calm)
    assert not [line for line in summary(tmp_path, "time_series", source, **SERIES, series="s") if "levels" in line]


def test_a_series_of_another_step_is_not_filled(tmp_path: Path) -> None:
    days = "".join(f"2021-01-{day:02d}T00:00:00,{day},daily\n" for day in range(1, 31))
    (tmp_path / "x.csv").write_text("t,y,s\n" + hours([hour % 7 for hour in range(24 * 29)], "hourly") + days)
    source = {"format": "csv", "rows": "file", "files": [str(tmp_path / "x.csv")]}
    with pytest.raises(
        DataError, match=r"667 of 697 steps of series 'daily' have no line: with a step of 1h .* = 0.96"
    ):
        summary(tmp_path, "time_series", source, **SERIES, series="s", frequency="1h")
    assert summary(tmp_path, "time_series", source, **SERIES, series="s", frequency="1h", max_inserted_fraction=0.96)


def test_a_header_that_shares_some_names_is_reported(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text(
        "sentence\tlabel\n" + "".join(f"text {row}\t{'pos' if row % 2 else 'neg'}\n" for row in range(60))
    )
    source = {"format": "tsv", "columns": ["text", "label"], "files": [str(tmp_path / "x.tsv")]}
    assert summary(tmp_path, "text_classification", source)[0] == (
        "warning: x.tsv: the first line is read as a row, and says 'label' in the column `label`. If it is a header: "
        "leave `source.columns` out"
    )


def test_a_series_with_a_header_and_columns(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("time,Y\n" + hours([hour % 7 for hour in range(60)]))
    source = {"format": "csv", "rows": "file", "columns": ["t", "y"], "files": [str(tmp_path / "x.csv")]}
    with pytest.raises(DataError, match=r"x.csv, line 1: it has names of columns, .* Received: time,Y. Remedy: take"):
        summary(tmp_path, "time_series", source, **SERIES)


@pytest.mark.parametrize(
    ("label", "data", "reason"),
    [
        ({"x": "neg"}, {}, "label-is-an-object (40); a label is one text"),
        ([1], {"multi_label": True}, r"labels-are-no-texts (40); the labels of a text are texts: ["),
        ("a", {"multi_label": True}, "unreadable-labels (40)"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, label: Any, data: dict[str, Any], reason: str) -> None:
    lines = (json.dumps({"text": f"a {row}", "label": label}) for row in range(40))
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=re.escape(reason)):
        summary(tmp_path, "text_classification", {"format": "jsonl", "files": [str(tmp_path / "x.jsonl")]}, **data)


@pytest.mark.parametrize("stray", ["README", "readme.txt", "urls.csv"])
def test_a_stray_file_gives_no_class(tmp_path: Path, stray: str) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("pos.txt", "neg.txt", stray):
        (folder / name).write_text("".join(f"{name} {row}\n" for row in range(30)))
    source: dict[str, Any] = {"from_path": {"label": "stem"}, "files": [str(folder / "*")]}
    with pytest.raises(DataError, match=rf"among them are others. Received: .*{stray} \(1 in all\)"):
        summary(tmp_path, "text_classification", source)
    assert summary(
        tmp_path, "text_classification", source | {"files": [str(folder / name) for name in ("pos.txt", stray)]}
    )


def test_a_tag_that_training_lacks_is_reported(tmp_path: Path) -> None:
    rows = {"train": "DET NOUN", "validation": "DET RARE", "test": "DET NOUN"}
    for name, tags in rows.items():
        one, other = tags.split()
        (tmp_path / f"{name}.conll").write_text("".join(f"the{row} {one}\ncat{row} {other}\n\n" for row in range(9)))
    source: dict[str, Any] = {"format": "conll", "columns": ["tokens", "tags"]}
    source |= {name: [str(tmp_path / f"{name}.conll")] for name in rows}
    lines = [line for line in summary(tmp_path, "sequence_tagging", source) if "has no row" in line]
    assert [line.partition(". Remedy")[0] for line in lines] == [
        "warning: the validation split has no row of the tag 'NOUN', which the training split has",
        "warning: the training split has no row of the tag 'RARE', which the validation split has",
    ]


def test_what_a_series_holds_is_reported_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("t,y\n" + hours([hour % 7 for hour in range(100)]))
    source = {"format": "csv", "rows": "file", "files": [str(tmp_path / "x.csv")]}
    assert summary(tmp_path, "time_series", source, **SERIES, time_zone="Europe/Berlin")[1:] == [
        "step: 1h, by the clock of Europe/Berlin where times have an offset",
        "values in the training part: y 80",
        "steps of the training part: 80 with a line, 0 without one (inserted as missing), 0 lines out of order "
        "(sorted)",
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
        ({"level": "word"}, []),
        ({"level": "character"}, []),
        (
            {"level": "word", "spacing": "dropped"},
            [
                "target: 62.5% of the texts do not come back from their tokens as they were: '6.2' as '6. 2'. With "
                '`spacing` = "kept" of its tokens they do'
            ],
        ),
        (
            {"level": "word", "words": "whitespace", "vocabulary_size": 5},
            [
                "target: 12.5% of the texts do not come back from their tokens as they were: 'a  b' as 'a b'. With "
                '`words` = "unicode" and `spacing` = "kept" of its tokens they do',
                "target: 62.5% of the texts hold a token that the vocabulary lacks",
            ],
        ),
    ],
    ids=["kept", "characters", "dropped", "whitespace"],
)
def test_targets_that_do_not_come_back_are_reported(target: dict[str, Any], said: list[str], tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("source\ttarget\nx\t6.2\ny\ta\nz\ta  b\nw\ta\n")
    (tmp_path / "valid.tsv").write_text("source\ttarget\nx\t6.2\ny\ta\nz\t6.2\nw\t6.2\n")
    source = {"train": [str(tmp_path / "pairs.tsv")], "validation": [str(tmp_path / "valid.tsv")]}
    sides = {"source": {"level": "word"}, "target": target}
    lines = [line for line in summary(tmp_path, "translation", source, **sides) if line.startswith("target")]
    assert lines == said


@pytest.mark.parametrize("application", ["text_classification", "conditional_generation"])
def test_a_list_is_no_label(application: str, tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"a {number}", "label": ["pos"]}) for number in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"The reason that led: label-is-a-list \(20\); several labels of a text need"):
        summary(tmp_path, application, {"format": "jsonl", "files": [str(tmp_path / "rows.jsonl")]})
