"""Which files a source means, how they are divided and cut, and the real sets that its formats are for."""

from __future__ import annotations

import gzip
import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pipelines.inputs import read_input
from pipelines.plan import is_cuttable, make_plan, pieces_of
from pipelines.prepare import prepare
from pipelines.readers import RowReader
from pipelines.sources import resolve
from seqapps.applications import config_from
from seqapps.batching.records import read_split
from seqapps.config import RunConfig
from seqapps.dataset.manifest import read_manifest
from seqapps.errors import ConfigError, DataError
from seqapps.preprocessing.splits import SPLITS, places_of
from seqapps.workspace import Workspace


def configuration(source: dict[str, Any], **data: Any) -> RunConfig:
    tables = {"tokens": {"level": "character"}, "ngram_order": 0, "max_reject_fraction": 0.0} | data
    return config_from({"name": "tiny", "application": "language_model", "source": source, "data": tables}, "a test")


def tree(folder: Path, **files: str | bytes) -> Path:
    """Writes files; `__` in a name is a dot, `___` a slash."""
    for name, content in files.items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def prepared(config: RunConfig, folder: Path, column: str, **options: Any) -> dict[str, list[str]]:
    """Prepares, and returns a kept column of every split."""
    made = prepare(config, Workspace(folder / "ws"), console=Console(file=io.StringIO()), **options)
    manifest = read_manifest(made)
    return {
        split: [value.decode() for value in read_split(made, manifest, split)[f"raw.{column}"].values.tolist()]
        for split in manifest.splits
    }


# ---- files that lie beside others


def found(folder: Path, beside: dict[str, str], *patterns: str) -> list[tuple[str, ...]]:
    """Returns the names of every file and of those beside it."""
    source = {"format": "aligned", "beside": beside, "files": [str(folder / pattern) for pattern in patterns]}
    sources = resolve(configuration(source).source, folder / "cache")
    return [(file.name, *(other.name for other in file.beside)) for file in sources]


def test_files_that_lie_beside_others(tmp_path: Path) -> None:
    tree(tmp_path, train___seq__in="a", train___seq__out="b", train___label="c", valid___seq__in="a",
         valid___seq__out="b", valid___label__gz=b"")  # fmt: skip
    slots = {"tags": "seq.out", "label": "label"}
    assert found(tmp_path, slots, "train") == [("seq.in", "seq.out", "label")]
    assert found(tmp_path, slots, "train/seq.in") == [("seq.in", "seq.out", "label")]
    assert found(tmp_path, slots, "*/*") == [
        ("train/seq.in", "train/seq.out", "train/label"), ("valid/seq.in", "valid/seq.out", "valid/label.gz")
    ]  # fmt: skip
    tree(tmp_path, pairs___a__en="", pairs___a__fr="", pairs___b__x__en="", pairs___b__fr__gz=b"")
    expected = [("a.en", "a.fr"), ("b.x.en", "b.fr.gz")]
    assert found(tmp_path, {"target": "*.fr"}, "pairs") == expected
    assert found(tmp_path, {"target": "*.fr"}, "pairs/*.en") == expected
    assert found(tmp_path, {"target": "a.fr"}, "pairs/a.en", "pairs/b.x.en") == [("a.en", "a.fr"), ("b.x.en", "a.fr")]


def test_files_beside_that_are_missing_or_not_clear(tmp_path: Path) -> None:
    tree(tmp_path, seq__in="", seq__outs="", notes="")
    with pytest.raises(DataError) as failure:
        found(tmp_path, {"tags": "seq.out"}, "seq.in")
    assert str(failure.value) == (
        f"`source.beside`: seq.in needs {tmp_path}/seq.out beside it for the column `tags`, and there is none. Nearest "
        "that exists: seq.outs. Where a folder or a pattern found a file that is none of the text, name the files one "
        "by one."
    )
    with pytest.raises(DataError) as failure:
        found(tmp_path, {"tags": "seq.outs"}, "*")
    assert str(failure.value) == (
        f"`source.beside`: {tmp_path}/seq.outs would lie beside {tmp_path}/notes and beside {tmp_path}/seq.in. Name "
        f'the file that is meant. Example: files = ["{tmp_path}/notes"].'
    )
    with pytest.raises(DataError, match=r"the file beside seq\.in for the column `tags` is the same file"):
        found(tmp_path, {"tags": "seq.in"}, "seq.in")
    with pytest.raises(DataError, match="every file that was found lies beside another one"):
        found(tmp_path, {"tags": "seq.in"}, "*.in")


