"""Attention and the decoder around it, against the equations computed step by step in numpy."""

from __future__ import annotations

from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from seqapps.architectures import encoder_decoder
from seqapps.layers.attention import Attention, attention_keys
from seqapps.layers.states import STATE
from seqapps.preprocessing.vocabulary import BEGIN, PAD

SCORES = ("dot", "general", "additive")
SOURCE_SIZE, TARGET_SIZE = 11, 9

Array = NDArray[np.floating]


def softmax(x: Array) -> Array:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def attended(query: Array, memory: Array, weights: dict[str, Array]) -> tuple[Array, Array]:
    """One query `[D]` over the real steps of a memory `[S, M]`: the context `[M]` and the weights `[S]`."""
    if "score_kernel" in weights:  # Bahdanau et al. 2015: v . tanh(W s + U h_j)
        scores = [
            weights["score_kernel"][:, 0] @ np.tanh(weights["query_kernel"].T @ query + weights["keys"].T @ step)
            for step in memory
        ]
    elif "keys" in weights:  # Luong et al. 2015: s^T W h_j
        scores = [query @ weights["keys"].T @ step for step in memory]
    else:
        scores = [query @ step for step in memory]
    found = softmax(np.array(scores))
    return found @ memory, found


@cache
def layer(score: Any, query: int, memory: int, policy: str = "float32") -> tuple[keras.Model, dict[str, Array]]:
    """Keys and attention as one model, and its weights by name."""
    keras.utils.set_random_seed(2)
    units = query if score != "additive" else 5
    inputs = {
        "query": keras.Input((None, query), name="query"),
        "memory": keras.Input((None, memory), name="memory"),
        "mask": keras.Input((None,), dtype="bool", name="mask"),
    }
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        keys = attention_keys(score, inputs["memory"], units, "keys")
        context, weights = Attention(score, units, name="attention")(
            inputs["query"], keys=keys, memory=inputs["memory"], mask=inputs["mask"]
        )
    finally:
        keras.config.set_dtype_policy(before)
    model = keras.Model(inputs, {"context": context, "weights": weights})
    names = {weight.path: np.array(weight) for weight in model.weights}
    return model, {("keys" if "keys" in path else path.split("/")[-1]): value for path, value in names.items()}


MASK = np.array([[True] * 4, [True, True, False, False], [True, False, False, False]])


@pytest.mark.parametrize("score", SCORES)
def test_attention_is_the_equation(score: str) -> None:
    query, memory = (np.random.default_rng(1).normal(size=(3, steps, 6)).astype(np.float32) for steps in (5, 4))
    model, weights = layer(score, 6, 6)
    found = {name: value.numpy() for name, value in model({"query": query, "memory": memory, "mask": MASK}).items()}
    for row, real in enumerate(MASK.sum(axis=1)):
        for step in range(5):
            context, looked = attended(query[row, step], memory[row, :real], weights)
            assert_allclose(found["context"][row, step], context, rtol=1e-4, atol=1e-5)
            assert_allclose(found["weights"][row, step, :real], looked, rtol=1e-4, atol=1e-6)
            assert_array_equal(found["weights"][row, step, real:], 0.0)


