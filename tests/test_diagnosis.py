"""Gradients over time where the answer is known: matrices of a given radius, gates that stay open, tiny matrices."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose
from tiny import make_config

from seqapps.applications import config_from
from seqapps.architectures import stacked
from seqapps.batching.streams import StreamBatches
from seqapps.diagnosis import gates, matrices, unrolling
from seqapps.diagnosis.capture import Call, capture, recurrent_layers
from seqapps.diagnosis.examining import examine, examine_layer
from seqapps.diagnosis.pictures import draw
from seqapps.diagnosis.results import Clipping, Diagnosis, Gate, Layer, read_diagnosis, write_diagnosis
from seqapps.diagnosis.verdicts import judge, over_time
from seqapps.optimization.losses import PERPLEXITY, Objective
from seqapps.optimization.spectra import radius

ROWS, TIME, FEATURES, UNITS = 4, 30, 3, 8


def objective() -> Objective:
    """The mean square of the output at each position."""
    return Objective("loss", "min", lambda outputs, y: tf.reduce_mean(tf.square(outputs["out"] - y), axis=-1), None)


def one_layer(layer: Any, *, mask: bool = False, scale: float = 0.1) -> tuple[keras.Model, Any]:
    """A model of one recurrent layer over random numbers, and a batch; of the last step alone the loss is taken."""
    x = keras.Input((None, FEATURES), name="x")
    real = keras.ops.any(x != 0.0, axis=-1) if mask else None
    model = keras.Model({"x": x}, {"out": layer(x, mask=real)})
    generator = np.random.default_rng(1)
    values = generator.normal(size=(ROWS, TIME, FEATURES)) * scale
    if mask:
        values[1, 20:] = 0.0
        values[2, 8:] = 0.0
    width = model.outputs[0].shape[-1]
    targets = generator.normal(size=(ROWS, TIME, width))
    batch = {"x": tf.constant(values, tf.float32)}, tf.constant(targets, tf.float32), tf.ones((ROWS, TIME))
    return model, batch


def examined(layer: Any, **options: Any) -> list[Layer]:
    model, batch = one_layer(layer, **options)
    return [examine_layer(call) for call in capture(model, batch, objective()).calls]


def with_radius(radius: float, **options: Any) -> Any:
    scaled = keras.initializers.Orthogonal(gain=radius, seed=3)
    return keras.layers.SimpleRNN(UNITS, recurrent_initializer=scaled, return_sequences=True, **options)


# ---- known answers


@pytest.mark.parametrize(
    ("radius", "kind"),
    [(0.5, "vanishes"), (1.0, "steady"), (1.5, "explodes")],
)
def test_a_linear_rnn_of_a_known_radius(radius: float, kind: str) -> None:
    (layer,) = examined(with_radius(radius, activation="linear"), scale=1.0)
    assert_allclose(layer.gradient, radius ** np.arange(TIME), rtol=1e-3)
    assert [round(jacobian.norm, 3) for jacobian in layer.jacobians] == [radius] * 6
    (matrix,) = layer.matrices
    assert (matrix.gate, matrix.singular, matrix.radius) == ("recurrent", pytest.approx(radius), pytest.approx(radius))
    (verdict,) = over_time(layer)
    assert (verdict.kind, verdict.good) == (kind, kind == "steady")


@pytest.mark.parametrize(("radius", "kind"), [(0.5, "vanishes"), (1.5, "explodes")])
def test_a_tanh_rnn_in_its_linear_range(radius: float, kind: str) -> None:
    (layer,) = examined(with_radius(radius), scale=1e-8)
    (verdict,) = over_time(layer)
    assert verdict.kind == kind


def test_an_lstm_that_does_not_forget_neither_vanishes_nor_explodes() -> None:
    lstm = keras.layers.LSTM(UNITS, return_sequences=True)
    lstm.build((None, None, FEATURES))
    bias = np.array(lstm.cell.bias)
    bias[UNITS : 2 * UNITS] = 5.0
    lstm.cell.bias.assign(bias)
    (layer,) = examined(lstm)
    (verdict,) = over_time(layer)
    assert verdict.kind == "steady", layer.gradient
    assert [gate.name for gate in layer.gates] == ["input", "forget", "output", "candidate", "cell state"]
    forget = layer.gates[1]
    assert forget.high == 1.0
    # -1 / log(sigmoid(5)) = 149 steps.
    assert layer.time_constants == pytest.approx((149.0, 149.0, 149.0), rel=0.1)


# ---- how the gradient is found


def calls_of(layer: Any, **options: Any) -> list[Call]:
    model, batch = one_layer(layer, **options)
    return capture(model, batch, objective()).calls


@pytest.mark.parametrize("cell", ["SimpleRNN", "LSTM", "GRU"])
def test_the_gradient_is_the_product_of_the_jacobians(cell: str) -> None:
    (call,) = calls_of(getattr(keras.layers, cell)(4, return_sequences=True, seed=1), scale=1.0)
    steps = unrolling.unroll(call)
    row, last = 1, TIME - 1
    expected = np.concatenate([gradient[row, last] for gradient in steps.gradients])
    for time in range(last, last - 6, -1):
        before = [state[row, time] for state in steps.states]
        expected = expected @ unrolling.jacobian(call.layer.cell, steps.inputs[row, time], before)
        found = np.concatenate([gradient[row, time - 1] for gradient in steps.gradients])
        assert_allclose(found, expected, rtol=1e-3, atol=1e-7)


def test_a_jacobian_equals_differences() -> None:
    (call,) = calls_of(keras.layers.LSTM(3, return_sequences=True, seed=2), scale=1.0)
    steps, cell = unrolling.unroll(call), call.layer.cell
    inputs, states = steps.inputs[0, 9], [state[0, 9] for state in steps.states]
    found = unrolling.jacobian(cell, inputs, states)

    def after(flat: Any) -> Any:
        _, new = cell(inputs[None], [part[None] for part in np.split(flat, 2)])
        return np.concatenate([np.asarray(state)[0] for state in new])

    flat = np.concatenate(states)
    for place in range(6):
        moved = np.zeros(6, np.float32)
        moved[place] = 1e-2
        assert_allclose(found[:, place], (after(flat + moved) - after(flat - moved)) / 2e-2, atol=1e-4)


def test_the_loss_of_the_last_step_is_that_of_the_whole_model() -> None:
    """With one layer and no other way back, dL_T/dh_t is what a tape over the whole unrolled model gives."""
    layer = keras.layers.SimpleRNN(UNITS, return_sequences=True, seed=3)
    model, batch = one_layer(layer, scale=1.0)
    x, y, _ = batch
    steps = unrolling.unroll(capture(model, batch, objective()).calls[0])
    with tf.GradientTape() as tape:
        states = [tf.zeros((ROWS, UNITS))]
        tape.watch(states)
        for time in range(TIME):
            states.append(layer.cell(x["x"][:, time], [states[-1]])[0])
        loss = tf.reduce_sum(tf.reduce_mean(tf.square(states[-1] - y[:, -1]), axis=-1)) / (ROWS * TIME)
    found = tape.gradient(loss, states[1:])
    assert_allclose(steps.gradients[0], np.stack(found, axis=1), rtol=1e-4, atol=1e-9)


def test_padding_is_no_step() -> None:
    (call,) = calls_of(keras.layers.GRU(UNITS, return_sequences=True, seed=1), mask=True)
    steps = unrolling.unroll(call)
    assert steps.real.sum(axis=1).tolist() == [TIME, 20, 8, TIME]
    assert steps.distances[2, :9].tolist() == [7, 6, 5, 4, 3, 2, 1, 0, 0]
    _, _, rows = unrolling.gradient_over_time(steps)
    assert rows.tolist() == [4] * 8 + [3] * 12 + [2] * 10


def test_a_layer_that_reads_backwards_has_its_last_step_at_the_rows_beginning() -> None:
    both = keras.layers.Bidirectional(keras.layers.LSTM(UNITS, return_sequences=True, seed=1))
    forward, backward = examined(both, mask=True)
    assert (forward.backwards, backward.backwards) == (False, True)
    assert forward.seed == backward.seed == "loss"
    # Masked steps come first when a padded row is read from its end, and are none of its steps.
    assert forward.lengths == backward.lengths
    assert backward.gradient[0] == 1.0
    assert all(0.0 < share < 1.0 for share in backward.gradient[1:])


def test_capture_leaves_the_model_as_it_was() -> None:
    model, batch = one_layer(keras.layers.LSTM(UNITS, return_sequences=True))
    (layer,) = recurrent_layers(model)
    before = np.asarray(model(batch[0])["out"])
    capture(model, batch, objective())
    assert "call" not in vars(layer)
    assert layer.use_cudnn == "auto"
    np.testing.assert_array_equal(np.asarray(model(batch[0])["out"]), before)


# ---- gates and matrices


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.LSTM(5, return_sequences=True),
        keras.layers.GRU(5, return_sequences=True),
        keras.layers.GRU(5, return_sequences=True, reset_after=False),
        keras.layers.LSTM(5, return_sequences=True, use_bias=False, go_backwards=True),
    ],
)
def test_the_state_follows_from_the_gates(layer: Any) -> None:
    (call,) = calls_of(layer, scale=1.0, mask=True)
    found, why = gates.gates_of(call.layer.cell, unrolling.unroll(call))
    assert why == ""
    assert all(values.shape == (88, 5) for values in found.values())


def test_saturation_and_time_constants_by_hand() -> None:
    values = np.array([[0.01, 0.5], [0.04, 0.5], [0.5, 0.5], [0.97, 0.5]], np.float32)
    (gate,) = gates.summary({"input": values})
    assert (gate.low, gate.high) == (0.25, 0.125)
    low, middle, high = gates.time_constants({"forget": np.full((3, 2), 0.9, np.float32)}) or (0, 0, 0)
    assert (low, middle, high) == pytest.approx((9.491, 9.491, 9.491), abs=1e-3)
    assert gates.time_constants({"input": values}) is None


def test_singular_value_and_radius_by_hand() -> None:
    shear = np.array([[2.0, 3.0], [0.0, 1.0]], np.float32)
    assert matrices.spectral_radius(shear) == pytest.approx(2.0)
    assert matrices.largest_singular_value(shear) == pytest.approx(3.7025, abs=1e-4)
    big = np.diag(np.linspace(0.1, 3.0, 600)).astype(np.float32)
    big[0, 1] = 4.0
    assert matrices.largest_singular_value(big) == pytest.approx(np.linalg.norm(big, 2), rel=0.01)
    assert matrices.spectral_radius(np.ones((2, 3), np.float32)) is None


def test_the_quick_radius_is_within_three_percent() -> None:
    generator = np.random.default_rng(3)
    for size in (2, 10, 64):
        matrix = (generator.normal(size=(size, size)) / size**0.5).astype(np.float32)
        assert radius(matrix) == pytest.approx(float(np.abs(np.linalg.eigvals(matrix)).max()), rel=0.03)
    assert radius(1.5 * np.eye(7, dtype=np.float32)) == pytest.approx(1.5)
    assert radius(np.array([[0.0, 1.0], [0.0, 0.0]], np.float32)) == 0.0
    assert math.isnan(radius(np.full((2, 2), np.inf, np.float32)))


def test_units_that_stand_still_are_dead() -> None:
    layer = keras.layers.SimpleRNN(UNITS, activation="relu", return_sequences=True)
    layer.build((None, None, FEATURES))
    bias = np.zeros(UNITS, np.float32)
    bias[:3] = -100.0
    layer.cell.bias.assign(bias)
    (found,) = examined(layer)
    assert found.dead == 3


# ---- what cannot be examined


def test_a_layer_that_does_more_than_its_cell_says_so() -> None:
    class Doubled(keras.layers.SimpleRNN):  # type: ignore[misc]
        def inner_loop(self, *arguments: Any, **options: Any) -> Any:
            last, outputs, states = super().inner_loop(*arguments, **options)
            return last * 2.0, outputs * 2.0, states

    (found,) = examined(Doubled(UNITS, return_sequences=True))
    assert "does more than its cell" in found.notes[0]
    assert list(over_time(found)) == []


# ---- verdicts and the record


def layer_with(**fields: Any) -> Layer:
    """A layer of 10 units whose gradient halves every step, over 20 steps."""
    shares = tuple(0.5**step for step in range(21))
    known = {"name": "rnn_0", "cell": "SimpleRNNCell", "units": 10, "backwards": False, "seed": "loss"}
    return Layer(**{**known, "gradient": shares, "states": {"h": shares}, "lengths": (4,) * 21, **fields})


def diagnosis_with(*layers: Layer, **fields: Any) -> Diagnosis:
    known = {"model": "trained", "batch": (1, 3), "rows": 4, "loss": 1.5, "finite": True, "clipping": None}
    return Diagnosis(**{**known, "layers": layers, "variables": (), **fields})


def test_a_vanishing_layer_is_reported_with_its_figures_and_lines_of_the_configuration() -> None:
    config = make_config(model={"cell": "simple_rnn"})
    (verdict,) = judge(diagnosis_with(layer_with()), config)
    assert (verdict.kind, verdict.where, verdict.good) == ("vanishes", "rnn_0", False)
    assert verdict.text == (
        "half of the gradient is gone after one step, and half of the rows have 21 or more: 9.5e-07 of it is left "
        "after 20 (to 0.50 a step)"
    )
    assert verdict.remedies[0] == 'model.cell = "lstm"'
    # Every remedy is a line that the configuration takes.
    for line in verdict.remedies:
        field, _, value = line.removeprefix("model.").partition(" = ")
        make_config(model={"cell": "simple_rnn", field: json.loads(value)})


def test_only_the_length_that_half_of_the_rows_have_counts() -> None:
    slowly = tuple(0.5 ** (step / 3) for step in range(21))
    (whole,), (half,) = (
        over_time(layer_with(gradient=slowly, lengths=lengths)) for lengths in ((4,) * 21, (4,) * 6 + (1,) * 15)
    )
    assert (whole.kind, half.kind) == ("vanishes", "steady")
    assert half.text == (
        "the gradient neither vanishes nor explodes: half of it is gone after 3 steps, and half of the rows have 6 or "
        "more: 0.31 of it is left after 5"
    )


def test_an_lstm_that_forgot_is_recognised_by_its_pace() -> None:
    # 0.0013 of the gradient after 18 steps.
    pace = 0.0013 ** (1 / 18)
    (verdict,) = over_time(layer_with(gradient=tuple(pace**step for step in range(19)), lengths=(4,) * 19))
    assert (verdict.kind, verdict.good) == ("vanishes", False)
    assert verdict.text.startswith("half of the gradient is gone after 2 steps, and half of the rows have 19 or more")
    # It falls at first, and then goes on as it is: what is left reaches the first step.
    (verdict,) = over_time(layer_with(gradient=(1.0, 0.4, *[0.3] * 17), lengths=(4,) * 19))
    assert (verdict.kind, "half of it is gone after one step" in verdict.text) == ("steady", True)


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        (
            {"gates": (Gate(name="input", mean=0.02, low=0.95, high=0.0),)},
            "saturated",
            "the input is saturated: 95% low and 0% high, mean 0.02",
        ),
        ({"dead": 4}, "dead", "4 of 10 units output the same at every step"),
        ({"gradient": (1.0, float("nan")), "lengths": (4, 4)}, "explodes", "the gradient is not finite within 1 steps"),
    ],
)
def test_what_is_wrong_with_a_layer(fields: dict[str, Any], kind: str, text: str) -> None:
    steady = {"gradient": (1.0,) * 21, **fields}
    bad = [verdict for verdict in judge(diagnosis_with(layer_with(**steady)), make_config()) if not verdict.good]
    assert [(verdict.kind, verdict.text) for verdict in bad] == [(kind, text)]


def test_clipping_that_always_acts_is_reported() -> None:
    clipping = Clipping(
        how="global_norm", threshold=1.0, share=0.8, last=0.9, mean=3.14, largest=20.0, hardest=0.05, skipped=2,
        skipped_at=((2, 7),),
    )  # fmt: skip
    verdicts = judge(diagnosis_with(clipping=clipping), make_config())
    assert [verdict.text for verdict in verdicts] == [
        "2 steps had a gradient that is not finite, and moved nothing; the first ones: --epoch 2 --step 7",
        "clipping acted on 80% of the steps (threshold 1, mean norm 3.14, hardest factor 0.05): the threshold, more "
        "than the learning rate, decides how far a step goes",
    ]
    assert verdicts[1].remedies == ('training.clip = "auto"', "training.clip_threshold = 3.1")


def test_the_record_is_read_back_with_what_is_not_finite(tmp_path: Path) -> None:
    found = diagnosis_with(layer_with(gradient=(1.0, float("inf")), lengths=(4, 4)), loss=float("nan"))
    write_diagnosis(found, tmp_path)
    again = read_diagnosis(tmp_path)
    assert again is not None
    assert math.isnan(again.loss)
    assert again.layers == found.layers
    assert draw(again, tmp_path)["gradients over time"].stat().st_size > 5_000
    assert read_diagnosis(tmp_path / "nowhere") is None


# ---- a whole model


def test_a_whole_model_is_examined_and_left_as_it_was() -> None:
    config = config_from(
        {
            "application": "language_model",
            "source": {"builtin": "python-docs"},
            "model": {"units": [12], "embedding": 8, "cell": "gru", "dropout": 0.2},
            "training": {"batch_size": 4, "window": 8, "clip": "auto"},
        },
        "test",
    )
    model = stacked.build(config.model, vocabulary_size=12, carry=True)  # type: ignore[arg-type]
    before = [np.array(variable) for variable in model.variables]
    batches = StreamBatches(np.tile(np.arange(4, 12), 25), batch_size=4, window=8, start=3)
    found = examine(model, batches, PERPLEXITY, config, at=(1, 2))
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(value, np.array(variable))
    assert (found.model, found.batch, found.rows, found.finite) == ("initial", (1, 2), 4, True)
    assert [(layer.name, layer.cell, layer.steps) for layer in found.layers] == [("gru_0", "GRUCell", 7)]
    assert all(variable.gradient > 0.0 and variable.update > 0.0 for variable in found.variables)
    # A GRU that has learned nothing mixes half of the state away at every step.
    assert [verdict.kind for verdict in found.verdicts] == ["vanishes"]
    with pytest.raises(IndexError, match="epoch 1 has no step 99: its steps are 1 to 7"):
        examine(model, batches, PERPLEXITY, config, at=(1, 99))
