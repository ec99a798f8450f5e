"""The stage `evaluate`: the test split, against every baseline and against the champion."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from seqapps.training.trained_model import Trained
    from seqapps.workflow.pipeline import PipelineRun
    from seqapps.workflow.records import Inputs, Record


NO_CHAMPION = "none"


def stage(pipeline: PipelineRun, prepared: Path, trained: Record) -> Record:
    """Runs the stage if it is not up to date. Its output is the folder `evaluation/` of the run.

    A model has one such folder. A marker file beside it identifies its inputs, so that going back to earlier ones
    evaluates again.
    """
    from seqapps.workflow import train
    from seqapps.workflow.records import Record, mark_of

    stage_inputs = inputs(pipeline, prepared, trained)

    def work() -> Record:
        folder = train.folder_of(trained) / "evaluation"
        mark = mark_of(folder, stage_inputs)
        _evaluate(pipeline, prepared, trained, folder)
        mark.touch()
        return Record(stage_inputs, (folder, mark), {})

    return pipeline.perform(stage_inputs, work, folder=train.folder_of(trained))


def need(pipeline: PipelineRun, prepared: Path, trained: Record) -> Record:
    """Returns the record of the evaluation, or raises with the missing command."""
    return pipeline.need(inputs(pipeline, prepared, trained), "evaluate")


def inputs(pipeline: PipelineRun, prepared: Path, trained: Record) -> Inputs:
    """Returns what an evaluation depends on: its part of the configuration, the model, the data, the champion."""
    from seqapps.dataset.manifest import read_manifest
    from seqapps.workflow.records import data_digest

    part = {
        **pipeline.part("evaluation", "baselines"),
        "promotion": {"segment": pipeline.config.promotion.segment},
    }
    upstream = {
        "model": trained.inputs.fingerprint,
        "data": data_digest(read_manifest(prepared)),
        "champion": opponent(pipeline, trained),
    }
    return pipeline.inputs("evaluate", part, upstream)


def opponent(pipeline: PipelineRun, trained: Record) -> str:
    """Returns the version that the model has to beat, or NO_CHAMPION.

    A model that became champion keeps the opponent that it beat, from the ledger: it is not compared with itself, and
    one that was rolled back does not return because the same command ran again.
    """
    from seqapps.registry.ledger import ledger, promotion_of
    from seqapps.registry.versions import champion, versions

    tracker, model = pipeline.tracker, pipeline.config.model_name
    found = champion(tracker, model)
    now = found.version if found else ""
    entry = promotion_of(ledger(tracker, model), trained.result["run_id"], now)
    known = {ref.version for ref in versions(tracker, model)}
    if entry is not None and entry.version in known:
        met = str(entry.evidence.get("opponent", entry.before))
        if not met or met in known:
            return met or NO_CHAMPION
    return now or NO_CHAMPION


def _evaluate(pipeline: PipelineRun, prepared: Path, trained: Record, folder: Path) -> None:
    from seqapps.workflow.stack import import_tensorflow

    import_tensorflow()
    from seqapps.evaluation import evaluate as evaluation
    from seqapps.evaluation import examples as details
    from seqapps.evaluation import slices
    from seqapps.training import loop as training
    from seqapps.training.trained_model import load_trained

    (folder / slices.FILE_NAME).unlink(missing_ok=True)  # of another evaluation
    training.configure(pipeline.config)
    version = opponent(pipeline, trained)
    result = evaluation.evaluate(
        load_trained(trained.outputs[0]),
        prepared,
        folder,
        champion=_champion(pipeline, version),
        champion_version="" if version == NO_CHAMPION else version,
        config=pipeline.config,
        console=pipeline.console,
    )
    tracker, run_id = pipeline.tracker, trained.result["run_id"]
    tracker.log_last_metrics(run_id, evaluation.as_metrics(result))
    for name in (evaluation.FILE_NAME, evaluation.PICTURE, details.BREAKDOWNS, details.EXAMPLES):
        tracker.log_artifact(run_id, folder / name, "evaluation")
    if result.pictures:
        tracker.log_artifact(run_id, folder / details.PICTURES, f"evaluation/{details.PICTURES}")


def _champion(pipeline: PipelineRun, version: str) -> Trained | None:
    """Returns the model of a version; None when there is no champion."""
    from seqapps.registry.versions import trained_folder, versions
    from seqapps.training.trained_model import load_trained

    if version == NO_CHAMPION:
        return None
    found = {ref.version: ref for ref in versions(pipeline.tracker, pipeline.config.model_name)}
    return load_trained(trained_folder(pipeline.tracker, found[version], pipeline.workspace))
