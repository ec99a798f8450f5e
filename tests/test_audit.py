"""Laws of the padding audit: a model that lets padding in is stopped and the layer named; a right one passes."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import make_config

from seqapps.architectures import stacked
from seqapps.errors import RunError
from seqapps.optimization.losses import Objective, cross_entropy, perplexity
from seqapps.optimization.optimizers import make_optimizer
from seqapps.optimization.steps import TrainingStep
from seqapps.training.padding_audit import alone as row_alone
from seqapps.training.padding_audit import append_padding, audit, compare, lengths_of, runner

LENGTHS = (2, 7, 4, 5)


class Tokens:
    """Batches of one: ids from 1 to 8, right-padded to seven steps, and a filler row."""

    steps, tokens, batch_size, carries, padding = 1, sum(LENGTHS), 5, False, 0.4

    def __init__(self, per_row: bool = False, second: bool = False) -> None:
        ids = np.zeros((5, 7), np.int32)
        for row, length in enumerate(LENGTHS):
            ids[row, :length] = 1 + (np.arange(length) + row) % 8
        x: dict[str, Any] = {"tokens": tf.constant(ids)}
        if second:
            x["source"] = tf.constant(np.pad(ids[[1, 0, 3, 2, 4]], [[0, 0], [0, 4]]))
        weights = (ids > 0).astype(np.float32)
        self.batch = (x, tf.constant(ids), tf.constant(weights))
        if per_row:
            self.batch = (x, tf.constant(ids[:, 0]), tf.constant(weights[:, 0]))

    def dataset(self, epoch: int, start: int = 0) -> Any:
        return [self.batch]


class CentredOnTheBatch(keras.layers.Layer):
    """Takes the batch's mean away: rows that are alone are zero."""

    def call(self, x: Any) -> Any:
        return x - keras.ops.mean(x, axis=0, keepdims=True)


def start() -> tuple[Any, Any, Any]:
    """Input, embedded tokens and mask."""
    keras.utils.set_random_seed(1)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    return tokens, keras.layers.Embedding(9, 6, name="embedding")(tokens), keras.ops.not_equal(tokens, 0)


def tagger(bidirectional: bool, masked: bool) -> keras.Model:
    tokens, x, mask = start()
    layer = keras.layers.LSTM(5, return_sequences=True, name="lstm")
    if bidirectional:
        layer = keras.layers.Bidirectional(layer, name="both_ways")
    x = layer(x, mask=mask if masked else None)
    return keras.Model({"tokens": tokens}, {"logits": keras.layers.Dense(9, name="logits")(x)})


def classifier(pooling: str) -> keras.Model:
    tokens, x, mask = start()
    if pooling in ("mean", "batch"):
        x = keras.layers.GRU(5, return_sequences=True, name="gru")(x, mask=mask)
    if pooling == "max":
        x = keras.layers.GlobalMaxPooling1D(name="pool")(x)
    elif pooling == "operation":
        x = keras.ops.max(x, axis=1)
    elif pooling == "mean":
        x = keras.layers.GlobalAveragePooling1D(name="pool")(x, mask=mask)
    elif pooling == "batch":
        x = CentredOnTheBatch(name="centre")(keras.layers.GlobalAveragePooling1D(name="pool")(x, mask=mask))
    return keras.Model({"tokens": tokens}, {"logits": keras.layers.Dense(3, name="logits")(x)})


def translator(masked: bool) -> keras.Model:
    """Attention over the source: two time axes."""
    keras.utils.set_random_seed(1)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    source = keras.Input((None,), dtype="int32", name="source")
    embedding = keras.layers.Embedding(9, 6, name="embedding")
    real = keras.ops.not_equal(source, 0)
    memory = keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True), name="encoder")(
        embedding(source), mask=real
    )
    query = keras.layers.GRU(6, return_sequences=True, name="decoder")(embedding(tokens))
    scores = keras.ops.matmul(query, keras.ops.transpose(memory, (0, 2, 1)))
    if masked:
        scores = scores - 1e9 * (1.0 - keras.ops.cast(real, "float32"))[:, None, :]
    attention = keras.layers.Softmax(name="attention")(scores)
    logits = keras.layers.Dense(9, name="logits")(keras.ops.matmul(attention, memory))
    return keras.Model({"tokens": tokens, "source": source}, {"logits": logits, "attention": attention})


