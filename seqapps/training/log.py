"""What a training tells: the plan, steps, epochs and the end. Plain Python, so that every listener can import it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from seqapps.files import write_json


@dataclass(frozen=True)
class EpochLog:
    """One pass over the training split and the validation after it.

    Args:
        epoch: counted from 1.
        steps: steps of the epoch.
        loss: mean over the positions that training saw, with dropout and while the weights moved.
        validation_loss: of the whole validation split.
        perplexity, validation_perplexity: exp of the losses; None where the loss is no cross entropy.
        objective: the figure that the best weights are kept by, on the validation split.
        best: whether it is the best so far.
        learning_rate: of the epoch's last step.
        gradient_norm, gradient_norm_max: mean and largest norm before clipping.
        clip_share: share of the steps that were clipped.
        non_finite_steps: steps that were skipped because a gradient was not finite.
        tokens_per_second: of training, without validation and without the first step's tracing.
        seconds: of the whole epoch.
        sample: what the model wrote after it.
        clip_threshold: norm above which its last step was clipped, where that moves (`clip` "auto"); else None.
        non_finite_first: its first step that was skipped, counted from 1; 0 when none was.
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
    """Where training is, a few times a second at most.

    Args:
        epoch: counted from 1.
        step: steps done in this epoch, of `steps`.
        loss, gradient_norm: over the steps since the last log.
        perplexity: exp(loss); None where the loss is no cross entropy.
        learning_rate: of the last step.
        tokens_per_second: in this epoch.
        seconds_left: of the whole training, if no epoch stops it early.
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
    """What a training is about to do.

    Args:
        epochs, steps, tokens: epochs; steps and tokens of one.
        parameters: trainable numbers of the model.
        objective, direction: the figure that the best weights are kept by.
        epoch, step: where it begins: epochs done, and steps done of the next one.
        past: epochs that an earlier process has done.
        note: what was found in the folder, for people; empty for a fresh start.
        padding: share of an epoch's positions that are padding.
        recurrence: how each recurrent layer goes through time on this machine; empty when there is none.
        devices: which devices share every batch; empty without a distribution.
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
        objective, direction: name of the figure, and which way it improves.
        best: its best value on the validation split, reached after `best_epoch`, whose weights are in the model.
        stopped: why it ended: `epochs` (all done) or `early` (no improvement).
        parameters: trainable numbers of the model.
        epochs: one log an epoch.
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
    def from_dict(cls, values: Mapping[str, Any]) -> History:
        """Returns what `as_dict` gave."""
        return cls(**{**values, "epochs": tuple(EpochLog(**epoch) for epoch in values["epochs"])})

    def write(self, path: Path) -> None:
        """Writes the history as JSON, atomically."""
        write_json(path, self.as_dict())


class Listener(Protocol):
    """Whoever wants to know how a training goes. It changes nothing in the training.

    After a kill, the epoch that was under way is told again: a listener may hear of an epoch twice.
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
    """A listener that holds something open (a display, a file): closed when training ends, also by an error."""

    def close(self) -> None:
        """Lets go. Called once, last."""
        ...
