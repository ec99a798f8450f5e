"""The gate between a trained model and service: a model becomes champion on evidence, and every decision is recorded.

The alias has no compare-and-set, so a move is guarded: under a lease the champion is read again, the entry is written
to the ledger, then the alias moves. A process killed between the last two leaves an entry for a move that did not
happen; repeating the command makes the move and overwrites the entry. A rollback marks the version until it is done,
because repeating the command would otherwise go back one version further.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seqapps.applications import application_of
from seqapps.config import RunConfig
from seqapps.errors import RunError, UsageError
from seqapps.metrics.figures import figures
from seqapps.registry.ledger import Action, Check, Entry, append, champions, ledger, promotion_of, repeated
from seqapps.registry.tracking import Tracker
from seqapps.registry.versions import (
    CHALLENGER,
    CHAMPION,
    ModelVersionRef,
    champion,
    readable,
    register,
    registered,
    registered_names,
    resolve,
    trained_folder,
    versions,
)

if TYPE_CHECKING:
    from seqapps.evaluation.evaluate import Evaluation

__all__ = [
    "Check",
    "Decision",
    "Entry",
    "ModelVersionRef",
    "champion",
    "decision_table",
    "gate",
    "ledger",
    "promote",
    "resolve",
    "rollback",
    "trained_folder",
]

_FEWEST_SEQUENCES = 2
_VERSION_TAGS = "seqapps."
_ROLLING = "seqapps.rolling_back"
"""Tag of the version that a pending rollback makes champion: the id of its entry in the ledger."""


@dataclass(frozen=True)
class Decision:
    """A decision on the champion, with its conditions.

    Args:
        action: `promote`, `refuse`, `force` or `rollback`; `keep` when the version is already the champion.
        model: name in the registry.
        version: the version that was decided on.
        before, after: previous and new champion version; empty for none.
        objective: the deciding metric.
        checks: the conditions, in order; empty for a rollback.
        reason: why, as text.
    """

    action: str
    model: str
    version: str
    before: str
    after: str
    objective: str
    checks: tuple[Check, ...]
    reason: str

    @property
    def passed(self) -> bool:
        """Whether all conditions of the gate hold."""
        return all(check.passed for check in self.checks)

    @property
    def moved(self) -> bool:
        """Whether the champion changed."""
        return self.before != self.after


def promote(  # noqa: PLR0913 - a run with its three folders
    tracker: Tracker,
    *,
    config: RunConfig,
    run_id: str,
    run_folder: Path,
    saved_model: Path,
    evaluation_folder: Path,
    force: str = "",
    console: Console,
) -> Decision:
    """Registers a run's model as challenger, and makes it champion when the gate passes.

    Called again for the same run, it registers nothing new; if the version is already the champion, it stays so,
    nothing is written, and the earlier decision is returned.

    Args:
        tracker: the store.
        config: the run's configuration.
        run_id, run_folder: the run, and its folder with the trained model.
        saved_model: the exported model.
        evaluation_folder: written by `seqapps.evaluation.evaluate.evaluate`.
        force: the reason to move the champion despite a refusal; empty to accept a refusal.
        console: shows messages.

    Raises:
        UsageError: the configuration names no model.
        DataError: there is no evaluation.
        RunError: the champion changed in the meantime.
    """
    from seqapps.evaluation.evaluate import read_evaluation, read_statistics

    model = _checked_name(config.model_name)
    evaluation, statistics = read_evaluation(evaluation_folder), read_statistics(evaluation_folder)
    ref = register(
        tracker,
        model,
        run_id=run_id,
        run_folder=run_folder,
        saved_model=saved_model,
        tags={f"{_VERSION_TAGS}application": config.application},
    )
    tracker.client.set_registered_model_alias(model, CHALLENGER, ref.version)
    console.print(f"promote: version {ref.version} of {model} is registered as {CHALLENGER}")
    current = champion(tracker, model)
    before = current.version if current else ""
    if before == ref.version:
        entry = promotion_of(ledger(tracker, model), run_id, before)
        if entry is not None:
            return _decided(entry)
        reason = f"version {ref.version} is the champion already"
        return Decision("keep", model, ref.version, before, before, evaluation.objective, (), reason)
    checks = gate(config, evaluation, statistics, before)
    passed = all(check.passed for check in checks)
    action: Action = "promote" if passed else "force" if force else "refuse"
    after = before if action == "refuse" else ref.version
    decision = Decision(
        action, model, ref.version, before, after, evaluation.objective, checks, _reason(checks, before, force)
    )
    _carry_out(tracker, decision, run_id, _evidence(evaluation, checks))
    return decision


def gate(
    config: RunConfig, evaluation: Evaluation, statistics: Mapping[str, NDArray[np.float64]], before: str
) -> tuple[Check, ...]:
    """Returns the conditions of the gate: better than every baseline and than the champion, with confidence.

    If there is neither, there is no evidence for the model: one condition that fails.

    Args:
        config: names the baselines, the confidences and the resamples.
        evaluation: the figures.
        statistics: sums per sequence, for the paired bootstrap.
        before: version of the champion; empty when there is none.
    """
    ours, needed = evaluation.metrics[evaluation.objective], config.promotion.baseline_confidence
    checks = []
    for name in application_of(config).baselines():
        if name in evaluation.left_out:
            continue
        score, key = evaluation.baselines.get(name), f"baseline.{name}"
        if score is None or key not in statistics:
            checks.append(Check(name, ours, None, False, "it was not scored: run `seqapps evaluate` again"))
            continue
        theirs = score.metrics[evaluation.objective]
        checks.append(_compared(config, evaluation, statistics, Opponent(name, key, theirs, needed)))
    if before:
        checks.append(_against_champion(config, evaluation, statistics, before))
    if not checks:
        detail = "there is none, and no champion: name baselines that this configuration has in `baselines.names`"
        checks.append(Check("any baseline", ours, None, False, detail))
    return tuple(checks)


@dataclass(frozen=True)
class Opponent:
    """A system that the model is compared with.

    Args:
        name: for messages.
        key: of its sums in `statistics`.
        figure: its objective.
        confidence: required of the comparison.
    """

    name: str
    key: str
    figure: float
    confidence: float


def _against_champion(
    config: RunConfig, evaluation: Evaluation, statistics: Mapping[str, NDArray[np.float64]], before: str
) -> Check:
    against, ours = f"champion (version {before})", evaluation.metrics[evaluation.objective]
    scored = evaluation.champion
    if scored is None or scored.version != before:
        was = f"version {scored.version}" if scored else "no champion"
        return Check(against, ours, None, False, f"the evaluation knows {was}: run `seqapps evaluate` again")
    if scored.not_comparable:
        return Check(against, ours, None, False, f"it cannot be compared: {scored.not_comparable}")
    theirs = scored.metrics[evaluation.objective]
    opponent = Opponent(against, "champion", theirs, config.promotion.confidence)
    return _compared(config, evaluation, statistics, opponent)


def _compared(
    config: RunConfig, evaluation: Evaluation, statistics: Mapping[str, NDArray[np.float64]], opponent: Opponent
) -> Check:
    """Returns the paired bootstrap of the model against another system."""
    from seqapps.evaluation.evaluate import paired_bootstrap

    application, ours, theirs = application_of(config), evaluation.metrics[evaluation.objective], opponent.figure
    sequences = len(statistics["model"])
    if sequences < _FEWEST_SEQUENCES:
        detail = f"{sequences} sequence cannot be resampled: use a larger split"
        return Check(opponent.name, ours, theirs, False, detail)
    second = application.second
    result = paired_bootstrap(
        statistics["model"],
        statistics[opponent.key],
        lambda totals: application.metrics(totals)[evaluation.objective],
        direction=evaluation.direction,
        resamples=config.promotion.resamples,
        seed=config.seed,
        second=(lambda totals: application.metrics(totals)[second]) if second else None,
    )
    detail = (
        f"difference {result.difference:+.4g} [{result.low:+.4g}, {result.high:+.4g}], better in "
        f"{result.probability_better:.1%} of {config.promotion.resamples:,} resamples of {sequences:,} sequences, "
        f"needed {opponent.confidence:.1%}"
    )
    if second and ours == theirs:
        detail += f"; equal, so that {second.replace('_', ' ')} decides"
    passed = result.probability_better >= opponent.confidence
    return Check(opponent.name, ours, theirs, passed, detail)


def rollback(tracker: Tracker, model: str, *, reason: str, to: str = "", console: Console) -> Decision:
    """Restores the previous champion, and records it.

    The ledger says which version that is: a second rollback goes back one further. Deleted versions are skipped. A
    rollback that a killed process began is finished and goes no further, whether or not its alias moved.

    Args:
        tracker: the store.
        model: name in the registry.
        reason: why; kept in the ledger.
        to: the version to restore, one of the earlier champions; if it is the champion already, nothing is done. Empty
            for the previous one.
        console: shows messages.

    Raises:
        UsageError: no such model, no champion, or no such version before it.
        FormatError: another version of seqapps registered that version, or wrote the ledger.
    """
    if registered(tracker, model) is None:
        names = ", ".join(registered_names(tracker)) or "none"
        raise UsageError(f"model `{model}` is not registered. Registered: {names}.")
    current = champion(tracker, model)
    if current is None:
        raise UsageError(
            f"`{model}` has no champion, so there is nothing to roll back. `seqapps promote CONFIG` makes one; where "
            "the gate refused every version, `seqapps promote CONFIG --force REASON` does, and the reason is kept."
        )
    begun = _unfinished(tracker, current)
    if begun is not None and to in ("", begun.after):
        tracker.client.delete_model_version_tag(model, current.version, _ROLLING)
        console.print(f"rollback: a killed one to version {begun.after} of {model} is finished; again goes one further")
        return Decision("rollback", model, begun.version, begun.before, begun.after, "", (), begun.reason)
    if to == current.version:
        why = f"version {to} is the champion already"
        return Decision("keep", model, to, to, to, "", (), why)
    target = _version_before(tracker, model, current.version, to)
    if target is None:
        raise UsageError(
            f"`{model}` had no champion {to or 'before version ' + current.version}, or it was deleted. Nothing was "
            "changed."
        )
    readable(target)
    why = reason.strip() or "no reason given"
    decision = Decision("rollback", model, target.version, current.version, target.version, "", (), why)
    _carry_out(tracker, decision, target.run_id, {})
    console.print(f"rollback: the champion of {model} is version {target.version} again (was {current.version})")
    return decision


def _unfinished(tracker: Tracker, current: ModelVersionRef) -> Entry | None:
    """Returns the entry of a rollback to the champion whose process was killed after the alias moved."""
    tags = tracker.client.get_model_version(current.model, current.version).tags
    moves = [entry for entry in ledger(tracker, current.model) if entry.action != "refuse"]
    if not moves or moves[-1].action != "rollback" or moves[-1].after != current.version:
        return None
    return moves[-1] if tags.get(_ROLLING) == moves[-1].id else None


def decision_table(decision: Decision) -> Table | Text:
    """Returns a decision with every condition and its figures, as a table; without a condition, two lines."""
    words = {
        "promote": f"version {decision.version} is the champion now",
        "refuse": f"version {decision.version} was refused; the champion stays {decision.before or 'unset'}",
        "force": f"version {decision.version} is the champion now, by force",
        "rollback": f"version {decision.after} is the champion again (was {decision.before})",
        "keep": decision.reason,
    }
    style = "red" if decision.action == "refuse" else "yellow" if decision.action == "force" else "green"
    title = Text(f"{decision.model}: {words[decision.action]}", style=f"bold {style}")
    if not decision.checks:
        said = "" if decision.action == "keep" else f"\n{decision.reason}"
        return Text.assemble(title, said)
    table = Table(title=title, title_justify="left", caption=Text(decision.reason), caption_justify="left")
    table.add_column("against")
    table.add_column(decision.objective or "objective", justify="right")
    table.add_column("model", justify="right")
    table.add_column("comparison")
    table.add_column("gate")
    known = [check.theirs for check in decision.checks if check.theirs is not None]
    shown = figures([*known, *(check.ours for check in decision.checks)])
    texts = iter(shown[: len(known)])
    for check, ours in zip(decision.checks, shown[len(known) :], strict=True):
        verdict = Text("passed", style="green") if check.passed else Text("failed", style="bold red")
        theirs = "-" if check.theirs is None else next(texts)
        table.add_row(check.against, theirs, ours, check.detail, verdict)
    return table


def _carry_out(tracker: Tracker, decision: Decision, run_id: str, evidence: Mapping[str, Any]) -> None:
    """Writes the entry, then moves the alias when the decision says so."""
    action: Action = decision.action  # type: ignore[assignment]
    with tracker.lease(decision.model) as still_ours:
        now = champion(tracker, decision.model)
        if (now.version if now else "") != decision.before:
            raise RunError(
                f"the champion of `{decision.model}` changed from {decision.before or 'none'} to "
                f"{now.version if now else 'none'} while this was decided. Nothing was changed: run the command again."
            )
        entry = Entry.now(
            action,
            decision.model,
            decision.version,
            before=decision.before,
            after=decision.after,
            run_id=run_id,
            reason=decision.reason,
            evidence=evidence,
        )
        entry = repeated(tracker, entry)
        append(tracker, entry)
        client, model, number = tracker.client, decision.model, decision.version
        tags = {"decision": action, "reason": decision.reason, "decided": entry.when, "decided_by": entry.who}
        if decision.moved:
            tags["champion_before"] = decision.before
        if evidence:
            tags["evidence"] = json.dumps(evidence)
        for key, value in tags.items():
            client.set_model_version_tag(model, number, f"{_VERSION_TAGS}{key}", value)
        if action == "rollback":
            client.set_model_version_tag(model, number, _ROLLING, entry.id)
        if decision.moved:
            still_ours()
            client.set_registered_model_alias(model, CHAMPION, number)
            moved = champion(tracker, model)
            if moved is None or moved.version != number:
                raise RunError(
                    f"the champion of `{model}` was moved to {moved.version if moved else 'none'} in the same moment. "
                    "Look at `seqapps report`, and run the command again."
                )
        if action == "rollback":
            client.delete_model_version_tag(model, number, _ROLLING)


def _version_before(tracker: Tracker, model: str, current: str, to: str = "") -> ModelVersionRef | None:
    """Returns the last earlier champion that still exists, or the requested one."""
    present = {ref.version: ref for ref in versions(tracker, model)}
    entries = ledger(tracker, model)
    moves = [entry for entry in entries if entry.action != "refuse"]
    begun = moves[-1] if moves and moves[-1].action == "rollback" else None
    if not to and begun is not None and begun.before == current and begun.after in present:
        return present[begun.after]  # recorded but not carried out
    passed = champions(entries)
    # A champion that is not in the ledger was set manually: back to the last one that is.
    last = len(passed) - passed[::-1].index(current) - 1 if current in passed else len(passed)
    earlier = [number for number in passed[:last] if number in present and number != current and to in ("", number)]
    return present[earlier[-1]] if earlier else None


def _reason(checks: tuple[Check, ...], before: str, force: str) -> str:
    failed = [check for check in checks if not check.passed]
    if not failed:
        against = f" and version {before}, which was the champion" if before else "; there was no champion"
        return f"surely better than {len(checks) - bool(before)} baselines{against}"
    causes = "; ".join(f"not surely better than {check.against}: {check.detail}" for check in failed)
    return f"forced: {force} (the gate refused: {causes})" if force else causes


def _decided(entry: Entry) -> Decision:
    """Returns the decision that an entry of the ledger records."""
    return Decision(
        action=entry.action,
        model=entry.model,
        version=entry.version,
        before=entry.before,
        after=entry.after,
        objective=str(entry.evidence["objective"]),
        checks=tuple(Check(**check) for check in entry.evidence["checks"]),
        reason=entry.reason,
    )


def _evidence(evaluation: Evaluation, checks: tuple[Check, ...]) -> dict[str, Any]:
    return {
        "objective": evaluation.objective,
        "direction": evaluation.direction,
        "split": evaluation.split,
        "tokens": evaluation.tokens,
        "sequences": evaluation.sequences,
        "metrics": evaluation.metrics,
        "opponent": evaluation.champion.version if evaluation.champion else "",
        "checks": [asdict(check) for check in checks],
    }


def _checked_name(model: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", model):
        raise UsageError(
            "the model needs a name of letters, digits, `_`, `.` and `-`. "
            f"Received: {model!r}. Example: --set promotion.model=tiny-shakespeare."
        )
    return model
