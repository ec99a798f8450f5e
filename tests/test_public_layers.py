"""The public layers: their names, documentation and examples, and that each of them can do what Keras' layers can."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import pkgutil
import pydoc
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from seqapps import layers

PAGE = Path(__file__).parent.parent / "docs" / "layers.md"
NAMES = (
    "ActivationPenalty", "AdaptiveSoftmax", "Attention", "AttentionPooling", "Blanks", "Cell", "Embedding",
    "FeedbackCell", "FeedingDecoder", "GRU", "LSTM", "LabelCode", "LayerSkip", "ReverseWords", "RowsAsWords",
    "ScheduledSampling", "SimpleRNN", "TiedLogits", "Transitions", "VocabularyDropout", "WordDropout", "WordsAsRows",
)  # fmt: skip
"""Files hold these names as `seqapps>NAME`: one that changes makes files unreadable."""
OWN = {"LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU, "SimpleRNN": keras.layers.SimpleRNN}
SECTIONS = ("Source: ", "Args:\n", "Call arguments:\n", "Returns:\n", "Example:\n")
MODULES = [importlib.import_module(f"seqapps.layers.{info.name}") for info in pkgutil.iter_modules(layers.__path__)]
EXAMPLES = [test for module in MODULES for test in doctest.DocTestFinder().find(module) if test.examples]

of_every_layer = pytest.mark.parametrize("name", NAMES)
of_every_kind = pytest.mark.parametrize("name", OWN)

IDS = np.array([[4, 5, 6, 0], [7, 0, 0, 0]], "int32")
REAL = IDS != 0
X = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)


# ---- names and documentation


def test_the_public_names_are_all_layers_that_are_registered() -> None:
    classes = {name for name in layers.__all__ if isinstance(getattr(layers, name), type)}
    found = {value for module in MODULES for value in vars(module).values() if isinstance(value, type)}
    registered = {kind for kind in found if keras.saving.get_registered_name(kind).startswith("seqapps>")}
    assert classes == set(NAMES) == {kind.__name__ for kind in registered}
    for name in NAMES:
        assert keras.saving.get_registered_name(getattr(layers, name)) == f"seqapps>{name}"
        assert keras.saving.get_registered_object(f"seqapps>{name}") is getattr(layers, name)


def test_completion_offers_the_public_names_alone() -> None:
    assert dir(layers) == sorted(layers.__all__)
    assert all(inspect.getdoc(getattr(layers, name)) for name in layers.__all__)


@of_every_layer
def test_every_layer_says_what_it_takes_and_gives(name: str) -> None:
    kind = getattr(layers, name)
    message = inspect.cleandoc(kind.__dict__["__doc__"])
    summary, _, rest = message.partition("\n\n")
    assert "\n" not in summary and summary.endswith(".")
    assert "keras" in rest.lower()
    assert [message.index(section) for section in SECTIONS] == sorted(message.index(section) for section in SECTIONS)
    parts = {each: message.partition(each)[2].partition("\n\n")[0] for each in SECTIONS}
    assert "[" in parts["Returns:\n"] or name == "ActivationPenalty"  # it returns an argument
    filled = {"kwargs", "memory_mask", "dropped_mask"} | ({"mask"} if name == "AttentionPooling" else set())
    for section, function in (("Args:\n", kind.__init__), ("Call arguments:\n", kind.call)):
        text = message.partition(section)[2]
        if function is keras.layers.Layer.__init__:
            continue  # they are what `options` stands for
        for argument in list(inspect.signature(function).parameters)[1:]:
            assert argument in filled or f"\n    {argument}: " in "\n" + text, argument


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name.removeprefix("seqapps.layers."))
def test_the_examples_of_the_documentation(example: doctest.DocTest) -> None:
    message: list[str] = []
    doctest.DocTestRunner().run(example, out=message.append)
    assert message == []


def test_the_examples_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    page = PAGE.read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    assert capsys.readouterr().out == "recurrent_dropout draws another mask for every step\n"
    assert_allclose(names["again"](IDS), names["model"](IDS), atol=1e-6)
    assert type(names["again"].get_layer("both").forward_layer) is layers.LSTM
    table = page.partition("## All layers")[2].partition("\n## ")[0]
    assert set(NAMES) <= set(re.findall(r"`(\w+)`", "".join(row.split("|")[0] for row in table.split("\n|")[1:])))


def test_every_layer_has_an_example() -> None:
    assert {test.name.rpartition(".")[2] for test in EXAMPLES} >= set(NAMES)


@of_every_kind
def test_help_shows_the_arguments_of_keras_and_ours(name: str) -> None:
    ours, theirs = (
        [(each.name, each.default) for each in inspect.signature(kind).parameters.values()][:-1]
        for kind in (getattr(layers, name), OWN[name])
    )
    added = [("use_cudnn", "auto"), ("weight_drop", 0.0)] if name == "SimpleRNN" else [("weight_drop", 0.0)]
    assert ours == [*theirs, *added]
    text = pydoc.plain(pydoc.render_doc(getattr(layers, name)))
    assert "return_sequences: 'bool' = False" in text
    assert f"weights and results of `keras.layers.{name}`" in text


# ---- arguments


def decoder_of_sampling() -> keras.Model:
    target, state = keras.Input((None,), dtype="int32", name="target"), keras.Input((4,), name="state_0_h")
    cell = layers.SimpleRNN(4, return_sequences=True, return_state=True, use_cudnn=False, seed=1)
    x, last = cell(layers.Embedding(9, 4)(target), initial_state=state)
    outputs = {"logits": keras.layers.Dense(9)(x), "state_0_h": last}
    return keras.Model({"target": target, "state_0_h": state}, outputs)


ARGUMENTS: dict[str, Callable[..., dict[str, Any]]] = {
    "ActivationPenalty": lambda: {"activation": 2.0, "temporal": 1.0},
    "AdaptiveSoftmax": lambda: {"vocabulary_size": 9, "cutoffs": [3, 6], "reduction": 2, "seed": 5},
    "Attention": lambda: {"score": "additive", "units": 3, "seed": 5},
    "AttentionPooling": lambda: {"units": 5, "seed": 5},
    "Blanks": lambda: {"rate": 0.5, "blank": 8, "seed": 5},
    "Cell": lambda: {
        "kind": "lstm",
        "units": 4,
        "seed": 5,
        "options": {"normalise": True, "transition_depth": 1, "transition_skip": True, "skip_steps": 2},
    },
    "Embedding": lambda: {"input_dim": 9, "output_dim": 3, "mask_zero": True},
    "FeedbackCell": lambda: {
        "cell": "gru", "units": (4, 2), "targets": 1, "answers": 2, "point": 1, "cumulative": True,
        "options": {"reset": "before"}, "seed": 5,
    },
    "FeedingDecoder": lambda **own: {  # the layers that it is made of have policies of their own
        "cells": [keras.layers.GRUCell(4, **own), layers.Cell("gru", 4, {"normalise": True}, **own)],
        "dropouts": [0.1, 0.2, 0.3],
        "attention": layers.Attention("dot", 4, **own),
        "readout": keras.layers.Dense(6, "tanh", **own),
        "seed": 5,
    },
    "GRU": lambda: {"units": 4, "reset_after": False, "weight_drop": 0.5, "use_cudnn": False, "seed": 5},
    "LSTM": lambda: {"units": 4, "weight_drop": 0.5, "zero_output_for_mask": True, "seed": 5},
    "LabelCode": lambda: {"labels": 3, "size": 2, "seed": 5},
    "LayerSkip": lambda: {"kind": "highway", "seed": 5},
    "ReverseWords": dict,
    "RowsAsWords": dict,
    "ScheduledSampling": lambda: {"decoder": decoder_of_sampling(), "share": 0.5, "steps": 7, "seed": 5},
    "SimpleRNN": lambda: {"units": 4, "activation": "relu", "weight_drop": 0.5, "use_cudnn": False, "seed": 5},
    "TiedLogits": lambda: {"embedding": keras.layers.Embedding(9, 4)},
    "Transitions": lambda: {"allowed": [[True, False, True]] * 3},
    "VocabularyDropout": lambda: {"rate": 0.5, "size": 9, "seed": 5},
    "WordDropout": lambda: {"rate": 0.5, "seed": 5},
    "WordsAsRows": dict,
}  # fmt: skip


@of_every_layer
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_configuration_holds_every_argument(name: str, dtype: str) -> None:
    kind, arguments = getattr(layers, name), ARGUMENTS[name]()
    layer = kind(**arguments, name="named", trainable=False, dtype=dtype)
    message = layer.get_config()
    names = set(inspect.signature(kind.__init__).parameters) - {"self", "options", "arguments", "kwargs"}
    if name == "Embedding":
        names -= {"weights", "lora_rank", "lora_alpha", "quantization_config"}  # Keras tells them where they are used
    assert names <= {*message, "weight_drop"}
    assert json.loads(json.dumps(message)) is not None  # a file holds JSON
    again = kind.from_config(json.loads(json.dumps(message)))
    assert (again.name, again.trainable, again.dtype_policy.name) == ("named", False, dtype)
    _same_configuration(again.get_config(), message)
    _same_configuration(
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer)).get_config(), message
    )


def _same_configuration(found: Any, expected: Any) -> None:
    """Compares JSON without the numbers of objects, which differ in every call."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items() if key != "shared_object_id"}
        return [plain(part) for part in value] if isinstance(value, list | tuple) else value

    assert plain(found) == plain(expected)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("ActivationPenalty", {"activation": -1.0, "temporal": 0.0}, "not negative. Received: -1.0 and 0.0"),
    ("AdaptiveSoftmax", {"vocabulary_size": 9, "cutoffs": [3], "reduction": 0}, "reduction must be at least 1"),
    ("Attention", {"score": "Dot", "units": 3}, "score must be one of 'dot', 'general', 'additive'. Received: 'Dot'"),
    ("AttentionPooling", {"units": 0}, "units must be at least 1. Received: 0"),
    ("Blanks", {"rate": -0.1, "blank": 4}, r"rate must be a share. Received: -0.1. Allowed: \[0, 1\)"),
    ("Cell", {"kind": "lstmm", "units": 3}, "kind must be one of 'simple_rnn', 'lstm', 'gru'. Received: 'lstmm'"),
    ("Cell", {"kind": "lstm", "units": 3, "options": {"leek": 0.5}}, "'leak'.*Received: 'leek'"),
    ("Cell", {"kind": "lstm", "units": 3, "options": {"leak": 0.5}}, "leak and learn_leak are for kind = 'simple_rnn'"),
    (
        "Cell",
        {"kind": "simple_rnn", "units": 3, "options": {"learn_leak": True}},
        "learn_leak begins at leak, which is 0",
    ),
    ("Cell", {"kind": "lstm", "units": 3, "options": {"reset": "before"}}, "reset = 'before' is for kind = 'gru'"),
    ("Cell", {"kind": "gru", "units": 3, "options": {"transition_skip": True}}, "transition_depth, which is 0"),
    ("FeedbackCell", {**ARGUMENTS["FeedbackCell"](), "point": 2}, "point must be one of 0, 1. Received: 2"),
    ("FeedingDecoder", {"cells": [1], "dropouts": [0], "attention": 0, "readout": 0}, "one more than the 1 cells"),
    ("GRU", {"units": 3, "weight_drop": 1.0}, "weight_drop must be a share"),
    ("LSTM", {"units": 3, "use_cudnn": "yes"}, "use_cudnn"),
    ("LabelCode", {"labels": 0, "size": 2}, "labels must be at least 1"),
    ("LayerSkip", {"kind": "resid"}, "kind must be one of 'residual', 'highway'. Received: 'resid'"),
    ("SimpleRNN", {"units": 3, "use_cudnn": "yes"}, "use_cudnn must be one of 'auto', True, False. Received: 'yes'"),
    ("ScheduledSampling", {"decoder": None, "share": 1.5, "steps": 0}, "Received: 1.5 and 0"),
    ("Transitions", {"allowed": [[True, True]] * 3}, r"Received: 3 rows of \[2\] columns"),
    ("VocabularyDropout", {"rate": 1.0, "size": 9}, "rate must be a share"),
    ("WordDropout", {"rate": 1.5}, "rate must be a share"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_an_argument_without_a_meaning_is_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(layers, name)(**arguments)


# ---- models of all layers


def _inputs() -> dict[str, Any]:
    return {
        "x": keras.Input((4, 3), name="x"),
        "ids": keras.Input((4,), dtype="int32", name="ids"),
        "real": keras.Input((4,), dtype="bool", name="real"),
        "state": keras.Input((4,), name="state"),
        "label": keras.Input((), dtype="int32", name="label"),
    }


GIVEN = {"x": X, "ids": IDS, "real": REAL, "state": np.ones((2, 4), np.float32), "label": np.array([0, -1], "int32")}


def outputs_of(name: str, given: dict[str, Any], **options: Any) -> Any:
    """Returns the outputs of a layer of ours for inputs as in `GIVEN`."""
    x, ids, real, state = (given[each] for each in ("x", "ids", "real", "state"))
    arguments = ARGUMENTS[name](**(options if name == "FeedingDecoder" else {}))
    layer = getattr(layers, name)(**arguments, name=f"{name}_here", **options)
    calls: dict[str, Callable[[], Any]] = {
        "ActivationPenalty": lambda: layer(x, x),
        "Attention": lambda: layer(x, x, x, mask=real),
        "AttentionPooling": lambda: layer(x, real),
        "Blanks": lambda: layer(ids),
        "Cell": lambda: keras.layers.RNN(layer, return_state=True, **options)(x),
        "Embedding": lambda: layer(ids),
        "FeedbackCell": lambda: keras.layers.RNN(layer, return_sequences=True, **options)(x),
        "FeedingDecoder": lambda: layer(
            x, states=[[state], [state]], feed=keras.ops.concatenate([state, state[:, :2]], axis=1),
            memory={"keys": state[:, None], "memory": state[:, None], "mask": real[:, :1]},
        ),
        "LSTM": lambda: keras.layers.Bidirectional(layer, **options)(x, mask=real),
        "LabelCode": lambda: layer(given["label"]),
        "LayerSkip": lambda: layer(x, x[:, :, :2]),
        "ReverseWords": lambda: layer(ids, real),
        "RowsAsWords": lambda: layer(keras.ops.reshape(x, (-1, 3)), real),
        "ScheduledSampling": lambda: layer(ids, seen={"state_0_h": state}),
        "TiedLogits": lambda: layer(layer.embedding(ids)),
        "VocabularyDropout": lambda: layer(x, ids),
        "WordDropout": lambda: layer(ids),
        "WordsAsRows": lambda: layer(keras.ops.cast(x, "int32")),
    }  # fmt: skip
    return calls.get(name, lambda: layer(x))()


@pytest.fixture(scope="module")
def whole() -> keras.Model:
    """A functional model with an output of every layer, by name."""
    inputs = _inputs()
    found = {
        f"{name}_{place}": output for name in NAMES for place, output in enumerate(_flat(outputs_of(name, inputs)))
    }
    model = keras.Model(inputs, found)
    random = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(random.normal(0.0, 0.5, weight.shape))
    return model


def _flat(outputs: Any) -> list[Any]:
    return list(keras.tree.flatten(outputs))


def _agree(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_allclose(np.array(found[name]), np.array(value), atol=1e-5, err_msg=name)


def test_a_clone_gives_the_same(whole: keras.Model) -> None:
    for again in (keras.models.clone_model(whole), keras.Model.from_config(whole.get_config())):
        again.set_weights(whole.get_weights())
        _agree(again(GIVEN), whole(GIVEN))
        assert [type(layer) for layer in again.layers] == [type(layer) for layer in whole.layers]


def test_a_model_that_xla_compiles_gives_the_same(whole: keras.Model) -> None:
    _agree(tf.function(whole, jit_compile=True)(GIVEN), whole(GIVEN))


FRESH = """
import sys
import keras
import seqapps
try:
    keras.models.load_model(sys.argv[1])
except TypeError as error:
    print("could not be deserialized" in str(error), "seqapps>" in str(error))
import seqapps.layers
import numpy as np
given = dict(np.load(sys.argv[2]))
found = keras.models.load_model(sys.argv[1])(given)
np.savez(sys.argv[3], **{name: np.array(value) for name, value in found.items()})
"""


def test_a_file_is_loaded_by_another_process_that_imports_the_layers(whole: keras.Model, tmp_path: Path) -> None:
    whole.save(tmp_path / "model.keras")
    np.savez(tmp_path / "given.npz", **GIVEN)
    files = [str(tmp_path / name) for name in ("model.keras", "given.npz", "found.npz")]
    done = subprocess.run([sys.executable, "-c", FRESH, *files], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("True True\n", 0), done.stderr
    with np.load(files[2]) as found:
        _agree(dict(found), whole(GIVEN))


@of_every_layer
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_a_layer_computes_in_the_type_of_its_own_policy(name: str, dtype: str) -> None:
    asked = keras.DTypePolicy(dtype).compute_dtype
    for output in _flat(outputs_of(name, GIVEN, dtype=dtype)):
        found = keras.backend.standardize_dtype(output.dtype)
        fixed = name in ("Transitions", "AdaptiveSoftmax") or (name, output.shape) == ("AttentionPooling", (2, 4))
        assert found == ("int32" if "int" in found else "float32" if fixed else asked)
        assert np.isfinite(tf.cast(output, tf.float64)).all()


# ---- what Keras' layers do, ours do


def test_a_subclassed_model_trains_as_with_the_layer_of_keras_with_and_without_xla() -> None:
    class Model(keras.Model):  # type: ignore[misc]
        def __init__(self, kind: Any) -> None:
            super().__init__()
            self.mask, self.inner, self.last = keras.layers.Masking(), kind(3, activation="relu"), keras.layers.Dense(1)

        def call(self, x: Any) -> Any:
            return self.last(self.inner(self.mask(x)))

    trained = []
    for kind, jit_compile in ((keras.layers.SimpleRNN, False), (layers.SimpleRNN, False), (layers.SimpleRNN, True)):
        model, random = Model(kind), np.random.default_rng(2)
        model(X)
        model.set_weights([random.normal(0.0, 0.5, weight.shape) for weight in model.weights])
        model.compile("sgd", "mse", jit_compile=jit_compile)
        model.train_on_batch(X * REAL[:, :, None], np.ones((2, 1)))
        trained.append(model.get_weights())
    for theirs, *ours in zip(*trained, strict=True):
        for weight in ours:
            assert_allclose(weight, theirs, atol=1e-5)


@of_every_kind
def test_a_mask_of_an_embedding_reaches_a_layer(name: str) -> None:
    found = []
    for module in (keras.layers, layers):
        ids = keras.Input((None,), dtype="int32")
        first = keras.initializers.GlorotUniform(seed=1)
        kind = getattr(module, name)
        x = module.Embedding(9, 3, first, mask_zero=True)(ids)
        x, *states = kind(4, kernel_initializer=first, recurrent_initializer=first, return_sequences=True,
                          return_state=True)(x)  # fmt: skip
        x = keras.layers.TimeDistributed(keras.layers.Dense(2, kernel_initializer=first))(x)
        last = kind(4, kernel_initializer=first, recurrent_initializer=first)(x, initial_state=states)
        found.append(np.array(keras.Model(ids, last)(IDS)))
    assert_allclose(found[1], found[0], atol=1e-6)
    assert np.abs(found[1]).sum() > 0


PLACES: dict[str, Callable[[], Any]] = {
    "beyond the front": lambda: np.array([[1, -1]]),
    "bytes": lambda: np.array([[1, 2]], "uint8"),
    "long": lambda: np.array([[1, 2]], "int64"),
    "float": lambda: np.array([[1.0, 2.0]]),
    "sparse": lambda: tf.sparse.from_dense([[1, 2], [3, 0]]),
    "ragged": lambda: tf.ragged.constant([[1, -2], [3]]),
    "one": lambda: np.array(3),
}


@pytest.mark.parametrize("kind", PLACES)
def test_an_embedding_takes_the_ids_that_keras_takes(kind: str) -> None:
    ours, theirs = (module.Embedding(7, 3, weights=np.arange(21.0).reshape(7, 3)) for module in (layers, keras.layers))
    found, expected = ours(PLACES[kind]()), theirs(PLACES[kind]())
    found, expected = (each.to_tensor() if kind == "ragged" else each for each in (found, expected))
    assert_array_equal(found, expected)


def test_an_embedding_is_quantized_as_that_of_keras(tmp_path: Path) -> None:
    found = []
    for module in (keras.layers, layers):
        model = keras.Sequential([keras.Input((2,), dtype="int32"), module.Embedding(7, 3)])
        model.set_weights([np.random.default_rng(0).normal(size=(7, 3))])
        model.quantize("int8")
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert type(loaded.layers[0]) is module.Embedding
        assert loaded.layers[0].dtype_policy.name == "int8_from_float32"
        found.append(np.array(loaded(np.array([[1, 6]]))))
    assert_array_equal(found[1], found[0])


# ---- masks that a tensor carries


def _masked() -> Any:
    return keras.layers.Embedding(9, 3, mask_zero=True)(IDS)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name", ["ActivationPenalty", "AdaptiveSoftmax", "LayerSkip", "ReverseWords", "TiedLogits", "VocabularyDropout"]
)
def test_a_layer_over_steps_hands_the_mask_on(name: str) -> None:
    x = _masked()
    second = {"ReverseWords": REAL, "VocabularyDropout": IDS, "LayerSkip": x, "ActivationPenalty": x}.get(name)
    own = ARGUMENTS[name]() if name != "TiedLogits" else {"embedding": keras.layers.Embedding(9, 3)}
    for embedding in (own.get("embedding"),):
        if embedding is not None:
            embedding.build()
    output = getattr(layers, name)(**own)(x, *([] if second is None else [second]))
    assert_array_equal(output._keras_mask, REAL)


@pytest.mark.filterwarnings("error")
def test_attention_pooling_and_penalty_take_the_mask_of_their_input() -> None:
    x = _masked()
    attention, pooling, penalty = (
        getattr(layers, name)(**ARGUMENTS[name]()) for name in ("Attention", "AttentionPooling", "ActivationPenalty")
    )
    context, weights = attention(x, x, x)
    assert_array_equal(weights[1], [[1.0, 0.0, 0.0, 0.0]] * 4)
    assert_array_equal(context._keras_mask, REAL)
    assert_array_equal(attention(x, x, x, mask=REAL)[0]._keras_mask, REAL)
    assert_allclose(weights, attention(X, x, x, mask=REAL)[1] * 0 + weights)
    assert getattr(attention(X, x, x, mask=REAL)[0], "_keras_mask", None) is None  # the query has none
    mean, shares = pooling(x)
    assert_array_equal(shares[1], [1.0, 0.0, 0.0, 0.0])
    assert_array_equal(mean, pooling(x, REAL)[0])
    assert_allclose(pooling(X)[1].numpy().sum(1), [1.0, 1.0], atol=1e-6)
    penalty(x, x, training=True)
    masked = [float(loss) for loss in penalty.losses]
    penalty(np.array(x), np.array(x), real=REAL, training=True)
    assert_allclose(masked, [float(loss) for loss in penalty.losses][-2:])


def test_a_functional_model_takes_the_mask_of_its_embedding() -> None:
    ids = keras.Input((None,), dtype="int32")
    x = layers.Embedding(9, 3, mask_zero=True)(ids)
    x = layers.LayerSkip("residual")(layers.GRU(3, return_sequences=True)(x), x)
    context, weights = layers.Attention("dot", 3)(x, x, x)
    mean, shares = layers.AttentionPooling(2)(x)
    model = keras.Model(ids, [context, weights, mean, shares])
    one = model(IDS)
    longer = model(np.pad(IDS, [(0, 0), (0, 3)]))
    assert_allclose(longer[0][:, :4], one[0], atol=1e-6)
    assert_allclose(longer[2], one[2], atol=1e-6)
    assert_array_equal(longer[3][:, 4:], np.zeros((2, 3)))


# ---- a matrix that two layers share


@pytest.mark.parametrize("head", ["TiedLogits", "AdaptiveSoftmax"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_shared_matrix_stays_shared_in_clones(head: str, nested: bool) -> None:
    ids = keras.Input((None,), dtype="int32")
    embedding = layers.Embedding(9, 3, name="words")
    x = embedding(ids)
    x = keras.Model(ids, x)(ids) if nested else x
    options = {"vocabulary_size": 9, "cutoffs": [4]} if head == "AdaptiveSoftmax" else {}
    layer = getattr(layers, head)(embedding=embedding, **options)
    model = keras.Model(ids, layer(layers.LSTM(3, return_sequences=True)(x)))
    for again in (keras.models.clone_model(model), keras.Model.from_config(model.get_config())):
        again.set_weights(model.get_weights())
        assert_allclose(again(IDS), model(IDS), atol=1e-6)
        (own,) = (each for each in again._flatten_layers() if each.name == "words")
        assert again.layers[-1].embedding is own
        assert len(again.weights) == len(model.weights)
