"""Records of finished stages: the inputs as named components, the outputs, and why a stage runs again.

A record is in `stages/<name>/<stage>.json` (the last run) and `stages/<name>/<stage>-<fingerprint>.json` (each set of
inputs), so that going back to an earlier configuration finds its outputs instead of recomputing them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqapps import formats
from seqapps.dataset.manifest import HASHES, Manifest, digest_of, hashes_of
from seqapps.errors import DataError
from seqapps.files import held
from seqapps.registry.tracking import flatten
from seqapps.workflow.sources import ROOTS
from seqapps.workspace import Workspace


@dataclass(frozen=True)
class Inputs:
    """Everything that the result of a stage depends on.

    Args:
        stage: the stage's name.
        config: the configuration values that it reads, as nested tables.
        upstream: its inputs from earlier stages: name to a digest or a version.
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
    """The outputs of a stage for its inputs.

    Args:
        inputs: of the stage.
        outputs: files and folders that it made; all exist.
        result: values for later stages.
        contents: sha256 of every output file when the stage finished; filled in when the record is written.
        steady: whether nothing else writes the outputs.
    """

    inputs: Inputs
    outputs: tuple[Path, ...]
    result: Mapping[str, Any]
    contents: Mapping[Path, str] = field(default_factory=dict)
    steady: bool = True


Doubt = Callable[[Record], str]
"""Returns why a record is no longer valid, though inputs and outputs are unchanged; empty if it is."""


@dataclass(frozen=True)
class Records:
    """The records of one configuration's stages.

    Args:
        workspace: holds them.
        name: the configuration's name.
        any_code: whether to reuse results of an earlier version of the code.
    """

    workspace: Workspace
    name: str
    any_code: bool = False

    def perform(
        self,
        inputs: Inputs,
        work: Callable[[], Record],
        say: Callable[[str], None],
        *,
        folder: Path | None = None,
        doubt: Doubt | None = None,
    ) -> Record:
        """Returns the record of a stage: the existing one, or a new one from `work`.

        Args:
            inputs: what the stage depends on.
            work: runs it and returns its record; called only when needed, and by one process at a time.
            say: receives the message whether and why it runs.
            folder: its folder, if shared with other stages; they do not wait for each other.
            doubt: returns why a record is no longer valid; empty if it is.

        Raises:
            RunError: another process is running it.
        """
        record, why = self.standing(inputs, doubt)
        if record is None:
            name = folder.name if folder else f"{inputs.stage}-{inputs.fingerprint[:12]}"
            with held(self._file(inputs.stage).parent, name, f"`{inputs.stage}` of `{self.name}`"):
                # Another process may have finished it in the meantime.
                record, why = self.standing(inputs, doubt)
                if record is None:
                    say(f"{inputs.stage}: {why or self.reason(inputs)}")
                    made = work()
                    self.remember(made)
                    return made
        place = f" ({record.outputs[0]})" if record.outputs else ""
        maker = "" if record.inputs.code == inputs.code else ", made by other code"
        say(f"{inputs.stage}: up to date{maker}{place}")
        return record

    def standing(self, inputs: Inputs, doubt: Doubt | None) -> tuple[Record | None, str]:
        """Returns the valid record, or why the existing one is not valid."""
        record = self.find(inputs)
        reason = doubt(record) if record is not None and doubt is not None else ""
        return (None, f"runs because {reason}") if reason else (record, "")

    def find(self, inputs: Inputs) -> Record | None:
        """Returns the record of exactly these inputs; None when there is none, or its outputs have changed.

        With `any_code` the newest record of equal inputs and another version of the code counts as well; it keeps its
        own fingerprint, so that the records of later stages are found, too.
        """
        return next((record for record in self._of(inputs) if not self._lack(record)), None)

    def lack(self, inputs: Inputs) -> str:
        """Returns what is wrong with the outputs of these inputs, as text; empty if `find` returns them or the stage
        never ran."""
        lacks = [self._lack(record) for record in self._of(inputs)]
        return lacks[0] if all(lacks) and lacks else ""

    def remember(self, record: Record) -> None:
        """Writes a record. Call it when all outputs exist: a record means that the stage is complete."""
        files = _files_of(record.outputs) if record.steady else []
        hashes = zip(files, hashes_of(files, self._book), strict=True)
        value = {
            "stage": record.inputs.stage,
            "fingerprint": record.inputs.fingerprint,
            "components": record.inputs.components,
            "outputs": [_relative(path, self.workspace.root) for path in record.outputs],
            "contents": {_relative(path, self.workspace.root): sha256 for path, sha256 in hashes},
            "result": dict(record.result),
        }
        # The record for lookups is written last: after a kill before it, the stage runs again and repairs the other.
        formats.write(self._file(record.inputs.stage), "stage", value)
        formats.write(self._exact(record.inputs), "stage", value)

    def last(self, stage: str) -> Record | None:
        """Returns the last record of a stage for a configuration of this name, whatever the inputs now."""
        return self._read(self._file(stage))

    def reason(self, inputs: Inputs) -> str:
        """Returns why a stage runs, naming what changed since the last time."""
        before = self.last(inputs.stage)
        if before is None:
            return self._why_unread(self._file(inputs.stage))
        changes = _changes(before.inputs, inputs)
        if changes:
            return "runs because " + "; ".join(changes)
        lack = self._lack(before)
        return f"runs because {lack}" if lack else "runs again as asked"

    @property
    def _book(self) -> Path:
        return self.workspace.cache / HASHES

    def _of(self, inputs: Inputs) -> Iterator[Record]:
        """Yields the records of these inputs, whatever the state of their outputs; see `find`."""
        files = [self._exact(inputs)]
        if self.any_code:
            others = self._file(inputs.stage).parent.glob(f"{inputs.stage}-*.json")
            files += sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)
        for file in files:
            record = self._read(file)
            if record is not None and _same(record.inputs, inputs):
                yield record

    def _lack(self, record: Record) -> str:
        """Returns what is wrong with the outputs, as text; empty when all exist unchanged, in this version's formats.

        A file is read only if its size, times or inode differ from when it was last read.
        """
        for path in record.outputs:
            if not path.exists():
                return f"{path} is missing"
        for path in record.contents:
            if not path.is_file():
                return f"{path} is missing"
        hashes = hashes_of(list(record.contents), self._book)
        now = dict(zip(record.contents, hashes, strict=True))
        for path, sha256 in record.contents.items():
            if now[path] != sha256:
                return f"{path} was changed"
            if description := formats.stale(path):
                return f"{path} {description}"
        return ""

    def _file(self, stage: str) -> Path:
        return self.workspace.stage(self.name, stage)

    def _exact(self, inputs: Inputs) -> Path:
        return self._file(f"{inputs.stage}-{inputs.fingerprint[:12]}")

    def _read(self, path: Path) -> Record | None:
        """Returns a record; None if missing, damaged or of another format: the stage then finds its outputs, or makes
        them again."""
        try:
            stored = _stored(path)
        except (FileNotFoundError, DataError):
            return None
        outputs = tuple(self.workspace.root / output for output in stored.outputs)
        contents = {self.workspace.root / file: sha256 for file, sha256 in stored.contents.items()}
        made_from = stored.components
        inputs = Inputs(stored.stage, made_from.config, made_from.upstream, made_from.code)
        return Record(inputs, outputs, stored.result, contents)

    @staticmethod
    def _why_unread(path: Path) -> str:
        """Returns why a stage runs whose record `_read` does not return."""
        try:
            _stored(path)
        except formats.FormatError as error:
            return f"runs because its record {error.description} ({path})"
        except DataError:
            return f"runs because its record is damaged ({path})"
        except FileNotFoundError:
            pass
        return "runs for the first time"


