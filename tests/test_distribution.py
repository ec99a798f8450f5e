"""Several devices that share a batch take the step of one: two logical CPUs, or GPUs, in a process of their own."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from warm import PROCESSES

from seqapps.layers import recurrent as layers
from seqapps.optimization.replicas import ONE, Replicas, replicas_of

CASES: dict[str, dict[str, Any]] = {
    # Batches of 5 rows leave a row of padding; the last window of the stream is part padding. The layer is compiled.
    "stream": {"training": {"batching": "stream", "clip": "auto"}, "model": {"units": [6]}},
    "budget": {
        "training": {
            "batching": "length",
            "token_budget": 30,
            "reduction": "sequence",
            "optimizer": "nt_asgd",
            "nonmonotone": 1,
            "learning_rate": 0.5,
            "epochs": 3,
        },
        "model": {"cell": "simple_rnn", "units": [6], "leak": 0.5},
    },
}


class Stopping:
    """Batches that break off when a step is asked for."""

    def __init__(self, batches: Any, stop_at: int) -> None:
        self._batches, self._stop_at = batches, stop_at
        for name in ("steps", "tokens", "batch_size", "carries", "padding"):
            setattr(self, name, getattr(batches, name))

    def dataset(self, epoch: int, start: int = 0) -> Any:
        return Broken(self._batches.dataset(epoch, start), self._stop_at - epoch * self._batches.steps - start)


class Broken:
    """A dataset that ends with an interrupt where a step is asked for."""

    def __init__(self, dataset: Any, stop_at: int) -> None:
        self._dataset, self._stop_at, self.element_spec = dataset, stop_at, dataset.element_spec

    def __iter__(self) -> Iterator[Any]:
        for step, batch in enumerate(self._dataset):
            if step == self._stop_at:
                raise KeyboardInterrupt
            yield batch


def trained(distribution: str, training: Any, model: Any, folder: str = "", stop_at: int = 10**6) -> dict[str, Any]:
    """Trains a small language model; returns its weights, those of the last copy, and what was reported."""
    from seqapps.applications import config_from
    from seqapps.architectures import stacked
    from seqapps.batching.documents import DocumentBatches
    from seqapps.batching.streams import StreamBatches
    from seqapps.dataset.ragged import Ragged
    from seqapps.training.loop import configure, scope, train

    tables: dict[str, Any] = {
        "application": "language_model",
        "source": {"builtin": "python-docs"},
        "model": {"embedding": 6, **model},
        "training": {"batch_size": 5, "window": 6, "epochs": 2, "early_stopping": 0, **training},
    }
    tables["training"]["distribution"] = distribution
    config = config_from(tables, "test")
    configure(config)
    settings, generator = config.training, np.random.default_rng(5)
    lengths = generator.integers(1, 9, 33)
    ids = Ragged(generator.integers(4, 20, lengths.sum()).astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]))
    batches: Any = StreamBatches(ids.values, batch_size=5, window=6, start=3)
    if settings.batching == "length":
        budget = settings.token_budget
        batches = DocumentBatches(ids, batch_size=5, window=6, start=2, seed=1, shuffle=True, token_budget=budget)
    with scope(config):
        built = stacked.build(config.model, vocabulary_size=20, carry=batches.carries)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as fresh:
        history = train(built, Stopping(batches, stop_at), batches, config, Path(folder or fresh))
    copies = [getattr(variable.value, "values", (variable.value,)) for variable in built.trainable_variables]
    seeds = [variable for variable in built.variables if variable.name == "seed_generator_state"]
    return {
        "weights": [np.array(variable).tolist() for variable in built.trainable_variables],
        "copies differ": any(bool(tf.reduce_any(values[0] != value)) for values in copies for value in values),
        "copies": len(copies[0]),
        "seeds": [[value.numpy().tolist() for value in getattr(seed.value, "values", ())] for seed in seeds],
        "logs": [{**vars(log), "seconds": 0, "tokens_per_second": 0} for log in history.epochs],
    }


def work(file: str) -> None:
    """Everything that needs two devices: they are made before TensorFlow begins."""
    gpus = tf.config.list_physical_devices("GPU")
    half = tf.config.LogicalDeviceConfiguration(memory_limit=1_024 if gpus else None)
    tf.config.set_logical_device_configuration((gpus or tf.config.list_physical_devices("CPU"))[0], [half] * 2)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    from seqapps.errors import UsageError

    found: dict[str, Any] = {"line": replicas_of("mirrored").line}
    for name, case in CASES.items():
        found[name] = {distribution: trained(distribution, **case) for distribution in ("none", "mirrored")}
    drops = {
        "training": {"batching": "stream", "deterministic": True, "checkpoint_steps": 2},
        "model": {"cell": "simple_rnn", "units": [4], "leak": 0.5, "dropout": 0.4},
    }
    found["whole"] = trained("mirrored", **drops)
    with tempfile.TemporaryDirectory() as folder:
        with pytest.raises(KeyboardInterrupt):
            trained("mirrored", **drops, folder=folder, stop_at=8)
        found["broken"] = trained("mirrored", **drops, folder=folder)
    try:
        trained("mirrored", {}, {"units": [4], "activation_penalty": 1.0})
    except UsageError as error:
        found["penalty"] = str(error)
    Path(file).write_text(json.dumps(found))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("devices") / "found.json"
    process = PROCESSES.Process(target=work, args=(str(file),))
    process.start()
    process.join(timeout=300)
    assert process.exitcode == 0
    return json.loads(file.read_text())


@pytest.mark.parametrize("name", CASES)
def test_two_devices_take_the_steps_of_one(found: Any, name: str) -> None:
    one, two = found[name]["none"], found[name]["mirrored"]
    assert (one["copies"], two["copies"], two["copies differ"]) == (1, 2, False)
    for weights, others in zip(one["weights"], two["weights"], strict=True):
        np.testing.assert_allclose(others, weights, atol=2e-6)
    for log, other in zip(one["logs"], two["logs"], strict=True):
        for figure in ("loss", "validation_loss", "gradient_norm", "gradient_norm_max", "clip_share"):
            assert other[figure] == pytest.approx(log[figure], rel=1e-5), figure


def test_devices_draw_different_dropout_and_a_broken_training_ends_as_an_unbroken_one(found: Any) -> None:
    for (seed, drawn), (other, as_often) in found["whole"]["seeds"]:
        assert seed != other
        assert drawn == as_often
    assert any(drawn > 0 for (_, drawn), _ in found["whole"]["seeds"])
    assert found["broken"] == found["whole"]


def test_what_is_reported_and_what_is_refused(found: Any) -> None:
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    assert found["line"] == f"mirrored: 2 devices share every batch: {kind}:0, {kind}:1"
    assert found["penalty"].startswith('`training.distribution` = "mirrored" cannot add `model.activation_penalty`')


def test_rows_are_divided_and_put_together_again() -> None:
    three = Replicas()
    three.count = 3
    batch = {"x": tf.reshape(tf.range(8), (4, 2)), "weights": tf.ones(4)}
    parts = three.split(batch)
    assert [part["x"].numpy().tolist() for part in parts] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[0, 0], [0, 0]]]
    assert [part["weights"].numpy().tolist() for part in parts] == [[1, 1], [1, 1], [0, 0]]
    assert three.joined([part["x"] for part in parts], 4).numpy().tolist() == batch["x"].numpy().tolist()


def test_one_device_changes_nothing() -> None:
    assert ONE.split("batch") == ["batch"]
    assert ONE.run(lambda x, y: (x, y), [("a", "b")]) == [("a", "b")]
    assert replicas_of("none") is ONE
    alone = replicas_of("mirrored")  # the tests' own process has one CPU
    assert (alone.count, alone.line) == (1, "mirrored: there is one device, which takes every batch")


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (lambda: layers.LSTM(4), "cuDNN"),
        (lambda: layers.GRU(4, weight_drop=0.2), "cuDNN"),
        (lambda: layers.LSTM(4, dtype="mixed_float16"), "cuDNN"),
        (lambda: layers.GRU(4, reset_after=False), "step by step, Keras' loop: cuDNN resets after the product alone"),
        (lambda: layers.SimpleRNN(4, activation="relu"), "cuDNN"),
        (lambda: layers.LSTM(4, use_cudnn=False), "step by step, Keras' loop: use_cudnn is False"),
        (lambda: layers.LSTM(4, activation="relu"), "step by step, Keras' loop: the activation is relu, not tanh"),
        (lambda: keras.layers.RNN(keras.layers.GRUCell(4)), "step by step, Keras' loop: its cell has no kernel"),
    ],
)
def test_what_a_layer_does_where_there_is_a_gpu(layer: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_gpus", lambda: True)
    assert layers.path(layer()) == words
