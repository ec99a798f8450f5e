"""Laws of the baselines: probabilities that sum to one, figures by hand, equality with a plain reference."""

from __future__ import annotations

import builtins
import inspect
import math
import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from seqapps import baselines
from seqapps.applications import config_from
from seqapps.baselines import Baseline, BaselineContext, fixed_window, kneser_ney
from seqapps.baselines._contexts import ages, contexts
from seqapps.dataset.manifest import Manifest, Split, Table, VocabularyFile
from seqapps.dataset.ragged import Ragged
from seqapps.dataset.schema import Feature, Schema
from seqapps.errors import ConfigError, DataError

BEGIN, END = 2, 3
A, B, C, D = 4, 5, 6, 7


def ragged(*rows: list[int]) -> Ragged:
    splits = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Ragged(np.array([token for row in rows for token in row], np.int32), splits)


def ngram_table(ids: Ragged, order: int) -> NDArray[np.int32]:
    """The table that `prepare` writes, by plain counting."""
    counts: Counter[tuple[int, ...]] = Counter()
    history: list[int] = [BEGIN] * (order - 1)
    for token in ids.values.tolist():
        history = [*history, token][-order:]
        counts[tuple(history)] += 1
        history = [BEGIN] * (order - 1) if token == END else history[1:]
    return np.array([[*gram, count] for gram, count in sorted(counts.items())], np.int32)


def context_of(
    folder: Path, size: int, splits: Mapping[str, Ragged], order: int = 0, **options: Any
) -> BaselineContext:
    tables = {}
    if order:
        table = ngram_table(splits["train"], order)
        (folder / "ngrams").mkdir(exist_ok=True)
        for number, part in enumerate(np.array_split(table, 3)):
            np.save(folder / f"ngrams/part-{number:05d}.npy", part)
        names = [f"ngrams/part-{number:05d}.npy" for number in range(3)]
        tables["ngrams"] = tuple(Table(file=name, rows=len(np.load(folder / name)), sha256="") for name in names)
    manifest = Manifest(
        application="language_model",
        schema_=Schema(features=(Feature(name="ids", dtype="int64", shape=(None,), meaning="ids"),)),
        splits={name: Split(rows=len(ids), tokens=len(ids.values), shards=()) for name, ids in splits.items()},
        rejected={},
        lengths={},
        vocabularies={"text": VocabularyFile(folder="vocabularies/text", size=size, sha256="", coverage=1.0)},
        tables=tables,
        sources=(),
        fingerprint="0" * 64,
        code_version="0",
        settings={},
    )
    config = config_from(
        {
            "application": "language_model",
            "source": {"builtin": "python-docs"},
            "data": {"ngram_order": order},
            "baselines": options,
        },
        "test",
    )
    lines: list[str] = []
    return BaselineContext(config, folder, manifest, lambda split: {"ids": splits[split]}, lines.append)


def nats_of(baseline: Baseline, ids: Ragged) -> NDArray[Any]:
    nats: NDArray[Any] = baseline.predict({"ids": ids})
    assert nats.dtype == np.float32
    assert nats.shape == ids.values.shape
    return nats


def this_text() -> str:
    """Real text that every Python carries: the documentation of its own types and functions."""
    return "\n".join(inspect.getdoc(value) or "" for value in vars(builtins).values())[:6_000]


# ---- contexts


def test_a_context_does_not_reach_into_the_example_before() -> None:
    ids = np.array([A, B, END, C, END, D, A, B])
    assert ages(ids).tolist() == [0, 1, 2, 0, 1, 0, 1, 2]
    expected = [[2, 2], [2, 4], [4, 5], [2, 2], [2, 6], [2, 2], [2, 7], [7, 4]]
    assert contexts(ids, ages(ids), np.arange(8), 2).tolist() == expected
    assert contexts(ids, ages(ids), np.array([7, 0]), 3).tolist() == [[2, 7, 4], [2, 2, 2]]


def test_contexts_of_nothing() -> None:
    nothing = np.zeros(0, np.int32)
    assert contexts(nothing, ages(nothing), np.arange(0), 3).shape == (0, 3)


# ---- uniform and unigram


