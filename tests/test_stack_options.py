"""Every architecture with what its stack can be made of, and the tuner's space of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras_tuner import HyperParameters
from numpy.testing import assert_allclose

from seqapps.applications import load_config
from seqapps.architectures import (
    classifier,
    cloze,
    conditional,
    encoder_decoder,
    forecast_decoder,
    forecaster,
    tagger,
)
from seqapps.architectures._forecast import Sizes
from seqapps.architectures._stack import StackConfig
from seqapps.layers.states import STATE, unrolled
from tuning import spaces

SMALL: dict[str, Any] = {"units": (5, 4), "embedding": 3}
X = np.random.default_rng(5).standard_normal((2, 6, 3)).astype("f4")
INSIDE: dict[str, Any] = {"cell": "gru", "skip_steps": 2, "transition_depth": 1, "layer_norm": "cell"}
AROUND: dict[str, Any] = {"layer_skip": "highway", "layer_norm": "output", "input_layers": [5]}
IDS = np.array([[4, 5, 6, 7, 4, 0], [5, 6, 7, 0, 0, 0]], np.int32)
MORE = np.pad(IDS, ((0, 0), (0, 2)))
WINDOW = Sizes(history=5, features=2, horizon=3, targets=1)


def classifier_of(**fields: Any) -> Any:
    config = classifier.Config(**{**SMALL, **fields})
    return classifier.build(config, vocabulary_size=9, classes=3, use_cudnn=False), {"tokens": IDS}, {"tokens": MORE}


def tagger_of(**fields: Any) -> Any:
    config = tagger.Config(**{**SMALL, "characters": "lstm", "character_units": 3, "shapes": 0, **fields})
    model = tagger.build(config, sizes=(9, 9, 0), allowed=np.ones((4, 4), bool), use_cudnn=False)
    characters = np.repeat(IDS[:, :, None], 3, axis=2)
    wider = np.pad(characters, ((0, 0), (0, 2), (0, 1)))
    return model, {"words": IDS, "characters": characters}, {"words": MORE, "characters": wider}


def two_sided_of(**fields: Any) -> Any:
    config = cloze.Config(**{**SMALL, "hidden": 4, "output_layers": [5], **fields})
    return cloze.build(config, vocabulary_size=9, blank=8, use_cudnn=False), {"tokens": IDS}, {"tokens": MORE}


def conditional_of(**fields: Any) -> Any:
    config = conditional.Config(**{**SMALL, "condition": 3, "output_layers": [5], **fields})
    label = np.array([0, 1])
    model = conditional.build(config, vocabulary_size=9, labels=2, features=0, use_cudnn=False)
    return model, {"tokens": IDS, "label": label}, {"tokens": MORE, "label": label}


def encoder_decoder_of(**fields: Any) -> Any:
    config = encoder_decoder.Config(**{**SMALL, "attention": "general", **fields})
    model = encoder_decoder.build(config, source_size=9, target_size=9, use_cudnn=False)
    return model, {"source": IDS, "target": IDS}, {"source": MORE, "target": MORE}


def forecaster_of(**fields: Any) -> Any:
    config = forecaster.Config(**{"units": (4,), "bidirectional": True, "merge": "average", **fields})
    return forecaster.build(config, sizes=WINDOW, use_cudnn=False), {"history": X[:, :5, :2]}, None


def forecast_decoder_of(**fields: Any) -> Any:
    config = forecast_decoder.Config(**{"units": (4, 3), "bidirectional": True, **fields})
    return forecast_decoder.build(config, sizes=WINDOW, use_cudnn=False), {"history": X[:, :5, :2]}, None


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (classifier_of, {**INSIDE, "merge": "product"}),
        (classifier_of, {"pooling": "last", "skip_steps": 2}),
        (tagger_of, {**INSIDE, **AROUND, "layer_norm": "cell", "merge": "sum"}),
        (two_sided_of, {**INSIDE, "layer_skip": "residual"}),
        (conditional_of, {**AROUND, "skip_steps": 2}),
        (encoder_decoder_of, {**INSIDE, "layer_skip": "highway"}),
        (encoder_decoder_of, {**INSIDE, "input_feeding": True}),
        (encoder_decoder_of, {**AROUND, "attention": "none"}),
        (forecaster_of, {**AROUND, "skip_steps": 2, "output_layers": [4]}),
        (forecast_decoder_of, {"cell": "lstm", "skip_steps": 2, "transition_depth": 1}),
    ],
)
def test_architectures_keep_the_laws_with_them(make: Any, fields: dict[str, Any]) -> None:
    keras.utils.set_random_seed(3)
    model, x, longer = make(**fields)
    with tf.GradientTape() as tape:
        outputs = model(x, training=False)
        loss = tf.add_n([tf.reduce_sum(value[..., :1] ** 2) for value in outputs.values()])
    found = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    paths = [variable.path for variable in model.trainable_variables]
    assert [path for path, gradient in zip(paths, found, strict=True) if gradient is None] == []
    if longer is not None:
        for name, value in model(longer, training=False).items():
            steps = slice(None, outputs[name].shape[1])
            real = (IDS > 0)[:, :, None] if value.shape.ndims == 3 else 1.0
            assert_allclose(value[:, steps] * real, outputs[name] * real, atol=1e-5)


def test_the_two_halves_of_a_conditional_model_write_what_the_whole_scores() -> None:
    fields = {**SMALL, **AROUND, "skip_steps": 2, "condition": 3, "output_layers": [5], "every_step": True}
    config = conditional.Config(**fields)
    model = conditional.build(config, vocabulary_size=9, labels=2, features=0, use_cudnn=False)
    begin, step = conditional.decoder_of(model, config)
    label = np.array([0, 1])
    whole = model({"tokens": IDS, "label": label})["logits"]
    states = begin({"label": label})
    for t in range(3):
        with unrolled(step):
            outputs = step({"tokens": tf.constant(IDS[:, t : t + 1]), **states})
        states = {name: outputs[name] for name in states}
        assert_allclose(outputs["logits"][:, 0], whole[:, t], atol=1e-5)


@pytest.mark.parametrize("fields", [{"layer_skip": "residual"}, {"input_feeding": True}, {"attention": "none"}])
def test_a_decoder_step_by_step_gives_the_whole_row(fields: dict[str, Any]) -> None:
    keras.utils.set_random_seed(3)
    model, x, _ = encoder_decoder_of(**INSIDE, **fields)
    whole = model(x, training=False)["logits"]
    seen, decoder = dict(model.get_layer("encoder")(x["source"])), model.get_layer("decoder")
    for t in range(3):
        with unrolled(decoder):
            outputs = decoder({"target": tf.constant(IDS[:, t : t + 1]), **seen}, training=False)
        seen |= {name: outputs[name] for name in seen if name.startswith(STATE)}
        assert_allclose(outputs["logits"][:, 0], whole[:, t], atol=1e-5)


CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*/*.toml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
@pytest.mark.parametrize(
    ("space", "some"),
    [
        ("recurrence", {"cell", "leak", "transition_depth", "skip_steps", "layer_norm"}),
        ("regularisation", {"dropout", "input_dropout"}),
    ],
)
def test_every_value_of_a_space_is_a_configuration(
    file: Path, space: str, some: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQAPPS_DATA", "/data")
    config = load_config(file, [])
    assert isinstance(config.model, StackConfig)
    declare, first = spaces.load(space), HyperParameters()
    names = set(declare(first, config))
    assert {f"model.{name}" for name in some} <= names
    for seed in range(8):
        drawn = HyperParameters()
        drawn.values = {each.name: each.random_sample(seed) for each in first.space}
        overrides = declare(drawn, config)
        assert set(overrides) == names
        load_config(file, [f"{key}={json.dumps(value)}" for key, value in overrides.items()])


def test_a_language_model_searches_every_way_not_to_learn_its_text_by_heart() -> None:
    config = load_config(CONFIGS[[file.stem for file in CONFIGS].index("python_docs")], [])
    assert set(spaces.load("regularisation")(HyperParameters(), config)) == {
        "model.dropout", "model.input_dropout", "model.output_dropout", "model.weight_drop", "model.word_dropout",
        "model.vocabulary_dropout", "model.activation_penalty", "model.temporal_penalty", "training.learning_rate",
        "training.clip_threshold",
    }  # fmt: skip
