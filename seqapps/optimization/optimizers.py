"""Optimizers with TensorFlow's fused kernels, and gradient clipping. The arithmetic is that of Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import tensorflow as tf

from seqapps.config import TrainingConfig


@dataclass(frozen=True)
class Clipping:
    """The result of clipping; gradients are multiplied by `factors` where they are applied.

    Args:
        norm: over all parameters, before clipping, `<float32>[]`.
        factors: multiplier of each gradient, `<float32>[]` each.
        clipped: whether any factor is below one, `<bool>[]`.
        squares: of each gradient's own norm, times the square of the loss scale, `<float32>[]` each.
    """

    norm: Any
    factors: list[Any]
    clipped: Any
    squares: list[Any]


def clipping(
    gradients: Sequence[Any],
    how: Literal["global_norm", "norm", "auto", "none"],
    threshold: float | Callable[[Any], Any],
    scale: Any = 1.0,
) -> Clipping:
    """Returns the norm of the gradients and the factors that scale them to the threshold.

    `global_norm`: g * threshold / max(||g||, threshold), ||g|| over all parameters. Source: Pascanu et al. 2013,
    "On the difficulty of training recurrent neural networks", algorithm 1. `auto`: the same, with a threshold
    computed from past norms. `norm`: each variable separately.

    Args:
        gradients: `<float32>` tensors, or rows of them (see `rows_once`), of `scale` times the loss.
        how: which norm is clipped.
        threshold: the largest norm after clipping; for `auto`, a function of the norm before clipping.
        scale: the loss scale, removed by the factors.
    """
    squares = [2.0 * tf.nn.l2_loss(gradient.values if by_rows(gradient) else gradient) for gradient in gradients]
    norm = tf.sqrt(in_order(squares)) / scale
    if callable(threshold):
        # The first norms, and so the threshold, may be 0: no division by the threshold.
        threshold = tf.maximum(threshold(norm), 1e-30)
    if how == "norm":
        norms = [tf.sqrt(square) / scale for square in squares]
        factors = [threshold / tf.maximum(each, threshold) for each in norms]
        clipped = tf.reduce_max(tf.stack(norms)) > threshold
    elif how in ("global_norm", "auto"):
        factors = [threshold / tf.maximum(norm, threshold)] * len(squares)
        clipped = norm > threshold
    else:
        factors, clipped = [tf.constant(1.0)] * len(squares), tf.constant(False)
    return Clipping(norm, [factor / scale for factor in factors], clipped, squares)


def in_order(values: Sequence[Any]) -> Any:
    """Returns the sum of tensors of one shape, added in order.

    `tf.add_n` starts with the first input whose buffer it can reuse: which one depends on the timing of other threads,
    and so does the last bit of the sum.
    """
    return tf.reduce_sum(tf.stack(values), axis=0)


def by_rows(gradient: Any) -> bool:
    """Whether a gradient is sparse (`tf.IndexedSlices`), as that of an embedding."""
    return isinstance(gradient, tf.IndexedSlices)


def rows_once(gradient: Any) -> Any:
    """Returns `tf.IndexedSlices` without duplicate rows: their gradients are summed."""
    rows, places = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


class Optimizer(Protocol):
    """Updates variables by their gradients."""

    variables: list[Any]
    """The optimizer's state."""

    takes_rows: bool
    """Whether gradients may be sparse, without duplicate rows; otherwise all are dense."""

    def apply(self, gradients: Sequence[Any], factors: Sequence[Any], rate: Any) -> None:
        """Takes one step inside a graph. `factors` multiply the gradients, `rate <float32>[]` is the learning rate."""
        ...


class Adam:
    """Adam with bias correction, AdamW with `weight_decay`, and lazy Adam, which skips rows without a gradient.

    Lazy: the embedding of a word that is not in the batch keeps its weights and moments; Adam would update it by the
    decaying moments. The powers of the betas count all steps, as for every other variable.

    Source: Kingma & Ba 2015, algorithm 1 in the order of its section 2; Loshchilov & Hutter 2019, algorithm 2.

    Args:
        targets: the variables to update.
        weight_decay: decay factor, times the learning rate, of every variable before the step.
        lazy: whether gradients may be sparse.
    """

    def __init__(
        self,
        targets: Sequence[Any],
        *,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-7,
        lazy: bool = False,
    ) -> None:
        self.takes_rows = lazy
        self._targets = [_resource(target) for target in targets]
        self._steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._means = _slots(self._targets)
        self._squares = _slots(self._targets)
        self._decay, self._betas, self._epsilon = weight_decay, betas, epsilon
        self.variables = [self._steps, *self._means, *self._squares]

    def apply(self, gradients: Sequence[Any], factors: Sequence[Any], rate: Any) -> None:
        step = tf.cast(self._steps.assign_add(1), tf.float32)
        beta_1, beta_2 = (tf.constant(beta) for beta in self._betas)
        powers = tf.pow(beta_1, step), tf.pow(beta_2, step)
        for target, mean, square, gradient, factor in zip(
            self._targets, self._means, self._squares, gradients, factors, strict=True
        ):
            if self._decay:
                target.assign_sub(target * (self._decay * rate))
            if by_rows(gradient):
                fading = rate * tf.sqrt(1.0 - powers[1]) / (1.0 - powers[0])
                self._move_rows((target, mean, square), gradient.indices, gradient.values * factor, fading)
                continue
            tf.raw_ops.ResourceApplyAdam(
                var=target.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=beta_1,
                beta2=beta_2,
                epsilon=self._epsilon,
                grad=gradient * factor,
            )

    def _move_rows(self, variables: tuple[Any, Any, Any], rows: Any, gradient: Any, rate: Any) -> None:
        """Updates some rows of a variable and of its moments; `rate` includes the bias correction."""
        (target, mean, square), (beta_1, beta_2) = variables, self._betas
        moved = tf.gather(mean, rows) * beta_1 + gradient * (1.0 - beta_1)
        squared = tf.gather(square, rows) * beta_2 + tf.square(gradient) * (1.0 - beta_2)
        tf.raw_ops.ResourceScatterUpdate(resource=mean.handle, indices=rows, updates=moved)
        tf.raw_ops.ResourceScatterUpdate(resource=square.handle, indices=rows, updates=squared)
        step = rate * moved / (tf.sqrt(squared) + self._epsilon)
        tf.raw_ops.ResourceScatterSub(resource=target.handle, indices=rows, updates=step)


