"""The conditional random field against brute force over all sequences of tags, and against numerical gradients."""

from __future__ import annotations

from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from seqapps.layers import crf
from seqapps.preprocessing.spans import TagSet, tag_names, valid

K, T = 3, 4
LENGTHS = [4, 1, 3, 2]
MASK = tf.sequence_mask(LENGTHS, T)


def example(seed: int = 0, scale: float = 2.0, size: int = K) -> tuple[Any, Any]:
    """Random logits, with nonsense on padding, and transitions."""
    random = np.random.default_rng(seed)
    logits = scale * random.normal(size=(len(LENGTHS), T, size))
    transitions = scale * random.normal(size=(size + 1, size + 1))
    return logits.astype(np.float32), transitions.astype(np.float32)


def score(logits: Any, path: tuple[int, ...], transitions: Any) -> float:
    """Score of a sequence of tags, by the definition."""
    border = logits.shape[-1]
    total = sum(float(logits[step, tag]) for step, tag in enumerate(path))
    return total + sum(float(transitions[pair]) for pair in zip((border, *path), (*path, border), strict=True))


def paths(length: int, size: int = K) -> list[tuple[int, ...]]:
    return list(product(range(size), repeat=length))


def test_log_partition_sums_over_all_paths() -> None:
    logits, transitions = example()
    expected = [
        np.logaddexp.reduce([score(logits[row], path, transitions) for path in paths(length)])
        for row, length in enumerate(LENGTHS)
    ]
    assert_allclose(crf.log_partition(tf.constant(logits), MASK, tf.constant(transitions)), expected, rtol=1e-6)


def test_path_score_is_the_definition() -> None:
    logits, transitions = example(1)
    tags = np.random.default_rng(2).integers(0, K, (len(LENGTHS), T))
    expected = [score(logits[row], tuple(tags[row, :length]), transitions) for row, length in enumerate(LENGTHS)]
    assert_allclose(crf.path_score(tf.constant(logits), tags, MASK, tf.constant(transitions)), expected, rtol=1e-5)


def test_probabilities_of_all_paths_sum_to_one() -> None:
    logits, transitions = example(3)
    for row, length in enumerate(LENGTHS):
        every = np.array([(*path, *[0] * (T - length)) for path in paths(length)])
        repeated = tf.repeat(logits[row : row + 1], len(every), axis=0)
        mask = tf.repeat(MASK[row : row + 1], len(every), axis=0)
        nats = tf.reduce_sum(crf.negative_log_likelihood(repeated, every, mask, tf.constant(transitions)), axis=1)
        assert_allclose(np.exp(-nats.numpy()).sum(), 1.0, rtol=1e-5)


def test_viterbi_finds_the_best_path() -> None:
    for seed in range(5):
        logits, transitions = example(seed)
        tags, best = crf.viterbi(tf.constant(logits), MASK, tf.constant(transitions))
        for row, length in enumerate(LENGTHS):
            expected = max(paths(length), key=lambda path, row=row: score(logits[row], path, transitions))
            assert tuple(tags.numpy()[row]) == (*expected, *[0] * (T - length))
            assert_allclose(best[row], score(logits[row], expected, transitions), rtol=1e-5)


@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "BIOES"])
def test_forbidden_transitions_have_no_probability(scheme: Any) -> None:
    tag_set, names = TagSet(scheme, 2), tag_names(["a", "b"], scheme)
    size = tag_set.size
    logits, _ = example(4, 3.0, size)
    layer = crf.Transitions(tag_set.allowed())
    transitions = layer(tf.constant(logits))[0]
    tags, _ = crf.viterbi(tf.constant(logits), MASK, transitions)
    partition = crf.log_partition(tf.constant(logits), MASK, transitions)
    for row, length in enumerate(LENGTHS):
        good = [path for path in paths(length, size) if valid([names[tag] for tag in path], scheme)]
        assert 0 < len(good) < size**length
        sums = [sum(float(logits[row, step, tag]) for step, tag in enumerate(path)) for path in good]
        assert_allclose(partition[row], np.logaddexp.reduce(sums), rtol=1e-5)
        assert tuple(tags.numpy()[row, :length]) == good[int(np.argmax(sums))]


def test_gradient_is_the_numerical_one() -> None:
    logits, transitions = (tf.constant(array) for array in example(5, 1.0))
    weights = tf.constant([1.0, -2.0, 0.5, 3.0])

    def value(logits: Any, transitions: Any) -> Any:
        return tf.reduce_sum(weights * crf.log_partition(logits, MASK, transitions))

    theoretical, numerical = tf.test.compute_gradient(value, [logits, transitions], delta=1e-2)
    for one, other in zip(theoretical, numerical, strict=True):
        assert_allclose(one, other, atol=5e-3)


def test_gradient_is_that_of_automatic_differentiation() -> None:
    logits, transitions = (tf.constant(array) for array in example(6))
    with tf.GradientTape() as tape:
        tape.watch([logits, transitions])
        total = tf.reduce_sum(crf.log_partition(logits, MASK, transitions))
    by_hand = tape.gradient(total, [logits, transitions])
    with tf.GradientTape() as tape:
        tape.watch([logits, transitions])
        total = tf.constant(0.0)
        for row, length in enumerate(LENGTHS):
            every = tf.constant(paths(length))
            border = tf.fill([len(every), 1], K)
            pairs = tf.stack([tf.concat([border, every], 1), tf.concat([every, border], 1)], axis=-1)
            emitted = tf.gather(tf.repeat(logits[row : row + 1, :length], len(every), axis=0), every, batch_dims=2)
            sums = tf.reduce_sum(emitted, 1) + tf.reduce_sum(tf.gather_nd(transitions, pairs), 1)
            total += tf.reduce_logsumexp(sums)
    for one, other in zip(by_hand, tape.gradient(total, [logits, transitions]), strict=True):
        assert_allclose(one, other, atol=1e-5)


