"""The stage `prepare`: raw files to a prepared data set, as an Apache Beam job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqapps.workflow.pipeline import Journey
    from seqapps.workflow.records import Inputs, Record


def stage(journey: Journey, *, verify: bool = False) -> Record:
    """Does the stage when it is not done. Its only output is the prepared folder.

    Args:
        journey: the configuration's.
        verify: whether every file is read before the folder counts as whole: a disk that fails changes no time of a
            file, and who asks for this stage alone may have been told to.
    """
    from seqapps.dataset.manifest import damage
    from seqapps.workflow.records import Record

    stage_inputs = inputs(journey)

    def work() -> Record:
        from pipelines.prepare import prepare
        from seqapps.workflow.stack import import_tensorflow

        if not journey.beam_arguments:  # then Beam works in this process
            import_tensorflow()

        folder = prepare(
            journey.config,
            journey.workspace,
            beam_arguments=list(journey.beam_arguments),
            rows=journey.rows,
            console=journey.console,
        )
        return Record(stage_inputs, (folder,), {})

    doubt = (lambda record: damage(record.outputs[0])) if verify else None
    return journey.perform(stage_inputs, work, doubt=doubt)


def need(journey: Journey) -> Path:
    """Returns the prepared folder, or raises with the verb that is missing."""
    return journey.need(inputs(journey), "prepare").outputs[0]


def inputs(journey: Journey) -> Inputs:
    """Returns what a prepared folder depends on: configuration, the raw files' content, the job's code."""
    from pipelines.prepare import fingerprint
    from seqapps.workflow.records import Inputs

    components = fingerprint(journey.config, journey.workspace, rows=journey.rows)
    config = {**journey.config.preparation, "rows": journey.rows}
    return Inputs("prepare", config, {"raw files": components["data"]}, components["code"])
