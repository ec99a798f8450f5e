"""Raw files of every format to rows and rejects: literal files in, and laws that hold for any file."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.pieces import WHOLE, Beside, Piece
from pipelines.plan import cut_of
from pipelines.readers import RowReader
from pipelines.readers.lines import lines_before
from pipelines.sources import Source
from seqapps.applications import config_from
from seqapps.config import RunConfig
from seqapps.errors import ConfigError, DataError

SPACES = "\u2028\u2029\u202f\u00a0\u0085\x0b\x0c\x1c\x1d\x1e"
"""What `str.splitlines` or `str.split` take for ends of lines or of words; here they are characters of a text."""


class Found(NamedTuple):
    """Rows as column name to value, their lines in the file, and what was refused as (line, reason, text)."""

    rows: list[dict[str, str]]
    lines: list[int]
    rejects: list[tuple[int, str, str]]


def configuration(source: dict[str, Any], **data: Any) -> RunConfig:
    tables = {"application": "language_model", "source": {"files": ["any"]} | source, "data": data}
    return config_from(tables, "a test")


def read(
    path: Path, columns: Sequence[str], source: dict[str, Any], cuts: Sequence[int] = (), limit: int = 0, **data: Any
) -> Found:
    """Reads a file that is cut into pieces at some bytes."""
    config = configuration(source, **data)
    reader = RowReader.of(config, columns)
    borders = [0, *sorted({cut for cut in cuts if cut > 0}), WHOLE]
    beside = tuple(Beside(column, name, str(path.parent / name)) for column, name in config.source.beside.items())
    found, base = Found([], [], []), 0
    for low, high in pairwise(borders):
        piece = Piece(
            0, path.name, str(path), low, high, low == 0, high == WHOLE,
            limit=limit, cut=cut_of(config.source), beside=beside,
        )  # fmt: skip
        reads = list(reader.read(piece))
        if reads and (reads[0].block.lines.size or reads[0].rejects):
            assert lines_before(piece) == base
        for part in reads:
            if config.source.rows != "document":  # there every line counts
                assert part.counted == len(part.block) + len(part.rejects)
            values = zip(*part.block.columns.values(), strict=True)
            found.rows.extend(dict(zip(part.block.columns, map(bytes.decode, row), strict=True)) for row in values)
            found.lines.extend(base + line for line in part.block.lines.tolist())
            found.rejects.extend((base + r.line, r.reason, r.text.decode("utf-8", "replace")) for r in part.rejects)
        base += sum(part.lines for part in reads)
    return found


def written(folder: Path, content: bytes, name: str = "raw.txt") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def rejects(found: Found) -> list[tuple[int, str]]:
    return [(line, reason) for line, reason, _ in found.rejects]


# ---- labelled, csv, tsv, jsonl


def test_labelled_lines(tmp_path: Path) -> None:
    file = written(tmp_path, "DESC:x  How did\tit ?\r\nalone\n\nHUM\tWho\u2028am I ?\n  A  b \nB\u00a0c d".encode())
    found = read(file, ("text", "label"), {"format": "labelled"})
    assert found.rows == [
        {"text": "How did\tit ?", "label": "DESC:x"},
        {"text": "Who\u2028am I ?", "label": "HUM"},
        {"text": "b ", "label": "A"},
        {"text": "d", "label": "B\u00a0c"},
    ]
    assert found.lines == [1, 4, 5, 6]
    assert found.rejects == [(2, "missing-text", "alone"), (3, "empty", "")]


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_columns_name_the_cells_of_files_without_header(tmp_path: Path, form: str) -> None:
    tab = "," if form == "csv" else "\t"
    file = written(tmp_path, f"a{tab}b{tab}x\nonly\nc{tab}d{tab}e{tab}f\n\ng{tab}h{tab}\n".encode())
    found = read(file, ("source", "to"), {"format": form, "columns": ["source", "target", "who"],
                                           "fields": {"to": "target"}}, keep=["who"])  # fmt: skip
    assert found.rows == [{"source": "a", "to": "b", "who": "x"}, {"source": "g", "to": "h", "who": ""}]
    assert rejects(found) == [(2, "missing-field"), (3, "extra-field"), (4, "empty")]


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_what_a_header_lacks(tmp_path: Path, form: str) -> None:
    tab = "," if form == "csv" else "\t"
    file = written(tmp_path, f"\ufefftext{tab}lable\na{tab}b\n".encode())
    with pytest.raises(DataError) as failure:
        read(file, ("text", "label"), {"format": form})
    assert str(failure.value) == (
        "raw.txt: column does not exist. Received: 'label'. Allowed: lable, text. Nearest: lable."
    )
    assert read(file, ("text", "label?"), {"format": form}).rows == [{"text": "a", "label": ""}]
    with pytest.raises(DataError, match=r"column 'a' stands in the header 2 times"):
        read(written(tmp_path, f"a{tab}a\n1{tab}2\n".encode()), ("a",), {"format": form})
    for content in (b"", b"\n", b"\xef\xbb\xbf"):
        with pytest.raises(DataError, match=r"a header line is needed, or `source\.columns`"):
            read(written(tmp_path, content), ("text",), {"format": form})


def test_csv_that_cannot_be_read(tmp_path: Path) -> None:
    rows = [b'a,"b\n\nc"', b"x\ry,z", b'd,"' + b"e" * 300 + b'"', b"f,g", b'h,"never closed', b"i,j"]
    found = read(
        written(tmp_path, b"one,two\n" + b"\n".join(rows)), ("one", "two"), {"format": "csv"}, max_row_bytes=100
    )
    assert [row["one"] for row in found.rows] == ["a", "f", "i"]
    assert (found.rows[0]["two"], found.lines) == ("b\n\nc", [2, 7, 9])
    assert rejects(found) == [(5, "unreadable-csv"), (6, "over-long"), (8, "unclosed-quote")]
    with pytest.raises(DataError, match="the header line cannot be read as CSV"):
        read(written(tmp_path, b"a\rb\n"), ("text",), {"format": "csv"})


def test_a_stray_quote_costs_its_own_line(tmp_path: Path) -> None:
    def found(*rows: str, header: str = "one,two") -> Found:
        text = "".join(f"{row}\n" for row in (header, *rows))
        return read(written(tmp_path, text.encode()), tuple(header.split(",")), {"format": "csv"})

    many = [f"{number},x" for number in range(30_000)]
    for count in (0, 3, 30_000):  # 30,000 are more than a record may hold
        endless = found('a,"b', *many[:count])
        assert rejects(endless) == [(2, "unclosed-quote")]
        assert endless.rejects[0][2] == 'a,"b'
        assert [row["one"] for row in endless.rows] == [str(number) for number in range(count)]
        assert endless.lines == list(range(3, 3 + count))
    two = found('a,"b', *many[:3000], 'c,d"', "e,f")
    assert (len(two.rows), rejects(two)) == (3002, [(2, "unclosed-quote")])
    assert two.rows[-2:] == [{"one": "c", "two": 'd"'}, {"one": "e", "two": "f"}]
    before_a_quoted_row = found('a,"b', "1,x", 'c,"d,', 'e"', "f,g")
    assert rejects(before_a_quoted_row) == [(2, "unclosed-quote")]
    assert [row["two"] for row in before_a_quoted_row.rows] == ["x", "d,\ne", "g"]
    assert len(found('"a', *["b"] * 100_000, header="text").rows) == 100_000
    never_ending = found(*['a","x'] * 60_000)
    assert len(never_ending.rows) + len(never_ending.rejects) == 60_000


def test_a_quoted_text_may_have_many_lines(tmp_path: Path) -> None:
    text = "\n".join(["Dear sir,", "", "it rains, and rains."] + ["So be it", "or not, or never, or now"] * 200)
    file = written(tmp_path, f'one,two\na,"{text}"\nb,c\n'.encode())
    found = read(file, ("one", "two"), {"format": "csv"})
    assert ([row["two"] for row in found.rows], found.lines, found.rejects) == ([text, "c"], [2, 405], [])
    assert rejects(read(file, ("one", "two"), {"format": "csv"}, max_row_bytes=900)) == [(2, "over-long")]


def test_jsonl_values_are_text_or_compact_json(tmp_path: Path) -> None:
    rows = [
        {"text": "é", "value": [1, {"a": None, "b": "ü"}], "spans": [[0, 1]]},
        {"text": "b", "value": 1.5, "spans": None},
        {"text": "c", "value": False},
        {"text": "d", "value": None},
        {"text": "", "value": 0},
    ]
    file = written(tmp_path, "\n".join(map(json.dumps, rows)).encode() + b'\n{"text": ["\\udc00"], "value": 1}\n\0\n')
    found = read(file, ("text", "number", "spans?"), {"format": "jsonl", "fields": {"number": "value"}})
    assert found.rows == [
        {"text": "é", "number": '[1,{"a":null,"b":"ü"}]', "spans": "[[0,1]]"},
        {"text": "b", "number": "1.5", "spans": ""},
        {"text": "c", "number": "false", "spans": ""},
    ]
    assert rejects(found) == [(4, "missing-field"), (5, "empty"), (6, "not-utf-8"), (7, "nul-character")]


# ---- conll and conllu


CONLL = b"""-DOCSTART- -X- O O

