"""`seqapps export CONFIG`: the checked SavedModel to the place where a server reads it, in one rename."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from seqapps.commands._arguments import add_config
from seqapps.files import new_folder

if TYPE_CHECKING:
    from rich.console import Console

    from seqapps.commands._journey import Journey
    from seqapps.commands.stages import Record

HELP = "publish the SavedModel where a server reads it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes CONFIG and `--output FOLDER`."""
    add_config(parser)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="instead of exports/<model>/<version>")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Publishes, and prints the folder to stdout."""
    from seqapps.commands import evaluate, prepare, promote, train, tune
    from seqapps.commands._journey import journey_of

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
    from seqapps.commands._showcase import showcase
    from seqapps.commands.promote import refused
    from seqapps.commands.stages import Record

    version = promoted.result["version"]
    target = output or journey.workspace.exports / journey.config.model_name / version
    upstream = {"saved_model": promoted.inputs.upstream["saved_model"], "version": version}
    stage_inputs = journey.inputs("export", {"output": str(output or "")}, upstream)

    def work() -> Record:
        publish(promoted.outputs[0], target)
        return Record(stage_inputs, (target,), {"version": version, "showcase": showcase(target)})

    record = journey.perform(stage_inputs, work)
    if refused(promoted):
        journey.say(f"export: version {version} was refused as champion; it is exported all the same: {target}")
    return record


def publish(source: Path, target: Path) -> None:
    """Copies a folder beside its place and renames it there, so that no reader sees half of it."""
    with new_folder(target, replace=True) as building:
        shutil.copytree(source, building)