def test_files_beside_are_hashed_and_in_the_manifest(tmp_path: Path) -> None:
    rows = "".join(f"row {number}\n" for number in range(60))
    tree(tmp_path, a__en=rows, a__fr__gz=gzip.compress(rows.upper().encode()))
    source = {"format": "aligned", "files": [str(tmp_path / "a.en")], "beside": {"target": "*.fr"}}
    config, workspace = configuration(source, keep=["target"]), Workspace(tmp_path / "ws")
    splits = prepared(config, tmp_path, "target")
    assert sorted(value for values in splits.values() for value in values) == sorted(rows.upper().splitlines())
    (folder,) = workspace.root.glob("prepared/tiny-*")
    assert [file.file for file in read_manifest(folder).sources] == ["a.en", "a.fr.gz"]
    before = read_input(config, workspace)
    assert [file.name for file in before.files] == ["a.en", "a.fr.gz"]
    (tmp_path / "a.fr.gz").write_bytes(gzip.compress(rows.encode()))
    after = read_input(config, workspace)
    assert {name for name in before.components if before.components[name] != after.components[name]} == {"data"}


def test_a_missing_line_beside_fails_the_job_with_both_counts(tmp_path: Path) -> None:
    tree(tmp_path, a__en="a\n" * 50, a__fr="b\n" * 49)
    source = {"format": "aligned", "files": [str(tmp_path / "a.en")], "beside": {"target": "*.fr"}}
    with pytest.raises(DataError, match=r"the same number of lines\. Received: a\.en 50, a\.fr 49\."):
        prepared(configuration(source, keep=["target"]), tmp_path, "target")


@pytest.mark.parametrize("pattern", ["corpus", "corpus/*"])
def test_a_link_to_nothing(tmp_path: Path, pattern: str) -> None:
    tree(tmp_path, corpus___a__txt="a\n")
    (tmp_path / "corpus" / "b.txt").symlink_to("gone.txt")
    with pytest.raises(DataError) as failure:
        resolve(configuration({"files": [str(tmp_path / pattern)]}).source, tmp_path)
    assert str(failure.value) == (
        f"`source.files`: {tmp_path}/corpus/b.txt is a link to gone.txt, which does not exist. Remove the link, or "
        "name the files one by one."
    )


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tree(tmp_path, a__txt="a\n")))
    for pattern in ("~/a.txt", "~/*.txt", "~"):
        (file,) = resolve(configuration({"files": [pattern]}).source, tmp_path)
        assert (file.name, file.path) == ("a.txt", str(tmp_path / "a.txt"))


# ---- columns of the path


def test_a_path_that_lacks_the_column(tmp_path: Path) -> None:
    tree(tmp_path, README="a\n", a__neg="b\n")
    config = configuration({"files": [str(tmp_path / "*")], "from_path": {"label": "suffix"}}, keep=["label"])
    sources = resolve(config.source, tmp_path)
    with pytest.raises(DataError, match=r"^README: `source\.from_path` takes the column `label` from the suffix"):
        make_plan(config, sources)


def test_the_folder_counts_where_a_column_comes_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration({"files": ["*.txt"], "from_path": {"label": "folder"}}, keep=["label"])
    inputs = []
    for name in ("neg", "pos"):
        monkeypatch.chdir(tree(tmp_path / name, a__txt="a\n"))
        inputs.append(read_input(config, Workspace(tmp_path / "ws")).components)
    assert {name for name in inputs[0] if inputs[0][name] != inputs[1][name]} == {"data"}


# ---- splits


ROWS = [f"row {number}" for number in range(300)]


def given_splits(folder: Path, **source: Any) -> dict[str, Any]:
    for number in range(10):
        tree(folder, **{f"train___{number:02d}__txt": "".join(f"{row}\n" for row in ROWS[number * 30 :][:30])})
    tree(folder, test__txt="t\n" * 5)
    parts = {"train": [str(folder / "train")], "test": [str(folder / "test.txt")], "from_path": {"stem": "stem"}}
    return parts | source


