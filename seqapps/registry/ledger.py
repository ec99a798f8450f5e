"""The ledger of a registered model: every decision on its champion, passed or refused, in chronological order.

An entry is written twice: as a tag of the model version, one tag per entry, which no other process can overwrite; then
to `ledger.jsonl`, an artifact of the model's own run of kind `ledger`. Reading takes the union of both, and writing
rebuilds the artifact from the union, so that concurrent writers, or a process killed in between, lose no entry.
"""

from __future__ import annotations

import json
import platform
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from seqapps import formats
from seqapps.errors import DataError
from seqapps.registry.provenance import user

if TYPE_CHECKING:
    from seqapps.registry.tracking import Tracker

FILE_NAME = "ledger.jsonl"
TAG = "seqapps.ledger."
RUN_TAG = "seqapps.ledger_run"

_PROMOTIONS = ("promote", "force")
_NAMES = {"from": "before", "to": "after"}
"""Names in the JSON of an entry to those of its fields."""
_ANOTHER = (
    "use the version of seqapps that wrote it, or begin the ledger of a model of another name: `seqapps run CONFIG "
    "--set promotion.model=NAME`"
)
Action = Literal["promote", "refuse", "force", "rollback"]


@dataclass(frozen=True)
class Check:
    """One condition of the gate.

    Args:
        against: what the model is compared with.
        ours, theirs: the objective of the model and of the other; None when not available.
        passed: whether the condition holds.
        detail: the figures of the comparison, or why there are none.
    """

    against: str
    ours: float
    theirs: float | None
    passed: bool
    detail: str


@dataclass(frozen=True)
class Evidence:
    """The figures behind a decision of the gate.

    Args:
        objective, direction, split, tokens, sequences, metrics: of the evaluation.
        opponent: the champion that it was compared with; empty for none.
        checks: the conditions, in order.
    """

    objective: str
    direction: str
    split: str
    tokens: int
    sequences: int
    metrics: Mapping[str, float]
    opponent: str
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Entry:
    """One decision.

    Args:
        when: UTC, ISO 8601 with microseconds.
        who: user and machine.
        action: `promote` (the gate passed), `refuse` (it did not), `force` (it did not, but the champion moved) or
            `rollback`.
        model: name in the registry.
        version: the version that was decided on.
        before: the previous champion version; empty for none.
        after: the new champion version; empty for none.
        run_id: the run that made `version`.
        reason: why, as text.
        evidence: the figures behind the decision, those of `Evidence`; empty for a rollback.
        id: distinguishes entries of the same moment. A process that was killed before the champion moved rewrites its
            entry under the same id when it runs again.
    """

    when: str
    who: str
    action: Action
    model: str
    version: str
    before: str
    after: str
    run_id: str
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""

    @classmethod
    def now(  # noqa: PLR0913 - the fields of an entry
        cls,
        action: Action,
        model: str,
        version: str,
        *,
        before: str,
        after: str,
        run_id: str,
        reason: str,
        evidence: Mapping[str, Any],
    ) -> Entry:
        """Returns an entry with the current time and user."""
        when = datetime.now(UTC).isoformat(timespec="microseconds")
        who = f"{user()}@{platform.node()}"
        return cls(when, who, action, model, version, before, after, run_id, reason, evidence, uuid.uuid4().hex[:8])

    def to_json(self) -> str:
        """Returns the entry as one line of JSON; the champion versions are `from` and `to`."""
        record = asdict(self)
        record["from"], record["to"] = record.pop("before"), record.pop("after")
        return json.dumps(formats.stamped("ledger", record), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str, where: str = "the line", damaged: str = "remove it") -> Entry:
        """Reads what `to_json` wrote.

        Args:
            line: the JSON.
            where: names it in a message.
            damaged: the remedy where it is damaged.

        Raises:
            FormatError: another version of seqapps wrote it.
            DataError: it is damaged.
        """
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where} is damaged and cannot be read as JSON: {error}. Remedy: {damaged}.") from None
        message = formats.unlike(record, "ledger") if isinstance(record, dict) else ""
        if message:
            raise formats.FormatError(where, message, _ANOTHER)
        if isinstance(record, dict):
            record = {_NAMES.get(name, name): value for name, value in record.items()}
        entry = formats.checked(record, "ledger", cls, where, damaged)
        flaw = formats.flaw(entry.evidence, Evidence) if entry.evidence else ""
        if flaw:
            raise DataError(f"{where} is damaged: in its evidence, {flaw}. Remedy: {damaged}.")
        return entry


def ledger(tracker: Tracker, model: str) -> list[Entry]:
    """Returns all decisions on a model, the oldest first; empty for a model that is not registered.

    Raises:
        FormatError: another version of seqapps wrote an entry; nothing is written.
        DataError: an entry is damaged in its tag, and the artifact does not have it.
    """
    entries, whole = _read(tracker, model)
    if not whole:
        with tracker.lock("ledger"):
            _write(tracker, model)
    return entries


