"""The space of `encoder_decoder`: cell, depth, units of both sides, embedding, attention, dropout, learning rate.

Sizes and rates lie around those of the configuration, so that the configuration sets the scale.
"""

from __future__ import annotations

from typing import Any

from seqapps.architectures.encoder_decoder import Config
from seqapps.config import RunConfig
from tuning.spaces._shared import cell, model_of, share, sizes, training, units

CELLS = ("gru", "lstm")
ATTENTION = ("general", "additive")
MOST_LAYERS = 2
SIZES = (0.5, 1.0, 1.5, 2.0)


def declare(hp: Any, config: RunConfig) -> dict[str, Any]:
    """Returns the overrides of one trial.

    A configuration without attention is searched without it; one with `dot`, which constrains sizes, keeps it.

    Args:
        hp: `keras_tuner.HyperParameters`; returns a value for each declared name.
        config: the configuration at the centre of the space.

    Raises:
        ConfigError: the configuration's architecture is another one.
    """
    model = model_of(config, Config)
    both = units(hp, model.units, SIZES, MOST_LAYERS)
    overrides: dict[str, Any] = {
        "model.units": both,
        **cell(hp, model, CELLS),
        "model.embedding": hp.Choice("embedding", sizes(model.embedding, SIZES), default=model.embedding),
        "model.dropout": share(hp, "dropout", model.dropout, 0.5),
        **training(hp, config),
    }
    if model.decoder_units and model.attention == "dot":
        overrides["model.decoder_units"] = [size * (2 if model.bidirectional else 1) for size in both]
    elif model.decoder_units:
        width = model.decoder_units[0]
        overrides["model.decoder_units"] = [hp.Choice("decoder_width", sizes(width, SIZES), default=width)] * len(both)
    if model.attention in ATTENTION:
        overrides["model.attention"] = hp.Choice("attention", list(ATTENTION), default=model.attention)
        overrides["model.attention_units"] = 0
    return overrides
