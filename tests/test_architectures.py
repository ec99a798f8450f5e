"""Laws of the models that a language model is made of, for every cell."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from seqapps.architectures import stacked
from seqapps.batching.streams import StreamBatches
from seqapps.config import TrainingConfig
from seqapps.layers.states import state_sizes, zero_states
from seqapps.optimization.losses import PERPLEXITY, cross_entropy
from seqapps.optimization.optimizers import make_optimizer
from seqapps.optimization.steps import TrainingStep, ValidationStep

VOCABULARY = 11
CELLS = ("simple_rnn", "lstm", "gru")


def build(**settings: Any) -> keras.Model:
    keras.utils.set_random_seed(3)
    config = stacked.Config(**{"units": (7, 5), "embedding": 6, **settings})
    return stacked.build(config, vocabulary_size=VOCABULARY, carry=True)


def text(count: int = 48) -> Any:
    return np.random.default_rng(2).integers(4, VOCABULARY, count).astype(np.int32)


def forward(model: keras.Model, tokens: Any, states: Any = None, training: bool = False) -> Any:
    tokens = tf.constant(tokens)
    return model({"tokens": tokens, **(states or zero_states(model, tokens.shape[0]))}, training=training)


def nats(model: keras.Model, x: Any, y: Any, weights: Any) -> float:
    """Weighted mean loss of one batch."""
    losses = cross_entropy(forward(model, x)["logits"], tf.constant(y)) * tf.constant(weights)
    return float(tf.reduce_sum(losses) / tf.reduce_sum(weights))


def a_step(model: keras.Model, **settings: Any) -> tuple[TrainingStep, Any]:
    config = TrainingConfig(batch_size=2, window=8, **settings)
    dataset = StreamBatches(text(16), batch_size=2, window=8, start=3).dataset(0)
    optimizer = make_optimizer(config, model.trainable_variables)
    return TrainingStep(model, optimizer, PERPLEXITY, config, dataset.element_spec), next(iter(dataset))


@pytest.mark.parametrize("cell", CELLS)
def test_padding_and_the_other_examples_change_nothing(cell: str) -> None:
    model = build(cell=cell)
    x = text(8).reshape(2, 4)
    y = text(8)[::-1].reshape(2, 4).copy()
    ones = np.ones((2, 4), np.float32)
    alone = nats(model, x, y, ones)
    wider = [np.pad(array, ((0, 0), (0, 3)), constant_values=fill) for array, fill in ((x, 0), (y, 9), (ones, 0))]
    taller = [np.pad(array, ((0, 2), (0, 0)), constant_values=fill) for array, fill in ((x, 5), (y, 9), (ones, 0))]
    assert nats(model, *wider) == pytest.approx(alone, abs=1e-6)
    assert nats(model, *taller) == pytest.approx(alone, abs=1e-6)
    first = forward(model, x)["logits"][0]
    other = forward(model, np.stack([x[0], x[1][::-1]]))["logits"][0]
    np.testing.assert_allclose(first, other, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_state_carried_in_two_halves_equals_one_pass(cell: str) -> None:
    model = build(cell=cell, dropout=0.5)
    x = text(20).reshape(2, 10)
    whole = forward(model, x)
    half = forward(model, x[:, :6])
    rest = forward(model, x[:, 6:], {name: half[name] for name in state_sizes(model)})
    np.testing.assert_allclose(tf.concat([half["logits"], rest["logits"]], 1), whole["logits"], atol=1e-6)
    for name in state_sizes(model):
        np.testing.assert_allclose(rest[name], whole[name], atol=1e-6)


def test_the_states_have_these_names_and_sizes() -> None:
    assert state_sizes(build(cell="lstm")) == {"state_0_h": 7, "state_0_c": 7, "state_1_h": 5, "state_1_c": 5}
    assert state_sizes(build(cell="gru")) == {"state_0_h": 7, "state_1_h": 5}


def test_windows_of_a_stream_equal_the_whole_text() -> None:
    model = build()
    ids = text(41)
    for window in (41, 7):
        batches = StreamBatches(ids, batch_size=1, window=window, start=3)
        mean = ValidationStep(model, PERPLEXITY, batches.dataset(0).element_spec).mean_loss(batches)
        whole = nats(model, np.concatenate([[3], ids[:-1]])[None].astype(np.int32), ids[None], np.ones((1, 41), "f4"))
        assert mean == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_one_step_moves_every_weight(cell: str, tied: bool) -> None:
    model = build(cell=cell, tie_embeddings=tied, dropout=0.2)
    step, (x, y, weights) = a_step(model, optimizer="sgd", learning_rate=0.1)
    before = [np.array(variable) for variable in model.trainable_variables]
    # The second step's states are not zero: without them a recurrent kernel's first gradient could be.
    states = step(x, y, weights, zero_states(model, 2), 0.1)
    step(x, y, weights, states, 0.1)
    still = [
        variable.path
        for variable, old in zip(model.trainable_variables, before, strict=True)
        if np.array_equal(np.array(variable), old)
    ]
    assert still == []


def test_sixty_steps_on_one_batch_learn_it_by_heart() -> None:
    model = build(units=(32,), embedding=16)
    step, (x, y, weights) = a_step(model)
    for _ in range(60):
        step(x, y, weights, zero_states(model, 2), 0.03)
    assert nats(model, x["tokens"], y, weights) < 0.05


def test_tied_embeddings_have_the_right_number_of_weights() -> None:
    def count(**settings: Any) -> int:
        return int(build(units=(6,), cell="simple_rnn", **settings).count_params())

    recurrent = 6 * 6 + 6 * 6 + 6
    assert count() == 11 * 6 + recurrent + (6 * 11 + 11)
    assert count(tie_embeddings=True) == 11 * 6 + recurrent + 11
    # Another embedding size needs a projection: 6 x 4.
    smaller = 4 * 6 + 6 * 6 + 6
    assert count(tie_embeddings=True, embedding=4) == 11 * 4 + smaller + 6 * 4 + 11


def test_tied_logits_are_inner_products_with_the_embedding() -> None:
    model = build(units=(6,), tie_embeddings=True)
    matrix = np.array(model.get_layer("embedding").embeddings)
    model.get_layer("logits").bias.assign(np.arange(11.0))
    hidden = keras.Model(model.inputs, model.get_layer("lstm_0").output[0])
    x = text(8).reshape(2, 4)
    inputs = {"tokens": tf.constant(x), **zero_states(model, 2)}
    expected = np.array(hidden(inputs)) @ matrix.T + np.arange(11.0)
    np.testing.assert_allclose(forward(model, x)["logits"], expected, atol=1e-5)


def test_dropout_is_constant_over_time_and_differs_from_row_to_row() -> None:
    layer = build(dropout=0.5).get_layer("dropout_0")
    masks = np.array(layer(tf.ones((4, 9, 64)), training=True))
    assert np.array_equal(masks, np.repeat(masks[:, :1], 9, axis=1))
    assert set(np.unique(masks)) == {0.0, 2.0}
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks, np.array(layer(tf.ones((4, 9, 64)), training=True)))
