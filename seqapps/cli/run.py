"""`seqapps run CONFIG`: the whole pipeline. Finished stages are skipped."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seqapps.cli._arguments import add_config
from seqapps.errors import REFUSED

if TYPE_CHECKING:
    from rich.console import Console

    from seqapps.workflow.run import Finished

HELP = "all of prepare, tune, train, evaluate, promote, export"

DRY_ROWS = 200
DRY_RUN = (
    "training.epochs=1",
    "training.sample_length=80",
    "baselines.fixed_window_epochs=1",
    "baselines.fixed_window_units=32",
    "baselines.fixed_window_max_steps=50",
    "promotion.resamples=200",
    "tuning.trials=2",
    "tuning.epochs=1",
)
"""Fields that a dry run reduces; settings of the user override them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes CONFIG and `--dry-run`; Beam's own options follow after `--`."""
    add_config(parser)
    parser.add_argument("--dry-run", action="store_true", help=f"{DRY_ROWS} rows and one epoch, in <workspace>/dry-run")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Runs the pipeline and prints its results to stdout.

    If the gate refused the model it exits with `REFUSED`, after everything else was done. A dry run never does: its
    figures mean nothing.
    """
    from dataclasses import replace

    from seqapps.workflow.pipeline import pipeline_of
    from seqapps.workflow.promote import refused
    from seqapps.workflow.run import every_stage
    from seqapps.workspace import Workspace

    pipeline = pipeline_of(arguments, console, DRY_RUN if arguments.dry_run else ())
    if arguments.dry_run:
        workspace = Workspace(pipeline.workspace.root / "dry-run")
        workspace.sweep(pipeline.config.name)
        pipeline = replace(pipeline, workspace=workspace, uri=workspace.tracking_uri, rows=DRY_ROWS)
        pipeline.say(f"dry run: {DRY_ROWS} rows and one epoch in {workspace.root}; its figures mean nothing")
    finished = every_stage(pipeline)
    show(finished)
    return REFUSED if refused(finished.promoted) and not arguments.dry_run else 0


def show(finished: Finished) -> None:
    """Prints the results of a run to stdout: evaluation, decision, some predictions, and the paths of everything."""
    from seqapps.cli import evaluate, promote
    from seqapps.cli._page import places
    from seqapps.workflow import train

    evaluate.show(finished.evaluated)
    promote.show(finished.promoted)
    print(finished.exported.result["showcase"])
    folder, target = train.folder_of(finished.trained), finished.exported.outputs[0]
    page, command = finished.reported.outputs[0], finished.pipeline.tracker.page_command
    print(places({"report": page, "run folder": folder, "SavedModel": target, "MLflow page": command}))
