"""`prepare` end to end through Beam: literal rows in, literal ids, rejects and counts out."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from pipelines import ngrams
from pipelines.graph import Job, MergeRuns
from pipelines.graph import run as run_job
from pipelines.inputs import Input, read_input
from pipelines.plan import make_plan
from pipelines.prepare import beam_options, fingerprint, prepare
from pipelines.publish import describe, write_rejects
from pipelines.readers import RowReader
from pipelines.sources import resolve
from pipelines.storage import Build
from pipelines.tfrecord import examples, records
from seqapps.applications import application_of, config_from
from seqapps.config import RunConfig, SplitConfig
from seqapps.dataset.manifest import Manifest, read_manifest
from seqapps.dataset.ragged import Ragged
from seqapps.dataset.schema import Feature, Schema
from seqapps.errors import ConfigError, DataError, RunError, SeqappsError
from seqapps.preprocessing.splits import SPLITS, places_of
from seqapps.preprocessing.tokenizers import Tokenizer
from seqapps.workspace import Workspace

WORDS = {"level": "word", "words": "whitespace"}


def configuration(source: dict[str, Any], seed: int = 1, **data: Any) -> RunConfig:
    tables = {"vocabulary_size": 0, "tokens": WORDS, "ngram_order": 0} | data
    return config_from(
        {"name": "tiny", "application": "language_model", "seed": seed, "source": source, "data": tables}, "a test"
    )


def given_splits(folder: Path, train: bytes, **more: Any) -> dict[str, Any]:
    """Writes a source whose files are the splits."""
    (folder / "train.txt").write_bytes(train)
    (folder / "valid.txt").write_bytes(b"valid\n")
    return {"train": [str(folder / "train.txt")], "validation": [str(folder / "valid.txt")], **more}


def split_of(key: bytes, seed: int, split: SplitConfig) -> str:
    return SPLITS[places_of([key], seed, split)[0]]


def run(config: RunConfig, folder: Path, **options: Any) -> Path:
    return prepare(config, Workspace(folder / "ws"), console=Console(file=io.StringIO()), **options)


def ids_of(folder: Path, split: str) -> list[list[int]]:
    """Reads shards with TensorFlow's own reader, which checks the checksums."""
    files = [str(folder / shard.file) for shard in read_manifest(folder).splits[split].shards]
    feature = {"ids": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)}
    return [tf.io.parse_single_example(r, feature)["ids"].numpy().tolist() for r in tf.data.TFRecordDataset(files)]


def texts_of(folder: Path, split: str) -> list[str]:
    tokens = Tokenizer.load(folder / "vocabularies" / "text").vocabulary.tokens
    return [" ".join(tokens[token] for token in row) for row in ids_of(folder, split)]


def rejects_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rejects" / "rejects.jsonl").read_text().splitlines()]


