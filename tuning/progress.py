"""The progress display of a search: the trial, its progress, the best so far, the time left."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from seqapps.metrics.figures import figure
from tuning.trials import TrialRecord


class SearchDisplay:
    """One live line on a terminal, or a few if it is narrow; a listener of every trial's training.

    Args:
        console: shows it.
        objective: the metric that ranks trials.
    """

    def __init__(self, console: Console, objective: str) -> None:
        self._console, self._objective = console, objective
        # Wrapped on a narrow terminal: truncation would cut the figures.
        columns = (
            TextColumn("{task.description}", table_column=Column(no_wrap=False)),
            BarColumn(12),
            TextColumn("{task.fields[now]}", table_column=Column(no_wrap=False)),
        )
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task("tune", total=None, now="")
        self._epochs = 1

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, trial: str, place: str, best: TrialRecord | None, seconds_left: float | None) -> None:
        """Shows that a trial starts."""
        parts = [f"tune: trial {place}"]
        if best is not None:
            parts.append(f"best so far {best.shown} (trial {best.trial})")
        if seconds_left is not None:
            parts.append(f"about {_duration(seconds_left)} left")
        line = ", ".join(parts)
        self._progress.reset(self._task, description=line, total=None, now="building the model")
        if not self._console.is_terminal:
            self._console.print(line, highlight=False)

    def on_start(self, plan: Any) -> None:
        """Takes the number of steps."""
        self._epochs = plan.epochs
        self._progress.update(self._task, total=plan.epochs * plan.steps, completed=plan.epoch * plan.steps + plan.step)

    def on_step(self, log: Any) -> None:
        """Advances the bar."""
        done = (log.epoch - 1) * log.steps + log.step
        now = f"epoch {log.epoch}/{self._epochs}, training loss {figure(log.loss)}"
        self._progress.update(self._task, completed=done, now=now)

    def on_epoch(self, log: Any) -> None:
        """Shows the epoch's figure."""
        now = f"epoch {log.epoch}/{self._epochs}, validation {self._objective} {figure(log.objective, 1)}"
        self._progress.update(self._task, completed=log.epoch * log.steps, now=now)

    def on_end(self, history: Any) -> None:
        """Does nothing: the trial's line follows."""


def _duration(seconds: float) -> str:
    if seconds < 90.0:
        return f"{seconds:.0f} s"
    minutes = seconds / 60.0
    return f"{minutes:.0f} min" if minutes < 90.0 else f"{minutes / 60.0:.1f} h"
