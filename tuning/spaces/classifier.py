"""The space of `classifier`: cell, depth, units, embedding, pooling, the three dropouts, learning rate, clip threshold.

Sizes and rates lie around those of the configuration, so that the configuration sets the scale.
"""

from __future__ import annotations

from typing import Any

from seqapps.architectures.classifier import Config
from seqapps.config import RunConfig
from tuning.spaces._shared import cell, model_of, share, sizes, training, units

CELLS = ("gru", "lstm")
POOLINGS = ("attention", "last", "max", "mean")
MOST_LAYERS = 2
SIZES = (0.5, 1.0, 2.0)


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
        "model.pooling": hp.Choice("pooling", list(POOLINGS), default=model.pooling),
        "model.dropout": share(hp, "dropout", model.dropout, 0.6),
        "model.embedding_dropout": share(hp, "embedding_dropout", model.embedding_dropout, 0.6),
        "model.word_dropout": share(hp, "word_dropout", model.word_dropout, 0.4),
        **training(hp, config),
    }
    if not config.data.further_files:  # pretrained vectors have their own size
        overrides["model.embedding"] = hp.Choice("embedding", sizes(model.embedding, SIZES), default=model.embedding)
    return overrides
