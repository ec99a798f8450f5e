"""The space of `forecaster`: cell, depth, units, anchor, highway, dropout, learning rate.

Sizes and rates lie around those of the configuration, so that the configuration sets the scale.
"""

from __future__ import annotations

from typing import Any

from seqapps.architectures.forecaster import Config
from seqapps.config import RunConfig
from tuning.spaces._forecast import around
from tuning.spaces._shared import model_of


def declare(hp: Any, config: RunConfig) -> dict[str, Any]:
    """Returns the overrides of one trial.

    Args:
        hp: `keras_tuner.HyperParameters`; returns a value for each declared name.
        config: the configuration at the centre of the space.

    Raises:
        ConfigError: the configuration's architecture is another one.
    """
    return around(hp, config, model_of(config, Config))
