"""Odd command lines and damaged workspaces, in thousands: one message each, never a traceback, and remedies that work.

Each item is a warm process of its own that tries the lines of one group, one after another (see
`tests/command_lines.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from command_lines import Case, complaints, run_all
from little import CONFIG
from stores import copy_empty
from warm import Warm

from seqapps import __main__ as door
from seqapps import applications
from seqapps.config import RunConfig, Section

LITTLE = "little.toml"
CONFIG_COMMANDS = ("prepare", "tune", "train", "evaluate", "promote", "export", "run", "backtest", "config")
READERS = (
    ("prepare", LITTLE),
    ("evaluate", LITTLE),
    ("predict", "little@champion", "the cat"),
    ("report", LITTLE),
    ("rollback", "little", "--reason", "x"),
)
"""What reads a workspace without training anew."""


def line(*words: str, **more: Any) -> Case:
    """Returns a case of these words."""
    return Case(tuple(words), **more)


def after(damage: Sequence[tuple[str, str]], *words: str, **more: Any) -> Case:
    """Returns a case of these words in a damaged workspace; what other code made counts, so that nothing else runs."""
    any_code = ("--any-code",) if words[0] in CONFIG_COMMANDS else ()
    return Case((*words, *any_code), tuple(damage), **more)


# ---- configurations


def _files() -> Iterator[Case]:
    """A configuration file that is none."""
    for kind in ("empty", "garbage", "folder", "loop", "bytes", "remove", "cut"):
        for command in ("config", "prepare", "rollback"):
            words = (command, LITTLE, *(("--reason", "x") if command == "rollback" else ()))
            yield Case(words, ((kind, LITTLE),), code=None if kind == "cut" else 2, says=LITTLE)
    for content in ("\xff\xfe", "[" * 3000, "x = 1\n" * 3, 'application = "\x00"', "application = 3", "[[source]]"):
        yield line("config", "x.toml", files=(("x.toml", content),), code=2, says="x.toml")
    for name in ("x" * 300 + ".toml", "", " ", "/", "/dev/null", "/proc/1/mem", f"{LITTLE}/x.toml", "\udcff.toml"):
        yield line("config", name)
    for name in ("my config.toml", "caf\xc3\xa9.toml", ".hidden.toml", "a=b.toml", "(1).toml", "x" * 200 + ".toml"):
        yield line("config", name.encode("latin-1").decode(), files=((name, CONFIG),), code=0)
    yield line("config", LITTLE, "--config", LITTLE, code=2, says="one configuration")


VALUES = (
    "true", "-1", "0", "inf", "nan", "1e400", f"{10**20}", "0.5", '""', '"x"', "[]", "{}", "[[]]", '"$$"', '"../x"',
    '"été"', r'"a\u0000b"', "1979-05-27", '["a", 1]', "'''a\nb'''", "-0.0",
)  # fmt: skip


def _fields(cls: type[Section] = RunConfig, prefix: str = "") -> Iterator[str]:
    """Yields the dotted name of every field."""
    for name, field in cls.model_fields.items():
        own = applications.load("language_model")
        inner: Any = {"data": own.data, "evaluation": own.evaluation}.get(name, field.annotation)
        if isinstance(inner, type) and issubclass(inner, Section) and inner.model_fields:
            yield from _fields(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _values(place: int, parts: int) -> Iterator[Case]:
    """Every field of a configuration with every odd value: it is taken or refused in words, naming the field."""
    for field in sorted({*_fields(), "model.units", "model.cell", "model.dropout"})[place::parts]:
        for value in VALUES:
            yield line("config", LITTLE, "--set", f"{field}={value}", "--quiet")


def _options() -> Iterator[Case]:
    """Words that no command knows, options without a value, odd places."""
    for words in (["nothing"], ["--workspace", "ws"], ["-h"], ["--version"], ["--debugg"], [""], ["run", "--"]):
        yield line(*words)
    for command in door.COMMANDS:
        yield line(command, "--nonsense", code=2, says="nonsense|needs one|required")
        yield line(command, "--set", code=2)
        yield line(command, LITTLE, "extra", "more", code=2 if command != "predict" else None)
    for words in (["--set", "="], ["--set", "x"], ["--set", "a.b.c.d=1"], ["--set", "seed.x=1"],
                  ["--set", "a=1", "b=2"], ["--set", "training=3"], ["--set", "=1"],
                  ["--set", "training.epochs=" + "[" * 3000]):  # fmt: skip
        yield line("config", LITTLE, *words, code=2)
    yield line("config", LITTLE, "--set", "training.epochs=4", "seed=7", code=0, says="epochs = 4")
    for place in (LITTLE, "/proc/x", "/dev/null/x", "w" * 300, "ws\x00x", "", "/"):
        yield line("train", LITTLE, "--workspace", place)
    for slices in ("", ",", "nope", "length,nope"):
        yield line("evaluate", LITTLE, "--any-code", "--slices", slices)
    for words in (["--epoch", "0"], ["--epoch", "x"], ["--step", "-1"], ["--initial"]):
        yield line("diagnose", "little", *words)
    for words in (["--folds", "0"], ["--folds", "x"], []):
        yield line("backtest", LITTLE, *words)


def _stores() -> Iterator[Case]:
    """Stores that do not answer, or are none."""
    for uri in ("http://127.0.0.1:9", "http://me:secret@127.0.0.1:9/x", "postgresql://h/x", "mysql://h/x", "mssql://h/x",
                "ftp://x", "file:///tmp/x", "x", "sqlite://", "sqlite:///", "sqlite:////proc/x/y.db", "http://", "http://[::1",
                "https://127.0.0.1:9", "sqlite:///little.toml", "http://127.0.0.1:99999"):  # fmt: skip
        yield line("rollback", "little", "--reason", "x", "--tracking-uri", uri)
        yield line("predict", "little@champion", "a", "--tracking-uri", uri)
    for uri in ("http://127.0.0.1:9", "postgresql://h/x"):
        yield line("evaluate", LITTLE, "--any-code", "--tracking-uri", uri)


# ---- workspaces


def _damaged(file: str, kinds: Sequence[str], commands: Sequence[tuple[str, ...]] = READERS) -> Iterator[Case]:
    for kind in kinds:
        for words in commands:
            yield after([(kind, file)], *words)


def _store_files(place: int) -> Iterator[Case]:
    """MLflow's database and the files beside it."""
    kinds = ("empty", "cut", "garbage", "remove", "folder")
    yield from _damaged("ws/mlflow.db", kinds[place : place + 1])
    if not place:
        yield from _damaged("ws/mlartifacts/**/ledger.jsonl", ("empty", "cut", "garbage", "remove"), READERS[2:5])
        yield from _damaged("ws/mlartifacts", ("remove", "file"), READERS[2:5])


