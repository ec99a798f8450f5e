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
    from seqapps.workflow import prepare, tune
    from seqapps.workflow.pipeline import journey_of

    journey = journey_of(arguments, console)
    prepared = prepare.need(journey)
    print(stages.folder_of(stages.stage(tune.winner(journey, prepared), prepared)))
    return 0
