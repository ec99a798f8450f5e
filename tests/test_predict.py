"""`seqapps predict`: one real exported model, called as a user calls it."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest
from rich.console import Console
from tiny import make_prepared
from warm import Warm, check_alone

from seqapps import formats, serving
from seqapps.__main__ import main
from seqapps.applications import Call, application_of, options_of
from seqapps.applications.answers import escaped
from seqapps.applications.conditional_generation import ConditionalGeneration
from seqapps.applications.language_model import LanguageModel
from seqapps.applications.masked_word import MaskedWord
from seqapps.dataset.text_files import as_bytes, as_text
from seqapps.errors import DataError, UsageError
from seqapps.exported import Exported
from seqapps.serving import alone
from seqapps.serving.served import Served
from seqapps.training.trained_model import save_trained


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a trained model in `runs/tiny/model` and version 3 of it in `exports/tiny/3`."""
    folder = tmp_path_factory.mktemp("workspace")
    config, prepared, manifest = make_prepared(folder / "prepared")
    keras.utils.set_random_seed(4)
    application = application_of(config)
    model = application.build(manifest)
    model.set_weights([3.0 * weight for weight in model.get_weights()])
    save_trained(folder / "runs" / "tiny" / "model", application, manifest, model, prepared)
    target = folder / "exports" / "tiny" / "3"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alone, "Popen", check_alone)
        serving.export(folder / "runs" / "tiny" / "model", prepared, target, console=Console(quiet=True))
    return folder


@pytest.fixture(scope="module")
def model(workspace: Path) -> str:
    return str(workspace / "exports" / "tiny" / "3")


@pytest.fixture(scope="module")
def served(model: str) -> Served:
    return serving.load(Path(model))


Captured = pytest.CaptureFixture[str]


def predict(capsys: Captured, *arguments: str) -> str:
    """Runs the command and returns what it printed."""
    capsys.readouterr()
    assert main(["predict", *arguments, "--quiet"]) == 0
    return capsys.readouterr().out


def refused(capsys: Captured, *arguments: str) -> str:
    """Runs a wrong call and returns its message."""
    capsys.readouterr()
    assert main(["predict", *arguments]) in (1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_a_continuation_begins_with_the_prompt(capsys: Captured, model: str, served: Served) -> None:
    shown = predict(capsys, model, "the cat", "--max-length", "12", "--seed", "5")
    expected = served.predict(["the cat"], max_length=12, seed=5)[0]
    assert shown == f"the cat{expected.text}\n"
    assert shown != predict(capsys, model, "the cat", "--max-length", "12", "--seed", "6")


def test_temperature_zero_needs_no_seed(capsys: Captured, model: str) -> None:
    first, second = (
        predict(capsys, model, "the", "--temperature", "0", "--max-length", "9", "--seed", seed) for seed in "12"
    )
    assert first == second


def test_suggestions_stand_in_order(capsys: Captured, model: str, served: Served) -> None:
    shown = predict(capsys, model, "the c", "--complete", "-k", "3").splitlines()
    expected = served.predict(["the c"], complete=True, k=3)[0]
    assert shown[0] == "the c" and len(shown) == 4
    assert [line.split()[0] for line in shown[1:]] == [
        token if token.strip() else repr(token).split()[0] for token in expected.tokens
    ]
    shares = [float(line.split()[-1].rstrip("%")) for line in shown[1:]]
    assert shares == sorted(shares, reverse=True)


def test_a_score_shows_every_token_the_total_and_the_perplexity(capsys: Captured, model: str, served: Served) -> None:
    shown = predict(capsys, model, "a cat", "--score").splitlines()
    score = served.predict(["a cat"], score=True)[0]
    assert shown[0] == "a cat"
    assert [line.split()[0] for line in shown[1:-1]] == ["a", "'", "c", "a", "t", "<eos>"]
    assert shown[-1] == f"  total {score.total:.4f} nats, perplexity {score.perplexity:.4f}"


def test_json_is_one_object_a_text(capsys: Captured, model: str) -> None:
    lines = predict(capsys, model, "a", "the\ncat", "--json", "--max-length", "5").splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["prompt"] for answer in answers] == ["a", "the\ncat"]
    assert set(answers[0]) == {"prompt", "text", "tokens", "nats", "ended"}
    scored = json.loads(predict(capsys, model, "a", "--json", "--score"))
    assert scored["tokens"] == ["a", "<eos>"] and scored["total"] == sum(scored["log_probabilities"])


