"""The stage `prepare`: raw files to a prepared data set, as an Apache Beam job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqapps.workflow.pipeline import PipelineRun
    from seqapps.workflow.records import Inputs, Record


def stage(pipeline: PipelineRun, *, verify: bool = False) -> Record:
    """Runs the stage if it is not up to date. Its only output is the prepared folder.

    Args:
        pipeline: of the configuration.
        verify: whether to read every file before the folder counts as intact: a failing disk changes no file times,
            and users run this stage alone as a remedy.
    """
    from seqapps.dataset.manifest import damage
    from seqapps.workflow.records import Record

    stage_inputs = inputs(pipeline)

    def work() -> Record:
        from pipelines.prepare import prepare
        from seqapps.workflow.stack import import_tensorflow

        if not pipeline.beam_arguments:  # then Beam runs in this process
            import_tensorflow()

        folder = prepare(
            pipeline.config,
            pipeline.workspace,
            beam_arguments=list(pipeline.beam_arguments),
            rows=pipeline.rows,
            console=pipeline.console,
        )
        return Record(stage_inputs, (folder,), {})

    doubt = (lambda record: damage(record.outputs[0])) if verify else None
    return pipeline.perform(stage_inputs, work, doubt=doubt)


def need(pipeline: PipelineRun) -> Path:
    """Returns the prepared folder, or raises with the missing command."""
    return pipeline.need(inputs(pipeline), "prepare").outputs[0]


def inputs(pipeline: PipelineRun) -> Inputs:
    """Returns the inputs of a prepared folder: configuration, the raw files' content, the job's code."""
    from seqapps.top_level import take
    from seqapps.workflow.records import Inputs

    take("pipelines")
    from pipelines.prepare import fingerprint

    components = fingerprint(pipeline.config, pipeline.workspace, rows=pipeline.rows)
    config = {**pipeline.config.preparation, "rows": pipeline.rows}
    return Inputs("prepare", config, {"raw files": components["data"]}, components["code"])