@pytest.mark.parametrize("link", [False, True])
def test_a_file_is_in_one_split(tmp_path: Path, link: bool) -> None:
    tree(tmp_path, corpus___train__txt="a\n", corpus___valid__txt="b\n")
    name = tmp_path / "corpus" / "valid.txt"
    if link:
        name = tmp_path / "link.txt"
        name.symlink_to(tmp_path / "corpus" / "valid.txt")
    source = configuration({"train": [str(tmp_path / "corpus")], "validation": [str(name)]}).source
    with pytest.raises(DataError) as failure:
        resolve(source, tmp_path)
    assert str(failure.value) == (
        f"{name} is in two splits: `source.train` finds it by '{tmp_path}/corpus' and `source.validation` by '{name}'. "
        "Name the files of each split one by one, or by patterns that share none; or say that this is meant: "
        "`data.split.same` = true."
    )


def test_training_rows_give_up_the_validation_rows_by_their_hash(tmp_path: Path) -> None:
    config = configuration(given_splits(tmp_path), keep=["stem"], split={"validation": 0.2, "test": 0.5})
    splits = prepared(config, tmp_path, "stem")
    shares = config.data.split.model_copy(update={"test": 0.0})
    places = Counter(SPLITS[place] for place in places_of((row.encode() for row in ROWS), config.seed, shares))
    assert {name: len(rows) for name, rows in splits.items()} == {**places, "test": 5}
    assert 30 < places["validation"] < 90
    assert prepared(config, tmp_path / "again", "stem") == splits


def test_training_files_give_up_the_validation_files(tmp_path: Path) -> None:
    config = configuration(given_splits(tmp_path), keep=["stem"], split={"by": "file", "validation": 0.3})
    splits = prepared(config, tmp_path, "stem")
    names = {name: set(rows) for name, rows in splits.items()}
    assert not names["train"] & names["validation"]
    assert len(splits["train"]) + len(splits["validation"]) == 300
    assert {len(rows) % 30 for rows in (splits["train"], splits["validation"])} == {0}
    assert splits["test"] == ["test"] * 5


def test_training_text_gives_up_its_last_part(tmp_path: Path) -> None:
    for rows in ("line", "document"):
        source = given_splits(tmp_path, rows=rows)
        config = configuration(source, keep=["stem"], split={"by": "position", "validation": 0.2})
        splits = prepared(config, tmp_path, "stem")
        assert sorted(set(splits["train"])) == [f"{number:02d}" for number in range(9)]
        assert sorted(set(splits["validation"])) == ["08", "09"]


def test_training_documents_are_never_cut_in_two(tmp_path: Path) -> None:
    config = configuration(given_splits(tmp_path, rows="document"), keep=["stem"], split={"validation": 0.3})
    splits = prepared(config, tmp_path, "stem")
    assert sorted(splits["train"] + splits["validation"]) == [f"{number:02d}" for number in range(10)]


def test_when_nothing_can_be_a_validation_row(tmp_path: Path) -> None:
    tree(tmp_path, one__txt="same\n" * 20)
    with pytest.raises(DataError, match=r"^The validation split is empty: 20 rows were kept in all\."):
        prepared(configuration({"train": [str(tmp_path / "one.txt")]}, split={"validation": 0.01}), tmp_path, "stem")
    source = {"train": [str(tmp_path / "one.txt")], "rows": "document"}
    with pytest.raises(DataError, match=r"leaves validation empty\. Received: 1 document") as failure:
        make_plan(configuration(source), resolve(configuration(source).source, tmp_path))
    assert 'Remedy: split = { by = "position" }' in str(failure.value)


@pytest.mark.parametrize(
    ("source", "by", "message"),
    [
        ({"format": "csv"}, "position", "cuts at line ends, and a row of this source may span lines"),
        ({"rows": "file"}, "position", "Received: format = 'text', rows = 'file'. Allowed: row, file."),
        ({}, "time", 'a series is a whole file. Received: `source.rows` = "line". Allowed with it: row, file, pos'),
        ({"format": "conllu"}, "time", "a series is a whole file"),
        ({"rows": "file"}, "time", "divides the steps of a series, and language_model has none"),
    ],
)
def test_splits_that_a_source_cannot_have(tmp_path: Path, source: dict[str, Any], by: str, message: str) -> None:
    tree(tmp_path, a__txt="text\na\n", b__txt="text\nb\n")
    config = configuration({"files": [str(tmp_path / "a.txt")], **source}, split={"by": by}, keep=list(
        source.get("beside", ())))  # fmt: skip
    with pytest.raises(ConfigError) as failure:
        make_plan(config, resolve(config.source, tmp_path))
    assert message in str(failure.value)


