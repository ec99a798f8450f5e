"""Applications, one file each. The folder and installed packages are the registry; `load("language_model")` imports
one.

The interface of an application is defined in `seqapps/applications/base.py`. This module finds an application by its
name and lets it check the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqapps import architectures, baselines, plugins
from seqapps.applications.base import Application, Breakdown, Call, Refusal, options_of
from seqapps.config import RunConfig, parse_config, read_toml
from seqapps.errors import ConfigError

if TYPE_CHECKING:
    from seqapps.applications.base import Resources

__all__ = [
    "Application", "Breakdown", "Call", "Refusal", "application_of", "architectures_of", "config_from", "load",
    "load_config", "names", "options_of",
]  # fmt: skip


def names() -> list[str]:
    """Returns the applications of this folder and of installed packages."""
    return plugins.APPLICATIONS.names()


def load(name: str) -> type[Application]:
    """Returns an application.

    Raises:
        ConfigError: there is none, listing the names and the nearest match; or a package brings one that is broken.
    """
    found = plugins.APPLICATIONS.module(name).APPLICATION
    if not (isinstance(found, type) and issubclass(found, Application) and found.name == name):
        raise plugins.APPLICATIONS.refused(
            name, f"needs an Application whose `name` is {name!r} as APPLICATION, and has {found!r}"
        )
    return found


def architectures_of(application: type[Application]) -> list[str]:
    """Returns the architectures that an application takes: those that it names, the default first, and those that name
    it, sorted.

    Raises:
        ConfigError: a package brings an architecture that is broken.
    """
    return list(dict.fromkeys([*application.architectures, *architectures.of(application.name)]))


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
        models = {name: architectures.load(name).Config for name in architectures_of(application)}
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    filled = {**tables, **_with_defaults(tables, application.defaults)}
    try:
        _check_evaluation(application, tables.get("evaluation"))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    config = parse_config(filled, data=application.data, models=models, evaluation=application.evaluation, where=where)
    try:
        _check_source(application, config)
        application(config).check()
        baselines.check(config, application.further_baselines)
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
