"""Search spaces: one file per architecture. The folder is the registry.

A space declares hyperparameters and returns dotted overrides of the configuration. Model code never sees `hp`. Every
call declares the same ones: those that depend on values of another are in `hp.conditional_scope`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from seqapps.config import RunConfig
from seqapps.errors import ConfigError, unknown_name

Declare = Callable[[Any, RunConfig], dict[str, Any]]
"""(`keras_tuner.HyperParameters`, the configuration at the centre of the space) -> dotted overrides."""


def names() -> list[str]:
    """Returns the spaces in this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> Declare:
    """Returns `declare` of `tuning/spaces/<name>.py`.

    Raises:
        ConfigError: there is no such file; lists the names and the nearest.
    """
    if name not in names():
        raise ConfigError(unknown_name("`tuning.space`", name, names()))
    declare: Declare = importlib.import_module(f"{__name__}.{name}").declare
    return declare
