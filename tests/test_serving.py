"""Export of a trained model: what the folder holds, that it answers alone, and when it is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console
from tensorflow.core.protobuf import saved_model_pb2
from tiny import WORDS, make_prepared
from warm import check_alone

from seqapps import serving
from seqapps.applications import application_of
from seqapps.applications.answers import row_seed
from seqapps.errors import DataError, RunError
from seqapps.files import new_folder
from seqapps.inference.text_generator import TextGenerator
from seqapps.preprocessing.analysis import learn_tokenizer
from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig
from seqapps.preprocessing.vocabulary import END
from seqapps.serving import alone, exporting
from seqapps.serving.exporting import difference, operations
from seqapps.serving.served import Served
from seqapps.training.trained_model import Trained, load_trained, save_trained

CONSOLE = Console(quiet=True)


def train(
    folder: Path, *, seed: int, change: Callable[[Tokenizer], Tokenizer] | None = None, **sections: Any
) -> tuple[Path, Path]:
    """A model of random weights and its prepared data, with another tokenizer if asked; returns both folders."""
    config, prepared, manifest = make_prepared(folder / "prepared", **sections)
    if change is not None:
        text = prepared / "vocabularies" / "text"
        tokenizer = change(Tokenizer.load(text))
        tokenizer.save(text)
        file = manifest.vocabularies["text"].model_copy(update={"size": tokenizer.size})
        manifest = manifest.model_copy(update={"vocabularies": {"text": file}})
    keras.utils.set_random_seed(seed)
    application = application_of(config)
    model = application.build(manifest)
    model.set_weights([3.0 * weight for weight in model.get_weights()])
    save_trained(folder / "model", application, manifest, model, prepared)
    return folder / "model", prepared


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return train(tmp_path_factory.mktemp("trained"), seed=1, model={"cell": "lstm", "units": [12, 8]})


@pytest.fixture(scope="module")
def exported(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> serving.ExportReport:
    target = tmp_path_factory.mktemp("exports") / "tiny" / "1"
    return serving.export(*trained, target, console=CONSOLE)


@pytest.fixture(scope="module")
def served(exported: serving.ExportReport) -> Served:
    return serving.load(exported.folder)


@pytest.fixture
def warm_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Golden calls are answered in a process that is forked, not started: `exported` is checked in a real one."""
    monkeypatch.setattr(alone, "Popen", check_alone)


def test_the_fresh_process_answers_what_the_trained_model_answers(exported: serving.ExportReport) -> None:
    assert exported.signatures == ("serving_default", "generate", "complete", "complete_k", "score")
    assert exported.calls == 7
    assert exported.largest_difference <= serving.TOLERANCE
    record = serving.read_record(exported.folder)
    assert record["golden"] == {"calls": 7, "largest_difference": exported.largest_difference}


def test_the_folder_says_what_it_is(exported: serving.ExportReport) -> None:
    record = serving.read_record(exported.folder)
    assert record["application"] == "language_model" and record["name"] == "tiny"
    assert record["config"]["model"]["units"] == [12, 8]
    assert record["vocabularies"]["text"]["level"] == "character"
    assert record["manifest_fingerprint"] == "0123456789abcdef" * 4
    text, outputs = {
        "dtype": "string", "shape": [None],
    }, {
        "tokens": {"dtype": "string", "shape": [None, None]},
        "probabilities": {"dtype": "float32", "shape": [None, None]},
        "error": {"dtype": "string", "shape": [None]},
    }  # fmt: skip
    assert record["signatures"]["complete"] == {"inputs": {"prompt": text}, "outputs": outputs, "full": "complete_k"}
    assert record["signatures"]["complete_k"] == {
        "inputs": {"prompt": text, "k": {"dtype": "int64", "shape": [None]}},
        "outputs": outputs,
        "settings": {"k": {"default": 5, "least": 1, "most": 1024}},
    }
    settings = record["signatures"]["generate"]["settings"]
    assert settings["max_length"] == {"default": 100, "least": 1, "most": 4096}
    assert sorted(settings) == ["max_length", "seed", "temperature", "top_k"]
    limits = {"rows_times_bytes": 1 << 20, "rows_times_length": 1 << 20, "rows_times_square": 1 << 22}
    assert record["limits"] == {"bytes": 16384, **limits}


