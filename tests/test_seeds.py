"""The configuration's seed alone decides what is drawn: no generator of the process, no other model, no thread."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import make_prepared

from seqapps.applications import application_of
from seqapps.architectures import (
    classifier,
    cloze,
    conditional,
    encoder_decoder,
    forecast_decoder,
    forecaster,
    names,
    stacked,
    tagger,
)
from seqapps.architectures._forecast import Sizes
from seqapps.seeds import seed_of
from seqapps.training import loop as training
from seqapps.training.padding_audit import audit

IDS = np.array([[4, 5, 6], [5, 6, 0]], np.int32)
CHARACTERS = np.repeat(IDS[:, :, None], 2, axis=2)
HISTORY = np.random.default_rng(5).standard_normal((2, 3, 2)).astype("f4")
VECTOR = HISTORY[:, 0]
WINDOW = Sizes(history=3, features=2, horizon=2, targets=1)
SMALL: dict[str, Any] = {"units": (5, 4), "embedding": 3}
AROUND: dict[str, Any] = {"layer_skip": "highway", "layer_norm": "output", "input_layers": (5,), "output_layers": (6,)}
INSIDE: dict[str, Any] = {"skip_steps": 2, "transition_depth": 1, "layer_norm": "cell"}
Make = Callable[[int], tuple[keras.Model, dict[str, Any]]]


def model_of(architecture: Any, x: dict[str, Any], fields: dict[str, Any], **sizes: Any) -> Make:
    def make(seed: int) -> tuple[keras.Model, dict[str, Any]]:
        config = architecture.Config(
            **{**SMALL, **fields} if "embedding" in architecture.Config.model_fields else fields
        )
        return architecture.build(config, **sizes, use_cudnn=False, seed=seed), x

    return make


def stack_of(**fields: Any) -> Make:
    return model_of(stacked, {"tokens": IDS}, fields, vocabulary_size=30, carry=False)


def tagger_of(**fields: Any) -> Make:
    x = {"words": IDS, "characters": CHARACTERS, "shapes": IDS}
    return model_of(tagger, x, fields, sizes=(9, 9, 9), allowed=np.ones((4, 4), bool))


def decoder_of(**fields: Any) -> Make:
    return model_of(encoder_decoder, {"source": IDS, "target": IDS}, fields, source_size=9, target_size=9)


MODELS: dict[str, Make] = {
    "stacked": stack_of(dropout=0.3, word_dropout=0.3, vocabulary_dropout=0.3, weight_drop=0.3, **AROUND),
    "stacked, gru, tied": stack_of(cell="gru", recurrent_dropout=0.3, tie_embeddings=True, units=(5,)),
    "stacked, adaptive": stack_of(softmax="adaptive", cutoffs=(8, 12), tail_reduction=2, cell="simple_rnn"),
    "stacked, own cells": stack_of(**INSIDE),
    "classifier": model_of(
        classifier,
        {"tokens": IDS},
        {"pooling": "attention", "cell": "gru", "word_dropout": 0.3, "embedding_dropout": 0.3, "dropout": 0.3},
        vocabulary_size=9,
        classes=3,
    ),
    "tagger": tagger_of(word_dropout=0.3, head="crf"),
    "tagger, characters by an lstm": tagger_of(characters="lstm", dropout=0.3),
    "cloze": model_of(cloze, {"tokens": IDS}, {"hidden": 4}, vocabulary_size=9, blank=8),
    "conditional": model_of(
        conditional,
        {"tokens": IDS, "label": np.array([0, 1])},
        {"tie_embeddings": True, "every_step": True, "word_dropout": 0.3},
        vocabulary_size=9,
        labels=2,
        features=0,
    ),
    "conditional, vector": model_of(
        conditional, {"tokens": IDS, "vector": VECTOR}, {}, vocabulary_size=9, labels=0, features=2
    ),
    "encoder_decoder": decoder_of(attention="additive", scheduled_sampling=0.5, dropout=0.3, tie_embeddings="none"),
    "encoder_decoder, feeding": decoder_of(attention="general", input_feeding=True, dropout=0.3),
    "forecaster": model_of(
        forecaster, {"history": HISTORY}, {"hidden": 4, "dropout": 0.3, "bidirectional": True}, sizes=WINDOW
    ),
    "forecast_decoder": model_of(
        forecast_decoder, {"history": HISTORY}, {"units": (4, 3), "bidirectional": True}, sizes=WINDOW
    ),
}


@contextmanager
def threads_that_draw() -> Iterator[None]:
    """Threads that draw from every generator of the process, all the time."""
    ended = threading.Event()

    def draw(*functions: Callable[[], Any]) -> None:
        while not ended.wait(0.001):
            for function in functions:
                function()

    drawn = ([random.random, lambda: random.randint(1, 9)], [np.random.rand], [lambda: tf.random.uniform([2])])
    threads = [threading.Thread(target=draw, args=functions, daemon=True) for functions in drawn]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def taken(make: Make, seed: int) -> list[tuple[str, Any]]:
    """Path and value of every variable before and after a step of training, with all that it draws."""
    model, x = make(seed)
    first = values_of(model)
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(tf.cast(v, "float32") ** 2) for v in model(x, training=True).values()])
    variables = [variable.value for variable in model.trainable_variables]
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        variable.assign_sub(0.01 * tf.convert_to_tensor(gradient))
    return first + values_of(model)


def values_of(model: keras.Model) -> list[tuple[str, Any]]:
    """Path and value of every variable. Keras counts the generators of a process in their paths."""
    return [(re.sub(r"seed_generator_\d+", "seed_generator", each.path), np.array(each)) for each in model.variables]


def test_every_architecture_is_held_to_these_laws() -> None:
    assert {name.split(",")[0] for name in MODELS} == set(names())


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_drawn_from_the_process(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a seed was drawn from the generator of the process")

    alone = taken(MODELS[name], 7)
    other, _ = MODELS[name](8)
    with monkeypatch.context() as patch, threads_that_draw():
        for module in (keras.src.random.seed_generator, keras.src.backend.random):
            patch.setattr(module, "make_default_seed", refuse)
        patch.setattr(keras.src.random.seed_generator, "global_seed_generator", refuse)
        again = taken(MODELS[name], 7)
    assert [path for path, _ in again] == [path for path, _ in alone]
    assert [path for (path, a), (_, b) in zip(alone, again, strict=True) if a.tobytes() != b.tobytes()] == []

    # The seed reaches all that is drawn, and no two draws are alike.
    begun, fixed = alone[: len(other.variables)], ("norm", "bias", "scores", "taken", "transitions/")
    drawn = [(path, value) for path, value in begun if not any(word in path for word in fixed)]
    values = dict(zip([path for path, _ in begun], map(np.array, other.variables), strict=True))
    assert [path for path, value in drawn if np.array_equal(value, values[path])] == []
    weights = [value.ravel()[:6].tobytes() for path, value in drawn if value.dtype == np.float32]
    assert len(set(weights)) == len(weights)


def test_seeds_differ_by_name_and_not_by_process() -> None:
    assert seed_of(1, "embedding") == 1430819078
    found = {seed_of(seed, name, place) for seed in range(20) for name in ("kernel", "bias") for place in range(50)}
    assert len(found) == 2000
    assert all(0 <= seed < 2**31 for seed in found)


def test_a_training_beside_threads_and_after_other_models_is_the_same(tmp_path: Path) -> None:
    model = {"dropout": 0.3, "weight_drop": 0.2, "word_dropout": 0.2}
    config, prepared, manifest = make_prepared(tmp_path / "prepared", model=model)
    application = application_of(config)

    def trained(name: str) -> tuple[list[bytes], list[float]]:
        training.configure(config)
        network = application.build(manifest)
        batches = application.batches(prepared, manifest, "train")
        audit(network, batches)
        history = training.train(
            network, batches, application.batches(prepared, manifest, "validation"), config, tmp_path / name
        )
        return [np.array(weight).tobytes() for weight in network.weights], [log.objective for log in history.epochs]

    alone = trained("alone")
    for make in list(MODELS.values())[:3]:
        make(3)
    with threads_that_draw():
        assert trained("beside") == alone
