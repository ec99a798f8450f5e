"""The training loop: takes a model, batches and a configuration; sets the best weights and returns a history.

It is independent of tracker and display, which are listeners. Killed at any moment and called again, it resumes from
the last checkpoint; with `training.deterministic` it ends with the same weights, bit for bit, as if never killed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.batching import Batches
from seqapps.config import RunConfig
from seqapps.dataset.manifest import digest_of
from seqapps.errors import RunError, UsageError
from seqapps.files import write_text
from seqapps.layers.states import paths, zero_states
from seqapps.optimization.losses import PERPLEXITY, Objective, perplexity
from seqapps.optimization.optimizers import AveragedDescent, make_optimizer, no_longer_better
from seqapps.optimization.replicas import replicas_of
from seqapps.optimization.schedules import Schedule
from seqapps.optimization.spectra import recurrent_radii
from seqapps.optimization.steps import Sums, TrainingStep, ValidationStep
from seqapps.runtime import deferred
from seqapps.training import checkpoints
from seqapps.training.checkpoints import Checkpoint
from seqapps.training.log import Closable, EpochLog, History, Listener, StepLog, TrainingPlan

__all__ = [
    "PERPLEXITY", "Closable", "EpochLog", "History", "Listener", "Objective", "StepLog", "TrainingPlan", "configure",
    "scope", "train",
]  # fmt: skip

Sample = Callable[[int], str]
Judge = Callable[[keras.Model], float]

_SECONDS_BETWEEN_LOGS = 0.5
_MOST_SKIPPED = 20
# Fields that may change when a killed run is resumed: they do not affect what the next step computes.
_FREE = {"epochs", "checkpoint_minutes", "checkpoint_steps", "sample_length", "early_stopping"}


def configure(config: RunConfig) -> None:
    """Sets precision and determinism. Call it before the model is built, whose layers have seeds of their own."""
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.mixed_precision.set_global_policy(config.training.precision)


def scope(config: RunConfig) -> AbstractContextManager[Any]:
    """Returns the scope to build the model in, after `configure`: `training.distribution` replicates it per device."""
    return replicas_of(config.training.distribution).scope()


def train(  # noqa: PLR0913
    model: keras.Model,
    train: Batches,
    validation: Batches,
    config: RunConfig,
    folder: Path,
    *,
    listeners: Sequence[Listener] = (),
    sample: Sample | None = None,
    epochs: int | None = None,
    identity: str = "",
    objective: Objective = PERPLEXITY,
    judge: Judge | None = None,
) -> History:
    """Trains until the epochs are done or nothing improves; the best weights by validation are in `model` at return.

    On Ctrl-C and SIGTERM the current step is finished and a checkpoint saved.

    Writes `checkpoint.npz`, `history.json` and `samples/epoch-NNN.txt`. Called again after a kill, it resumes;
    called again after the end, it loads the best weights into the model and returns at once.

    Args:
        model: inputs as in x, and carried states; built after `configure`, in `scope`.
        train, validation: batches of the two splits.
        config: `training` and `seed` are used.
        folder: for the checkpoint and other outputs; made when missing.
        listeners: receive every log. Those that have `close()` are closed at the end, also on an error.
        sample: epoch, counted from 1, to a text that the model generates after it.
        epochs: overrides `training.epochs`.
        identity: fingerprint of data, configuration and code. A checkpoint of another identity is ignored.
        objective: the loss, and the metric that selects the best weights.
        judge: computes that metric for a model, if it does not follow from the mean loss.

    Raises:
        RunError: gradients were not finite many times in a row, or no epoch had a finite objective.
        UsageError: `training.distribution` does not support the model.
    """
    task = _Task(model, train, validation, config, folder, epochs or config.training.epochs, identity, objective, judge)
    try:
        return _Run(task).go(listeners, sample)
    finally:
        for listener in listeners:
            if isinstance(listener, Closable):
                listener.close()


@dataclass(frozen=True)
class _Task:
    """The arguments of `train`."""

    model: keras.Model
    train: Batches
    validation: Batches
    config: RunConfig
    folder: Path
    epochs: int
    identity: str
    objective: Objective
    judge: Judge | None

    def fingerprint(self) -> str:
        """Returns the fingerprint of everything that affects what a step computes."""
        settings = self.config.training
        # Rounding and dropout masks depend on the number of devices.
        devices = replicas_of(settings.distribution).count if settings.deterministic else 1
        return digest_of(
            {
                "identity": self.identity,
                "objective": self.objective.name,
                "training": settings.model_dump(mode="json", exclude=_FREE),
                # A cosine reaches zero at the last epoch; under the other schedules more epochs only continue.
                "epochs": self.epochs if settings.schedule.name == "cosine" else 0,
                "seed": self.config.seed,
                **({"devices": devices} if devices > 1 else {}),
                "batches": [self.train.steps, self.train.tokens],
                "variables": [[variable.path, list(variable.shape)] for variable in self.model.trainable_variables],
            }
        )


class _Run:
    """The state of one training, all of it in the checkpoint, and the loop that advances it."""

    def __init__(self, task: _Task) -> None:
        model, train, validation, objective = task.model, task.train, task.validation, task.objective
        self.model, self.batches, self.validation, self.objective = model, train, validation, objective
        self.settings, self.folder, self.epochs = task.config.training, task.folder, task.epochs
        self.identity = task.fingerprint()
        self.replicas = replicas_of(self.settings.distribution)
        self.replicas.prepare(model)
        with self.replicas.scope():
            self.optimizer = make_optimizer(self.settings, model.trainable_variables)
        self.train_step = TrainingStep(
            model, self.optimizer, objective, self.settings, train.dataset(0).element_spec, replicas=self.replicas
        )
        self.judged = task.judge
        self.judge = ValidationStep(model, objective, validation.dataset(0).element_spec, replicas=self.replicas)
        self.schedule = Schedule(self.settings.schedule, self.settings.learning_rate, self.epochs * train.steps)
        self.zeros_of = cache(lambda rows: zero_states(model, rows))
        self.zeros = self.zeros_of(train.batch_size)
        self.states = self.zeros
        self.epoch, self.step = 0, 0
        self.logs: list[EpochLog] = []
        self.best, self.best_loss, self.best_epoch, self.waited = math.nan, math.nan, 0, 0
        self.best_weights: list[NDArray[Any]] = []
        self.clock = _Clock()
        self.saved = time.monotonic()

    # ---- the loop

    def go(self, listeners: Sequence[Listener], sample: Sample | None) -> History:
        found = checkpoints.find(self.folder, self.identity)
        if found.checkpoint is not None:
            self._restore(found.checkpoint)
        plan = self._plan(found.note)
        for listener in listeners:
            listener.on_start(plan)
        while self.epoch < self.epochs and not self._stopped_early():
            self._take_steps(listeners)
            log = self._close_epoch(sample)
            for listener in listeners:
                listener.on_epoch(log)
            self._save()
        history = self._history()
        history.write(self.folder / "history.json")
        for variable, value in zip(self.model.weights, self.best_weights, strict=True):
            variable.assign(value)
        for listener in listeners:
            listener.on_end(history)
        return history

    def _stopped_early(self) -> bool:
        return 0 < self.settings.early_stopping <= self.waited

    def _take_steps(self, listeners: Sequence[Listener]) -> None:
        """Runs the remaining steps of the epoch. Reads the sums only now and then: reading blocks."""
        self.clock.start()
        reported, before = -math.inf, self.train_step.sums()
        with deferred() as interrupted:  # between two steps the state is consistent
            for x, y, weights in self.batches.dataset(self.epoch, self.step):
                states = self.states if self.batches.carries else self.zeros_of(weights.shape[0])
                self.states = self.train_step(x, y, weights, states, self._rate(self.step))
                self.step += 1
                if time.monotonic() - reported >= _SECONDS_BETWEEN_LOGS:
                    sums = self._look()
                    log = self._step_log(sums.since(before))
                    reported, before = time.monotonic(), sums
                    for listener in listeners:
                        listener.on_step(log)
                if self._checkpoint_is_due() or interrupted():
                    self._save()
                if interrupted():
                    break
        self._look()

    def _look(self) -> Sums:
        """Reads the sums, updates the clock, and stops a training that diverged."""
        sums = self.train_step.sums()
        # The tokens of the examples; a classifier's loss counts one per example.
        self.clock.read(self.step, self.step * self.batches.tokens / self.batches.steps)
        if sums.skipped_in_a_row >= _MOST_SKIPPED:
            settings = self.settings
            raise RunError(
                f"Training stopped at epoch {self.epoch + 1}, step {self.step}: {sums.skipped_in_a_row} steps in a row "
                f"had a loss or a gradient that is not finite. Try a lower `training.learning_rate` (received: "
                f"{settings.learning_rate:g}), a lower `training.clip_threshold` (received: "
                f'{settings.clip_threshold:g}, with clip {settings.clip!r}) or `training.precision` = "float32" '
                f"(received: {settings.precision!r})."
            )
        return sums

    def _close_epoch(self, sample: Sample | None) -> EpochLog:
        """Validates, keeps the best weights, generates a sample, and moves to the beginning of the next epoch."""
        averaging = self.optimizer if isinstance(self.optimizer, AveragedDescent) else None
        with averaging.averaged() if averaging else nullcontext():
            loss = self.judge.mean_loss(self.validation)
            value = self._value(loss)
            # If all examples are right after the first epoch, only the loss shows the confidence of a model.
            tied = value == self.best and loss < self.best_loss
            improved = tied or self.objective.better(value, self.best)
            if improved:
                self.best, self.best_loss, self.best_epoch, self.waited = value, loss, self.epoch + 1, 0
                self.best_weights = [np.array(variable) for variable in self.model.weights]
            else:
                self.waited += 1
            log = self._epoch_log(loss, value, improved, self._sample(sample))
        self.schedule.end_epoch(improved)
        self.logs.append(log)
        if averaging and not averaging.averages:
            values = [log.objective for log in self.logs]
            if no_longer_better(values, self.settings.nonmonotone, self.objective.direction):
                averaging.start()
                self.waited = 0
        self.epoch, self.step, self.states = self.epoch + 1, 0, self.zeros
        self.train_step.clear()
        self.clock = _Clock()
        return log

    def _value(self, loss: float) -> float:
        if self.judged is not None:
            return self.judged(self.model)
        if self.objective.figure is None:
            raise UsageError(f"train: {self.objective.name} does not follow from the loss; hand over `judge`.")
        return self.objective.figure(loss)

    def _rate(self, step: int) -> float:
        return self.schedule.rate(self.epoch * self.batches.steps + step, self.epoch)

    # ---- the checkpoint

    def _checkpoint_is_due(self) -> bool:
        if self.settings.checkpoint_steps:
            return (self.epoch * self.batches.steps + self.step) % self.settings.checkpoint_steps == 0
        return time.monotonic() - self.saved >= 60.0 * self.settings.checkpoint_minutes

    def _save(self) -> None:
        groups = {
            "model": self.model.variables,  # with the state of every dropout seed generator
            "optimizer": self.optimizer.variables,
            "sums": self.train_step.variables,
            "state": [self.states[name] for name in self.zeros],
            "best": self.best_weights,
        }
        arrays = {
            f"{name}/{index}": np.asarray(item) for name, items in groups.items() for index, item in enumerate(items)
        }
        meta = {
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "waited": self.waited,
            "schedule": self.schedule.state(),
            "seconds": self.clock.seconds,
            "logs": [asdict(log) for log in self.logs],
        }
        checkpoints.save(self.folder, Checkpoint(self.identity, arrays, meta))
        self.saved = time.monotonic()

    def _restore(self, checkpoint: Checkpoint) -> None:
        meta = checkpoint.meta
        variables = [*self.model.variables, *self.optimizer.variables, *self.train_step.variables]
        values = [*checkpoint.group("model"), *checkpoint.group("optimizer"), *checkpoint.group("sums")]
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self.replicas.prepare(self.model)
        self.states = {
            name: tf.constant(value) for name, value in zip(self.zeros, checkpoint.group("state"), strict=True)
        }
        self.best_weights = checkpoint.group("best")
        self.epoch, self.step = meta["epoch"], meta["step"]
        self.best, self.best_epoch, self.waited = meta["best"], meta["best_epoch"], meta["waited"]
        self.best_loss = meta["best_loss"]
        self.schedule.restore(meta["schedule"])
        self.clock = _Clock(meta["seconds"])
        self.logs = [EpochLog(**log) for log in meta["logs"]]

    # ---- the logs

    def _plan(self, note: str) -> TrainingPlan:
        return TrainingPlan(
            epochs=self.epochs,
            steps=self.batches.steps,
            tokens=self.batches.tokens,
            parameters=_parameters(self.model),
            objective=self.objective.name,
            direction=self.objective.direction,
            epoch=self.epoch,
            step=self.step,
            past=tuple(self.logs),
            note=note,
            padding=self.batches.padding,
            recurrence=paths(self.model),
            devices=self.replicas.line if self.settings.distribution == "mirrored" else "",
        )

    def _step_log(self, recent: Sums) -> StepLog:
        left = (self.epochs - self.epoch) * self.batches.steps - self.step
        return StepLog(
            epoch=self.epoch + 1,
            step=self.step,
            steps=self.batches.steps,
            loss=recent.mean_loss,
            perplexity=self._perplexity(recent.mean_loss),
            gradient_norm=recent.mean_norm,
            learning_rate=self._rate(self.step - 1),
            tokens_per_second=self.clock.tokens_per_second,
            seconds_left=left * self.clock.seconds_per_step,
        )

    def _epoch_log(self, validation_loss: float, value: float, improved: bool, sample: str) -> EpochLog:
        sums = self.train_step.sums()
        return EpochLog(
            epoch=self.epoch + 1,
            steps=self.batches.steps,
            loss=sums.mean_loss,
            perplexity=self._perplexity(sums.mean_loss),
            validation_loss=validation_loss,
            validation_perplexity=self._perplexity(validation_loss),
            objective=value,
            best=improved,
            learning_rate=self._rate(self.step - 1),
            gradient_norm=sums.mean_norm,
            gradient_norm_max=sums.norm_max,
            clip_share=sums.clipped / max(1, sums.taken),
            non_finite_steps=sums.skipped,
            tokens_per_second=self.clock.tokens_per_second,
            seconds=self.clock.seconds,
            sample=sample,
            clip_threshold=self.train_step.automatic_threshold,
            non_finite_first=sums.first_skipped,
            gradient_norms=sums.mean_layer_norms,
            spectral_radii=recurrent_radii(self.model),
        )

    def _perplexity(self, loss: float) -> float | None:
        """Returns exp(loss) if the objective is a perplexity."""
        return perplexity(loss) if self.objective.name == "perplexity" else None

    def _sample(self, sample: Sample | None) -> str:
        if sample is None:
            return ""
        text = sample(self.epoch + 1)
        path = self.folder / "samples" / f"epoch-{self.epoch + 1:03d}.txt"
        write_text(path, text)
        return text

    def _history(self) -> History:
        if not self.best_weights:
            raise RunError(
                f"No epoch of {len(self.logs)} gave a finite {self.objective.name} on the validation split. "
                f"Try a lower `training.learning_rate` (received: {self.settings.learning_rate:g})."
            )
        return History(
            objective=self.objective.name,
            direction=self.objective.direction,
            best=self.best,
            best_epoch=self.best_epoch,
            stopped="early" if self._stopped_early() and self.epoch < self.epochs else "epochs",
            parameters=_parameters(self.model),
            epochs=tuple(self.logs),
            padding=self.batches.padding,
        )


class _Clock:
    """Time of one epoch. The first step of a process is excluded from the speed: it traces the graph."""

    def __init__(self, earlier: float = 0.0) -> None:
        self._earlier = earlier
        self._started = time.monotonic()
        self._first: tuple[float, int, float] | None = None
        self._last = (self._started, 0, 0.0)

    @property
    def seconds(self) -> float:
        """Seconds of the epoch, including those before a kill."""
        return self._earlier + time.monotonic() - self._started

    def start(self) -> None:
        """Starts the clock before the steps."""
        self._started = time.monotonic()

    def read(self, step: int, tokens: float) -> None:
        """Records the time after a step."""
        self._last = (time.monotonic(), step, tokens)
        self._first = self._first or self._last

    @property
    def seconds_per_step(self) -> float:
        """Mean over the steps after the first; of the first when it is the only one."""
        time_0, step_0, _ = self._first or self._last
        time_1, step_1, _ = self._last
        return (time_1 - time_0) / (step_1 - step_0) if step_1 > step_0 else time_1 - self._started

    @property
    def tokens_per_second(self) -> float:
        """Mean over the steps after the first; of the first when it is the only one."""
        time_0, _, tokens_0 = self._first or self._last
        time_1, _, tokens_1 = self._last
        if tokens_1 > tokens_0 and time_1 > time_0:
            return (tokens_1 - tokens_0) / (time_1 - time_0)
        return tokens_1 / max(time_1 - self._started, 1e-9)


def _parameters(model: keras.Model) -> int:
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)