class GradientDescent:
    """Stochastic gradient descent, v <- momentum v - rate g, w <- w + v. Sparse gradients without momentum."""

    def __init__(self, targets: Sequence[Any], *, momentum: float = 0.0) -> None:
        self._targets = [_resource(target) for target in targets]
        self._momentum, self.takes_rows = momentum, not momentum
        self._speeds = _slots(self._targets) if momentum else []
        self.variables = list(self._speeds)

    def apply(self, gradients: Sequence[Any], factors: Sequence[Any], rate: Any) -> None:
        for index, (target, gradient, factor) in enumerate(zip(self._targets, gradients, factors, strict=True)):
            if self._momentum:
                tf.raw_ops.ResourceApplyKerasMomentum(
                    var=target.handle,
                    accum=self._speeds[index].handle,
                    lr=rate * factor,
                    grad=gradient,
                    momentum=self._momentum,
                )
            elif by_rows(gradient):
                moved = gradient.values * (rate * factor)
                tf.raw_ops.ResourceScatterSub(resource=target.handle, indices=gradient.indices, updates=moved)
            else:
                tf.raw_ops.ResourceApplyGradientDescent(var=target.handle, alpha=rate * factor, delta=gradient)


class AveragedDescent:
    """Averaged stochastic gradient descent (ASGD): once started, it keeps the mean of the weights of every step.

    w <- w - rate (g + decay w);  mean <- mean + (w - mean) / k,  k steps since `start`. Training continues from w.

    Source: Polyak & Juditsky 1992; Merity et al. 2017, "Regularizing and Optimizing LSTM Language Models", sec. 3.
    """

    def __init__(self, targets: Sequence[Any], *, weight_decay: float = 0.0) -> None:
        self._targets, self._decay = [_resource(target) for target in targets], weight_decay
        self._descent = GradientDescent(targets)
        self.takes_rows = self._descent.takes_rows
        self._on = tf.Variable(False, trainable=False)
        self._steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._means = _slots(self._targets)
        self.variables = [self._on, self._steps, *self._means]

    @property
    def averages(self) -> bool:
        """Whether averaging has begun."""
        return bool(self._on.numpy())

    def start(self) -> None:
        """Starts averaging with the next step."""
        self._on.assign(True)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Sets the variables to the means, if there are any, and restores the weights at the end."""
        if not self._steps.numpy():
            yield
            return
        kept = [target.numpy() for target in self._targets]
        for target, mean in zip(self._targets, self._means, strict=True):
            target.assign(mean)
        try:
            yield
        finally:
            for target, value in zip(self._targets, kept, strict=True):
                target.assign(value)

    def apply(self, gradients: Sequence[Any], factors: Sequence[Any], rate: Any) -> None:
        if self._decay:
            for target in self._targets:
                target.assign_sub(target * (self._decay * rate))
        self._descent.apply(gradients, factors, rate)

        def average() -> Any:
            steps = tf.cast(self._steps.assign_add(1), tf.float32)
            for target, mean in zip(self._targets, self._means, strict=True):
                mean.assign_add((target - mean) / tf.cast(steps, mean.dtype))
            return tf.constant(True)

        tf.cond(self._on, average, lambda: tf.constant(False))


def no_longer_better(values: Sequence[float], nonmonotone: int, direction: Literal["min", "max"]) -> bool:
    """Returns whether the last value is worse than the best one more than `nonmonotone` values before it.

    Source: Merity et al. 2017, algorithm 1: v > min over l of logs[l], l up to t - n.
    """
    earlier = values[: -1 - nonmonotone]
    if not earlier:
        return False
    return values[-1] > min(earlier) if direction == "min" else values[-1] < max(earlier)


def make_optimizer(config: TrainingConfig, targets: Sequence[Any]) -> Optimizer:
    """Returns the configured optimizer of some variables."""
    if config.optimizer == "nt_asgd":
        return AveragedDescent(targets, weight_decay=config.weight_decay)
    if config.optimizer == "sgd":
        return GradientDescent(targets, momentum=config.momentum)
    return Adam(targets, weight_decay=config.weight_decay, lazy=config.optimizer == "lazy_adam")


def _resource(variable: Any) -> Any:
    """Returns the TensorFlow variable behind a Keras variable."""
    return variable if isinstance(variable, tf.Variable) else variable.value


def _slots(targets: Sequence[Any]) -> list[Any]:
    return [tf.Variable(tf.zeros(target.shape, target.dtype), trainable=False) for target in targets]