@dataclass(frozen=True)
class Components:
    """What a stage was made from, in its file: see `Inputs`."""

    config: dict[str, Any]
    upstream: dict[str, str]
    code: str


@dataclass(frozen=True)
class Stored:
    """The file of a record: `Record` with paths as text, relative to the workspace where they are inside."""

    stage: str
    fingerprint: str
    components: Components
    outputs: tuple[str, ...]
    contents: dict[str, str]
    result: dict[str, Any]


def _stored(path: Path) -> Stored:
    """Returns the content of a record's file; raises a DataError if it is damaged, or of another version of seqapps."""
    remedy = "run the stage again"
    stored = formats.read(path, "stage", Stored, remedy)
    flaw = "" if stored.outputs or stored.stage not in ROOTS else "it names no output"
    shape = result_of(stored.stage)
    if shape is not None:
        flaw = flaw or formats.flaw(stored.result, shape)
    if flaw:
        raise DataError(f"{path} is damaged: {flaw}. Remedy: {remedy}.")
    return stored


@dataclass(frozen=True)
class TuneResult:
    """`Record.result` of `tune`: the winner's configuration."""

    config: dict[str, Any]


@dataclass(frozen=True)
class TrainResult:
    """`Record.result` of `train`: the MLflow run, and the command or address of its page."""

    run_id: str
    page: str


@dataclass(frozen=True)
class ExportResult:
    """`Record.result` of `export`: the exported version, and the example predictions."""

    version: str
    showcase: str


def result_of(stage: str) -> type[Any] | None:
    """Returns the shape of `Record.result` of a stage; None for one that later stages take nothing from."""
    if stage == "promote":
        from seqapps.registry.promotion import Decision

        return Decision
    shapes: dict[str, type[Any]] = {"tune": TuneResult, "train": TrainResult, "export": ExportResult}
    return shapes.get(stage)


def mark_of(folder: Path, inputs: Inputs) -> Path:
    """Returns the marker file beside a folder that identifies its inputs, and removes those of other inputs.

    For a folder that other inputs overwrite: the marker is touched when the folder is complete, and is an output of the
    stage, so that the stage runs again when it goes back to earlier inputs.
    """
    beginning = f".{folder.name}-made-from-"
    for old in folder.parent.glob(f"{beginning}*"):
        old.unlink()
    return folder.parent / f"{beginning}{inputs.fingerprint[:12]}"


def data_digest(manifest: Manifest) -> str:
    """Returns the digest of the content of a prepared folder.

    It excludes how the data was made: if newer code prepares the same bytes, nothing downstream runs again.
    """
    made_by = {"fingerprint", "code_version", "settings", "sources", "found"}
    return digest_of(manifest.model_dump(mode="json", exclude=made_by))


def _files_of(outputs: Iterable[Path]) -> list[Path]:
    """Returns every file in the outputs."""
    files = (file for path in outputs for file in ([path] if path.is_file() else sorted(path.rglob("*"))))
    return [file for file in files if file.is_file()]


def _same(one: Inputs, other: Inputs) -> bool:
    """Whether all but the code is equal, compared as JSON."""
    return digest_of([one.config, one.upstream]) == digest_of([other.config, other.upstream])


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


def _relative(path: Path, root: Path) -> str:
    """Returns a path inside the workspace relative to it, so that a workspace can be moved."""
    path, root = path.resolve(), root.resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _shown(value: Any) -> str:
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)