def _records(stage: str) -> Iterator[Case]:
    """A record that is damaged is made again: the run ends well."""
    for kind in ("empty", "cut", "list"):
        yield after([(kind, f"ws/stages/*/{stage}*.json")], "run", LITTLE, code=0)


FILES_OF_STAGES = {
    "prepared-manifest": ("ws/prepared/*/manifest.json", ("cut", "empty", "remove")),
    "prepared-shards": ("ws/prepared/*/train/*.tfrecord", ("cut", "remove")),
    "prepared-rest": ("ws/prepared/*/*ngrams*/*", ("cut",)),
    "prepared-vocabulary": ("ws/prepared/*/vocabularies/text/*.json", ("cut", "remove")),
    "weights": ("ws/runs/*/model/model.weights.h5", ("cut", "remove")),
    "trained": ("ws/runs/*/model/model.json", ("cut", "remove")),
    "evaluation": ("ws/runs/*/evaluation/evaluation.json", ("cut", "remove")),
    "statistics": ("ws/runs/*/evaluation/*.npz", ("cut", "remove")),
    "saved_model": ("ws/runs/*/saved_model/saved_model.pb", ("cut", "remove")),
    "exported": ("ws/exports/*/1/variables/*", ("cut", "remove")),
    "exported-record": ("ws/exports/*/1/model.json", ("cut", "remove")),
    "run": ("ws/runs/*/run.json", ("cut", "remove")),
    "history": ("ws/runs/*/history.json", ("cut", "remove")),
    "checkpoint": ("ws/runs/*/checkpoint*.npz", ("cut",)),
    "cache": ("ws/cache/*.json", ("cut", "list", "folder")),
}
"""What a stage leaves to the ways in which it is damaged; the run makes it again by itself."""


