"""Laws of the linear baselines of texts: converged, probabilities, strong features, weights of rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from pipelines.builtin import unicode_names
from seqapps import baselines
from seqapps.applications import config_from
from seqapps.baselines import BaselineContext, _linear
from seqapps.baselines._linear import LinearText
from seqapps.dataset.manifest import Manifest, VocabularyFile
from seqapps.dataset.ragged import Ragged
from seqapps.dataset.schema import Feature, Schema
from seqapps.preprocessing.labels import Labels

Rows = list[tuple[str, tuple[str, ...]]]


def examples_of(rows: Rows, labels: Labels) -> dict[str, Ragged]:
    texts = np.array([text.encode() for text, _ in rows], dtype=object)
    index = labels.lookup([label.encode() for _, own in rows for label in own])
    splits = np.cumsum([0, *(len(own) for _, own in rows)], dtype=np.int64)
    return {"text": Ragged(texts, np.arange(len(rows) + 1, dtype=np.int64)), "labels": Ragged(index, splits)}


def context_of(splits: Mapping[str, Rows], **data: Any) -> BaselineContext:
    counts: dict[bytes, int] = {}
    for _, own in splits["train"]:
        for label in own:
            counts[label.encode()] = counts.get(label.encode(), 0) + 1
    labels = Labels.from_counts(counts)
    file = VocabularyFile(folder="vocabularies/label", size=labels.size, sha256="", coverage=1.0, facts=labels.facts)
    feature = Feature(name="labels", dtype="int64", shape=(None,), meaning="labels")
    manifest = Manifest(
        application="text_classification",
        schema_=Schema(features=(feature,)),
        splits={},
        rejected={},
        lengths={},
        vocabularies={"label": file},
        tables={},
        sources=(),
        fingerprint="0" * 64,
        code_version="0",
        settings={},
    )
    config = config_from(
        {"application": "text_classification", "source": {"builtin": "unicode-names", "format": "tsv"}, "data": data},
        "test",
    )
    read = {name: examples_of(rows, labels) for name, rows in splits.items()}
    return BaselineContext(config, Path(), manifest, lambda split: read[split], lambda line: None)


def fitted(name: str, context: BaselineContext) -> LinearText:
    baseline = baselines.load(name)(context)
    assert isinstance(baseline, LinearText)
    return baseline


def share_right(baseline: LinearText, context: BaselineContext, split: str) -> float:
    truth = _linear.truth_of(context, split)
    return _linear.figures(baseline.predict(context.examples(split)), truth)["accuracy"]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> BaselineContext:
    """Real names of characters and their categories, every fortieth of them."""
    ((_, path),) = unicode_names.files(tmp_path_factory.mktemp("cache"))
    lines = path.read_text(encoding="utf-8").splitlines()[1::40]
    rows: Rows = [(text, (label,)) for text, label in (line.split("\t")[:2] for line in lines)]
    return context_of({"train": rows[::2], "validation": rows[1::4], "test": rows[3::4]})


@pytest.mark.parametrize("name", ["tfidf_logistic", "linear_text"])
def test_half_as_many_steps_again_change_less_than_the_standard_error(names: BaselineContext, name: str) -> None:
    baseline = fitted(name, names)
    assert baselines.has_converged(baseline)
    texts = _linear.texts_of(names.examples("train"))
    x, truth = baseline.features.transform(texts), _linear.truth_of(names, "train")
    held_out = baseline.features.transform(_linear.texts_of(names.examples("validation")))
    check = _linear.truth_of(names, "validation")

    def figures(**options: Any) -> dict[str, float]:
        found = _linear.regressions(x, truth, baseline.features, strength=baseline.strength, **options)
        return _linear.figures(found.score(held_out), check)

    ended, longer = figures(), figures(steps=-(-3 * baseline.steps // 2), tolerance=1e-12)
    error = np.sqrt(ended["accuracy"] * (1.0 - ended["accuracy"]) / len(check.hot))
    assert abs(ended["accuracy"] - longer["accuracy"]) < error
    assert abs(ended["log_loss"] - longer["log_loss"]) < 0.01


def test_a_cap_of_steps_is_reported(names: BaselineContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_linear, "STRENGTHS", (1.0,))
    monkeypatch.setattr(_linear, "MOST_STEPS", 3)
    assert not baselines.has_converged(fitted("tfidf_logistic", names))


def test_the_three_kinds_of_features_are_tried_and_the_best_on_validation_is_named(names: BaselineContext) -> None:
    lines: list[str] = []
    context = BaselineContext(names.config, names.folder, names.manifest, names.examples, lines.append)
    best = fitted("linear_text", context)
    assert len(lines) == 3 * len(_linear.STRENGTHS)
    figures = [float(line.split(" accuracy ")[1].split()[0]) for line in lines]
    assert best.features.name in lines[int(np.argmax(figures))]
    assert share_right(best, context, "validation") == pytest.approx(max(figures), abs=1e-4)
    assert share_right(best, context, "validation") >= share_right(
        fitted("tfidf_logistic", names), context, "validation"
    )


@pytest.mark.parametrize("kind", ["words", "presence", "characters"])
def test_each_label_is_fitted_to_the_same_features(names: BaselineContext, kind: str) -> None:
    """Features as a vectorizer gives them, whose indices are not sorted: a fit that sorts them must not mix x up."""
    texts = _linear.texts_of(names.examples("train"))
    words, x = _linear.word_features(texts)
    if kind == "presence":
        words, x = _linear.presence_features(texts)
    elif kind == "characters":
        words, x = _linear.character_features(texts, words)
    before, truth = x.copy(), _linear.truth_of(names, "train")
    found = _linear.regressions(x, truth, words, strength=4.0)
    assert (x != before).nnz == 0
    rare = int(np.flatnonzero(truth.hot.any(axis=0))[-1])
    scaled = before.copy()
    if words.by_label:
        scaled.data *= _linear.ratios(before, truth.hot[:, rare])[before.indices]
    alone = LogisticRegression(solver="liblinear", C=4.0).fit(scaled, truth.hot[:, rare])
    assert_allclose(found.biases[rare], alone.intercept_[0], rtol=1e-6)


def test_ratios_by_hand() -> None:
    """Counts of the label 2, 0 and of the others 0, 1: p = 3, 1 of 4; q = 1, 2 of 3."""
    x = csr_matrix(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    found = _linear.ratios(x, np.array([1, 1, 0], np.int8))
    assert_allclose(found, [np.log(3 / 4) - np.log(1 / 3), np.log(1 / 4) - np.log(2 / 3)])


def telling(count: int, seed: int, classes: int) -> Rows:
    random = np.random.default_rng(seed)
    rows: Rows = []
    for _ in range(count):
        label = int(random.integers(classes))
        words = [f"w{word}" for word in random.integers(50, size=6)]
        rows.append((" ".join([*words, f"telling{label}"]), (f"class{label}",)))
    return rows


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_of_one_label_sum_to_one_and_a_row_has_them_alone_or_beside_others(classes: int) -> None:
    context = context_of({"train": telling(90, 1, classes), "validation": telling(30, 2, classes)})
    baseline = fitted("linear_text", context)
    every = baseline.predict(context.examples("validation"))
    assert_allclose(every.sum(axis=1), 1.0, rtol=1e-5)
    assert share_right(baseline, context, "validation") == 1.0
    one = {"text": context.examples("validation")["text"].take(np.array([7]))}
    assert_allclose(baseline.predict(one)[0], every[7], rtol=1e-5)


def test_any_number_of_labels_with_one_that_all_rows_have_and_none_without_evidence() -> None:
    rows = [(f"{text} all", (*label, "every")) for text, label in telling(90, 1, 2)]
    rows += [(f"nothing w{number}", ("every",)) for number in range(30)]
    context = context_of({"train": rows, "validation": rows[::3]}, multi_label=True)
    for name in ("tfidf_logistic", "linear_text"):
        baseline = fitted(name, context)
        p = baseline.predict(context.examples("validation"))
        assert p.shape == (40, 3)
        assert (p[:, 2] == 1.0).all()  # `every`
        assert ((p > 0.5) == _linear.truth_of(context, "validation").hot).mean() > 0.95
        assert baseline.converged


def test_balanced_rows_weigh_what_the_training_loss_gives_them() -> None:
    rows: Rows = [("a", ("x",)), ("b", ("x",)), ("c", ("x",)), ("d", ("y",))]
    plain, balanced = (
        context_of({"train": rows, "validation": rows}, class_weights=kind) for kind in ("none", "balanced")
    )
    truth = _linear.truth_of(balanced, "train")
    assert _linear.row_weights(plain, truth) is None
    weights = _linear.row_weights(balanced, truth)
    assert weights is not None
    assert_allclose(weights, [4 / 6, 4 / 6, 4 / 6, 2.0])


def test_texts_without_a_shared_character_leave_the_words() -> None:
    rows: Rows = [("a", ("x",)), ("b", ("y",))]
    context = context_of({"train": rows, "validation": rows})
    p: NDArray[np.float32] = fitted("linear_text", context).predict(context.examples("validation"))
    assert p.shape == (2, 2)


def test_large_texts_are_not_cut_into_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_linear, "_LARGE", 100)
    context = context_of({"train": telling(60, 1, 2), "validation": telling(30, 2, 2)})
    assert "characters" not in fitted("linear_text", context).description
    assert share_right(fitted("linear_text", context), context, "validation") == 1.0
