"""Searches over a space of configurations; every trial is its own run, and a killed search resumes.

    oracle/oracle.json      state of the algorithm: one snapshot, written atomically
    records/<trial>.json    the result of each finished trial
    work/<trial>/           the training of a trial; removed when no later round can resume from it
    run.json                the search's MLflow run
    best.toml               the winner: a configuration like any other
    trials.png              plot of the objectives

A finished trial is never run again; an interrupted trial is restarted. Hyperband's later rounds resume from the
checkpoint of the earlier one: weights, optimizer and position, with the same seed.

The first trial has the seed of the configuration, every other one its own, which the winner keeps: the winner of a
search of full trainings reproduces its figure when it is trained again.
"""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from seqapps import formats
from seqapps.applications import application_of
from seqapps.config import RunConfig, to_toml
from seqapps.dataset.manifest import Manifest, read_manifest
from seqapps.errors import RunError, UsageError
from seqapps.files import write_text
from seqapps.registry.tracking import Tracker, TrackingListener
from seqapps.seeds import seed_of
from seqapps.threads import one_thread
from seqapps.training.log import History, Listener
from tuning import spaces
from tuning.progress import SearchDisplay
from tuning.report import picture, ranked, trials_table
from tuning.trials import TrialRecord, begin_folder, explain, of_trial, read_records, run_trial

__all__ = ["SearchResult", "search"]

_TUNER = "tuner0"
_FAILURES_IN_A_ROW = 3


@dataclass(frozen=True)
class SearchResult:
    """A finished search.

    Args:
        best: the winner's whole configuration, with `tuning.algorithm` = "none".
        config_path: its file, which `--config` takes.
        winner: the record of the best trial.
        trials: the records of all trials, in chronological order.
        objective, direction: the metric that ranks them.
        picture: the PNG.
        run_id: the search's MLflow run.
    """

    best: RunConfig
    config_path: Path
    winner: TrialRecord
    trials: tuple[TrialRecord, ...]
    objective: str
    direction: str
    picture: Path
    run_id: str

    def table(self) -> Table:
        """Returns a table of all trials, the best first."""
        return trials_table(self.trials, self.objective, self.direction)


