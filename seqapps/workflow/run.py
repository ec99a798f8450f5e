"""All stages, one after the other. Finished stages are skipped."""

from __future__ import annotations

from dataclasses import dataclass

from seqapps.config import RunConfig
from seqapps.top_level import take
from seqapps.workflow.pipeline import Journey
from seqapps.workflow.records import Record


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
    from seqapps.workflow import evaluate, export, prepare, promote, report, train, tune

    take(*packages_of(journey.config))  # a search begins long after the other stages
    prepared = prepare.stage(journey).outputs[0]
    if journey.config.tuning.algorithm != "none":
        journey = tune.with_winner(journey, tune.stage(journey, prepared))
    trained = train.stage(journey, prepared)
    evaluated = evaluate.stage(journey, prepared, trained)
    promoted = promote.stage(journey, prepared, trained, evaluated)
    exported = export.stage(journey, promoted)
    reported = report.stage(journey, trained, promoted, exported)
    return Finished(journey, trained, evaluated, promoted, exported, reported)