@pytest.mark.parametrize(
    ("model", "batches"),
    [
        (lambda: tagger(bidirectional=True, masked=True), Tokens()),
        (lambda: tagger(bidirectional=False, masked=False), Tokens()),
        (lambda: classifier("mean"), Tokens(per_row=True)),
        (lambda: translator(masked=True), Tokens(second=True)),
        (lambda: stacked.build(stacked.Config(units=(6, 5), embedding=4), vocabulary_size=9, carry=True), Tokens()),
    ],
    ids=["bidirectional", "causal", "mean", "translator", "carried-states"],
)
def test_a_right_model_passes(model: Any, batches: Any) -> None:
    found = audit(model(), batches)
    assert found.largest <= 1e-5
    assert found.examples == 4
    assert found.outputs >= 4  # one or two outputs: with padding appended, and three rows alone
    assert 0.3 < found.padding < 0.7
    assert found.line.startswith("padding audit: largest difference ")


@pytest.mark.parametrize(
    ("model", "batches", "layer"),
    [
        (lambda: tagger(bidirectional=True, masked=False), Tokens(), "`both_ways` (Bidirectional)"),
        (lambda: classifier("max"), Tokens(per_row=True), "`pool` (GlobalMaxPooling1D)"),
        (lambda: classifier("operation"), Tokens(per_row=True), "`max` (Max)"),
        (lambda: classifier("batch"), Tokens(per_row=True), "`centre` (CentredOnTheBatch)"),
        (lambda: translator(masked=False), Tokens(second=True), "`attention` (Softmax)"),
    ],
    ids=["backward-from-padding", "max-pooling", "operation", "batch", "attention"],
)
def test_a_model_that_lets_padding_in_is_stopped_and_the_layer_named(model: Any, batches: Any, layer: str) -> None:
    with pytest.raises(RunError) as caught:
        audit(model(), batches)
    message = re.sub(r"_\d+`", "`", str(caught.value))  # Keras counts the operations of a process
    assert f"The first layer whose output differs is {layer}. Hand it the mask" in message


def test_the_other_examples_are_distinguished_from_padding() -> None:
    with pytest.raises(RunError, match="the other examples of the batch changes the output `logits`"):
        audit(classifier("batch"), Tokens(per_row=True))
    with pytest.raises(RunError, match="3 steps of padding, appended, changes the output `logits`"):
        audit(tagger(bidirectional=True, masked=False), Tokens())


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_allowed_its_rounding(precision: str) -> None:
    keras.mixed_precision.set_global_policy(precision)
    try:
        assert audit(tagger(bidirectional=True, masked=True), Tokens(), precision=precision).largest < 1e-2
        with pytest.raises(RunError, match="both_ways"):
            audit(tagger(bidirectional=True, masked=False), Tokens(), precision=precision)
    finally:
        keras.mixed_precision.set_global_policy("float32")


# ---- its parts


def test_padding_is_appended_to_time_axes_alone() -> None:
    model = translator(masked=True)
    x, y, weights = append_padding(model, Tokens(second=True).batch, 2)
    assert (x["tokens"].shape, x["source"].shape, y.shape, weights.shape) == ((5, 9), (5, 13), (5, 9), (5, 9))
    assert float(tf.reduce_sum(weights)) == sum(LENGTHS)
    x, y, weights = append_padding(classifier("mean"), Tokens(per_row=True).batch, 2)
    assert (x["tokens"].shape, y.shape, weights.shape) == ((5, 9), (5,), (5,))


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3)], ids=str)
def test_targets_of_a_row_have_no_time_axis_whatever_their_shape(shape: tuple[int, ...]) -> None:
    batches = Tokens(per_row=True)
    x, _, weights = batches.batch
    batches.batch = (x, tf.ones(shape), weights)
    assert audit(classifier("mean"), batches).largest <= 1e-5
    assert append_padding(classifier("mean"), batches.batch, 2)[1].shape == shape
    assert row_alone(classifier("mean"), batches.batch, 1)[1].shape == (1, *shape[1:])


