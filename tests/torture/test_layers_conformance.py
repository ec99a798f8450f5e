"""Random layers and random calls: whatever Keras' recurrent layers output, ours do, in every way they can be called."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import pytest
from conform import KINDS, Case, Mode, conforms, curves_as_keras, hessian_as_keras, model_of, trains_as_keras

MODES: tuple[Mode, ...] = ("eager", "any shape", "one shape", "jit")
CASES = 6
"""Random cases of one item."""


def random_case(random: np.random.Generator, kind: str, mode: Mode) -> Case:
    """A layer whose arguments are mostly those that the kernels take, and now and then one that they do not."""

    def chance(share: float) -> bool:
        return bool(random.random() < share)

    def one_of(values: Any) -> Any:
        return values[int(random.integers(len(values)))]

    options: dict[str, Any] = {name: chance(0.5) for name in ("return_sequences", "return_state", "go_backwards")}
    options["seed"] = int(random.integers(1000))
    if chance(0.3):
        options["dropout"] = one_of([0.2, 0.5])
    rare: dict[str, Any] = {
        "recurrent_dropout": 0.3,
        "activation": one_of(
            [
                "relu",
                None,
                "sigmoid",
                keras.layers.LeakyReLU(0.2),
                functools.partial(keras.activations.elu, alpha=0.5),
            ]
        ),
        "use_bias": False,
        "unroll": True,
        "zero_output_for_mask": True,
        "stateful": True,
        "use_cudnn": False,
        "dtype": one_of(["float64", "mixed_float16", "mixed_bfloat16"]),
    }
    if kind != "simple_rnn":
        rare["recurrent_activation"] = one_of(["hard_sigmoid", "tanh", None])
    elif chance(0.3):
        options["activation"] = "relu"
    for name, value in rare.items():
        if chance(0.12) and not (name == "use_cudnn" and kind == "simple_rnn"):
            options[name] = value
    stateful = options.get("stateful", False)
    both = one_of(["concat", "sum", "mul", "ave", "none"]) if chance(0.25) else ""
    if both:
        options["go_backwards"] = False  # the wrapper turns one of its two layers round
        if isinstance(options.get("activation"), functools.partial):
            options["activation"] = "elu"  # and makes both of its configuration, in which Keras puts no `partial`
        if kind == "simple_rnn":  # and makes both anew from the configuration, where Keras' layer loses its seed
            options = {name: value for name, value in options.items() if "dropout" not in name}
    return Case(
        kind,
        units=int(random.integers(1, 9)),
        rows=one_of([1, 2, 3, 8, 17]),
        steps=one_of([1, 2, 5, 16, 17, 33]),
        inputs=int(random.integers(1, 6)),
        options=options,
        both=both,
        mask=one_of(["none", "right", "left", "holes", "empty"]),
        states=chance(0.4),
        training=chance(0.7),
        mode=mode,
        calls=2 if stateful else 1,
        seed=int(random.integers(2**31)),
    )


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_ours_output_what_keras_outputs(kind: str, mode: Mode, number: int) -> None:
    random = np.random.default_rng([list(KINDS).index(kind), MODES.index(mode), number])
    for _ in range(CASES):
        conforms(random_case(random, kind, mode))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_gradients_in_a_graph(kind: str) -> None:
    curves_as_keras(kind, in_a_graph=True)


@pytest.mark.parametrize("mode", [{"run_eagerly": True}, {}, {"jit_compile": True}], ids=["eager", "graph", "jit"])
def test_a_training_of_all_kinds_by_keras_itself(mode: dict[str, Any]) -> None:
    trains_as_keras(model_of, **mode)


@pytest.mark.parametrize("kind", KINDS)
def test_hessians_at_once(kind: str) -> None:
    hessian_as_keras(kind)
