"""Masked words: no word is predicted from itself, blanks are found and filled, counts are what the formula says."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from seqapps.applications import Call, config_from
from seqapps.applications.answers import Score
from seqapps.applications.masked_word import Filling, MaskedWord
from seqapps.architectures import cloze
from seqapps.baselines import BaselineContext, neighbour_counts, unigram_word
from seqapps.dataset.manifest import Manifest, VocabularyFile
from seqapps.dataset.ragged import Ragged
from seqapps.dataset.schema import Feature, Schema
from seqapps.errors import ConfigError, UsageError
from seqapps.inference.blank_filler import BlankFiller, blanked, marks, word_ranks
from seqapps.layers.cloze import Blanks
from seqapps.metrics.ranks import ranked
from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD, SPECIALS, UNKNOWN, Vocabulary
from seqapps.serving import check

WORDS = ("the", "star", "little", "twinkle", ",", "how", "i", "wonder", "what", "you", "are", ".")
SIZE = len(SPECIALS) + len(WORDS)
CELLS = ("simple_rnn", "lstm", "gru")


def tokenizer_of(**options: Any) -> Tokenizer:
    return Tokenizer(TokenizerConfig(level="word", **options), Vocabulary((*SPECIALS, *WORDS)))


def model_of(**settings: Any) -> keras.Model:
    """Random weights, three times as large as usual."""
    keras.utils.set_random_seed(5)
    config = cloze.Config(**{"units": (7, 6, 5), "embedding": 6, "hidden": 8, **settings})
    model = cloze.build(config, vocabulary_size=SIZE + 1, blank=SIZE)
    model.set_weights([3.0 * weight for weight in model.get_weights()])
    return model


def logits(model: keras.Model, rows: list[list[int]]) -> Any:
    return model({"tokens": tf.constant(rows, tf.int32)}, training=False)["logits"].numpy()


def ragged(*rows: list[int]) -> Ragged:
    splits = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Ragged(np.array([token for row in rows for token in row], np.int32), splits)


# ---- what a position knows


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [(7,), (7, 6, 5)], ids=len)
def test_the_gradient_at_a_word_with_respect_to_that_word_is_exactly_zero(cell: str, layers: tuple[int, ...]) -> None:
    model = model_of(cell=cell, units=layers, tie_embeddings=False)
    tokens = list(range(4, 4 + 9))  # all different, so that a row of the matrix is one position
    matrix = model.get_layer("embedding").embeddings.value
    for place in range(len(tokens)):
        with tf.GradientTape() as tape:
            found = model({"tokens": tf.constant([tokens])}, training=False)["logits"]
            value = tf.reduce_sum(found[0, place] * tf.range(1.0, SIZE + 2.0))
        gradient = tf.convert_to_tensor(tape.gradient(value, matrix)).numpy()
        assert not gradient[tokens[place]].any()
        others = [token for token in tokens if token != tokens[place]]
        assert np.abs(gradient[others]).max(axis=1).min() > 0
        assert np.abs(gradient[[BEGIN, END]]).max(axis=1).min() > 0
        assert not gradient[PAD].any()


def test_an_ordinary_bidirectional_stack_does_tell_the_word_to_itself() -> None:
    """Which is why there are two stacks: without the shift by one, and with states that mix, the gradient is there."""
    keras.utils.set_random_seed(1)
    x = tf.random.normal([1, 5, 4])
    layers = [keras.layers.Bidirectional(keras.layers.GRU(4, return_sequences=True)) for _ in range(2)]
    with tf.GradientTape() as tape:
        tape.watch(x)
        between = layers[1](layers[0](x))
        left, right = between[:, 1, :4], between[:, 3, 4:]  # the states beside position 2
        value = tf.reduce_sum(left) + tf.reduce_sum(right)
    assert np.abs(tape.gradient(value, x)[0, 2]).max() > 0


@pytest.mark.parametrize("tied", [True, False])
def test_another_word_changes_every_position_but_its_own(tied: bool) -> None:
    model = model_of(tie_embeddings=tied)
    row = [4, 5, 6, 7, 8, 9]
    before = logits(model, [row])
    for place in range(len(row)):
        after = logits(model, [[*row[:place], 12, *row[place + 1 :]]])
        assert_array_equal(after[0, place], before[0, place])
        assert all(np.any(after[0, other] != before[0, other]) for other in range(len(row)) if other != place)


def test_the_backward_stack_begins_at_the_end_of_each_row() -> None:
    model = model_of()
    rows = [[4, 5, 6], [7, 8, 9, 10, 11]]
    together = logits(model, [[*rows[0], PAD, PAD], rows[1]])
    more = logits(model, [[*rows[0], PAD, PAD, PAD], [*rows[1], PAD]])
    for index, row in enumerate(rows):
        alone = logits(model, [row])[0]
        assert_allclose(together[index, : len(row)], alone, atol=1e-5)
        assert_allclose(more[index, : len(row)], alone, atol=1e-5)


@given(data=st.data(), length=st.integers(1, 6), padding=st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_padding_never_enters(data: st.DataObject, length: int, padding: int) -> None:
    row = data.draw(st.lists(st.integers(4, SIZE - 1), min_size=length, max_size=length))
    assert_allclose(logits(MODEL, [row + [PAD] * padding])[0, :length], logits(MODEL, [row])[0], atol=1e-5)


MODEL = model_of(cell="gru", units=(6, 5))


def test_blanks_hide_words_in_training_alone_and_never_markers() -> None:
    layer = Blanks(0.5, SIZE)
    tokens = tf.constant([[BEGIN, 4, 5, 6, UNKNOWN, END, PAD] * 100])
    assert_array_equal(layer(tokens, training=False), tokens)
    hidden = layer(tokens, training=True).numpy()
    assert set(hidden[hidden != tokens.numpy()]) == {SIZE}
    assert_array_equal(hidden[np.isin(tokens, [BEGIN, END, PAD])], tokens[np.isin(tokens, [BEGIN, END, PAD])])
    share = np.mean(hidden[np.isin(tokens, [4, 5, 6, UNKNOWN])] == SIZE)
    assert 0.4 < share < 0.6


# ---- blanks in text


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("twinkle , ____ star", "twinkle , # star"),
        ("____, he said", "#, he said"),
        ("(__)", "(#)"),
        ("__ __ __ __", "# # # #"),
        ("__\n__", "#\n#"),
        ("a _ b", "a _ b"),
        ("__init__ snake__case é__ __é", "__init__ snake__case é__ __é"),
        ("", ""),
        ("\ufdd0", "\ufffd"),
    ],
)
def test_what_is_a_blank(text: str, marked: str) -> None:
    assert marks(tf.constant([text])).numpy()[0].decode().replace("\ufdd0", "#") == marked


@pytest.fixture(scope="module")
def filler() -> BlankFiller:
    return BlankFiller(model_of(), tokenizer_of())


def fill(filler: BlankFiller, texts: list[Any], k: int = 3) -> dict[str, Any]:
    found = filler.fill(text=tf.constant(texts), k=tf.constant([k] * len(texts), tf.int64))
    return {name: value.numpy() for name, value in found.items()}


def test_every_blank_gets_words_and_the_text_is_filled_with_the_first(filler: BlankFiller) -> None:
    found = fill(filler, ["twinkle, ____ little ____.", "no blank", "", "how ____\ti wonder"])
    assert found["blanks"].tolist() == [2, 0, 0, 1]
    assert found["words"].shape == found["probabilities"].shape == (4, 2, 3)
    words = found["words"].astype(str)
    assert found["filled"].astype(str).tolist() == [
        f"twinkle, {words[0, 0, 0]} little {words[0, 1, 0]}.",
        "no blank",
        "",
        f"how {words[3, 0, 0]}\ti wonder",
    ]
    assert set(words[0].ravel()) | set(words[3, 0]) <= set(WORDS)
    assert set(words[1].ravel()) | set(words[3, 1]) == {""}
    assert np.all(np.diff(found["probabilities"], axis=-1) <= 0)
    assert np.all(found["probabilities"].sum(axis=-1) <= 1 + 1e-6)


def test_probabilities_are_those_of_the_model_with_the_blank_read_as_a_blank(filler: BlankFiller) -> None:
    found = fill(filler, ["the ____ star ____ ."], k=len(WORDS))
    ids = [4, SIZE, 5, SIZE, 15]
    p = tf.nn.softmax(logits(filler.model, [ids])[0]).numpy()
    for number, place in enumerate((1, 3)):
        order = 4 + np.argsort(-p[place, 4:SIZE], kind="stable")
        assert found["words"][0, number].astype(str).tolist() == [WORDS[token - 4] for token in order]
        assert_allclose(found["probabilities"][0, number], p[place, order], rtol=1e-4)


def test_what_stands_in_a_blank_of_another_row_changes_nothing(filler: BlankFiller) -> None:
    alone, together = fill(filler, ["i wonder ____"]), fill(filler, ["i wonder ____", "____ the ____ " * 9])
    assert_allclose(together["probabilities"][0, 0], alone["probabilities"][0, 0], atol=1e-6)
    assert together["filled"][0] == alone["filled"][0]


def test_text_without_any_blank_has_none_to_fill(filler: BlankFiller) -> None:
    found = fill(filler, ["the star", "été"])
    assert found["words"].shape == (2, 0, 3)
    assert found["filled"].tolist() == [b"the star", "été".encode()]


def test_lower_case_words_without_spaces_between() -> None:
    filler = BlankFiller(model_of(), tokenizer_of(words="whitespace", lowercase=True))
    found = fill(filler, ["THE ____ Star."])
    word = found["words"][0, 0, 0].decode()
    assert found["filled"][0].decode() == f"THE {word} Star."


def test_score_is_the_log_probability_of_each_word_given_the_others(filler: BlankFiller) -> None:
    found = {
        name: value.numpy()
        for name, value in filler.score(text=tf.constant(["the little star", "", "zebra ."])).items()
    }
    log_p = tf.nn.log_softmax(logits(filler.model, [[4, 6, 5]])[0]).numpy()
    assert_allclose(found["log_probabilities"][0], log_p[np.arange(3), [4, 6, 5]], rtol=1e-4)
    assert found["length"].tolist() == [3, 0, 2]
    assert found["ids"][2].tolist() == [UNKNOWN, 15, PAD]
    assert_allclose(found["perplexity"], np.exp(-found["total"] / [3, 1, 2]), rtol=1e-5)


def test_a_row_with_blanks_is_written_as_text() -> None:
    assert blanked(tokenizer_of(), np.array([4, 6, 5, 15]), [1]) == "the ____ star."
    assert blanked(tokenizer_of(), np.array([4, 6, 5]), [0, 2]) == "____ little ____"


# ---- ranks and measures


def test_ranks_are_among_words_and_ties_go_to_the_more_frequent() -> None:
    p = np.log([[0.1, 0.4, 0.1, 0.05, 0.1, 0.1, 0.1, 0.05]] * 4)
    found = ranked(p, np.array([4, 6, 7, UNKNOWN]), 8)
    assert found[:, 1].tolist() == [1, 3, 4, 8]
    assert found[:, 2].tolist() == [4, 4, 4, 4]
    assert_allclose(np.exp(-found[:, 0]), [0.1, 0.1, 0.05, 0.4], rtol=1e-6)


def test_every_word_of_rows_of_all_lengths_is_measured_as_if_alone() -> None:
    rows = [[4, 5], [], [6, 7, 8, 9, 10], [11], [4, 4, 4]]
    ids = ragged(*rows)
    found = word_ranks(MODEL, ids, SIZE, cells=60)
    for index, row in enumerate(rows):
        if row:
            log_p = tf.nn.log_softmax(logits(MODEL, [row])[0]).numpy()
            expected = ranked(log_p, np.array(row), SIZE)
            assert_allclose(found[ids.splits[index] : ids.splits[index + 1]], expected, rtol=1e-4)


def application(**sections: Any) -> MaskedWord:
    tables = {"application": "masked_word", "name": "tiny", "source": {"files": ["x.txt"]}, **sections}
    return MaskedWord(config_from(tables, "tiny"))


def test_metrics_follow_from_sums_over_rows() -> None:
    prediction = np.array([[1.0, 1, 4], [2.0, 6, 4], [3.0, 5, 4]], np.float32)
    sums = application().statistics(prediction, {"ids": ragged([4, 5], [], [6])})
    assert sums.tolist() == [[3, 2, 1, 1], [0, 0, 0, 0], [3, 1, 0, 1]]
    metrics = application().metrics(sums.sum(axis=0))
    assert_allclose([metrics["top1"], metrics["top5"], metrics["perplexity"]], [1 / 3, 2 / 3, np.exp(2.0)])


@pytest.mark.parametrize(
    "tables", [{"source": {"files": ["x"], "rows": "document"}}, {"training": {"batching": "stream"}}]
)
def test_what_has_no_two_sides_is_refused(tables: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"both sides|whole row"):
        application(**tables)


# ---- baselines


def context_of(train: Ragged) -> BaselineContext:
    manifest = Manifest(
        application="masked_word",
        schema_=Schema(features=(Feature(name="ids", dtype="int64", shape=(None,), meaning="ids"),)),
        splits={}, rejected={}, lengths={},
        vocabularies={"text": VocabularyFile(folder="text", size=SIZE, sha256="", coverage=1.0)},
        tables={}, sources=(), fingerprint="", code_version="", settings={},
    )  # fmt: skip
    config = application().config
    return BaselineContext(config, Path(), manifest, lambda split: {"ids": train}, lambda line: None)


TRAIN = ragged([4, 5, 6], [4, 7, 6], [4, 5, 6], [8, 5], [9, 5, 6, 4])


def test_unigrams_are_frequencies_with_one_added() -> None:
    found = unigram_word.fit(context_of(TRAIN)).predict({"ids": ragged([5], [12, UNKNOWN])})
    outcomes = 15 + SIZE - 3
    assert_allclose(np.exp(-found[:, 0]), [5 / outcomes, 1 / outcomes, 1 / outcomes], rtol=1e-6)
    assert found[:, 1].tolist() == [2, 9, SIZE]  # 4 and 5 stand four times each
    assert set(found[:, 2]) == {4}


def test_unigram_ranks_are_those_of_every_system() -> None:
    model = unigram_word.fit(context_of(TRAIN))
    ids = np.arange(4, SIZE)
    found = model.predict({"ids": ragged(ids.tolist())})
    assert_allclose(found, ranked(np.broadcast_to(model.log_p, (len(ids), SIZE)), ids, SIZE), rtol=1e-6)


def test_neighbours_of_words() -> None:
    left, words, right = neighbour_counts.neighbours(ragged([4, 5], [], [6]))
    assert (left.tolist(), words.tolist(), right.tolist()) == ([BEGIN, 4, BEGIN], [4, 5, 6], [5, END, END])


def test_neighbour_counts_sum_to_one_for_seen_and_unseen_neighbours() -> None:
    model = neighbour_counts.fit(context_of(TRAIN))
    left, right = (grid.ravel() for grid in np.meshgrid(np.arange(SIZE), np.arange(SIZE)))
    p = model.distribution(left, right)
    assert_allclose(p.sum(axis=1), 1.0, rtol=1e-9)
    assert np.all(p[:, [PAD, BEGIN, END]] == 0.0)
    assert np.all(p[:, [UNKNOWN, *range(4, SIZE)]] > 0.0)


def test_neighbour_counts_by_hand() -> None:
    """No count of counts here gives three discounts, so that each is n1 / (n1 + 2 n2), or 1/2 without evidence."""
    model = neighbour_counts.fit(context_of(ragged([4, 5, 6], [4, 5, 6], [4, 7, 6])))
    counts = np.zeros(SIZE)
    counts[[4, 5, 6, 7]] = [3, 2, 3, 1]
    words = np.where(np.isin(np.arange(SIZE), [PAD, BEGIN, END]), 0.0, counts + 1)
    words /= words.sum()

    def above(seen: dict[int, int], discount: float, below: Any) -> Any:
        total = sum(seen.values())
        p = np.zeros(SIZE)
        for word, count in seen.items():
            p[word] = (count - discount) / total
        return p + discount * len(seen) / total * below

    # Pairs (4, 5) twice, (4, 7) once, and <bos> 4 three times, 5 6 twice, 7 6 once: n1 = 2, n2 = 2, D = 1/3.
    between = above({5: 2, 7: 1}, 1 / 3, words) ** 2 / np.where(words > 0, words, 1.0)
    between /= between.sum()
    # Triples: 5 between 4 and 6 twice, 7 once; <bos> 4 5 twice, <bos> 4 7 once, 5 6 <eos> twice, 7 6 <eos> once.
    expected = above({5: 2, 7: 1}, 1 / 3, between)
    found = model.distribution(np.array([4]), np.array([6]))[0]
    assert_allclose(found, expected, rtol=1e-6)


def test_neighbours_beat_frequencies_on_their_own_text() -> None:
    examples = {"ids": TRAIN}
    unigram, both = (module.fit(context_of(TRAIN)).predict(examples) for module in (unigram_word, neighbour_counts))
    assert both[:, 0].mean() < unigram[:, 0].mean()
    assert both.shape == unigram.shape == (15, 3)


# ---- answers


SIGNATURES = BlankFiller(MODEL, tokenizer_of()).signatures()
call = Call(lambda name, **inputs: check.answer(tf, SIGNATURES[name], inputs))
"""A served model of random weights."""


def options(**given: Any) -> argparse.Namespace:
    from seqapps.applications import options_of

    return options_of(MaskedWord, given)


def test_answers_hold_words_for_each_blank() -> None:
    chosen = options(k=2)
    two, none = MaskedWord.answer(call, ["the ____ star ____", "no blank"], chosen, 0)
    assert isinstance(two, Filling)
    assert [len(blank) for blank in two.blanks] == [2, 2]
    assert two.filled == f"the {two.blanks[0][0][0]} star {two.blanks[1][0][0]}"
    assert none == Filling("no blank", (), "no blank")
    assert "blank 2" in MaskedWord.line(two, chosen, one_line=False)
    assert "no blank: write" in MaskedWord.line(none, chosen, one_line=False)
    assert MaskedWord.line(two, chosen, one_line=True) == two.filled


def test_scores_are_answered() -> None:
    (found,) = MaskedWord.answer(call, ["the star"], options(score=True), 0)
    assert isinstance(found, Score)
    assert found.tokens == ("the", "star")
    assert found.total == pytest.approx(sum(found.log_probabilities), rel=1e-5)
    assert "perplexity" in MaskedWord.line(found, options(score=True), one_line=False)


def test_no_suggestions_are_refused() -> None:
    with pytest.raises(UsageError, match="`-k`"):
        options(k=0)
