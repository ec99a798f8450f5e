"""The space of `tagger`: cell, depth, width, embedding, characters, head, dropout, word dropout, learning rate.

Sizes and rates lie around those of the configuration, so that the configuration sets the scale.
"""

from __future__ import annotations

from typing import Any

from seqapps.architectures.tagger import Config
from seqapps.config import RunConfig
from seqapps.errors import ConfigError

MOST_LAYERS = 2
_SIZES = (0.5, 1.0, 1.5)


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
            f'`tuning.space` = "tagger" is for `model.architecture` "tagger". Received: {model.architecture!r}.'
        )
    depth = hp.Int("depth", 1, MOST_LAYERS, default=min(len(model.units), MOST_LAYERS))
    width = hp.Choice("width", _around(model.units[0]), default=model.units[0])
    rate = hp.Float(
        "learning_rate",
        training.learning_rate / 8,
        training.learning_rate * 8,
        sampling="log",
        default=training.learning_rate,
    )
    overrides: dict[str, Any] = {
        "model.cell": hp.Choice("cell", ["gru", "lstm"], default="gru" if model.cell == "gru" else "lstm"),
        "model.units": [width] * depth,
        "model.characters": hp.Choice("characters", ["none", "cnn", "lstm"], default=model.characters),
        "model.head": hp.Choice("head", ["softmax", "crf"], default=model.head),
        "model.dropout": round(hp.Float("dropout", 0.0, 0.6, step=0.1), 3),
        "model.word_dropout": round(hp.Float("word_dropout", 0.0, 0.2, step=0.05), 3),
        "training.learning_rate": float(f"{rate:.3g}"),
    }
    if not getattr(getattr(config.data, "pretrained", None), "path", ""):  # vectors from a file have their own size
        overrides["model.embedding"] = hp.Choice("embedding", _around(model.embedding), default=model.embedding)
    return overrides


def _around(size: int) -> list[int]:
    return sorted({max(1, round(size * share)) for share in _SIZES})
