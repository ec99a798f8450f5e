"""Several stages, one after the other: all of them, or those that another one needs. Finished stages are skipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from seqapps.config import RunConfig
from seqapps.top_level import take
from seqapps.workflow.pipeline import Journey
from seqapps.workflow.records import Record


class Data(NamedTuple):
    """Prepared data, and the configuration to train on it.

    Args:
        journey: the pipeline, with the winner's configuration if there was a search.
        prepared: the prepared folder.
    """

    journey: Journey
    prepared: Path


class Training(NamedTuple):
    """A finished training: `Data`, and the record of the training."""

    journey: Journey
    prepared: Path
    trained: Record


class Evaluation(NamedTuple):
    """A finished evaluation: `Training`, and the record of the evaluation."""

    journey: Journey
    prepared: Path
    trained: Record
    evaluated: Record


@dataclass(frozen=True)
class Finished:
    """The results of a whole run.

    Args:
        journey: with the configuration that was trained: the winner's, if there was a search.
        trained, evaluated, promoted, exported, reported: the records of the stages.
    """

    journey: Journey
    trained: Record
    evaluated: Record
    promoted: Record
    exported: Record
    reported: Record


def packages_of(config: RunConfig) -> tuple[str, ...]:
    """Returns the packages beside `seqapps` that a whole run imports, of `seqapps.top_level.NAMES`."""
    return ("pipelines",) if config.tuning.algorithm == "none" else ("pipelines", "tuning")


def every_stage(journey: Journey) -> Finished:
    """Runs every stage that is not up to date.

    Raises:
        UsageError: the name of a package that it needs means another module in this process.
    """
    from seqapps.workflow import export, promote, report

    take(*packages_of(journey.config))  # a search begins long after the other stages
    journey, prepared, trained, evaluated = make_evaluation(journey)
    promoted = promote.stage(journey, prepared, trained, evaluated)
    exported = export.stage(journey, promoted)
    reported = report.stage(journey, trained, promoted, exported)
    return Finished(journey, trained, evaluated, promoted, exported, reported)


def make_data(journey: Journey) -> Data:
    """Prepares the data and searches, where that is not up to date."""
    from seqapps.workflow import prepare, tune

    prepared = prepare.stage(journey).outputs[0]
    if journey.config.tuning.algorithm != "none":
        journey = tune.with_winner(journey, tune.stage(journey, prepared))
    return Data(journey, prepared)


def make_training(journey: Journey) -> Training:
    """Trains, after what that needs, where it is not up to date."""
    from seqapps.workflow import train

    journey, prepared = make_data(journey)
    return Training(journey, prepared, train.stage(journey, prepared))


def make_evaluation(journey: Journey) -> Evaluation:
    """Evaluates, after what that needs, where it is not up to date."""
    from seqapps.workflow import evaluate

    journey, prepared, trained = make_training(journey)
    return Evaluation(journey, prepared, trained, evaluate.stage(journey, prepared, trained))


def need_data(journey: Journey) -> Data:
    """Returns the prepared data and the configuration to train.

    Raises:
        UsageError: the data is not prepared, or a search not finished; says what to run.
    """
    from seqapps.workflow import prepare, tune

    prepared = prepare.need(journey)
    return Data(tune.winner(journey, prepared), prepared)


def need_training(journey: Journey) -> Training:
    """Returns the finished training.

    Raises:
        UsageError: a stage is not done; says what to run.
    """
    from seqapps.workflow import train

    journey, prepared = need_data(journey)
    return Training(journey, prepared, train.need(journey, prepared))


def need_evaluation(journey: Journey) -> Evaluation:
    """Returns the finished evaluation.

    Raises:
        UsageError: a stage is not done; says what to run.
    """
    from seqapps.workflow import evaluate

    journey, prepared, trained = need_training(journey)
    return Evaluation(journey, prepared, trained, evaluate.need(journey, prepared, trained))
