"""Architectures: one file each, with its `Config` and `build`. The folder is the registry."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from seqapps.errors import ConfigError, unknown_name


def names() -> list[str]:
    """Returns the architectures in this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> ModuleType:
    """Returns the module `seqapps/architectures/<name>.py`: `Config` (a ModelConfig) and `build`.

    Raises:
        ConfigError: there is no such file; the message lists all names and the closest.
    """
    if name not in names():
        raise ConfigError(unknown_name("`model.architecture`", name, names()))
    return importlib.import_module(f"{__name__}.{name}")
