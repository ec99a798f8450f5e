"""All stages, one after the other. Finished stages are skipped."""

from __future__ import annotations

from dataclasses import dataclass

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


def every_stage(journey: Journey) -> Finished:
    """Runs every stage that is not up to date."""
    from seqapps.workflow import evaluate, export, prepare, promote, report, train, tune

    prepared = prepare.stage(journey).outputs[0]
    if journey.config.tuning.algorithm != "none":
        journey = tune.with_winner(journey, tune.stage(journey, prepared))
    trained = train.stage(journey, prepared)
    evaluated = evaluate.stage(journey, prepared, trained)
    promoted = promote.stage(journey, prepared, trained, evaluated)
    exported = export.stage(journey, promoted)
    reported = report.stage(journey, trained, promoted, exported)
    return Finished(journey, trained, evaluated, promoted, exported, reported)
