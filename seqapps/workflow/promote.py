"""The stages `saved_model` and `promote`: registers the model as a version, and the gate decides on the champion."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from seqapps.registry.promotion import Decision
    from seqapps.workflow.pipeline import PipelineRun
    from seqapps.workflow.records import Inputs, Record


def refused(record: Record) -> bool:
    """Returns whether the gate refused the model."""
    return bool(record.result["action"] == "refuse")


def decision_of(record: Record) -> Decision:
    """Returns the decision that a record of a promotion holds."""
    from seqapps.registry.promotion import Check, Decision

    checks = tuple(Check(**check) for check in record.result["checks"])
    return Decision(**{**record.result, "checks": checks})


def stage(pipeline: PipelineRun, prepared: Path, trained: Record, evaluated: Record, *, force: str = "") -> Record:
    """Runs the stage if it is not up to date. Its first output is the SavedModel: nothing is registered that cannot be
    served. The last one is the folder of the version's files, if in this workspace."""
    from dataclasses import asdict

    from seqapps.workflow import train
    from seqapps.workflow.records import Record

    served = saved_model(pipeline, prepared, trained)
    stage_inputs = inputs(pipeline, served, evaluated, force)
    folder = train.folder_of(trained)

    def work() -> Record:
        from seqapps.registry import promotion

        decision = promotion.promote(
            pipeline.tracker,
            config=pipeline.config,
            run_id=trained.result["run_id"],
            run_folder=folder,
            saved_model=served.outputs[0],
            evaluation_folder=evaluated.outputs[0],
            force=force,
            console=pipeline.console,
        )
        return Record(stage_inputs, (*served.outputs, *_files(pipeline, decision.version)), asdict(decision))

    made = pipeline.perform(stage_inputs, work, folder=folder, doubt=partial(_doubt, pipeline, trained))
    _say_who_is_champion(pipeline, made)
    return made


def need(pipeline: PipelineRun, prepared: Path, trained: Record, evaluated: Record) -> Record:
    """Returns the record of the promotion, or raises with the missing command."""
    last = pipeline.records.last("promote")
    force = "" if last is None else str(last.inputs.config.get("force", ""))
    served = pipeline.need(package_inputs(pipeline, prepared, trained), "promote")
    doubt = partial(_doubt, pipeline, trained)
    return pipeline.need(inputs(pipeline, served, evaluated, force), "promote", doubt)


def _files(pipeline: PipelineRun, version: str) -> list[Path]:
    """Returns the folder of a version's files, if in a workspace."""
    from seqapps.registry.versions import files_of, versions

    found = (ref for ref in versions(pipeline.tracker, pipeline.config.model_name) if ref.version == version)
    return [folder for ref in found if (folder := files_of(pipeline.tracker, ref)) is not None]


def _doubt(pipeline: PipelineRun, trained: Record, record: Record) -> str:
    """Returns why a record of a promotion no longer holds: the registry is authoritative. Empty if it does."""
    from seqapps.registry.ledger import ledger
    from seqapps.registry.versions import champion, has_files, versions

    tracker, model, version = pipeline.tracker, pipeline.config.model_name, str(record.result["version"])
    known = {ref.version: ref for ref in versions(tracker, model)}
    if version not in known or known[version].run_id != trained.result["run_id"]:
        return f"version {version} of {model} is not in the registry"
    if not has_files(tracker, known[version]):
        return f"the files of version {version} of {model} are gone"
    moves = [entry for entry in ledger(tracker, model) if entry.action != "refuse"]
    found = champion(tracker, model)
    now = found.version if found else ""
    if moves and moves[-1].after == version != now:
        return f"the champion of {model} should be version {version}, and is {now or 'none'}"
    return ""


def _say_who_is_champion(pipeline: PipelineRun, record: Record) -> None:
    """Prints a note if another version than the one promoted here is the champion now."""
    from seqapps.registry.versions import champion

    found = champion(pipeline.tracker, pipeline.config.model_name)
    version = str(record.result["version"])
    if not refused(record) and (found is None or found.version != version):
        now = f"version {found.version}" if found else "none"
        pipeline.say(f"promote: version {version} was promoted; the champion now: {now}")


def inputs(pipeline: PipelineRun, served: Record, evaluated: Record, force: str) -> Inputs:
    """Returns the inputs of a decision: the evaluation, the SavedModel, the rules."""
    part = {**pipeline.part("promotion"), "force": force}
    upstream = {"evaluation": evaluated.inputs.fingerprint, "saved_model": served.inputs.fingerprint}
    return pipeline.inputs("promote", part, upstream)


def saved_model(pipeline: PipelineRun, prepared: Path, trained: Record) -> Record:
    """Makes the SavedModel in the run folder if it is missing."""
    from seqapps.workflow import train
    from seqapps.workflow.records import Record, mark_of

    stage_inputs = package_inputs(pipeline, prepared, trained)

    def work() -> Record:
        from seqapps.workflow.stack import import_tensorflow

        import_tensorflow()
        from seqapps import serving

        target = train.folder_of(trained) / "saved_model"
        mark = mark_of(target, stage_inputs)
        serving.export(trained.outputs[0], prepared, target, name=pipeline.config.model_name, console=pipeline.console)
        mark.touch()
        return Record(stage_inputs, (target, mark), {})

    return pipeline.perform(stage_inputs, work, folder=train.folder_of(trained))


def package_inputs(pipeline: PipelineRun, prepared: Path, trained: Record) -> Inputs:
    """Returns the inputs of a SavedModel: its name, the trained model, the data of its golden examples, the code."""
    from seqapps.dataset.manifest import read_manifest
    from seqapps.workflow.records import data_digest

    upstream = {"model": trained.inputs.fingerprint, "data": data_digest(read_manifest(prepared))}
    return pipeline.inputs("saved_model", {"model_name": pipeline.config.model_name}, upstream)
