"""Search spaces: one file per architecture. The folder and installed packages are the registry.

A space declares hyperparameters and returns dotted overrides of the configuration. Model code never sees `hp`. Every
call declares the same ones: those that depend on values of another are in `hp.conditional_scope`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seqapps import plugins
from seqapps.config import RunConfig

Declare = Callable[[Any, RunConfig], dict[str, Any]]
"""(`keras_tuner.HyperParameters`, the configuration at the centre of the space) -> dotted overrides."""


def names() -> list[str]:
    """Returns the spaces of this folder and of installed packages."""
    return plugins.SEARCH_SPACES.names()


def load(name: str) -> Declare:
    """Returns `declare` of a search space.

    Raises:
        ConfigError: there is none, listing all names and the nearest; or a package brings one that is broken.
    """
    declare: Declare = plugins.SEARCH_SPACES.module(name).declare
    return declare
