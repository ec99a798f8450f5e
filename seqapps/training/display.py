"""The console display of a training: a progress bar, a row for every epoch, and sample text of the model."""

from __future__ import annotations

import atexit
import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from seqapps.metrics.figures import figure
from seqapps.training.log import EpochLog, History, StepLog, TrainingPlan

_SECONDS_BETWEEN_LINES = 30.0
_FIGURE = 12
_HEADER = "epoch     loss  validation  {:>{}}      rate      |g|   clip   tokens/s     time"


class TrainingDisplay:
    """A listener that shows a training on a console; plain lines if it is not a terminal.

    Args:
        console: usually standard error.
        samples: whether to show the sample after each epoch.
    """

    def __init__(self, console: Console, *, samples: bool = True) -> None:
        self._console = console
        self._samples = samples
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._epochs = 0
        self._width = _FIGURE
        self._line_at = 0.0

    def on_start(self, plan: TrainingPlan) -> None:
        """Prints what starts, or where it resumes, and the finished epochs."""
        self._epochs, self._width = plan.epochs, max(_FIGURE, len(plan.objective))
        if plan.note:
            self._console.print(f"[yellow]{escape(plan.note)}")
        if plan.epoch or plan.step:
            done = "all epochs are done" if plan.epoch >= plan.epochs else f"epoch {plan.epoch + 1}, step {plan.step}"
            self._console.print(f"Going on from the checkpoint: {done}.")
        self._console.print(
            f"{plan.parameters:,} parameters, {plan.tokens:,} tokens in {plan.steps:,} steps an epoch, "
            f"{plan.epochs} epochs, {plan.padding:.0%} padding"
        )
        if plan.recurrence:
            self._console.print(escape(plan.recurrence))
        if plan.devices:
            self._console.print(escape(plan.devices))
        self._line(_HEADER.format(plan.objective, self._width))
        for log in plan.past:
            self._row(log)
        if self._console.is_terminal:
            self._open()

    def on_step(self, log: StepLog) -> None:
        """Advances the bar; without a terminal prints a line now and then."""
        perplexity = "" if log.perplexity is None else f"perplexity {log.perplexity:.4g}  "
        text = (
            f"loss {figure(log.loss)}  {perplexity}{log.tokens_per_second:,.0f} tokens/s  "
            f"|g| {log.gradient_norm:.3g}  {duration(log.seconds_left)} left"
        )
        if self._progress is not None and self._task is not None:
            title = f"epoch {log.epoch}/{self._epochs}"
            self._progress.update(self._task, description=title, completed=log.step, total=log.steps, figures=text)
        elif time.monotonic() - self._line_at >= _SECONDS_BETWEEN_LINES:
            self._line_at = time.monotonic()
            self._line(f"  epoch {log.epoch}/{self._epochs}  step {log.step}/{log.steps}  {text}")

    def on_epoch(self, log: EpochLog) -> None:
        """Prints the epoch's row and sample."""
        self._row(log)
        if log.non_finite_steps:
            self._console.print(f"[yellow]{log.non_finite_steps} steps were skipped: a gradient was not finite.")
        if log.sample and self._samples:
            self._console.print(f"[dim]{escape(log.sample.rstrip())}[/dim]\n", highlight=False)

    def on_end(self, history: History) -> None:
        """Prints the result."""
        self.close()
        reason = " (no improvement since)" if history.stopped == "early" else ""
        self._console.print(
            f"Best {history.objective} {history.best:.4g} after epoch {history.best_epoch} of "
            f"{len(history.epochs)}{reason}, {duration(history.seconds)}."
        )

    def close(self) -> None:
        """Releases the terminal."""
        if self._progress is not None:
            self._progress.stop()
            atexit.unregister(self._progress.stop)
            self._progress = None

    def _open(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, figures="building the graph")
        self._progress.start()
        # A process that ends inside an epoch must not leave the cursor hidden.
        atexit.register(self._progress.stop)

    def _row(self, log: EpochLog) -> None:
        best = " *" if log.best else ""
        loss, validation, objective = (figure(v, 1) for v in (log.loss, log.validation_loss, log.objective))
        self._line(
            f"{log.epoch:>5}  {loss:>7}  {validation:>10}  {objective:>{self._width}}  "
            f"{log.learning_rate:>8.2g}  {log.gradient_norm:>7.3g}  {log.clip_share:>5.0%}  "
            f"{log.tokens_per_second:>8,.0f}  {duration(log.seconds):>7}{best}"
        )

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Returns a readable duration.

    >>> duration(7.26), duration(75), duration(4000)
    ('7.3 s', '1:15', '1:06:40')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