def test_uniform_gives_every_token_that_can_come_the_same_share(tmp_path: Path) -> None:
    ids = ragged([A, B, END], [1, END])
    nats = nats_of(baselines.load("uniform")(context_of(tmp_path, 10, {"train": ids})), ids)
    assert_allclose(nats, [2.0794415] * 5, rtol=1e-6)  # log 8: `<pad>` and `<bos>` never come


def test_unigram_by_hand(tmp_path: Path) -> None:
    splits = {"train": ragged([A, A, B, END], [A, END])}  # 6 tokens; V - 2 = 5 that can come: <unk> <eos> A B C
    unigram = baselines.load("unigram")(context_of(tmp_path, 7, splits))
    nats = nats_of(unigram, ragged([A, B, C, 1, END]))
    assert_allclose(np.exp(-nats), [4 / 11, 2 / 11, 1 / 11, 1 / 11, 3 / 11], rtol=1e-6)


# ---- Kneser-Ney

_TINY = ragged([A, B, END], [A, B, END], [A, C, END], [B, C, END])


def test_kneser_ney_bigrams_by_hand(tmp_path: Path) -> None:
    """The twelve tokens above, order 2, V = 7, all by hand.

    Bigrams: <bos>A 3, <bos>B 1, AB 2, AC 1, B<eos> 2, BC 1, C<eos> 2. Three occur once and three twice, none four
    times: one discount 3 / (3 + 2 * 3) = 1/3. Before A stands only <bos>, before B <bos> and A, before C A and B,
    before <eos> B and C: continuation counts 1, 2, 2, 2, of 7 in all. One is 1 and three are 2: one discount
    1 / (1 + 2 * 3) = 1/7.
    """
    model = baselines.load("kneser_ney")(context_of(tmp_path, 7, {"train": _TINY}, order=2))
    assert isinstance(model, kneser_ney.KneserNey)
    left = 4 * (1 / 7) / 7 * (1 / 5)  # backoff of the unigrams to 1/5 each
    a, b = (1 - 1 / 7) / 7 + left, (2 - 1 / 7) / 7 + left
    assert_allclose([a, b, left], [0.138776, 0.281633, 0.016327], atol=1e-6)
    # After A: B 2 of 3, C 1 of 3, backoff 2 * 1/3 / 3 = 2/9. In the order <pad> <unk> <bos> <eos> A B C.
    after_a = [0, 2 / 9 * left, 0, 2 / 9 * b, 2 / 9 * a, 5 / 9 + 2 / 9 * b, 2 / 9 + 2 / 9 * b]
    assert_allclose(model.next_distribution([A]), after_a, rtol=1e-12)
    # At the beginning: A 3 of 4, B 1 of 4, backoff 2 * 1/3 / 4 = 1/6.
    at_beginning = [0, left / 6, 0, b / 6, 2 / 3 + a / 6, 1 / 6 + b / 6, b / 6]
    assert_allclose(model.next_distribution([]), at_beginning, rtol=1e-12)
    # A context that was never seen: the unigrams. An unknown token after A still costs a finite number of nats.
    assert_allclose(model.next_distribution([1]), [0, left, 0, b, a, b, b], rtol=1e-12)
    assert_allclose(nats_of(model, ragged([A, 1])), [-math.log(2 / 3 + a / 6), -math.log(2 / 9 * left)], rtol=1e-6)


def reference(ids: Ragged, order: int, size: int) -> Any:
    """Kneser-Ney over dictionaries of tuples, straight from the text: (context, token) -> p."""
    raw: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
    sentence = [BEGIN]
    for token in ids.values.tolist():
        sentence.append(token)
        for k in range(1, min(order, len(sentence)) + 1):
            raw[k][tuple(sentence[-k:])] += 1
        sentence = [BEGIN] if token == END else sentence
    counts: list[dict[tuple[int, ...], int]] = [{} for _ in range(order + 1)]
    for k in range(1, order + 1):
        before: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
        for gram in raw[k + 1] if k < order else ():
            before[gram[1:]].add(gram[0])
        counts[k] = {gram: n if k == order or gram[0] == BEGIN else len(before[gram]) for gram, n in raw[k].items()}
    taken = [kneser_ney.discounts(np.array([0, *level.values()], np.float64)) for level in counts]

    def probability(context: tuple[int, ...], token: int) -> float:
        p = 1.0 / (size - 2)
        for k in range(1, order + 1):
            near = context[len(context) - k + 1 :]
            if len(near) < k - 1:
                break
            here = {gram[-1]: n for gram, n in counts[k].items() if gram[:-1] == near}
            if here:
                total = sum(here.values())
                freed = sum(taken[k][min(n, 3)] for n in here.values())
                mine = here.get(token, 0)
                p = (mine - taken[k][min(mine, 3)]) / total + freed / total * p
        return p

    return probability


