"""All measurements of one model on one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.batching import Batches
from seqapps.config import RunConfig, TrainingConfig
from seqapps.diagnosis import gates, matrices, unrolling
from seqapps.diagnosis.capture import Batch, Call, capture
from seqapps.diagnosis.results import Clipping, Diagnosis, Jacobian, Layer
from seqapps.diagnosis.updates import variables_of
from seqapps.diagnosis.verdicts import judge
from seqapps.optimization.losses import Objective
from seqapps.training.log import History

ROWS, SAMPLES = 16, 6
"""Number of examples of a batch that are examined, and of steps sampled for Jacobians."""
_CANDIDATES = 8


@dataclass(frozen=True)
class Past:
    """Artifacts of a finished run.

    Args:
        history: of its training.
        optimizer: state of its optimizer.
    """

    history: History | None = None
    optimizer: Sequence[NDArray[Any]] = ()


def examine(  # noqa: PLR0913 - what a diagnosis is made of
    model: keras.Model,
    batches: Batches,
    objective: Objective,
    config: RunConfig,
    *,
    past: Past | None = None,
    at: tuple[int, int] | None = None,
) -> Diagnosis:
    """Returns the diagnosis of a model on a batch of the training split.

    Args:
        model: built from `config`; it is not changed.
        batches: of the training split.
        objective: the loss.
        config: of the run.
        past: artifacts of the run; None for an untrained model.
        at: epoch and step, counted from 1; None: the longest batch of the first few.

    Raises:
        IndexError: the epoch has no such step.
    """
    place, whole = _choose(batches, at)
    batch = _rows(whole, ROWS)
    found = capture(model, batch, objective)
    owned = {id(weight) for call in found.calls for weight in call.layer.weights}
    history = None if past is None else past.history
    gradients = [gradient for gradient in found.gradients if gradient is not None]
    diagnosis = Diagnosis(
        model="initial" if past is None else "trained",
        batch=place,
        rows=int(batch[2].shape[0]),
        loss=found.loss,
        finite=math.isfinite(found.loss) and all(bool(np.isfinite(gradient).all()) for gradient in gradients),
        layers=tuple(examine_layer(call) for call in found.calls),
        variables=tuple(
            variables_of(
                model,
                batch,
                objective,
                config.training,
                gradients=found.gradients,
                remembered=() if past is None else past.optimizer,
            )
        ),
        clipping=None if history is None else clipping_of(history, config.training),
        unexamined=tuple(
            f"{weight.path}: no recurrent layer owns it (its cell is called step by step by another layer), so its "
            "gradient over time is not known"
            for weight in model.trainable_variables
            if weight.name == "recurrent_kernel" and id(weight) not in owned
        ),
    )
    return diagnosis.model_copy(update={"verdicts": tuple(judge(diagnosis, config))})


def examine_layer(call: Call) -> Layer:
    """Returns the measurements of one recurrent layer; its notes list what could not be examined."""
    layer, cell = call.layer, call.layer.cell
    units = int(call.outputs[0].shape[-1])
    known: dict[str, Any] = {
        "name": str(layer.name),
        "cell": type(cell).__name__,
        "units": units,
        "backwards": bool(layer.go_backwards),
        "matrices": tuple(matrices.recurrent_matrices(cell)),
    }
    try:
        steps = unrolling.unroll(call)
    except (ValueError, TypeError, AttributeError, NotImplementedError, tf.errors.InvalidArgumentError) as error:
        nothing: dict[str, Any] = {"seed": "random", "gradient": (0.0,), "states": {}, "lengths": (0,)}
        return Layer(**known, **nothing, notes=(f"not examined: {str(error).splitlines()[0]}",))
    gradient, states, lengths = unrolling.gradient_over_time(steps)
    samples = SAMPLES if sum(state.shape[-1] for state in steps.states) <= 1024 else 2
    norms = unrolling.jacobian_norms(cell, steps, samples)
    values, why = gates.gates_of(cell, steps)
    names = matrices.state_names(cell, len(states))
    return Layer(
        **known,
        seed=steps.seed,
        gradient=_plain(gradient),
        states={name: _plain(curve) for name, curve in zip(names, states, strict=True)},
        lengths=tuple(int(count) for count in lengths),
        jacobians=tuple(Jacobian(distance=distance, norm=norm) for distance, norm in norms),
        gates=tuple(gates.summary(values)),
        time_constants=gates.time_constants(values),
        dead=unrolling.dead_units(steps),
        notes=tuple(note for note in (why, "" if norms else "its state is too large for Jacobians") if note),
    )


def clipping_of(history: History, config: TrainingConfig) -> Clipping:
    """Returns clipping statistics from the epochs of a run."""
    logs = history.epochs
    thresholds = [log.clip_threshold for log in logs if log.clip_threshold is not None]
    threshold = thresholds[-1] if thresholds else config.clip_threshold if config.clip != "none" else None
    steps = max(1, sum(log.steps for log in logs))
    largest = max(log.gradient_norm_max for log in logs)
    return Clipping(
        how=config.clip,
        threshold=threshold,
        share=sum(log.clip_share * log.steps for log in logs) / steps,
        last=logs[-1].clip_share,
        mean=sum(log.gradient_norm * log.steps for log in logs) / steps,
        largest=largest,
        hardest=1.0 if threshold is None or largest <= threshold else threshold / largest,
        skipped=sum(log.non_finite_steps for log in logs),
        skipped_at=tuple((log.epoch, log.non_finite_first) for log in logs if log.non_finite_first),
    )


def _choose(batches: Batches, at: tuple[int, int] | None) -> tuple[tuple[int, int], Batch]:
    """Returns a batch of an epoch, and its position."""
    if at is not None:
        epoch, step = at
        for batch in batches.dataset(epoch - 1, step - 1):
            return at, batch
        raise IndexError(f"epoch {epoch} has no step {step}: its steps are 1 to {batches.steps}")
    first = list(batches.dataset(0).take(_CANDIDATES))
    sizes = [max(sum(value.shape[1:2]) for value in batch[0].values()) for batch in first]
    chosen = int(np.argmax(sizes))
    return (1, chosen + 1), first[chosen]


def _rows(batch: Batch, count: int) -> Batch:
    """Returns the first examples of a batch with a non-zero weight."""
    x, y, weights = batch
    real = np.flatnonzero(np.asarray(weights).reshape(len(weights), -1).any(axis=1))
    chosen = real[:count] if len(real) else np.arange(min(count, len(weights)))
    kept: Batch = tf.nest.map_structure(lambda value: tf.gather(value, chosen), (dict(x), y, weights))
    return kept


def _plain(curve: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(float(f"{value:.4g}") for value in curve)
