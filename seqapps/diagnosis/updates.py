"""Effect of one training step on each variable. The model is not changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.config import TrainingConfig
from seqapps.diagnosis.capture import Batch
from seqapps.diagnosis.results import Variable
from seqapps.layers.states import zero_states
from seqapps.optimization.losses import Objective
from seqapps.optimization.optimizers import make_optimizer
from seqapps.optimization.steps import TrainingStep


def variables_of(  # noqa: PLR0913 - what a step is made of
    model: keras.Model,
    batch: Batch,
    objective: Objective,
    config: TrainingConfig,
    *,
    gradients: Sequence[Any],
    remembered: Sequence[NDArray[Any]] = (),
) -> list[Variable]:
    """Takes one training step as configured, with dropout and clipping, and reverts it.

    Args:
        model: the model.
        batch: of the step.
        objective: the loss.
        config: optimizer, learning rate and clipping.
        gradients: of the trainable variables, before clipping; None where there is none.
        remembered: variables of the optimizer after training, so that this is not its first step.
    """
    signature = tf.nest.map_structure(lambda value: tf.TensorSpec(value.shape, value.dtype), batch)
    optimizer = make_optimizer(config, model.trainable_variables)
    if [tuple(variable.shape) for variable in optimizer.variables] == [array.shape for array in remembered]:
        for variable, array in zip(optimizer.variables, remembered, strict=True):
            variable.assign(array)
    before = [np.array(variable) for variable in model.variables]
    values = [np.array(variable) for variable in model.trainable_variables]
    try:
        step = TrainingStep(model, optimizer, objective, config, signature)
        step(*batch, zero_states(model, int(batch[2].shape[0])), config.learning_rate)
        moved = [np.array(variable) for variable in model.trainable_variables]
    finally:
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)
    return [
        Variable(
            name=variable.path,
            numbers=int(value.size),
            norm=_norm(value),
            gradient=0.0 if gradient is None else _norm(np.asarray(gradient)),
            update=_norm(after - value),
        )
        for variable, value, after, gradient in zip(model.trainable_variables, values, moved, gradients, strict=True)
    ]


def _norm(values: NDArray[Any]) -> float:
    return float(np.linalg.norm(values.astype(np.float64)))