def _outputs(name: str) -> Iterator[Case]:
    file, kinds = FILES_OF_STAGES[name]
    for kind in kinds:
        code = 0 if kind != "folder" else None
        yield after([(kind, file)], "run", LITTLE, code=code)


def _outputs_read(place: int, parts: int) -> Iterator[Case]:
    for file, kinds in list(FILES_OF_STAGES.values())[place::parts]:
        yield from _damaged(file, (*kinds[:1], "garbage"), READERS[1:4])


def _places() -> Iterator[Case]:
    """A file where a folder must be, and links that lead nowhere."""
    for where in ("ws/cache", "ws/stages", "ws/runs", "ws/prepared", "ws/exports", "ws/mlflow.db"):
        for kind in ("file", "loop"):
            yield after([(kind, where)], "evaluate", LITTLE)
            yield after([(kind, where)], "predict", "little@champion", "a")


REMEDIED = {
    "shards": ("ws/prepared/*/train/*.tfrecord", ("garbage", "cut", "remove")),
    "test-shard": ("ws/prepared/*/test/*.tfrecord", ("garbage",)),
    "vocabulary": ("ws/prepared/*/vocabularies/text/tokens.json", ("garbage", "remove")),
    "manifest": ("ws/prepared/*/manifest.json", ("garbage", "remove")),
    "weights": ("ws/runs/*/model/model.weights.h5", ("garbage", "cut", "remove")),
    "trained": ("ws/runs/*/model/model.json", ("garbage", "remove")),
    "evaluation": ("ws/runs/*/evaluation/evaluation.json", ("garbage", "remove")),
    "statistics": ("ws/runs/*/evaluation/statistics.npz", ("garbage",)),
    "saved_model": ("ws/runs/*/saved_model/saved_model.pb", ("garbage", "remove")),
    "exported-variables": ("ws/exports/*/1/variables/variables.data*", ("garbage", "cut", "remove")),
    "exported-graph": ("ws/exports/*/1/saved_model.pb", ("garbage", "cut", "remove")),
    "exported-record": ("ws/exports/*/1/model.json", ("garbage", "cut", "list", "remove")),
    "exported-assets": ("ws/exports/*/1/assets/*", ("garbage", "remove")),
    "registered": ("ws/mlartifacts/*/models", ("remove",)),
    "registered-variables": ("ws/mlartifacts/*/models/*/artifacts/artifacts/*/variables/*data*", ("garbage", "remove")),
    "registered-record": ("ws/mlartifacts/*/models/*/artifacts/artifacts/*/model.json", ("garbage", "remove")),
}
"""What can be damaged to the ways; each command that meets it ends well, or names a command after which it does."""
ASKING = (
    ("train", LITTLE),
    ("evaluate", LITTLE, "--slices", "length"),
    ("promote", LITTLE),
    ("export", LITTLE),
    ("predict", "little@1", "the cat"),
    ("predict", "little@champion", "the cat"),
    ("report", LITTLE),
    ("diagnose", LITTLE),
)


def _remedies(name: str) -> Iterator[Case]:
    file, kinds = REMEDIED[name]
    for kind in kinds:
        for words in ASKING:
            yield Case(words, ((kind, file),), remedy=True)


