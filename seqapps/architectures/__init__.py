"""Architectures: one file each, with its `Config` and `build`. The folder and installed packages are the registry.

An application names the architecture that it takes by default. Every other architecture names the applications that
take it, in `APPLICATIONS`.
"""

from __future__ import annotations

from types import ModuleType

from seqapps import plugins


def names() -> list[str]:
    """Returns the architectures of this folder and of installed packages."""
    return plugins.ARCHITECTURES.names()


def load(name: str) -> ModuleType:
    """Returns the module of an architecture: `Config` (a ModelConfig) and `build`.

    Raises:
        ConfigError: there is none, listing all names and the closest; or a package brings one that is broken.
    """
    module = plugins.ARCHITECTURES.module(name)
    field = getattr(module.Config, "model_fields", {}).get("architecture")
    if field is None or field.default != name:
        raise plugins.ARCHITECTURES.refused(
            name, f"needs a ModelConfig with the field `architecture: Literal[{name!r}] = {name!r}` as Config"
        )
    return module


def of(application: str) -> list[str]:
    """Returns the architectures that name an application in their `APPLICATIONS`, sorted.

    Raises:
        ConfigError: a package brings one that is broken.
    """
    return [name for name in names() if application in plugins.ARCHITECTURES.applications(name)]
