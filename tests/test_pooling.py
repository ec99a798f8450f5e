"""Laws of pooling: padding never counts, values by hand, layers that survive being saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from seqapps.architectures import classifier
from seqapps.layers.pooling import POOLINGS, AttentionPooling, last_state, masked_max, masked_mean
from seqapps.layers.word_dropout import WordDropout

X = np.array([[[1.0, -4.0], [3.0, -2.0], [9.0, 9.0]], [[-5.0, 1.0], [9.0, 9.0], [9.0, 9.0]]], np.float32)
MASK = np.array([[True, True, False], [True, False, False]])


def test_mean_and_maximum_by_hand() -> None:
    assert_allclose(masked_mean(X, MASK), [[2.0, -3.0], [-5.0, 1.0]])
    assert_allclose(masked_max(X, MASK), [[3.0, -2.0], [-5.0, 1.0]])


@pytest.mark.parametrize("pool", [masked_mean, masked_max, AttentionPooling(3)])
def test_a_row_of_padding_gives_zeros(pool: Any) -> None:
    found = pool(keras.ops.convert_to_tensor(X), keras.ops.zeros((2, 3), "bool"))
    for part in found if isinstance(found, tuple) else (found,):
        assert not np.asarray(part).any()


def test_last_state_puts_the_directions_side_by_side() -> None:
    h, c, back = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32), np.full((2, 3), 2.0, np.float32)
    assert_allclose(last_state([h, c], 2), h)
    assert_allclose(last_state([h, back], 1), np.concatenate([h, back], axis=1))
    assert_allclose(last_state([h, c, back, c], 2), np.concatenate([h, back], axis=1))


def test_attention_is_the_formula() -> None:
    layer = AttentionPooling(4)
    pooled, weights = layer(X, MASK)
    kernel, bias, context = (np.asarray(weight, np.float64) for weight in layer.weights)
    for row, length in enumerate([2, 1]):
        scores = np.exp(np.tanh(X[row, :length] @ kernel + bias) @ context)[:, 0]
        expected = scores / scores.sum()
        assert_allclose(weights[row, :length], expected, rtol=1e-5)
        assert_allclose(weights[row, length:], 0.0)
        assert_allclose(pooled[row], expected @ X[row, :length], rtol=1e-5)


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), more=st.integers(0, 4), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_padding_changes_nothing(lengths: list[int], more: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    steps = max(lengths) + more
    x = random.normal(size=(len(lengths), steps, 3)).astype(np.float32)
    mask = np.arange(steps) < np.array(lengths)[:, None]
    attention = AttentionPooling(2)
    for pool in (masked_mean, masked_max, lambda *pair: attention(*pair)[0]):
        together = np.asarray(pool(x, mask))
        for row, length in enumerate(lengths):
            alone = np.asarray(pool(x[row : row + 1, :length], np.ones((1, length), bool)))
            assert_allclose(together[row], alone[0], atol=1e-6)


def small(**fields: Any) -> keras.Model:
    config = classifier.Config(units=(4, 3), embedding=5, **fields)
    return classifier.build(config, vocabulary_size=9, classes=3)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_classifier_survives_being_saved(pooling: str, tmp_path: Path) -> None:
    model = small(pooling=pooling, cell="lstm", word_dropout=0.2, embedding_dropout=0.1, dropout=0.1)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    tokens = {"tokens": np.array([[4, 5, 6, 3], [7, 3, 0, 0]], np.int32)}
    for name, value in model(tokens).items():
        assert_allclose(again(tokens)[name], value, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", ["simple_rnn", "lstm", "gru"])
def test_every_weight_of_a_classifier_has_a_gradient(pooling: str, cell: str) -> None:
    import tensorflow as tf

    model = small(pooling=pooling, cell=cell)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model({"tokens": tf.constant([[4, 5, 6, 3], [7, 3, 0, 0]])})["logits"][:, 0] ** 2)
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_variables])
    names = [weight.path for weight in model.trainable_variables]
    assert [name for name, gradient in zip(names, gradients, strict=True) if gradient is None] == []


def test_word_dropout_hides_words_in_training_alone() -> None:
    ids = np.tile(np.array([[4, 5, 2, 6, 3, 0]], np.int32), (2000, 1))
    layer = WordDropout(0.3, seed=1)
    assert (np.asarray(layer(ids)) == ids).all()
    dropped = np.asarray(layer(ids, training=True))
    changed = dropped != ids
    assert set(dropped[changed].tolist()) == {1}
    assert not changed[:, [2, 4, 5]].any()  # <bos>, <eos> and padding stay
    assert_allclose(changed[:, [0, 1, 3]].mean(), 0.3, atol=0.03)


def test_an_embedding_that_is_not_trained_stays() -> None:
    model = small(train_embedding=False)
    assert not [weight.path for weight in model.trainable_variables if "embedding" in weight.path]
