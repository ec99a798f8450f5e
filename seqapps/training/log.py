"""The events of a training: plan, steps, epochs and end. Plain Python, so that every listener can import it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from seqapps import formats

TRAIN_AGAIN = "remove it and run `seqapps train CONFIG` again"
"""The remedy for a file of a training that cannot be read."""


@dataclass(frozen=True)
class EpochLog:
    """One pass over the training split and the validation after it.

    Args:
        epoch: counted from 1.
        steps: steps of the epoch.
        loss: mean over the training positions, with dropout and while the weights changed.
        validation_loss: of the whole validation split.
        perplexity, validation_perplexity: exp of the losses; None if the loss is not a cross entropy.
        objective: the metric that selects the best weights, on the validation split.
        best: whether it is the best so far.
        learning_rate: at the epoch's last step.
        gradient_norm, gradient_norm_max: mean and largest norm before clipping.
        clip_share: share of the steps that were clipped.
        non_finite_steps: steps that were skipped because a gradient was not finite.
        tokens_per_second: of training, without validation and graph tracing in the first step.
        seconds: of the whole epoch.
        sample: text that the model generated after it.
        clip_threshold: norm above which its last step was clipped, if adaptive (`clip` "auto"); else None.
        non_finite_first: its first skipped step, counted from 1; 0 when none was.
        gradient_norms: layer to the mean norm of its gradients before clipping.
        spectral_radii: recurrent layer to the spectral radius of its recurrent matrix (the largest of its gates), at
            the epoch's end.
    """

    epoch: int
    steps: int
    loss: float
    perplexity: float | None
    validation_loss: float
    validation_perplexity: float | None
    objective: float
    best: bool
    learning_rate: float
    gradient_norm: float
    gradient_norm_max: float
    clip_share: float
    non_finite_steps: int
    tokens_per_second: float
    seconds: float
    sample: str = ""
    clip_threshold: float | None = None
    non_finite_first: int = 0
    gradient_norms: Mapping[str, float] = field(default_factory=dict)
    spectral_radii: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StepLog:
    """The progress of training, a few times a second at most.

    Args:
        epoch: counted from 1.
        step: steps done in this epoch, of `steps`.
        loss, gradient_norm: over the steps since the last log.
        perplexity: exp(loss); None if the loss is not a cross entropy.
        learning_rate: of the last step.
        tokens_per_second: in this epoch.
        seconds_left: of the whole training, without early stopping.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    perplexity: float | None
    gradient_norm: float
    learning_rate: float
    tokens_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class TrainingPlan:
    """The plan of a training.

    Args:
        epochs, steps, tokens: number of epochs; steps and tokens per epoch.
        parameters: number of trainable parameters of the model.
        objective, direction: the metric that selects the best weights.
        epoch, step: where it starts: finished epochs, and finished steps of the next one.
        past: epochs of earlier processes.
        note: on the checkpoint that was found, for people; empty for a fresh start.
        padding: share of an epoch's positions that are padding.
        recurrence: implementation of each recurrent layer on this machine; empty when there is none.
        devices: devices that share every batch; empty without a distribution.
    """

    epochs: int
    steps: int
    tokens: int
    parameters: int
    objective: str
    direction: Literal["min", "max"]
    epoch: int = 0
    step: int = 0
    past: tuple[EpochLog, ...] = ()
    note: str = ""
    padding: float = 0.0
    recurrence: str = ""
    devices: str = ""


@dataclass(frozen=True)
class History:
    """A finished training.

    Args:
        objective, direction: name of the metric, and in which direction it improves.
        best: its best value on the validation split, reached after `best_epoch`, whose weights are in the model.
        stopped: why it ended: `epochs` (all done) or `early` (no improvement).
        parameters: number of trainable parameters of the model.
        epochs: one log per epoch.
        padding: share of an epoch's positions that were padding.
    """

    objective: str
    direction: Literal["min", "max"]
    best: float
    best_epoch: int
    stopped: Literal["epochs", "early"]
    parameters: int
    epochs: tuple[EpochLog, ...]
    padding: float = 0.0

    @property
    def seconds(self) -> float:
        """Time of all epochs."""
        return sum(epoch.seconds for epoch in self.epochs)

    def as_dict(self) -> dict[str, Any]:
        """Returns the history as JSON values."""
        return {**asdict(self), "epochs": [asdict(epoch) for epoch in self.epochs]}

    @classmethod
    def read(cls, path: Path) -> History:
        """Reads what `write` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: it is damaged, or another version of seqapps wrote it.
        """
        return formats.read(path, "history", cls, TRAIN_AGAIN)

    def write(self, path: Path) -> None:
        """Writes the history as JSON, atomically."""
        formats.write(path, "history", self.as_dict())


@dataclass(frozen=True)
class Audit:
    """The result of a passed padding audit, see `seqapps.training.padding_audit`.

    Args:
        largest: the largest difference, relative to max(1, |value|).
        outputs: number of outputs compared, over all runs.
        examples: in the batch.
        padding: share of its steps that are padding.
        seconds: time taken.
    """

    largest: float
    outputs: int
    examples: int
    padding: float
    seconds: float

    @property
    def line(self) -> str:
        """The result in one line."""
        return f"padding audit: largest difference {self.largest:.0e} in {self.outputs} outputs ({self.seconds:.1f} s)"


class Listener(Protocol):
    """Receives the events of a training, without changing it.

    After a kill, the interrupted epoch is reported again: a listener may receive an epoch twice.
    """

    def on_start(self, plan: TrainingPlan) -> None:
        """Before the first step."""
        ...

    def on_step(self, log: StepLog) -> None:
        """A few times a second at most."""
        ...

    def on_epoch(self, log: EpochLog) -> None:
        """After validation and the sample."""
        ...

    def on_end(self, history: History) -> None:
        """After the last epoch, with the best weights in the model."""
        ...


@runtime_checkable
class Closable(Protocol):
    """A listener with an open resource (a display, a file): closed when training ends, also on an error."""

    def close(self) -> None:
        """Releases the resource. Called once, last."""
        ...
