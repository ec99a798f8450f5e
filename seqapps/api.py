"""The commands from Python: `seqapps.run` and `seqapps.load`. See docs/python.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqapps.workspace import DEFAULT, Workspace

if TYPE_CHECKING:
    from seqapps.config import RunConfig
    from seqapps.evaluation.evaluate import Evaluation
    from seqapps.registry.promotion import Decision
    from seqapps.serving import Served


@dataclass(frozen=True)
class Run:
    """The result of `run`.

    Args:
        config: the configuration that was trained: the winner's, if there was a search.
        folder: of the run: checkpoint, log, trained model, evaluation.
        evaluation: metrics of the model, of every baseline, and of the champion.
        decision: of the gate: whether the model became the champion, and by which conditions.
        exported: the SavedModel.
        report: the HTML page.
    """

    config: RunConfig
    folder: Path
    evaluation: Evaluation
    decision: Decision
    exported: Path
    report: Path

    @property
    def promoted(self) -> bool:
        """Whether the gate let the model become the champion."""
        return self.decision.passed

    @cached_property
    def model(self) -> Served:
        """The SavedModel, loaded: `run.model.predict([...])`."""
        from seqapps import serving

        return serving.load(self.exported)


def run(  # noqa: PLR0913 - what every command takes
    config: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    workspace: str | Path = DEFAULT,
    tracking_uri: str = "",
    beam_arguments: Sequence[str] = (),
    quiet: bool = False,
) -> Run:
    """Runs all stages of a configuration, as `seqapps run` does; finished stages are skipped.

    Args:
        config: a TOML file.
        overrides: dotted fields to values that override those of the file: `{"training.epochs": 3}`.
        workspace: the folder of all state.
        tracking_uri: an MLflow server instead of the workspace.
        beam_arguments: options of Beam, such as `["--direct_num_workers=2"]`.
        quiet: whether to show nothing; else progress and notes go to stderr.

    Raises:
        ConfigError: the configuration is invalid; says where, received, allowed and nearest.
        UsageError: the program has a module `pipelines` or `tuning` of its own; a warning if one could be imported.
        SeqappsError: a stage could not finish; says why, and the remedy.
    """
    from rich.console import Console

    from seqapps.applications import load_config
    from seqapps.config import toml_value
    from seqapps.evaluation.evaluate import read_evaluation
    from seqapps.top_level import take, tell
    from seqapps.workflow import promote, train
    from seqapps.workflow.pipeline import Journey
    from seqapps.workflow.run import every_stage, packages_of
    from seqapps.workflow.stack import keep_compiled

    words = [f"{field}={toml_value(value)}" for field, value in (overrides or {}).items()]
    parsed, place = load_config(config, words), Workspace(Path(workspace))
    take(*packages_of(parsed))
    tell(*packages_of(parsed))
    place.sweep(parsed.name)
    keep_compiled(place.cache)
    journey = Journey(
        config=parsed,
        workspace=place,
        console=Console(stderr=True, quiet=quiet, soft_wrap=True),
        file=str(config),
        uri=tracking_uri or parsed.tracking.uri,
        beam_arguments=tuple(beam_arguments),
    )
    finished = every_stage(journey)
    return Run(
        config=finished.journey.config,
        folder=train.folder_of(finished.trained),
        evaluation=read_evaluation(finished.evaluated.outputs[0]),
        decision=promote.decision_of(finished.promoted),
        exported=finished.exported.outputs[0],
        report=finished.reported.outputs[0],
    )


def load(model: str | Path, *, workspace: str | Path = DEFAULT, tracking_uri: str = "") -> Served:
    """Loads a served model: `load("python_docs@champion").predict(["the value of the"])`.

    Args:
        model: `name@champion` or another alias, `name@3`, the id of a run, or an exported folder.
        workspace: where it was registered.
        tracking_uri: an MLflow server instead of the workspace.

    Raises:
        UsageError: there is no such model; names the known ones.
        DataError: the folder is damaged; says how to restore it.
    """
    from seqapps import serving

    return serving.load(locate(model, workspace=workspace, tracking_uri=tracking_uri))


def locate(model: str | Path, *, workspace: str | Path = DEFAULT, tracking_uri: str = "") -> Path:
    """Returns the exported folder that `load` loads.

    A run folder stands for the SavedModel inside it. Versions never change, so a version in the workspace's exports is
    taken from there without asking the registry; that saves the import of MLflow.

    Raises:
        UsageError: see `load`.
    """
    place, reference = Workspace(Path(workspace)), str(model)
    if Path(reference).is_dir():
        inner = Path(reference) / "saved_model"
        return inner if inner.is_dir() else Path(reference)
    name, _, version = reference.partition("@")
    published = place.exports / name / version
    if version.isdecimal() and not tracking_uri and (published / "saved_model.pb").exists():
        return published
    from seqapps.registry import versions

    return versions.resolve(reference, place, tracking_uri)
