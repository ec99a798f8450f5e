"""Baselines: what a model has to beat, on the same splits. One file each; the folder is the registry."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from seqapps.config import RunConfig
from seqapps.dataset.manifest import Manifest
from seqapps.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqapps.dataset.ragged import Ragged


@dataclass(frozen=True)
class Ground:
    """What a baseline may learn from: the prepared data of the run, read by the application.

    Args:
        config: the run's configuration.
        folder: the prepared folder.
        manifest: its manifest.
        examples: split name to features, read when asked.
        report: takes a line on how far it is, for people.
    """

    config: RunConfig
    folder: Path
    manifest: Manifest
    examples: Callable[[str], Mapping[str, Ragged]]
    report: Callable[[str], None]


class Infeasible(Exception):
    """Raised by `fit` where a baseline is not for such data; the text says why. It is left out, and people are told."""


class Baseline(Protocol):
    """A baseline after fitting."""

    @property
    def description(self) -> str:
        """What it is, with its order or size and its source, in one line."""
        ...

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns the same kind of array that the application's `predict` gives."""
        ...


@runtime_checkable
class Iterated(Protocol):
    """A baseline that is fitted step by step, and says whether it came to its end."""

    @property
    def converged(self) -> bool:
        """Whether more steps would not tell: half as many again change its figure on the validation split by less than
        that figure's standard error. False where a cap of steps came first, which an evaluation says."""
        ...


def has_converged(baseline: Baseline) -> bool:
    """Returns whether a baseline came to its end; one that is not fitted step by step has."""
    return not isinstance(baseline, Iterated) or baseline.converged


def names() -> list[str]:
    """Returns the baselines in this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> Callable[[Ground], Baseline]:
    """Returns `fit` of `seqapps/baselines/<name>.py`.

    Raises:
        ConfigError: there is no such file; lists the names and the nearest.
    """
    if name not in names():
        raise ConfigError(unknown_name("`baselines.names`", name, names()))
    fit: Callable[[Ground], Baseline] = importlib.import_module(f"{__name__}.{name}").fit
    return fit
