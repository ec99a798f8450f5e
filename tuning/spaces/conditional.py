"""The space of `conditional`: cell, depth, units, embedding, condition, dropout, learning rate.

Sizes and rates lie around those of the configuration, so that the configuration sets the scale.
"""

from __future__ import annotations

from typing import Any

from seqapps.architectures.conditional import Config
from seqapps.config import RunConfig
from seqapps.errors import ConfigError

CELLS = ("gru", "lstm", "simple_rnn")
MOST_LAYERS = 3
_SIZES = (0.5, 1.0, 1.5, 2.0)


def declare(hp: Any, config: RunConfig) -> dict[str, Any]:
    """Returns the overrides of one trial.

    Args:
        hp: `keras_tuner.HyperParameters`; gives a value for each name that is declared.
        config: the configuration that the space lies around.

    Raises:
        ConfigError: the configuration's architecture is another one.
    """
    model, training = config.model, config.training
    if not isinstance(model, Config):
        raise ConfigError(
            f'`tuning.space` = "conditional" is for `model.architecture` "conditional". Received: '
            f"{model.architecture!r}."
        )
    depth = hp.Int("depth", 1, MOST_LAYERS, default=min(len(model.units), MOST_LAYERS))
    width = hp.Choice("width", _around(model.units[0]), default=model.units[0])
    return {
        "model.cell": hp.Choice("cell", list(CELLS), default=model.cell),
        "model.units": [width] * depth,
        "model.embedding": hp.Choice("embedding", _around(model.embedding), default=model.embedding),
        "model.condition": hp.Choice("condition", _around(model.condition), default=model.condition),
        "model.every_step": hp.Boolean("every_step", default=model.every_step),
        "model.dropout": round(hp.Float("dropout", 0.0, 0.6, step=0.1), 3),
        "training.learning_rate": _rate(hp, training.learning_rate, 8.0),
    }


def _around(size: int) -> list[int]:
    return sorted({max(1, round(size * share)) for share in _SIZES} | {size})


def _rate(hp: Any, middle: float, factor: float) -> float:
    """Returns a number between middle / factor and middle * factor, even on a logarithmic scale, to three digits."""
    value = hp.Float("learning_rate", middle / factor, middle * factor, sampling="log", default=middle)
    return float(f"{value:.3g}")