def bytes_of(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def table_of(folder: Path, manifest: Manifest) -> dict[tuple[int, ...], int]:
    rows = np.concatenate([np.load(folder / table.file) for table in manifest.tables["ngrams"]])
    return {tuple(row[:-1]): row[-1] for row in rows.tolist()}


# ---- what comes out


def test_lines_to_shards_vocabulary_ngrams_and_manifest(tmp_path: Path) -> None:
    source = given_splits(tmp_path, b"a b a\nb a c\r\nlast without an end a")
    folder = run(configuration(source, vocabulary_size=7, ngram_order=2), tmp_path)
    manifest = read_manifest(folder)
    assert (folder / "vocabularies/text/tokens.json").read_text() == (
        '[\n"<pad>",\n"<unk>",\n"<bos>",\n"<eos>",\n"a",\n"b",\n"an"\n]\n'
    )
    assert ids_of(folder, "train") == [[4, 5, 4, 3], [5, 4, 1, 3], [1, 1, 6, 1, 4, 3]]
    assert ids_of(folder, "validation") == [[1, 3]]
    train = manifest.splits["train"]
    assert (train.rows, train.tokens, manifest.lengths["train"]) == (3, 14, {"4": 2, "8": 1})
    assert [shard.sha256 for shard in train.shards] == [bytes_of(folder)["train/shard-00000.tfrecord"]]
    assert manifest.vocabularies["text"].coverage == pytest.approx(7 / 11)
    assert table_of(folder, manifest) == {
        (1, 1): 1, (1, 3): 1, (1, 4): 1, (1, 6): 1, (2, 1): 1, (2, 4): 1, (2, 5): 1,
        (4, 1): 1, (4, 3): 2, (4, 5): 1, (5, 4): 2, (6, 1): 1,
    }  # fmt: skip
    assert [(s.file, s.bytes) for s in manifest.sources] == [("train.txt", 34), ("valid.txt", 6)]
    assert (manifest.rejected, rejects_of(folder)) == ({}, [])


def test_only_the_training_split_is_counted(tmp_path: Path) -> None:
    folder = run(configuration(given_splits(tmp_path, b"a\n"), ngram_order=1), tmp_path)
    assert texts_of(folder, "validation") == ["<unk> <eos>"]
    assert table_of(folder, read_manifest(folder)) == {(3,): 1, (4,): 1}


def test_rejected_rows_have_reason_file_and_line_also_beyond_the_first_piece(tmp_path: Path) -> None:
    lines = [b"good line number %d" % number for number in range(1, 201)]
    lines[9] = b"bad \xff\xfe"
    lines[99] = b""
    lines[149] = b"   \t"
    lines[198] = b"long" * 50
    source = given_splits(tmp_path, b"\n".join(lines))
    folder = run(configuration(source, max_row_bytes=100, max_reject_fraction=0.02, shard_bytes=1000), tmp_path)
    assert rejects_of(folder) == [
        {"file": "train.txt", "line": 10, "reason": "not-utf-8", "text": "bad \ufffd\ufffd"},
        {"file": "train.txt", "line": 100, "reason": "empty", "text": ""},
        {"file": "train.txt", "line": 150, "reason": "empty", "text": "   \t"},
        {"file": "train.txt", "line": 199, "reason": "over-long", "text": "long" * 50},
    ]
    manifest = read_manifest(folder)
    assert manifest.rejected == {"empty": 2, "not-utf-8": 1, "over-long": 1}
    assert manifest.splits["train"].rows == 196
    assert len(manifest.splits["train"].shards) == 5
    assert texts_of(folder, "train")[-1] == "good line number 200 <eos>"


def test_too_many_rejects_fail_and_name_the_reason_that_led(tmp_path: Path) -> None:
    config = configuration(given_splits(tmp_path, b"a\n\n\n\xff\nb\n"), max_reject_fraction=0.1)
    with pytest.raises(DataError) as failure:
        run(config, tmp_path)
    (build,) = (tmp_path / "ws/prepared").glob(".build-*")
    assert str(failure.value) == (
        "3 of 6 rows were rejected, 50.00%, above `data.max_reject_fraction` = 0.1. The reason that led: empty (2). "
        f"All: empty 2, not-utf-8 1. The rows are in {build.resolve() / 'data/rejects/rejects.jsonl'}."
    )
    assert [(reject["reason"], reject["line"]) for reject in rejects_of(build / "data")] == [
        ("empty", 2),
        ("empty", 3),
        ("not-utf-8", 4),
    ]
    assert not list((tmp_path / "ws/prepared").glob("tiny-*"))


# ---- formats


def test_jsonl_rows(tmp_path: Path) -> None:
    rows = [b'{"text": "one two"}', b'{"text": 3}', b'{"other": "x"}', b"{broken", b'["text"]', b'{"text": "\\ud800"}',
            b'{"text": " "}', b'{"text": "d\\u00e9j\\u00e0"}']  # fmt: skip
    source = given_splits(tmp_path, b"\n".join(rows), format="jsonl")
    (tmp_path / "valid.txt").write_bytes(b'{"text": "v"}\n')
    folder = run(configuration(source, max_reject_fraction=1.0), tmp_path)
    assert texts_of(folder, "train") == ["one two <eos>", "3 <eos>", "déjà <eos>"]
    assert [(reject["line"], reject["reason"]) for reject in rejects_of(folder)] == [
        (3, "missing-field"), (4, "unreadable-json"), (5, "missing-field"), (6, "not-utf-8"),
        (7, "empty"),
    ]  # fmt: skip


def test_csv_rows_may_span_lines(tmp_path: Path) -> None:
    data = b'id,body\n1,"one, two\nthree"\n2\n3,"a ""b"""\n4,\n5,\xff\n6,last\n'
    source = given_splits(tmp_path, b"\xef\xbb\xbf" + data, format="csv", fields={"text": "body"})
    (tmp_path / "valid.txt").write_bytes(b"body\nv\n")
    folder = run(configuration(source, max_reject_fraction=1.0), tmp_path)
    assert texts_of(folder, "train") == ["one, two three <eos>", 'a "b" <eos>', "last <eos>"]
    assert [(reject["line"], reject["reason"]) for reject in rejects_of(folder)] == [
        (4, "missing-field"),
        (6, "empty"),
        (7, "not-utf-8"),
    ]


def test_tsv_has_no_quotes_and_pieces_know_the_header(tmp_path: Path) -> None:
    rows = "".join(f'{number}\t"row {number}\n' for number in range(300))
    source = given_splits(tmp_path, f"id\ttext\n{rows}short\n".encode(), format="tsv")
    (tmp_path / "valid.txt").write_bytes(b"text\nv\n")
    folder = run(configuration(source, shard_bytes=1000), tmp_path)
    texts = texts_of(folder, "train")
    assert (len(texts), texts[0], texts[-1]) == (300, '"row 0 <eos>', '"row 299 <eos>')
    assert [(reject["line"], reject["reason"]) for reject in rejects_of(folder)] == [(302, "missing-field")]


def test_a_column_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    source = given_splits(tmp_path, b"id,texts\n1,a\n", format="csv")
    with pytest.raises(DataError) as failure:
        run(configuration(source), tmp_path)
    assert str(failure.value) == (
        "train.txt: column does not exist. Received: 'text'. Allowed: id, texts. Nearest: texts."
    )


def test_gz_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "train.txt.gz").write_bytes(gzip.compress(b"a b\n\xff\nc\n"))
    (tmp_path / "valid.txt").write_bytes(b"a\n")
    source = {"train": [str(tmp_path / "train.txt.gz")], "validation": [str(tmp_path / "valid.txt")]}
    folder = run(configuration(source, max_reject_fraction=0.5), tmp_path)
    assert texts_of(folder, "train") == ["a b <eos>", "c <eos>"]
    assert [(reject["file"], reject["line"]) for reject in rejects_of(folder)] == [("train.txt.gz", 2)]


