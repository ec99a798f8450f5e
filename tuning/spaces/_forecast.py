"""Shared by the spaces of the forecasting architectures."""

from __future__ import annotations

from typing import Any

from seqapps.architectures._forecast import ForecastConfig
from seqapps.config import RunConfig
from tuning.spaces._shared import cell, share, training, units

CELLS = ("gru", "lstm", "simple_rnn")
MOST_LAYERS = 2
_SIZES = (0.5, 1.0, 2.0)


def around(hp: Any, config: RunConfig, model: ForecastConfig) -> dict[str, Any]:
    """Returns the overrides of one trial around a configuration."""
    anchors = ["none", "last", *(["season"] if getattr(config.data, "season", 0) else [])]
    return {
        "model.units": units(hp, model.units, _SIZES, MOST_LAYERS),
        **cell(hp, model, CELLS),
        "model.anchor": hp.Choice("anchor", anchors, default=model.anchor),
        "model.highway": hp.Boolean("highway", default=model.highway),
        "model.dropout": share(hp, "dropout", model.dropout, 0.4),
        **training(hp, config),
    }
