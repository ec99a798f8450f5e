"""What the spaces of the architectures of a forecast share."""

from __future__ import annotations

from typing import Any

from seqapps.architectures._forecast import ForecastConfig
from seqapps.config import RunConfig

CELLS = ("gru", "lstm", "simple_rnn")
MOST_LAYERS = 2
_SIZES = (0.5, 1.0, 2.0)


def around(hp: Any, config: RunConfig, model: ForecastConfig) -> dict[str, Any]:
    """Returns the overrides of one trial around a configuration."""
    depth = hp.Int("depth", 1, MOST_LAYERS, default=min(len(model.units), MOST_LAYERS))
    sizes = sorted({max(1, round(model.units[0] * share)) for share in _SIZES})
    width = hp.Choice("width", sizes, default=model.units[0])
    anchors = ["none", "last", *(["season"] if getattr(config.data, "season", 0) else [])]
    rate = config.training.learning_rate
    found = hp.Float("learning_rate", rate / 8.0, rate * 8.0, sampling="log", default=rate)
    return {
        "model.cell": hp.Choice("cell", list(CELLS), default=model.cell),
        "model.units": [width] * depth,
        "model.anchor": hp.Choice("anchor", anchors, default=model.anchor),
        "model.highway": hp.Boolean("highway", default=model.highway),
        "model.dropout": round(hp.Float("dropout", 0.0, 0.4, step=0.1), 3),
        "training.learning_rate": float(f"{found:.3g}"),
    }
