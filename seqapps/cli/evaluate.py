"""`seqapps evaluate CONFIG`: the test split, against every baseline and against the champion."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seqapps.cli._arguments import add_config
from seqapps.workflow import evaluate as stages

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from seqapps.workflow.pipeline import PipelineRun
    from seqapps.workflow.records import Record


HELP = "score the test split against the baselines and the champion"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes CONFIG and `--slices FIELD`."""
    add_config(parser)
    parser.add_argument(
        "--slices",
        action="append",
        default=[],
        metavar="FIELD",
        help="also the objective of each slice by `length`, `label`, or a column of data.keep; several with commas",
    )


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Evaluates, and prints the tables to stdout."""
    from seqapps.workflow.pipeline import pipeline_of
    from seqapps.workflow.run import need_training

    pipeline, prepared, trained = need_training(pipeline_of(arguments, console))
    fields = [field.strip() for given in arguments.slices for field in given.split(",") if field.strip()]
    _check_fields(pipeline, prepared, fields)
    record = stages.stage(pipeline, prepared, trained)
    show(record)
    if fields:
        _slice(pipeline, prepared, trained, record, fields)
    return 0


def show(record: Record) -> None:
    """Prints the table of an evaluation to stdout."""
    from seqapps.cli._page import page
    from seqapps.evaluation.evaluate import read_evaluation
    from seqapps.evaluation.tables import tables

    for table in tables(read_evaluation(record.outputs[0])):
        page().print(table)


def _check_fields(pipeline: PipelineRun, prepared: Path, fields: list[str]) -> None:
    """Raises for an unknown field, before anything is scored."""
    if all(field == "length" or field in pipeline.config.data.keep for field in fields):
        return
    from seqapps.workflow.stack import import_tensorflow

    import_tensorflow()
    from seqapps.applications import application_of
    from seqapps.dataset.manifest import read_manifest
    from seqapps.evaluation.slices import slices_of

    application, manifest = application_of(pipeline.config), read_manifest(prepared)
    examples = application.examples(prepared, manifest, "validation")
    for field in fields:
        slices_of(application, field, examples)


def _slice(pipeline: PipelineRun, prepared: Path, trained: Record, record: Record, fields: list[str]) -> None:
    """Evaluates slices, prints them to stdout and logs them."""
    from seqapps.applications import application_of
    from seqapps.cli._page import page
    from seqapps.dataset.manifest import read_manifest
    from seqapps.workflow.stack import import_tensorflow

    import_tensorflow()
    from seqapps.evaluation import slices

    application, folder = application_of(pipeline.config), record.outputs[0]
    for found in slices.measure(application, prepared, read_manifest(prepared), folder, fields):
        page().print(slices.table(found))
    pipeline.tracker.log_artifact(trained.result["run_id"], folder / slices.FILE_NAME, "evaluation")