# id 1
EU NNP  B-NP B-ORG
rejects VBZ B-VP O
# in between

Peter NNP B-NP B-PER
Blackburn NNP I-NP
\t
one
-DOCSTART- -X- O O
# only a comment

a\tb c\td\xc2\xa0e\tO\r
\r
bad \xff O O
"""


def test_conll_columns(tmp_path: Path) -> None:
    source = {"format": "conll", "comment": "#"}
    found = read(written(tmp_path, CONLL), ("tokens", "tags"), source)
    assert found.rows == [{"tokens": '["EU","rejects"]', "tags": '["B-ORG","O"]'}, {"tokens": '["a"]', "tags": '["O"]'}]
    assert found.lines == [3, 15]
    assert found.rejects == [
        (9, "ragged-columns", "Blackburn NNP I-NP"), (11, "missing-field", "one"), (17, "not-utf-8", "bad \ufffd O O")
    ]  # fmt: skip
    wide = source | {"columns": ["tokens", "tags"]}
    assert rejects(read(written(tmp_path, b"a b c\nd e f\n"), ("tokens", "tags"), wide)) == [(1, "extra-field")]
    spaces = b"a X\n" + b" " * 900 + b"\n\nb Y\n"
    found = read(written(tmp_path, spaces), ("tokens", "tags"), source)
    assert (found.rows, rejects(found)) == ([{"tokens": '["b"]', "tags": '["Y"]'}], [(2, "ragged-columns")])
    assert rejects(read(written(tmp_path, b" " * 900), ("tokens",), source)) == [(1, "empty")]
    named = source | {"columns": ["form", "pos", "chunk", "ner"], "fields": {"tokens": "form", "tags": "ner"}}
    found = read(written(tmp_path, CONLL), ("tokens", "tags"), named, keep=["pos"])
    assert found.rows[1] == {"tokens": '["a"]', "tags": '["O"]', "pos": '["b c"]'}
    with pytest.raises(DataError, match=r"Received: 'nner'\. Allowed: chunk, form, ner, pos\. Nearest: ner\."):
        read(written(tmp_path, CONLL), ("tags",), named | {"fields": {"tags": "nner"}})


CONLLU = """# sent_id = a-1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\tCase=Acc\t1\tobj\t_\t_
2.1\tx\t_\t_\t_\t_\t_\t_\t_\t_
3\tal mar\t_\tNOUN\t_\t_\t1\tobl\t_\t_

