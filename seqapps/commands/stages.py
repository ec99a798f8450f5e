"""What is done already: the inputs of each stage as named components, a record of what they made, and why it runs again.

A record lies in `stages/<name>/<stage>.json` (the last time) and `stages/<name>/<stage>-<fingerprint>.json` (each set of
inputs), so that going back to an earlier configuration finds its outputs instead of making them again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqapps.manifest import Manifest, digest_of, write_json
from seqapps.tracking import flatten
from seqapps.workspace import Workspace

@dataclass(frozen=True)
class Inputs:
    """Everything that the result of a stage depends on.

    Args:
        stage: the stage's name.
        config: the values of the configuration that it reads, as nested tables.
        upstream: what it reads from earlier stages: name to a digest or a version.
        code: digest of its source files.
    """

    stage: str
    config: Mapping[str, Any]
    upstream: Mapping[str, str] = field(default_factory=dict)
    code: str = ""

    @property
    def fingerprint(self) -> str:
        """sha256 over all components."""
        return digest_of(self.components)

    @property
    def components(self) -> dict[str, Any]:
        """The components as a JSON value."""
        return {"config": self.config, "upstream": dict(self.upstream), "code": self.code}


@dataclass(frozen=True)
class Record:
    """What a stage made from its inputs.

    Args:
        inputs: what it was made from.
        outputs: files and folders that it made; all are there.
        result: what later stages want to know of it.
    """

    inputs: Inputs
    outputs: tuple[Path, ...]
    result: Mapping[str, Any]


def perform(
    workspace: Workspace, name: str, inputs: Inputs, work: Callable[[], Record], say: Callable[[str], None]
) -> Record:
    """Returns the record of a stage: the one that is there, or what `work` makes now.

    Args:
        workspace: where records lie.
        name: the configuration's name.
        inputs: what the stage depends on.
        work: does it and returns its record; called only when needed.
        say: takes the line that tells whether and why it runs.
    """
    record = find(workspace, name, inputs)
    if record is not None:
        place = f" ({record.outputs[0]})" if record.outputs else ""
        say(f"{inputs.stage}: up to date{place}")
        return record
    say(f"{inputs.stage}: {reason(workspace, name, inputs)}")
    made = work()
    remember(workspace, name, made)
    return made


def find(workspace: Workspace, name: str, inputs: Inputs) -> Record | None:
    """Returns the record of exactly these inputs, or None when there is none or one of its outputs is gone."""
    stored = _read(_exact(workspace, name, inputs))
    if stored is None:
        return None
    outputs = tuple(workspace.root / path for path in stored["outputs"])
    if not all(path.exists() for path in outputs):
        return None
    return Record(inputs, outputs, stored["result"])


def remember(workspace: Workspace, name: str, record: Record) -> None:
    """Writes a record. Call it when all outputs are in place: a record says that the stage is complete."""
    value = {
        "stage": record.inputs.stage,
        "fingerprint": record.inputs.fingerprint,
        "components": record.inputs.components,
        "outputs": [_relative(path, workspace.root) for path in record.outputs],
        "result": dict(record.result),
    }
    write_json(_exact(workspace, name, record.inputs), value)
    write_json(workspace.stage(name, record.inputs.stage), value)


def last(workspace: Workspace, name: str, stage: str) -> Record | None:
    """Returns what the stage last made for a configuration of this name, whatever its inputs are now."""
    stored = _read(workspace.stage(name, stage))
    if stored is None:
        return None
    outputs = tuple(workspace.root / path for path in stored["outputs"])
    return Record(Inputs(stage, **stored["components"]), outputs, stored["result"])


def reason(workspace: Workspace, name: str, inputs: Inputs) -> str:
    """Returns why a stage runs, naming what changed since the last time."""
    before = last(workspace, name, inputs.stage)
    if before is None:
        return "runs for the first time"
    changes = _changes(before.inputs, inputs)
    if changes:
        return "runs because " + "; ".join(changes)
    missing = [path for path in before.outputs if not path.exists()]
    return f"runs because {missing[0]} is missing" if missing else "runs again as asked"


def _changes(before: Inputs, now: Inputs) -> list[str]:
    changes = []
    old, new = flatten(before.config), flatten(now.config)
    fields = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if fields:
        named = [f"{key} {_shown(old.get(key))} -> {_shown(new.get(key))}" for key in fields[:4]]
        more = f" and {len(fields) - 4} more" if len(fields) > 4 else ""
        changes.append(f"config changed: {', '.join(named)}{more}")
    for key in sorted({*before.upstream, *now.upstream}):
        was, is_ = before.upstream.get(key, "none"), now.upstream.get(key, "none")
        if was != is_:
            changes.append(f"{key} changed" + ("" if _is_digest(was) or _is_digest(is_) else f": {was} -> {is_}"))
    if before.code != now.code:
        changes.append("code changed")
    return changes


def data_digest(manifest: Manifest) -> str:
    """Returns the digest of what a prepared folder holds.

    It leaves out how it was made: prepared again by newer code with the same bytes, nothing downstream runs again.
    """
    made_by = {"fingerprint", "code_version", "settings", "sources"}
    return digest_of(manifest.model_dump(mode="json", exclude=made_by))


def _exact(workspace: Workspace, name: str, inputs: Inputs) -> Path:
    return workspace.stage(name, f"{inputs.stage}-{inputs.fingerprint[:12]}")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return stored


def _relative(path: Path, root: Path) -> str:
    """Returns a path inside the workspace relative to it, so that a workspace can be moved."""
    path, root = path.resolve(), root.resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _shown(value: Any) -> str:
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)