FORMATS = ("older", "newer", "unnumbered", "fieldless")
MADE_ANEW = {
    "manifest": "ws/prepared/*/manifest.json",
    "tokenizer": "ws/prepared/*/vocabularies/*/tokenizer.json",
    "stage": "ws/stages/*/*.json",
    "run": "ws/runs/*/run.json",
    "audit": "ws/runs/*/audit.json",
    "history": "ws/runs/*/history.json",
    "trained": "ws/runs/*/model/model.json",
    "evaluation": "ws/runs/*/evaluation/evaluation.json",
    "breakdowns": "ws/runs/*/evaluation/breakdowns.json",
    "examples": "ws/runs/*/evaluation/examples.json",
    "hashes": "ws/cache/sha256.json",
}
"""Kind of a record to the files that the pipeline makes again by itself, whatever their format."""
REFUSED = {
    "export": ("ws/exports/*/1/model.json", (("run", LITTLE), ("predict", "ws/exports/little/1", "the cat"))),
    "version": (
        "ws/mlartifacts/*/models/*/artifacts/artifacts/*/model.json",
        (("run", LITTLE), ("predict", "little@champion", "the cat")),
    ),
    "ledger": ("ws/mlartifacts/**/ledger.jsonl", (("evaluate", LITTLE), ("report", LITTLE), READERS[4])),
}
"""Kind to the files that a server or another version may read, and to what refuses them."""


def _formats_made_anew(kind: str) -> Iterator[Case]:
    for harm in FORMATS:
        yield after([(harm, MADE_ANEW[kind])], "run", LITTLE, code=0)
        for words in READERS[1:4]:
            yield after([(harm, MADE_ANEW[kind])], *words)


def _formats_refused(kind: str) -> Iterator[Case]:
    """Another version may read them: one message, and the file stays; what is only damaged is mended as ever."""
    file, lines = REFUSED[kind]
    for harm, says in (("older", "has format 0"), ("newer", "has format 2"), ("unnumbered", "has no format number")):
        for words in lines:
            yield after([(harm, file)], *words, code=1, says=f"{says}, this version writes 1")
    for words in lines:
        yield after([("fieldless", file)], *words)


# ---- data


CONTENTS = (
    "", "\n", "\xef\xbb\xbf", "one line", "\x00" * 100, "a\x00b\n" * 30, "\xe9t\xe9\n" * 30, "\xff\xfea\x00b\x00",
    "x" * 300_000, "PK\x03\x04abc", "\x1f\x8babc", "a,b\n1\n", '"', '"a\n"b,c\n', "text\n" + "\x80\n" * 30,
    "text,text\n1,2\n", "\t\t\n" * 30, "{}\n" * 30, '{"text": 1}\n' * 30, "[" * 5000 + "\n",
    '{"text": "' + "\\ud800" + '"}\n',
)  # fmt: skip


def _data(form: str) -> Iterator[Case]:
    """Files that are not what the format says."""
    for content in CONTENTS:
        settings = ["--set", 'source.files=["data"]', f'source.format="{form}"']
        yield line("prepare", LITTLE, *settings, "--workspace", "other", files=(("data", content),))


def _names() -> Iterator[Case]:
    """Files with odd names."""
    for name in ("caf\xe9.txt", "a b.txt", "$$.txt", "*.txt", "[x].txt", "x.gz", "\xf0\x9f\x98\x80", "-x.txt", "a\nb"):
        content = "".join(f"row {number}\n" for number in range(60))
        settings = ["--set", 'source.files=["data"]', "--workspace", "other"]
        yield line("prepare", LITTLE, *settings, files=((f"data/{name}", content),))


def _beam() -> Iterator[Case]:
    """Options that Beam does not take."""
    for words in (["--runner=Nope"], ["--direct_num_workers=-1"], ["--direct_num_workers=x"], ["--nonsense"], ["x"],
                  ["--runner=DataflowRunner"], ["--runner="], []):  # fmt: skip
        yield line("prepare", LITTLE, "--workspace", "other", "--", *words)


