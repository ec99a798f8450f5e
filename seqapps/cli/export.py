"""`seqapps export CONFIG`: the checked SavedModel to the place where a server reads it, in one rename."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from seqapps.cli._arguments import add_config
from seqapps.errors import UsageError
from seqapps.files import new_folder

if TYPE_CHECKING:
    from rich.console import Console

    from seqapps.workflow.pipeline import Journey
    from seqapps.workflow.records import Record

_EXPORT = frozenset({"model.json", "saved_model.pb"})
"""Stand in every folder that was exported."""

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
    from seqapps.cli import evaluate, prepare, promote, train, tune
    from seqapps.workflow.pipeline import journey_of

    if arguments.output is not None:
        check_output(arguments.output)
    journey = journey_of(arguments, console)
    prepared = prepare.need(journey)
    journey = tune.winner(journey, prepared)
    trained = train.need(journey, prepared)
    evaluated = evaluate.need(journey, prepared, trained)
    record = stage(journey, promote.need(journey, prepared, trained, evaluated), arguments.output)
    print(record.outputs[0])
    return 0


def stage(journey: Journey, promoted: Record, output: Path | None = None) -> Record:
    """Does the stage when it is not done. Its output is the published folder."""
    from seqapps.cli._showcase import showcase
    from seqapps.cli.promote import refused
    from seqapps.workflow.records import Record

    version = promoted.result["version"]
    target = output or journey.workspace.exports / journey.config.model_name / version
    upstream = {"saved_model": promoted.inputs.upstream["saved_model"], "version": version}
    stage_inputs = journey.inputs("export", {"output": str(output or "")}, upstream)

    def work() -> Record:
        if output is not None:
            check_output(output)
        publish(promoted.outputs[0], target)
        return Record(stage_inputs, (target,), {"version": version, "showcase": showcase(target)})

    record = journey.perform(stage_inputs, work)
    if refused(promoted):
        journey.say(f"export: version {version} was refused as champion; it is exported all the same: {target}")
    return record


def check_output(target: Path) -> None:
    """Raises where something stands that an export must not take the place of.

    Raises:
        UsageError: it is a file, a link, or a folder with other things than an earlier export.
    """
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        what = "a link" if target.is_symlink() else "a file"
    else:
        names = {path.name for path in target.iterdir()}
        if not names or names >= _EXPORT:
            return
        what = f"a folder that is no earlier export; it holds {len(names)} other things, such as {min(names)}"
    raise UsageError(
        f"export: `--output` {target} is {what}. Nothing was touched. Allowed: a new name, an empty folder, or an "
        f"earlier export, which is replaced. Example: --output {target.with_name('exported')}."
    )


def publish(source: Path, target: Path) -> None:
    """Copies a folder beside its place and renames it there, so that no reader sees half of it."""
    with new_folder(target, replace=True) as building:
        shutil.copytree(source, building)
