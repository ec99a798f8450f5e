"""Baselines that models are compared with, on the same splits. One file each; the folder is the registry."""

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
    """The data that a baseline may learn from: the prepared data of the run, read by the application.

    Args:
        config: the run's configuration.
        folder: the prepared folder.
        manifest: its manifest.
        examples: split name to features, read lazily.
        report: callback that takes a progress message.
    """

    config: RunConfig
    folder: Path
    manifest: Manifest
    examples: Callable[[str], Mapping[str, Ragged]]
    report: Callable[[str], None]


class Infeasible(Exception):
    """Raised by `fit` if a baseline is not feasible on the data; says why. It is left out, which is reported."""


class Baseline(Protocol):
    """A baseline after fitting."""

    @property
    def description(self) -> str:
        """What it is, with its order or size and its source, in one line."""
        ...

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns predictions in the same form as the application's `predict`."""
        ...


@runtime_checkable
class Iterated(Protocol):
    """A baseline that is fitted iteratively, and reports whether it converged."""

    @property
    def converged(self) -> bool:
        """Whether more steps would make no difference: half as many again change its validation metric by less than the
        metric's standard error. False if a cap of steps came first, which an evaluation reports."""
        ...


def has_converged(baseline: Baseline) -> bool:
    """Returns whether a baseline converged; True for one that is not fitted iteratively."""
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
