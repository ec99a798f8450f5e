"""Recurrent layers whose state goes in and comes out, and the names under which it travels. Pure Keras."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import keras

CELLS: dict[str, tuple[type[keras.layers.Layer], tuple[str, ...]]] = {
    "simple_rnn": (keras.layers.SimpleRNN, ("h",)),
    "lstm": (keras.layers.LSTM, ("h", "c")),
    "gru": (keras.layers.GRU, ("h",)),
}
"""Cell name to Keras layer and the names of its states."""

STATE = "state_"


def recurrent_layer(cell: str, units: int, *, name: str, use_cudnn: bool | Literal["auto"] = "auto") -> Any:
    """Returns a recurrent layer that gives its sequence `<float32>[B, T, D]` and its last states `<float32>[B, D]`.

    `use_cudnn` = False makes a layer that runs on any machine, with the same weights.
    """
    layer, _ = CELLS[cell]
    options = {} if cell == "simple_rnn" else {"use_cudnn": use_cudnn}
    return layer(units, return_sequences=True, return_state=True, name=name, **options)


def state_inputs(cell: str, units: int, layer: int) -> dict[str, Any]:
    """Returns the inputs for a layer's initial states: `state_<layer>_h` and, for an LSTM, `state_<layer>_c`."""
    _, names = CELLS[cell]
    return {f"{STATE}{layer}_{name}": keras.Input((units,), name=f"{STATE}{layer}_{name}") for name in names}


def state_sizes(model: keras.Model) -> dict[str, int]:
    """Returns the carried states of a model, name to size; empty when it carries none."""
    return {tensor.name: int(tensor.shape[-1]) for tensor in model.inputs if tensor.name.startswith(STATE)}


def zero_states(model: keras.Model, rows: int) -> dict[str, Any]:
    """Returns the states before the first step, `<float32>[rows, D]` zeros each."""
    return {name: keras.ops.zeros((rows, size), "float32") for name, size in state_sizes(model).items()}


@contextmanager
def unrolled(model: keras.Model) -> Iterator[None]:
    """Makes recurrent layers call their cell directly while a single step is traced, instead of building a loop."""
    layers = [layer for layer in model._flatten_layers(include_self=False) if isinstance(layer, keras.layers.RNN)]
    usual = [layer.unroll for layer in layers]
    for layer in layers:
        layer.unroll = True
    try:
        yield
    finally:
        for layer, unroll in zip(layers, usual, strict=True):
            layer.unroll = unroll
