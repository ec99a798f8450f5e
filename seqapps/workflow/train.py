"""The stage `train`: trains with progress, checkpoints and one MLflow run, even if it was killed and resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from seqapps.workflow.pipeline import PipelineRun
    from seqapps.workflow.records import Inputs, Record


def stage(pipeline: PipelineRun, prepared: Path) -> Record:
    """Runs the stage if it is not up to date. Its output is `model/` in the run folder."""
    from seqapps.workflow.records import Record

    stage_inputs = inputs(pipeline, prepared)
    folder = pipeline.workspace.run(pipeline.config.name, stage_inputs.fingerprint)

    def work() -> Record:
        run_id = _train(pipeline, prepared, folder, stage_inputs.fingerprint)
        result = {"run_id": run_id, "page": pipeline.tracker.page_command}
        return Record(stage_inputs, (folder / "model", folder / "history.json"), result)

    return pipeline.perform(stage_inputs, work, folder=folder, doubt=lambda _: stale_beside(folder))


def need(pipeline: PipelineRun, prepared: Path) -> Record:
    """Returns the record of the training, or raises with the missing command."""
    return pipeline.need(inputs(pipeline, prepared), "train")


def stale_beside(folder: Path) -> str:
    """Returns which file of a run folder, beside the outputs, has the format of another version; empty for none.

    They are written before the training ends, so that they are no outputs: a kill must not make a training doubtful.
    """
    from seqapps import formats

    message = ((path, formats.stale(path)) for path in (folder / "run.json", folder / "audit.json"))
    return next((f"{path} {text}" for path, text in message if text), "")


def folder_of(record: Record) -> Path:
    """Returns the run folder of a training."""
    return record.outputs[0].parent


def inputs(pipeline: PipelineRun, prepared: Path) -> Inputs:
    """Returns the inputs of a training: its part of the configuration, the data's content, the code."""
    from seqapps.dataset.manifest import read_manifest
    from seqapps.workflow.records import data_digest

    part = {**pipeline.part("application", "seed", "model", "training"), "data": pipeline.own_data}
    return pipeline.inputs("train", part, {"data": data_digest(read_manifest(prepared))})


def _train(pipeline: PipelineRun, prepared: Path, folder: Path, identity: str) -> str:
    """Trains and saves; returns the MLflow run."""
    from seqapps.workflow.stack import import_tensorflow

    import_tensorflow()
    from dataclasses import asdict

    from seqapps import formats
    from seqapps.applications import application_of
    from seqapps.dataset.manifest import read_manifest
    from seqapps.registry.tracking import TrackingListener
    from seqapps.training import loop as training
    from seqapps.training.curves import learning_curves
    from seqapps.training.display import TrainingDisplay
    from seqapps.training.padding_audit import audit
    from seqapps.training.trained_model import load_resources, save_trained

    config, manifest = pipeline.config, read_manifest(prepared)
    training.configure(config)
    application = application_of(config)
    resources = load_resources(prepared / "vocabularies", manifest)

    run_id = _open_run(pipeline, prepared, folder)
    try:
        with training.scope(config):
            model = application.build(manifest)
        application.initialise(model, resources)
        batches = application.batches(prepared, manifest, "train")
        found = audit(model, batches, precision=config.training.precision)
        pipeline.say(found.line)
        formats.write(folder / "audit.json", "audit", asdict(found))
        history = training.train(
            model,
            batches,
            application.batches(prepared, manifest, "validation"),
            config,
            folder,
            listeners=[TrainingDisplay(pipeline.console), TrackingListener(pipeline.tracker, run_id)],
            sample=application.sampler(model, resources, prepared, manifest),
            identity=identity,
            objective=application.criterion(manifest, model),
            judge=application.judge(prepared, manifest),
        )
    except BaseException as error:
        pipeline.tracker.finish(run_id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    save_trained(folder / "model", application, manifest, model, prepared)
    picture = folder / "learning_curves.png"
    learning_curves(history, picture)
    pipeline.tracker.log_artifact(run_id, picture)
    pipeline.tracker.log_artifact(run_id, folder / "history.json")
    pipeline.tracker.finish(run_id)
    return run_id


def _open_run(pipeline: PipelineRun, prepared: Path, folder: Path) -> str:
    """Returns the folder's MLflow run: a new one, or the one that a killed training had.

    That one may have been killed before everything was logged; existing values are left as they are.
    """
    from seqapps.dataset.manifest import read_manifest

    tracker, tags = pipeline.tracker, {"seqapps.folder": str(folder.resolve())}
    run = tracker.begin(folder / "run.json", folder.name, kind="train", tags=tags)
    tracker.log_config(run.run_id, pipeline.config)
    tracker.log_dataset(run.run_id, read_manifest(prepared), prepared)
    return run.run_id
