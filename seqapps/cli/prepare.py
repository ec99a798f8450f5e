"""`seqapps prepare CONFIG`: raw files to a prepared data set, as an Apache Beam job."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seqapps.cli._arguments import add_config
from seqapps.workflow import prepare as stages

if TYPE_CHECKING:
    from rich.console import Console


HELP = "raw files to a prepared data set (an Apache Beam job)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes CONFIG; Beam's own options follow after `--`."""
    add_config(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Prepares the data, and prints the folder to stdout."""
    from seqapps.workflow.pipeline import pipeline_of

    print(stages.stage(pipeline_of(arguments, console), verify=True).outputs[0])
    return 0
