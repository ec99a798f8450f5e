"""`seqapps prepare CONFIG`: raw files to a prepared data set, as an Apache Beam job."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from seqapps.cli._arguments import add_config

if TYPE_CHECKING:
    from rich.console import Console

    from seqapps.workflow.pipeline import Journey
    from seqapps.workflow.records import Inputs, Record

HELP = "raw files to a prepared data set (an Apache Beam job)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes CONFIG; Beam's own options stand after `--`."""
    add_config(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Prepares the data, and prints the folder to stdout."""
    from seqapps.workflow.pipeline import journey_of

    print(stage(journey_of(arguments, console), verify=True).outputs[0])
    return 0


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
        from seqapps.cli._stack import import_tensorflow

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
