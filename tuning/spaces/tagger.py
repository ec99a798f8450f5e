"""The space of `tagger`: cell, depth, width, embedding, characters, head, dropout, word dropout, learning rate.

Sizes and rates lie around those of the configuration, so that the configuration sets the scale.
"""

from __future__ import annotations

from typing import Any

from seqapps.architectures.tagger import Config
from seqapps.config import RunConfig
from tuning.spaces._shared import cell, model_of, share, sizes, training, units

CELLS = ("gru", "lstm")
MOST_LAYERS = 2
SIZES = (0.5, 1.0, 1.5)


def declare(hp: Any, config: RunConfig) -> dict[str, Any]:
    """Returns the overrides of one trial.

    Args:
        hp: `keras_tuner.HyperParameters`; returns a value for each declared name.
        config: the configuration at the centre of the space.

    Raises:
        ConfigError: the configuration's architecture is another one.
    """
    model = model_of(config, Config)
    overrides: dict[str, Any] = {
        "model.units": units(hp, model.units, SIZES, MOST_LAYERS),
        **cell(hp, model, CELLS),
        "model.characters": hp.Choice("characters", ["none", "cnn", "lstm"], default=model.characters),
        "model.head": hp.Choice("head", ["softmax", "crf"], default=model.head),
        "model.dropout": share(hp, "dropout", model.dropout, 0.6),
        "model.word_dropout": share(hp, "word_dropout", model.word_dropout, 0.2, 0.05),
        **training(hp, config),
    }
    if not config.data.further_files:  # pretrained vectors have their own size
        overrides["model.embedding"] = hp.Choice("embedding", sizes(model.embedding, SIZES), default=model.embedding)
    return overrides