def repeated(tracker: Tracker, entry: Entry) -> Entry:
    """Returns an entry with the id of the last one if that is the same decision: its process was killed before it was
    carried out, so the entry is overwritten."""
    before = ledger(tracker, entry.model)[-1:]
    return replace(entry, id=before[0].id) if before and _decision(before[0]) == _decision(entry) else entry


def append(tracker: Tracker, entry: Entry) -> None:
    """Writes an entry. The version that it decides on must be registered."""
    with tracker.lock("ledger"):
        tracker.client.set_model_version_tag(entry.model, entry.version, f"{TAG}{entry.id}", entry.to_json())
        _write(tracker, entry.model)


def _read(tracker: Tracker, model: str) -> tuple[list[Entry], bool]:
    """Returns all entries in order, and whether the artifact could be read to its end."""
    kept, whole = _from_artifact(tracker, model)
    entries = {entry.id: entry for entry in kept}
    for version in tracker.client.search_model_versions(f"name = '{model}'"):
        for key, value in version.tags.items():
            if key.startswith(TAG):
                where = f"the entry {key} of the ledger, a tag of version {version.version} of `{model}`,"
                try:
                    entry = Entry.from_json(value, where, _without(model, str(version.version), key))
                except formats.FormatError:
                    raise
                except DataError:
                    if key.removeprefix(TAG) in entries:
                        continue
                    raise
                entries[entry.id] = entry
    return sorted(entries.values(), key=lambda entry: (entry.when, entry.id)), whole


def _write(tracker: Tracker, model: str) -> None:
    """Rebuilds the artifact from its own entries and the tags; the lock is held."""
    run_id = _run(tracker, model) or _start(tracker, model)
    entries, _ = _read(tracker, model)
    tracker.log_text(run_id, "".join(item.to_json() + "\n" for item in entries), FILE_NAME)


def _decision(entry: Entry) -> tuple[str, ...]:
    return entry.action, entry.version, entry.before, entry.after, entry.run_id, entry.reason


def promotion_of(entries: Sequence[Entry], run_id: str, champion: str) -> Entry | None:
    """Returns the entry by which a run became champion; None if it never did, or the alias was moved manually since.

    Args:
        entries: all decisions on the model, the oldest first.
        run_id: the run.
        champion: the version that has the alias now; empty for none.
    """
    moves = [entry for entry in entries if entry.action != "refuse"]
    own = [place for place, entry in enumerate(moves) if entry.run_id == run_id and entry.action in _PROMOTIONS]
    if not own:
        return None
    entry = moves[own[-1]]
    met = any(later.before == entry.after for later in moves[own[-1] + 1 :])
    ours = moves[-1].after == entry.after
    return entry if champion == entry.after or (met and not ours) else None


def champions(entries: Sequence[Entry]) -> list[str]:
    """Returns the versions that a rollback would pass through, the first champion first, the present one last.

    >>> move = dict(when="", who="", model="m", run_id="", reason="", before="")
    >>> steps = [("promote", "1"), ("promote", "2"), ("refuse", "2"), ("promote", "4"), ("rollback", "2")]
    >>> champions([Entry(action=action, version=to, after=to, **move) for action, to in steps])
    ['1', '2']
    """
    stack: list[str] = []
    for entry in entries:
        if entry.action in _PROMOTIONS:
            # A promotion that was killed before the alias moved occurs twice.
            stack += [entry.after] if stack[-1:] != [entry.after] else []
        elif entry.action == "rollback":
            # Everything after the restored version is undone.
            while stack and stack[-1] != entry.after:
                stack.pop()
            stack = stack or [entry.after]
    return stack


def _from_artifact(tracker: Tracker, model: str) -> tuple[list[Entry], bool]:
    """Returns the entries of the artifact that can be read, and whether those are all: it may be truncated."""
    run_id = _run(tracker, model)
    if not run_id:
        return [], True
    lines = (tracker.read_text(run_id, FILE_NAME) or "").splitlines()
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(Entry.from_json(line, f"line {number} of {FILE_NAME}, the ledger of `{model}`,"))
        except formats.FormatError:  # it would be lost when the artifact is made again
            raise
        except DataError:
            continue
    return entries, bool(lines) and len(entries) == len(lines)


def _without(model: str, version: str, key: str) -> str:
    return (
        "set the tag to what it was, or leave the entry out with "
        f"`mlflow.MlflowClient(STORE).delete_model_version_tag({model!r}, {version!r}, {key!r})`"
    )


def _run(tracker: Tracker, model: str) -> str | None:
    """Returns the id of the model's ledger run, which is a tag of the registered model."""
    found = tracker.client.search_registered_models(f"name = '{model}'")
    return found[0].tags.get(RUN_TAG) if found else None


def _start(tracker: Tracker, model: str) -> str:
    tags = {"seqapps.model": model}
    begun = tracker.find(kind="ledger", tags=tags)  # by a process that was killed before it tagged its run
    run_id = begun[0].info.run_id if begun else tracker.start(f"ledger of {model}", kind="ledger", tags=tags).run_id
    tracker.finish(run_id)
    tracker.client.set_registered_model_tag(model, RUN_TAG, run_id)
    return run_id
