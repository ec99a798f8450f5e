"""The space of `cloze`: cell, depth, units, embedding, hidden layer, dropout, blanks, learning rate.

Sizes and rates lie around those of the configuration, so that the configuration sets the scale.
"""

from __future__ import annotations

from typing import Any

from seqapps.architectures.cloze import Config
from seqapps.config import RunConfig
from tuning.spaces._shared import cell, model_of, share, sizes, training, units

CELLS = ("gru", "lstm", "simple_rnn")
MOST_LAYERS = 3
SIZES = (0.5, 1.0, 1.5, 2.0)


def declare(hp: Any, config: RunConfig) -> dict[str, Any]:
    """Returns the overrides of one trial.

    Args:
        hp: `keras_tuner.HyperParameters`; returns a value for each declared name.
        config: the configuration at the centre of the space.

    Raises:
        ConfigError: the configuration's architecture is another one.
    """
    model = model_of(config, Config)
    return {
        "model.units": units(hp, model.units, SIZES, MOST_LAYERS),
        **cell(hp, model, CELLS),
        "model.embedding": hp.Choice("embedding", sizes(model.embedding, SIZES), default=model.embedding),
        "model.hidden": hp.Choice("hidden", sizes(model.hidden, SIZES), default=model.hidden),
        "model.dropout": share(hp, "dropout", model.dropout, 0.6),
        "model.blank_rate": share(hp, "blank_rate", model.blank_rate, 0.3, 0.05),
        **training(hp, config),
    }
