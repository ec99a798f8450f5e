"""The stage `tune`: a search for a better model and training section."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from seqapps.workflow.pipeline import PipelineRun
    from seqapps.workflow.records import Inputs, Record


_BUDGETS = ("trials", "minutes")


def stage(pipeline: PipelineRun, prepared: Path) -> Record:
    """Runs the search if it is not up to date. Its first output is the winner's configuration file."""
    from seqapps.workflow.records import Record

    stage_inputs = inputs(pipeline, prepared)

    def work() -> Record:
        from seqapps.top_level import take
        from seqapps.workflow.stack import import_tensorflow

        take("tuning")
        import_tensorflow()
        from seqapps.files import write_text
        from tuning.search import search

        folder = pipeline.workspace.search(pipeline.config.name, _identity(stage_inputs))
        result = search(pipeline.config, prepared, folder, tracker=pipeline.tracker, console=pipeline.console)
        # Searches that differ only in their budget share a folder; each keeps its own winner.
        won = folder / stage_inputs.fingerprint[:12] / result.config_path.name
        won.parent.mkdir(exist_ok=True)
        write_text(won, result.config_path.read_text(encoding="utf-8"))
        return Record(stage_inputs, (won,), {"config": result.best.model_dump(mode="json")})

    return pipeline.perform(stage_inputs, work)


def winner(pipeline: PipelineRun, prepared: Path) -> PipelineRun:
    """Returns the pipeline with the configuration to train: the winner when the configuration asks for a search.

    Raises:
        UsageError: it asks for one that is not finished.
    """
    if pipeline.config.tuning.algorithm == "none":
        return pipeline
    return with_winner(pipeline, pipeline.need(inputs(pipeline, prepared), "tune"))


def with_winner(pipeline: PipelineRun, record: Record) -> PipelineRun:
    """Returns the pipeline with the seed, the `model` and the `training` of a search's winner, without a search, and
    with its split of the rows.

    The other sections are the current ones: evaluation and promotion may have changed since the search.
    """
    from seqapps.applications import config_from

    won = {name: record.result["config"][name] for name in ("seed", "model", "training")}
    tables = {**pipeline.config.model_dump(mode="json"), **won, "tuning": {"algorithm": "none"}}
    tables["data"]["split"]["seed"] = record.result["config"]["data"]["split"]["seed"]
    return pipeline.with_config(config_from(tables, str(record.outputs[0])))


def _identity(stage_inputs: Inputs) -> str:
    """Returns the fingerprint of a search's state: another budget, or other code, continues its trials."""
    from seqapps.dataset.manifest import digest_of

    tuning = {name: value for name, value in stage_inputs.config["tuning"].items() if name not in _BUDGETS}
    return digest_of([{**stage_inputs.config, "tuning": tuning}, dict(stage_inputs.upstream)])


def inputs(pipeline: PipelineRun, prepared: Path) -> Inputs:
    """Returns the inputs of a search: all that training reads, the search's own section, the data, the code."""
    from seqapps.dataset.manifest import read_manifest
    from seqapps.workflow.records import data_digest

    part = {**pipeline.part("application", "seed", "model", "training", "tuning"), "data": pipeline.own_data}
    return pipeline.inputs("tune", part, {"data": data_digest(read_manifest(prepared))})