def test_padding_changes_nothing() -> None:
    logits, transitions = example(7)
    tags = np.random.default_rng(8).integers(0, K, (len(LENGTHS), T))
    longer = np.pad(logits, [(0, 0), (0, 3), (0, 0)], constant_values=9.0)
    more = np.pad(tags, [(0, 0), (0, 3)], constant_values=2)
    mask, transitions = tf.sequence_mask(LENGTHS, T + 3), tf.constant(transitions)
    short = crf.negative_log_likelihood(tf.constant(logits), tags, MASK, transitions)
    long = crf.negative_log_likelihood(tf.constant(longer), more, mask, transitions)
    assert_allclose(long[:, :T], short, rtol=1e-6)
    assert_array_equal(long[:, T:], np.zeros((len(LENGTHS), 3)))
    assert_array_equal(short.numpy() != 0, MASK)
    found, score = crf.viterbi(tf.constant(logits), MASK, transitions)
    found_long, score_long = crf.viterbi(tf.constant(longer), mask, transitions)
    assert_array_equal(found_long[:, :T], found)
    assert_allclose(score_long, score)


def test_a_row_of_padding_alone_is_finite_and_free() -> None:
    logits, transitions = (tf.constant(array) for array in example(9))
    mask, tags = tf.zeros([len(LENGTHS), T], tf.bool), tf.zeros([len(LENGTHS), T], tf.int32)
    assert_array_equal(crf.negative_log_likelihood(logits, tags, mask, transitions), np.zeros((len(LENGTHS), T)))
    assert_array_equal(crf.viterbi(logits, mask, transitions)[0], tags)


@pytest.mark.parametrize("scale", [1e3, 1e4, 1e5])
def test_extreme_scores_stay_finite_and_right(scale: float) -> None:
    tag_set = TagSet("BIOES", 1)
    logits, _ = (tf.constant(array) for array in example(10, scale, tag_set.size))
    layer = crf.Transitions(tag_set.allowed())
    with tf.GradientTape() as tape:
        tape.watch(logits)
        transitions = layer(logits)[0]
        partition = crf.log_partition(logits, MASK, transitions)
    best = crf.viterbi(logits, MASK, transitions)[1]
    gradients = tape.gradient(partition, [logits, layer.scores])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert_allclose(partition, best, rtol=1e-6)  # one path outweighs all others
    real = tf.cast(MASK, tf.float32)
    assert_allclose(tf.reduce_sum(gradients[0], axis=2), real, atol=1e-5)  # a step's probabilities sum to one


def test_one_graph_for_every_length() -> None:
    traced = 0

    @tf.function(input_signature=[tf.TensorSpec([None, None, K]), tf.TensorSpec([None, None], tf.bool)])
    def both(logits: Any, mask: Any) -> Any:
        nonlocal traced
        traced += 1
        transitions = tf.zeros([K + 1, K + 1])
        return crf.log_partition(logits, mask, transitions), crf.viterbi(logits, mask, transitions)[0]

    for rows, steps in ((1, 1), (3, 7), (2, 1)):
        partition, tags = both(tf.zeros([rows, steps, K]), tf.ones([rows, steps], tf.bool))
        assert_allclose(partition, np.full(rows, steps * np.log(K)), rtol=1e-5)
        assert tags.shape == (rows, steps)
    assert traced == 1


def test_the_layer_is_made_again_from_its_configuration() -> None:
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, crf.Transitions(TagSet("BIO", 1).allowed(), name="transitions")(inputs))
    model.set_weights([np.arange(16.0).reshape(4, 4)])
    again = keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    logits = np.zeros((2, 5, 3), np.float32)
    assert_array_equal(model(logits), again(logits))
    forbidden = crf.FORBIDDEN
    row = [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0], [8.0, forbidden, 10.0, 11.0], [12.0, forbidden, 14.0, 15.0]]
    assert_array_equal(model(logits)[0], row)


def test_a_tagger_under_mixed_precision_scores_in_float32() -> None:
    from seqapps.architectures.tagger import Config, build

    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        config = Config(units=(4,), embedding=4, characters="none", shapes=0, head="crf")
        model = build(config, sizes=(9, 1, 1), allowed=TagSet("BIO", 1).allowed())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    model.get_layer("transitions").set_weights([np.full((4, 4), 1 + 2**-12)])  # rounds to 1 in bfloat16
    found = model({"words": np.array([[4, 5, 6], [7, 0, 0]])})
    assert found["transitions"].dtype == tf.float32
    assert found["transitions"][0, 0, 1] == 1 + 2**-12
    tags = np.array([[0, 1, 2], [1, 0, 0]])
    nats = crf.negative_log_likelihood(found["logits"], tags, found["mask"], found["transitions"][0])
    best, score = crf.viterbi(found["logits"], found["mask"], found["transitions"][0])
    assert np.isfinite(nats).all() and np.isfinite(score).all()
    assert_array_equal(best[1, 1:], [0, 0])
