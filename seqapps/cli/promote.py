"""`seqapps promote CONFIG`: registers the model as a version; the gate decides whether it becomes the champion."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seqapps.cli._arguments import add_config
from seqapps.errors import REFUSED, UsageError
from seqapps.workflow import promote as stages

if TYPE_CHECKING:
    from rich.console import Console

    from seqapps.workflow.records import Record


HELP = "register the model; make it the champion when it beats what it must"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes CONFIG and `--force REASON`."""
    add_config(parser)
    parser.add_argument("--force", metavar="REASON", help="promote whatever the gate says; recorded")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Decides, and prints the decision to stdout. A refused promotion exits with `REFUSED`, for scripts."""
    from seqapps.workflow.pipeline import pipeline_of
    from seqapps.workflow.run import need_evaluation

    if arguments.force is not None and not arguments.force.strip():
        raise UsageError(
            "promote: `--force` needs the reason, which is kept in the ledger. Received: "
            f"{arguments.force!r}. Example: --force 'the baseline reads the labels'."
        )
    found = need_evaluation(pipeline_of(arguments, console))
    record = stages.stage(*found, force=(arguments.force or "").strip())
    show(record)
    return REFUSED if stages.refused(record) else 0


def show(record: Record) -> None:
    """Prints the decision to stdout."""
    from seqapps.cli._page import page
    from seqapps.registry.promotion import decision_table

    page().print(decision_table(stages.decision_of(record)))
