"""Conditional generation: a condition sets where a text begins; what is written follows from it and the seed alone."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from rich.console import Console

from pipelines.builtin.number_words import number_in_words
from pipelines.builtin.python_names import names_in
from pipelines.prepare import prepare
from seqapps.applications import Call, config_from, options_of
from seqapps.applications.conditional_generation import ConditionalGeneration, ConditionalScore, Generation
from seqapps.architectures import conditional
from seqapps.baselines import BaselineContext, conditional_ngram
from seqapps.dataset.manifest import Manifest, VocabularyFile, read_manifest
from seqapps.dataset.ragged import Ragged
from seqapps.dataset.schema import Feature, Schema
from seqapps.errors import ConfigError, UsageError
from seqapps.inference.conditional_writer import ConditionalWriter
from seqapps.layers.conditions import LabelCode
from seqapps.preprocessing.checkers import checker, is_abc, is_identifier, judged
from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig
from seqapps.preprocessing.vectors import numbers_of
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD, SPECIALS, UNKNOWN, Vocabulary
from seqapps.serving import check
from seqapps.training.trained_model import load_resources
from seqapps.workspace import Workspace

LETTERS = "abcde"
SIZE = len(SPECIALS) + len(LETTERS)
LABELS = ("colour", "fruit", "metal")
CELLS = ("simple_rnn", "lstm", "gru")
WAYS = [pytest.param(every_step, id="every step" if every_step else "beginning") for every_step in (False, True)]


def config_of(**fields: Any) -> conditional.Config:
    return conditional.Config(**{"units": (7, 6), "embedding": 5, "condition": 4, **fields})


def model_of(*, features: int = 0, **fields: Any) -> keras.Model:
    """Random weights, three times as large as usual."""
    keras.utils.set_random_seed(5)
    labels = 0 if features else len(LABELS)
    model = conditional.build(config_of(**fields), vocabulary_size=SIZE, labels=labels, features=features)
    model.set_weights([3.0 * weight for weight in model.get_weights()])
    return model


def writer_of(**fields: Any) -> ConditionalWriter:
    tokenizer = Tokenizer(TokenizerConfig(level="character"), Vocabulary((*SPECIALS, *LETTERS)))
    begin, step = conditional.decoder_of(model_of(**fields), config_of(**fields))
    return ConditionalWriter(begin, step, tokenizer, labels=LABELS)


def ragged(*rows: list[int]) -> Ragged:
    splits = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Ragged(np.array([token for row in rows for token in row], np.int64), splits)


def logits(model: keras.Model, tokens: list[list[int]], label: list[int]) -> Any:
    return model({"tokens": tf.constant(tokens), "label": tf.constant(label)}, training=False)["logits"].numpy()


# ---- where the condition enters


@pytest.mark.parametrize("cell", CELLS)
def test_the_condition_sets_the_state_before_the_first_step(cell: str) -> None:
    model = model_of(cell=cell)
    states = conditional.decoder_of(model, config_of(cell=cell)).begin({"label": tf.constant([2])})
    code = model.get_layer("code").codes.numpy()[2]
    per_layer = 2 if cell == "lstm" else 1
    assert len(states) == 2 * per_layer
    for name, state in states.items():
        layer = model.get_layer(name.replace("state_", "begin_"))
        assert_allclose(state[0], np.tanh(code @ layer.kernel.numpy() + layer.bias.numpy()), rtol=1e-5)


@pytest.mark.parametrize("every_step", WAYS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("features", [0, 3], ids=["label", "vector"])
def test_token_by_token_from_the_begin_is_the_whole_row(cell: str, every_step: bool, features: int) -> None:
    fields = {"cell": cell, "every_step": every_step}
    model = model_of(features=features, **fields)
    begin, step = conditional.decoder_of(model, config_of(**fields))
    tokens = np.array([[BEGIN, 4, 5, 6, 7], [BEGIN, 8, 8, 4, 5]])
    rows = tf.constant([[1.0, -2.0, 0.5], [0.0, 1.0, 3.0]]) if features else tf.constant([0, 2])
    condition = {"vector" if features else "label": rows}
    whole = model({"tokens": tf.constant(tokens), **condition}, training=False)["logits"]
    states = dict(begin(condition))
    assert ("state_condition" in states) == every_step
    for place in range(tokens.shape[1]):
        found = dict(step({"tokens": tf.constant(tokens[:, place : place + 1]), **states}, training=False))
        assert_allclose(found.pop("logits")[:, 0], whole[:, place], atol=1e-5)
        states = found


@pytest.mark.parametrize("every_step", WAYS)
def test_the_condition_enters_later_steps_only_when_it_is_asked_to(every_step: bool) -> None:
    """The gradient with respect to the code while the states are held: zero unless it enters every step."""
    model = model_of(every_step=every_step)
    begin, step = conditional.decoder_of(model, config_of(every_step=every_step))
    states = dict(begin({"label": tf.constant([1])}))
    kept = states.get("state_condition", tf.zeros([1, 4]))
    with tf.GradientTape() as tape:
        tape.watch(kept)
        given = {**states, "state_condition": kept} if every_step else states
        value = tf.reduce_sum(step({"tokens": tf.constant([[4, 5]]), **given})["logits"][:, 1] ** 2)
    gradient = tape.gradient(value, kept)
    assert (gradient is not None and bool(np.abs(gradient).max() > 0)) == every_step


@pytest.mark.parametrize("every_step", WAYS)
def test_another_condition_is_another_distribution(every_step: bool) -> None:
    model = model_of(every_step=every_step)
    p = tf.nn.softmax(logits(model, [[BEGIN, 4, 5]] * 3, [0, 1, 2])).numpy()
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(p[first] - p[second]).max(axis=-1).min() > 1e-3


def test_a_new_label_has_the_code_zero_and_a_known_one_its_own() -> None:
    layer = LabelCode(3, 4)
    found = layer(tf.constant([-1, 1])).numpy()
    assert_array_equal(found[0], np.zeros(4))
    assert_array_equal(found[1], layer.codes.numpy()[1])


# ---- nats


def application(**sections: Any) -> ConditionalGeneration:
    tables = {"application": "conditional_generation", "name": "tiny", "source": {"files": ["x.tsv"]}, **sections}
    return ConditionalGeneration(config_from(tables, "tiny"))


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_nats_are_those_of_a_direct_computation(batch_size: int) -> None:
    rows, labels = [[4, 5, END], [END], [6, 6, 7, 8, END], [5, END]], [0, -1, 2, 1]
    model = model_of(every_step=True)
    examples = {"ids": ragged(*rows), "condition": Ragged(np.array(labels), np.arange(5))}
    found = application(training={"batch_size": batch_size}).predict(model, examples)
    expected: list[float] = []
    for row, label in zip(rows, labels, strict=True):
        log_p = tf.nn.log_softmax(logits(model, [[BEGIN, *row[:-1]]], [label])[0]).numpy()
        expected += (-log_p[np.arange(len(row)), row]).tolist()
    assert_allclose(found[:, 0], expected, rtol=1e-4)
    assert_array_equal(found[:, 1:], -1.0)  # no samples without a prepared folder and its tokenizer


def test_padding_changes_no_logits_before_it() -> None:
    model = model_of(every_step=True)
    longer = logits(model, [[BEGIN, 4, 5, PAD, PAD]], [1])
    assert_allclose(longer[:, :3], logits(model, [[BEGIN, 4, 5]], [1]), atol=1e-6)


# ---- samples and their measures


def test_samples_are_novel_distinct_and_valid() -> None:
    samples, texts = [[4, 5], [4], [6], [4], []], [b"ab", b"a", b"1", b"a", b""]
    found = judged(samples, texts, {(4, 5), (7,)}, str.isidentifier)
    assert found.tolist() == [[0, 1, 1], [1, 1, 1], [1, 1, 0], [1, 0, 1], [1, 1, 0]]
    assert judged(samples, texts, set(), None)[:, 2].tolist() == [0] * 5


def test_metrics_follow_from_sums_over_texts() -> None:
    chosen = application(data={"checker": "python_identifier"})
    prediction = np.array([[1, -1, -1, -1], [2, 1, 0, 1], [3, -1, -1, -1], [6, 1, 1, 0]], np.float32)
    sums = chosen.statistics(prediction, {"ids": ragged([4, END], [5], [END])})
    assert sums.tolist() == [[3, 2, 1, 1, 0, 1], [3, 1, 0, 0, 0, 0], [6, 1, 1, 1, 1, 0]]
    metrics = chosen.metrics(sums.sum(axis=0))
    assert_allclose([metrics["nats"], metrics["perplexity"]], [3.0, np.exp(3.0)])
    assert [float(metrics[name]) for name in ("novel", "distinct", "valid")] == [1.0, 0.5, 0.5]
    baseline = chosen.metrics(chosen.statistics(prediction[:, 0], {"ids": ragged([4, END], [5], [END])}).sum(axis=0))
    assert float(baseline["nats"]) == 3.0
    assert np.isnan([baseline[name] for name in ("novel", "distinct", "valid")]).all()


TUNE = 'X: 1\nT:A tune\nM:6/8\nK:D\n|:"D"A2d fdf|e>c (3ABc {g}z2:|\n[1 [Ace]3-|[2 ^F,/2_B\'|]\n'


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (TUNE, True),
        (TUNE.replace("X: 1\n", ""), False),
        (TUNE.replace("T:A tune\n", ""), False),
        (TUNE.replace("K:D\n", ""), False),
        (TUNE.replace("fdf", "fdq!"), False),
        ("X:1\nT:t\nK:D\n", False),
        ("X:1\nT:t\nK:D\nabc\n", False),
        ("X:1\nT:t\nK:D\nabc|\n", True),
        ("X:1\nT:t\nK:D\nabc|[Ace\n", False),
        ("", False),
    ],
)
def test_what_is_a_tune(text: str, valid: bool) -> None:
    assert is_abc(text) is valid


def test_other_checkers() -> None:
    assert [is_identifier(text) for text in ("name", "__x1", "é", "1x", "class", "a b", "")] == [True] * 3 + [False] * 4
    matches = checker("pattern", "[a-z]{2,3}")
    assert matches is not None
    assert [matches(text) for text in ("ab", "abc", "abcd", "a", "Ab", "ab\n")] == [True, True] + [False] * 4
    assert checker("none", "") is None


# ---- baseline


def context_of(rows: list[list[int]], labels: list[int]) -> BaselineContext:
    manifest = Manifest(
        application="conditional_generation",
        schema_=Schema(features=(Feature(name="ids", dtype="int64", shape=(None,), meaning="ids"),)),
        splits={}, rejected={}, lengths={},
        vocabularies={"text": VocabularyFile(folder="text", size=SIZE, sha256="", coverage=1.0)},
        tables={}, sources=(), fingerprint="", code_version="", settings={},
    )  # fmt: skip
    examples = examples_of(rows, labels)
    config = application(data={"ngram_order": 3}).config
    return BaselineContext(config, Path(), manifest, lambda split: examples, lambda line: None)


def examples_of(rows: list[list[int]], labels: list[int]) -> dict[str, Ragged]:
    return {"ids": ragged(*rows), "condition": Ragged(np.array(labels), np.arange(len(rows) + 1))}


ROWS = [[4, 5, 6, END], [4, 5, 5, END], [6, 5, 4, END], [6, 6, END], [7, END], [4, 5, END]]
OF = [0, 0, 1, 1, 2, 0]


def test_ngrams_of_each_label_sum_to_one() -> None:
    model = conditional_ngram.fit(context_of(ROWS, OF))
    outcomes = [UNKNOWN, END, *range(len(SPECIALS), SIZE)]
    for label in (-1, 0, 1, 2):
        for context in ([], [4], [4, 5], [8, 8]):
            examples = examples_of([[*context, token, END] for token in outcomes], [label] * len(outcomes))
            last = model.predict(examples)[examples["ids"].splits[1:] - 2]
            assert np.exp(-last.astype(np.float64)).sum() == pytest.approx(1.0, abs=1e-5)


def test_ngrams_of_a_label_know_it_and_those_of_a_new_label_are_of_all() -> None:
    from seqapps.baselines.kneser_ney import from_table

    model = conditional_ngram.fit(context_of(ROWS, OF))
    own, other = model.predict(examples_of([[4, 5, END]] * 2, [0, 1])).reshape(2, 3).sum(axis=1)
    assert own < other
    everything = from_table(conditional_ngram.table_of(ragged(*ROWS), 3), SIZE)
    new = examples_of([[4, 5, END]], [-1])
    assert_array_equal(model.predict(new), everything.predict(new))


def test_the_best_share_is_that_of_the_more_probable() -> None:
    assert conditional_ngram.best_share(np.array([0.5, 0.5]), np.array([0.1, 0.1])) == pytest.approx(1.0)
    assert conditional_ngram.best_share(np.array([0.2, 0.8]), np.array([0.8, 0.2])) == pytest.approx(0.5)
    assert conditional_ngram.best_share(np.array([]), np.array([])) == 0.5


# ---- writing


@pytest.fixture(scope="module")
def signatures() -> dict[str, Any]:
    return writer_of(every_step=True).signatures()


def write(signatures: Mapping[str, Any], condition: list[str], **given: Any) -> dict[str, Any]:
    options = {"max_length": 12, "temperature": 1.0, "top_k": 0, "seed": 7, "count": 2, **given}
    settings = {name: np.full(len(condition), value) for name, value in options.items()}
    settings["temperature"] = settings["temperature"].astype(np.float32)
    settings["seed"] = (settings["seed"] + np.arange(len(condition)) + 2**31) % 2**32 - 2**31
    inputs = {"condition": condition, **settings}
    found = signatures["generate"](**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in found.items()}


def test_equal_seeds_write_equal_texts_and_others_others(signatures: dict[str, Any]) -> None:
    first, again, other = (write(signatures, list(LABELS), count=5, seed=seed) for seed in (7, 7, 8))
    assert first["texts"].shape == (3, 5)
    for name, values in first.items():
        assert_array_equal(values, again[name])
    assert first["texts"].tolist() != other["texts"].tolist()
    assert len(set(first["texts"][0])) > 1


@given(others=st.lists(st.sampled_from(LABELS), max_size=4), seed=st.integers(-(2**31), 2**31 - 1))
@settings(max_examples=20, deadline=None)
def test_conditions_of_other_rows_do_not_reach_a_row(others: list[str], seed: int) -> None:
    alone, together = (write(SIGNATURES, ["fruit", *rows], seed=seed) for rows in ([], others))
    assert alone["texts"][0].tolist() == together["texts"][0].tolist()
    assert_allclose(alone["nats"][0], together["nats"][0], rtol=1e-5)


SIGNATURES = writer_of(cell="gru").signatures()


def test_temperature_zero_takes_the_most_probable_token(signatures: dict[str, Any]) -> None:
    found = write(signatures, ["metal"], temperature=0.0, count=3)
    assert len(set(found["texts"][0])) == 1
    row: list[int] = []
    while len(row) < 12 and END not in row:
        last = logits(model_of(every_step=True), [[BEGIN, *row]], [2])[0, -1]
        last[[PAD, UNKNOWN, BEGIN]] = -np.inf
        row.append(int(last.argmax()))
    assert found["texts"][0, 0].decode() == "".join(LETTERS[token - 4] for token in row if token != END)
    assert found["length"][0, 0] == len(row)
    assert found["ended"][0, 0] == (END in row)


def test_nats_of_a_written_text_are_those_of_its_score(signatures: dict[str, Any]) -> None:
    found = write(signatures, list(LABELS), count=1, max_length=60)
    ended = np.flatnonzero(found["ended"][:, 0])
    assert len(ended)
    condition, text = np.array(LABELS)[ended], found["texts"][ended, 0]
    scored = signatures["score"](condition=tf.constant(condition), text=tf.constant(text))
    assert_allclose(-scored["total"].numpy(), found["nats"][ended, 0], rtol=1e-4)


def test_a_new_label_has_no_answer_and_leaves_the_others_theirs(signatures: dict[str, Any]) -> None:
    found, good = write(signatures, ["fruit", "fruits", "metal"]), write(signatures, ["fruit"])
    message = "`condition` must be a label of the training data. Received: 'fruits'. Allowed: colour, fruit, metal."
    assert found["error"].astype(str).tolist() == ["", message, ""]
    assert found["texts"][0].tolist() == good["texts"][0].tolist()
    assert not found["texts"][1].any() and not found["length"][1].any() and not found["ended"][1].any()


def test_every_row_has_its_own_count(signatures: dict[str, Any]) -> None:
    def inputs(rows: slice) -> dict[str, Any]:
        counts, seeds = np.array([1, 3, 2])[rows], np.array([7, 8, 8])[rows]
        settings = {"max_length": [9, 12, 5][rows], "top_k": [0, 2, 0][rows], "seed": seeds, "count": counts}
        of_rows = {name: tf.constant(value, tf.int64) for name, value in settings.items()}
        return of_rows | {
            "condition": tf.constant(["metal", "fruit", "fruit"][rows]),
            "temperature": tf.constant([1.0, 2.0, 1.0][rows]),
        }

    together = {name: value.numpy() for name, value in signatures["generate"](**inputs(slice(0, 3))).items()}
    for row, count in enumerate((1, 3, 2)):
        alone = signatures["generate"](**inputs(slice(row, row + 1)))
        assert alone["texts"].shape == (1, count)
        assert together["texts"][row].tolist() == [*alone["texts"].numpy()[0], *[b""] * (3 - count)]
        assert not together["length"][row, count:].any()


# ---- answers


def called(graphs: Mapping[str, Any], facts: Mapping[str, Any]) -> Call:
    """Returns what calls a served model with plain values."""

    def call(signature: str, **inputs: Any) -> dict[str, Any]:
        return check.answer(tf, graphs[signature], inputs)

    return Call(call, facts)


call = called(SIGNATURES, {"conditions": list(LABELS), "size": 0})


def options(**chosen: Any) -> argparse.Namespace:
    return options_of(ConditionalGeneration, chosen if chosen.get("score") else {"max_length": 10, **chosen})


def test_answers_hold_as_many_texts_as_are_asked_for() -> None:
    found = ConditionalGeneration.answer(call, ["fruit", "metal"], options(count=3), 0)
    assert found == ConditionalGeneration.answer(call, ["fruit", "metal"], options(count=3), 0)
    assert found != ConditionalGeneration.answer(call, ["fruit", "metal"], options(count=3, seed=2), 0)
    assert found != ConditionalGeneration.answer(call, ["fruit", "metal"], options(count=3, temperature=5.0), 0)
    first = found[0]
    assert isinstance(first, Generation)
    assert (first.condition, len(first.texts), len(first.tokens)) == ("fruit", 3, 3)
    assert ConditionalGeneration.line(first, options(), one_line=True).count("\t") == 2
    assert ConditionalGeneration.line(first, options(), one_line=False) == "\n".join(first.texts)
    assert [ConditionalGeneration.heading(answer) for answer in found] == ["fruit", "metal"]


def test_a_text_is_scored_given_its_condition() -> None:
    fruit, metal = ConditionalGeneration.answer(call, ["fruit\tabc", "metal\tabc"], options(score=True), 0)
    assert isinstance(fruit, ConditionalScore)
    assert (fruit.condition, fruit.text, fruit.tokens) == ("fruit", "abc", ("a", "b", "c", "<eos>"))
    assert fruit.total == pytest.approx(sum(fruit.log_probabilities), rel=1e-5)
    assert fruit.total != metal.total
    assert ConditionalGeneration.line(fruit, options(score=True), one_line=False).startswith("fruit: abc\n")
    assert ConditionalGeneration.heading(fruit) == ""


def test_a_new_label_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match=r"fruits.*colour, fruit, metal.*'?`?fruit"):
        ConditionalGeneration.answer(call, ["fruits"], options(), 0)


def test_a_score_without_a_condition_is_refused() -> None:
    with pytest.raises(UsageError, match="CONDITION, a tab, and TEXT"):
        ConditionalGeneration.answer(call, ["fruit abc"], options(score=True), 0)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"temperature": -1.0}, {"max_length": 0}, {"seed": 2**31}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--" + next(iter(wrong)).replace("_", "-")):
        options(**wrong)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"training": {"batching": "stream"}}, "belongs to a row"),
        ({"source": {"files": ["x"], "rows": "document"}}, "that of a row"),
        ({"data": {"condition": "vector"}}, "vector_size"),
        ({"data": {"vector_size": 2}}, "vector_size"),
        ({"data": {"checker": "pattern"}}, r"data\.pattern"),
        ({"data": {"checker": "pattern", "pattern": "["}}, "no regular expression"),
        ({"data": {"condition": "vector", "vector_size": 2}, "baselines": {"names": ["conditional_ngram"]}}, "label"),
        ({"model": {"bidirectional": True}}, "bidirectional"),
    ],
)
def test_what_cannot_work_is_refused(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        application(**tables)


# ---- a vector as the condition


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("[1, -2.5]", [1.0, -2.5]),
        ("3e2", [300.0]),
        ("[]", []),
        ("[1, true]", None),
        ('["1"]', None),
        ("[NaN]", None),
        ("1" + "0" * 400, None),
        ("red", None),
        ('{"a": 1}', None),
    ],
)
def test_numbers_in_a_column(text: str, numbers: list[float] | None) -> None:
    assert numbers_of(text) == numbers


SPOTS = [("aab", [1.0, 10.0]), ("bba", [3.0, 10.0]), ("abb", [5.0, 30.0]), ("bab", [7.0, 30.0])]
WRONG = [("aaa", [1.0]), ("bbb", "red")]


def write_rows(folder: Path, name: str, rows: list[tuple[str, Any]]) -> str:
    file = folder / name
    if name.endswith("csv"):
        lines = ["text,vector", *(f'{text},"{json.dumps(vector)}"' for text, vector in rows if vector != "red")]
        lines += [f"{text},{vector}" for text, vector in rows if vector == "red"]
    else:
        lines = [json.dumps({"text": text, "vector": vector}) for text, vector in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(file)


class Spots(NamedTuple):
    """Texts for two numbers, prepared."""

    application: ConditionalGeneration
    folder: Path
    manifest: Manifest
    resources: dict[str, Any]


@pytest.fixture(scope="module", params=["csv", "jsonl"])
def spots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Spots:
    folder = tmp_path_factory.mktemp("vectors")
    parts = {"train": SPOTS + WRONG, "validation": [("abab", [1000.0, -1000.0])], "test": SPOTS[:1]}
    files = {split: [write_rows(folder, f"{split}.{request.param}", rows)] for split, rows in parts.items()}
    tables = {
        "application": "conditional_generation",
        "name": "spots",
        "source": {"format": request.param, **files},
        "data": {"condition": "vector", "vector_size": 2, "ngram_order": 2, "samples": 3, "max_reject_fraction": 0.9},
        "model": {"units": [6], "embedding": 4, "condition": 3, "every_step": True},
    }
    config = config_from(tables, "spots")
    target = prepare(config, Workspace(folder / "ws"), console=Console(file=io.StringIO()))
    manifest = read_manifest(target)
    resources = load_resources(target / "vocabularies", manifest)
    return Spots(ConditionalGeneration(config, resources), target, manifest, resources)


def test_vectors_of_a_column_are_standardised_by_the_training_part_alone(spots: Spots) -> None:
    scaling = spots.resources["vector"]
    assert_allclose(scaling.means, [4.0, 20.0])
    assert_allclose(scaling.deviations, [np.sqrt(5.0), 10.0])
    assert spots.manifest.rejected == {"no-vector": 1, "other-vector-size": 1}
    x, y, weights = next(iter(spots.application.batches(spots.folder, spots.manifest, "validation").dataset(0)))
    assert_allclose(x["vector"][0], [996.0 / np.sqrt(5.0), -102.0], rtol=1e-5)
    assert x["tokens"][0].numpy().tolist() == [BEGIN, *y[0, :-1].numpy().tolist()]
    assert (int(y[0, -1]), weights[0].numpy().tolist()) == (END, [1.0] * 5)


def test_a_vector_in_original_units_is_served(spots: Spots, tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    model = spots.application.build(spots.manifest, use_cudnn=False)
    model.set_weights([3.0 * weight for weight in model.get_weights()])
    module, graphs = spots.application.signatures(model, spots.resources)
    tf.saved_model.save(module, str(tmp_path), signatures=graphs)
    served = tf.saved_model.load(str(tmp_path)).signatures
    near, far = served["score"](condition=tf.constant([[1.0, 10.0], [7.0, 30.0]]), text=tf.constant(["aab"] * 2))[
        "total"
    ].numpy()
    examples = spots.application.examples(spots.folder, spots.manifest, "test")
    prediction = spots.application.predict(model, examples)
    assert_allclose(prediction[:, 0].sum(), -near, rtol=1e-5)
    assert near != pytest.approx(far, rel=1e-3)
    assert_array_equal(prediction[:-1, 1:], -1.0)
    assert set(prediction[-1, 1:]) <= {0.0, 1.0}  # one text was drawn, for the one row

    call = called(served, module.facts())
    assert call.facts == {"conditions": [], "size": 2}
    broken = served["score"](condition=tf.constant([[1.0, 10.0], [np.nan, 1.0]]), text=tf.constant(["a"] * 2))
    assert [bool(error) for error in broken["error"].numpy()] == [False, True]
    (answer,) = ConditionalGeneration.answer(call, ["[1, 10]"], options(count=2), 0)
    assert answer == ConditionalGeneration.answer(call, ["[1, 10]"], options(count=2), 0)[0]
    assert (answer.condition, len(answer.texts)) == ("[1, 10]", 2)
    for wrong in ("[1]", "red"):
        with pytest.raises(UsageError, match="a JSON list of 2 numbers"):
            ConditionalGeneration.answer(call, [wrong], options(), 0)


def test_a_vector_has_no_ngrams_of_its_own(spots: Spots) -> None:
    assert spots.application.baselines() == ("uniform", "unigram", "kneser_ney")


# ---- the built-in source


def test_names_of_python_source() -> None:
    source = """
LIMIT = 3
class Thing(Base):
    SIZE: int = 1
    def grow(self, by, *, far=1): pass
class Broken(OddError): pass
def make(*parts): LOCAL = 1
"""
    assert set(names_in(source)) == {
        ("constant", "LIMIT"), ("class", "Thing"), ("constant", "SIZE"), ("method", "grow"), ("parameter", "self"),
        ("parameter", "by"), ("parameter", "far"), ("parameter", "parts"), ("exception", "Broken"),
        ("function", "make"),
    }  # fmt: skip
    assert list(names_in("def (")) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (7, "seven"),
        (40, "forty"),
        (105, "one hundred and five"),
        (900, "nine hundred"),
        (42_017, "forty-two thousand and seventeen"),
        (99_999, "ninety-nine thousand nine hundred and ninety-nine"),
    ],
)
def test_number_words(number: int, words: str) -> None:
    assert number_in_words(number) == words
