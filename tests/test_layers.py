"""The fast recurrent layers are Keras' layers: outputs, states and gradients, for every mask, state and direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from seqapps.layers import kernels
from seqapps.layers import recurrent as layers
from seqapps.layers.states import paths, recurrent_layer

ROWS, INPUTS, UNITS = 16, 3, 5
CELLS: dict[str, tuple[type[keras.layers.Layer], type[keras.layers.Layer], dict[str, Any]]] = {
    "simple_rnn": (keras.layers.SimpleRNN, layers.SimpleRNN, {}),
    "lstm": (keras.layers.LSTM, layers.LSTM, {}),
    "gru_after": (keras.layers.GRU, layers.GRU, {}),
    "gru_before": (keras.layers.GRU, layers.GRU, {"reset_after": False}),
}


def pair(cell: str, both: bool, **options: Any) -> tuple[Any, Any]:
    """Keras' layer and ours, of the same weights, in both directions if asked."""
    theirs, ours, own = CELLS[cell]
    made = [kind(UNITS, return_state=True, **{"return_sequences": True, **own, **options}) for kind in (theirs, ours)]
    if both:
        made = [keras.layers.Bidirectional(layer) for layer in made]
    for layer in made:
        layer.build((ROWS, None, INPUTS))
    random = np.random.default_rng(1)
    made[0].set_weights([random.normal(0.0, 0.4, weight.shape) for weight in made[0].weights])
    made[1].set_weights(made[0].get_weights())
    return made[0], made[1]


def graph(layer: Any, masked: bool, states: int) -> Callable[..., Any]:
    """(x, mask, upstream, states) to the outputs and all gradients: one graph for sequences of any length.

    With masks it takes any number of rows, too.
    """
    rows = None if masked else ROWS
    one_state = tf.TensorSpec((rows, UNITS))

    def run(x: Any, mask: Any, upstream: Any, *initial: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, *initial])
            found = layer(x, mask=mask if masked else None, initial_state=list(initial), training=True)
            loss = tf.reduce_sum(found[0] * upstream) + tf.add_n([tf.reduce_sum(tf.square(s)) for s in found[1:]])
        watched = [x, *initial, *[weight.value for weight in layer.trainable_weights]]
        return list(found), tape.gradient(loss, watched)

    width = UNITS * (2 if isinstance(layer, keras.layers.Bidirectional) else 1)
    signature = [
        tf.TensorSpec((rows, None, INPUTS)), tf.TensorSpec((rows, None), tf.bool), tf.TensorSpec((rows, None, width)),
    ]  # fmt: skip
    return tf.function(run, autograph=False, input_signature=[*signature, *[one_state] * states])