def test_targets_with_an_axis_too_many_are_reported_by_the_training_and_not_by_the_audit() -> None:
    def loss(outputs: Any, y: Any) -> Any:
        return cross_entropy(outputs["logits"], y)

    model, batches = classifier("mean"), Tokens(per_row=True)
    x, y, weights = batches.batch
    batches.batch = (x, tf.reshape(y % 3, (-1, 1)), weights)
    config = make_config()
    assert audit(model, batches).largest <= 1e-5
    with pytest.raises(RunError, match=r"y \(5, 1\), and weights \(5,\).*`y\[:, 0\]` makes \[B\] of \[B, 1\]"):
        TrainingStep(
            model,
            make_optimizer(config.training, model.trainable_variables),
            Objective("perplexity", "min", loss, perplexity),
            config.training,
            tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), batches.batch),
        )(*batches.batch, {}, 0.1)


def test_a_fixed_history_and_a_fixed_horizon_stay() -> None:
    history = keras.Input((7, 2), name="history")
    answer = keras.layers.Dense(7, name="values")(keras.layers.GRU(4)(history))
    model = keras.Model({"history": history}, {"values": answer})
    batch = ({"history": tf.ones((3, 7, 2))}, tf.ones((3, 7)), tf.ones((3, 7)))
    x, y, weights = append_padding(model, batch, 2)
    assert (x["history"].shape, y.shape, weights.shape) == ((3, 7, 2), (3, 7), (3, 7))
    assert lengths_of(model, batch) == {}


def test_a_row_alone_is_cut_to_its_own_length() -> None:
    batch = Tokens(second=True).batch
    lengths = lengths_of(translator(masked=True), batch)
    assert lengths[7].tolist() == [2, 7, 4, 5, 1]
    assert lengths[11].tolist() == [7, 2, 5, 4, 1]
    x, y, weights = row_alone(translator(masked=True), batch, 2)
    assert (x["tokens"].shape, x["source"].shape, y.shape, weights.shape) == ((1, 4), (1, 5), (1, 4), (1, 4))


def test_measured_values_that_are_zero_are_no_padding() -> None:
    values = keras.Input((None, 2), name="values")
    model = keras.Model({"values": values}, {"mean": keras.ops.mean(values, axis=1)})
    batch = ({"values": tf.zeros((2, 4, 2))}, tf.zeros(2), tf.ones(2))
    assert lengths_of(model, batch) == {}
    assert row_alone(model, batch, 0)[0]["values"].shape == (1, 4, 2)


def test_compare_sees_what_is_real_and_nothing_else() -> None:
    weights = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    first = {"logits": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])}
    other = np.array([[1.0, 2.0, 9.0, 0.0], [9.0, 9.0, 9.0, 0.0]])
    assert compare(first, {"logits": other}, weights) == {"logits": 0.0}
    assert compare(first, {"logits": np.array([[1.0, 3.0, 3.0], [4.0, 5.0, 6.0]])}, weights) == {"logits": 0.5}
    assert compare(first, {"logits": np.array([[np.nan, 2.0, 3.0], [4.0, 5.0, 6.0]])}, weights) == {"logits": np.inf}
    # Steps of another axis count up to the row's length where the lengths are known.
    lengths = {4: np.array([2, 4])}
    longer = {"attention": np.arange(8.0).reshape(2, 4)}
    other = {"attention": np.array([[0.0, 1.0, 9.0, 9.0, 9.0], [4.0, 5.0, 6.0, 7.0, 0.0]])}
    assert compare(longer, other, np.ones(2), lengths) == {"attention": 0.0}
    assert compare(longer, other, np.ones(2)) == {"attention": 3.5}


def test_states_and_whole_numbers_are_not_compared() -> None:
    model = stacked.build(stacked.Config(units=(4,), embedding=3), vocabulary_size=9, carry=True)
    x, _, _ = Tokens().batch
    assert list(runner(model, x)(x)) == ["logits"]
