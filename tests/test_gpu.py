"""Layers on a GPU are Keras' layers under every mask; a training learns there as on a CPU, and its export needs no GPU.

Without a GPU cuDNN is played by its equations, so that the packing of rows and the layout of weights are tested, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console
from tiny import make_prepared

from seqapps.layers import recurrent as layers
from seqapps.layers.kernels import cudnn

GPUS = tf.config.list_physical_devices("GPU")
with_gpu = pytest.mark.skipif(not GPUS, reason="no GPU is here")
without_gpu = pytest.mark.skipif(bool(GPUS), reason="the GPU's own cuDNN is tested")

ROWS, STEPS, INPUTS, UNITS = 6, 7, 3, 5
CELLS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "lstm": (keras.layers.LSTM, layers.LSTM, {}),
    "gru": (keras.layers.GRU, layers.GRU, {}),
    "tanh": (keras.layers.SimpleRNN, layers.SimpleRNN, {}),
    "relu": (keras.layers.SimpleRNN, layers.SimpleRNN, {"activation": "relu"}),
}
LENGTHS = np.array([7, 1, 4, 0, 6, 2])
MASKS: dict[str, Any] = {
    "none": None,
    "right": np.arange(STEPS) < LENGTHS[:, None],
    "left": np.arange(STEPS) >= STEPS - LENGTHS[:, None],
    "holes": np.random.default_rng(3).random((ROWS, STEPS)) < LENGTHS[:, None] / STEPS,
}


def equations(
    *, input_h: Any, input_c: Any, params: Any, sequence_lengths: Any, rnn_mode: str, **options: Any
) -> tuple[Any, Any, Any, None, None]:
    """What `CudnnRNNV3` outputs, from the equations of cuDNN's handbook (`cudnnRNNMode_t`), step by step."""
    rows, axis = options.pop("input"), 0 if options.pop("time_major") else 1
    assert options == {"is_training": True}
    rows = rows if axis else tf.transpose(rows, (1, 0, 2))
    _, steps, inputs = rows.shape
    units, gates = input_h.shape[-1], {"lstm": 4, "gru": 3}.get(rnn_mode, 1)
    sizes = [inputs * units] * gates + [units * units] * gates + [units] * (2 * gates)
    parts = tf.split(params, sizes)
    w = [tf.reshape(part, (units, inputs)) for part in parts[:gates]]
    r = [tf.reshape(part, (units, units)) for part in parts[gates : 2 * gates]]
    b, d = parts[2 * gates : 3 * gates], parts[3 * gates :]
    h, c, outputs = tf.squeeze(input_h, axis), tf.squeeze(input_c, axis) if rnn_mode == "lstm" else None, []

    def sums(k: int, x: Any, h: Any) -> Any:
        return x @ tf.transpose(w[k]) + b[k] + h @ tf.transpose(r[k]) + d[k]

    for step in range(steps):
        x, real = rows[:, step], (step < sequence_lengths)[:, None]
        if rnn_mode == "lstm":
            i, f, g, o = tf.sigmoid(sums(0, x, h)), tf.sigmoid(sums(1, x, h)), tf.tanh(sums(2, x, h)), sums(3, x, h)
            after_c = f * c + i * g
            after, c = tf.sigmoid(o) * tf.tanh(after_c), tf.where(real, after_c, c)
        elif rnn_mode == "gru":
            reset, keep = tf.sigmoid(sums(0, x, h)), tf.sigmoid(sums(1, x, h))
            new = tf.tanh(x @ tf.transpose(w[2]) + b[2] + reset * (h @ tf.transpose(r[2]) + d[2]))
            after = (1 - keep) * new + keep * h
        else:
            after = (tf.nn.relu if rnn_mode == "rnn_relu" else tf.tanh)(sums(0, x, h))
        outputs.append(tf.where(real, after, 0.0))
        h = tf.where(real, after, h)
    last = [state if state is None else tf.expand_dims(state, axis) for state in (h, c)]
    return tf.stack(outputs, axis), *last, None, None


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU: a real one, its products in whole float32, or the equations instead."""
    if GPUS:
        tf.config.experimental.enable_tensor_float_32_execution(False)
        return
    monkeypatch.setattr(layers, "_gpus", lambda: True)
    monkeypatch.setattr(tf.raw_ops, "CudnnRNNV3", equations)


def results(layer: Any, x: Any, mask: Any, states: Sequence[Any]) -> list[Any]:
    """Outputs, last states and all gradients of a layer, of either direction or both."""
    with tf.GradientTape() as tape:
        tape.watch([x, *states])
        found = layer(x, mask=mask, initial_state=list(states), training=True)
        upstream = tf.constant(np.sin(np.arange(found[0].shape.num_elements())).reshape(found[0].shape), tf.float32)
        loss = tf.reduce_sum(found[0] * upstream) + tf.add_n([tf.reduce_sum(tf.square(s)) for s in found[1:]])
    variables = [weight.value for weight in layer.trainable_weights]
    return [*found, *tape.gradient(loss, [x, *states, *variables])]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("options", [{}, {"go_backwards": True}, {"zero_output_for_mask": True}, {"both": True}])
@pytest.mark.parametrize("masked", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_layers_on_a_gpu_are_those_of_keras(cell: str, masked: str, options: dict[str, Any]) -> None:
    theirs, ours, own = CELLS[cell]
    options = {"return_sequences": True, "return_state": True, **own, **options}
    both = options.pop("both", False)
    loop = {} if theirs is keras.layers.SimpleRNN else {"use_cudnn": False}
    made = [theirs(UNITS, **options, **loop), ours(UNITS, **options)]
    made = [keras.layers.Bidirectional(layer) for layer in made] if both else made
    random = np.random.default_rng(1)
    for layer in made:
        layer.build((ROWS, STEPS, INPUTS))
    made[0].set_weights([random.normal(0.0, 0.4, weight.shape) for weight in made[0].weights])
    made[1].set_weights(made[0].get_weights())
    x = tf.constant(random.normal(0.0, 1.0, (ROWS, STEPS, INPUTS)), tf.float32)
    count = (2 if cell == "lstm" else 1) * (2 if both else 1)
    states = [tf.constant(random.normal(0.0, 1.0, (ROWS, UNITS)), tf.float32) for _ in range(count)]
    mask = None if MASKS[masked] is None else tf.constant(MASKS[masked])
    assert layers.path(made[1].forward_layer if both else made[1]) == "cuDNN"
    for one, other in zip(results(made[1], x, mask, states), results(made[0], x, mask, states), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("cell", CELLS)
def test_the_last_output_alone_and_dropout(cell: str) -> None:
    _, ours, own = CELLS[cell]
    x, mask = tf.ones((ROWS, STEPS, INPUTS)), tf.constant(MASKS["right"])
    whole, last = ours(UNITS, return_sequences=True, **own), ours(UNITS, **own)
    outputs = whole(x, mask=mask)
    last.build(x.shape)
    last.set_weights(whole.get_weights())
    np.testing.assert_allclose(last(x, mask=mask), outputs[:, -1], atol=1e-6)
    holed = ours(UNITS, dropout=0.5, weight_drop=0.5 if cell != "relu" else 0.0, **own)
    first, second = (holed(x, training=True) for _ in range(2))
    assert np.abs(first - second).max() > 0
    np.testing.assert_allclose(holed(x), holed(x, training=False), atol=1e-6)


@pytest.mark.usefixtures("gpu")
def test_keras_puts_no_xla_around_cudnn() -> None:
    # Keras asks when a model is compiled, which may be before a layer is called. Its LSTM and GRU know by themselves.
    assert [layers.SimpleRNN(4, use_cudnn=use).supports_jit for use in ("auto", True, False)] == [False, False, True]


def test_masked_steps_go_behind_the_others() -> None:
    real = tf.constant([[True, False, True, False], [False, False, False, False], [True, True, True, True]])
    forth, back = cudnn.pack(real, back=False), cudnn.pack(real, back=True)
    assert forth.lengths.numpy().tolist() == back.lengths.numpy().tolist() == [2, 0, 4]
    assert forth.order.numpy().tolist() == [[0, 2, 1, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert back.order.numpy().tolist() == [[2, 0, 1, 3], [0, 1, 2, 3], [3, 2, 1, 0]]
    assert forth.seen.numpy().tolist() == [[1, 1, 2, 2], [0, 0, 0, 0], [1, 2, 3, 4]]
    assert back.seen.numpy().tolist() == [[0, 1, 1, 2], [0, 0, 0, 0], [1, 2, 3, 4]]
    x = tf.reshape(tf.range(12.0), (3, 4, 1))
    assert forth.unpacked(forth.packed(x), zeros=False)[0, :, 0].numpy().tolist() == [0, 0, 2, 2]
    assert back.unpacked(back.packed(x), zeros=True)[0, :, 0].numpy().tolist() == [0, 2, 0, 0]


# ---- what only a GPU can show

TRAININGS: dict[str, dict[str, Any]] = {
    "stream": {"training": {"batching": "stream", "window": 16, "clip": "auto"}},
    # The last batch of an epoch has rows that are all padding.
    "length": {"training": {"batching": "length", "batch_size": 7, "window": 16}, "model": {"cell": "lstm"}},
    "budget": {
        "training": {"batching": "length", "token_budget": 60, "optimizer": "sgd"},
        "model": {"cell": "simple_rnn"},
    },
    "lazy": {"training": {"optimizer": "lazy_adam"}, "model": {"cell": "lstm", "weight_drop": 0.3}},
    "parts": {"model": {"cell": "lstm", "layer_norm": "cell", "units": [8, 8], "layer_skip": "residual"}},
}


def trained(folder: Path, prepared: Any, **sections: Any) -> Any:
    """Trains the tiny model; returns what was reported at the start, the history and the folder of the model."""
    from seqapps.applications import application_of, config_from
    from seqapps.training import loop as training
    from seqapps.training.trained_model import save_trained

    config, path, manifest = prepared
    tables = config.model_dump(mode="json")
    for name, values in sections.items():
        tables[name] |= values
    config = config_from(tables, "tiny")
    training.configure(config)
    application = application_of(config)
    with training.scope(config):
        model = application.build(manifest)
    reported: dict[str, Any] = {}

    class Listening:
        def on_start(self, plan: Any) -> None:
            reported["recurrence"] = plan.recurrence

        def __getattr__(self, name: str) -> Any:
            return lambda *_: None

    history = training.train(
        model,
        application.batches(path, manifest, "train"),
        application.batches(path, manifest, "validation"),
        config,
        folder,
        listeners=[Listening()],
        objective=application.criterion(manifest, model),
    )
    keras.mixed_precision.set_global_policy("float32")
    save_trained(folder / "model", application, manifest, model, path)
    return reported["recurrence"], history, folder / "model"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_prepared(tmp_path_factory.mktemp("prepared"))


@with_gpu
@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_on_a_gpu_learns_what_keras_loop_learns(
    name: str, prepared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tf.config.experimental.enable_tensor_float_32_execution(False)
    line, found, _ = trained(tmp_path / "gpu", prepared, **TRAININGS[name])
    assert ("cuDNN" in line) == (name != "parts"), line
    monkeypatch.setattr(layers._Recurrent, "obstacle", lambda self: "the test asks for Keras' loop")
    line, expected, _ = trained(tmp_path / "loop", prepared, **TRAININGS[name])
    assert "cuDNN" not in line
    for one, other in zip(found.epochs, expected.epochs, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-3)
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=1e-3)


@with_gpu
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_learns(precision: str, prepared: Any, tmp_path: Path) -> None:
    losses = []
    for kind in ("float32", precision):
        training = {"batching": "length", "precision": kind}
        line, history, _ = trained(tmp_path / kind, prepared, training=training, model={"cell": "lstm"})
        assert line == "lstm_0: cuDNN"
        losses.append(history.epochs[-1].validation_loss)
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


@with_gpu
def test_the_training_step_holds_cudnn_and_the_export_does_not(prepared: Any, tmp_path: Path) -> None:
    from seqapps.serving.exporting import export

    line, _, folder = trained(tmp_path / "run", prepared, training={"batching": "length"}, model={"cell": "lstm"})
    assert line == "lstm_0: cuDNN"
    # It refuses operations of cuDNN, and a process on the CPU answers what the trained model answers.
    report = export(folder, prepared[1], tmp_path / "export", console=Console(quiet=True))
    assert report.largest_difference < 1e-4
    record = json.loads((tmp_path / "export" / "model.json").read_text())
    assert record["golden"]["calls"] == report.calls


@without_gpu
def test_there_is_a_note_where_no_gpu_is() -> None:
    assert layers.path(layers.LSTM(4)) == "compiled for this CPU"