def test_whole_files_are_placed_by_name_in_every_format(tmp_path: Path) -> None:
    for number in range(12):
        tree(tmp_path, **{f"{number:02d}__txt": f"text\nrow {number}\n", f"{number:02d}__tags": "a\nb\n"})
    for source in ({"format": "csv"}, {"rows": "file"}, {"rows": "paragraph"},
                   {"format": "aligned", "beside": {"tags": "*.tags"}}):  # fmt: skip
        files = {"files": [str(tmp_path / "*.txt")], "from_path": {"stem": "stem"}}
        config = configuration(files | source, split={"by": "file", "validation": 0.3, "test": 0.3},
                               keep=["stem", *source.get("beside", ())])  # fmt: skip
        elements = make_plan(config, resolve(config.source, tmp_path))
        places = {piece.name: piece.split for element in elements for piece in element.pieces}
        assert Counter(places.values()).keys() == set(SPLITS)
        assert len(places) == 12


# ---- pieces


def conllu(sentences: int) -> str:
    row = "\t".join(["{}", "word", "_", "X", *"______"])
    return "".join(
        f"# text = sentence {number}\n" + "".join(row.format(word) + "\n" for word in range(1, number % 5 + 2)) + "\n"
        for number in range(sentences)
    )


FORMATS: dict[str, tuple[dict[str, Any], str]] = {
    "text": ({}, "".join(f"row number {number} of this file\n" for number in range(90))),
    "csv": ({"format": "csv"}, "text\n" + "".join(f'"row number\n{number} of this file"\n' for number in range(90))),
    "tsv": (
        {"format": "tsv", "columns": ["text"]},
        "".join(f"row number {number} of this file\n" for number in range(90)),
    ),
    "jsonl": (
        {"format": "jsonl"},
        "".join(f'{{"text": "row number {number} of this file"}}\n' for number in range(90)),
    ),
    "labelled": ({"format": "labelled"}, "".join(f"x row number {number} of this file\n" for number in range(90))),
    "conll": (
        {"format": "conll", "columns": ["text"]},
        "".join(f"a\nnumber{number}ofthisfile\n\n" for number in range(90)),
    ),
    "conllu": ({"format": "conllu"}, conllu(90)),
    "paragraph": ({"rows": "paragraph"}, "".join(f"row number\n{number} of this file\n\n" for number in range(90))),
    "aligned": (
        {"format": "aligned", "beside": {"tags": "*.tags"}},
        "".join(f"row number {n} of this file\n" for n in range(90)),
    ),
}


