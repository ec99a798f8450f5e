"""`seqapps backtest CONFIG --folds K`: rolling-origin evaluation of a forecast with K origins.

One test part shows how a model does in one period. Here the test part is cut into K equal pieces; for each the model is
retrained on all that precedes it, and evaluated on it: the rolling origin of Tashman 2000, "Out-of-sample tests of
forecasting accuracy". Nothing is promoted. Finished stages are skipped.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seqapps.cli._arguments import add_config

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from seqapps.evaluation.evaluate import Evaluation
    from seqapps.workflow.pipeline import PipelineRun

HELP = "train and evaluate at later and later origins of a series"

FIELD = "fold"
"""The field of `data` that says which piece of the test part is evaluated."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes CONFIG and `--folds K`."""
    add_config(parser)
    parser.add_argument("--folds", type=int, default=4, metavar="K", help="pieces of the test part (4)")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Runs all folds, writes `backtests/<name>.json`, and prints the table to stdout."""
    from seqapps import formats
    from seqapps.cli._page import page, places
    from seqapps.errors import UsageError
    from seqapps.workflow.pipeline import pipeline_of

    whole = pipeline_of(arguments, console)
    if FIELD not in type(whole.config.data).model_fields:
        raise UsageError(
            f"seqapps backtest is for series: `data.{FIELD}` is no field of {whole.config.application}. "
            "Example: seqapps backtest configs/time_series/airline.toml."
        )
    if arguments.folds < 2:
        raise UsageError(f"seqapps backtest: `--folds` must be at least 2. Received: {arguments.folds}.")
    folds = [_fold(arguments, console, whole, number) for number in range(1, arguments.folds + 1)]
    prepared = [_prepared(pipeline) for pipeline in folds]  # all of them, before the first is trained
    found, folders = [], {}
    for number, (pipeline, data) in enumerate(zip(folds, prepared, strict=True), 1):
        whole.say(f"backtest: fold {number} of {arguments.folds}")
        evaluation, folders[f"fold {number}"] = _evaluated(pipeline, data)
        found.append(evaluation)
    target = whole.workspace.root / "backtests" / f"{whole.config.name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    formats.write(target, "backtest", {"folds": [evaluation.model_dump(mode="json") for evaluation in found]})
    page().print(table(found))
    print(places({**folders, "all figures": target}))
    return 0


def table(evaluations: list[Evaluation]) -> Table:
    """Returns the objective of every system at every fold, and its mean; the best of each row is marked."""
    from rich.table import Table
    from rich.text import Text

    from seqapps.evaluation.tables import systems
    from seqapps.metrics.figures import figure

    first = evaluations[0]
    objective = first.objective
    found = [{name: metrics for name, metrics in systems(item) if objective in metrics} for item in evaluations]
    # A baseline may be missing from folds whose series are too short or too long for it.
    names = [name for name in found[0] if all(name in line for line in found)]
    lines = [{name: line[name][objective] for name in names} for line in found]
    mean = {name: sum(line[name] for line in lines) / len(lines) for name in names}
    best = max if first.direction == "max" else min
    made = Table(title=f"{first.objective} at {len(lines)} origins", title_justify="left")
    for column in ("fold", f"{first.token}s", *names):
        made.add_column(column, justify="left" if column == "fold" else "right")
    tokens = [evaluation.tokens for evaluation in evaluations]
    for label, count, line in zip(
        [*map(str, range(1, len(lines) + 1)), "mean"], [*tokens, sum(tokens)], [*lines, mean], strict=True
    ):
        if label == "mean":
            made.add_section()
        winner = best(line, key=lambda name: line[name])
        cells = [Text(figure(line[name]) + (" *" if name == winner else ""), "") for name in names]
        made.add_row(label, f"{count:,}", *cells)
    wins = sum(best(line, key=lambda name: line[name]) == "model" for line in lines)
    made.caption = Text(f"* best; the model is best in {wins} of {len(lines)}")
    return made


def _fold(arguments: argparse.Namespace, console: Console, whole: PipelineRun, number: int) -> PipelineRun:
    """Returns the pipeline of one fold."""
    from seqapps.workflow.pipeline import pipeline_of

    name = f"{whole.config.name}-fold-{number}-of-{arguments.folds}"
    own = [f"data.{FIELD}=[{number}, {arguments.folds}]", f"name={name}", f"promotion.model={name}"]
    return pipeline_of(argparse.Namespace(**{**vars(arguments), "overrides": [*arguments.overrides, *own]}), console)


def _prepared(pipeline: PipelineRun) -> Path:
    """Returns the prepared folder of a fold.

    Raises:
        DataError: nothing in it can be evaluated.
    """
    from seqapps.dataset.manifest import read_manifest
    from seqapps.errors import DataError
    from seqapps.workflow import prepare

    folder = prepare.stage(pipeline).outputs[0]
    if "test" not in read_manifest(folder).splits:
        raise DataError(
            f"{pipeline.config.name}: its test part holds no window with a target. Remedy: fewer `--folds`, or a "
            "larger `data.split.test`."
        )
    return folder


def _evaluated(pipeline: PipelineRun, prepared: Path) -> tuple[Evaluation, Path]:
    """Returns the evaluation of a fold, and its folder. Nothing is tuned: the configuration is used as it is."""
    from seqapps.evaluation.evaluate import read_evaluation
    from seqapps.workflow import evaluate, train

    trained = train.stage(pipeline, prepared)
    folder = evaluate.stage(pipeline, prepared, trained).outputs[0]
    return read_evaluation(folder), folder
