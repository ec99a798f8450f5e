"""The stage `report`: one run as an HTML page."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqapps.dataset.manifest import Manifest
    from seqapps.report import Run
    from seqapps.workflow.pipeline import PipelineRun
    from seqapps.workflow.records import Record
    from seqapps.workspace import Workspace


def find(reference: str, workspace: Workspace, overrides: list[str]) -> Path:
    """Returns the run folder of a reference.

    Raises:
        UsageError: there is none; lists the known ones.
    """
    from seqapps.errors import UsageError, nearest
    from seqapps.registry.tracking import named_run
    from seqapps.workflow.records import Records

    if (Path(reference) / "model").is_dir():
        return Path(reference)
    known = {folder.name: folder for folder in sorted(workspace.root.glob("runs/*")) if (folder / "model").is_dir()}
    if reference.endswith(".toml"):
        from seqapps.applications import load_config

        name = load_config(reference, overrides).name
        record = Records(workspace, name).last("train")
        if record is not None and record.outputs[0].exists():
            return record.outputs[0].parent
        raise UsageError(f"{reference} has no finished training in {workspace.root}. Run `seqapps run {reference}`.")
    for name, folder in known.items():
        if reference == name or named_run(folder / "run.json").run_id.startswith(reference):
            return folder
    close = nearest(reference, known)
    raise UsageError(
        f"run `{reference}` was not found in {workspace.root}. Allowed: a configuration file, a run folder, the id of "
        f"an MLflow run. Runs: {', '.join(known) or 'none'}." + (f" Nearest: {close}." if close else "")
    )


def collect(folder: Path, workspace: Workspace, uri: str) -> Run:
    """Returns all outputs of a run: its folder, its prepared data, its MLflow run, the ledger of its model."""
    from seqapps.report import read_run
    from seqapps.workspace import store_of

    run = read_run(folder)
    further: dict[str, Any] = {"prepared": prepared_of(run.manifest, workspace)}
    store = uri or store_of(folder, run.uri)
    if store:
        from seqapps.errors import UsageError
        from seqapps.registry.ledger import ledger
        from seqapps.registry.tracking import Tracker

        tracker = Tracker.open(run.config, workspace, store)
        further["ledger"] = ledger(tracker, run.config.model_name)
        with suppress(UsageError):  # not the store of its training
            further["tags"] = dict(tracker.run(run.run_id).data.tags)
    return replace(run, **further)


def prepared_of(manifest: Manifest, workspace: Workspace) -> Path | None:
    """Returns the prepared folder of a run's data if it still exists."""
    found = workspace.root.glob(f"prepared/*-{manifest.fingerprint[:12]}")
    return next((folder for folder in found if (folder / "manifest.json").exists()), None)


def stage(pipeline: PipelineRun, trained: Record, promoted: Record, exported: Record) -> Record:
    """Writes the page at the end of a pipeline if it is not up to date, and logs it. Its output is the file."""
    from seqapps.report import FILE_NAME
    from seqapps.workflow import train
    from seqapps.workflow.records import Record

    upstream = {"promotion": promoted.inputs.fingerprint, "export": exported.inputs.fingerprint}
    stage_inputs = pipeline.inputs("report", {}, upstream)
    folder = train.folder_of(trained)

    def work() -> Record:
        from seqapps.report import write_report

        write_report(collect(folder, pipeline.workspace, pipeline.uri), folder / FILE_NAME)
        pipeline.tracker.log_artifact(trained.result["run_id"], folder / FILE_NAME)
        return Record(stage_inputs, (folder / FILE_NAME,), {}, steady=False)  # `seqapps report` writes it, too

    return pipeline.perform(stage_inputs, work, folder=folder)