def test_vocabulary_and_golden_calls_travel_inside(exported: serving.ExportReport, trained: tuple[Path, Path]) -> None:
    names = sorted(path.name for path in (exported.folder / "assets").iterdir())
    assert names == ["facts.json", "text.tokenizer.json", "text.tokens.json"]
    original = (trained[0] / "vocabularies" / "text" / "tokens.json").read_bytes()
    assert (exported.folder / "assets" / "text.tokens.json").read_bytes() == original
    golden = json.loads((exported.folder / "golden.json").read_text())
    assert sorted(golden) == ["complete", "complete_k", "generate", "score", "serving_default"]
    prompts = golden["serving_default"][0]["inputs"]["prompt"]
    assert len(prompts) == 4 and prompts[-1] == "" and all(prompts[:-1])
    texts = golden["serving_default"][0]["outputs"]
    assert [prompt + text for prompt, text in zip(prompts, texts["text"], strict=True)] == texts["full_text"]


def test_no_operation_of_the_graph_needs_a_gpu_or_tensorflow_text(exported: serving.ExportReport) -> None:
    saved = saved_model_pb2.SavedModel.FromString((exported.folder / "saved_model.pb").read_bytes())
    found = operations(saved.meta_graphs[0].graph_def)
    assert {"MatMul", "BitwiseXor", "LookupTableFindV2"} <= found
    assert not [name for name in found if "Cudnn" in name or "UTF8" in name]
    assert not exported.needs_tensorflow_text