def contexts_of(ids: Ragged) -> list[list[int]]:
    seen = [ids.row(row)[:at].tolist() for row in range(min(len(ids), 6)) for at in range(min(6, ids.lengths[row]))]
    return [[], *seen, [1], [A, 1], [1, A], [D, D, D, D], [B, A, D, C, B, A]]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_kneser_ney_sums_to_one_and_equals_the_reference(tmp_path: Path, order: int) -> None:
    random, size = np.random.default_rng(7), 9
    rows = [[*np.minimum(random.geometric(0.4, length) + 3, size - 1).tolist(), END] for length in range(60)]
    ids = ragged(*rows)
    model = kneser_ney.from_table(ngram_table(ids, order), size)
    expected = reference(ids, order, size)
    for context in contexts_of(ids):
        distribution = model.next_distribution(context)
        assert_allclose(distribution.sum(), 1.0, rtol=1e-12)
        assert distribution[[0, BEGIN]].tolist() == [0.0, 0.0]
        assert distribution[[1, *range(3, size)]].min() > 0.0
        want = [expected((BEGIN, *context), token) for token in range(3, size)]
        assert_allclose(distribution[3:], want, rtol=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(4, 8), max_size=7), min_size=1, max_size=12),
    order=st.integers(1, 5),
    context=st.lists(st.sampled_from([1, 3, 4, 5, 6, 7, 8]), max_size=6),
)
def test_kneser_ney_is_a_distribution_for_any_text(rows: list[list[int]], order: int, context: list[int]) -> None:
    model = kneser_ney.from_table(ngram_table(ragged(*([*row, END] for row in rows)), order), 10)
    distribution = model.next_distribution(context)
    assert_allclose(distribution.sum(), 1.0, rtol=1e-12)
    assert (distribution[[1, *range(3, 10)]] > 0.0).all()


def test_kneser_ney_scores_what_its_distribution_says_by_blocks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = kneser_ney.from_table(ngram_table(_TINY, 3), 8)
    ids = ragged([A, B, C, END], [D, A], [B, END], [END])  # the second row goes on in the third
    expected = [[], [A], [A, B], [A, B, C], [], [D], [D, A], [D, A, B], []]
    want = [model.next_distribution(context)[token] for context, token in zip(expected, ids.values, strict=True)]
    assert_allclose(np.exp(-nats_of(model, ids)), want, rtol=1e-6)
    monkeypatch.setattr(kneser_ney, "_BLOCK", 2)
    assert_allclose(np.exp(-nats_of(model, ids)), want, rtol=1e-6)


def test_keys_hold_long_contexts_of_large_vocabularies() -> None:
    random = np.random.default_rng(1)
    ids = ragged([*random.integers(4, 250_000, 3_000).tolist(), END])
    model = kneser_ney.from_table(ngram_table(ids, 10), 250_000)  # 180 bits of tokens, 64 of a key
    assert_allclose(model.next_distribution(ids.values[:40].tolist()).sum(), 1.0, rtol=1e-9)
    assert np.exp(-nats_of(model, ids)).mean() > 0.1


def test_discounts_by_hand() -> None:
    # n1 = 8, n2 = 4, n3 = 2, n4 = 1: Y = 1/2, D = 1 - 2 Y 4/8, 2 - 3 Y 2/4, 3 - 4 Y 1/2.
    counts = np.repeat([1.0, 2.0, 3.0, 4.0, 9.0], [8, 4, 2, 1, 5])
    assert kneser_ney.discounts(counts).tolist() == [0.0, 0.5, 1.25, 2.0]
    assert kneser_ney.discounts(np.array([1.0, 1.0, 2.0])).tolist() == [0.0, 0.5, 0.5, 0.5]
    assert kneser_ney.discounts(np.array([1.0, 2.0, 2.0])).tolist() == [0.0, 0.2, 0.2, 0.2]
    assert kneser_ney.discounts(np.array([700.0, 90.0])).tolist() == [0.0, 0.5, 0.5, 0.5]