def test_a_broken_gz_says_which_file(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"a b\n" * 1000)[:-20])
    source = given_splits(tmp_path, b"x\n") | {"train": [str(tmp_path / "a.gz")]}
    with pytest.raises(DataError, match=r"^a\.gz cannot be read: "):
        run(configuration(source), tmp_path)


# ---- documents


def test_a_document_keeps_its_line_ends_and_is_cut_by_position(tmp_path: Path) -> None:
    text = "ab\n\nba\n" * 300 + "end"
    (tmp_path / "text.txt").write_text(text)
    source = {"files": [str(tmp_path / "text.txt")], "rows": "document"}
    split = {"by": "position", "validation": 0.1, "test": 0.1}
    data = {"tokens": {"level": "character"}, "split": split, "ngram_order": 3}
    folder = run(configuration(source, **data, shard_bytes=1000), tmp_path)
    tokens = list(Tokenizer.load(folder / "vocabularies/text").vocabulary.tokens)
    names = ("train", "validation", "test")
    parts = {split: [token for row in ids_of(folder, split) for token in row] for split in names}
    assert [token for ids in parts.values() for token in ids].count(3) == 1
    assert parts["test"][-1] == 3
    written = {split: "".join(tokens[token] for token in ids if token != 3) for split, ids in parts.items()}
    assert "".join(written.values()).replace("<unk>", "?") == text.replace("e", "?").replace("n", "?").replace("d", "?")
    assert all(part.endswith("\n") for part in (written["train"], written["validation"]))
    assert abs(len(written["train"]) - 0.8 * len(text)) < 4
    assert len(read_manifest(folder).splits["train"].shards) == 2
    # The n-grams over the border of two shards are counted as if the document were whole.
    line = [2, 2, *parts["train"]]
    expected = Counter(tuple(line[end - 3 : end]) for end in range(3, len(line) + 1))
    assert table_of(folder, read_manifest(folder)) == expected


