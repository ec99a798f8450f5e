"""Several stages, one after the other: all of them, or those that another one needs. Finished stages are skipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from seqapps.config import RunConfig
from seqapps.top_level import take
from seqapps.workflow.pipeline import PipelineRun
from seqapps.workflow.records import Record


class Data(NamedTuple):
    """Prepared data, and the configuration to train on it.

    Args:
        pipeline: the pipeline, with the winner's configuration if there was a search.
        prepared: the prepared folder.
    """

    pipeline: PipelineRun
    prepared: Path


class Training(NamedTuple):
    """A finished training: `Data`, and the record of the training."""

    pipeline: PipelineRun
    prepared: Path
    trained: Record


class Evaluation(NamedTuple):
    """A finished evaluation: `Training`, and the record of the evaluation."""

    pipeline: PipelineRun
    prepared: Path
    trained: Record
    evaluated: Record


@dataclass(frozen=True)
class Finished:
    """The results of a whole run.

    Args:
        pipeline: with the configuration that was trained: the winner's, if there was a search.
        trained, evaluated, promoted, exported, reported: the records of the stages.
    """

    pipeline: PipelineRun
    trained: Record
    evaluated: Record
    promoted: Record
    exported: Record
    reported: Record


def packages_of(config: RunConfig) -> tuple[str, ...]:
    """Returns the packages beside `seqapps` that a whole run imports, of `seqapps.top_level.NAMES`."""
    return ("pipelines",) if config.tuning.algorithm == "none" else ("pipelines", "tuning")


def every_stage(pipeline: PipelineRun) -> Finished:
    """Runs every stage that is not up to date.

    Raises:
        UsageError: the name of a package that it needs means another module in this process.
    """
    from seqapps.workflow import export, promote, report

    take(*packages_of(pipeline.config))  # a search begins long after the other stages
    pipeline, prepared, trained, evaluated = make_evaluation(pipeline)
    promoted = promote.stage(pipeline, prepared, trained, evaluated)
    exported = export.stage(pipeline, promoted)
    reported = report.stage(pipeline, trained, promoted, exported)
    return Finished(pipeline, trained, evaluated, promoted, exported, reported)


def make_data(pipeline: PipelineRun) -> Data:
    """Prepares the data and searches, where that is not up to date."""
    from seqapps.workflow import prepare, tune

    prepared = prepare.stage(pipeline).outputs[0]
    if pipeline.config.tuning.algorithm != "none":
        pipeline = tune.with_winner(pipeline, tune.stage(pipeline, prepared))
    return Data(pipeline, prepared)


def make_training(pipeline: PipelineRun) -> Training:
    """Trains, after what that needs, where it is not up to date."""
    from seqapps.workflow import train

    pipeline, prepared = make_data(pipeline)
    return Training(pipeline, prepared, train.stage(pipeline, prepared))


def make_evaluation(pipeline: PipelineRun) -> Evaluation:
    """Evaluates, after what that needs, where it is not up to date."""
    from seqapps.workflow import evaluate

    pipeline, prepared, trained = make_training(pipeline)
    return Evaluation(pipeline, prepared, trained, evaluate.stage(pipeline, prepared, trained))


def need_data(pipeline: PipelineRun) -> Data:
    """Returns the prepared data and the configuration to train.

    Raises:
        UsageError: the data is not prepared, or a search not finished; says what to run.
    """
    from seqapps.workflow import prepare, tune

    prepared = prepare.need(pipeline)
    return Data(tune.winner(pipeline, prepared), prepared)


def need_training(pipeline: PipelineRun) -> Training:
    """Returns the finished training.

    Raises:
        UsageError: a stage is not done; says what to run.
    """
    from seqapps.workflow import train

    pipeline, prepared = need_data(pipeline)
    return Training(pipeline, prepared, train.need(pipeline, prepared))


def need_evaluation(pipeline: PipelineRun) -> Evaluation:
    """Returns the finished evaluation.

    Raises:
        UsageError: a stage is not done; says what to run.
    """
    from seqapps.workflow import evaluate

    pipeline, prepared, trained = need_training(pipeline)
    return Evaluation(pipeline, prepared, trained, evaluate.need(pipeline, prepared, trained))