def test_kneser_ney_without_its_table_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"needs the n-gram table of `prepare`.*Set data\.ngram_order above 0"):
        baselines.load("kneser_ney")(context_of(tmp_path, 7, {"train": _TINY}))


def test_kneser_ney_on_real_text() -> None:
    if "SEQAPPS_DATA" not in os.environ:
        pytest.skip("SEQAPPS_DATA is not set: the folder with charlm-tinyshakespeare/input.txt")
    path = Path(os.environ["SEQAPPS_DATA"]) / "charlm-tinyshakespeare" / "input.txt"
    text = np.frombuffer(path.read_bytes(), np.uint8)
    ids = np.unique(text, return_inverse=True)[1] + 4
    cut, size = int(0.9 * len(ids)), int(ids.max()) + 1
    where = ages(ids[:cut])
    grams = np.concatenate([contexts(ids[:cut], where, np.arange(cut), 6), ids[:cut, None]], axis=1)
    # All tokens of a gram as one number, 7 bits each, so that counting is one sort.
    packed, counts = np.unique(grams @ (1 << 7 * np.arange(6, -1, -1)), return_counts=True)
    tokens = (packed[:, None] >> 7 * np.arange(6, -1, -1)) & 127
    model = kneser_ney.from_table(np.column_stack([tokens, counts]).astype(np.int32), size)
    held_out = Ragged(ids[cut:], np.array([0, len(ids) - cut]))
    # One fixed discount gives 1.547 nats a character on these files.
    assert nats_of(model, held_out).mean(dtype=np.float64) == pytest.approx(1.5165, abs=1e-3)


# ---- the fixed-window neural model

_SMALL = {"fixed_window_context": 3, "fixed_window_embedding": 8, "fixed_window_units": 32, "fixed_window_epochs": 30}


def copies(rows: int, seed: int) -> Ragged:
    """Each token from the third on is the one three before it: 3 tokens of context know it, 2 do not."""
    random = np.random.default_rng(seed)
    return ragged(*([*np.tile(random.integers(4, 12, 3), 5).tolist(), END] for _ in range(rows)))


def test_fixed_window_learns_what_its_window_holds_and_no_more(tmp_path: Path) -> None:
    splits = {"train": copies(1_500, 1), "validation": copies(100, 2)}
    held_out = copies(100, 3)
    wide = baselines.load("fixed_window")(context_of(tmp_path, 12, splits, **_SMALL))
    narrow = baselines.load("fixed_window")(context_of(tmp_path, 12, splits, **{**_SMALL, "fixed_window_context": 2}))
    nats = [nats_of(model, held_out).reshape(-1, 16) for model in (wide, narrow)]
    assert nats[0][:, 3:15].mean() < 0.3
    assert nats[1][:, 3:15].mean() > 1.0
    assert_allclose(nats[0][:, 0].mean(), np.log(8), atol=0.1)
    assert "3 tokens of context (Bengio et al. 2003), embedding 8, 32 tanh units" in wide.description


class _Longer(fixed_window._Training):
    """Holds the rate for half as many steps again; then it falls over half as many."""

    steps = 0

    def _is_level(self) -> bool:
        return self._done >= self.steps