def test_bad_lines_of_a_document_are_left_out(tmp_path: Path) -> None:
    source = given_splits(tmp_path, b"one\n\xff\n\nlonglonglong\ntwo", rows="document")
    data = {"max_row_bytes": 10, "max_reject_fraction": 0.5, "tokens": {"level": "character"}}
    folder = run(configuration(source, **data), tmp_path)
    (row,) = texts_of(folder, "train")
    assert row == "o n e \n \n t w o <eos>"
    assert [reject["line"] for reject in rejects_of(folder)] == [2, 4]
    assert [reject["reason"] for reject in rejects_of(folder)] == ["not-utf-8", "over-long"]


def test_one_document_cannot_be_split_by_row(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a\nb\n")
    with pytest.raises(DataError) as failure:
        run(configuration({"files": [str(tmp_path / "text.txt")], "rows": "document"}), tmp_path)
    assert str(failure.value) == (
        '`data.split.by` = "row" places whole documents by a hash of their names, which leaves validation and test '
        'empty. Received: 1 document (text.txt). Remedy: split = { by = "position" }, another `seed`, or more files.'
    )


# ---- splits


def test_equal_rows_are_never_in_two_splits(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("".join(f"row {number % 150}\n" for number in range(900)))
    config = configuration({"files": [str(tmp_path / "text.txt")]}, split={"validation": 0.2, "test": 0.2}, seed=5)
    folder = run(config, tmp_path)
    splits = {split: ids_of(folder, split) for split in ("train", "validation", "test")}
    assert sum(map(len, splits.values())) == 900
    expected = Counter[str]()
    for number in range(150):
        split = split_of(f"row {number}".encode(), 5, SplitConfig(validation=0.2, test=0.2))
        expected[split] += 6  # every row stands six times, all in one place
    assert {name: len(rows) for name, rows in splits.items()} == expected
    assert min(expected.values()) > 60


def test_no_test_share_is_no_test_split(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("".join(f"row {number}\n" for number in range(100)))
    config = configuration({"files": [str(tmp_path / "text.txt")]}, split={"validation": 0.2, "test": 0.0})
    assert set(read_manifest(run(config, tmp_path)).splits) == {"train", "validation"}


def test_the_hash_of_a_key_is_fixed() -> None:
    split = SplitConfig(validation=0.3, test=0.3)
    assert [split_of(b"key %d" % number, 1, split) for number in range(6)] == [
        "test",
        "validation",
        "train",
        "validation",
        "train",
        "validation",
    ]


# ---- the same bytes


def test_workers_and_repeats_give_the_same_bytes(tmp_path: Path) -> None:
    lines = [f"line {number} has {number % 7} of {number % 11}\n".encode() for number in range(1100)]
    lines[5::250] = [b"bad \xff\n"] * len(lines[5::250])
    (tmp_path / "text.txt").write_bytes(b"".join(lines))
    config = configuration({"files": [str(tmp_path / "text.txt")]}, ngram_order=3, shard_bytes=1000)
    one = run(config, tmp_path / "one")
    again = run(config, tmp_path / "again")
    two = run(config, tmp_path / "two", beam_arguments=["--direct_num_workers=2"])
    assert one.name == again.name == two.name
    assert len(read_manifest(one).splits["train"].shards) > 15
    assert bytes_of(one) == bytes_of(again) == bytes_of(two)


def test_a_complete_folder_is_left_alone(tmp_path: Path) -> None:
    config = configuration(given_splits(tmp_path, b"a\n"))
    folder = run(config, tmp_path)
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    assert run(config, tmp_path) == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == stamp
    assert [path.name for path in (tmp_path / "ws/prepared").iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("train/*.tfrecord", "is missing; the folder is made anew"),
        ("manifest.json", "is damaged and cannot be read as JSON: .* Remedy: run `seqapps prepare` again"),
        ("vocabularies/text/tokens.json", "text is missing or was changed; the folder is made anew"),
    ],
)
def test_a_damaged_folder_is_made_anew(tmp_path: Path, pattern: str, message: str) -> None:
    config = configuration(given_splits(tmp_path, b"a b\nb a\n"))
    folder = run(config, tmp_path)
    before = bytes_of(folder)
    file = next(folder.glob(pattern))
    file.unlink() if file.suffix == ".tfrecord" else file.write_bytes(file.read_bytes()[:20])
    said = io.StringIO()
    assert prepare(config, Workspace(tmp_path / "ws"), console=Console(file=said, width=10_000)) == folder
    assert bytes_of(folder) == before
    assert re.search(message, said.getvalue())


def test_name_of_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (tmp_path / name).write_text("".join(f"row {number}\n" for number in range(60)))
    folder = run(configuration({"files": [str(tmp_path / "caf*.txt")]}), tmp_path)
    assert [source.file for source in read_manifest(folder).sources] == ["caf\\xe9.txt"]
    again = run(configuration({"files": [str(tmp_path / "caf*.txt")]}), tmp_path)
    assert again == folder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"label,t\xe9xt\nx,a\n", r"column does not exist\. Received: 'text'\. Allowed: label, t\\xe9xt"),
        (gzip.compress(b"label,text\nx,a b\n"), r"^table\.csv is no text: it is a gzip file\. .* to table\.csv\.gz"),
        (b"\x80\x81\x82,b\n1,2\n", r"column does not exist.* Allowed: \\x80\\x81\\x82, b"),
    ],
    ids=["latin-1", "gzip", "zip"],
)
def test_table_that_is_no_text_is_reported_in_words(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(SeqappsError) as caught:
        run(configuration({"files": [str(tmp_path / "table.csv")], "format": "csv"}), tmp_path)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_a_locked_build_is_not_entered(tmp_path: Path) -> None:
    config = configuration(given_splits(tmp_path, b"a\n"))
    folder = run(config, tmp_path)
    build = folder.rename(folder.with_name(f".build-{folder.name}"))
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pathlib import Path; from pipelines.storage import Build\n"
         "with Build(Path(sys.argv[1])).locked(): print('held', flush=True); input()", str(build)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunError, match=f"is being written by process {holder.pid}"):
        run(config, tmp_path)
    holder.communicate("\n")


