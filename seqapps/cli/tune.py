"""`seqapps tune CONFIG`: a search for a better model and training section; the winner is a configuration file."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seqapps.cli._arguments import add_config
from seqapps.workflow import tune as stages

if TYPE_CHECKING:
    from rich.console import Console


HELP = "search for a better model; the winner is written as a configuration"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes CONFIG."""
    add_config(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Searches, and prints the winner's file to stdout."""
    from seqapps.errors import UsageError
    from seqapps.workflow import prepare
    from seqapps.workflow.pipeline import pipeline_of

    pipeline = pipeline_of(arguments, console)
    if pipeline.config.tuning.algorithm == "none":
        raise UsageError(
            f'{pipeline.file}: `tuning.algorithm` is "none". Allowed: random, bayesian, hyperband. '
            f"Example: {pipeline.command('tune')} --set tuning.algorithm=random --set tuning.trials=20."
        )
    record = stages.stage(pipeline, prepare.need(pipeline))
    print(record.outputs[0])
    return 0
