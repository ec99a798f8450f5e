"""Decoding against brute force: every sequence of a small space, scored by hand, under every limit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from seqapps.graphs.choosing import NEVER_WRITTEN, Sampling, best, choose
from seqapps.graphs.decoding import Hypotheses, Limits, Sequences, Step, beam_search, length_penalty, write
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD, SPECIALS

UNITS = tuple(range(len(SPECIALS), len(SPECIALS) + 3))
SIZE = len(SPECIALS) + len(UNITS)
LONGEST = 4
SPACE = 3**0 + 3**1 + 3**2 + 3**3
"""Sequences of at most LONGEST units, `<eos>` included: a beam as wide as this loses none."""


class Chain:
    """A model whose logits follow from all units before: its state is a hash of them."""

    def __init__(self, seed: int, sharpness: float = 2.0) -> None:
        self.table = np.random.default_rng(seed).normal(scale=sharpness, size=(97, SIZE)).astype(np.float32)

    def state(self, row: int) -> int:
        """The state before the first unit: every row has its own."""
        return 13 * row % 97

    def after(self, state: Any, unit: Any) -> Any:
        return (state * 31 + unit) % 97

    def log_p(self, row: int, sequence: tuple[int, ...]) -> float:
        total, state, unit = 0.0, self.state(row), BEGIN
        for following in sequence:
            state = self.after(state, unit)
            logits = self.table[state].astype(np.float64)
            total += logits[following] - np.log(np.exp(logits).sum())
            unit = following
        return total


class Rules(NamedTuple):
    """What a sequence may be, as numbers."""

    longest: int = LONGEST
    shortest: int = 0
    order: int = 0

    def limits(self, rows: int) -> Limits:
        return Limits(tf.fill([rows], self.longest), tf.constant(self.shortest), tf.constant(self.order))

    def following(self, before: tuple[int, ...]) -> list[int]:
        """The units that may come next, `<eos>` where no other may."""
        if len(before) == self.longest - 1:
            return [END]
        units = [unit for unit in UNITS if not self.order or not repeats((*before, unit), self.order)]
        return [*units, *([END] if len(before) >= self.shortest else [])] or [END]

    def sequences(self, before: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
        found = []
        for unit in self.following(before):
            found += [(*before, unit)] if unit == END else self.sequences((*before, unit))
        return found


def repeats(sequence: tuple[int, ...], order: int) -> bool:
    grams = [sequence[at : at + order] for at in range(len(sequence) - order + 1)]
    return len(set(grams)) < len(grams)


RULES = st.builds(Rules, longest=st.integers(1, 6), shortest=st.integers(0, 4), order=st.integers(0, 3))


def states(chain: Chain, rows: list[int]) -> dict[str, Any]:
    return {"hash": tf.constant([chain.state(row) for row in rows], tf.int32)}


def step_of(table: Any) -> Step:
    def step(units: Any, before: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        after = (before["hash"] * 31 + units) % 97
        return tf.gather(table, after), {"hash": after}

    return step


class Beam(NamedTuple):
    """How a search goes."""

    width: Any
    alpha: Any = 0.0
    n_best: Any = 0

    def tensors(self) -> Beam:
        return Beam(
            tf.constant(self.width), tf.constant(self.alpha, tf.float32), tf.constant(self.n_best or self.width)
        )


@tf.function(reduce_retracing=True)
def _search(table: Any, hashes: Any, limits: Limits, beam: Beam) -> Hypotheses:
    start = tf.fill(tf.shape(hashes), BEGIN)
    return beam_search(step_of(table), {"hash": hashes}, start, limits, **beam._asdict())


@tf.function(reduce_retracing=True)
def _write(table: Any, hashes: Any, limits: Limits, sampling: Sampling) -> Sequences:
    return write(step_of(table), {"hash": hashes}, tf.fill(tf.shape(hashes), BEGIN), limits, sampling)


def search(chain: Chain, rules: Rules, rows: list[int], beam: Beam) -> Hypotheses:
    found = _search(tf.constant(chain.table), states(chain, rows)["hash"], rules.limits(len(rows)), beam.tensors())
    return Hypotheses(*(value.numpy() for value in found))


GREEDY = Sampling(0.0, 0, 1)


def written(chain: Chain, rules: Rules, rows: list[int], sampling: Sampling = GREEDY) -> Sequences:
    temperature, *others = sampling
    tensors = Sampling(tf.constant(temperature, tf.float32), *map(tf.constant, others))
    found = _write(tf.constant(chain.table), states(chain, rows)["hash"], rules.limits(len(rows)), tensors)
    return Sequences(*(value.numpy() for value in found))


def sequence(ids: NDArray[np.int32], length: int) -> tuple[int, ...]:
    """The units of one sequence; nothing but padding stands after them."""
    assert_array_equal(ids[length:], PAD)
    return tuple(ids[:length].tolist())


def test_the_limits_of_the_tests_are_those_of_the_text() -> None:
    assert set(range(SIZE)) - set(NEVER_WRITTEN) == {*UNITS, END}
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
    goes_on = [(a, b) for a in UNITS for b in UNITS]
    found = search(chain, Rules(longest=3), [0], Beam(SPACE))
    listed = [sequence(found.ids[0, n], found.lengths[0, n]) for n in range(found.count[0])]
    inside = sum(np.exp(found.log_probabilities[0, listed.index(each)]) for each in ends)
    never = sum(np.exp(chain.log_p(0, (unit,))) for unit in NEVER_WRITTEN)
    never += sum(np.exp(chain.log_p(0, (a, unit))) for a in UNITS for unit in NEVER_WRITTEN)
    assert inside + never + sum(np.exp(chain.log_p(0, each)) for each in goes_on) == pytest.approx(1.0, rel=1e-5)


@given(seed=st.integers(0, 1000), rules=RULES, alpha=st.sampled_from([0.0, 0.6, 2.0]))
@settings(max_examples=60, deadline=None)
def test_a_beam_of_one_is_greedy(seed: int, rules: Rules, alpha: float) -> None:
    chain, rows = Chain(seed), [0, 1, 2, 3]
    found, greedy = search(chain, rules, rows, Beam(1, alpha)), written(chain, rules, rows)
    for row in rows:
        one = sequence(found.ids[row, 0], found.lengths[row, 0])
        assert one == sequence(greedy.ids[row], greedy.lengths[row])
        state, before = chain.state(row), BEGIN
        for place, unit in enumerate(one):
            state = chain.after(state, before)
            assert unit == max(rules.following(one[:place]), key=lambda unit: chain.table[state][unit])
            before = unit
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
    limits = Limits(tf.constant([1, 3, 5]), tf.constant(5), tf.constant(0))
    found = _search(tf.constant(chain.table), states(chain, [0, 1, 2])["hash"], limits, Beam(2).tensors())
    assert found.lengths.numpy()[:, 0].tolist() == [1, 3, 5]


def test_n_best_is_the_head_of_the_list() -> None:
    chain, rows = Chain(9), [0, 1]
    whole, head = search(chain, Rules(), rows, Beam(4, 0.6)), search(chain, Rules(), rows, Beam(4, 0.6, 2))
    assert head.scores.shape == (2, 2)
    assert_array_equal(head.scores, whole.scores[:, :2])
    assert_array_equal(head.ids, whole.ids[:, :2])


def test_a_wider_beam_finds_what_greedy_search_misses() -> None:
    """The most probable first unit leads to a worse sequence."""
    a, b, _ = UNITS
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
    found = written(chain, Rules(longest=2), rows, Sampling(1.0, 0, 1))
    logits = chain.table[chain.after(chain.state(0), BEGIN)].astype(np.float64)
    allowed = np.exp(logits[[*UNITS, END]])
    shares = np.bincount(found.ids[:, 0], minlength=SIZE)[[*UNITS, END]] / len(rows)
    assert_allclose(shares, allowed / allowed.sum(), atol=0.03)
    listed = [sequence(ids, length) for ids, length in zip(found.ids, found.lengths, strict=True)]
    assert_allclose(found.log_probabilities[:20], [chain.log_p(0, each) for each in listed[:20]], rtol=1e-4)


@given(seed=st.integers(0, 1000), rules=RULES, temperature=st.sampled_from([0.5, 1.0, 3.0]))
@settings(max_examples=30, deadline=None)
def test_what_is_drawn_keeps_the_rules(seed: int, rules: Rules, temperature: float) -> None:
    found = written(Chain(seed), rules, [0, 1, 2], Sampling(temperature, 0, seed))
    listed = [sequence(ids, length) for ids, length in zip(found.ids, found.lengths, strict=True)]
    assert {*listed} <= {*rules.sequences()}


def test_equal_seeds_draw_equal_texts_and_one_of_one_is_greedy() -> None:
    chain, rules, rows = Chain(5), Rules(longest=8), list(range(6))
    first, again, other = (written(chain, rules, rows, Sampling(1.5, 0, seed)) for seed in (1, 1, 2))
    assert_array_equal(first.ids, again.ids)
    assert first.ids.shape != other.ids.shape or (first.ids != other.ids).any()
    only, greedy = written(chain, rules, rows, Sampling(1.5, 1, 1)), written(chain, rules, rows)
    assert_array_equal(only.ids, greedy.ids)
    fewer = written(chain, rules, rows[:2], Sampling(1.5, 0, 1))
    assert_array_equal(fewer.ids, first.ids[:2, : fewer.ids.shape[1]])


SIZES = st.sampled_from([5, 1023, 1024, 1031, 1600, 8000])
"""One group at most, no size that divides them, and many groups."""


@given(seed=st.integers(0, 99), size=SIZES, k=st.integers(1, 60), kinds=st.sampled_from([2, 50, 10**6]))
def test_the_best_are_those_of_top_k_of_equal_values_the_first(seed: int, size: int, k: int, kinds: int) -> None:
    drawn = np.random.default_rng(seed).integers(kinds, size=(3, size)).astype(np.float32)
    values = np.where(drawn == 0, -np.inf, drawn)
    expected = tf.math.top_k(values, min(k, size))
    found, indices = best(tf.constant(values), tf.constant(k))
    assert_array_equal(found, expected.values)
    assert_array_equal(indices, expected.indices)


@given(seed=st.integers(0, 99), size=SIZES, temperature=st.floats(0.05, 5.0))
def test_a_draw_inverts_the_cumulative_distribution(seed: int, size: int, temperature: float) -> None:
    logits = np.random.default_rng(seed).normal(scale=3.0, size=(64, size)).astype(np.float32)
    logits[:, ::7] = -np.inf
    sampling = Sampling(tf.constant(temperature, tf.float32), tf.constant(0), tf.constant(seed))
    drawn = choose(tf.constant(logits), tf.constant(2), sampling).numpy()
    uniform = tf.random.stateless_uniform([64, 1], seed=[seed, 2]).numpy()[:, 0]
    weights = np.exp((logits.astype(np.float64) - logits.max(axis=1, keepdims=True)) / temperature)
    cumulative = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    rows = np.arange(64)
    assert (weights[rows, drawn] > 0.0).all()
    assert (cumulative[rows, drawn] >= uniform - 1e-4).all()
    assert (np.where(drawn > 0, cumulative[rows, drawn - 1], 0.0) <= uniform + 1e-4).all()
