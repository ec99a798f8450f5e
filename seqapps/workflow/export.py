"""The stage `export`: publishes the verified SavedModel where a server reads it, in one rename."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from seqapps import exported, formats
from seqapps.errors import DataError, UsageError
from seqapps.files import new_folder

if TYPE_CHECKING:
    from seqapps.workflow.pipeline import PipelineRun
    from seqapps.workflow.records import Record


_EXPORT = frozenset({"model.json", "saved_model.pb"})
"""Files that every exported folder has."""


def stage(pipeline: PipelineRun, promoted: Record, output: Path | None = None) -> Record:
    """Runs the stage if it is not up to date. Its output is the published folder."""
    from seqapps.workflow.promote import refused
    from seqapps.workflow.records import Record
    from seqapps.workflow.showcase import showcase

    version = promoted.result["version"]
    target = output or pipeline.workspace.exports / pipeline.config.model_name / version
    upstream = {"saved_model": promoted.inputs.upstream["saved_model"], "version": version}
    stage_inputs = pipeline.inputs("export", {"output": str(output or "")}, upstream)

    def work() -> Record:
        if output is not None:
            check_output(output)
        publish(promoted.outputs[0], target)
        return Record(stage_inputs, (target,), {"version": version, "showcase": showcase(target)})

    record = pipeline.perform(stage_inputs, work)
    if refused(promoted):
        pipeline.say(f"export: version {version} was refused as champion; it is exported all the same: {target}")
    return record


def check_output(target: Path) -> None:
    """Raises if the target holds something that an export must not replace.

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


def refuse_another_format(folder: Path) -> None:
    """Raises for an exported folder that another version of seqapps wrote; one that is missing or damaged may be
    replaced.

    Raises:
        FormatError: its format is not that of this version.
    """
    try:
        exported.read(folder)
    except formats.FormatError:
        raise
    except (OSError, DataError):
        return


def publish(source: Path, target: Path) -> None:
    """Copies a folder beside its target and renames it, so that readers never see a partial folder.

    Raises:
        FormatError: the target is an export in another format: a server of that version may read it.
    """
    refuse_another_format(target)
    with new_folder(target, replace=True) as building:
        shutil.copytree(source, building)