@st.composite
def masks(draw: Any, most_rows: int) -> np.ndarray[Any, Any]:
    """`<bool>[B, T]`: rows padded on the right, on the left or with holes; the first one is empty."""
    # Few sizes, because XLA compiles for each: one, two, odd ones, and those around a power of two.
    rows = draw(st.sampled_from([1, 2, 7, most_rows])) if most_rows else ROWS
    steps = draw(st.sampled_from([1, 2, 7, 16, 17]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = random.integers(0, steps + 1, (rows, 1))
    kinds = {
        "right": np.arange(steps) < lengths,
        "left": np.arange(steps) >= steps - lengths,
        "holes": random.random((rows, steps)) < 0.6,
        "full": np.ones((rows, steps), bool),
    }
    mask = kinds[draw(st.sampled_from(sorted(kinds)))].copy()
    mask[0] = False
    return mask


@pytest.mark.parametrize("masked", [False, True], ids=["all_steps", "masked_both_directions"])
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_states_and_gradients_are_those_of_keras(cell: str, masked: bool) -> None:
    # One direction runs without a mask, both run with one, and then the number of rows differs, too.
    theirs, ours = pair(cell, both=masked)
    states = (2 if cell == "lstm" else 1) * (2 if masked else 1)
    expected, found = graph(theirs, masked, states), graph(ours, masked, states)

    @settings(max_examples=25, deadline=None)
    @given(mask=masks(20 if masked else 0), seed=st.integers(0, 2**32 - 1))
    def law(mask: np.ndarray[Any, Any], seed: int) -> None:
        random = np.random.default_rng(seed)

        def draw(*shape: int) -> Any:
            return tf.constant(random.normal(0.0, 1.0, shape), tf.float32)

        x, upstream = draw(*mask.shape, INPUTS), draw(*mask.shape, UNITS * (2 if masked else 1))
        given_states = [draw(len(mask), UNITS) * (seed % 2) for _ in range(states)]
        arguments = (x, tf.constant(mask), upstream, *given_states)
        _same(found(*arguments), expected(*arguments))

    law()


def _same(found: Any, expected: Any) -> None:
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        scale = max(1.0, float(tf.reduce_max(tf.abs(other))))
        assert_allclose(one / scale, other / scale, atol=1e-5)


@pytest.mark.parametrize("options", [{"return_sequences": False}, {"zero_output_for_mask": True}], ids=str)
@pytest.mark.parametrize("backwards", [False, True])
def test_what_is_returned_of_a_masked_sequence(options: dict[str, Any], backwards: bool) -> None:
    theirs, ours = pair("gru_after", both=False, go_backwards=backwards, **options)
    x = np.random.default_rng(0).normal(size=(ROWS, 7, INPUTS)).astype(np.float32)
    mask = np.arange(7) < np.arange(ROWS)[:, None] % 8
    for one, other in zip(ours(x, mask=mask), theirs(x, mask=mask), strict=True):
        assert_allclose(one, other, atol=1e-6)


def test_a_gradient_can_be_asked_of_a_layer_that_does_not_train() -> None:
    theirs, ours = pair("lstm", both=False)
    x = tf.constant(np.random.default_rng(0).normal(size=(ROWS, 6, INPUTS)), tf.float32)

    def gradient(layer: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.square(layer(x, training=False)[0]))
        return tape.gradient(loss, x)

    assert_allclose(gradient(ours), gradient(theirs), atol=1e-5)


def _kernel_cases() -> dict[str, tuple[Callable[..., Any], int, tuple[int, ...]]]:
    """Kernel, number of states, and the shape of its bias."""
    return {
        "lstm": (lambda *a, reverse: kernels.lstm(*a, reverse=reverse, keep=True), 2, (8,)),
        "gru_after": (lambda *a, reverse: kernels.gru(*a, reverse=reverse, keep=True, reset_after=True), 1, (2, 6)),
        "gru_before": (lambda *a, reverse: kernels.gru(*a, reverse=reverse, keep=True, reset_after=False), 1, (6,)),
        "tanh": (lambda *a, reverse: kernels.simple_rnn(*a, reverse=reverse, rectified=False), 1, (2,)),
        "relu": (lambda *a, reverse: kernels.simple_rnn(*a, reverse=reverse, rectified=True), 1, (2,)),
    }


@pytest.mark.parametrize("name", _kernel_cases())
def test_gradients_in_float64_are_the_numerical_ones(name: str) -> None:
    kernel, count, bias = _kernel_cases()[name]
    random = np.random.default_rng(3)
    width = bias[-1]
    shapes = [(2, 4, 3), *[(2, 2)] * count, (3, width), (2, width), bias]
    arguments = [tf.constant(random.normal(0.0, 0.7, shape)) for shape in shapes]
    mask = tf.constant([[True, True, False, True], [True, False, True, True]])[:, :, None]

    def loss(x: Any, *rest: Any) -> Any:
        outputs, last = kernel(x, rest[:count], rest[count:], mask, reverse=True)
        return tf.reduce_sum(tf.sin(outputs)) + tf.add_n([tf.reduce_sum(tf.square(state)) for state in last])

    def gradients(*values: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(values)
            total = loss(*values)
        return total, tape.gradient(total, values)

    graph = tf.function(gradients, autograph=False)
    _, analytic = graph(*arguments)
    step = 1e-5
    for place, value in enumerate(arguments):
        for index in np.ndindex(*value.shape):
            moved = np.zeros(value.shape)
            moved[index] = step
            up, down = ([*arguments[:place], value + sign * moved, *arguments[place + 1 :]] for sign in (1, -1))
            numerical = (graph(*up)[0] - graph(*down)[0]) / (2 * step)
            assert_allclose(analytic[place][index], numerical, atol=1e-8)


def test_gradients_are_those_of_the_textbook_on_three_steps() -> None:
    """dL/dU = sum_t sum_k<=t (dh_k/dU at fixed h_k-1) (prod of diag(1 - h_j^2) U^T) dL/dh_t (Goodfellow 10.2.2)."""
    random = np.random.default_rng(4)
    x, h0 = random.normal(size=(3, 1, 2)), random.normal(size=(1, 2))
    w, u, b = random.normal(size=(2, 2)), random.normal(size=(2, 2)), random.normal(size=(2,))
    upstream = random.normal(size=(3, 2))
    h = [h0[0]]
    for step in range(3):
        h.append(np.tanh(x[step, 0] @ w + h[-1] @ u + b))
    d_w, d_u = np.zeros((2, 2)), np.zeros((2, 2))
    for t in range(1, 4):
        reached = upstream[t - 1]
        for k in range(t, 0, -1):
            d_z = (1 - h[k] ** 2) * reached
            d_u += np.outer(h[k - 1], d_z)
            d_w += np.outer(x[k - 1, 0], d_z)
            reached = u @ d_z
    weights = [tf.constant(value) for value in (w, u, b)]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        outputs, _ = kernels.simple_rnn(
            tf.constant(x[:, 0])[None], [tf.constant(h0)], weights, None, reverse=False, rectified=False
        )
        loss = tf.reduce_sum(outputs[0] * upstream)
    found = tape.gradient(loss, weights)
    assert_allclose(found[0], d_w, atol=1e-12)
    assert_allclose(found[1], d_u, atol=1e-12)


def _sig(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def _three_steps(gates: int, biases: tuple[int, ...]) -> list[Any]:
    """x of three steps, the weights and the upstream gradient: one row, two inputs, two units."""
    random = np.random.default_rng(4)
    width = 2 * gates
    return [random.normal(size=shape) for shape in ((3, 2), (2, width), (2, width), (*biases, width), (3, 2))]


def _of_kernel(kernel: Any, x: Any, weights: list[Any], upstream: Any, states: int) -> Any:
    given = [tf.constant(value) for value in weights]
    zeros = [tf.zeros((1, 2), tf.float64)] * states
    with tf.GradientTape() as tape:
        tape.watch(given)
        outputs, _ = kernel(tf.constant(x)[None], zeros, given, None, reverse=False, keep=True)
        loss = tf.reduce_sum(outputs[0] * upstream)
    return tape.gradient(loss, given)


def test_gradients_of_an_lstm_are_those_of_the_chain_rule_by_hand() -> None:
    """dL/dc_t = dL/dh_t o (1 - tanh^2 c_t) + dL/dc_{t+1} f_{t+1};  of the arguments of the gates, f = sig, g = tanh:
    di = dc g i (1 - i), df = dc c_{t-1} f (1 - f), dg = dc i (1 - g^2), do = dh tanh(c) o (1 - o)."""
    x, w, u, b, upstream = _three_steps(4, ())
    h, c, kept = np.zeros(2), np.zeros(2), []
    for t in range(3):
        z_i, z_f, z_g, z_o = np.split(x[t] @ w + h @ u + b, 4)
        i, f, g, o = _sig(z_i), _sig(z_f), np.tanh(z_g), _sig(z_o)
        kept.append((i, f, g, o, c, f * c + i * g, h))
        c = f * c + i * g
        h = o * np.tanh(c)
    d_w, d_u, d_b, d_h, d_c = np.zeros_like(w), np.zeros_like(u), np.zeros_like(b), np.zeros(2), np.zeros(2)
    for t in (2, 1, 0):
        i, f, g, o, before, cell, h = kept[t]
        d_h = d_h + upstream[t]
        d_c = d_c + d_h * o * (1 - np.tanh(cell) ** 2)
        d_z = np.concatenate(
            [d_c * g * i * (1 - i), d_c * before * f * (1 - f), d_c * i * (1 - g**2), d_h * np.tanh(cell) * o * (1 - o)]
        )
        d_w, d_u, d_b = d_w + np.outer(x[t], d_z), d_u + np.outer(h, d_z), d_b + d_z
        d_h, d_c = u @ d_z, d_c * f
    for found, expected in zip(_of_kernel(kernels.lstm, x, [w, u, b], upstream, 2), (d_w, d_u, d_b), strict=True):
        assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("after", [True, False], ids=["after", "before"])
def test_gradients_of_a_gru_are_those_of_the_chain_rule_by_hand(after: bool) -> None:
    """h_t = z h_{t-1} + (1 - z) n: z weights the old state in both forms. So dn = dh (1 - z), dz = dh (h_{t-1} - n).

    dL/dh_{t-1} has dh z beside what comes through the gates and the candidate.
    """
    x, w, u, b, upstream = _three_steps(3, (2,) if after else ())
    given, own = (b[0], b[1]) if after else (b, np.zeros(6))
    u_zr, u_n = u[:, :4], u[:, 4:]
    h, kept = np.zeros(2), []
    for t in range(3):
        a = x[t] @ w + given
        z, r = np.split(_sig(a[:4] + h @ u_zr + own[:4]), 2)
        product = h @ u_n + own[4:] if after else (r * h) @ u_n
        n = np.tanh(a[4:] + (r * product if after else product))
        kept.append((z, r, n, product, h))
        h = z * h + (1 - z) * n
    d_w, d_u, d_given, d_own, d_h = np.zeros_like(w), np.zeros_like(u), np.zeros(6), np.zeros(6), np.zeros(2)
    for t in (2, 1, 0):
        z, r, n, product, h = kept[t]
        d_h = d_h + upstream[t]
        d_n = d_h * (1 - z) * (1 - n**2)
        d_z = d_h * (h - n) * z * (1 - z)
        d_r = (d_n * product if after else (u_n @ d_n) * h) * r * (1 - r)
        d_x, d_recurrent = np.concatenate([d_z, d_r, d_n]), np.concatenate([d_z, d_r, d_n * r if after else d_n])
        d_w, d_given, d_own = d_w + np.outer(x[t], d_x), d_given + d_x, d_own + d_recurrent
        d_u[:, :4] += np.outer(h, d_recurrent[:4])
        d_u[:, 4:] += np.outer(h if after else r * h, d_recurrent[4:])
        through = u_n @ d_recurrent[4:]
        d_h = d_h * z + u_zr @ d_recurrent[:4] + (through if after else through * r)
    d_b = np.stack([d_given, d_own]) if after else d_given

    def kernel(*arguments: Any, **options: Any) -> Any:
        return kernels.gru(*arguments, reset_after=after, **options)

    for found, expected in zip(_of_kernel(kernel, x, [w, u, b], upstream, 1), (d_w, d_u, d_b), strict=True):
        assert_allclose(found, expected, atol=1e-12)


def test_a_stateful_layer_goes_on_where_it_stopped() -> None:
    x = np.random.default_rng(5).normal(size=(ROWS, 8, INPUTS)).astype(np.float32)
    whole = layers.LSTM(UNITS, return_sequences=True)
    expected = whole(x)
    parts = layers.LSTM(UNITS, return_sequences=True, stateful=True)
    parts(x[:, :4])
    parts.reset_states()
    parts.set_weights(whole.get_weights())
    assert_allclose(np.concatenate([parts(x[:, :4]), parts(x[:, 4:])], 1), expected, atol=1e-6)


def test_a_saved_model_has_the_same_layers_and_answers(tmp_path: Path) -> None:
    inputs = keras.Input((None, INPUTS))
    x = keras.layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True))(inputs)
    x = layers.GRU(UNITS, return_sequences=True, reset_after=False)(x)
    model = keras.Model(inputs, layers.SimpleRNN(UNITS, activation="relu")(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    sample = np.random.default_rng(6).normal(size=(4, 5, INPUTS)).astype(np.float32)
    assert_allclose(loaded(sample), model(sample), atol=1e-6)


REASONS: Sequence[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"use_cudnn": False}, "use_cudnn is False"),
    ({"recurrent_dropout": 0.2}, "recurrent_dropout draws another mask for every step"),
    ({"activation": "relu"}, "the activation is relu, not tanh"),
    ({"recurrent_activation": "hard_sigmoid"}, "the recurrent activation is hard_sigmoid, not sigmoid"),
    ({"use_bias": False}, "use_bias is False"),
    ({"unroll": True}, "unroll is True"),
    ({"dtype": "float64"}, "the layer computes in float64"),
]


@pytest.mark.parametrize(("options", "reason"), REASONS, ids=str)
def test_a_layer_says_why_it_is_not_fast_and_answers_all_the_same(options: dict[str, Any], reason: str) -> None:
    layer = layers.LSTM(4, **options)
    assert layer.obstacle() == reason
    assert layer(np.zeros((2, 3, INPUTS), np.float32)).shape == (2, 4)


@pytest.mark.parametrize("kind", [layers.SimpleRNN, layers.LSTM, layers.GRU])
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_is_computed_in_float32_and_given_back_in_its_own_type(kind: Any, dtype: str) -> None:
    whole, half = (kind(4, dtype=each, return_sequences=True, return_state=True) for each in ("float32", dtype))
    x, mask = np.random.default_rng(4).normal(size=(3, 5, INPUTS)).astype(np.float32), np.arange(5) < [[5], [3], [0]]
    expected = whole(x, mask=tf.constant(mask))
    half(x)
    half.set_weights(whole.get_weights())
    found = half(x, mask=tf.constant(mask))
    assert layers.path(half) == "compiled for this CPU, in float32"
    assert {tensor.dtype.name for tensor in found} == {dtype.removeprefix("mixed_")}
    for ours, other in zip(found, expected, strict=True):
        assert_allclose(tf.cast(ours, tf.float32), other, atol=0.03)


def test_dropout_is_one_mask_for_all_steps() -> None:
    layer = layers.SimpleRNN(4, dropout=0.5, recurrent_initializer="zeros", return_sequences=True, seed=1)
    steps = np.array(layer(np.ones((8, 6, INPUTS), np.float32), training=True))
    assert_allclose(steps, np.repeat(steps[:, :1], 6, 1), atol=1e-6)
    assert len(np.unique(steps[:, 0].round(5), axis=0)) > 1


@pytest.mark.parametrize("use_cudnn", ["auto", False])
def test_weight_drop_makes_holes_in_the_recurrent_matrix_while_it_trains(use_cudnn: Any) -> None:
    layer = layers.SimpleRNN(64, weight_drop=0.25, use_cudnn=use_cudnn, seed=3, kernel_initializer="zeros")
    state = tf.eye(64)  # one step from the k-th unit vector gives the k-th row of the matrix
    whole = np.array(layer(np.zeros((64, 1, 2), np.float32), initial_state=state))
    assert_allclose(whole, np.tanh(layer.cell.recurrent_kernel), atol=1e-6)
    rows = np.array(layer(np.zeros((64, 1, 2), np.float32), initial_state=state, training=True))
    matrix = np.array(layer.cell.recurrent_kernel)
    kept = rows != 0.0
    assert abs(kept.mean() - 0.75) < 0.03
    assert_allclose(rows[kept], np.tanh(matrix / 0.75)[kept], atol=1e-5)
    again = np.array(layer(np.zeros((64, 1, 2), np.float32), initial_state=state, training=True))
    assert (again != rows).any()
    assert isinstance(layer.cell.recurrent_kernel, keras.Variable)
    assert layers.SimpleRNN.from_config(layer.get_config()).weight_drop == 0.25


def test_a_training_says_which_way_each_layer_goes_through_time() -> None:
    inputs = keras.Input((None, 3))
    x = keras.layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="bi")(inputs)
    x = recurrent_layer("gru", 4, name="fast")(x)[0]
    x = recurrent_layer("gru", 4, name="portable", use_cudnn=False)(x)[0]
    x = keras.layers.RNN(keras.layers.SimpleRNNCell(4), name="cell")(x)
    inner = keras.Model(inputs, x)
    first = inner.get_layer("bi").forward_layer.name
    assert paths(inner) == (
        f"{first.removeprefix('forward_')}, fast: compiled for this CPU; "
        "portable: step by step, Keras' loop: use_cudnn is False; "
        "cell: step by step, Keras' loop: its cell has no kernel"
    )


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_an_embedding_is_that_of_keras_and_its_gradient_has_rows(dtype: str) -> None:
    ours, theirs = (kind(7, 3, dtype=dtype, mask_zero=True) for kind in (layers.Embedding, keras.layers.Embedding))
    ids = tf.constant([[1, 5, 0], [5, 5, 2]])
    ours.build(ids.shape)
    theirs.build(ids.shape)
    theirs.set_weights(ours.get_weights())
    found, expected = ours(ids), theirs(ids)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(tf.cast(found, tf.float32), tf.cast(expected, tf.float32))
    np.testing.assert_array_equal(ours.compute_mask(ids), theirs.compute_mask(ids))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(ours(ids), tf.float32))
    gradient = tape.gradient(loss, ours.embeddings.value)
    assert isinstance(gradient, tf.IndexedSlices)
    assert tf.convert_to_tensor(gradient).numpy()[:, 0].tolist() == [1.0, 1.0, 1.0, 0.0, 0.0, 3.0, 0.0]
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(ours))
    assert type(again) is layers.Embedding and again.input_dim == 7
