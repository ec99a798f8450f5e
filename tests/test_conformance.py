"""Our recurrent layers stand wherever Keras' stand: arguments, calls, wrappers, files, threads."""

from __future__ import annotations

import functools
import inspect
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conform import KINDS, Case, conforms, curves_as_keras, hessian_as_keras, model_of, padded, pair, trains_as_keras
from numpy.testing import assert_allclose, assert_array_equal

from seqapps.layers import recurrent as layers

X = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
OTHER: dict[str, Any] = {
    "activation": "relu",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": False,
    "kernel_initializer": "zeros",
    "recurrent_initializer": "identity",
    "bias_initializer": "ones",
    "unit_forget_bias": False,
    "kernel_regularizer": "l1",
    "recurrent_regularizer": "l2",
    "bias_regularizer": "l1",
    "activity_regularizer": "l2",
    "kernel_constraint": "max_norm",
    "recurrent_constraint": "non_neg",
    "bias_constraint": "unit_norm",
    "dropout": 0.25,
    "recurrent_dropout": 0.125,
    "seed": 7,
    "return_sequences": True,
    "return_state": True,
    "go_backwards": True,
    "stateful": True,
    "unroll": True,
    "reset_after": False,
    "use_cudnn": False,
}
"""Another value for every argument of Keras' layers."""

of_every_kind = pytest.mark.parametrize("kind", KINDS)


@of_every_kind
def test_arguments_are_those_of_keras_by_name_and_by_place(kind: str) -> None:
    theirs, ours, _ = KINDS[kind]
    names = [name for name in inspect.signature(theirs).parameters if name not in ("units", "kwargs")]
    values = [OTHER[name] for name in names]
    expected = theirs(4, *values).get_config()
    for layer in (ours(4, *values), ours(4, **dict(zip(names, values, strict=True)))):
        found = layer.get_config()
        assert {name: found[name] for name in expected} == {**expected, "name": found["name"]}
        # What Keras loses stays, too.
        assert found["seed"] == 7
        again = ours.from_config(found)
        assert again.get_config() == found
        assert again.cell.seed == 7


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (keras.layers.LeakyReLU(0.3), "LeakyReLU"),
        (functools.partial(keras.activations.elu, alpha=0.5), "elu"),
        (lambda x: 0.5 * x, "<lambda>"),
        (None, "linear"),
    ],
    ids=["layer", "partial", "lambda", "none"],
)
def test_an_activation_may_be_anything_that_can_be_called(activation: Any, name: str) -> None:
    for kind in ("simple_rnn", "lstm"):
        conforms(Case(kind, options={"activation": activation, "return_state": True}))
        layer = KINDS[kind][1](4, activation=activation)
        assert layer.obstacle().startswith(f"the activation is {name}, not tanh")
        assert layers.path(layer) == f"step by step, Keras' loop: {layer.obstacle()}"


@pytest.mark.parametrize(("kind", "graphs"), [("lstm", False), ("gru_after", False), ("simple_rnn", True)])
def test_a_batch_without_rows_has_outputs_without_rows_and_gradients_of_zero(kind: str, graphs: bool) -> None:
    _, layer = pair(Case(kind, options={"return_sequences": True, "return_state": True}))
    weights = [weight.value for weight in layer.trainable_weights]

    def run(x: Any, mask: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, mask=mask, training=True)
            loss = tf.add_n([tf.reduce_sum(output) for output in outputs])
        return outputs, tape.gradient(loss, [x, *weights])

    known, unknown = ([tf.TensorSpec((*rows, 3)), tf.TensorSpec(rows, tf.bool)] for rows in ((0, 5), (None, None)))
    built = [tf.function(run, autograph=False, input_signature=signature) for signature in (known, unknown)]
    for call in built if graphs else [run]:
        outputs, (of_x, *gradients) = call(tf.zeros((0, 5, 3)), tf.ones((0, 5), tf.bool))
        assert [tuple(output.shape) for output in outputs] == [(0, 5, 4), *[(0, 4)] * (len(outputs) - 1)]
        assert of_x.shape == (0, 5, 3)
        for gradient, weight in zip(gradients, weights, strict=True):
            assert_array_equal(gradient, np.zeros(weight.shape))


@pytest.mark.parametrize(("kind", "in_a_graph"), [*[(kind, False) for kind in KINDS], ("simple_rnn", True)])
def test_a_gradient_of_a_gradient_is_that_of_keras(kind: str, in_a_graph: bool) -> None:
    curves_as_keras(kind, in_a_graph)


@pytest.mark.parametrize("kind", ["lstm", "gru_after"])
def test_a_hessian_is_that_of_keras(kind: str) -> None:
    hessian_as_keras(kind)


def test_gradients_of_any_order_are_had() -> None:
    def third(layer: Any) -> Any:
        x = tf.constant(X[:2, :3])
        with tf.GradientTape() as outermost:
            outermost.watch(x)
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    value = tf.reduce_sum(layer(x) ** 2)
                norm = tf.reduce_sum(inner.gradient(value, x) ** 2)
            norm = tf.reduce_sum(outer.gradient(norm, x) ** 2)
        return outermost.gradient(norm, x)

    theirs, ours = map(third, pair(Case("simple_rnn")))
    scale = float(tf.reduce_max(abs(theirs)))
    assert_allclose(ours / scale, theirs / scale, atol=1e-4)


def test_a_persistent_tape_may_stand_around_a_graph() -> None:
    theirs, ours = pair(Case("simple_rnn"))
    found = []
    for layer in (theirs, ours):
        graph = tf.function(lambda x, layer=layer: tf.reduce_sum(layer(x) ** 2), autograph=False)
        x = tf.constant(X)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            loss = graph(x)
        found.append(tape.gradient(loss, x))
    assert_allclose(found[1], found[0], atol=1e-5)