def _texts() -> Iterator[Case]:
    """Texts, names and numbers that a model is asked with."""
    model = "ws/exports/little/1"
    for text in ("", " ", "\x00", "\udcff", "$$", "😀" * 50, "a" * 20_000, "-1", "\n"):
        yield line("predict", model, text)
    for name in ("", "x@", "@x", "a'b", 'a"b', "little@", "little@99", "little@x'", "%", "x/y", "..", "ws", "\udcff"):
        yield line("predict", name, "a")
        yield line("rollback", name, "--reason", "x")
        yield line("report", name)
        yield line("diagnose", name)
    for words in (["--input", "none.txt"], ["--input", "ws"], ["--input", "data"], ["--output", "ws", "a"],
                  ["--output", "/x/y", "a"], ["--output", "/proc/x", "a"], ["--json", "a"], ["--max-length", "0", "a"],
                  ["--max-length", "x", "a"], ["--temperature", "nan", "a"], ["--temperature", "-1", "a"],
                  ["--seed", "99999999999999999999", "a"]):  # fmt: skip
        yield line("predict", model, *words, files=(("data", "\xff\n\x00\n\n"),))


STAGES = ("prepare", "train", "evaluate", "saved_model", "promote", "export")
GROUPS: dict[str, list[Case]] = {
    "files": [*_files()],
    **{f"values-{place}": [*_values(place, 8)] for place in range(8)},
    "options": [*_options()],
    "stores": [*_stores()],
    **{f"store-file-{place}": [*_store_files(place)] for place in range(5)},
    **{f"record-{stage}": [*_records(stage)] for stage in STAGES},
    **{f"output-{name}": [*_outputs(name)] for name in FILES_OF_STAGES},
    **{f"read-{place}": [*_outputs_read(place, 5)] for place in range(5)},
    **{f"remedy-{name}": [*_remedies(name)] for name in REMEDIED},
    **{f"formats-{kind}": [*_formats_made_anew(kind)] for kind in MADE_ANEW},
    **{f"formats-{kind}": [*_formats_refused(kind)] for kind in REFUSED},
    "places": [*_places()],
    **{f"data-{form}": [*_data(form)] for form in ("text", "csv", "tsv", "jsonl")},
    "names": [*_names()],
    "beam": [*_beam()],
    "texts": [*_texts()],
}  # fmt: skip
WITHOUT = {"files", "names", "beam", *(name for name in GROUPS if name.startswith(("values-", "data-")))}
"""Groups that need no workspace."""


@pytest.fixture(scope="session")
def travelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration and a workspace whose run is done. It was made as `case` beside itself: the
    places that MLflow knows are those of a copy of that name."""
    folder = tmp_path_factory.mktemp("travelled")
    (folder / "case").mkdir()
    (folder / "case" / LITTLE).write_text(CONFIG)
    copy_empty(folder / "case" / "ws" / "mlflow.db")
    done = Warm("seqapps", "run", LITTLE, "--workspace", "ws", cwd=folder / "case").finish()
    assert done.returncode == 0, done.stderr
    return (folder / "case").rename(folder / "base")


@pytest.mark.parametrize("group", GROUPS)
def test_command_lines_end_in_words(group: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    cases = GROUPS[group]
    if group in WITHOUT:
        base = tmp_path / "base"
        base.mkdir()
        (base / LITTLE).write_text(CONFIG)
    else:
        base = request.getfixturevalue("travelled")
    outcomes = run_all(cases, base, base.parent)
    shutil.rmtree(base.parent / "case", ignore_errors=True)
    wrong = [
        f"{complaint}: {' '.join(case.words)!r:.200} {case.damage}\n{outcome.out[-300:]}{outcome.err[-1500:]}"
        for case, outcome in zip(cases, outcomes, strict=True)
        if (complaint := ", ".join(complaints(case, outcome)))
    ]
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n----\n".join(wrong)
