"""Training and validation steps, each one graph. Sums are kept in variables, so that no step has to be read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seqapps.config import TrainingConfig
from seqapps.layers.states import state_sizes, zero_states
from seqapps.optimization.auto_clip import AutoThreshold
from seqapps.optimization.losses import Objective, weighted
from seqapps.optimization.optimizers import Clipping, Optimizer, by_rows, clipping, in_order, rows_once
from seqapps.optimization.replicas import ONE, Replicas
from seqapps.optimization.spectra import layer_of

# Float16 gradients below 6e-8 underflow: losses are scaled by a power of two that grows until an overflow.
_FIRST_SCALE = 2.0**15
_STEPS_TO_GROW = 2_000


@dataclass(frozen=True)
class Sums:
    """Sums over the steps of an epoch.

    Args:
        loss: weighted sum of the positions' losses, over the steps that were taken.
        tokens: sum of their weights.
        norm: sum of the gradient norms before clipping; `norm_max` the largest.
        taken, clipped, skipped: steps that updated the weights, were clipped, had a non-finite gradient.
        skipped_in_a_row: how many of the last steps were skipped.
        first_skipped: the first step that was skipped, counted from 1 since `clear`; 0 when none was.
        layer_norms: layer to the sum of the norms of its gradients before clipping, since `clear`.
    """

    loss: float
    tokens: float
    norm: float
    taken: int
    clipped: int
    skipped: int
    norm_max: float
    skipped_in_a_row: int
    first_skipped: int = 0
    layer_norms: Mapping[str, float] = field(default_factory=dict)

    def since(self, before: Sums) -> Sums:
        """Returns the sums of the steps after `before`; maxima and runs are as they are now."""
        return Sums(
            self.loss - before.loss,
            self.tokens - before.tokens,
            self.norm - before.norm,
            self.taken - before.taken,
            self.clipped - before.clipped,
            self.skipped - before.skipped,
            self.norm_max,
            self.skipped_in_a_row,
            self.first_skipped,
            self.layer_norms,
        )

    @property
    def mean_loss(self) -> float:
        """Mean loss of a position; nan when there was none."""
        return self.loss / self.tokens if self.tokens else float("nan")

    @property
    def mean_layer_norms(self) -> dict[str, float]:
        """Layer to the mean norm of its gradients; empty when no step was taken."""
        return {name: norm / self.taken for name, norm in self.layer_norms.items()} if self.taken else {}

    @property
    def mean_norm(self) -> float:
        """Mean gradient norm of a step; nan when no step was taken."""
        return self.norm / self.taken if self.taken else float("nan")


class TrainingStep:
    """Updates a model on one batch.

    A step whose loss or gradient is not finite is skipped and counted; it returns zero states in place of non-finite
    ones.

    Args:
        model: inputs named as in x, and the carried states.
        optimizer: of the model's trainable variables.
        objective: the loss.
        config: clipping, reduction and precision.
        signature: `element_spec` of the batches.
        replicas: the devices; model and optimizer were made in their scope.
    """

    def __init__(  # noqa: PLR0913 - what a step is made of
        self,
        model: keras.Model,
        optimizer: Optimizer,
        objective: Objective,
        config: TrainingConfig,
        signature: Any,
        *,
        replicas: Replicas = ONE,
    ) -> None:
        self._replicas = replicas
        self._model, self._optimizer, self._objective, self._config = model, optimizer, objective, config
        self._sums = tf.Variable(tf.zeros(6, tf.float64), trainable=False)
        self._norm_max = tf.Variable(0.0, trainable=False)
        self._run = tf.Variable(0, trainable=False)
        self._scaled = config.precision == "mixed_float16"
        self._scale = tf.Variable(_FIRST_SCALE if self._scaled else 1.0, trainable=False)
        self._grown = tf.Variable(0, trainable=False)
        self._first_skipped = tf.Variable(0, trainable=False)
        self._layers: dict[str, list[int]] = {}
        for index, variable in enumerate(model.trainable_variables):
            self._layers.setdefault(layer_of(variable), []).append(index)
        self._layer_norms = tf.Variable(tf.zeros(len(self._layers), tf.float64), trainable=False)
        self.variables = [
            self._sums, self._norm_max, self._run, self._scale, self._grown, self._first_skipped, self._layer_norms,
        ]  # fmt: skip
        self._threshold: float | AutoThreshold = config.clip_threshold
        if config.clip == "auto":
            self._threshold = AutoThreshold(config.clip_percentile)
            self.variables += self._threshold.variables
        rate = tf.TensorSpec((), tf.float32)
        states = state_signature(model, signature)
        self._graph = tf.function(self._step, input_signature=(*signature, states, rate), autograph=False)

    def __call__(self, x: Mapping[str, Any], y: Any, weights: Any, states: Mapping[str, Any], rate: float) -> Any:
        """Takes the step and returns the states after it. `rate` is the learning rate."""
        return self._graph(x, y, weights, states, tf.constant(rate, tf.float32))

    def sums(self) -> Sums:
        """Returns the sums since `clear`; blocks until the last step is done."""
        loss, tokens, norm, taken, clipped, skipped = (float(value) for value in self._sums.numpy())
        largest, run = float(self._norm_max.numpy()), int(self._run.numpy())
        first = int(self._first_skipped.numpy())
        layers = dict(zip(self._layers, (float(norm) for norm in self._layer_norms.numpy()), strict=True))
        return Sums(loss, tokens, norm, int(taken), int(clipped), int(skipped), largest, run, first, layers)

    @property
    def automatic_threshold(self) -> float | None:
        """The clipping threshold of the last step for clip "auto"; None for others."""
        return self._threshold.value if isinstance(self._threshold, AutoThreshold) else None

    def clear(self) -> None:
        """Resets the sums for an epoch, except for steps skipped in a row."""
        self._sums.assign(tf.zeros_like(self._sums))
        self._norm_max.assign(0.0)
        self._first_skipped.assign(0)
        self._layer_norms.assign(tf.zeros_like(self._layer_norms))

    def _step(self, x: Any, y: Any, weights: Any, states: Any, rate: Any) -> Any:
        run, divisor = self._replicas.run, self._divisor(weights)
        parts = self._replicas.split((x, y, weights, states))
        totals, gradients, after = zip(*run(self._gradients, [(*part, divisor) for part in parts]), strict=True)
        total = in_order(totals)
        # All devices have the same gradients by now: the first one decides for all.
        found = clipping(gradients[0], self._config.clip, self._threshold, self._scale)
        finite = tf.math.is_finite(found.norm) & tf.math.is_finite(total)
        run(self._move, [(own, found.factors, finite, rate) for own in gradients])
        self._count(finite, total, tf.reduce_sum(weights), found)
        if self._scaled:
            self._rescale(finite)
        good, rows = tf.math.is_finite(total), tf.shape(weights)[0]
        last = {name: self._replicas.joined([own[name] for own in after], rows) for name in states}
        return {name: tf.where(good, state, tf.zeros_like(state)) for name, state in last.items()}

    def _gradients(self, x: Any, y: Any, weights: Any, states: Any, divisor: Any) -> Any:
        """Returns a device's share of the loss, the gradients of the whole batch, and the states after its rows."""
        variables = [variable.value for variable in self._model.trainable_variables]
        with tf.GradientTape() as tape:
            outputs = self._model({**x, **states}, training=True)
            losses = self._objective.training_loss or self._objective.loss
            total = tf.reduce_sum(weighted(losses(outputs, y), y, weights))
            added = in_order([tf.constant(0.0), *self._model.losses])  # losses of layers, such as penalties
            loss = (total / divisor + added) * self._scale
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return total, self._replicas.sums([*map(self._dense, gradients)]), {name: outputs[name] for name in states}

    def _dense(self, gradient: Any) -> Any:
        """Returns a dense gradient; a sparse one where the optimizer and a single device support it."""
        if by_rows(gradient) and self._optimizer.takes_rows and self._replicas.count == 1:
            return rows_once(gradient)
        return tf.convert_to_tensor(gradient)

    def _move(self, gradients: Any, factors: Any, finite: Any, rate: Any) -> Any:
        def move() -> Any:
            self._optimizer.apply(gradients, factors, rate)
            return tf.constant(True)

        return tf.cond(finite, move, lambda: tf.constant(False))

    def _divisor(self, weights: Any) -> Any:
        """Number of weighted positions (`token`) or examples (`sequence`) of the batch; at least one."""
        if self._config.reduction == "token":
            return tf.maximum(tf.reduce_sum(weights), 1.0)
        rows = tf.reduce_max(tf.reshape(weights, (tf.shape(weights)[0], -1)), axis=1)
        return tf.maximum(tf.reduce_sum(tf.cast(rows > 0.0, tf.float32)), 1.0)

    def _count(self, finite: Any, total: Any, tokens: Any, found: Clipping) -> None:
        norm = found.norm
        taken = tf.stack([total, tokens, norm, 1.0, tf.cast(found.clipped, tf.float32), 0.0])
        skipped = tf.constant([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
        sums = self._sums.assign_add(tf.cast(tf.where(finite, taken, skipped), tf.float64))
        first = tf.where(self._first_skipped > 0, self._first_skipped, tf.cast(sums[3] + sums[5], tf.int32))
        self._first_skipped.assign(tf.where(finite, self._first_skipped, first))
        self._norm_max.assign(tf.where(finite, tf.maximum(self._norm_max, norm), self._norm_max))
        self._run.assign(tf.where(finite, 0, self._run + 1))
        self._count_layers(finite, found.squares)

    def _count_layers(self, finite: Any, squares: list[Any]) -> None:
        """Adds up the norm of each layer's gradients."""
        sums = tf.stack([in_order([squares[index] for index in indices]) for indices in self._layers.values()])
        norms = tf.cast(tf.sqrt(sums) / self._scale, tf.float64)
        self._layer_norms.assign_add(tf.where(finite, norms, tf.zeros_like(norms)))

    def _rescale(self, finite: Any) -> None:
        """Halves the loss scale after an overflow, doubles it after many steps without one."""
        grown = tf.where(finite, self._grown + 1, 0)
        doubled = tf.where(grown >= _STEPS_TO_GROW, self._scale * 2.0, self._scale)
        self._scale.assign(tf.where(finite, doubled, tf.maximum(self._scale / 2.0, 1.0)))
        self._grown.assign(tf.where(grown >= _STEPS_TO_GROW, 0, grown))


class ValidationStep:
    """Computes the loss of a model on batches, without updating it. Arguments as for `TrainingStep`."""

    def __init__(self, model: keras.Model, objective: Objective, signature: Any, *, replicas: Replicas = ONE) -> None:
        self._model, self._objective, self._replicas = model, objective, replicas
        self._sums = tf.Variable(tf.zeros(2, tf.float64), trainable=False)
        states = state_signature(model, signature)
        self._graph = tf.function(self._step, input_signature=(*signature, states), autograph=False)

    def mean_loss(self, batches: Any) -> float:
        """Returns the weighted mean loss over all batches of a split, exactly; carries states where the batches do."""
        self._sums.assign(tf.zeros_like(self._sums))
        zeros_of = cache(lambda rows: zero_states(self._model, rows))
        states = zeros_of(batches.batch_size)
        for x, y, weights in batches.dataset(0):
            states = self._graph(x, y, weights, states if batches.carries else zeros_of(weights.shape[0]))
        loss, tokens = self._sums.numpy()
        return float(loss / np.maximum(tokens, 1e-300))

    def _step(self, x: Any, y: Any, weights: Any, states: Any) -> Any:
        found = self._replicas.run(self._losses, self._replicas.split((x, y, weights, states)))
        self._sums.assign_add(in_order([sums for sums, _ in found]))
        rows = tf.shape(weights)[0]
        return {name: self._replicas.joined([after[name] for _, after in found], rows) for name in states}

    def _losses(self, x: Any, y: Any, weights: Any, states: Any) -> Any:
        """Returns the sums of the losses and of the weights, `<float64>[2]`, and the states after the rows."""
        outputs = self._model({**x, **states}, training=False)
        losses = tf.cast(weighted(self._objective.loss(outputs, y), y, weights), tf.float64)
        sums = tf.stack([tf.reduce_sum(losses), tf.reduce_sum(tf.cast(weights, tf.float64))])
        return sums, {name: outputs[name] for name in states}


def state_signature(model: keras.Model, signature: Any) -> dict[str, Any]:
    """Returns the TensorSpecs of the carried states, for the rows of a batch signature."""
    rows = signature[2].shape[0]
    return {name: tf.TensorSpec((rows, size), tf.float32) for name, size in state_sizes(model).items()}
