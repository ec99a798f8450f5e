"""Baselines that models are compared with, on the same splits. One file each; the folder and installed packages are the
registry.

The module of a baseline defines

    APPLICATIONS            the applications that it serves, such as `("language_model",)`
    RANK                    its place in their lists, from the simplest to the strongest; equal ones by name (or 100)
    DEFAULT                 whether it runs where `baselines.names` is empty (or True)
    missing(config)         what it needs and a configuration does not have, with an example; "" if nothing (optional)
    fit(context)            fits it: `BaselineContext` -> `Baseline`; raises `Infeasible`

and imports at its top only what is quick to import: lists of baselines are made before TensorFlow is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from seqapps import plugins
from seqapps.config import RunConfig
from seqapps.dataset.manifest import Manifest
from seqapps.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqapps.dataset.ragged import Ragged


@dataclass(frozen=True)
class BaselineContext:
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


@dataclass(frozen=True)
class Scope:
    """Where a baseline applies.

    Args:
        applications: the applications that it serves.
        rank: its place in their lists, from the simplest to the strongest.
        default: whether it runs where `baselines.names` is empty.
        missing: what it needs and a configuration does not have; empty if nothing.
    """

    applications: tuple[str, ...]
    rank: int
    default: bool
    missing: Callable[[RunConfig], str]


def names() -> list[str]:
    """Returns the baselines of this folder and of installed packages."""
    return plugins.BASELINES.names()


def load(name: str) -> Callable[[BaselineContext], Baseline]:
    """Returns `fit` of a baseline.

    Raises:
        ConfigError: there is none, listing all names and the nearest; or a package brings one that is broken.
    """
    fit: Callable[[BaselineContext], Baseline] = plugins.BASELINES.module(name).fit
    return fit


def scope_of(name: str) -> Scope:
    """Returns where a baseline applies, from its module.

    Raises:
        ConfigError: as `load`, or what the module declares has another type.
    """
    module = plugins.BASELINES.module(name)
    applications = plugins.BASELINES.applications(name)
    rank, default = getattr(module, "RANK", _LAST), getattr(module, "DEFAULT", True)
    if type(rank) is not int or type(default) is not bool:
        raise plugins.BASELINES.refused(
            name, f"needs a whole number as RANK and True or False as DEFAULT, and has {rank!r} and {default!r}"
        )
    return Scope(applications, rank, default, getattr(module, "missing", lambda config: ""))


def serving(application: str, further: Collection[str] = ()) -> dict[str, Scope]:
    """Returns the baselines that serve an application, from the simplest to the strongest.

    Args:
        application: its name.
        further: baselines that it takes besides those that name it.

    Raises:
        ConfigError: as `scope_of`.
    """
    scopes = {name: scope_of(name) for name in {*names(), *further}}
    found = [name for name, scope in scopes.items() if application in scope.applications or name in further]
    return {name: scopes[name] for name in sorted(found, key=lambda name: (scopes[name].rank, name))}


def chosen(config: RunConfig, further: Collection[str] = ()) -> tuple[str, ...]:
    """Returns the baselines of a configuration: `baselines.names`, or the default ones, that miss nothing in it."""
    served = serving(config.application, further)
    asked = config.baselines.names or [name for name, scope in served.items() if scope.default]
    return tuple(name for name in asked if name in served and not served[name].missing(config))


def check(config: RunConfig, further: Collection[str] = ()) -> None:
    """Raises for a name in `baselines.names` that does not serve the application, or misses something.

    Raises:
        ConfigError: the same; says which names are allowed, or what is missing.
    """
    served = serving(config.application, further)
    for name in config.baselines.names:
        if name not in served:
            allowed = [name for name, scope in served.items() if not scope.missing(config)]
            raise ConfigError(unknown_name(f"`baselines.names`: baseline of {config.application}", name, allowed))
        missing = served[name].missing(config)
        if missing:
            raise ConfigError(f"`baselines.names` asks for {name}, which needs {missing}.")


_LAST = 100
"""Rank of a baseline that declares none."""
