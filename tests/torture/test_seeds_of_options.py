"""Nothing is drawn from the generator of the process, whichever option of whichever architecture is taken."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import test_seeds

from seqapps import architectures

BUILT = {
    "stacked": {"vocabulary_size": 30, "carry": False},
    "classifier": {"vocabulary_size": 9, "classes": 3},
    "tagger": {"sizes": (9, 9, 9), "allowed": np.ones((4, 4), bool)},
    "cloze": {"vocabulary_size": 30, "blank": 29},
    "conditional": {"vocabulary_size": 30, "labels": 2, "features": 0},
    "encoder_decoder": {"source_size": 9, "target_size": 9},
    "forecaster": {"sizes": test_seeds.WINDOW},
    "forecast_decoder": {"sizes": test_seeds.WINDOW},
}
"""Architecture to what its `build` takes beside a configuration."""
BESIDE = {
    "softmax=adaptive": {"cutoffs": (8, 12)},
    "reset=before": {"cell": "gru"},
    "recurrent_initializer=identity": {"cell": "simple_rnn"},
    "leak=0.3": {"cell": "simple_rnn"},
    "learn_leak=True": {"cell": "simple_rnn", "leak": 0.3},
    "transition_skip=True": {"transition_depth": 1},
    "input_feeding=True": {"attention": "general"},
    "merge": {"bidirectional": True},
    "transition_activation": {"transition_depth": 1},
}
"""Option, or field for all of its values, to what it needs beside it."""


def options(architecture: Any) -> Iterator[dict[str, Any]]:
    """Yields the fields of one model for every value of every choice, switch and share."""
    for name, field in architecture.Config.model_fields.items():
        kind = field.annotation
        values = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
        shares = (0.3,) if kind is float or float in typing.get_args(kind) else ()
        for value in values or ((True, False) if kind is bool else shares):
            yield {**BESIDE.get(name, {}), **BESIDE.get(f"{name}={value}", {}), name: value}


def test_every_architecture_is_here() -> None:
    assert set(BUILT) == set(architectures.names())


@pytest.mark.parametrize("name", BUILT)
def test_no_option_draws_from_the_process(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a seed was drawn from the generator of the process")

    for module in (keras.src.random.seed_generator, keras.src.backend.random):
        monkeypatch.setattr(module, "make_default_seed", refuse)
    monkeypatch.setattr(keras.src.random.seed_generator, "global_seed_generator", refuse)
    architecture, built, refused = architectures.load(name), 0, list[str]()
    small = {field: (5,) if field == "units" else 5 for field in ("units", "embedding")}
    small = {field: value for field, value in small.items() if field in architecture.Config.model_fields}
    for fields in options(architecture):
        try:
            config = architecture.Config(**{**small, **fields})
        except ValueError as error:  # options that exclude each other
            refused.append(f"{fields}: {error}")
            continue
        architecture.build(config, **BUILT[name], use_cudnn=False, seed=3)
        built += 1
    print(name, built, "built", *refused, sep="\n")
    assert built > 2 * len(refused)
