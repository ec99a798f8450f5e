"""Text classification: figures equal to scikit-learn's, labels as files hold them, one shortening, raw text in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from rich.console import Console
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss

from pipelines.prepare import prepare
from seqapps import baselines
from seqapps.applications import Application, Call, application_of, config_from, options_of
from seqapps.applications.text_classification import Classification, TextClassification
from seqapps.baselines import BaselineContext
from seqapps.dataset.manifest import Manifest, read_manifest
from seqapps.dataset.ragged import Ragged, RawBlock
from seqapps.errors import ConfigError, DataError, UsageError
from seqapps.metrics.classification import (
    class_table,
    confusion,
    metrics,
    multi_hot,
    multi_statistics,
    single_statistics,
)
from seqapps.preprocessing.labelling import labels_of
from seqapps.preprocessing.labels import Labels
from seqapps.preprocessing.shortening import shorten, shorten_rows
from seqapps.serving.check import answer
from seqapps.training import loop as training
from seqapps.training.trained_model import load_resources
from seqapps.workspace import Workspace

# ---- figures


def drawn(seed: int, rows: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, classes)) * random.choice([0.5, 3.0, 30.0])
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    truth = np.where(random.random(rows) < 0.5, logits.argmax(axis=1), random.integers(classes, size=rows))
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32), truth.astype(np.int64)


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 60), classes=st.integers(2, 8))
@settings(max_examples=80, deadline=None)
def test_figures_are_those_of_scikit_learn(seed: int, rows: int, classes: int) -> None:
    p, truth = drawn(seed, rows, classes)
    found = metrics(single_statistics(p, truth).sum(axis=0), calibrated=True)
    chosen = p.argmax(axis=1)
    assert_allclose(found["accuracy"], accuracy_score(truth, chosen))
    assert_allclose(found["macro_f1"], f1_score(truth, chosen, average="macro"))
    assert_allclose(found["micro_f1"], f1_score(truth, chosen, average="micro"))
    # In float64 the rows of float32 softmax sum to 1 but for rounding, which scikit-learn would take for a mistake.
    exact = p.astype(np.float64) / p.astype(np.float64).sum(axis=1, keepdims=True)
    assert_allclose(found["log_loss"], log_loss(truth, exact, labels=range(classes)), rtol=1e-5, atol=1e-6)
    assert_array_equal(confusion(chosen, truth, classes), confusion_matrix(truth, chosen, labels=range(classes)))
    assert_allclose(found["ece"], calibration_error(p.astype(np.float64), truth))


def calibration_error(p: NDArray[np.float64], truth: NDArray[np.int64], bins: int = 15) -> float:
    """Guo et al. 2017, equation 3, as it is written."""
    confidence, right, total = p.max(axis=1), p.argmax(axis=1) == truth, 0.0
    for place in range(1, bins + 1):
        inside = (confidence > (place - 1) / bins) & (confidence <= place / bins)
        if inside.any():
            total += inside.sum() / len(p) * abs(right[inside].mean() - confidence[inside].mean())
    return total


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 40), classes=st.integers(2, 6))
@settings(max_examples=60, deadline=None)
def test_figures_of_several_labels_are_those_of_scikit_learn(seed: int, rows: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    p = random.random((rows, classes)).astype(np.float32)
    truth = (random.random((rows, classes)) < random.choice([0.1, 0.5])).astype(np.int8)
    found = metrics(multi_statistics(p, truth, np.zeros(rows)).sum(axis=0), calibrated=False)
    predicted_labels = p > 0.5
    assert_allclose(found["accuracy"], accuracy_score(truth, predicted_labels))
    for average in ("micro", "macro"):
        expected = f1_score(truth, predicted_labels, average=average, zero_division=0)
        assert_allclose(found[f"{average}_f1"], expected, atol=1e-12)
    each = [log_loss(truth[:, k], p[:, k].astype(np.float64), labels=[0, 1]) for k in range(classes)]
    assert_allclose(found["log_loss"], np.mean(each))


def test_silent_labels_count_as_zero() -> None:
    """Of three labels the last is neither true nor predicted: its F1 is 0 / 0, which is 0."""
    p, truth = np.array([[0.9, 0.1, 0.1], [0.9, 0.8, 0.1]], np.float32), np.array([[1, 0, 0], [1, 1, 0]])
    found = metrics(multi_statistics(p, truth, np.zeros(2)).sum(axis=0), calibrated=False)
    assert (found["macro_f1"], found["micro_f1"]) == (2 / 3, 1.0)
    with_unseen = metrics(multi_statistics(p, truth, np.array([0, 1])).sum(axis=0), calibrated=False)
    assert with_unseen["macro_f1"] == 2 / 4
    nothing = metrics(multi_statistics(0.1 * p, 0 * truth, np.zeros(2)).sum(axis=0), calibrated=False)
    assert (nothing["macro_f1"], nothing["micro_f1"], nothing["accuracy"]) == (0.0, 0.0, 1.0)


def test_sums_of_resampled_rows_give_their_metrics() -> None:
    p, truth = drawn(3, 50, 4)
    rows = np.random.default_rng(0).integers(50, size=(7, 50))
    statistics = single_statistics(p, truth)
    together = metrics(np.stack([statistics[part].sum(axis=0) for part in rows]), calibrated=True)
    for index, part in enumerate(rows):
        alone = metrics(single_statistics(p[part], truth[part]).sum(axis=0), calibrated=True)
        for name, value in alone.items():
            assert_allclose(together[name][index], value, err_msg=name)


def test_a_label_that_training_does_not_have_is_wrong() -> None:
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], np.float32)
    statistics = single_statistics(p, np.array([0, -1, 1]))
    found = metrics(statistics.sum(axis=0), calibrated=True)
    assert_allclose(found["accuracy"], 2 / 3)
    assert_allclose(found["macro_f1"], (2 / 3 + 1.0 + 0.0) / 3)  # the unseen class is a third one
    assert_allclose(found["log_loss"], (-math.log(0.9) - math.log(0.8) - math.log(np.finfo(float).eps)) / 3, rtol=1e-6)
    table = class_table(statistics.sum(axis=0), ("a", "b"), calibrated=True)
    assert [row[:2] for row in table] == [("a", 1.0), ("b", 1.0), ("(not in training)", 1.0)]
    assert table[0][2:] == (0.5, 1.0, 2 / 3)
    several = multi_statistics(p, np.array([[1, 0], [1, 0], [0, 1]]), np.array([0, 2, 0]))
    assert_allclose(metrics(several.sum(axis=0), calibrated=False)["accuracy"], 2 / 3)
    assert_allclose(metrics(several.sum(axis=0), calibrated=False)["micro_f1"], 2 * 3 / (5 + 3))


# ---- labels


@pytest.mark.parametrize(
    ("text", "options", "labels"),
    [
        ("pos", {}, ["pos"]),
        (" DESC:manner ", {"until": ":"}, ["DESC"]),
        ("a,b , a,", {"several": True, "separator": ","}, ["a", "b"]),
        ("", {"several": True, "separator": ","}, []),
        ('["b", "a"]', {"several": True}, ["b", "a"]),
        ("[]", {"several": True}, []),
        ('["x:1", "x:2"]', {"several": True, "until": ":"}, ["x"]),
        (":only", {"until": ":"}, []),
    ],
)
def test_labels_of_a_row(text: str, options: dict[str, Any], labels: list[str]) -> None:
    arguments: dict[str, Any] = {"several": False, "separator": "", "until": "", **options}
    assert labels_of(text.encode(), **arguments) == [label.encode() for label in labels]


@pytest.mark.parametrize("text", ["{", "3", '["a", 1]', '["\\ud800"]', "[" * 9_000])
def test_lists_of_labels_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(unreadable-labels|labels-are-no-list|labels-are-no-texts)$"):
        labels_of(text.encode(), several=True, separator="", until="")


# ---- shortening


@given(
    rows=st.lists(st.lists(st.integers(4, 99), max_size=12), min_size=1, max_size=5),
    longest=st.integers(0, 9),
    kept=st.sampled_from(["head", "tail", "both"]),
)
@settings(max_examples=100, deadline=None)
def test_shortening_is_the_same_everywhere(rows: list[list[int]], longest: int, kept: Any) -> None:
    def plain(row: list[int]) -> list[int]:
        if not longest or len(row) <= longest:
            return row
        head, tail = {"head": (longest, 0), "tail": (0, longest), "both": (-(-longest // 2), longest // 2)}[kept]
        return row[:head] + (row[-tail:] if tail else [])

    ragged = tf.ragged.constant(rows, ragged_rank=1, dtype=tf.int32)
    assert shorten(ragged, longest, kept).to_list() == [plain(row) for row in rows]
    splits = np.cumsum([0, *map(len, rows)])
    flat = Ragged(np.array([token for row in rows for token in row], np.int64), splits)
    done = shorten_rows(flat, longest, kept)
    assert [done.row(index).tolist() for index in range(len(rows))] == [[*plain(row), 3] for row in rows]


# ---- a small run


POSITIVE, NEGATIVE = ("good", "fine", "lovely"), ("bad", "dull", "awful")


def reviews(count: int) -> list[tuple[str, str]]:
    random = np.random.default_rng(0)
    rows = []
    for number in range(count):
        words = POSITIVE if number % 3 else NEGATIVE
        filler = [f"w{index}" for index in random.integers(30, size=random.integers(2, 9))]
        text = " ".join(random.permutation([*filler, random.choice(words)]))
        rows.append((text, "pos" if number % 3 else "neg"))
    return rows


def config_of(source: Mapping[str, Any], **sections: dict[str, Any]) -> Any:
    tables: dict[str, Any] = {
        "name": "small",
        "application": "text_classification",
        "source": dict(source),
        "data": {"tokens": {"words": "whitespace"}, "max_length": 6, "truncate": "both"},
        "model": {"units": [8], "embedding": 8, "pooling": "attention", "cell": "gru"},
        "training": {"batch_size": 16, "epochs": 6, "learning_rate": 0.02, "early_stopping": 0},
    }
    for name, values in sections.items():
        tables[name] = {**tables[name], **values}
    return config_from(tables, "test")


class Prepared:
    """An application on its prepared folder."""

    def __init__(self, folder: Path, rows: Mapping[str, Sequence[tuple[str, str]]], **sections: dict[str, Any]) -> None:
        source: dict[str, Any] = {"format": "jsonl"}
        for split, pairs in rows.items():
            path = folder / f"{split}.jsonl"
            path.write_text("".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in pairs))
            source[split] = [str(path)]
        self.config = config_of(source, **sections)
        self.folder = prepare(self.config, Workspace(folder / "workspace"), console=Console(quiet=True))
        self.application: Application = application_of(self.config)
        self.manifest: Manifest = read_manifest(self.folder)
        self.resources = load_resources(self.folder / "vocabularies", self.manifest)

    def examples(self, split: str) -> dict[str, Ragged]:
        return self.application.examples(self.folder, self.manifest, split)

    def context(self) -> BaselineContext:
        return BaselineContext(self.config, self.folder, self.manifest, self.examples, lambda line: None)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    rows = reviews(200)
    test = [*rows[160:], ("good w1 w2", "mixed"), ("bad w1", "")]
    splits = {"train": rows[:120], "validation": rows[120:160], "test": test}
    more = {"class_weights": "balanced", "max_reject_fraction": 0.1, "tokens": {"words": "whitespace"}}
    return Prepared(tmp_path_factory.mktemp("reviews"), splits, data={"max_length": 6, "truncate": "both", **more})


def test_prepared_rows(prepared: Prepared) -> None:
    assert prepared.manifest.vocabularies["label"].facts == {"names": ["neg", "pos"], "counts": [40, 80]}
    assert prepared.manifest.rejected == {"empty": 1}
    found = prepared.examples("test")
    assert found["labels"].values[-1] == -1  # "mixed" is not in the training split
    assert found["label"].values[-1] == b"mixed"
    assert found["ids"].lengths.max() == 7  # six tokens and <eos>
    assert prepared.application.slices("label", found) == [name.decode() for name in found["label"].values]
    assert prepared.application.slices("other", found) is None


def test_weights_of_the_classes(prepared: Prepared) -> None:
    seen: dict[int, set[float]] = {}
    for _, y, weights in prepared.application.batches(prepared.folder, prepared.manifest, "train").dataset(0):
        for label, weight in zip(y.numpy().tolist(), weights.numpy().tolist(), strict=True):
            if weight:
                seen.setdefault(label, set()).add(weight)
    assert seen == {0: {1.5}, 1: {0.75}}  # 120 / (2 x 40) and 120 / (2 x 80)
    losses = [w for _, _, w in prepared.application.batches(prepared.folder, prepared.manifest, "test").dataset(0)]
    assert {value for weights in losses for value in weights.numpy().tolist()} == {0.0, 1.0}


@pytest.fixture(scope="module")
def trained(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return train(prepared, tmp_path_factory.mktemp("run"))


def train(prepared: Prepared, folder: Path) -> Any:
    application, config = prepared.application, prepared.config
    training.configure(config)
    model = application.build(prepared.manifest)
    application.initialise(model, prepared.resources)
    history = training.train(
        model,
        application.batches(prepared.folder, prepared.manifest, "train"),
        application.batches(prepared.folder, prepared.manifest, "validation"),
        config,
        folder,
        objective=application.criterion(prepared.manifest, model),
        judge=application.judge(prepared.folder, prepared.manifest),
    )
    assert history.objective == application.objective
    return model


def figures(prepared: Prepared, prediction: NDArray[Any], split: str = "test") -> dict[str, float]:
    application, examples = prepared.application, prepared.examples(split)
    totals = application.statistics(prediction, examples).sum(axis=0)
    return {name: float(value) for name, value in application.metrics(totals).items()}


def test_it_learns_and_beats_the_majority(prepared: Prepared, trained: Any) -> None:
    found = figures(prepared, prepared.application.predict(trained, prepared.examples("test")))
    assert list(found) == ["accuracy", "macro_f1", "micro_f1", "log_loss", "ece"]
    assert 0.9 < found["accuracy"] < 0.98  # the row of the unseen label is wrong whatever is said
    majority = baselines.load("majority")(prepared.context())
    assert_allclose(majority.predict(prepared.examples("test"))[0], [1 / 3, 2 / 3], rtol=1e-6)
    assert figures(prepared, majority.predict(prepared.examples("test")))["accuracy"] < 0.7


def test_logistic_regression_learns_and_is_the_same_twice(prepared: Prepared) -> None:
    fitted = [baselines.load("tfidf_logistic")(prepared.context()) for _ in range(2)]
    first, second = (baseline.predict(prepared.examples("test")) for baseline in fitted)
    assert_array_equal(first, second)
    assert_allclose(first.sum(axis=1), 1.0, rtol=1e-5)
    assert figures(prepared, first)["accuracy"] == pytest.approx(40 / 41)
    assert "tf-idf" in fitted[0].description
    assert baselines.has_converged(fitted[0])


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.lists(
    st.sampled_from([*POSITIVE, *NEGATIVE, "W1", "\u00a0", "unknown"]), max_size=12
).map(" ".join)


class Serving(NamedTuple):
    """The serving graph of a model, traced once."""

    module: Any
    call: Any


def serving_of(application: Application, model: Any, resources: Mapping[str, Any]) -> Serving:
    module, signatures = application.signatures(model, resources)
    return Serving(module, Call(lambda name, **inputs: answer(tf, signatures[name], inputs)))


@pytest.fixture(scope="module")
def served(prepared: Prepared, trained: Any) -> Serving:
    return serving_of(prepared.application, trained, prepared.resources)


@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_ids_of_the_job_are_the_ids_of_the_served_graph(prepared: Prepared, served: Serving, texts: list[str]) -> None:
    raw = [text.encode() for text in texts]
    every = np.ones(len(raw), bool)
    block = RawBlock("", np.arange(1, len(raw) + 1), {"text": raw, "label": [b"pos"] * len(raw)}, every, every)
    application = prepared.application
    beam = application.encode(application.vocabularies(block).rows, prepared.resources)["ids"]
    assert [beam.row(row).tolist() for row in range(len(raw))] == served.module.ids(tf.constant(raw)).to_list()


def test_answers(served: Serving) -> None:
    options = options_of(TextClassification, {"k": 1})
    answers = TextClassification.answer(served.call, ["W1 lovely", b"dull \xff"], options, 0)
    assert [answer.label for answer in answers] == ["pos", "neg"]
    assert answers[1].text == "dull \ufffd"
    for one in answers:
        assert_allclose(sum(one.probabilities.values()), 1.0, rtol=1e-5)
        assert next(iter(one.probabilities)) == one.label
        assert one.probability == one.probabilities[one.label]
        assert one.weights == ()
    assert TextClassification.line(answers[0], options, one_line=True).split("\t")[:2] == ["pos", "pos"]
    assert TextClassification.line(answers[0], options, one_line=False).splitlines()[0] == "pos"


def test_weights_of_tokens(served: Serving) -> None:
    options = options_of(TextClassification, {"weights": True})
    texts = ["zebra lovely", "", "a b c d e f g h"]
    answers = TextClassification.answer(served.call, texts, options, 0)
    assert [token for token, _ in answers[0].weights] == ["zebra", "lovely", "<eos>"]
    assert [token for token, _ in answers[1].weights] == ["<eos>"]
    assert [token for token, _ in answers[2].weights] == ["a", "b", "c", "f", "g", "h", "<eos>"]
    for one in answers:
        assert_allclose(sum(weight for _, weight in one.weights), 1.0, rtol=1e-5)
    assert "lovely 0." in TextClassification.line(answers[0], options, one_line=True)


def test_what_people_see(prepared: Prepared, trained: Any, tmp_path: Path) -> None:
    application, examples = prepared.application, prepared.examples("test")
    prediction = application.predict(trained, examples)
    totals = application.statistics(prediction, examples).sum(axis=0)
    (table,) = application.breakdowns(totals, prepared.resources)
    assert [row[0] for row in table.rows] == ["neg", "pos", "(not in training)"]
    pictures = application.pictures(prediction, examples, prepared.resources, tmp_path)
    assert pictures["confusion matrix"].read_bytes()[:4] == b"\x89PNG"
    (row,) = application.shown(prediction, examples, prepared.resources, [0])
    assert row["expected"] == examples["label"].values[0].decode()
    assert row["received"].startswith(row["expected"])


@pytest.mark.parametrize(
    ("objective", "decides", "direction"),
    [
        ("auto", "accuracy", "max"),
        ("macro_f1", "macro_f1", "max"),
        ("log_loss", "log_loss", "min"),
    ],
)
def test_the_objective_decides_for_the_network_and_for_the_baselines(
    prepared: Prepared, objective: Any, decides: str, direction: str
) -> None:
    data = prepared.config.data.model_copy(update={"objective": objective})
    config = prepared.config.model_copy(update={"data": data})
    application = application_of(config)
    assert (application.objective, application.direction, application.second) == (decides, direction, "log_loss")
    examples = prepared.examples("test")
    lines: list[str] = []
    context = BaselineContext(config, prepared.folder, prepared.manifest, prepared.examples, lines.append)
    totals = application.statistics(baselines.load("tfidf_logistic")(context).predict(examples), examples).sum(axis=0)
    assert next(iter(application.metrics(totals))) == decides
    assert all(f": {decides} " in line for line in lines)


# ---- several labels, pretrained vectors


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    random = np.random.default_rng(1)
    rows = []
    for _ in range(240):
        labels = [name for name in ("red", "wet") if random.random() < 0.5]
        words = [{"red": "crimson", "wet": "water"}[name] for name in labels]
        rows.append((" ".join(random.permutation([*words, *(f"w{k}" for k in random.integers(20, size=4))])), labels))
    pairs = [(text, json.dumps(labels)) for text, labels in rows]
    pairs[239] = (pairs[239][0], '["red", "new"]')
    folder = tmp_path_factory.mktemp("several")
    vectors = folder / "vectors.txt"
    vectors.write_text("".join(f"{word} {value} 1 0 0 0 0 0 0\n" for word, value in [("Crimson", 1), ("water", -1)]))
    splits = {"train": pairs[:160], "validation": pairs[160:200], "test": pairs[200:]}
    data = {"multi_label": True, "pretrained": {"path": str(vectors)}}
    return Prepared(folder, splits, data=data, model={"pooling": "max"}, training={"epochs": 6, "learning_rate": 0.05})


def test_several_labels(several: Prepared, tmp_path: Path) -> None:
    application = several.application
    assert application.objective == "micro_f1"
    model = train(several, tmp_path)
    found = figures(several, application.predict(model, several.examples("test")))
    assert list(found) == ["micro_f1", "accuracy", "macro_f1", "log_loss"]
    assert found["micro_f1"] > 0.9
    assert found["accuracy"] <= 39 / 40  # `new` is not in training
    for name in application.baselines():
        baseline = baselines.load(name)(several.context())
        assert baseline.predict(several.examples("test")).shape == (40, 2)
    served = serving_of(application, model, several.resources)
    options = options_of(TextClassification, {})
    both, none = TextClassification.answer(served.call, ["crimson water", "w1 w2"], options, 0)
    assert set(both.labels) == {"red", "wet"}
    assert none.labels == ()
    assert TextClassification.line(none, options, one_line=False).startswith("(no label)")
    assert multi_hot(several.examples("test")["labels"], 2).sum() == several.examples("test")["labels"].values.size - 1
    # A model without attention pooling is saved without that signature.
    module, signatures = application.signatures(model, several.resources)
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=signatures)
    assert list(tf.saved_model.load(str(tmp_path / "saved")).signatures) == ["serving_default"]


def test_vectors_reach_a_fresh_model_and_no_trained_one(several: Prepared, tmp_path: Path) -> None:
    from seqapps.training.trained_model import load_trained, save_trained

    vectors = several.manifest.vocabularies["vectors"]
    assert vectors.initial
    assert vectors.facts["found"] == 2
    assert 0.1 < vectors.coverage < 0.4
    model = several.application.build(several.manifest)
    several.application.initialise(model, several.resources)
    place = several.resources["text"].vocabulary.ids[b"crimson"]
    assert_allclose(np.asarray(model.get_layer("embedding").embeddings)[place], [1, 1, 0, 0, 0, 0, 0, 0])
    save_trained(tmp_path / "model", several.application, several.manifest, model, several.folder)
    assert sorted(path.name for path in (tmp_path / "model" / "vocabularies").iterdir()) == ["label", "text"]
    again = load_trained(tmp_path / "model")
    assert sorted(again.resources) == ["label", "text"]
    assert_allclose(np.asarray(again.model.get_layer("embedding").embeddings)[place], [1, 1, 0, 0, 0, 0, 0, 0])


def test_another_vectors_file_is_another_input(several: Prepared) -> None:
    from pipelines.prepare import fingerprint

    path, workspace = Path(several.config.data.pretrained.path), Workspace(several.folder.parents[1])
    before, text = fingerprint(several.config, workspace), path.read_text()
    path.write_text(text + "dog 1 1 1 1 1 1 1 1\n")
    assert fingerprint(several.config, workspace)["data"] != before["data"]
    path.write_text(text)
    path.rename(path.with_suffix(".moved"))
    with pytest.raises(DataError, match="does not exist"):
        fingerprint(several.config, workspace)
    path.with_suffix(".moved").rename(path)


# ---- configurations that cannot work


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"tokens": {"level": "subword"}, "vocabulary_size": 0}}, "vocabulary_size"),
        ({"data": {"label_separator": ","}}, "multi_label"),
        ({"data": {"multi_label": True, "class_weights": "balanced"}}, "class_weights"),
        ({"data": {"tokens": {"level": "character"}, "pretrained": {"path": "x"}}}, "vectors of words"),
        ({"model": {"train_embedding": False}}, "random vectors"),
        ({"training": {"batching": "stream"}}, '`training.batching` must be "length"'),
    ],
)
def test_what_cannot_work_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of({"files": ["x.tsv"], "format": "tsv"}, **sections)


def test_running_text_has_no_label() -> None:
    message = r'`source.rows` = "document" is running text .* Received: document\. Allowed: line, paragraph, file'
    with pytest.raises(ConfigError, match=message):
        config_of({"files": ["x.txt"], "rows": "document", "from_path": {"label": "folder"}})


def test_how_text_becomes_tokens_by_default() -> None:
    tokens = config_of({"files": ["x.tsv"], "format": "tsv"}, data={"tokens": {}}).data.tokens
    assert tokens.model_dump() == {
        "level": "word",
        "words": "unicode",
        "spacing": "dropped",
        "normalization": "NFKC",
        "lowercase": True,
    }


def test_weights_need_attention_pooling() -> None:
    with pytest.raises(UsageError) as failure:
        options_of(TextClassification, {"weights": True}, signatures=["serving_default"])
    assert str(failure.value) == (
        'predict: `--weights` is for a model that was trained with `model.pooling` = "attention", and this one was '
        "not. Remedy: leave it out, or train and export such a model."
    )
    assert options_of(TextClassification, {"weights": True}, signatures=["serving_default", "attention"]).weights
    assert not options_of(TextClassification, {}, signatures=["serving_default"]).weights


def test_one_label_alone_is_no_classification() -> None:
    application = application_of(config_of({"files": ["x.tsv"], "format": "tsv"}))
    with pytest.raises(DataError, match="two labels"):
        application.learn({"text": {b"a": 3}, "label": {b"pos": 3}})


def test_a_classification_is_frozen() -> None:
    one = Classification("a", "b", 1.0, {"b": 1.0}, ("b",))
    with pytest.raises(AttributeError):
        one.label = "c"  # type: ignore[misc]
    assert Labels(("a", "b"), (3, 1)).balanced_weights().tolist() == pytest.approx([2 / 3, 2.0])