# ---- what a call draws is its own


@pytest.mark.parametrize("use_cudnn", ["auto", False])
@pytest.mark.parametrize("options", [{"weight_drop": 0.9}, {"dropout": 0.5}, {"recurrent_dropout": 0.5}], ids=str)
def test_threads_share_a_layer(options: dict[str, Any], use_cudnn: Any) -> None:
    layer = layers.SimpleRNN(16, use_cudnn=use_cudnn, seed=1, **options)
    layer(X)
    kernel, before = layer.cell.recurrent_kernel, layer.get_weights()
    wrong: list[Any] = []
    begin = threading.Barrier(3)

    def work(rows: int) -> None:
        try:
            begin.wait()
            for _ in range(8):
                if layer(np.ones((rows, 4, 3), np.float32), training=True).shape != (rows, 16):
                    wrong.append("shape")
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(rows,)) for rows in (1, 2, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert layer.cell.recurrent_kernel is kernel
    for one, other in zip(layer.get_weights(), before, strict=True):
        assert_array_equal(one, other)


def test_a_layer_is_whole_while_it_trains() -> None:
    seen: list[Any] = []

    def activation(x: Any) -> Any:
        seen.append((layer.cell.recurrent_kernel, getattr(layer.cell, "_dropout_mask", None)))
        return x

    layer = layers.SimpleRNN(4, activation=activation, weight_drop=0.5, dropout=0.5)
    layer.build((None, None, 3))
    layer(X, training=True)
    assert seen
    assert all(kernel is layer.cell.recurrent_kernel and mask is None for kernel, mask in seen)


# ---- models, wrappers, files


def test_a_model_of_ours_is_that_of_keras_through_clones_and_files(tmp_path: Path) -> None:
    ours, theirs = model_of(layers, weight_drop=0.5, use_cudnn=False), model_of(keras.layers)
    expected = np.array(theirs(padded()))
    assert_allclose(ours(padded()), expected, atol=1e-5)
    clone = keras.models.clone_model(ours)
    clone.set_weights(ours.get_weights())
    ours.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    again = keras.Model.from_config(ours.get_config())
    ours.save_weights(tmp_path / "model.weights.h5")
    again.load_weights(tmp_path / "model.weights.h5")
    for model in (clone, loaded, again):
        assert_allclose(model(padded()), expected, atol=1e-5)
        assert [type(layer) for layer in model.layers] == [type(layer) for layer in ours.layers]
        both = next(layer for layer in model.layers if isinstance(layer, keras.layers.Bidirectional))
        assert {(layer.weight_drop, layer.use_cudnn) for layer in (both.forward_layer, both.backward_layer)} == {
            (0.5, False)
        }


def test_a_training_by_keras_itself_ends_with_the_same_weights() -> None:
    def small(module: Any) -> keras.Model:
        keras.utils.set_random_seed(1)
        layer = module.GRU(4, dropout=0.2, seed=1)
        return keras.Sequential([keras.Input((None, 3)), keras.layers.Masking(), layer, keras.layers.Dense(1)])

    trains_as_keras(small)


@pytest.mark.parametrize(
    "case",
    [
        Case("simple_rnn", mode="jit", options={"return_sequences": True, "dropout": 0.3, "seed": 1}, mask="right"),
        Case("gru_after", mode="one shape", options={"dtype": "float64", "return_state": True}, states=True),
        Case("gru_before", options={"dtype": "mixed_bfloat16", "return_sequences": True}, mask="empty"),
        Case("simple_rnn", mode="any shape", options={"activation": "relu", "return_state": True}, rows=1, steps=1),
        Case("lstm", options={"stateful": True, "go_backwards": True}, calls=3, mask="holes"),
        Case("gru_after", options={"zero_output_for_mask": True, "return_sequences": True}, mask="left", rows=17),
        Case("lstm", options={"recurrent_dropout": 0.5, "seed": 3, "unroll": True}, both="none"),
    ],
    ids=lambda case: f"{case.kind}-{case.mode}",
)
def test_outputs_states_and_gradients_in_every_mode(case: Case) -> None:
    conforms(case)


@of_every_kind
def test_what_keras_takes_ours_take(kind: str) -> None:
    theirs, ours = pair(Case(kind, options={"return_sequences": True}))
    mask = np.random.default_rng(1).random((4, 6)) < 0.6
    state = tf.ones((4, 4))
    states = [state, state] if kind == "lstm" else state
    calls: list[tuple[Any, dict[str, Any]]] = [
        (X, {"mask": mask[:, :, None]}),
        (X, {"mask": mask.astype("int32")}),
        (X.astype("float64"), {"initial_state": states}),
        (np.ones((4, 6, 3), "int32"), {}),
    ]
    for x, options in calls:
        found, expected = ours(x, **options), theirs(x, **options)
        assert found.dtype == expected.dtype
        assert_allclose(found, expected, atol=1e-5)


@of_every_kind
def test_what_keras_refuses_ours_refuse(kind: str) -> None:
    theirs, ours, _ = KINDS[kind]
    for module in (theirs, ours):
        for arguments in ({"units": 0}, {"units": 3, "use_cudnn": "yes"}):
            with pytest.raises((ValueError, TypeError)):
                module(**arguments)
        layer = module(3, stateful=True)
        layer(X)
        with pytest.raises(ValueError, match="the batch size of the"):
            layer(X[:2])
        with pytest.raises(ValueError, match="ndim"):
            layer(X[0])
