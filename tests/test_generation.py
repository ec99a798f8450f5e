"""What a language model writes, suggests and scores: against the model called by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from seqapps.architectures import stacked
from seqapps.dataset.ragged import Ragged
from seqapps.errors import DataError
from seqapps.inference.choosing import NEVER_WRITTEN
from seqapps.inference.text_generator import TextGenerator, golden_calls
from seqapps.layers.states import zero_states
from seqapps.preprocessing.analysis import learn_tokenizer
from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD, SPECIALS, UNKNOWN, Vocabulary

WORDS = ("the", "students", "opened", "their", "books", ".", ",", "'", "don", "t", "(", ")", "é", "and")
CELLS = ("simple_rnn", "lstm", "gru")


def tokenizer_of(level: str, **options: Any) -> Tokenizer:
    tokens = tuple("abcdefghij é\n.") if level == "character" else WORDS
    return Tokenizer(TokenizerConfig(level=level, **options), Vocabulary((*SPECIALS, *tokens)))


def generator_of(level: str = "word", cell: str = "lstm", start: int = END, **options: Any) -> TextGenerator:
    """Random weights, three times as large as usual, so that probabilities differ from step to step."""
    keras.utils.set_random_seed(7)
    tokenizer = tokenizer_of(level, **options)
    config = stacked.Config(cell=cell, units=(12, 9), embedding=8, dropout=0.3)
    model = stacked.build(config, vocabulary_size=tokenizer.size, carry=True)
    model.set_weights([3.0 * weight for weight in model.get_weights()])
    # Ends are rare, or no text would be long enough to test.
    bias = model.get_layer("logits").bias
    bias.assign(tf.tensor_scatter_nd_update(bias.value, [[END]], [-4.0]))
    return TextGenerator(model, tokenizer, start=start)


@pytest.fixture(scope="module")
def words() -> TextGenerator:
    return generator_of("word")


@pytest.fixture(scope="module")
def characters() -> TextGenerator:
    return generator_of("character")


def generate(generator: TextGenerator, prompts: list[Any], **changes: Any) -> dict[str, Any]:
    """A seed of a list is that of each row; one number is that of the first row, and the others follow."""
    values = {"max_length": 20, "temperature": 0.9, "top_k": 0, "seed": 5} | changes
    if isinstance(values["seed"], int):
        values["seed"] = [values["seed"] + row for row in range(len(prompts))]
    settings = {
        name: tf.constant(
            value if isinstance(value, list) else [value] * len(prompts),
            tf.float32 if name == "temperature" else tf.int64,
        )
        for name, value in values.items()
    }
    answer = generator.generate(prompt=tf.constant(prompts, tf.string), **settings)
    return {name: value.numpy() for name, value in answer.items()}


def complete(generator: TextGenerator, prompts: list[Any], k: int) -> dict[str, Any]:
    answer = generator.complete(prompt=tf.constant(prompts, tf.string), k=tf.constant([k] * len(prompts), tf.int64))
    return {name: value.numpy() for name, value in answer.items()}


def score(generator: TextGenerator, texts: list[Any]) -> dict[str, Any]:
    return {name: value.numpy() for name, value in generator.score(text=tf.constant(texts, tf.string)).items()}


def logits_by_hand(generator: TextGenerator, ids: list[int]) -> Any:
    """One pass over `start` and all ids, `<float32>[len(ids) + 1, V]`."""
    x = {"tokens": tf.constant([[generator.start, *ids]], tf.int32), **zero_states(generator.model, 1)}
    return generator.model.predict_on_batch(x)["logits"][0]


def encode(generator: TextGenerator, text: str) -> list[int]:
    return list(generator.tokenizer.encode(tf.constant([text]))[0].numpy())


@pytest.mark.parametrize("cell", CELLS)
def test_greedy_text_is_the_argmax_of_one_pass_over_the_whole_text(cell: str) -> None:
    generator = generator_of("word", cell)
    answer = generate(generator, ["the students"], temperature=0.0)
    prompt, written = encode(generator, "the students"), [int(token) for token in answer["ids"][0] if token]
    logits = logits_by_hand(generator, prompt + written)[len(prompt) : -1]
    logits[:, list(NEVER_WRITTEN)] = -np.inf
    assert written == list(logits.argmax(axis=-1))
    assert len(set(written)) > 1


def test_the_nats_of_a_text_are_those_of_one_pass(words: TextGenerator) -> None:
    answer = generate(words, ["the"], max_length=15)
    prompt, written = encode(words, "the"), list(answer["ids"][0])
    log_p = tf.nn.log_softmax(logits_by_hand(words, prompt + written)).numpy()[len(prompt) : -1]
    np.testing.assert_allclose(answer["nats"][0], -log_p[np.arange(len(written)), written].sum(), rtol=1e-5)


def test_an_ended_text_costs_what_score_says(characters: TextGenerator) -> None:
    answer = generate(characters, [""] * 40, max_length=300, temperature=1.0)
    ended = [row for row, ids in enumerate(answer["ids"]) if END in ids]
    assert len(ended) > 2
    scored = score(characters, [answer["text"][row] for row in ended])
    np.testing.assert_allclose(-scored["total"], answer["nats"][ended], rtol=1e-4)
    np.testing.assert_array_equal(scored["length"], answer["length"][ended])


def test_equal_seeds_give_equal_text_and_others_do_not(words: TextGenerator) -> None:
    first, again, other = (generate(words, ["the"], seed=seed)["text"][0] for seed in (1, 1, -2))
    assert first == again != other


def test_rows_with_other_seeds_differ_and_equal_rows_do_not(words: TextGenerator) -> None:
    assert len(set(generate(words, ["the"] * 8)["text"])) > 4
    assert len(set(generate(words, ["the"] * 8, seed=[3] * 8)["text"])) == 1


def test_every_row_has_its_own_settings(words: TextGenerator) -> None:
    settings = {
        "max_length": [3, 20, 7, 12],
        "temperature": [0.0, 0.9, 2.0, 1.0],
        "top_k": [0, 5, 2, 0],
        "seed": [4, 4, 9, 1],
    }
    together = generate(words, ["the", "the", "", "books"], **settings)
    for row, prompt in enumerate(["the", "the", "", "books"]):
        alone = generate(words, [prompt], **{name: [values[row]] for name, values in settings.items()})
        assert alone["text"][0] == together["text"][row]
        assert alone["length"][0] == together["length"][row]
        np.testing.assert_allclose(alone["nats"][0], together["nats"][row], rtol=1e-5)


def test_seeds_draw_evenly_and_apart() -> None:
    from seqapps.inference.choosing import _uniform, keys_of

    drawn = np.array([_uniform(keys_of(tf.range(-500, 500, dtype=tf.int64)), step).numpy() for step in range(50)])
    assert 0.0 <= drawn.min() < 1e-3 < 1.0 - 1e-3 < drawn.max() < 1.0
    np.testing.assert_allclose(drawn.mean(), 0.5, atol=0.005)
    np.testing.assert_allclose(drawn.std(), 12**-0.5, atol=0.005)
    together = np.corrcoef(drawn.T[:40])  # streams of seeds that follow one another
    assert np.abs(together - np.eye(40)).max() < 0.6 and np.abs(np.corrcoef(drawn)[~np.eye(50, dtype=bool)]).max() < 0.2
    assert len({keys_of(tf.constant([3], tf.int64), place).numpy()[0] for place in range(100)}) == 100


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"temperature": 0.0}], ids=str)
def test_appended_rows_change_no_row_before_them(words: TextGenerator, options: dict[str, Any]) -> None:
    prompts = ["the", "", "the students opened their books . " * 3]
    alone, in_batch = generate(words, prompts, **options), generate(words, prompts + ["and don't"] * 35, **options)
    assert list(alone["text"]) == list(in_batch["text"][:3])
    np.testing.assert_allclose(alone["nats"], in_batch["nats"][:3], rtol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_prompts_of_other_lengths_never_reach_a_row(cell: str) -> None:
    generator = generator_of("character", cell)
    # Large random weights make a SimpleRNN chaotic: over hundreds of steps it amplifies the rounding of a matrix
    # product, which depends on the number of rows.
    longest = "abc" * (5 if cell == "simple_rnn" else 200)
    texts = ["", "a", longest, "jij", "aé\n", longest]
    together = complete(generator, texts, 5)
    for row, text in enumerate(texts):
        alone = complete(generator, [text], 5)
        np.testing.assert_allclose(together["probabilities"][row], alone["probabilities"][0], rtol=1e-4)
        assert list(together["tokens"][row]) == list(alone["tokens"][0])
    scored = score(generator, texts)
    for row, text in enumerate(texts):
        np.testing.assert_allclose(scored["total"][row], score(generator, [text])["total"][0], rtol=1e-4)


@pytest.mark.parametrize("start", [BEGIN, END])
def test_suggestions_are_the_softmax_of_the_model(start: int) -> None:
    generator = generator_of("word", start=start)
    answer = complete(generator, ["the students opened their", ""], 6)
    for row, ids in enumerate((encode(generator, "the students opened their"), [])):
        probabilities = tf.nn.softmax(logits_by_hand(generator, ids)[-1]).numpy()
        names = generator.tokenizer.vocabulary.tokens
        order = [token for token in np.argsort(-probabilities) if token not in NEVER_WRITTEN][:6]
        assert [token.decode() for token in answer["tokens"][row]] == [names[token] for token in order]
        np.testing.assert_allclose(answer["probabilities"][row], probabilities[order], rtol=1e-5)


def test_all_suggestions_sum_to_less_than_one_by_what_is_never_written(words: TextGenerator) -> None:
    answer = complete(words, ["the"], 1000)
    probabilities = tf.nn.softmax(logits_by_hand(words, encode(words, "the"))[-1]).numpy()
    assert answer["tokens"].shape == (1, words.tokenizer.size - len(NEVER_WRITTEN))
    np.testing.assert_allclose(answer["probabilities"].sum(), 1.0 - probabilities[list(NEVER_WRITTEN)].sum(), rtol=1e-5)
    assert b"<eos>" in answer["tokens"]


def test_a_score_is_the_log_softmax_by_hand(words: TextGenerator) -> None:
    text = "the students (and zebras) opened"
    answer, ids = score(words, [text, "the"]), encode(words, text)
    log_p = tf.nn.log_softmax(logits_by_hand(words, ids)).numpy()
    expected = log_p[np.arange(len(ids) + 1), [*ids, END]]
    np.testing.assert_allclose(answer["log_probabilities"][0], expected, rtol=1e-4)
    np.testing.assert_allclose(answer["total"][0], expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(answer["perplexity"][0], np.exp(-expected.sum() / len(expected)), rtol=1e-5)
    tokens = ["the", "students", "(", "and", "<unk>", ")", "opened", "<eos>"]
    assert [token.decode() for token in answer["tokens"][0]] == tokens
    assert list(answer["length"]) == [8, 2]
    assert list(answer["log_probabilities"][1, 2:]) == [0.0] * 6
    assert list(answer["tokens"][1, 1:3]) == [b"<eos>", b""]


def test_a_text_longer_than_one_call_scores_as_one_pass(characters: TextGenerator) -> None:
    text = "abc é" * 400
    ids = encode(characters, text)
    log_p = tf.nn.log_softmax(logits_by_hand(characters, ids)).numpy()
    expected = log_p[np.arange(len(ids) + 1), [*ids, END]]
    np.testing.assert_allclose(score(characters, [text])["log_probabilities"][0], expected, rtol=1e-3, atol=1e-5)


def test_the_text_stops_at_eos_or_at_the_limit(characters: TextGenerator) -> None:
    answer = generate(characters, [""] * 40, max_length=50, temperature=1.0)
    for ids, length in zip(answer["ids"], answer["length"], strict=True):
        written = list(ids[:length])
        assert END not in written[:-1]
        assert written[-1] == END or length == 50
        assert set(ids[length:]) <= {PAD}
    assert any(END in ids for ids in answer["ids"]) and any(END not in ids for ids in answer["ids"])


def test_the_loop_ends_when_all_rows_have_ended() -> None:
    generator = generator_of("word")
    bias = generator.model.get_layer("logits").bias
    bias.assign(tf.tensor_scatter_nd_update(bias.value, [[END]], [100.0]))
    answer = generate(generator, ["the", ""], max_length=1000)
    assert answer["ids"].tolist() == [[END], [END]] and list(answer["text"]) == [b"", b""]


def test_special_tokens_are_never_written_even_when_the_model_wants_them() -> None:
    generator = generator_of("word")
    bias = generator.model.get_layer("logits").bias
    bias.assign(tf.tensor_scatter_nd_update(bias.value, [[PAD], [UNKNOWN], [BEGIN]], [50.0, 50.0, 50.0]))
    for options in ({"temperature": 0.0}, {"temperature": 5.0}, {"temperature": 1e-30}, {"top_k": 2}):
        ids = generate(generator, ["the"] * 4, **options)["ids"]
        assert set(ids.ravel()) - set(NEVER_WRITTEN) and not set(ids.ravel()) & {UNKNOWN, BEGIN}
        assert ids[:, 0].all()
    assert not {b"<pad>", b"<unk>", b"<bos>"} & set(complete(generator, ["the"], 5)["tokens"][0])


def test_top_k_draws_among_the_k_most_probable(words: TextGenerator) -> None:
    best = set(complete(words, ["the"], 3)["tokens"][0])
    ids = generate(words, ["the"] * 200, max_length=1, temperature=3.0, top_k=3)["ids"]
    assert {words.tokenizer.vocabulary.tokens[token].encode() for token in ids[:, 0]} == best


def test_tokens_are_drawn_as_often_as_they_are_probable(words: TextGenerator) -> None:
    ids = generate(words, ["the"] * 4000, max_length=1, temperature=1.0)["ids"][:, 0]
    allowed = tf.nn.softmax(logits_by_hand(words, encode(words, "the"))[-1]).numpy()
    allowed[list(NEVER_WRITTEN)] = 0.0
    shares = np.bincount(ids, minlength=len(allowed)) / 4000
    np.testing.assert_allclose(shares, allowed / allowed.sum(), atol=0.03)


def test_a_low_temperature_is_greedy(words: TextGenerator) -> None:
    cold, greedy = (generate(words, ["the", ""], temperature=t)["ids"] for t in (1e-6, 0.0))
    assert cold.tolist() == greedy.tolist()


def test_the_full_text_is_the_prompt_and_the_continuation(words: TextGenerator, characters: TextGenerator) -> None:
    prompts = ["the students", "the students ", "", "  ", "don '", "(", "zebra", "the\tbooks\n", "x\ufffdé"]
    for generator in (words, characters, generator_of("word", words="whitespace")):
        answer = generate(generator, prompts)
        for prompt, text, full in zip(prompts, answer["text"], answer["full_text"], strict=True):
            assert full.decode() == prompt + text.decode()


def test_a_word_joins_the_prompt_as_its_tokenizer_writes_it() -> None:
    generator = generator_of("word")

    def joined(prompt: str, *written: str) -> str:
        ids = tf.constant([[WORDS.index(word) + len(SPECIALS) for word in written] + [END]])
        text, _ = generator._join(tf.constant([prompt]), generator.tokenizer.encode(tf.constant([prompt])), ids)
        return bytes(text.numpy()[0]).decode()

    assert joined("the students", "opened", "books", ".") == " opened books."
    assert joined("the students ", "opened") == "opened"
    assert joined("the students\n", "opened") == "opened"
    assert joined("the students\u00a0", "opened") == "opened"
    assert joined("the students", ".") == "."
    assert joined("the students ", ".") == "."
    assert joined("the (", "books", ")") == "books)"
    assert joined("", "books") == "books"
    assert joined("zebra", "books") == " books"
    assert joined("don'", "t") == " t"  # the whole reads "don't", so it does not begin with what the prompt reads


def test_subwords_hold_their_spaces() -> None:
    words = ("the", " students", " student", " studied", " opened", " their", " books", " .")
    tokenizer = learn_tokenizer({word.encode(): 50 for word in words}, TokenizerConfig(level="subword"), 60, 1)
    keras.utils.set_random_seed(7)
    model = stacked.build(stacked.Config(units=(8,)), vocabulary_size=tokenizer.size, carry=True)
    generator = TextGenerator(model, tokenizer, start=END)
    prompts = ["the stud", "the ", "", "zeb\u00e9", "the students"]
    answer = generate(generator, prompts, temperature=2.0)
    for row, (prompt, text) in enumerate(zip(prompts, answer["text"], strict=True)):
        pieces = tokenizer.written(tf.constant(answer["ids"][row])).numpy()
        written = b"".join(piece for piece in pieces if not piece.startswith(b"<")).decode()
        assert text.decode() == written.replace("\u2581", " ")
        assert answer["full_text"][row].decode() == prompt + text.decode()
    assert score(generator, ["the students"])["tokens"][0][-1] == tokenizer.written(tf.constant(END)).numpy()
    assert complete(generator, ["the stud"], 4)["tokens"].shape == (1, 4)


def test_invalid_bytes_are_read_as_u_fffd(words: TextGenerator, characters: TextGenerator) -> None:
    for generator in (words, characters):
        broken, mended = generate(generator, [b"the \xff\xc3"]), generate(generator, ["the \ufffd\ufffd"])
        assert broken["full_text"][0] == mended["full_text"][0]
        assert score(generator, [b"a\xff"])["total"] == score(generator, ["a\ufffd"])["total"]


def test_a_very_long_prompt_is_read_to_its_end(characters: TextGenerator) -> None:
    prompt = "abc é" * 600
    answer = complete(characters, [prompt, "a"], 3)
    expected = tf.nn.softmax(logits_by_hand(characters, encode(characters, prompt))[-1]).numpy()
    np.testing.assert_allclose(answer["probabilities"][0], np.sort(expected)[::-1][:3], rtol=1e-3)


def test_nothing_asked_gives_nothing(words: TextGenerator) -> None:
    assert generate(words, [])["ids"].shape[0] == 0
    assert complete(words, [], 3)["tokens"].shape[0] == 0
    assert score(words, [])["total"].shape == (0,)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_length", 0, r"at least 1 and at most 4096\. Received:\] \[0\]"),
        ("max_length", 10**9, r"at least 1 and at most 4096\. Received:\] \[1000000000\]"),
        ("temperature", -0.5, r"at least 0 and at most 1000\. Received:\] \[-0.5\]"),
        ("temperature", float("nan"), r"at least 0 and at most 1000\. Received:\] \[nan\]"),
        ("temperature", float("inf"), r"at least 0 and at most 1000\. Received:\] \[inf\]"),
        ("top_k", -1, r"at least 0 and at most 65536\. Received:\] \[-1\]"),
        ("seed", [2**63 - 1], r"at least -2147483648 and at most 2147483647\. Received:\] \[9223372036854775807\]"),
        ("seed", [-(2**63)], r"at least -2147483648 and at most 2147483647\. Received:\] \[-9223372036854775808\]"),
    ],
)
def test_a_number_out_of_range_is_refused_inside_the_graph(
    words: TextGenerator, name: str, value: Any, message: str
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{name}` must be {message}"):
        generate(words, ["the"], **{name: value})


def test_rows_times_what_they_may_write_has_a_bound(words: TextGenerator) -> None:
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"Rows times `max_length` must be at most 1048576.*1052672"
    ):
        generate(words, ["the"] * 257, max_length=4096)


def test_no_suggestions_are_refused(words: TextGenerator) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="`k` must be at least 1"):
        complete(words, ["the"], 0)


def test_write_sees_the_weights_of_now_and_leaves_the_model_as_it_was() -> None:
    generator = generator_of("character")
    before = generator.write("a", length=30, temperature=0.0, top_k=0, seed=1)
    assert before == generator.write("a", length=30, temperature=0.0, top_k=0, seed=9)
    unrolled = [layer.unroll for layer in generator.model.layers if isinstance(layer, keras.layers.RNN)]
    assert unrolled == [False, False]
    generator.model.set_weights([-weight for weight in generator.model.get_weights()])
    after = generator.write("a", length=30, temperature=0.0, top_k=0, seed=1)
    assert after != before
    assert generator.generate is generator.generate  # traced once


def test_a_model_without_states_is_refused() -> None:
    tokenizer = tokenizer_of("word")
    model = stacked.build(stacked.Config(units=(4,)), vocabulary_size=tokenizer.size, carry=False)
    with pytest.raises(DataError, match=r"must carry its states .* Received: model 'stacked' with inputs \['tokens'\]"):
        TextGenerator(model, tokenizer, start=END)


def test_golden_calls_are_the_beginnings_of_real_rows(words: TextGenerator) -> None:
    rows = [encode(words, "the students opened their books ."), encode(words, "and"), encode(words, "the books , and")]
    ids = Ragged(
        np.concatenate([np.array([*row, END]) for row in rows]), np.cumsum([0, *(len(row) + 1 for row in rows)])
    )
    calls = golden_calls(ids, words.tokenizer)
    assert sorted(calls) == sorted(words.signatures())
    assert calls["serving_default"] == [{"prompt": ["the students opened their", "and", "the books, and", ""]}]
    assert [set(call["temperature"]) for call in calls["generate"]] == [{0.0}, {0.8}, {1.0}]
    assert calls["score"][0]["text"][-1] == "" and calls["complete_k"][0]["k"] == [3, 3, 3, 3]
    only_one = golden_calls(Ragged(np.array([END]), np.array([0, 1])), words.tokenizer)
    assert only_one["complete"][0]["prompt"] == ["", ""]