def test_a_file_gives_one_line_a_line_and_equals_one_call(
    capsys: Captured, model: str, tmp_path: Path, served: Served
) -> None:
    lines = ["the cat", "a dog"] * 40
    (tmp_path / "in.txt").write_bytes("\n".join(lines).encode() + b"\n\xff\r\n")
    out = str(tmp_path / "out.jsonl")
    options = ("--input", str(tmp_path / "in.txt"), "--output", out, "--max-length", "6")
    assert predict(capsys, model, *options, "--json") == ""
    answers = [json.loads(line) for line in Path(out).read_text(encoding="utf-8").splitlines()]
    assert [answer["prompt"] for answer in answers] == [*lines, "\ufffd"]
    expected = served.predict([*lines, b"\xff"], max_length=6)
    assert [answer["text"] for answer in answers] == [answer.text for answer in expected]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.jsonl"]


def test_an_empty_line_has_an_empty_line_as_its_answer(
    capsys: Captured, model: str, tmp_path: Path, served: Served
) -> None:
    (tmp_path / "in.txt").write_bytes(b"\nthe cat\n \na dog\n\n")
    shown = predict(capsys, model, "--input", str(tmp_path / "in.txt"), "--max-length", "6")
    first, second = (answer.full_text for answer in served.predict(["the cat", "a dog"], max_length=6))
    assert shown == f"\n{escaped(first)}\n\n{escaped(second)}\n\n"
    printed = predict(capsys, model, "--input", str(tmp_path / "in.txt"), "--json", "--score").splitlines()
    assert [None if line == "null" else json.loads(line)["text"] for line in printed] == [
        None,
        "the cat",
        None,
        "a dog",
        None,
    ]


def test_a_line_that_cannot_be_answered_has_a_line_and_its_neighbours_their_answers(
    capsys: Captured, model: str, tmp_path: Path, served: Served
) -> None:
    (tmp_path / "in.txt").write_bytes(b"the cat\n" + b"a" * 140_000 + b"\na dog\n")
    words = ["predict", model, "--input", str(tmp_path / "in.txt"), "--max-length", "6"]
    capsys.readouterr()
    assert main([*words, "--output", str(tmp_path / "out.txt")]) == 1
    assert "in.txt, line 2: " in capsys.readouterr().err
    first, second = (answer.full_text for answer in served.predict(["the cat", "a dog"], max_length=6))
    lines = (tmp_path / "out.txt").read_text(encoding="utf-8").split("\n")
    assert (lines[0], lines[1], lines[3:]) == (escaped(first), "", [""])
    assert lines[2].startswith("a dog")
    assert len(second) > len("a dog")
    assert main([*words, "--json"]) == 1
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [next(iter(answer)) for answer in printed] == ["prompt", "error", "prompt"]
    assert "has 140000 bytes. Allowed: " in printed[1]["error"]


def test_texts_stand_anywhere_among_the_options(capsys: Captured, workspace: Path, model: str) -> None:
    shown = predict(capsys, model, "--workspace", str(workspace), "a", "--score", "the")
    assert shown == predict(capsys, model, "a", "the", "--score", "--workspace", str(workspace))
    assert predict(capsys, model, "--score", "").splitlines()[-1].startswith("  total ")


