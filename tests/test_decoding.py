"""Decoding against brute force: every sequence of a small space, scored by hand, under every limit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from seqapps.inference.choosing import NEVER_WRITTEN, Sampling, _uniform, best, choose, keys_of
from seqapps.inference.decoding import Hypotheses, Limits, Sequences, Step, beam_search, length_penalty, write
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD, SPECIALS

TOKENS = tuple(range(len(SPECIALS), len(SPECIALS) + 3))
SIZE = len(SPECIALS) + len(TOKENS)
LONGEST = 4
SPACE = 3**0 + 3**1 + 3**2 + 3**3
"""Sequences of at most LONGEST tokens, `<eos>` included: a beam as wide as this loses none."""


class Chain:
    """A model whose logits follow from all tokens before: its state is a hash of them."""

    def __init__(self, seed: int, sharpness: float = 2.0) -> None:
        self.table = np.random.default_rng(seed).normal(scale=sharpness, size=(97, SIZE)).astype(np.float32)

    def state(self, row: int) -> int:
        """The state before the first token: every row has its own."""
        return 13 * row % 97

    def after(self, state: Any, token: Any) -> Any:
        return (state * 31 + token) % 97

    def log_p(self, row: int, sequence: tuple[int, ...]) -> float:
        total, state, token = 0.0, self.state(row), BEGIN
        for following in sequence:
            state = self.after(state, token)
            logits = self.table[state].astype(np.float64)
            total += logits[following] - np.log(np.exp(logits).sum())
            token = following
        return total


class Rules(NamedTuple):
    """What a sequence may be, as numbers."""

    longest: int = LONGEST
    shortest: int = 0
    order: int = 0

    def limits(self, rows: int) -> Limits:
        return Limits(*(tf.fill([rows], limit) for limit in self))

    def following(self, before: tuple[int, ...]) -> list[int]:
        """The tokens that may come next, `<eos>` where no other may."""
        if len(before) == self.longest - 1:
            return [END]
        tokens = [token for token in TOKENS if not self.order or not repeats((*before, token), self.order)]
        return [*tokens, *([END] if len(before) >= self.shortest else [])] or [END]

    def sequences(self, before: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
        found = []
        for token in self.following(before):
            found += [(*before, token)] if token == END else self.sequences((*before, token))
        return found


def repeats(sequence: tuple[int, ...], order: int) -> bool:
    grams = [sequence[at : at + order] for at in range(len(sequence) - order + 1)]
    return len(set(grams)) < len(grams)


RULES = st.builds(Rules, longest=st.integers(1, 6), shortest=st.integers(0, 4), order=st.integers(0, 3))


def states(chain: Chain, rows: list[int]) -> dict[str, Any]:
    return {"hash": tf.constant([chain.state(row) for row in rows], tf.int32)}


def step_of(table: Any) -> Step:
    def step(tokens: Any, before: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        after = (before["hash"] * 31 + tokens) % 97
        return tf.gather(table, after), {"hash": after}

    return step


class Beam(NamedTuple):
    """How a search goes."""

    width: Any
    alpha: Any = 0.0
    n_best: Any = 0

    def tensors(self, rows: int) -> Beam:
        alpha, n_best = np.float32(self.alpha), np.int32(self.n_best if np.any(self.n_best) else self.width)
        return Beam(*(tf.constant(np.resize(value, rows)) for value in (np.int32(self.width), alpha, n_best)))


@tf.function(reduce_retracing=True)
def _search(table: Any, hashes: Any, limits: Limits, beam: Beam) -> Hypotheses:
    start = tf.fill(tf.shape(hashes), BEGIN)
    return beam_search(step_of(table), {"hash": hashes}, start, limits, **beam._asdict())


@tf.function(reduce_retracing=True)
def _write(table: Any, hashes: Any, limits: Limits, sampling: Sampling) -> Sequences:
    return write(step_of(table), {"hash": hashes}, tf.fill(tf.shape(hashes), BEGIN), limits, sampling)


def search(chain: Chain, rules: Rules, rows: list[int], beam: Beam) -> Hypotheses:
    found = _search(
        tf.constant(chain.table), states(chain, rows)["hash"], rules.limits(len(rows)), beam.tensors(len(rows))
    )
    return Hypotheses(*(value.numpy() for value in found))


GREEDY = (0.0, 0, 1)


def sampling_of(rows: int, temperature: float, top_k: int, seed: int) -> Sampling:
    """Returns the same for every row, whose seeds follow one another."""
    keys = keys_of(seed + tf.range(rows, dtype=tf.int64))
    return Sampling(tf.fill([rows], np.float32(temperature)), tf.fill([rows], top_k), keys)


def written(chain: Chain, rules: Rules, rows: list[int], sampling: tuple[float, int, int] = GREEDY) -> Sequences:
    tensors = sampling_of(len(rows), *sampling)
    found = _write(tf.constant(chain.table), states(chain, rows)["hash"], rules.limits(len(rows)), tensors)
    return Sequences(*(value.numpy() for value in found))


def sequence(ids: NDArray[np.int32], length: int) -> tuple[int, ...]:
    """The tokens of one sequence; nothing but padding stands after them."""
    assert_array_equal(ids[length:], PAD)
    return tuple(ids[:length].tolist())


def test_the_limits_of_the_tests_are_those_of_the_text() -> None:
    assert set(range(SIZE)) - set(NEVER_WRITTEN) == {*TOKENS, END}
    assert len(Rules().sequences()) == SPACE


# ---- beam search


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
@pytest.mark.parametrize(
    "rules", [Rules(), Rules(shortest=2), Rules(order=1), Rules(order=2), Rules(longest=1)], ids=str
)
def test_a_beam_as_wide_as_the_space_is_an_exhaustive_search(rules: Rules, alpha: float) -> None:
    chain, rows = Chain(3), [0, 1, 2]
    found = search(chain, rules, rows, Beam(SPACE, alpha))
    for row in rows:
        expected = {each: chain.log_p(row, each) for each in rules.sequences()}
        scores = {each: log_p / ((5.0 + len(each)) / 6.0) ** alpha for each, log_p in expected.items()}
        count = found.count[row]
        listed = [sequence(found.ids[row, n], found.lengths[row, n]) for n in range(count)]
        assert listed == sorted(scores, key=lambda each: -scores[each])
        assert_allclose(found.log_probabilities[row, :count], [expected[each] for each in listed], rtol=1e-5)
        assert_allclose(found.scores[row, :count], [scores[each] for each in listed], rtol=1e-5)
        assert not found.ids[row, count:].any() and not found.scores[row, count:].any()


def test_the_whole_space_has_probability_one() -> None:
    """Without a limit on the length: what ends within it, and the share of what does not."""
    chain = Chain(1)
    ends = [each for each in Rules(longest=3).sequences() if len(each) < 3]
    goes_on = [(a, b) for a in TOKENS for b in TOKENS]
    found = search(chain, Rules(longest=3), [0], Beam(SPACE))
    listed = [sequence(found.ids[0, n], found.lengths[0, n]) for n in range(found.count[0])]
    inside = sum(np.exp(found.log_probabilities[0, listed.index(each)]) for each in ends)
    never = sum(np.exp(chain.log_p(0, (token,))) for token in NEVER_WRITTEN)
    never += sum(np.exp(chain.log_p(0, (a, token))) for a in TOKENS for token in NEVER_WRITTEN)
    assert inside + never + sum(np.exp(chain.log_p(0, each)) for each in goes_on) == pytest.approx(1.0, rel=1e-5)


@given(seed=st.integers(0, 1000), rules=RULES, alpha=st.sampled_from([0.0, 0.6, 2.0]))
@example(seed=50, rules=Rules(longest=3), alpha=2.0)  # a longer hypothesis would have the better score
@settings(max_examples=60, deadline=None)
def test_a_beam_of_one_is_greedy(seed: int, rules: Rules, alpha: float) -> None:
    chain, rows = Chain(seed), [0, 1, 2, 3]
    found, greedy = search(chain, rules, rows, Beam(1, alpha)), written(chain, rules, rows)
    for row in rows:
        one = sequence(found.ids[row, 0], found.lengths[row, 0])
        assert one == sequence(greedy.ids[row], greedy.lengths[row])
        state, before = chain.state(row), BEGIN
        for place, token in enumerate(one):
            state = chain.after(state, before)
            assert token == max(rules.following(one[:place]), key=lambda token: chain.table[state][token])
            before = token
    assert_allclose(found.log_probabilities[:, 0], greedy.log_probabilities, rtol=1e-5)


@given(seed=st.integers(0, 1000), rules=RULES, width=st.integers(1, 5), alpha=st.sampled_from([0.0, 1.0]))
@settings(max_examples=60, deadline=None)
def test_hypotheses_keep_the_rules_and_stand_in_order(seed: int, rules: Rules, width: int, alpha: float) -> None:
    chain, rows = Chain(seed), [0, 5]
    found = search(chain, rules, rows, Beam(width, alpha))
    for row, number in enumerate(rows):
        count = found.count[row]
        assert 1 <= count <= width
        listed = [sequence(found.ids[row, n], found.lengths[row, n]) for n in range(count)]
        assert len(set(listed)) == count and {*listed} <= {*rules.sequences()}
        assert_allclose(found.log_probabilities[row, :count], [chain.log_p(number, each) for each in listed], rtol=1e-4)
        assert all(before >= after for before, after in pairwise(found.scores[row, :count]))


def never_closing(chain: Chain, rules: Rules, row: int, beam: Beam) -> tuple[list[tuple[float, Any]], set[Any]]:
    """The same search written in plain Python that goes on until no hypothesis does, however long that takes; one of
    width 1, which is greedy search, until its first end.

    Returns the scores and sequences that it keeps, the best first; and all beginnings that it ever held.
    """
    open_, ended, held = [((), 0.0)], list[tuple[float, Any]](), {()}
    while open_ and not (beam.width == 1 and ended):
        grown = [
            ((*each, token), chain.log_p(row, (*each, token))) for each, _ in open_ for token in rules.following(each)
        ]
        grown.sort(key=lambda found: -found[1])
        for each, log_p in grown[: beam.width]:
            if each[-1] == END:
                ended.append((log_p / ((5.0 + len(each)) / 6.0) ** beam.alpha, each))
                held.add(each)
        open_ = [found for found in grown[: 2 * beam.width] if found[0][-1] != END][: beam.width]
        held |= {each for each, _ in open_}
    return sorted(ended, key=lambda found: -found[0])[: beam.width], held


SEARCHES = st.builds(Beam, width=st.integers(1, 6), alpha=st.sampled_from([0.0, 0.6, 2.0]), n_best=st.just(0))


@given(seed=st.integers(0, 1000), rules=RULES, beam=SEARCHES, sharpness=st.sampled_from([0.5, 2.0, 5.0]))
@settings(max_examples=60, deadline=None)
def test_a_row_that_is_closed_would_have_found_nothing_better(
    seed: int, rules: Rules, beam: Beam, sharpness: float
) -> None:
    chain, rows = Chain(seed, sharpness), [0, 1, 2]
    found, greedy = search(chain, rules, rows, beam), written(chain, rules, rows)
    for row in rows:
        expected, held = never_closing(chain, rules, row, beam)
        assert_allclose(found.scores[row, : found.count[row]], [score for score, _ in expected], rtol=1e-4, atol=1e-5)
        # No row is below greedy search, unless its sequence lost its place in the beam to more probable ones.
        one = sequence(greedy.ids[row], greedy.lengths[row])
        if all(one[:place] in held for place in range(len(one) + 1)):
            least = greedy.log_probabilities[row] / ((5.0 + len(one)) / 6.0) ** beam.alpha
            assert found.scores[row, 0] >= least - 1e-4


def test_a_row_goes_on_while_an_open_hypothesis_is_better_than_those_that_ended() -> None:
    """K poor hypotheses end before the good one does."""
    a, b, c = TOKENS
    chain = Chain(0)
    chain.table = np.full((97, SIZE), -30.0, np.float32)
    state = chain.state(0)
    for before, token in ((BEGIN, a), (a, b), (b, a), (a, c)):
        state = chain.after(state, before)
        chain.table[state, [token, END]] = np.log([0.99, 0.01])
    chain.table[chain.after(state, c), END] = 0.0
    found = search(chain, Rules(longest=8), [0], Beam(2, 0.6))
    assert sequence(found.ids[0, 0], found.lengths[0, 0]) == (a, b, a, c, END)
    assert found.log_probabilities[0, 0] == pytest.approx(4 * np.log(0.99), rel=1e-3)


def test_every_row_has_its_own_search() -> None:
    chain, rows = Chain(8), [0, 1, 2, 3]
    limits = Limits(tf.constant([6, 4, 5, 6]), tf.constant([1, 0, 2, 0]), tf.constant([2, 0, 0, 1]))
    beams = Beam(np.int32([3, 1, 5, 2]), np.float32([0.6, 0.0, 1.0, 2.0]), np.int32([2, 1, 3, 2]))
    table, hashes = tf.constant(chain.table), states(chain, rows)["hash"]
    together = Hypotheses(*(value.numpy() for value in _search(table, hashes, limits, beams.tensors(4))))
    for row in rows:
        own = slice(row, row + 1)
        of_row = Beam(*(value[own] for value in beams)).tensors(1)
        found = _search(table, hashes[own], Limits(*(limit[own] for limit in limits)), of_row)
        alone = Hypotheses(*(value.numpy() for value in found))
        n, steps = alone.ids.shape[1:]
        assert_array_equal(together.ids[row, :n, :steps], alone.ids[0])
        assert not together.ids[row, n:].any() and not together.ids[row, :, steps:].any()
        assert_allclose(together.scores[row, :n], alone.scores[0], rtol=1e-6)
        assert together.count[row] == alone.count[0] <= beams.n_best[row]


def test_rows_do_not_see_each_other() -> None:
    chain, rules, rows = Chain(8), Rules(longest=6, shortest=1, order=2), [0, 1, 2, 3]
    together = search(chain, rules, rows, Beam(3, 0.6))
    for row in rows:
        alone = search(chain, rules, [row], Beam(3, 0.6))
        steps = alone.ids.shape[2]
        assert_array_equal(together.ids[row, :, :steps], alone.ids[0])
        assert_allclose(together.scores[row], alone.scores[0], rtol=1e-6)


def test_each_row_has_its_own_longest() -> None:
    chain = Chain(4)
    limits = Limits(tf.constant([1, 3, 5]), tf.fill([3], 5), tf.fill([3], 0))
    found = _search(tf.constant(chain.table), states(chain, [0, 1, 2])["hash"], limits, Beam(2).tensors(3))
    assert found.lengths.numpy()[:, 0].tolist() == [1, 3, 5]


def test_n_best_is_the_head_of_the_list() -> None:
    chain, rows = Chain(9), [0, 1]
    whole, head = search(chain, Rules(), rows, Beam(4, 0.6)), search(chain, Rules(), rows, Beam(4, 0.6, 2))
    assert head.scores.shape == (2, 2)
    assert_array_equal(head.scores, whole.scores[:, :2])
    assert_array_equal(head.ids, whole.ids[:, :2])


def test_a_wider_beam_finds_what_greedy_search_misses() -> None:
    """The most probable first token leads to a worse sequence."""
    a, b, _ = TOKENS
    table = np.full((97, SIZE), -30.0, np.float32)
    chain = Chain(0)
    chain.table = table
    first = chain.after(chain.state(0), BEGIN)
    table[first, [a, b]] = np.log([0.6, 0.4])
    table[chain.after(first, a), [a, b, END]] = np.log([0.35, 0.35, 0.3])
    table[chain.after(first, b), END] = 0.0
    greedy = search(chain, Rules(), [0], Beam(1))
    wide = search(chain, Rules(), [0], Beam(2))
    assert greedy.ids[0, 0, 0] == a
    assert sequence(wide.ids[0, 0], wide.lengths[0, 0]) == (b, END)
    assert wide.log_probabilities[0, 0] == pytest.approx(np.log(0.4), rel=1e-4)


def test_the_length_penalty_prefers_longer_sequences_the_larger_it_is() -> None:
    assert_allclose(length_penalty(tf.constant([1, 7, 13]), 1.0), [1.0, 2.0, 3.0])
    assert_allclose(length_penalty(tf.constant([1, 7, 19]), 0.5), [1.0, 2.0**0.5, 2.0])
    assert_allclose(length_penalty(tf.constant([1, 7, 13]), 0.0), 1.0)
    lengths = [
        float(np.mean(search(Chain(2, sharpness=0.3), Rules(), [0, 1, 2], Beam(SPACE, alpha)).lengths[:, 0]))
        for alpha in (0.0, 1.0, 8.0)
    ]
    assert lengths[0] < lengths[2] and lengths == sorted(lengths)


# ---- sampling


def test_draws_follow_the_probabilities() -> None:
    chain, rows = Chain(6, sharpness=1.0), [0] * 4_000
    found = written(chain, Rules(longest=2), rows, (1.0, 0, 1))
    logits = chain.table[chain.after(chain.state(0), BEGIN)].astype(np.float64)
    allowed = np.exp(logits[[*TOKENS, END]])
    shares = np.bincount(found.ids[:, 0], minlength=SIZE)[[*TOKENS, END]] / len(rows)
    assert_allclose(shares, allowed / allowed.sum(), atol=0.03)
    listed = [sequence(ids, length) for ids, length in zip(found.ids, found.lengths, strict=True)]
    assert_allclose(found.log_probabilities[:20], [chain.log_p(0, each) for each in listed[:20]], rtol=1e-4)


@given(seed=st.integers(0, 1000), rules=RULES, temperature=st.sampled_from([0.5, 1.0, 3.0]))
@settings(max_examples=30, deadline=None)
def test_what_is_drawn_keeps_the_rules(seed: int, rules: Rules, temperature: float) -> None:
    found = written(Chain(seed), rules, [0, 1, 2], (temperature, 0, seed))
    listed = [sequence(ids, length) for ids, length in zip(found.ids, found.lengths, strict=True)]
    assert {*listed} <= {*rules.sequences()}


def test_equal_seeds_draw_equal_texts_and_one_of_one_is_greedy() -> None:
    chain, rules, rows = Chain(5), Rules(longest=8), list(range(6))
    first, again, other = (written(chain, rules, rows, (1.5, 0, seed)) for seed in (1, 1, 2))
    assert_array_equal(first.ids, again.ids)
    assert first.ids.shape != other.ids.shape or (first.ids != other.ids).any()
    only, greedy = written(chain, rules, rows, (1.5, 1, 1)), written(chain, rules, rows)
    assert_array_equal(only.ids, greedy.ids)
    fewer = written(chain, rules, rows[:2], (1.5, 0, 1))
    assert_array_equal(fewer.ids, first.ids[:2, : fewer.ids.shape[1]])


SIZES = st.sampled_from([5, 1023, 1024, 1031, 1600, 8000])
"""One group at most, no size that divides them, and many groups."""


@given(seed=st.integers(0, 99), size=SIZES, k=st.integers(1, 60), kinds=st.sampled_from([2, 50, 10**6]))
@settings(deadline=None)
def test_the_best_are_those_of_top_k_of_equal_values_the_first(seed: int, size: int, k: int, kinds: int) -> None:
    drawn = np.random.default_rng(seed).integers(kinds, size=(3, size)).astype(np.float32)
    values = np.where(drawn == 0, -np.inf, drawn)
    expected = tf.math.top_k(values, min(k, size))
    found, indices = best(tf.constant(values), tf.constant(k))
    assert_array_equal(found, expected.values)
    assert_array_equal(indices, expected.indices)


@given(seed=st.integers(0, 99), size=SIZES, temperature=st.floats(0.05, 5.0))
@settings(deadline=None)
def test_a_draw_inverts_the_cumulative_distribution(seed: int, size: int, temperature: float) -> None:
    logits = np.random.default_rng(seed).normal(scale=3.0, size=(64, size)).astype(np.float32)
    logits[:, ::7] = -np.inf
    sampling = sampling_of(64, temperature, 0, seed)
    drawn = choose(tf.constant(logits), tf.constant(2), sampling).numpy()
    uniform = _uniform(sampling.key, tf.constant(2)).numpy()
    weights = np.exp((logits.astype(np.float64) - logits.max(axis=1, keepdims=True)) / temperature)
    cumulative = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    rows = np.arange(64)
    assert (weights[rows, drawn] > 0.0).all()
    assert (cumulative[rows, drawn] >= uniform - 1e-4).all()
    assert (np.where(drawn > 0, cumulative[rows, drawn - 1], 0.0) <= uniform + 1e-4).all()