def test_what_other_inputs_left_half_done_is_swept(tmp_path: Path) -> None:
    source = given_splits(tmp_path, b"a\n")
    first = run(configuration(source), tmp_path)
    left = first.rename(first.with_name(f".build-{first.name}"))
    other = first.with_name(f".build-tiny-other-{first.name[-12:]}")
    other.mkdir()
    run(configuration(source, min_count=2), tmp_path, rows=5)
    assert left.exists()
    run(configuration(source, min_count=2), tmp_path)
    assert (left.exists(), other.exists()) == (False, True)


def test_a_folder_without_all_that_was_asked_for_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are gone, cut, or of other content; and rows and runs that were lost on the way."""
    monkeypatch.setattr(ngrams.write_table, "__defaults__", (4,))  # rows a part: the table has two
    source = given_splits(tmp_path, b"a b\nb c\n" + b"w" * 200 + b"\nc a b\n")
    config = configuration(source, ngram_order=2, max_row_bytes=100, max_reject_fraction=0.5)
    folder = run(config, tmp_path)
    assert [table.rows for table in read_manifest(folder).tables["ngrams"]] == [4, 4]
    given = read_input(config, Workspace(tmp_path / "ws"))
    elements, application = make_plan(config, given.sources, 0), application_of(config)

    def is_not_published(build: Build, message: str) -> None:
        with pytest.raises(RunError, match=message):
            describe(application, build, elements, given)

    changed = r"these are missing, cut or changed: {}\. Use another runner"
    lost: list[tuple[str, str]] = [
        ("data/ngrams/part-00000.npy", changed.format("ngrams/part-00000.npy")),
        ("data/ngrams/part-00001.npy", changed.format("ngrams/part-00001.npy")),
        ("data/train/*", changed.format(r"train/\S+")),
        ("data/vocabularies/text/tokens.json", changed.format("vocabularies/text")),
        ("work/vocabularies.json", changed.format("vocabularies")),
        ("work/tables.json", "the table of 2-grams that this configuration asks for was not written"),
    ]
    whole = half_done(config, tmp_path / "whole", given)
    assert describe(application, whole, elements, given) == read_manifest(folder)
    for number, (place, message) in enumerate(lost):
        for harm in ("unlink", "cut", "change") if place.startswith("data") else ("unlink",):
            build = Build(Path(shutil.copytree(whole.root, tmp_path / f"{number}-{harm}")))
            (file,) = build.root.glob(place)
            content = file.read_bytes()
            file.write_bytes(content[:-1] if harm == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
            if harm == "unlink":
                file.unlink()
            is_not_published(build, message)
    build = Build(Path(shutil.copytree(whole.root, tmp_path / "a part unrecorded")))
    build.tables.write_text(json.dumps({"ngrams": json.loads(build.tables.read_text())["ngrams"][:1]}))
    is_not_published(build, r"counts \d of the 10 tokens of the training split")
    build = Build(Path(shutil.copytree(whole.root, tmp_path / "a reject lost")))
    (rejects,) = build.work.glob("*.rejects.jsonl")
    rejects.unlink()
    write_rejects(build, elements)
    is_not_published(build, "of 1 rejects 0 were written")


def test_n_grams_that_are_lost_on_the_way_to_the_table_are_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner that drops a run of many loses counts and no file; what it left is not gone on from."""
    monkeypatch.setattr("pipelines.passes.BLOCK_BYTES", 1)
    source = given_splits(tmp_path, b"a b\n")
    (tmp_path / "more.txt").write_bytes(b"b c\nc d\nd e\n")
    config = configuration({**source, "train": [*source["train"], str(tmp_path / "more.txt")]}, ngram_order=3)
    real = MergeRuns.extract_output
    with monkeypatch.context() as patch:
        patch.setattr(MergeRuns, "extract_output", lambda self, levels: real(self, levels)[1:])
        with pytest.raises(RunError, match="the table of 3-grams counts 9 of the 12 tokens of the training split"):
            run(config, tmp_path)
    assert list((tmp_path / "ws" / "prepared").iterdir()) == []
    table = np.load(run(config, tmp_path) / "ngrams" / "part-00000.npy")
    assert table[:, -1].sum() == 12


