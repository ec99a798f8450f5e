"""The space of the structure of a stack of recurrent layers, for every architecture that has one.

Sizes stay as they are. Cell; a GRU's reset; leak; depth of the transition; skips in time and between layers; layer
normalisation; how two directions are joined; dense layers before and after; penalties; dropout; learning rate. What the
architecture does not support is left out. Cells with parts that Keras' own lack run step by step: trials take longer.

    tuning.space = "recurrence"
"""

from __future__ import annotations

from typing import Any

from seqapps.architectures._stack import StackConfig
from seqapps.config import RunConfig
from tuning.spaces._shared import share, stack_of, takes, training

CELLS = ("gru", "lstm", "simple_rnn")
PLAIN: dict[str, Any] = {
    "reset": "after",
    "leak": 0.0,
    "learn_leak": False,
    "recurrent_dropout": 0.0,
    "weight_drop": 0.0,
    "transition_depth": 0,
    "transition_skip": False,
    "transition_activation": "tanh",
    "recurrent_initializer": "orthogonal",
    "skip_steps": 0,
}
"""The base of every trial, on which all combinations of the rest are valid."""


def declare(hp: Any, config: RunConfig) -> dict[str, Any]:
    """Returns the overrides of one trial.

    Args:
        hp: `keras_tuner.HyperParameters`; returns a value for each declared name.
        config: the configuration at the centre of the space.

    Raises:
        ConfigError: the configuration's architecture has no stack of recurrent layers.
    """
    model = stack_of(config, "recurrence")
    fields = {**PLAIN, **_cell(hp, model), **_between(hp, model)}
    overrides = {f"model.{name}": value for name, value in fields.items()}
    return {**overrides, "model.dropout": share(hp, "dropout", model.dropout, 0.6), **training(hp, config)}


def _cell(hp: Any, model: StackConfig) -> dict[str, Any]:
    """Returns the options of a cell."""
    kind = hp.Choice("cell", list(CELLS), default=model.cell)
    fields: dict[str, Any] = {"cell": kind}
    with hp.conditional_scope("cell", ["gru"]):
        reset = hp.Choice("reset", ["after", "before"], default=model.reset)
    with hp.conditional_scope("cell", ["simple_rnn"]):
        leak = hp.Choice("leak", sorted({0.0, 0.5, 0.9, 0.99, model.leak}), default=model.leak)
        learned = hp.Boolean("learn_leak", default=model.learn_leak)
    if kind == "gru":
        fields["reset"] = reset
    if kind == "simple_rnn":
        # Identity, if the configuration has it, is only for this cell.
        fields |= {"leak": leak, "learn_leak": bool(learned and leak)}
        fields["recurrent_initializer"] = model.recurrent_initializer
    elif model.recurrent_initializer != "identity":
        fields["recurrent_initializer"] = model.recurrent_initializer
    depth = hp.Choice("transition_depth", sorted({0, 1, 2, model.transition_depth}), default=model.transition_depth)
    skip = hp.Boolean("transition_skip", default=model.transition_skip)
    back = hp.Choice("skip_steps", sorted({0, 2, 5, 10, model.skip_steps}), default=model.skip_steps)
    between = {"transition_skip": bool(depth and skip), "transition_activation": model.transition_activation}
    return {**fields, "transition_depth": depth, **(between if depth else {}), "skip_steps": back}


def _between(hp: Any, model: StackConfig) -> dict[str, Any]:
    """Returns the options around and between the layers."""
    choices: dict[str, list[Any]] = {
        "layer_norm": ["none", "output", "cell"],
        "layer_skip": ["none", "residual", "highway"],
        "merge": ["concat", "sum", "average", "product"],
        "activation_penalty": [0.0, 1.0, 2.0],
        "temporal_penalty": [0.0, 1.0, 2.0],
    }
    fields = {}
    for name, values in choices.items():
        given = getattr(model, name)
        allowed = [value for value in values if value == given or takes(model, {**PLAIN, name: value})]
        if len(allowed) > 1:
            fields[name] = hp.Choice(name, allowed, default=given if given in allowed else allowed[0])
    for name in ("input_layers", "output_layers"):
        size = model.units[0 if name == "input_layers" else -1]
        if takes(model, {**PLAIN, name: [size]}):
            given = getattr(model, name)
            more = hp.Int(name, 0, max(1, len(given)), default=len(given))
            fields[name] = [*given[:more], *[size] * (more - len(given))]
    return fields