def search(  # noqa: PLR0913 - the data, two places, the tracker and the console
    config: RunConfig,
    prepared: Path,
    workspace_folder: Path,
    *,
    tracker: Tracker,
    parent_run: str | None = None,
    console: Console,
) -> SearchResult:
    """Tries configurations until the budget is spent, and writes the best one as a configuration file.

    Called again after a kill it resumes; called again after the end it returns the result.

    Args:
        config: the centre of the space; its `tuning` section defines the search.
        prepared: the prepared folder; the validation split decides, the test split is not read.
        workspace_folder: the search's state; one folder per search.
        tracker: every trial becomes a child of the search's run.
        parent_run: the search's run, which the caller closes; None makes one and closes it.
        console: shows progress, failures and the table.

    Raises:
        UsageError: the configuration asks for no search, or names no space.
        RunError: all trials failed; says why each did.
    """
    if config.tuning.algorithm == "none":
        raise UsageError(
            '`tuning.algorithm` is "none": there is nothing to search. Allowed: random, bayesian, hyperband. Add to '
            'the file:\n\n[tuning]\nalgorithm = "random"\ntrials = 20'
        )
    tracker.reap()
    run_id, own = _parent(config, workspace_folder, tracker, parent_run)
    try:
        engine = _Search(config, prepared, workspace_folder, tracker=tracker, run_id=run_id, console=console)
        engine.go()
        result = engine.result()
    except BaseException as error:
        if own:
            tracker.finish(run_id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    if own:
        tracker.finish(run_id)
    return result


class _Search:
    """The loop over trials, and its state."""

    def __init__(  # noqa: PLR0913
        self, config: RunConfig, prepared: Path, folder: Path, *, tracker: Tracker, run_id: str, console: Console
    ) -> None:
        from tuning.oracles import make_oracle

        application = application_of(config)
        self.objective, self.direction = application.objective, application.direction
        self.config, self.prepared, self.folder = config, prepared, folder
        self.tracker, self.run_id, self.console = tracker, run_id, console
        self.manifest: Manifest = read_manifest(prepared)
        self.declare = spaces.load(config.tuning.space or config.model.architecture)
        self.oracle = make_oracle(config, self.declare, self.objective, self.direction, folder)
        self.began = time.monotonic()
        finished = {trial.trial_id for trial in self.oracle.trials.values() if trial.status != "RUNNING"}
        # A kill between a record and the next snapshot leaves the record of a trial that runs again.
        self.records = [record for record in read_records(folder / "records") if record.trial in finished]
        self.spent = sum(record.seconds for record in self.records)

    def go(self) -> None:
        """Runs trials until the budget is spent or the space is exhausted."""
        if self.records:
            waiting = " and 1 that was interrupted" if self.oracle._retry_queue else ""
            self.console.print(f"tune: going on after {len(self.records)} finished trials{waiting}")
        for record in self.records:  # a kill may have come between a trial's snapshot and the end of its run
            if self.tracker.run(record.run_id).info.status in ("RUNNING", "KILLED"):
                self._close(record)
        with SearchDisplay(self.console, self.objective) as display:
            while self._may_start():
                with one_thread():  # the matrices of a search by Gaussian processes are small
                    trial = self.oracle.create_trial(_TUNER)
                if trial.status != "RUNNING":
                    self.console.print("tune: the space is exhausted: no configuration is left that was not tried")
                    break
                display.begin(trial.trial_id, self._place(trial), self._best(), self._seconds_left())
                record = self._try(trial, display)
                self._end(trial, record)
                self._report(record)

    def result(self) -> SearchResult:
        """Writes the winner and the plot, and logs them to the search's run."""
        best = self._best()
        if best is None:
            raise RunError(
                f"no trial of {len(self.records)} gave a {self.objective}:\n{self._reasons(self.records)}\n"
                f"Mend what they say and remove {self.folder} to search anew, or raise `tuning.trials` to go on."
            )
        winner = of_trial(self.config, best.overrides, best.seed, f"trial {best.trial}")
        path, image = self.folder / "best.toml", self.folder / "trials.png"
        tables = formats.stamped("winner", winner.model_dump(mode="json"))
        write_text(path, _header(path, best, self.config, self.objective) + to_toml(tables))
        picture(self.records, self.objective, self.direction, image)
        result = SearchResult(
            winner, path, best, tuple(self.records), self.objective, self.direction, image, self.run_id
        )
        self._log(result)
        shutil.rmtree(self.folder / "work", ignore_errors=True)
        self.console.print(result.table(), soft_wrap=False)  # a soft wrap would leave the caption on one long line
        self.console.print(f"tune: the winner is {path}", soft_wrap=True, highlight=False)
        return result

    # ---- one trial

    def _try(self, trial: Any, display: SearchDisplay) -> TrialRecord:
        """Runs a trial as its own MLflow run; a failure is a result."""
        began, overrides = time.monotonic(), {}
        values = trial.hyperparameters.values
        tags = {"seqapps.trial": trial.trial_id}
        run = self.tracker.start(f"trial-{trial.trial_id}", kind="trial", parent=self.run_id, tags=tags).run_id
        seed = self._seed(trial.trial_id)
        blank = TrialRecord(trial.trial_id, "failed", {}, None, 0, 0.0, 0, "", run, seed)
        with _closed_when_interrupted(self.tracker, run):
            try:
                overrides = dict(self.declare(trial.hyperparameters, self.config))
                epochs = int(values.get("tuner/epochs", self.config.tuning.epochs or self.config.training.epochs))
                config = of_trial(self.config, overrides, seed, f"trial {trial.trial_id}")
                history = self._train(trial, config, epochs, run, display)
            except Exception as error:
                seconds = round(time.monotonic() - began, 3)
                return replace(blank, overrides=overrides, seconds=seconds, reason=explain(error))
        return replace(
            blank,
            status="completed",
            overrides=overrides,
            objective=history.best,
            epochs=len(history.epochs),
            seconds=round(time.monotonic() - began, 3),
            parameters=history.parameters,
        )

    def _train(self, trial: Any, config: RunConfig, epochs: int, run: str, display: SearchDisplay) -> History:
        self.tracker.log_config(run, config)
        earlier = trial.hyperparameters.values.get("tuner/trial_id")
        folder = self.folder / "work" / trial.trial_id
        begin_folder(folder, self.folder / "work" / earlier if earlier else None)
        listeners: list[Listener] = [display, TrackingListener(self.tracker, run)]
        return run_trial(config, self.prepared, self.manifest, folder, epochs=epochs, listeners=listeners)

    def _seed(self, trial_id: str) -> int:
        """Returns the seed of a trial, which all rounds of a configuration share."""
        while earlier := self.oracle.trials[trial_id].hyperparameters.values.get("tuner/trial_id"):
            trial_id = earlier
        first = next(iter(self.oracle.trials))
        return self.config.seed if trial_id == first else seed_of(self.config.seed, "trial", trial_id)

    def _end(self, trial: Any, record: TrialRecord) -> None:
        """Stores the result of a trial: first the record, then the snapshot that makes it count, MLflow last."""
        record.write(self.folder / "records")
        if record.objective is None:
            trial.status, trial.message = "FAILED", record.reason
        else:
            self.oracle.update_trial(trial.trial_id, {self.objective: record.objective}, step=record.epochs)
            trial.status = "COMPLETED"
        self.oracle.end_trial(trial)
        self.records.append(record)
        if self.config.tuning.algorithm != "hyperband":
            shutil.rmtree(self.folder / "work" / record.trial, ignore_errors=True)
        self._close(record)

    def _close(self, record: TrialRecord) -> None:
        """Closes the trial's run with its result."""
        if record.objective is None:
            self.tracker.set_tags(record.run_id, {"seqapps.failure": record.reason})
            self.tracker.finish(record.run_id, "FAILED")
        else:
            figures = {f"best_{self.objective}": record.objective, "parameters": record.parameters}
            self.tracker.log_last_metrics(record.run_id, figures)
            self.tracker.finish(record.run_id)

    # ---- the budget

    def _may_start(self) -> bool:
        tuning = self.config.tuning
        if tuning.minutes and self._elapsed() >= 60.0 * tuning.minutes:
            return False
        return bool(self.oracle._retry_queue) or not tuning.trials or len(self.oracle.trials) < tuning.trials

    def _elapsed(self) -> float:
        """Seconds of the whole search, including those before a kill."""
        return self.spent + time.monotonic() - self.began

    def _seconds_left(self) -> float | None:
        """Returns the estimated time until the end, including the trial that starts now."""
        tuning, done = self.config.tuning, len(self.records)
        left = []
        if tuning.trials and done:
            mean = sum(record.seconds for record in self.records) / done
            left.append(mean * (tuning.trials - done))
        if tuning.minutes:
            left.append(max(0.0, 60.0 * tuning.minutes - self._elapsed()))
        return min(left) if left else None

    # ---- messages and logs

    def _best(self) -> TrialRecord | None:
        first = ranked(self.records, self.direction)[:1]
        return first[0] if first and first[0].objective is not None else None

    def _place(self, trial: Any) -> str:
        number = list(self.oracle.trials).index(trial.trial_id) + 1
        return f"{number} of {self.config.tuning.trials}" if self.config.tuning.trials else str(number)

    def _report(self, record: TrialRecord) -> None:
        best = self._best()
        if record.objective is None:
            line = f"tune: trial {record.trial} failed after {record.seconds:.0f} s: {record.reason}"
            self.console.print(line, style="red", markup=False)
        else:
            known = "the best so far" if best == record else f"best so far {best.shown}" if best else ""
            reached = f"{self.objective} {record.shown} in {record.seconds:.0f} s"
            line = f"tune: trial {record.trial}: {reached} ({known})"
            self.console.print(line, markup=False, highlight=False)
        last = self.records[-_FAILURES_IN_A_ROW:]
        if len(last) == _FAILURES_IN_A_ROW and all(item.objective is None for item in last):
            text = f"tune: {_FAILURES_IN_A_ROW} trials in a row failed; the search goes on. Why:\n{self._reasons(last)}"
            self.console.print(text, style="bold red", markup=False)

    def _reasons(self, records: list[TrialRecord]) -> str:
        return "\n".join(f"  trial {item.trial}: {item.reason}" for item in records if item.objective is None)

    def _log(self, result: SearchResult) -> None:
        text = io.StringIO()
        Console(file=text, width=200).print(result.table())
        self.tracker.log_text(self.run_id, text.getvalue(), "trials.txt")
        records = json.dumps([asdict(item) for item in result.trials], indent=2)
        self.tracker.log_text(self.run_id, records, "trials.json")
        self.tracker.log_artifact(self.run_id, result.picture)
        self.tracker.log_artifact(self.run_id, result.config_path)
        self.tracker.log_last_metrics(self.run_id, {f"best_{self.objective}": result.winner.objective or 0.0})
        tags = {"seqapps.best_trial": result.winner.trial, "seqapps.best_run": result.winner.run_id}
        self.tracker.set_tags(self.run_id, tags)


def _parent(config: RunConfig, folder: Path, tracker: Tracker, given: str | None) -> tuple[str, bool]:
    """Returns the search's run, and whether we close it. Its id is stored beside the state, so both resume together."""
    if given is not None:
        return given, False
    run = tracker.begin(folder / "run.json", folder.name, kind="search", tags={"seqapps.folder": str(folder.resolve())})
    tracker.log_config(run.run_id, config)
    return run.run_id, True


@contextmanager
def _closed_when_interrupted(tracker: Tracker, run_id: str) -> Iterator[None]:
    """Closes a trial's run as KILLED on Ctrl-C; the trial runs again with the next call."""
    try:
        yield
    except BaseException:
        tracker.finish(run_id, "KILLED")
        raise


def _header(path: Path, best: TrialRecord, config: RunConfig, objective: str) -> str:
    tuning = config.tuning
    part = f" on {tuning.max_rows_fraction:.0%} of the batches" if tuning.max_rows_fraction < 1.0 else ""
    # With fewer epochs, or a part of the batches, the full training that follows has another figure.
    whole = not part and tuning.epochs in (0, config.training.epochs) and tuning.algorithm != "hyperband"
    again = " Trained again, it has the same figure." if whole else ""
    return (
        f"# seqapps train --config {path}\n"
        f"# Validation {objective} {best.shown} after {best.epochs} epochs{part}, in {best.seconds:.0f} s: "
        f"trial {best.trial}, the best of a {tuning.algorithm} search.{again}\n"
        f"# Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. Seed, model and training are the winner's.\n"
    )
