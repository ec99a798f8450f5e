"""`seqapps export CONFIG`: publishes the verified SavedModel where a server reads it, in one rename."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from seqapps.cli._arguments import add_config
from seqapps.workflow import export as stages

if TYPE_CHECKING:
    from rich.console import Console


HELP = "publish the SavedModel where a server reads it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes CONFIG and `--output FOLDER`."""
    add_config(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="a new or empty folder, or an earlier export, instead of exports/<model>/<version>",
    )


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Publishes, and prints the folder to stdout."""
    from seqapps.workflow import promote
    from seqapps.workflow.pipeline import pipeline_of
    from seqapps.workflow.run import need_evaluation

    if arguments.output is not None:
        stages.check_output(arguments.output)
    pipeline, prepared, trained, evaluated = need_evaluation(pipeline_of(arguments, console))
    record = stages.stage(pipeline, promote.need(pipeline, prepared, trained, evaluated), arguments.output)
    print(record.outputs[0])
    return 0