# sent_id = a-2
1\tNo\tno\tINTJ\t_\t_\t0\troot\t_\t_

1\tone\tone\tNUM\t_\t_\t0\troot\t_\t_
3\ttwo\ttwo\tNUM\t_\t_\t1\tflat\t_\t_

1\tone\tone\tNUM\t_\t_\t0\troot\t_

# newdoc
"""


def test_conllu_words_and_comments(tmp_path: Path) -> None:
    file = written(tmp_path, CONLLU.encode())
    found = read(file, ("tokens", "tags", "text?"), {"format": "conllu"})
    assert found.rows == [
        {"tokens": '["vamos","nos","al mar"]', "tags": '["VERB","PRON","NOUN"]', "text": "vámonos al mar"},
        {"tokens": '["No"]', "tags": '["INTJ"]', "text": ""},
    ]
    assert found.lines == [1, 9]
    assert [(line, reason) for line, reason, _ in found.rejects] == [(13, "bad-ids"), (15, "bad-line")]
    fields = {"format": "conllu", "fields": {"tokens": "lemma", "tags": "feats"}}
    found = read(file, ("tokens", "tags"), fields, keep=["sent_id"])
    assert found.rows[0] == {"tokens": '["ir","nosotros","_"]', "tags": '["_","Case=Acc","_"]', "sent_id": "a-1"}
    found = read(file, ("tokens", "text"), {"format": "conllu"})
    assert (len(found.rows), found.rejects[0]) == (1, (9, "missing-field", "# sent_id = a-2"))


def checked(files: dict[str, str], columns: Sequence[str], source: dict[str, Any], folder: Path) -> None:
    found = [Source(name, str(written(folder, text.encode(), name)), "train") for name, text in files.items()]
    RowReader.of(configuration(source), columns).check_names(found)


def test_a_column_that_no_row_has(tmp_path: Path) -> None:
    rows = {"a.jsonl": '{broken\n{"txt": "a", "id": 1}\n', "b.jsonl": '{"txt": "b"}\n'}
    with pytest.raises(DataError) as failure:
        checked(rows, ("text", "label?"), {"format": "jsonl"}, tmp_path)
    assert str(failure.value) == (
        "a.jsonl: column does not exist. Received: 'text'. Allowed: id, txt. Nearest: txt. No row has it. Remedy: "
        '`source.fields`. Example: text = "txt".'
    )
    checked(rows | {"c.jsonl": '{"text": "c"}\n'}, ("text",), {"format": "jsonl"}, tmp_path)
    checked({"a.jsonl": ""}, ("text",), {"format": "jsonl"}, tmp_path)
    source = {"format": "conllu", "fields": {"tokens": "lemmas", "text": "txt"}}
    with pytest.raises(DataError) as failure:
        checked({"a.conllu": CONLLU}, ("tokens", "text"), source, tmp_path)
    assert str(failure.value) == (
        "a.conllu: column does not exist. Received: 'lemmas'. Allowed: deprel, feats, form, head, id, lemma, "
        "sent_id, text, upos. Nearest: lemma. No row has it. Remedy: `source.fields`. Example: tokens = "
        '"lemma".'
    )
    source["fields"]["tokens"] = "lemma"
    with pytest.raises(DataError, match=r"Received: 'txt'.*Nearest: text\."):
        checked({"a.conllu": CONLLU}, ("tokens", "text"), source, tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_file_of_another_encoding(tmp_path: Path, encoding: str) -> None:
    name = encoding[:6].upper()
    content = "\ufefftext,label\na,b\n".encode(encoding)
    for source in ({}, {"format": "csv"}, {"rows": "file"}, {"rows": "document"}):
        with pytest.raises(DataError) as failure:
            read(written(tmp_path, content), ("text",), source)
        assert str(failure.value) == (
            f"raw.txt: a text must be UTF-8. Received: {name}. Remedy: iconv -f {name} -t UTF-8 raw.txt > raw.txt.utf8"
        )
    written(tmp_path, b"a\nb\n", "words")
    with pytest.raises(DataError, match=r"^raw\.txt: a text must be UTF-8"):
        read(tmp_path / "words", ("a", "b"), {"format": "aligned", "beside": {"b": "raw.txt"}})


def test_rows_with_nul_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, b"a\nb\0c\nd\n")
    assert rejects(read(file, ("text",), {})) == [(2, "nul-character")]
    assert rejects(read(file, ("text",), {"rows": "document"})) == [(2, "nul-character")]
    assert rejects(read(file, ("text",), {"rows": "file"})) == [(1, "nul-character")]
    assert rejects(read(file, ("text",), {"format": "csv", "columns": ["text"]})) == [(2, "nul-character")]
    assert rejects(read(file, ("tokens",), {"format": "conll"})) == [(2, "nul-character")]
    file = written(tmp_path, b'{"text": "a\\u0000"}\n{"text": "b"}\n')
    assert rejects(read(file, ("text",), {"format": "jsonl"})) == [(1, "nul-character")]


# ---- paragraphs, files, aligned files


def test_paragraphs(tmp_path: Path) -> None:
    file = written(tmp_path, f"\ufeff\n \t\na\r\nb{SPACES}\n\n\n\nc\n   d".encode())
    found = read(file, ("text",), {"rows": "paragraph"})
    assert found == Found([{"text": f"a\nb{SPACES}"}, {"text": "c\n   d"}], [3, 8], [])
    found = read(written(tmp_path, b"a\n" * 40 + b"\nb\n\xff\n\nc"), ("text",), {"rows": "paragraph"}, max_row_bytes=9)
    assert (found.rows, rejects(found)) == ([{"text": "c"}], [(1, "over-long"), (43, "not-utf-8")])


@pytest.mark.parametrize("form", ["text", "csv", "tsv"])
def test_every_file_is_a_row(tmp_path: Path, form: str) -> None:
    source = {"rows": "file", "format": form}
    contents = {b"\xef\xbb\xbfa,b\r\n1,2": "a,b\r\n1,2", b"x" * 20: "x" * 20}
    for content, text in contents.items():
        assert read(written(tmp_path, content), ("text",), source, max_row_bytes=20).rows == [{"text": text}]
    bad = {b"x" * 21: "over-long", b"\xef\xbb\xbf" + b"x" * 21: "over-long", b"": "empty", b"\n \n": "empty",
           b"a\n\xff": "not-utf-8"}  # fmt: skip
    for content, reason in bad.items():
        assert rejects(read(written(tmp_path, content), ("text",), source, max_row_bytes=20)) == [(1, reason)]


def test_aligned_files(tmp_path: Path) -> None:
    (tmp_path / "a.fr").write_bytes(f"un{SPACES}\r\n\ntrois\n".encode() + b"\xff\n" + b"x" * 99)
    (tmp_path / "label.gz").write_bytes(gzip.compress(b"A\nB\n\nD\nE\n"))
    file = written(tmp_path, b"one\ntwo\nthree\nfour\nfive", "a.en")
    source = {"format": "aligned", "beside": {"target": "a.fr", "label": "label.gz"}}
    found = read(file, ("source", "target"), source, keep=["label"], max_row_bytes=90)
    assert found.rows == [
        {"source": "one", "target": f"un{SPACES}", "label": "A"}, {"source": "three", "target": "trois", "label": ""}
    ]  # fmt: skip
    assert found.lines == [1, 3]
    assert found.rejects[0] == (2, "empty", "two\t\tB")
    assert rejects(found)[1:] == [(4, "not-utf-8"), (5, "over-long")]


def test_aligned_files_of_different_length(tmp_path: Path) -> None:
    (tmp_path / "tags").write_bytes(b"x\n" * 7)
    source = {"format": "aligned", "beside": {"tags": "tags"}}
    for lines in (5, 9):
        with pytest.raises(DataError) as failure:
            read(written(tmp_path, b"a\n" * lines, "words"), ("tokens", "tags"), source)
        assert str(failure.value) == (
            f"The files of an aligned source must have the same number of lines. Received: words {lines}, tags 7."
        )


# ---- which columns


@pytest.mark.parametrize(
    ("source", "columns", "message"),
    [
        ({}, ("text", "labels"), 'format "text", rows "line"): column `labels` does not exist. Allowed: text.'),
        ({"rows": "file"}, ("text", "labels"), 'rows "file"): column `labels` does not exist. Allowed: text.'),
        ({"format": "labelled"}, ("text", "labels"), "Received: 'labels'. Allowed: label, text. Nearest: label."),
        ({"format": "conll"}, ("tokens", "tag"), "Received: 'tag'. Allowed: tags, tokens. Nearest: tags."),
        ({"format": "aligned", "beside": {"tags": "raw.txt"}}, ("text", "tags", "tag"), "Allowed: tags, text."),
        ({"format": "csv", "columns": ["text", "b"], "fields": {"label": "bb"}}, ("text", "label"), "Nearest: b."),
    ],
)
def test_a_column_that_a_format_does_not_give(source: dict[str, Any], columns: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError) as failure:
        RowReader.of(configuration(source), columns)
    for part in message.split(". "):
        assert part.removesuffix(".") in str(failure.value)
    assert RowReader.of(configuration(source), [*columns[:-1], f"{columns[-1]}?"]).columns == columns


def test_options_about_columns_that_nobody_asks_for(tmp_path: Path) -> None:
    file = written(tmp_path, b"a\n")
    for source in (
        {"format": "csv", "fields": {"txet": "body"}},
        {"from_path": {"txet": "stem"}},
        {"format": "aligned", "beside": {"txet": "raw.txt"}},
    ):
        with pytest.raises(ConfigError, match=r"column `txet` does not exist.*Allowed: text\. Nearest: text\. Remedy"):
            read(file, ("text",), source)
    with pytest.raises(ConfigError, match="nothing is left for the lines of the files themselves"):
        read(file, ("text",), {"format": "aligned", "beside": {"text": "raw.txt"}})


FILES = {
    "text": ({}, b"a\n"),
    "labelled": ({"format": "labelled"}, b"x a\n"),
    "csv": ({"format": "csv"}, b"text,label\na,x\n"),
    "tsv": ({"format": "tsv", "columns": ["text", "label"]}, b"a\tx\n"),
    "jsonl": ({"format": "jsonl"}, b'{"text": "a", "label": "x"}\n'),
    "conll": ({"format": "conll", "columns": ["text", "label"]}, b"a x\n"),
    "conllu": ({"format": "conllu"}, b"# text = a\n1\ta\t_\t_\t_\t_\t_\t_\t_\t_\n"),
    "aligned": ({"format": "aligned", "beside": {"other": "b.de"}}, b"a\n"),
    "paragraph": ({"rows": "paragraph"}, b"a\n\n"),
    "file": ({"rows": "file"}, b"a"),
    "document": ({"rows": "document"}, b"a\n"),
}


@pytest.mark.parametrize("name", FILES)
def test_columns_of_the_path_and_kept_columns_in_every_format(tmp_path: Path, name: str) -> None:
    source, content = FILES[name]
    (tmp_path / "pos").mkdir()
    written(tmp_path / "pos", b"b\n", "b.de")
    file = written(tmp_path / "pos", gzip.compress(content), "rt-polarity.neg.x.gz")
    parts = {"label": "suffix", "where": "folder", "stem": "stem"}
    keep = ["where", "stem", *source.get("beside", ())]
    (row,) = read(file, ("text", "label"), source | {"from_path": parts}, keep=keep).rows
    assert list(row)[:4] == ["text", "label", "where", "stem"]
    assert row["text"].strip() in ("a", '["a"]')
    assert [row[column] for column in ("label", "where", "stem")] == ["neg.x", "pos", "rt-polarity"]


# ---- laws


TEXT = st.text(st.sampled_from(f"ab é\"',;#\\{SPACES}\U0001f600"), min_size=1, max_size=8)
VALUE = TEXT.filter(lambda text: text.encode().strip())
TOKEN = st.text(st.sampled_from(f'ab-é"#{SPACES}'), min_size=1, max_size=4).filter(lambda t: t.encode().strip())
CELL = VALUE.filter(lambda text: text == text.strip(" "))
CUTS = st.lists(st.integers(1, 400), max_size=6)


def lines_of(rows: list[list[str]], form: str) -> str:
    if form == "csv":
        file = io.StringIO()
        csv.writer(file).writerows([["text", "label"], *rows])
        return file.getvalue()
    if form == "jsonl":
        return "\n".join(json.dumps({"label": label, "text": text}, ensure_ascii=False) for text, label in rows)
    if form == "tsv":
        return "\n".join("\t".join(row) for row in [["text", "label"], *rows]) + "\n"
    return "\n".join(f"{label} \t{text}" for text, label in rows) + "\n"


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "labelled"])
@given(data=st.data(), cuts=CUTS, end=st.sampled_from(["", "\n"]))
@settings(max_examples=60, deadline=None)
def test_rows_of_texts_are_read_as_they_were_written(form: str, data: st.DataObject, cuts: list[int], end: str) -> None:
    text = {"labelled": VALUE.filter(lambda text: text.encode().strip()[:1] == text.encode()[:1])}.get(form, VALUE)
    label = TOKEN.filter(lambda t: len(t.encode().split()) == 1) if form == "labelled" else VALUE
    if form == "csv":
        text = st.one_of(VALUE, VALUE.map(lambda value: f'{value}\n"\r\n{value}'))
    rows = data.draw(st.lists(st.tuples(text, label).map(list), max_size=12))
    if form == "labelled":
        rows = [[words, name.strip("\x0b\x0c") or "x"] for words, name in rows]
    with tempfile.TemporaryDirectory() as folder:
        file = written(Path(folder), (lines_of(rows, form).rstrip("\n") + (end if rows else "")).encode())
        pieces = [] if form == "csv" else cuts
        found = read(file, ("text", "label"), {"format": form}, pieces)
        assert found == read(file, ("text", "label"), {"format": form}, pieces)
    assert [[row["text"], row["label"]] for row in found.rows] == rows
    assert found.rejects == []


@given(rows=st.lists(VALUE, max_size=12), cuts=CUTS, crlf=st.booleans(), mark=st.booleans())
@settings(max_examples=60, deadline=None)
def test_lines_are_split_at_line_feeds_alone(rows: list[str], cuts: list[int], crlf: bool, mark: bool) -> None:
    content = ("\ufeff" if mark else "") + ("\r\n" if crlf else "\n").join(rows)
    with tempfile.TemporaryDirectory() as folder:
        file = written(Path(folder), content.encode())
        assert [row["text"] for row in read(file, ("text",), {}, cuts).rows] == rows
        (Path(folder) / "beside").write_bytes("\n".join(rows).encode())
        source = {"format": "aligned", "beside": {"other": "beside"}}
        found = read(file, ("text", "other"), source)
        assert [(row["text"], row["other"]) for row in found.rows] == [(row, row) for row in rows]


@pytest.mark.parametrize("form", ["tab", "spaces", "conllu"])
@given(data=st.data(), cuts=CUTS, gaps=st.lists(st.sampled_from(["\n", "\n\n", " \n\r\n"]), min_size=12, max_size=12))
@settings(max_examples=60, deadline=None)
def test_sentences_are_read_as_they_were_written(
    form: str, data: st.DataObject, cuts: list[int], gaps: list[str]
) -> None:
    cell = TOKEN if form == "spaces" else CELL
    sentences = data.draw(st.lists(st.lists(st.tuples(cell, cell), min_size=1, max_size=4), max_size=8))
    text = ""
    for sentence, gap in zip(sentences, gaps, strict=False):
        for number, (word, tag) in enumerate(sentence, 1):
            cells = [str(number), word, "_", tag, *"______"] if form == "conllu" else [word, tag]
            text += ("  " if form == "spaces" else "\t").join(cells) + "\n"
        text += gap
    source = {"format": "conllu"} if form == "conllu" else {"format": "conll"}
    with tempfile.TemporaryDirectory() as folder:
        found = read(written(Path(folder), text.encode()), ("tokens", "tags"), source, cuts)
    pairs = [zip(json.loads(row["tokens"]), json.loads(row["tags"]), strict=True) for row in found.rows]
    assert [list(sentence) for sentence in pairs] == sentences
    assert found.rejects == []


@given(rows=st.lists(st.lists(VALUE, min_size=1, max_size=3), max_size=8), cuts=CUTS)
@settings(max_examples=60, deadline=None)
def test_paragraphs_are_read_as_they_were_written(rows: list[list[str]], cuts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = written(Path(folder), "\n\n".join("\n".join(lines) for lines in rows).encode())
        found = read(file, ("text",), {"rows": "paragraph"}, cuts)
    assert [row["text"] for row in found.rows] == ["\n".join(lines) for lines in rows]


HOSTILE = st.lists(
    st.sampled_from([
        b"\n", b"\n", b"\n\n", b"\r\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"a", b"b c", b"\t", b" ", b'"', b"#",
        b",", b"text", b"label", b"{", b'{"text": "a", "label": [1]}', b'{"text": "\\ud800"}', b"[" * 30, b"-DOCSTART-",
        b"x" * 70, b" " * 70, b"y" * 900, b" " * 900, "é\u2028\x85".encode(), b"text,label\n", b"text\tlabel\n",
        b"1\ta\t_\tX\t_\t_\t_\t_\t_\t_\n", b"2\tb\t_\tX\t_\t_\t_\t_\t_\t_\n", b"# text = a\n", b"a B-X\nb O\n",
    ]),
    max_size=25,
).map(b"".join)  # fmt: skip


@pytest.mark.parametrize("name", [name for name in FILES if name != "aligned"])
@given(content=HOSTILE, cuts=st.lists(st.integers(1, 2000), max_size=6))
@settings(max_examples=120, deadline=None)
def test_any_bytes_give_rows_and_rejects_or_one_error_however_they_are_cut(
    name: str, content: bytes, cuts: list[int]
) -> None:
    source, _ = FILES[name]
    columns = ("tokens", "tags") if name == "conllu" else ("text", "label")
    given_elsewhere = {"from_path": {"label": "stem"}} if name in ("text", "paragraph", "file", "document") else {}
    whole = cut_of(configuration(source).source) == ""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        file = written(Path(folder), content)
        for borders in ([], [] if whole else cuts):
            try:
                results.append(read(file, columns, source | given_elsewhere, borders, max_row_bytes=60))
            except DataError as error:
                results.append(str(error))
    if name == "document" and not isinstance(results[0], str) and not isinstance(results[1], str):
        # Its parts are cut with the pieces; the text is the same.
        texts = ["".join(row["text"] for row in result.rows) for result in results]
        assert texts[0].strip() == texts[1].strip()
        return
    assert results[0] == results[1]


@pytest.mark.parametrize("name", FILES)
def test_a_limit_counts_rows(tmp_path: Path, name: str) -> None:
    source, content = FILES[name]
    header, body = (b"text,label\n", b"a,x\n") if name == "csv" else (b"", content)
    many = header + (body + (b"\n" if name in ("conll", "conllu") else b"")) * 20
    written(tmp_path, b"b\n" * 20, "b.de")
    columns = ("tokens", "tags") if name == "conllu" else ("text", "other") if name == "aligned" else ("text",)
    found = read(written(tmp_path, many), columns, source, limit=7)
    if name == "document":
        assert found.rows == [{"text": "a\n" * 7}]
    else:
        assert len(found.rows) == (1 if name == "file" else 7)


# ---- what would be read wrongly without a word


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": NaN}', "unreadable-json"),
        ('{"text": "a", "more": [-Infinity]}', "unreadable-json"),
        ('{"text": "a", "text": "b"}', "duplicate-name"),
        ('{"text": "a", "more": {"x": 1, "x": 2}}', "duplicate-name"),
    ],
)
def test_json_that_has_no_one_meaning_is_refused(line: str, reason: str, tmp_path: Path) -> None:
    file = written(tmp_path, f'{{"text": "good"}}\n{line}\n'.encode())
    found = read(file, ("text",), {"format": "jsonl"})
    assert (found.rows, rejects(found)) == ([{"text": "good"}], [(2, reason)])


@pytest.mark.parametrize(
    ("source", "content"),
    [
        ({"format": "csv"}, b'"Text",label\nwarm,pos\n'),
        ({"format": "tsv"}, b"\xef\xbb\xbftext\tlabel\r\nwarm\tpos\r\n"),
        ({"format": "conll"}, b"text label\nwarm pos\n"),
    ],
    ids=["csv", "tsv", "conll"],
)
def test_columns_are_not_given_for_a_file_that_names_them(
    source: dict[str, Any], content: bytes, tmp_path: Path
) -> None:
    config = configuration({**source, "columns": ["text", "label"]})
    reader = RowReader.of(config, ("text",))
    reader.check_headers([Source("b.txt", str(written(tmp_path, content.split(b"\n", 1)[1], "b.txt")), "")])
    with pytest.raises(DataError, match=r"^a\.txt: the first line has the names that `source\.columns` gives"):
        reader.check_headers([Source("a.txt", str(written(tmp_path, content, "a.txt")), "")])


def test_a_column_of_conllu_that_says_nothing_is_refused(tmp_path: Path) -> None:
    line = "1\tThey\tthey\tPRON\t_\t_\t2\tnsubj\t_\t_\n"
    file = Source("a.conllu", str(written(tmp_path, (line + "\n").encode() * 2)), "")
    reader = RowReader.of(configuration({"format": "conllu"}), ("tokens", "tags"))
    reader.check_names([file])
    fields = {"format": "conllu", "fields": {"tags": "xpos"}}
    with pytest.raises(DataError) as failure:
        RowReader.of(configuration(fields), ("tokens", "tags")).check_names([file])
    assert str(failure.value).startswith("a.conllu: the column `xpos`, which `tags` is read from, is `_` in every row")


def test_a_bad_line_of_a_document_counts_once(tmp_path: Path) -> None:
    assert rejects(read(written(tmp_path, b"\xff\n"), ("text",), {"rows": "document"})) == [(1, "not-utf-8")]
    assert rejects(read(written(tmp_path, b" \n"), ("text",), {"rows": "document"})) == [(1, "empty")]