@given(
    rows=st.lists(st.tuples(*[st.integers(1, 400)] * 3), min_size=1, max_size=40),
    ends=st.tuples(*[st.sampled_from(["", "\n"])] * 3),
    by=st.sampled_from(["row", "position"]),
    packed=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_aligned_files_are_cut_at_the_same_lines(
    rows: list[tuple[int, ...]], ends: tuple[str, ...], by: str, packed: bool
) -> None:
    names = ("a.en", "a.fr.gz" if packed else "a.fr", "a.tags")
    with tempfile.TemporaryDirectory() as folder:
        for name, end, side in zip(names, ends, zip(*rows, strict=True), strict=True):
            text = ("\n".join(str(length % 10) * length for length in side) + end).encode()
            (Path(folder) / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        beside = {"target": "*.fr", "tags": "*.tags"}
        source = {"format": "aligned", "files": [f"{folder}/a.en"], "beside": beside}
        config = configuration(source, keep=["target", "tags"], shard_bytes=1000, split={"by": by})
        reader = RowReader.of(config, ("text",))
        pieces = list(pieces_of(config, resolve(config.source, Path(folder))))
        parts = [part for piece in pieces for part in reader.read(piece)]
    found = [row for part in parts for row in zip(*part.block.columns.values(), strict=True)]
    assert [tuple(map(len, row)) for row in found] == rows
    assert sum(part.lines for part in parts) == len(rows)
    if by == "row" and not packed:
        assert len(pieces) == max(1, -(-(sum(row[0] + 1 for row in rows) - (not ends[0])) // 1000))


@pytest.mark.parametrize("name", FORMATS)
def test_prepare_cuts_divides_and_limits_every_format(tmp_path: Path, name: str) -> None:
    source, content = FORMATS[name]
    tree(tmp_path, a__txt=content, a__tags="x" * 20 + "\nx" * 89)
    source = source | {"files": [str(tmp_path / "a.txt")], "from_path": {"stem": "stem"}}
    keep = ["stem", *source.get("beside", ())]
    config = configuration(source, keep=keep, shard_bytes=1200, split={"validation": 0.2})
    sources = resolve(config.source, tmp_path)
    elements = make_plan(config, sources)
    assert (len(elements) > 1) == (is_cuttable(config.source))
    splits = prepared(config, tmp_path, "stem")
    assert sum(map(len, splits.values())) == 90
    assert {value for values in splits.values() for value in values} == {"a"}
    reader = RowReader.of(config, ("text",))
    for limit in (1, 7, 50):
        pieces = [piece for element in make_plan(config, sources, limit) for piece in element.pieces]
        # A piece that holds fewer rows than its share gives those that it has.
        assert limit // 2 < sum(len(part.block) for piece in pieces for part in reader.read(piece)) <= limit


def test_rejects_of_a_dry_run_have_the_lines_of_the_file(tmp_path: Path) -> None:
    for source, row in (({}, "row {}\n"), ({"rows": "paragraph"}, "row\n{}\n\n")):
        rows = [row.format(number) for number in range(200)]
        rows[0::10] = [rows[0][:-1].replace("row", "x" * 99) + rows[0][-1:]] * 20
        tree(tmp_path, a__txt="".join(rows))
        config = configuration({"files": [str(tmp_path / "a.txt")], **source}, shard_bytes=1000, max_row_bytes=50,
                               max_reject_fraction=0.5, split={"validation": 0.3})  # fmt: skip
        made = prepare(config, Workspace(tmp_path / "ws"), rows=90, console=Console(file=io.StringIO()))
        rejects = [json.loads(line) for line in (made / "rejects/rejects.jsonl").read_text().splitlines()]
        lines = "".join(rows).split("\n")
        assert len(rejects) > 5
        assert all(lines[reject["line"] - 1].startswith("x" * 99) for reject in rejects)


# ---- the real sets


def real(columns: Sequence[str], source: dict[str, Any], **data: Any) -> tuple[list[dict[str, bytes]], Counter[str]]:
    """Reads a real set in pieces; returns its rows and the reasons of its rejects."""
    if "SEQAPPS_DATA" not in os.environ:
        pytest.skip("SEQAPPS_DATA is not set: the folder with cls-mr, tag-ud-english-ewt and the other sets")
    files = [str(Path(os.environ["SEQAPPS_DATA"]) / pattern) for pattern in source["files"]]
    config = configuration(source | {"files": files}, **{"shard_bytes": 100_000, **data})
    reader, rows, reasons = RowReader.of(config, columns), list[dict[str, bytes]](), Counter[str]()
    for piece in pieces_of(config, resolve(config.source, Path("unused"))):
        for part in reader.read(piece):
            names = list(part.block.columns)
            rows += [dict(zip(names, row, strict=True)) for row in zip(*part.block.columns.values(), strict=True)]
            reasons.update(reject.reason for reject in part.rejects)
    return rows, reasons


def test_real_lines_with_the_label_in_the_files_name() -> None:
    rows, reasons = real(("text", "label"), {"files": ["cls-mr/rt-*"], "from_path": {"label": "suffix"}})
    assert Counter(row["label"] for row in rows) == {b"pos": 5331, b"neg": 5331}
    assert not reasons


def test_real_labelled_lines() -> None:
    for name, count in (("train", 5452), ("test", 500)):
        rows, reasons = real(("text", "label"), {"format": "labelled", "files": [f"cls-trec/TREC.{name}"]})
        assert (len(rows), reasons) == (count, {})
        assert len({row["label"].partition(b":")[0] for row in rows}) == 6


def test_real_packed_table_with_a_kept_column() -> None:
    rows, reasons = real(("text", "label"), {"format": "tsv", "files": ["cls-polarity2/reviews.tsv.gz"]}, keep=["fold"])
    assert Counter(row["fold"] for row in rows) == {str(fold).encode(): 200 for fold in range(10)}
    assert Counter(row["label"] for row in rows) == {b"pos": 1000, b"neg": 1000}
    assert not reasons


@pytest.mark.parametrize(
    ("name", "sentences", "words"),
    [("train.conllu.gz", 12_544, 204_577), ("dev.conllu", 2_001, 25_147), ("test.conllu", 2_077, 25_094)],
)
def test_real_universal_dependencies(name: str, sentences: int, words: int) -> None:
    source = {"format": "conllu", "files": [f"tag-ud-english-ewt/en_ewt-ud-{name}"]}
    rows, reasons = real(("tokens", "tags"), source, keep=["sent_id", "text"])
    assert (len(rows), reasons) == (sentences, {})
    assert sum(len(json.loads(row["tokens"])) for row in rows) == words
    assert len({row["sent_id"] for row in rows}) == sentences


def test_real_aligned_files() -> None:
    for name, count in (("train", 13_084), ("valid", 700), ("test", 700)):
        source = {"format": "aligned", "files": [f"slu-snips/{name}"], "beside": {"tags": "seq.out", "label": "label"}}
        rows, reasons = real(("text", "tags"), source, keep=["label"])
        assert (len(rows), reasons) == (count, {})
        assert sum(len(row["text"].split()) != len(row["tags"].split()) for row in rows) == 0


def test_real_pairs_with_narrow_spaces() -> None:
    source = {"format": "tsv", "files": ["mt-tatoeba-enfr/fra.txt.gz"], "columns": ["source", "target"]}
    rows, reasons = real(("source", "target"), source)
    assert (len(rows), reasons) == (142_787, {})
    assert len({row["source"] for row in rows}) == 98_659
    assert sum(row["target"].count("\u202f".encode()) for row in rows) == 5_497
    source = {"format": "tsv", "files": ["mt-tatoeba-enko/kor.txt"], "columns": ["source", "target", "from"]}
    rows, reasons = real(("source", "target"), source)
    assert (len(rows), reasons) == (3_318, {})


def test_real_paragraphs() -> None:
    source = {"rows": "paragraph", "files": ["gen-nottingham-abc/*.abc"], "from_path": {"label": "stem"}}
    rows, reasons = real(("text", "label"), source)
    assert Counter(row["label"] for row in rows)[b"jigs"] == 340
    assert (len(rows), reasons) == (573, {})
    assert all(row["text"].startswith(b"X:") for row in rows)


def test_real_series_is_one_row() -> None:
    source = {"rows": "file", "format": "csv", "files": ["ts-beijing-pm25/pollution.csv"]}
    (row,), reasons = real(("text",), source, max_row_bytes=3_000_000)
    assert (row["text"].count(b"\r\n"), reasons) == (43_824, {})
    assert real(("text",), source)[1] == {"over-long": 1}


# ---- files that are not what they seem


def test_files_beside_the_folders_of_the_classes_are_refused(tmp_path: Path) -> None:
    for name in ("train/pos/1.txt", "train/neg/1.txt", "train/urls_pos.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("warm")
    source = {"rows": "file", "from_path": {"label": "folder"}}
    config = configuration({**source, "files": [str(tmp_path / "train")]}, keep=["label"])
    with pytest.raises(DataError) as failure:
        make_plan(config, resolve(config.source, tmp_path))
    assert f"Received: {tmp_path}/train/urls_pos.txt (1 in all), which would be `train`" in str(failure.value)
    for files in ([f"{tmp_path}/train/*/*"], [f"{tmp_path}/train/pos", f"{tmp_path}/train/neg/1.txt"]):
        config = configuration({**source, "files": files}, keep=["label"])
        assert make_plan(config, resolve(config.source, tmp_path))


def test_one_file_is_all_splits_where_one_says_so(tmp_path: Path) -> None:
    (tmp_path / "tiny.txt").write_text("hello\n")
    file = [str(tmp_path / "tiny.txt")]
    config = configuration({"train": file, "validation": file, "test": file}, split={"same": True})
    message = io.StringIO()
    folder = prepare(config, Workspace(tmp_path / "ws"), console=Console(file=message, width=500))
    manifest = read_manifest(folder)
    assert {name: split.rows for name, split in manifest.splits.items()} == {"train": 1, "validation": 1, "test": 1}
    assert manifest.found["known"] == {"validation": 1, "test": 1}
    assert "warning: `data.split.same` = true: figures say how well the training data is learned by heart" in (
        message.getvalue()
    )