def half_done(config: RunConfig, folder: Path, given: Input) -> Build:
    """Returns the build folder of a job that has written everything and published nothing."""
    build = Build(folder)
    job = Job(config.model_dump_json(), str(build.root), 1, os.getpid(), "", 1)
    build.make()
    elements = make_plan(config, given.sources, 0)
    run_job(Job(**{**vars(job), "elements": len(elements)}), elements, beam_options([]))
    write_rejects(build, elements)
    return build


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration(given_splits(tmp_path, b"a b\n"))
    file = tmp_path / "train.txt"
    before = read_input(config, Workspace(tmp_path / "ws"))
    file.write_bytes(b"c d\n")
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.prepare.read_input", lambda *_: before)  # it was hashed, then written to
        with pytest.raises(DataError, match=r"train.txt changed while it was being read. Nothing was published"):
            run(config, tmp_path)
    assert list((tmp_path / "ws" / "prepared").iterdir()) == []
    os.utime(file)  # another time and the same content change nothing
    assert texts_of(run(config, tmp_path), "train") == ["c d <eos>"]


def test_other_content_of_the_same_size_and_time_is_another_input(tmp_path: Path) -> None:
    config = configuration(given_splits(tmp_path, b"a b\n"))
    file, workspace = tmp_path / "train.txt", Workspace(tmp_path / "ws")
    first, stat = fingerprint(config, workspace), file.stat()
    file.write_bytes(b"c d\n")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fingerprint(config, workspace)["data"] != first["data"]