def test_fixed_window_has_converged_half_as_many_steps_again_change_less_than_the_standard_error(
    tmp_path: Path,
) -> None:
    lines = this_text().splitlines()
    letters = {letter: number + 4 for number, letter in enumerate(sorted(set("".join(lines))))}
    rows = [[*(letters[letter] for letter in line), END] for line in lines if line]
    splits = {"train": ragged(*(row for n, row in enumerate(rows) if n % 4)), "validation": ragged(*rows[::4])}
    size = len(letters) + 4
    options = {"fixed_window_embedding": 16, "fixed_window_units": 64, "fixed_window_epochs": 400}
    prepared = context_of(tmp_path, size, splits, **options)
    baseline = baselines.load("fixed_window")(prepared)
    assert isinstance(baseline, fixed_window.FixedWindow)
    assert baselines.has_converged(baseline)
    first = nats_of(baseline, splits["validation"]).astype(np.float64)
    made = int(baseline.description.split(" tanh units, ")[1].split(" steps")[0].replace(",", ""))
    config, ids, held_out = prepared.config.baselines, splits["train"].values, splits["validation"].values
    model = fixed_window.build(config, size, prepared.config.seed)
    batches = fixed_window._batches(ids, config.fixed_window_context, prepared.config.seed)
    longer = _Longer(model, batches, held_out, lambda line: None)
    longer.steps = made  # of which the rate held for two thirds
    done, _ = longer.run(10 * made, max(1, -(-len(ids) // fixed_window._BATCH) // fixed_window._LOOKS))
    assert done >= 1.5 * made
    second = nats_of(fixed_window.FixedWindow(model, "", True), splits["validation"]).astype(np.float64)
    assert abs(first.mean() - second.mean()) < first.std() / np.sqrt(len(first))


def test_fixed_window_tells_of_a_cap_of_steps(tmp_path: Path) -> None:
    splits = {"train": copies(200, 1), "validation": copies(20, 2)}
    capped = baselines.load("fixed_window")(
        context_of(tmp_path, 12, splits, **{**_SMALL, "fixed_window_max_steps": 20})
    )
    assert not baselines.has_converged(capped)
    assert baselines.has_converged(baselines.load("unigram")(context_of(tmp_path, 12, splits)))


def test_fixed_window_is_a_distribution_and_the_same_twice(tmp_path: Path) -> None:
    splits = {"train": copies(200, 1), "validation": copies(20, 2)}
    options = {**_SMALL, "fixed_window_max_steps": 20}
    first, second = (baselines.load("fixed_window")(context_of(tmp_path, 12, splits, **options)) for _ in range(2))
    assert (nats_of(first, splits["validation"]) == nats_of(second, splits["validation"])).all()
    next_tokens = [nats_of(first, ragged([A, B, token]))[2] for token in range(12)]
    assert_allclose(np.exp(-np.array(next_tokens)).sum(), 1.0, rtol=1e-5)
    assert ", 20 steps of 512" in first.description


def test_fixed_window_is_float32_whatever_the_policy(tmp_path: Path) -> None:
    splits = {"train": copies(100, 1), "validation": copies(20, 2)}
    prepared = context_of(tmp_path, 12, splits, **{**_SMALL, "fixed_window_max_steps": 5})
    plain = nats_of(fixed_window.fit(prepared), splits["validation"])
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert (nats_of(fixed_window.fit(prepared), splits["validation"]) == plain).all()
    finally:
        keras.config.set_dtype_policy("float32")


def test_fixed_window_keeps_the_weights_that_validation_liked_best(tmp_path: Path) -> None:
    """Training text that says nothing about the validation text: a look in between is the best."""
    splits = {"train": copies(40, 1), "validation": ragged([A, A, A, A, END] * 40)}
    prepared = context_of(tmp_path, 12, splits, **{**_SMALL, "fixed_window_epochs": 500})
    lines: list[str] = []
    model = fixed_window.fit(
        BaselineContext(prepared.config, tmp_path, prepared.manifest, prepared.examples, lines.append)
    )
    perplexities = [float(line.rsplit(" ", 1)[1]) for line in lines]
    assert len(perplexities) >= fixed_window._FEWEST_LOOKS
    reached = np.exp(nats_of(model, splits["validation"]).mean(dtype=np.float64))
    assert reached == pytest.approx(min(perplexities), abs=0.01)


# ---- the folder is the registry


def test_every_file_is_a_baseline_and_an_unknown_one_names_the_nearest() -> None:
    assert set(baselines.names()) >= {"uniform", "unigram", "kneser_ney", "fixed_window"}
    with pytest.raises(ConfigError, match=r"Received: 'kneserney'\. Allowed: .* Nearest: kneser_ney\."):
        baselines.load("kneserney")
