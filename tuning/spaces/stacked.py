"""The space of `stacked`: cell, depth, units, embedding, dropout, learning rate, clip threshold.

Sizes and rates lie around those of the configuration, so that the configuration sets the scale: a search from 64 units
tries 32 to 128, one from 650 tries 325 to 1300.
"""

from __future__ import annotations

from typing import Any

from seqapps.architectures.stacked import Config
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
            f'`tuning.space` = "stacked" is for `model.architecture` "stacked". Received: {model.architecture!r}.'
        )
    depth = hp.Int("depth", 1, MOST_LAYERS, default=min(len(model.units), MOST_LAYERS))
    width = hp.Choice("width", _around(model.units[0]), default=model.units[0])
    overrides = {
        "model.cell": hp.Choice("cell", list(CELLS), default=model.cell),
        "model.units": [width] * depth,
        "model.embedding": hp.Choice("embedding", _around(model.embedding), default=model.embedding),
        "model.dropout": round(hp.Float("dropout", 0.0, 0.6, step=0.1), 3),
        "training.learning_rate": _rate(hp, "learning_rate", training.learning_rate, 8.0),
    }
    if training.clip != "none":
        overrides["training.clip_threshold"] = _rate(hp, "clip_threshold", training.clip_threshold, 5.0)
    return overrides


def _around(size: int) -> list[int]:
    return sorted({max(1, round(size * share)) for share in _SIZES} | {size})


def _rate(hp: Any, name: str, middle: float, factor: float) -> float:
    """Returns a number between middle / factor and middle * factor, even on a logarithmic scale, to three digits."""
    value = hp.Float(name, middle / factor, middle * factor, sampling="log", default=middle)
    return float(f"{value:.3g}")