def test_a_dry_run_takes_so_many_rows_and_is_another_folder(tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"{index}.txt").write_text("".join(f"row {index} {number}\n" for number in range(1000)))
    config = configuration({"files": [str(tmp_path / "*.txt")]})
    folder = run(config, tmp_path, rows=200)
    assert read_manifest(folder).rows == 200
    assert run(config, tmp_path) != folder
    by_position = configuration({"files": [str(tmp_path / "*.txt")]}, split={"by": "position"})
    splits = read_manifest(run(by_position, tmp_path, rows=200)).splits
    assert {name: split.rows for name, split in splits.items()} == {"train": 160, "validation": 20, "test": 20}


def test_components_of_the_fingerprint(tmp_path: Path) -> None:
    source, workspace = given_splits(tmp_path, b"a\n"), Workspace(tmp_path / "ws")
    first = fingerprint(configuration(source), workspace)
    assert set(first) == {"config", "data", "code"}
    assert fingerprint(configuration(source), workspace) == first
    changed = fingerprint(configuration(source, min_count=2), workspace)
    assert {name for name in first if first[name] != changed[name]} == {"config"}
    (tmp_path / "train.txt").write_bytes(b"b\n")
    changed = fingerprint(configuration(source), workspace)
    assert {name for name in first if first[name] != changed[name]} == {"data"}
    assert set(fingerprint(configuration(source), workspace, rows=9)) == {"config", "data", "code", "rows"}


def test_a_fingerprint_imports_neither_beam_nor_tensorflow() -> None:
    code = "import sys, pipelines.prepare; print([n for n in ('apache_beam', 'tensorflow') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# ---- sources


