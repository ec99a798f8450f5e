"""`seqapps train CONFIG`: trains with progress, checkpoints and one MLflow run, even if it was killed and resumed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seqapps.cli._arguments import add_config
from seqapps.workflow import train as stages

if TYPE_CHECKING:
    from rich.console import Console


HELP = "train the model; killed and run again it goes on where it was"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes CONFIG."""
    add_config(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Trains, and prints the run folder to stdout."""
    from seqapps.workflow.pipeline import pipeline_of
    from seqapps.workflow.run import need_data

    pipeline, prepared = need_data(pipeline_of(arguments, console))
    print(stages.folder_of(stages.stage(pipeline, prepared)))
    return 0
