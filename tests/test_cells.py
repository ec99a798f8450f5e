"""What a stack can be made of: every option keeps the laws, and computes what its equation says."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from seqapps.architectures import classifier, stacked
from seqapps.architectures._stack import StackConfig, recurrent_stack
from seqapps.config import TrainingConfig
from seqapps.layers import recurrent as layers
from seqapps.layers.cells import Cell, CellOptions
from seqapps.layers.penalties import ActivationPenalty
from seqapps.layers.skips import LayerSkip
from seqapps.layers.states import recurrent_layer, state_sizes, unrolled, zero_states
from seqapps.layers.word_dropout import VocabularyDropout
from seqapps.optimization.losses import PERPLEXITY, cross_entropy
from seqapps.optimization.optimizers import make_optimizer
from seqapps.optimization.steps import TrainingStep

OPTIONS: dict[str, dict[str, Any]] = {
    "gru, reset before": {"cell": "gru", "reset": "before"},
    "leak": {"cell": "simple_rnn", "leak": 0.5},
    "learned leak": {"cell": "simple_rnn", "leak": 0.9, "learn_leak": True},
    "deep transition": {"cell": "simple_rnn", "transition_depth": 2},
    "deep transition and skip": {"cell": "lstm", "transition_depth": 1, "transition_skip": True},
    "skips in time": {"cell": "lstm", "skip_steps": 2},
    "gru, everything inside": {
        "cell": "gru",
        "transition_depth": 1,
        "transition_skip": True,
        "skip_steps": 3,
        "layer_norm": "cell",
    },
    "gru, reset before, normalised": {"cell": "gru", "reset": "before", "layer_norm": "cell", "skip_steps": 2},
    "other activations": {
        "cell": "simple_rnn",
        "activation": "leaky_relu",
        "recurrent_initializer": "identity",
        "transition_depth": 1,
        "transition_activation": "elu",
    },
    "norm inside": {"cell": "lstm", "layer_norm": "cell"},
    "norm of outputs, residual": {"layer_norm": "output", "layer_skip": "residual"},
    "highway": {"cell": "gru", "layer_skip": "highway"},
    "deep input and head": {"input_layers": [7, 3], "output_layers": [6, 4]},
}
SMALL: dict[str, Any] = {"units": (5, 4), "embedding": 3}
TOKENS = np.random.default_rng(2).integers(4, 11, (2, 7)).astype(np.int32)

every_option = pytest.mark.parametrize("option", OPTIONS)


@cache
def language_model(option: str) -> keras.Model:
    keras.utils.set_random_seed(3)
    config = stacked.Config(**SMALL, **OPTIONS[option])
    return stacked.build(config, vocabulary_size=11, carry=True, use_cudnn=False)


def forward(model: keras.Model, tokens: Any, states: Any = None) -> Any:
    return model({"tokens": tf.constant(tokens), **(states or zero_states(model, len(tokens)))}, training=False)


def states_of(model: keras.Model, outputs: Any) -> dict[str, Any]:
    return {name: outputs[name] for name in state_sizes(model)}


# ---- laws


@every_option
def test_state_carried_over_two_halves_equals_the_whole(option: str) -> None:
    model = language_model(option)
    whole, half = forward(model, TOKENS), forward(model, TOKENS[:, :4])
    rest = forward(model, TOKENS[:, 4:], states_of(model, half))
    assert_allclose(np.concatenate([half["logits"], rest["logits"]], 1), whole["logits"], atol=1e-6)
    for name in state_sizes(model):
        assert_allclose(rest[name], whole[name], atol=1e-6)


@every_option
def test_one_unrolled_step_equals_the_loop(option: str) -> None:
    model = language_model(option)
    states = states_of(model, forward(model, TOKENS[:, :4]))
    looped = forward(model, TOKENS[:, 4:5], states)
    with unrolled(model):
        at_once = tf.function(lambda: forward(model, TOKENS[:, 4:5], states))()
    for name in looped:
        assert_allclose(at_once[name], looped[name], atol=1e-6)


@every_option
def test_every_weight_has_a_gradient(option: str) -> None:
    model = language_model(option)
    with tf.GradientTape() as tape:
        outputs = forward(model, TOKENS)
        loss = tf.reduce_sum(tf.nn.log_softmax(outputs["logits"])[:, :, 4])
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    still = [
        variable.path
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
        if gradient is None or not np.any(tf.convert_to_tensor(gradient))
    ]
    assert still == []


@every_option
def test_saved_weights_give_the_same_outputs_in_a_new_model(option: str, tmp_path: Path) -> None:
    model = language_model(option)
    model.save_weights(tmp_path / "model.weights.h5")
    config = stacked.Config(**SMALL, **OPTIONS[option])
    again = stacked.build(config, vocabulary_size=11, carry=True)
    again.load_weights(tmp_path / "model.weights.h5")
    first, second = forward(model, TOKENS), forward(again, TOKENS)
    for name in first:
        assert_allclose(second[name], first[name], atol=1e-5)


@pytest.mark.parametrize("option", [*OPTIONS, "sum", "average", "product"])
def test_padding_and_the_other_examples_change_nothing_of_a_masked_stack(option: str) -> None:
    keras.utils.set_random_seed(3)
    given = OPTIONS.get(option, {"merge": option})
    config = StackConfig(architecture="stack", **{"units": (4,), **given})
    x, mask = keras.Input((None, 3)), keras.Input((None,), dtype="bool")
    outputs, states = recurrent_stack(config, x, mask, use_cudnn=False)
    assert outputs.shape[-1] == config.outputs
    model = keras.Model([x, mask], [outputs, states])
    values = np.random.default_rng(1).standard_normal((2, 4, 3)).astype("f4")
    real = np.array([[True] * 2 + [False] * 2, [True] * 3 + [False]])
    alone, kept = model([values[:1, :2], real[:1, :2]])
    both, kept_of_both = model([values, real])
    assert not np.any(both[0, 2:]) and not np.any(both[1, 3:])
    assert_allclose(both[:1, :2], alone, atol=1e-5)
    for one, other in zip(tf.nest.flatten(kept_of_both), tf.nest.flatten(kept), strict=True):
        assert_allclose(one[:1], other, atol=1e-5)


# ---- equations


def layer_of(kind: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    """A layer over inputs of three numbers with four units and random weights, and its weights by name."""
    layer = recurrent_layer(kind, 4, name="layer", options=CellOptions(**options))
    layer.build((None, None, 3))
    random = np.random.default_rng(7)
    layer.set_weights([random.uniform(-1, 1, weight.shape) for weight in layer.weights])
    return layer, {weight.path.partition("cell/")[2] or weight.path: weight.numpy() for weight in layer.weights}


X = np.random.default_rng(5).standard_normal((2, 6, 3)).astype("f4")


def sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def norm(x: Any, scale: Any, centre: Any = 0.0) -> Any:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) * scale + centre


def test_a_leaky_unit_with_a_deep_transition_and_skips_in_time() -> None:
    options = {"leak": 0.9, "learn_leak": True, "transition_depth": 2, "transition_skip": True, "skip_steps": 3}
    layer, w = layer_of("simple_rnn", **options)
    h, outputs = np.zeros((2, 4)), [np.zeros((2, 4))] * 3
    leak = sigmoid(w["leak_logit"])
    for t in range(6):
        deep = np.tanh(
            np.tanh(h @ w["transition_0"] + w["transition_bias_0"]) @ w["transition_1"] + w["transition_bias_1"]
        )
        a = X[:, t] @ w["kernel"] + w["bias"] + (h + deep) @ w["recurrent_kernel"] + outputs[-3] @ w["skip_kernel"]
        h = leak * h + (1 - leak) * np.tanh(a)
        outputs.append(h)
    sequence, last, past = layer(X)
    assert_allclose(sequence, np.stack(outputs[3:], 1), rtol=1e-4, atol=1e-5)
    assert_allclose(last, h, rtol=1e-4, atol=1e-5)
    assert_allclose(past, np.concatenate(outputs[-3:], -1), rtol=1e-4, atol=1e-5)


def test_a_leak_that_is_learned_begins_where_it_is_set() -> None:
    layer = recurrent_layer("simple_rnn", 4, name="layer", options=CellOptions(leak=0.9, learn_leak=True))
    layer.build((None, None, 3))
    assert_allclose(sigmoid(layer.cell.leak_logit.numpy()), [0.9] * 4, rtol=1e-6)


def test_an_irnn_is_chosen_by_the_configuration_and_adds_up_at_first() -> None:
    config = stacked.Config(**SMALL, cell="simple_rnn", activation="relu", recurrent_initializer="identity")
    layer = stacked.build(config, vocabulary_size=11, carry=False).get_layer("simple_rnn_0")
    assert layers.path(layer) == "compiled for this CPU"
    kernel, recurrent, _ = layer.get_weights()
    assert_array_equal(recurrent, np.eye(5))
    x = np.abs(X)
    layer.set_weights([np.abs(kernel), recurrent, np.zeros(5)])
    assert_allclose(layer(x)[0], np.cumsum(x @ np.abs(kernel), axis=1), rtol=1e-5)


def test_activations_inside_a_cell() -> None:
    options = {"activation": "relu", "transition_depth": 1, "transition_activation": "elu"}
    layer, w = layer_of("simple_rnn", **options)
    h = np.zeros((2, 4))
    for t in range(6):
        deep = h @ w["transition_0"] + w["transition_bias_0"]
        deep = np.where(deep > 0, deep, np.exp(np.minimum(deep, 0)) - 1)
        h = np.maximum(X[:, t] @ w["kernel"] + w["bias"] + deep @ w["recurrent_kernel"], 0)
    assert_allclose(layer(X)[1], h, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_an_activation_of_gated_cells_is_that_of_keras(kind: str) -> None:
    theirs = recurrent_layer(kind, 4, name="theirs", options=CellOptions(activation="elu"))
    ours = keras.layers.RNN(Cell(kind, 4, {"activation": "elu"}), return_sequences=True, return_state=True)
    theirs(X), ours(X)
    ours.set_weights(theirs.get_weights())
    assert "the activation is elu, not tanh" in layers.path(theirs)
    for one, other in zip(theirs(X), ours(X), strict=True):
        assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_an_lstm_with_normalisation_inside() -> None:
    layer, w = layer_of("lstm", normalise=True)
    h = c = np.zeros((2, 4))
    for t in range(6):
        a = norm(X[:, t] @ w["kernel"], w["input_norm/gamma"]) + norm(
            h @ w["recurrent_kernel"], w["recurrent_norm/gamma"]
        )
        i, f, g, o = np.split(a + w["bias"], 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(norm(c, w["cell_norm/gamma"], w["cell_norm/beta"]))
    _, last, memory = layer(X)
    assert_allclose(last, h, rtol=1e-4, atol=1e-5)
    assert_allclose(memory, c, rtol=1e-4, atol=1e-5)


def test_a_gru_that_resets_before_with_a_transition_keeps_its_own_state() -> None:
    layer, w = layer_of("gru", reset="before", transition_depth=1)
    h = np.zeros((2, 4))
    u = w["recurrent_kernel"]
    for t in range(6):
        s = np.tanh(h @ w["transition_0"] + w["transition_bias_0"])
        a = X[:, t] @ w["kernel"] + w["bias"]
        z, r = sigmoid(a[:, :4] + s @ u[:, :4]), sigmoid(a[:, 4:8] + s @ u[:, 4:8])
        h = z * h + (1 - z) * np.tanh(a[:, 8:] + (r * s) @ u[:, 8:])
    assert_allclose(layer(X)[1], h, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "reset"), [("simple_rnn", "after"), ("lstm", "after"), ("gru", "after"), ("gru", "before")]
)
def test_a_cell_without_parts_is_that_of_keras(kind: str, reset: Any) -> None:
    theirs = recurrent_layer(kind, 4, name="theirs", use_cudnn=False, options=CellOptions(reset=reset))
    ours = keras.layers.RNN(Cell(kind, 4, {"reset": reset}), return_sequences=True, return_state=True)
    mask = np.array([[True] * 6, [True] * 3 + [False] * 3])
    theirs(X), ours(X)
    assert [weight.shape for weight in theirs.weights] == [weight.shape for weight in ours.weights]
    assert_array_equal(theirs.weights[2], ours.weights[2])  # the forget gate's bias
    random = np.random.default_rng(7)
    theirs.set_weights([random.standard_normal(weight.shape) for weight in theirs.weights])
    ours.set_weights(theirs.get_weights())
    for one, other in zip(theirs(X, mask=mask), ours(X, mask=mask), strict=True):
        assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_residual_skip_adds_and_projects_where_sizes_differ() -> None:
    given, same, other = np.ones((1, 2, 3)), np.full((1, 2, 3), 2.0), np.full((1, 2, 2), 2.0)
    assert_array_equal(LayerSkip("residual")(given, same), np.full((1, 2, 3), 3.0))
    layer = LayerSkip("residual")
    layer.build(given.shape, other.shape)
    layer.set_weights([np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.5]])])
    assert_array_equal(layer(given, other), [[[3.0, 3.0, 2.0]] * 2])


def test_a_highway_mixes_by_a_gate_that_is_nearly_closed_at_first() -> None:
    layer = LayerSkip("highway")
    layer.build((1, 2, 3), (1, 2, 3))
    kernel, bias = layer.get_weights()
    assert_array_equal(bias, [-1.0] * 3)
    layer.set_weights([np.zeros_like(kernel), bias])
    share = sigmoid(-1.0)
    assert_allclose(layer(np.ones((1, 2, 3)), np.zeros((1, 2, 3))), np.full((1, 2, 3), share), rtol=1e-6)


def test_penalties_are_means_over_real_steps() -> None:
    layer = ActivationPenalty(0.5, 2.0)
    outputs = np.array([[[1.0, 3.0], [2.0, 3.0], [9.0, 9.0]], [[4.0, 0.0], [7.0, 7.0], [7.0, 7.0]]])
    real = np.array([[True, True, False], [True, False, False]])
    assert_array_equal(layer(2.0 * outputs, outputs, real=real, training=True), 2.0 * outputs)
    activation, temporal = layer.losses
    # Squares of the dropped outputs: (4 + 36) / 2, (16 + 36) / 2, 64 / 2; one pair of real steps: (1 + 0) / 2.
    assert_allclose(activation, 0.5 * (20.0 + 26.0 + 32.0) / 3.0)
    assert_allclose(temporal, 2.0 * 0.5)
    layer(outputs, outputs, real=real, training=False)
    assert layer.losses == []


def test_penalties_are_minimised_and_not_reported() -> None:
    fields = {**SMALL, "units": (4,), "activation_penalty": 3.0, "temporal_penalty": 2.0}
    keras.utils.set_random_seed(3)
    model = stacked.build(stacked.Config(**fields), vocabulary_size=11, carry=True)
    targets, ones = tf.constant(TOKENS[::-1]), tf.ones(TOKENS.shape)
    variables = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        outputs = model({"tokens": tf.constant(TOKENS), **zero_states(model, 2)}, training=True)
        mean = tf.reduce_mean(cross_entropy(outputs["logits"], targets))
        loss = mean + tf.add_n(model.losses)
    gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, variables)]
    expected = [variable - 0.1 * gradient for variable, gradient in zip(variables, gradients, strict=True)]
    config = TrainingConfig(optimizer="sgd", clip="none")
    batch = ({"tokens": tf.constant(TOKENS)}, targets, ones)
    signature = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), batch)
    step = TrainingStep(model, make_optimizer(config, model.trainable_variables), PERPLEXITY, config, signature)
    step(*batch, zero_states(model, 2), 0.1)
    for variable, value in zip(variables, expected, strict=True):
        assert_allclose(variable, value, rtol=1e-5, atol=1e-6)
    assert step.sums().mean_loss == pytest.approx(float(mean), rel=1e-6)


def test_vocabulary_dropout_drops_a_token_wherever_it_stands() -> None:
    ids = np.random.default_rng(3).integers(0, 40, (8, 30))
    keras.utils.set_random_seed(1)
    layer = VocabularyDropout(0.5, 40)
    kept = layer(tf.ones((8, 30, 2)), ids, training=True).numpy()[:, :, 0]
    for token in range(40):
        assert len(set(kept[ids == token])) == 1
    assert set(np.unique(kept)) == {0.0, 2.0}
    assert_array_equal(layer(tf.ones((8, 30, 2)), ids), np.ones((8, 30, 2)))
    config = stacked.Config(**SMALL, vocabulary_dropout=0.5, word_dropout=0.5)
    model = stacked.build(config, vocabulary_size=11, carry=False)
    once, twice = (model({"tokens": tf.constant(TOKENS)}, training=training)["logits"] for training in (False, True))
    assert not np.allclose(once, twice)


# ---- what is refused, and what is said


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"reset": "before"}, "`model.reset` is for cell \"gru\". Received: 'lstm'"),
        ({"leak": 0.9}, '`model.leak` is for cell "simple_rnn"'),
        ({"cell": "simple_rnn", "learn_leak": True}, "`model.learn_leak` begins at `model.leak`, which is 0"),
        ({"recurrent_initializer": "identity"}, '`model.recurrent_initializer` = "identity" is for cell "simple_rnn"'),
        ({"transition_activation": "relu"}, "`model.transition_activation` is that of the layers of"),
        ({"transition_skip": True}, "`model.transition_skip` goes past the layers of `model.transition_depth`"),
        ({"skip_steps": 1}, "`model.skip_steps` = 1 is what every recurrent layer has"),
        ({"weight_drop": 0.2, "layer_norm": "cell"}, "`model.weight_drop` is for cells without"),
        ({"recurrent_dropout": 0.2, "skip_steps": 2}, "`model.recurrent_dropout` is for cells without"),
        ({"bidirectional": False, "merge": "sum"}, "`model.merge` is for `model.bidirectional` = true"),
        ({"pooling": "last", "layer_skip": "residual"}, "`model.layer_skip` changes outputs, and `model.pooling`"),
        ({"pooling": "last", "layer_norm": "output"}, '`model.layer_norm` = "output" changes outputs'),
    ],
)
def test_what_cannot_work_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=r"1 validation error") as caught:
        classifier.Config(**fields)
    assert text in str(caught.value)


def test_recurrent_dropout_says_what_it_costs() -> None:
    config = stacked.Config(units=(4,), embedding=3, recurrent_dropout=0.25)
    with pytest.warns(UserWarning, match=r"`model.recurrent_dropout` = 0.25 leaves the fast path of layer lstm_0"):
        stacked.build(config, vocabulary_size=11, carry=True)