def test_a_pattern_that_matches_nothing_names_the_nearest_path(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    config = configuration({"files": [str(tmp_path / "corpsu" / "*.txt")]})
    with pytest.raises(DataError) as failure:
        run(config, tmp_path)
    assert str(failure.value) == (
        f"`source.files`: no file matches '{tmp_path}/corpsu/*.txt'. Nearest that exists: {tmp_path}/corpus."
    )


def test_folders_globs_and_names(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt", ".hidden"):
        (tmp_path / "corpus" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "corpus" / name).write_text("x\n")

    def names(*patterns: str) -> list[str]:
        files = [str(tmp_path / pattern) for pattern in patterns]
        return [source.name for source in resolve(configuration({"files": files}).source, tmp_path / "cache")]

    assert names("corpus") == ["a.txt", "b.txt", "sub/c.txt"]
    assert names("corpus/*.txt") == ["a.txt", "b.txt"]
    assert names("corpus/b.txt", "corpus") == ["b.txt", "a.txt", "sub/c.txt"]
    assert names("corpus/**/*.txt") == ["a.txt", "b.txt", "sub/c.txt"]


def test_many_small_files_share_one_element(tmp_path: Path) -> None:
    for index in range(50):
        (tmp_path / f"{index:02d}.txt").write_text(f"file {index}\n")
    config = configuration({"files": [str(tmp_path)]})
    (element,) = make_plan(config, resolve(config.source, tmp_path))
    assert [piece.name for piece in element.pieces][:2] == ["00.txt", "01.txt"]


def test_a_line_longer_than_many_pieces_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"first\n" + b"x" * 50_000 + b"\nlast\n")
    config = configuration({"files": [str(tmp_path / "a.txt")]}, shard_bytes=1000, max_row_bytes=2000)
    reader = RowReader.of(config, ("text",))
    reads = [
        read
        for element in make_plan(config, resolve(config.source, tmp_path))
        for piece in element.pieces
        for read in reader.read(piece)
    ]
    assert [row for read in reads for row in read.block.columns["text"]] == [b"first", b"last"]
    assert [(reject.reason, reject.line) for read in reads for reject in read.rejects] == [("over-long", 2)]
    assert sum(read.lines for read in reads) == 3


def test_url_is_fetched_once_and_verified(tmp_path: Path) -> None:
    content, asked = b"from the net\n" * 50, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url, right = f"http://127.0.0.1:{server.server_port}/a/text.txt", hashlib.sha256(content).hexdigest()
        workspace = Workspace(tmp_path)
        for _ in range(2):
            (source,) = resolve(configuration({"url": url, "sha256": right}).source, workspace.cache)
        assert (source.name, Path(source.path).read_bytes(), asked) == ("text.txt", content, ["/a/text.txt"])
        with pytest.raises(DataError, match=f"Expected sha256: {'0' * 64}. Received: {right}"):
            fingerprint(configuration({"url": url, "sha256": "0" * 64}), workspace)
        server.shutdown()
    assert [path.name for path in workspace.cache.rglob("*") if path.is_file()] == ["text.txt"]


def test_builtin_texts(tmp_path: Path) -> None:
    docs = resolve(configuration({"builtin": "python-docs"}).source, tmp_path)
    assert docs == resolve(configuration({"builtin": "python-docs"}).source, tmp_path)
    assert len(docs) > 50
    assert "python-docs/assert.txt" in [source.name for source in docs]
    code = [source.name for source in resolve(configuration({"builtin": "python-source"}).source, tmp_path)]
    assert "python-source/json/decoder.py" in code
    assert not [name for name in code if "/test/" in name or "site-packages" in name or "lib2to3" in name]
    with pytest.raises(ConfigError, match="Nearest: python-docs"):
        resolve(configuration({"builtin": "python-dosc"}).source, tmp_path)


# ---- the file format and Beam's options


def test_examples_of_every_type_are_read_by_tensorflow() -> None:
    schema = Schema(features=(
        Feature(name="ids", dtype="int64", shape=(None,), meaning=""),
        Feature(name="label", dtype="int64", shape=(), meaning=""),
        Feature(name="values", dtype="float32", shape=(None, 2), meaning=""),
        Feature(name="names", dtype="string", shape=(None,), meaning=""),
    ))  # fmt: skip
    splits = np.asarray([0, 4, 4], np.int64)
    features = {
        "ids": Ragged(np.asarray([0, 127, 300, -1]), splits),
        "label": Ragged(np.asarray([1 << 40, 7]), np.asarray([0, 1, 2])),
        "values": Ragged(np.asarray([[1.5, 2], [3, 4]], np.float32), np.asarray([0, 2, 2])),
        "names": Ragged(np.asarray([b"", "é".encode() * 100], object), np.asarray([0, 0, 2])),
    }
    found = [tf.train.Example.FromString(row).features.feature for row in examples(schema, features)]
    assert [list(row["ids"].int64_list.value) for row in found] == [[0, 127, 300, -1], []]
    assert [list(row["label"].int64_list.value) for row in found] == [[1 << 40], [7]]
    assert [list(row["values"].float_list.value) for row in found] == [[1.5, 2, 3, 4], []]
    assert [list(row["names"].bytes_list.value) for row in found] == [[], [b"", "é".encode() * 100]]


def test_record_frames_are_those_of_tensorflow(tmp_path: Path) -> None:
    rows = [b"", b"a", b"a" * 70_000]
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for row in rows:
            writer.write(row)
    assert records(rows) == (tmp_path / "theirs").read_bytes()


def test_beam_options_get_defaults_that_work_everywhere() -> None:
    assert beam_options([]) == ["--runner=FnApiRunner"]
    assert beam_options(["--direct_num_workers=2"])[1:] == [
        "--runner=FnApiRunner",
        "--direct_running_mode=multi_processing",
    ]
    given = ["--runner=FlinkRunner", "--direct_num_workers", "2", "--direct_running_mode=multi_threading"]
    assert beam_options(given) == given


def test_a_split_with_a_seed_of_its_own_is_the_same_for_every_run() -> None:
    keys = [f"row {number}".encode() for number in range(200)]

    def places(of_run: int, **fields: Any) -> list[int]:
        found: list[int] = places_of(keys, of_run, SplitConfig(**fields)).tolist()
        return found

    assert places(1) != places(2)
    assert places(1, seed=7) == places(2, seed=7) == places(7)