def test_an_option_of_several_applications_says_so(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "options of conditional_generation, language_model, translation: --max-length N" in shown
    assert "conditional_generation: most tokens written (1000); language_model: most tokens written (100);" in shown
    assert "SUPPRESS" not in shown


def test_standard_input_is_scored_line_by_line(
    capsys: Captured, model: str, monkeypatch: pytest.MonkeyPatch, served: Served
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a cat\nthe dog\n")))
    shown = predict(capsys, model, "--input", "-", "--score").splitlines()
    scores = served.predict(["a cat", "the dog"], score=True)
    assert shown == [f"{score.total:.6f}\t{score.perplexity:.6f}\t{len(score.tokens)}" for score in scores]


def test_a_conversation_ends_at_an_empty_line(capsys: Captured, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("the\nthe\n\nnever read\n"))
    assert main(["predict", model, "--interactive", "--max-length", "8"]) == 0
    captured = capsys.readouterr()
    _, first, _, second = captured.out.splitlines()
    assert first.startswith("the") and second.startswith("the") and first != second
    assert captured.out.count("%") == 10
    assert sys.stdin.read() == "never read\n"


def test_a_conversation_ends_with_the_input(capsys: Captured, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("the"))
    assert main(["predict", model, "--interactive", "--score"]) == 0
    assert "perplexity" in capsys.readouterr().out


class Picky(LanguageModel):
    """Answers with the text, unless it is empty or `bad`."""

    @classmethod
    def answer(cls, call: Call, rows: Sequence[Any], options: argparse.Namespace, first: int) -> list[Any]:
        if {b"", b"bad"} & set(map(as_bytes, rows)):
            raise DataError("no such text.")
        return list(map(as_text, rows))

    @classmethod
    def line(cls, answer: Any, options: argparse.Namespace, one_line: bool) -> str:
        return str(answer)

    @classmethod
    def heading(cls, answer: Any) -> str:
        return f"about {answer}" if answer.isupper() else ""

    @classmethod
    def reply(cls, call: Call, row: Any, options: argparse.Namespace, turn: int) -> str:
        return str(cls.answer(call, [row], options, turn)[0])


@pytest.fixture
def picky(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "load", lambda folder: SimpleNamespace(application=Picky, call=None))


@pytest.mark.usefixtures("picky")
def test_a_conversation_goes_on_after_a_mistake(capsys: Captured, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("bad\ngood\n\n"))
    assert main(["predict", model, "--interactive"]) == 0
    captured = capsys.readouterr()
    assert captured.out.endswith("good\n")
    assert "no such text.\n" in captured.err


@pytest.mark.usefixtures("picky")
def test_answers_to_several_texts_say_to_which(capsys: Captured, model: str) -> None:
    assert predict(capsys, model, "A", "b") == "about A:\nA\nb\n"
    assert predict(capsys, model, "A") == "A\n"


@pytest.mark.usefixtures("picky")
@pytest.mark.parametrize("name", ["in.txt", "in.txt.gz"])
def test_a_file_is_read_as_for_a_training(capsys: Captured, model: str, tmp_path: Path, name: str) -> None:
    file = tmp_path / name

    def write(content: bytes) -> None:
        file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    for content, lines in (
        (b"\xef\xbb\xbfa\r\nb\n\n", ["a", "b", ""]),
        (b"\n", [""]),
        (b"", []),
        (b"a\n \nb", ["a", "", "b"]),
    ):
        write(content)
        assert predict(capsys, model, "--input", str(file)).splitlines() == lines
    write(b"a\n" * 69 + b"\nbad\nb\nbad\n")
    capsys.readouterr()
    assert main(["predict", model, "--input", str(file)]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["a"] * 69 + ["", "", "b", ""]
    assert captured.err.endswith(f"{file}, line 71: no such text.\n{file}, line 73: no such text.\n")
    write("\ufeffa\n".encode("utf-16-le"))
    assert "a text must be UTF-8. Received: UTF-16." in refused(capsys, model, "--input", str(file))


def test_a_packed_file_that_is_cut_off(capsys: Captured, model: str, tmp_path: Path) -> None:
    (tmp_path / "in.gz").write_bytes(gzip.compress(b"a\n" * 9)[:-9])
    assert f"{tmp_path}/in.gz cannot be read: " in refused(capsys, model, "--input", str(tmp_path / "in.gz"))


def test_rows_that_are_no_texts_are_refused_from_python(served: Served) -> None:
    for rows, received in ([[1.0, 2.0]], "[1.0, 2.0]"), ("a text", "'a text'"):
        with pytest.raises(UsageError) as failure:
            served.predict(rows)
        assert str(failure.value) == (
            f'predict: `rows` must be a list of str or bytes. Received: {received}. Example: ["a text"].'
        )


def test_a_version_in_the_workspace_is_found_without_the_registry(
    capsys: Captured, workspace: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "seqapps.registry.promotion", None)
    shown = predict(capsys, "tiny@3", "a", "--score", "--workspace", str(workspace))
    assert shown == predict(capsys, model, "a", "--score")


def test_a_trained_model_says_that_it_must_be_exported(capsys: Captured, workspace: Path) -> None:
    for folder in (workspace / "runs" / "tiny", workspace / "runs" / "tiny" / "model"):
        message = refused(capsys, str(folder), "a")
        assert f"{folder} holds a trained model, which is not exported yet. Run `seqapps export CONFIG`." in message


def test_an_unknown_model_is_refused(capsys: Captured, workspace: Path) -> None:
    message = refused(capsys, "tinny@champion", "a", "--workspace", str(workspace))
    assert "tinny@champion" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "predict needs exactly one of TEXT, `--input FILE`, `--interactive`. Received: none of them."),
        (["a", "--input", "-"], "Received: more than one."),
        (["--input", "no-such-file"], "predict: `--input` no-such-file does not exist or is no file."),
        (["a", "--output", "no-folder/x"], "predict: `--output` no-folder/x cannot be written: there is no folder"),
        (["a", "--output", "."], "predict: `--output` . cannot be written: it is a folder."),
        (["--input", __file__, "--output", __file__], "is the file of `--input`, whose texts would be gone."),
        (["--interactive", "--json"], "`--output` and `--json` do not go with it."),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_loaded(
    capsys: Captured, arguments: list[str], message: str
) -> None:
    assert message in refused(capsys, "no-such-model", *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "-1"], "predict: `--temperature` must be at least 0 and at most 1000. Received: -1.0."),
        (["--temperature", "nan"], "predict: `--temperature` must be at least 0 and at most 1000. Received: nan."),
        (["--temperature", "inf"], "predict: `--temperature` must be at least 0 and at most 1000. Received: inf."),
        (["--max-length", "0"], "predict: `--max-length` must be at least 1 and at most 4096. Received: 0."),
        (["-k", "0"], "predict: `-k` must be at least 1 and at most 1024. Received: 0."),
        (["--seed", "3000000000"], "predict: `--seed` must be at least -2147483648 and at most 2147483647."),
        (["-k", "3"], "predict: `-k` does nothing without `--complete`. Remedy: leave it out."),
        (["--score", "--top-k", "3"], "predict: `--top-k` does nothing beside `--score`. Remedy: leave it out."),
        (["--complete", "--seed", "3"], "predict: `--seed` does nothing beside `--complete`. Remedy: leave it out."),
        (["--complete", "--score"], "predict: `--complete` and `--score` exclude each other. Received: both."),
    ],
)
def test_a_wrong_option_is_refused_before_the_graph_is_loaded(
    capsys: Captured, model: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(serving, "load", None)
    assert message in refused(capsys, model, "a", *arguments)


def test_an_option_that_the_model_cannot_answer_is_refused_before_the_graph_is_loaded(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signatures: dict[str, dict[str, object]] = {"serving_default": {}}
    record = Exported("text_classification", "x", {}, {}, signatures, {}, "", "0", "2", False, {})
    formats.write(tmp_path / "model.json", "export", asdict(record))
    monkeypatch.setattr(serving, "load", None)
    message = refused(capsys, str(tmp_path), "a", "--weights")
    assert 'predict: `--weights` is for a model that was trained with `model.pooling` = "attention"' in message


def test_options_that_go_together() -> None:
    assert options_of(LanguageModel, {"k": 3}, interactive=True).k == 3  # a conversation also suggests
    assert options_of(LanguageModel, {"k": 3, "complete": True}).k == 3
    assert options_of(LanguageModel, {"top_k": 3, "score": False}).top_k == 3
    with pytest.raises(UsageError, match="`--count` does nothing beside `--score`"):
        options_of(ConditionalGeneration, {"count": 1, "score": True})
    with pytest.raises(UsageError, match="`-k` does nothing beside `--score`"):
        options_of(MaskedWord, {"k": 5, "score": True})


def test_an_option_of_another_name_is_refused_from_python(served: Served) -> None:
    with pytest.raises(UsageError, match=r"option `--topk` does not exist.*Nearest: --top-k"):
        served.predict(["a"], topk=3)


@pytest.mark.parametrize(
    ("signal", "code", "by"), [("terminate", 143, "Ended by SIGTERM"), ("interrupt", 130, "Interrupted")]
)
def test_ended_by_a_signal(tmp_path: Path, model: str, signal: str, code: int, by: str) -> None:
    """Nothing half-written stands under the file's name; what stood there stays."""
    (tmp_path / "many.txt").write_text("a b\n" * 1_000_000)
    (tmp_path / "out.txt").write_text("of another day\n")
    process = Warm("seqapps", "predict", model, "--input", "many.txt", "--output", "out.txt", cwd=tmp_path)
    while not any(path.stat().st_size for path in tmp_path.glob(".out.txt.*.tmp")):
        assert process.poll() is None, process.finish()
        time.sleep(0.02)
    getattr(process, signal)()
    done = process.finish(60)
    assert done.returncode == code
    assert done.stderr.strip().splitlines()[-1] == f"{by}. Run the same command again from its beginning."
    assert (tmp_path / "out.txt").read_text() == "of another day\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many.txt", "out.txt"]