def test_it_answers_where_neither_seqapps_nor_tensorflow_text_can_be_imported(
    exported: serving.ExportReport, served: Served
) -> None:
    program = f"""
import sys
sys.modules.update(seqapps=None, tensorflow_text=None, keras=None)
import tensorflow as tf
model = tf.saved_model.load({str(exported.folder)!r})
answer = model.signatures["complete_k"](prompt=tf.constant(["the c"]), k=tf.constant([2], tf.int64))
print([token.decode() for token in answer["tokens"].numpy()[0]])
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    expected = served.predict(["the c"], complete=True, k=2)[0]
    assert done.stdout.strip() == repr(list(expected.tokens))


def test_the_check_inside_the_folder_runs_alone(exported: serving.ExportReport, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(exported.folder, moved)
    command = [sys.executable, "-I", str(moved / "check.py"), str(moved), str(tmp_path / "answers.json")]
    subprocess.run(command, check=True, cwd="/", capture_output=True)
    answers = json.loads((tmp_path / "answers.json").read_text())["answers"]
    golden = json.loads((moved / "golden.json").read_text())
    assert answers.keys() == golden.keys()
    for name, calls in golden.items():
        for call, answer in zip(calls, answers[name], strict=True):
            assert difference(list(call["outputs"].values()), [answer[key] for key in call["outputs"]]) < 1e-5


def test_the_served_answers_are_those_of_the_model(served: Served, trained: tuple[Path, Path]) -> None:
    original = load_trained(trained[0])
    generator = TextGenerator(original.model, original.resources["text"], start=END)
    written = served.predict(["the cat", ""], max_length=25, temperature=0.7, top_k=4, seed=11)
    assert written[0].text == generator.write("the cat", length=25, temperature=0.7, top_k=4, seed=11)
    assert written[0].prompt == "the cat" and written[0].full_text == "the cat" + written[0].text
    assert all(answer.ended or answer.tokens == 25 for answer in written)
    score = served.predict(["the cat", "a"], score=True)[1]
    assert score.tokens == ("a", "<eos>") and len(score.log_probabilities) == 2
    np.testing.assert_allclose(score.total, sum(score.log_probabilities), rtol=1e-6)
    np.testing.assert_allclose(score.perplexity, np.exp(-score.total / 2), rtol=1e-5)
    best = served.predict([b"th\xff"], complete=True, k=3)[0]
    assert best.prompt == "th\ufffd" and len(best.tokens) == 3
    assert list(best.probabilities) == sorted(best.probabilities, reverse=True)


def test_the_ids_inside_the_graph_are_the_tokenizers(
    exported: serving.ExportReport, trained: tuple[Path, Path]
) -> None:
    tokenizer, model = load_trained(trained[0]).resources["text"], tf.saved_model.load(str(exported.folder))
    texts = tf.constant(["the cat", "", b"\xff\xfe", "Zé\u0301 \u2028\n\t", "\U0001f600a"])
    inside = model.signatures["score"](text=texts)
    for row, ids in enumerate(tokenizer.encode(texts)):
        assert list(inside["ids"].numpy()[row][: inside["length"].numpy()[row]]) == [*ids.numpy(), END]


def test_many_prompts_are_answered_in_batches_that_differ(served: Served) -> None:
    prompts = ["a"] * (serving.BATCH + 2)
    answers = served.predict(prompts, max_length=12, seed=3)
    assert len(answers) == len(prompts)
    assert [answer.text for answer in served.predict(prompts[:5], max_length=12, seed=3)] == [
        answer.text for answer in answers[:5]
    ]
    assert len({answer.text for answer in answers}) > serving.BATCH // 2
    assert served.predict([]) == []


def test_a_call_that_cannot_be_answered_is_reported_in_words(served: Served) -> None:
    with pytest.raises(
        DataError, match=r"predict: `max_length` must be at least 1 and at most 4096\. Received: 5000\."
    ):
        served.call("generate", prompt=["a"], max_length=[5000], temperature=[1.0], top_k=[0], seed=[1])
    message = r"predict: `prompt` has 20000 bytes\. Allowed: 16384 in a call of 1 rows\. Split it into parts\."
    with pytest.raises(DataError, match=message):
        served.predict(["a" * 20_000])


def test_seeds_stay_in_32_bits() -> None:
    assert [row_seed(2**31 - 1, row) for row in (0, 1, 2)] == [2**31 - 1, -(2**31), -(2**31) + 1]


def folded(tokenizer: Tokenizer) -> Tokenizer:
    return Tokenizer(TokenizerConfig(level="character", lowercase=True), tokenizer.vocabulary)


def subwords(tokenizer: Tokenizer) -> Tokenizer:
    counts = {f" {word}".encode(): 9 for word in WORDS} | {word.encode(): 9 for word in WORDS}
    return learn_tokenizer(counts, TokenizerConfig(level="subword", lowercase=True), 60, 1)


@pytest.mark.usefixtures("warm_check")
@pytest.mark.parametrize("change", [folded, subwords])
def test_a_graph_with_tensorflow_text_says_so_and_has_the_name_that_it_is_given(
    change: Callable[[Tokenizer], Tokenizer], tmp_path: Path
) -> None:
    folders = train(tmp_path, seed=2, change=change)
    report = serving.export(*folders, tmp_path / "exported", name="another", console=CONSOLE)
    assert serving.read_record(report.folder)["name"] == "another"
    assert report.needs_tensorflow_text and serving.read_record(report.folder)["needs_tensorflow_text"]
    served = serving.load(report.folder)
    assert served.predict(["THE CAT"], score=True)[0].total == served.predict(["the cat"], score=True)[0].total


def test_an_export_replaces_the_one_before(exported: serving.ExportReport, tmp_path: Path) -> None:
    target = tmp_path / "1"
    (target / "old").mkdir(parents=True)
    with new_folder(target, replace=True) as building:
        shutil.copytree(exported.folder, building, dirs_exist_ok=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1"]
    assert not (target / "old").exists() and (target / "saved_model.pb").exists()


@pytest.mark.parametrize("left_over", ["float32", "mixed_bfloat16"])
def test_a_loaded_model_has_its_own_precision_and_an_exported_one_float32(
    left_over: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed, _ = train(tmp_path / "a", seed=1, training={"precision": "mixed_bfloat16"})
    plain, _ = train(tmp_path / "b", seed=1, training={"precision": "float32"})
    seen = list[Trained]()

    def load_and_note(folder: Path, **options: Any) -> Trained:
        seen.append(load_trained(folder, **options))
        return seen[-1]

    monkeypatch.setattr(exporting, "load_trained", load_and_note)
    keras.config.set_dtype_policy(left_over)
    try:
        found = [load_trained(folder) for folder in (mixed, plain)]
        exporting._graphs(mixed)
        assert keras.config.dtype_policy().name == left_over
    finally:
        keras.config.set_dtype_policy("float32")
    policies = [{layer.dtype_policy.name for layer in item.model.layers} for item in (*found, *seen)]
    assert "mixed_bfloat16" in policies[0]
    assert policies[1:] == [{"float32"}, {"float32"}]


@pytest.mark.usefixtures("warm_check")
def test_a_tampered_folder_is_seen(exported: serving.ExportReport, tmp_path: Path) -> None:
    folder = tmp_path / "tampered"
    shutil.copytree(exported.folder, folder)
    golden = json.loads((folder / "golden.json").read_text())
    golden["score"][0]["outputs"]["total"][2] += 0.5
    (folder / "golden.json").write_text(json.dumps(golden))
    seen = serving.verify(folder)
    assert seen.where == "score[0].total" and seen.largest_difference > 1e-3


@pytest.mark.usefixtures("warm_check")
def test_export_refuses_other_weights_and_leaves_nothing(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers_of = exporting._golden

    def answer_then_change(trained: Trained, *others: Any) -> Any:
        answers = answers_of(trained, *others)
        trained.model.set_weights([weight + 0.01 for weight in trained.model.get_weights()])
        return answers

    monkeypatch.setattr(exporting, "_golden", answer_then_change)
    with pytest.raises(RunError, match=r"does not answer what the trained model answers. Received: difference .* at "):
        serving.export(*trained, tmp_path / "exports" / "1", console=CONSOLE)
    assert list((tmp_path / "exports").iterdir()) == []


@pytest.mark.usefixtures("warm_check")
def test_a_process_that_cannot_answer_is_reported(exported: serving.ExportReport, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(exported.folder, folder)
    for file in (folder / "variables").iterdir():
        file.write_bytes(b"")
    with pytest.raises(RunError, match="a process without seqapps cannot answer"):
        serving.verify(folder)


def test_a_gpu_operation_is_refused(tmp_path: Path) -> None:
    graph = saved_model_pb2.SavedModel()
    function = graph.meta_graphs.add().graph_def.library.function.add()
    function.node_def.add(name="rnn", op="CudnnRNNV3")
    (tmp_path / "saved_model.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(RunError, match="the graph holds CudnnRNNV3, which run on a GPU only"):
        exporting._refuse_cudnn(tmp_path)


def test_folders_that_are_no_exported_model_say_what_to_do(trained: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds a trained model, which is not exported yet\. Run `seqapps export"):
        serving.load(trained[0])
    with pytest.raises(DataError, match="holds no exported model"):
        serving.load(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(DataError, match=r"without model.json: seqapps did not export it, or it is damaged"):
        serving.load(tmp_path)


def test_differences() -> None:
    assert difference([[1.0, 2.0], ["a"]], [[1.0, 2.00001], ["a"]]) == pytest.approx(5e-6)
    assert difference([0.5], [0.25]) == 0.25
    assert difference([1000.0], [1001.0]) == pytest.approx(1e-3)
    for expected, received in (([1], [2]), (["a"], ["b"]), ([[1.0]], [[]]), ([1.0], None), ([1.0], [float("nan")])):
        assert difference(expected, received) == float("inf")
