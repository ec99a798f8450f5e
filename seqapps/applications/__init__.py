"""Applications, one file each. The folder is the registry: `load("language_model")` imports that file.

The interface of an application is defined in `seqapps/applications/base.py`. This module finds an application by its
name and lets it check the configuration.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqapps import architectures
from seqapps.applications.base import Application, Breakdown, Call, Refusal, options_of
from seqapps.config import BaselinesConfig, RunConfig, parse_config, read_toml
from seqapps.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from seqapps.applications.base import Resources

__all__ = [
    "Application", "Breakdown", "Call", "Refusal", "application_of", "config_from", "load", "load_config", "names",
    "options_of",
]  # fmt: skip


_SHARED = ("answers", "base")
"""Files of this folder that are not applications."""


def names() -> list[str]:
    """Returns the applications in this folder."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if not name.startswith("_") and name not in _SHARED)


def load(name: str) -> type[Application]:
    """Returns the application in `seqapps/applications/<name>.py`.

    Raises:
        ConfigError: there is no such file; lists the names and the nearest match.
    """
    if name not in names():
        raise ConfigError(unknown_name("application", name, names()))
    application: type[Application] = importlib.import_module(f"{__name__}.{name}").APPLICATION
    return application


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Returns the typed configuration of a TOML file, checked by its application.

    Raises:
        ConfigError: names the place, the value received, the allowed values and the nearest one.
    """
    return config_from(read_toml(path, overrides), str(path))


def config_from(tables: Mapping[str, Any], where: str) -> RunConfig:
    """Returns the typed configuration of tables, such as `RunConfig.model_dump()` returns."""
    if "application" not in tables:
        raise ConfigError(f"{where}: `application` is required. Allowed: {', '.join(names())}.")
    try:
        application = load(str(tables["application"]))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    models = {name: architectures.load(name).Config for name in application.architectures}
    filled = {**tables, **_with_defaults(tables, application.defaults)}
    try:
        _check_evaluation(application, tables.get("evaluation"))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    config = parse_config(filled, data=application.data, models=models, evaluation=application.evaluation, where=where)
    try:
        _check_source(application, config)
        application(config).check()
        _check_baselines(application, config)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return config


def _check_source(application: type[Application], config: RunConfig) -> None:
    """Raises for column names where a file is one row, unless the application reads the columns of such a file."""
    source = config.source
    for option in ("columns", "fields"):
        names_given = list(getattr(source, option))
        if names_given and source.rows == "file" and not application.reads_tables:
            raise ConfigError(
                f'`source.{option}` names columns of a file, and with `source.rows` = "file" a whole file is one text. '
                f'Received: {names_given}. Remedy: leave it out, or `source.rows` = "line", where a line is a row.'
            )


def _check_evaluation(application: type[Application], section: Any) -> None:
    """Raises for a field of `evaluation` that is another application's, which the message names."""
    own = application.evaluation.model_fields
    for name, received in section.items() if isinstance(section, Mapping) else ():
        readers = " and ".join(other for other in names() if name in load(other).evaluation.model_fields)
        if name not in own and readers:
            raise ConfigError(
                f"`evaluation.{name}` belongs to {readers}, and {application.name} does not read it. Received: "
                f"{received!r}. Allowed: {', '.join(own) or 'none of the section'}. Remedy: leave it out."
            )


def _check_baselines(application: type[Application], config: RunConfig) -> None:
    """Raises for a baseline that is not among the application's default ones."""
    chosen = config.baselines.names
    allowed = application(config.model_copy(update={"baselines": BaselinesConfig()})).baselines() if chosen else ()
    for name in chosen:
        if name not in allowed:
            raise ConfigError(unknown_name(f"`baselines.names`: baseline of {application.name}", name, allowed))


def _with_defaults(tables: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the sections with the application's own defaults; values from the file take precedence."""
    given = {section: tables.get(section) or {} for section in defaults}
    return {
        section: {**fields, **given[section]} if isinstance(given[section], Mapping) else given[section]
        for section, fields in defaults.items()
    }


def application_of(config: RunConfig, resources: Resources | None = None) -> Application:
    """Returns the application of a configuration, with the resources of a trained model if there is one."""
    return load(config.application)(config, resources)
