"""`seqapps diagnose RUN_OR_CONFIG`: how gradients propagate back through the layers, and what to change."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqapps.cli._arguments import refuse_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from seqapps.applications import Application
    from seqapps.dataset.manifest import Manifest
    from seqapps.diagnosis.examining import Past
    from seqapps.diagnosis.results import Diagnosis, Layer
    from seqapps.workspace import Workspace

HELP = "vanishing and exploding gradients, gates, clipping: figures and remedies"

FOLDER = "diagnosis"
"""In the run folder, or in the workspace for an untrained model."""


@dataclass(frozen=True)
class Subject:
    """The model to diagnose.

    Args:
        application: of its configuration.
        manifest, prepared: its data.
        folder: of the run; None for an untrained model.
        target: where the diagnosis is written.
        said: its description for messages.
    """

    application: Application
    manifest: Manifest
    prepared: Path
    folder: Path | None
    target: Path
    said: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes a configuration, a run folder or an MLflow run; `--initial`, `--epoch`, `--step`, `--json`."""
    parser.add_argument("run", metavar="RUN_OR_CONFIG", help="configuration file, run folder, or id of an MLflow run")
    parser.add_argument("--initial", action="store_true", help="the model as it is built, also when it was trained")
    parser.add_argument("--epoch", type=int, default=1, metavar="N", help="the epoch of --step (1)")
    parser.add_argument(
        "--step", type=int, default=0, metavar="N", help="the batch of that step (the longest of the first few)"
    )
    parser.add_argument(
        "--any-code", action="store_true", help="what an earlier version of the code made counts as up to date"
    )
    parser.add_argument("--json", action="store_true", help="the whole record as JSON, instead of tables")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Diagnoses, writes `diagnosis/` with its plots, logs it, and prints tables and verdicts to stdout."""
    from seqapps.cli._page import page, places
    from seqapps.errors import UsageError
    from seqapps.workspace import Workspace

    if arguments.epoch < 1 or arguments.step < 0:
        raise UsageError(
            "diagnose: `--epoch` and `--step` are counted from 1. "
            f"Received: {arguments.epoch} and {arguments.step}. Example: --epoch 1 --step 20."
        )
    if not arguments.run.endswith(".toml"):
        refuse_settings(arguments, arguments.run)
    workspace = Workspace(arguments.workspace)
    subject = find(arguments, console, workspace)
    console.print(f"diagnose: {subject.said}", soft_wrap=True, highlight=False, markup=False)
    found = examine(subject, (arguments.epoch, arguments.step) if arguments.step else None)
    files = write(found, subject.target)
    logged = log(found, subject, workspace, arguments.tracking_uri)
    if arguments.json:
        print(json.dumps(found.as_json(), indent=2))
        return 0
    out = page()
    for table in tables(found):
        out.print(table)
    for line in verdict_lines(found):
        out.print(line, soft_wrap=True, markup=False)
    print(places({**files, **({"MLflow run": logged} if logged else {})}))
    return 0


def find(arguments: argparse.Namespace, console: Console, workspace: Workspace) -> Subject:
    """Returns the model that an argument names.

    A configuration means its finished training, else an untrained model built from it; its data must be prepared.

    Raises:
        UsageError: no such run, its data is not prepared, or the trained model was damaged.
    """
    from seqapps.workflow import report

    if arguments.run.endswith(".toml"):
        return _of_config(arguments, console)
    if arguments.initial:
        from seqapps.errors import UsageError

        raise UsageError(
            f"diagnose: `--initial` is for a configuration. Received: {arguments.run}. "
            "Example: seqapps diagnose configs/language_model/python_docs.toml --initial."
        )
    return _of_run(report.find(arguments.run, workspace, arguments.overrides), workspace)


def _of_config(arguments: argparse.Namespace, console: Console) -> Subject:
    from seqapps.applications import application_of
    from seqapps.errors import UsageError
    from seqapps.workflow import train
    from seqapps.workflow.pipeline import manifest_of, pipeline_of
    from seqapps.workflow.records import Records
    from seqapps.workflow.run import need_data

    named = {**vars(arguments), "file": arguments.run, "config_file": None}
    pipeline, prepared = need_data(pipeline_of(argparse.Namespace(**named), console))
    name = pipeline.config.name
    # An earlier version of the code may have trained it: a diagnosis only needs the weights.
    records = Records(pipeline.workspace, name, any_code=True)
    stage_inputs = train.inputs(pipeline, prepared)
    record = None if arguments.initial else records.find(stage_inputs)
    if record is not None:
        return _subject(train.folder_of(record), prepared)
    if not arguments.initial and (lack := records.lack(stage_inputs)):
        raise UsageError(
            f"diagnose: the trained model is damaged ({lack}). Run `{pipeline.command('train')}` first: a finished "
            "training is only saved anew."
        )
    why = "as asked" if arguments.initial else "it has no finished training with this configuration"
    return Subject(
        application=application_of(pipeline.config),
        manifest=manifest_of(prepared),
        prepared=prepared,
        folder=None,
        target=pipeline.workspace.root / FOLDER / name,
        said=f"{name} as it is built, before any step ({why})",
    )


def _of_run(folder: Path, workspace: Workspace) -> Subject:
    from seqapps.errors import UsageError
    from seqapps.report import read_run
    from seqapps.workflow.report import prepared_of

    prepared = prepared_of(read_run(folder).manifest, workspace)
    if prepared is None:
        raise UsageError(
            f"the prepared data of {folder} is not in {workspace.root / 'prepared'}. Run `seqapps prepare CONFIG` with "
            "the configuration that it was trained with."
        )
    return _subject(folder, prepared)


def _subject(folder: Path, prepared: Path) -> Subject:
    from seqapps.applications import application_of
    from seqapps.report import read_run
    from seqapps.workflow.pipeline import manifest_of

    run = read_run(folder)
    return Subject(
        application=application_of(run.config),
        manifest=manifest_of(prepared),
        prepared=prepared,
        folder=folder,
        target=folder / FOLDER,
        said=f"the trained model in {folder}",
    )


def examine(subject: Subject, at: tuple[int, int] | None) -> Diagnosis:
    """Returns the diagnosis of a subject, in float32 whatever the training precision.

    Raises:
        UsageError: there is no such batch.
    """
    from seqapps.workflow.stack import import_tensorflow

    import_tensorflow()
    from seqapps.diagnosis.examining import examine as measure
    from seqapps.errors import UsageError
    from seqapps.training import loop as training
    from seqapps.training.trained_model import load_resources, load_trained

    application, manifest = subject.application, subject.manifest
    config = application.config
    plain = config.model_copy(update={"training": config.training.model_copy(update={"precision": "float32"})})
    training.configure(plain)
    if subject.folder is not None:
        model = load_trained(subject.folder / "model", precision="float32").model
    else:
        model = application.build(manifest)
        application.initialise(model, load_resources(subject.prepared / "vocabularies", manifest))
    batches = application.batches(subject.prepared, manifest, "train")
    try:
        return measure(model, batches, application.criterion(manifest, model), plain, past=_past(subject.folder), at=at)
    except IndexError as error:
        raise UsageError(f"diagnose: {error}.") from None


def _past(folder: Path | None) -> Past | None:
    """Returns history and optimizer of a run; the optimizer is of the last step, the weights of the best epoch."""
    if folder is None:
        return None
    from contextlib import suppress

    from seqapps.diagnosis.examining import Past
    from seqapps.errors import DataError
    from seqapps.report import read_run
    from seqapps.training import checkpoints

    remembered: Sequence[Any] = ()
    with suppress(DataError):  # it may have been deleted from the run folder
        remembered = checkpoints.read(folder / checkpoints.FILE_NAME).group("optimizer")
    return Past(read_run(folder).history, remembered)


def write(found: Diagnosis, folder: Path) -> dict[str, object]:
    """Writes record and plots; returns what to log."""
    from seqapps.diagnosis.pictures import draw
    from seqapps.diagnosis.results import write_diagnosis

    return {"record": write_diagnosis(found, folder), **draw(found, folder)}


def log(found: Diagnosis, subject: Subject, workspace: Workspace, uri: str) -> str:
    """Copies the diagnosis to the MLflow run, and returns its id; empty for a model that has none."""
    from contextlib import suppress

    from seqapps.errors import UsageError
    from seqapps.registry.tracking import NamedRun, Tracker, named_run
    from seqapps.workspace import store_of

    stored = NamedRun() if subject.folder is None else named_run(subject.folder / "run.json")
    if subject.folder is None or not stored.run_id:
        return ""
    run_id = stored.run_id
    with suppress(UsageError):  # not the store of its training
        store = uri or store_of(subject.folder, stored.uri)
        tracker = Tracker.open(subject.application.config, workspace, store)
        tracker.run(run_id)
        tracker.log_metrics(run_id, found.metrics())
        tracker.log_artifact(run_id, subject.target, FOLDER)
        return run_id
    return ""


# ---- the terminal


def tables(found: Diagnosis) -> list[Table]:
    """Returns layers, recurrent matrices, gates and variables as tables."""
    return [table for table in (_layers(found), _matrices(found), _gates(found), _variables(found)) if table.row_count]


def verdict_lines(found: Diagnosis) -> list[str]:
    """Returns the verdicts, each with its remedies, and what could not be diagnosed."""
    lines = [""]
    for verdict in found.verdicts:
        mark = "ok  " if verdict.good else "!   "
        lines.append(f"{mark}{verdict.where}{': ' if verdict.where else ''}{verdict.text}.")
        if verdict.remedies:
            lines.append(f"      try  {'   or  '.join(verdict.remedies)}")
    return [*lines, *(f"?   {note}." for note in found.remarks()), ""]


def _layers(found: Diagnosis) -> Table:
    from seqapps.diagnosis.verdicts import horizon

    epoch, step = found.batch
    table = _table(
        "gradient of the last step's loss, T - t steps back",
        *("layer", "cell", "units", "T - t: 1", "10", "the end", "Jacobian norm", "time constants"),
    )
    for layer in found.layers:
        end = horizon(layer)
        norms = [jacobian.norm for jacobian in layer.jacobians]
        table.add_row(
            layer.name,
            layer.cell.removesuffix("Cell"),
            f"{layer.units}" + (f" ({layer.dead} dead)" if layer.dead else ""),
            *(_share(layer, distance) for distance in (1, 10)),
            f"{_share(layer, end)} at {end}" if end > 0 else "",
            f"{min(norms):.2g} to {max(norms):.2g}" if norms else "",
            " / ".join(f"{value:.2g}" for value in layer.time_constants) if layer.time_constants else "",
        )
    table.caption = (
        f"{found.model} model, {found.rows} rows of epoch {epoch}, step {step}, loss {found.loss:.4g}; time constants: "
        "-1 / log of the gate that keeps the state, in steps: 10 % / 50 % / 90 % of units"
    )
    return table


def _share(layer: Layer, distance: int) -> str:
    return f"{layer.gradient[distance]:.2g}" if 0 <= distance < len(layer.gradient) else ""


def _matrices(found: Diagnosis) -> Table:
    table = _table("recurrent matrices", "layer", "gate", "largest singular value", "spectral radius")
    for layer in found.layers:
        for matrix in layer.matrices:
            radius = "" if matrix.radius is None else f"{matrix.radius:.3f}"
            table.add_row(layer.name, matrix.gate, f"{matrix.singular:.3f}", radius)
    return table


def _gates(found: Diagnosis) -> Table:
    table = _table("gates", "layer", "gate", "mean", "deviation", "low", "high")
    for layer in found.layers:
        for gate in layer.gates:
            deviation = "" if gate.deviation is None else f"{gate.deviation:.3f}"
            table.add_row(layer.name, gate.name, f"{gate.mean:.3f}", deviation, f"{gate.low:.1%}", f"{gate.high:.1%}")
    table.caption = (
        "low: below 0.05; high: above 0.95 (candidate and activation: beyond -0.95 and 0.95; cell state: its tanh)"
    )
    return table


def _variables(found: Diagnosis) -> Table:
    table = _table("one training step on the batch", "variable", "numbers", "norm", "gradient", "update", "of the norm")
    for variable in found.variables:
        share = f"{variable.update / variable.norm:.2%}" if variable.norm else ""
        table.add_row(
            variable.name, f"{variable.numbers:,}", f"{variable.norm:.3g}", f"{variable.gradient:.2e}",
            f"{variable.update:.2e}", share,
        )  # fmt: skip
    return table


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < 2 else "right", no_wrap=place == 0)
    return table
