"""The space of the regularisation of a stack of recurrent layers, for every architecture that has one.

Cell and sizes stay as they are. Dropout before, between and after the layers; weight drop; word and vocabulary dropout;
penalties on the outputs and on their change (Merity et al. 2017); weight decay, if used; learning rate and clip
threshold. What the architecture or the cell does not support is left out.

    tuning.space = "regularisation"
"""

from __future__ import annotations

from typing import Any

from seqapps.config import RunConfig
from tuning.spaces._shared import rate, share, stack_of, takes, training

SHARES = {
    "dropout": 0.6,
    "input_dropout": 0.6,
    "output_dropout": 0.6,
    "weight_drop": 0.6,
    "word_dropout": 0.4,
    "vocabulary_dropout": 0.4,
}
"""Fields of an architecture to the largest rate that is drawn."""
PENALTIES = ("activation_penalty", "temporal_penalty")


def declare(hp: Any, config: RunConfig) -> dict[str, Any]:
    """Returns the overrides of one trial.

    Args:
        hp: `keras_tuner.HyperParameters`; returns a value for each declared name.
        config: the configuration at the centre of the space.

    Raises:
        ConfigError: the configuration's architecture has no stack of recurrent layers.
    """
    model, section = stack_of(config, "regularisation"), config.training
    fields = {}
    for name, most in SHARES.items():
        if takes(model, {name: most}):
            given = {"input_dropout": model.dropouts[0], "output_dropout": model.dropouts[-1]}.get(name)
            fields[name] = share(hp, name, getattr(model, name) if given is None else given, most)
    for name in PENALTIES:
        if section.distribution == "none" and takes(model, {name: 1.0}):
            given = getattr(model, name)
            fields[name] = float(hp.Choice(name, sorted({0.0, 0.5, 1.0, 2.0, given}), default=given))
    overrides = {f"model.{name}": value for name, value in fields.items()}
    if section.weight_decay:
        overrides["training.weight_decay"] = rate(hp, "weight_decay", section.weight_decay, 10.0)
    return {**overrides, **training(hp, config)}
