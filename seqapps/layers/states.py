"""Recurrent layers with states as inputs and outputs, and the names of these. Pure Keras."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import keras

from seqapps.layers import recurrent as layers
from seqapps.layers.cells import PLAIN, CellOptions, make_cell, state_sizes_of
from seqapps.seeds import seed_of

CELLS: dict[str, tuple[type[keras.layers.Layer], tuple[str, ...]]] = {
    "simple_rnn": (layers.SimpleRNN, ("h",)),
    "lstm": (layers.LSTM, ("h", "c")),
    "gru": (layers.GRU, ("h",)),
}
"""Cell name to layer and the names of its states."""

STATE = "state_"


def recurrent_layer(  # noqa: PLR0913 - what a layer is made of
    cell: str,
    units: int,
    *,
    name: str,
    use_cudnn: bool | Literal["auto"] = "auto",
    options: CellOptions = PLAIN,
    recurrent_dropout: float = 0.0,
    weight_drop: float = 0.0,
    go_backwards: bool = False,
    seed: int = 0,
) -> Any:
    """Returns a recurrent layer that outputs its sequence `<float32>[B, T, D]` and its last states `<float32>[B, D]`.

    Args:
        cell: `simple_rnn`, `lstm` or `gru`.
        units: D.
        name: of the layer.
        use_cudnn: False makes a layer that runs on any device, with the same weights.
        options: of the cell; options that Keras' own cells lack run step by step.
        recurrent_dropout: share of the state dropped, one mask for all time steps; runs step by step.
        weight_drop: share of the recurrent matrix that is zeroed for each training batch.
        go_backwards: whether it reads from the last step to the first.
        seed: of the initial weights and of dropout, together with the name.
    """
    own = seed_of(seed, name)
    given: dict[str, Any] = {"return_sequences": True, "return_state": True, "name": name}
    given["go_backwards"] = go_backwards
    if not options.plain:
        return keras.layers.RNN(make_cell(cell, units, options, name="cell", seed=own), **given)
    layer, _ = CELLS[cell]
    given |= {"use_cudnn": use_cudnn, **options.arguments(own)}
    if cell == "gru":
        given["reset_after"] = options.reset == "after"
    return layer(units, recurrent_dropout=recurrent_dropout, weight_drop=weight_drop, **given)


def state_inputs(cell: str, units: int, layer: int, options: CellOptions = PLAIN) -> dict[str, Any]:
    """Returns the inputs for a layer's initial states: `state_<layer>_h`, for an LSTM `state_<layer>_c`, and for skips
    in time `state_<layer>_past`."""
    names = {f"{STATE}{layer}_{name}": size for name, size in state_sizes_of(cell, units, options).items()}
    return {name: keras.Input((size,), name=name) for name, size in names.items()}


def state_sizes(model: keras.Model) -> dict[str, int]:
    """Returns the carried states of a model, name to size; empty when it has none."""
    return {tensor.name: int(tensor.shape[-1]) for tensor in model.inputs if tensor.name.startswith(STATE)}


def zero_states(model: keras.Model, rows: int) -> dict[str, Any]:
    """Returns the states before the first step, `<float32>[rows, D]` zeros each."""
    return {name: keras.ops.zeros((rows, size), "float32") for name, size in state_sizes(model).items()}


def paths(model: keras.Model) -> str:
    """Returns the implementation of each recurrent layer, in one line: `lstm_0, lstm_1: compiled for this CPU`."""
    found: dict[str, list[str]] = {}
    for layer in _recurrent_layers(model):
        name = layer.name.removeprefix("forward_")
        if not name.startswith("backward_") and name not in found.setdefault(layers.path(layer), []):
            found[layers.path(layer)].append(name)
    return "; ".join(f"{', '.join(names)}: {how}" for how, names in found.items() if names)


def _recurrent_layers(model: keras.Model) -> list[Any]:
    return [layer for layer in model._flatten_layers(include_self=False) if isinstance(layer, keras.layers.RNN)]


@contextmanager
def unrolled(model: keras.Model) -> Iterator[None]:
    """Makes recurrent layers call their cell directly while a single step is traced, instead of building a loop."""
    found = _recurrent_layers(model)
    usual = [layer.unroll for layer in found]
    for layer in found:
        layer.unroll = True
    try:
        yield
    finally:
        for layer, unroll in zip(found, usual, strict=True):
            layer.unroll = unroll