@pytest.mark.parametrize("score", SCORES)
@given(scale=st.sampled_from([0.0, 1.0, 1e3, 1e5]), padding=st.integers(0, 6), seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_weights_sum_to_one_and_padding_never_gets_any(score: str, scale: float, padding: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    query, memory = (random.normal(size=(1, 3, 6), scale=scale).astype(np.float32) for _ in range(2))
    model, _ = layer(score, 6, 6)
    longer = np.pad(memory, [(0, 0), (0, padding), (0, 0)], constant_values=7.0)
    mask = np.arange(3 + padding)[None, :] < 3
    short = model({"query": query, "memory": memory, "mask": np.ones((1, 3), bool)})
    long = model({"query": query, "memory": longer, "mask": mask})
    assert_array_equal(long["weights"][:, :, 3:], 0.0)
    assert_allclose(tf.reduce_sum(long["weights"], axis=-1), 1.0, rtol=1e-5)
    if scale <= 1.0:
        assert_allclose(long["context"], short["context"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("score", SCORES)
def test_half_precision_gives_padding_nothing(score: str) -> None:
    model, _ = layer(score, 6, 6, "mixed_float16")
    x = np.random.default_rng(1).normal(size=(3, 4, 6)).astype(np.float16)
    found = model({"query": x, "memory": x, "mask": MASK})["weights"]
    assert found.dtype == tf.float16
    found = found.numpy().astype(np.float32)
    assert_array_equal(found * ~MASK[:, None, :], 0.0)
    assert_allclose(found.sum(axis=-1), 1.0, atol=5e-3)


# ---- the decoder

SOURCE = np.array([[4, 5, 6, 7, 3], [8, 9, 3, PAD, PAD]], np.int32)
TARGET = np.array([[BEGIN, 5, 6, 7], [BEGIN, 8, 4, PAD]], np.int32)


def build(**settings: Any) -> keras.Model:
    """Random weights, larger than usual, biases too: what is not read would be seen."""
    keras.utils.set_random_seed(3)
    chosen = {"cell": "simple_rnn", "units": (3, 4), "decoder_units": (5, 8), "embedding": 6, **settings}
    config = encoder_decoder.Config(**chosen)
    model = encoder_decoder.build(config, source_size=SOURCE_SIZE, target_size=TARGET_SIZE, use_cudnn=False)
    random = np.random.default_rng(4)
    model.set_weights([2.0 * w + random.normal(scale=0.1, size=w.shape) for w in model.get_weights()])
    return model


def by_hand(model: keras.Model, settings: dict[str, Any], row: int) -> tuple[Array, Array]:
    """Logits `[T, V]` and weights `[T, S]` of one row, from the encoder's outputs and the weights of the decoder."""
    seen = {name: value.numpy()[row] for name, value in model.get_layer("encoder")(SOURCE).items()}
    weights = {weight.path: np.array(weight) for weight in model.weights}

    def weight(*parts: str) -> Array:
        (value,) = (value for path, value in weights.items() if all(part in path for part in parts))
        return value

    feeds, scores, embedding = settings.get("input_feeding"), settings["attention"], weight("target_embedding")
    attention = {}
    if scores in ("general", "additive"):
        attention["keys"] = weight("attention_keys")
    if scores == "additive":
        attention |= {name: weight(name) for name in ("query_kernel", "score_kernel")}
    states = [seen[f"{STATE}{index}_h"] for index in range(2)]
    fed, logits, looked = np.zeros(6), [], []
    real = int((SOURCE[row] != PAD).sum())
    for token in TARGET[row]:
        x = np.concatenate([embedding[token], fed]) if feeds else embedding[token]
        for index in range(2):
            cell = f"simple_rnn_{index}/"
            kernels = [weight("decoder", cell, name) for name in ("/kernel", "recurrent_kernel", "bias")]
            x = states[index] = np.tanh(x @ kernels[0] + states[index] @ kernels[1] + kernels[2])
        if scores != "none":
            context, found = attended(x, seen["memory"][:real], attention)
            looked.append(np.pad(found, (0, SOURCE.shape[1] - real)))
            x = np.concatenate([context, x])
        fed = np.tanh(x @ weight("readout/kernel") + weight("readout/bias"))
        logits.append(embedding @ fed + weight("logits/bias"))
    return np.array(logits), np.array(looked)


VARIANTS: list[dict[str, Any]] = [
    *({"attention": score, "input_feeding": feeds} for score in SCORES for feeds in (False, True)),
    {"attention": "none"},
]


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda chosen: "-".join(map(str, chosen.values())))
def test_the_decoder_is_the_equation(settings: dict[str, Any]) -> None:
    model = build(**settings)
    decoder = model.get_layer("decoder")
    seen = model.get_layer("encoder")(SOURCE)
    found = decoder({"target": tf.constant(TARGET), **seen})
    assert_allclose(found["logits"], model({"source": SOURCE, "target": TARGET})["logits"], atol=1e-6)
    assert ("attention" in found) == (settings["attention"] != "none")
    for row in range(len(SOURCE)):
        steps = int((TARGET[row] != PAD).sum())
        logits, looked = by_hand(model, settings, row)
        assert_allclose(found["logits"][row, :steps], logits[:steps], rtol=1e-4, atol=1e-5)
        if settings["attention"] != "none":
            assert_allclose(found["attention"][row, :steps], looked[:steps], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("settings", VARIANTS[::2], ids=lambda chosen: "-".join(map(str, chosen.values())))
def test_one_step_at_a_time_outputs_what_all_steps_output(cell: str, settings: dict[str, Any]) -> None:
    model = build(cell=cell, **settings)
    decoder, seen = model.get_layer("decoder"), dict(model.get_layer("encoder")(SOURCE))
    whole = decoder({"target": tf.constant(TARGET), **seen})
    for step in range(TARGET.shape[1]):
        found = decoder({"target": tf.constant(TARGET[:, step, None]), **seen})
        assert_allclose(found["logits"][:, 0], whole["logits"][:, step], rtol=1e-4, atol=1e-5)
        seen |= {name: found[name] for name in seen if name.startswith(STATE)}


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda chosen: "-".join(map(str, chosen.values())))
def test_padding_of_the_source_changes_nothing(settings: dict[str, Any]) -> None:
    model = build(**settings)
    longer = np.pad(SOURCE, [(0, 0), (0, 3)])
    expected = model({"source": SOURCE, "target": TARGET})["logits"]
    assert_allclose(model({"source": longer, "target": TARGET})["logits"], expected, atol=1e-5)


def test_without_attention_the_decoder_sees_the_last_states_alone() -> None:
    model = build(attention="none")
    assert {name for name in model.get_layer("encoder")(SOURCE) if not name.startswith(STATE)} == set()


@pytest.mark.parametrize("score", SCORES)
def test_without_feeding_there_is_one_loop_a_layer_and_no_other(score: str) -> None:
    """All steps of attention are one product of matrices, in training as well."""
    model = build(attention=score, cell="gru", dropout=0.1)
    specs = {name: tf.TensorSpec([None, None], tf.int32) for name in ("source", "target")}
    graph = tf.function(lambda x: model(x, training=True)["logits"], autograph=False).get_concrete_function(specs)
    loops = [node for node in graph.graph.as_graph_def().node if "While" in node.op]
    assert len(loops) == 2 * 2 + 2  # both directions of the encoder's layers, and the decoder's layers


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"needs a decoder as wide as the encoder's output. Received: 4 and 8"):
        encoder_decoder.Config(units=(4,), attention="dot")
    with pytest.raises(ValueError, match=r"`model.input_feeding` feeds the output of attention"):
        encoder_decoder.Config(attention="none", input_feeding=True)
    with pytest.raises(ValueError, match=r'`model.attention_units` is for "additive"'):
        encoder_decoder.Config(attention="general", attention_units=4)
