"""Shared by the commands: the configuration, the workspace, the tracker, and the records of the stages."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqapps.config import DataConfig, RunConfig
from seqapps.dataset.manifest import Manifest, read_manifest
from seqapps.errors import UsageError
from seqapps.secrets import recorded, scrub
from seqapps.workflow.records import Doubt, Inputs, Record, Records
from seqapps.workflow.sources import code_digest
from seqapps.workspace import DEFAULT, Workspace

if TYPE_CHECKING:
    from rich.console import Console

    from seqapps.registry.tracking import Tracker


@dataclass(frozen=True)
class PipelineRun:
    """One run of the pipeline: its configuration, its stages, and what they share.

    Args:
        config: the run's configuration.
        workspace: the folder of all state.
        console: for progress and notes, on stderr.
        file: the configuration file as the user named it, for remedies.
        uri: the MLflow store on the command line; empty for the workspace's own.
        beam_arguments: the arguments after `--`.
        rows: rows to read, for a dry run; 0 reads all.
        any_code: whether to reuse results of an earlier version of the code.
        options: the given options that all commands share, as text for remedies.
    """

    config: RunConfig
    workspace: Workspace
    console: Console
    file: str
    uri: str = ""
    beam_arguments: tuple[str, ...] = ()
    rows: int = 0
    any_code: bool = False
    options: str = ""

    def command(self, command: str) -> str:
        """Returns another command line for the same configuration, workspace and store."""
        return f"seqapps {command} {shlex.quote(self.file)}{self.options}"

    @cached_property
    def tracker(self) -> Tracker:
        """The access to MLflow, opened on first use."""
        from seqapps.registry.tracking import Tracker

        return Tracker.open(self.config, self.workspace, self.uri)

    @property
    def records(self) -> Records:
        """The records of the stages of this configuration."""
        return Records(self.workspace, self.config.name, self.any_code)

    def say(self, line: str) -> None:
        """Prints a one-line message; paths are never broken."""
        self.console.print(scrub(line), soft_wrap=True, highlight=False, markup=False)

    def with_config(self, config: RunConfig) -> PipelineRun:
        """Returns the same pipeline with another configuration, such as the tuner's winner."""
        return replace(self, config=config)

    def inputs(self, stage: str, config: Mapping[str, Any], upstream: Mapping[str, str]) -> Inputs:
        """Returns the inputs of a stage, with the digest of its source files."""
        run = self.config
        code = code_digest(
            stage, application=run.application, architecture=run.model.architecture, space=run.tuning.space
        )
        return Inputs(stage, config, upstream, code)

    def part(self, *names: str) -> dict[str, Any]:
        """Returns sections of the configuration as nested tables."""
        return self.config.model_dump(mode="json", include=set(names))

    @property
    def own_data(self) -> dict[str, Any]:
        """The fields of `data` that are the application's own. Those of every application only affect how data is
        prepared, and the digest of the prepared data covers them."""
        return self.config.data.model_dump(mode="json", exclude=set(DataConfig.model_fields))

    def perform(
        self, inputs: Inputs, work: Callable[[], Record], *, folder: Path | None = None, doubt: Doubt | None = None
    ) -> Record:
        """Runs a stage if it is not up to date, and prints whether; see `Records.perform`."""
        return self.records.perform(inputs, work, self.say, folder=folder, doubt=doubt)

    def need(self, inputs: Inputs, command: str, doubt: Doubt | None = None) -> Record:
        """Returns the record of an earlier stage.

        Args:
            inputs: of that stage.
            command: the command of that stage.
            doubt: see `Records.perform`.

        Raises:
            UsageError: it is missing for this configuration; says why and what to run.
        """
        record, why = self.records.standing(inputs, doubt)
        if record is None:
            why = (why or self.records.reason(inputs)).replace("runs", "it would run", 1)
            raise UsageError(
                f"`{inputs.stage}` is not done for this configuration ({why}). "
                f"Run `{self.command(command)}` first, or all stages with `{self.command('run')}`."
            )
        return record


def pipeline_of(arguments: argparse.Namespace, console: Console, overrides: Sequence[str] = ()) -> PipelineRun:
    """Returns the pipeline of a command line.

    Raises:
        UsageError: no configuration, two of them, or an invalid one.
    """
    from seqapps.applications import load_config

    given = [file for file in (arguments.file, arguments.config_file) if file]
    if len(given) != 1:
        received = " and ".join(given) or "none"
        raise UsageError(
            f"seqapps {arguments.command} needs one configuration file. Received: {received}. "
            f"Example: seqapps {arguments.command} configs/language_model/python_docs.toml."
        )
    return begin(
        load_config(given[0], [*overrides, *arguments.overrides]),
        Workspace(arguments.workspace),
        console,
        file=given[0],
        uri=arguments.tracking_uri,
        beam_arguments=arguments.beam_arguments,
        any_code=arguments.any_code,
        options=_options(arguments),
    )


def begin(  # noqa: PLR0913 - what a command line has
    config: RunConfig,
    workspace: Workspace,
    console: Console,
    *,
    file: str,
    uri: str = "",
    beam_arguments: Sequence[str] = (),
    any_code: bool = False,
    options: str = "",
) -> PipelineRun:
    """Returns the pipeline of a configuration, for a command and for a call from Python; see `PipelineRun`.

    What killed processes left half done in the workspace is removed. The store is that of `uri`, or else that of the
    configuration.
    """
    workspace.sweep(config.name)
    return PipelineRun(
        config=config,
        workspace=workspace,
        console=console,
        file=file,
        uri=uri or config.tracking.uri,
        beam_arguments=tuple(beam_arguments),
        any_code=any_code,
        options=options,
    )


def _options(arguments: argparse.Namespace) -> str:
    """Returns the given shared options as on a command line."""
    words = [word for override in arguments.overrides for word in ("--set", override)]
    if arguments.workspace != Path(DEFAULT):
        words += ["--workspace", str(arguments.workspace)]
    if arguments.tracking_uri:
        words += ["--tracking-uri", recorded(arguments.tracking_uri)]
    if arguments.any_code:
        words.append("--any-code")
    return "".join(f" {shlex.quote(word)}" for word in words)


def manifest_of(folder: Path) -> Manifest:
    """Returns the manifest of a prepared folder."""
    return read_manifest(folder)
