"""Loss functions. Padding is masked by the sample weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import tensorflow as tf

from seqapps.errors import RunError
from seqapps.layers.adaptive_softmax import AdaptiveSoftmax

if TYPE_CHECKING:
    import keras

_FUSED_FROM = 1_000
"""Classes from which compiling the cross entropy (0.25 s for each number of positions) pays off."""


@dataclass(frozen=True)
class Objective:
    """A loss, and the metric that is reported and selects the best weights.

    Args:
        name: of the metric (`perplexity`).
        direction: in which the metric improves.
        loss: (outputs of the model, y) to the loss of each position, `<float32>[B, T]`, or example, `<float32>[B]`: the
            same shape as the weights.
        figure: the weighted mean loss of a split to the metric; None where it is not a function of the loss, and the
            application computes its own metric.
        training_loss: the training loss, where it differs (label smoothing); not used in validation.
    """

    name: str
    direction: Literal["min", "max"]
    loss: Callable[[Mapping[str, Any], Any], Any]
    figure: Callable[[float], float] | None
    training_loss: Callable[[Mapping[str, Any], Any], Any] | None = None

    def better(self, value: float, best: float) -> bool:
        """Returns whether a value improves on the best so far (nan: none yet); only a finite one can."""
        if not math.isfinite(value):
            return False
        return math.isnan(best) or (value < best if self.direction == "min" else value > best)


def weighted(losses: Any, y: Any, weights: Any) -> Any:
    """Returns losses times weights of the same shape: broadcasting would mix the weights of different examples.

    Args:
        losses: of each position or example, as returned by an objective.
        y: the targets, for the error message.
        weights: `<float32>[B]` or `<float32>[B, T]`.

    Raises:
        RunError: the shapes differ, because y has an axis too many (`[B, 1]`) or too few.
    """
    if not losses.shape.is_compatible_with(weights.shape):
        targets = ", ".join(str(part.shape) for part in tf.nest.flatten(y))
        raise RunError(
            f"A loss must have the shape of the weights. Received: {losses.shape} from y {targets}, and weights "
            f"{weights.shape}. Allowed as y: [B] for a class or a number of each row, [B, T] for one of each step "
            "(weights alike), [B, C] and [B, T, C] where the loss takes the last axis away. Remedy: the `batches` of "
            "the application; `y[:, 0]` makes [B] of [B, 1]."
        )
    return losses * weights


def cross_entropy(logits: Any, targets: Any, smoothing: float = 0.0) -> Any:
    """Returns -log softmax(logits)[target] of each position, in nats. Any float in, float32 out.

    The same value and gradient as `SparseSoftmaxCrossEntropyWithLogits`, in about a third of its time on a CPU for
    10,000 classes: the softmax is computed once, and the gradient is the softmax less one at the target. With many
    classes and a static number of positions, XLA compiles both passes, and the softmax is never written to memory.

    Args:
        logits: `<float>[..., V]`.
        targets: `<int32>[...]`, in [0, V).
        smoothing: share of the target's probability that is spread uniformly over all V classes (Szegedy et al. 2016,
            "Rethinking the Inception Architecture", section 7): the mean of -log p over all classes has this weight,
            that of the target the rest.

    Returns:
        `<float32>[...]`.
    """
    classes = logits.shape[-1]
    flat = tf.reshape(tf.cast(logits, tf.float32), (-1, classes))
    index = tf.reshape(tf.cast(targets, tf.int32), (-1,))
    return tf.reshape(_cross_entropy(flat, index, smoothing), tf.shape(targets))


def _cross_entropy(logits: Any, targets: Any, smoothing: float) -> Any:
    """`<float32>[N, V], <int32>[N] -> <float32>[N]`."""
    spread = smoothing / logits.shape[-1]
    fused = logits.shape[0] is not None and logits.shape[1] >= _FUSED_FROM

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def nats_of(logits: Any) -> Any:
        probabilities = None
        if fused:
            normalizer = _log_sum_exp(logits)
        else:
            probabilities = tf.nn.softmax(logits)
            # The largest probability is 1 / sum(exp(logits - largest)): the logarithm of the sum without a second exp.
            normalizer = tf.reduce_max(logits, axis=1) - tf.math.log(tf.reduce_max(probabilities, axis=1))
        expected = (1.0 - smoothing) * tf.gather(logits, targets, batch_dims=1)
        if smoothing:
            expected += spread * tf.reduce_sum(logits, axis=1)

        def gradient(upstream: Any) -> Any:
            if probabilities is None:
                return _slopes(logits, normalizer, targets, upstream, tf.constant(smoothing))
            places = tf.stack([tf.range(tf.shape(targets)[0]), targets], axis=1)
            rest = probabilities - spread if smoothing else probabilities
            return tf.tensor_scatter_nd_sub(rest * upstream[:, None], places, (1.0 - smoothing) * upstream)

        return normalizer - expected, gradient

    return nats_of(logits)


@tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]
def _log_sum_exp(logits: Any) -> Any:
    """`<float32>[N, V] -> <float32>[N]`, without an array of the exponentials."""
    largest = tf.reduce_max(logits, axis=1)
    return largest + tf.math.log(tf.reduce_sum(tf.exp(logits - largest[:, None]), axis=1))


@tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]
def _slopes(logits: Any, normalizer: Any, targets: Any, upstream: Any, smoothing: Any) -> Any:
    """Returns the gradient of the cross entropy, `<float32>[N, V]`, read and written once."""
    classes = logits.shape[1]
    hit = tf.range(classes)[None, :] == targets[:, None]
    wanted = smoothing / classes + tf.where(hit, 1.0 - smoothing, 0.0)
    return (tf.exp(logits - normalizer[:, None]) - wanted) * upstream[:, None]


def perplexity(nats: float) -> float:
    """Returns exp(nats); infinity on overflow."""
    return math.exp(nats) if nats < 700.0 else math.inf


def adaptive_cross_entropy(softmax: AdaptiveSoftmax, x: Any, targets: Any) -> Any:
    """Returns -log p of each target in nats. A tail is computed only at positions whose targets it contains.

    Args:
        softmax: the output layer.
        x: hidden vector of each position, `<float>[..., D]`.
        targets: `<int32>[...]`, in [0, V).

    Returns:
        `<float32>[...]`.
    """
    shape = tf.shape(targets)
    places = None if None in x.shape[:-1] else math.prod(x.shape[:-1])  # if static, the cross entropy is compiled
    x, targets = tf.reshape(x, (places or -1, x.shape[-1])), tf.reshape(tf.cast(targets, tf.int32), (-1,))
    inside = [(targets >= low) & (targets < high) for low, high in softmax.tails]
    first = targets
    for place, rare in enumerate(inside):
        first = tf.where(rare, softmax.cutoffs[0] + place, first)
    kernels = softmax.kernels()
    nats = cross_entropy(softmax.scores(0, x, kernels), first)
    for part, ((low, _), rare) in enumerate(zip(softmax.tails, inside, strict=True), 1):
        where = tf.where(rare)
        scores = softmax.scores(part, tf.gather_nd(x, where), kernels)
        found = cross_entropy(scores, tf.gather_nd(targets, where) - low)
        nats = tf.tensor_scatter_nd_add(nats, where, found)
    return tf.reshape(nats, shape)


PERPLEXITY = Objective(
    name="perplexity",
    direction="min",
    loss=lambda outputs, y: cross_entropy(outputs["logits"], y),
    figure=perplexity,
)
"""Cross entropy of `logits` against y; the metric is exp of the nats per token."""


def perplexity_of(model: keras.Model) -> Objective:
    """Returns `PERPLEXITY` for a model; with an adaptive softmax it uses the output `context`."""
    softmax = next((layer for layer in model.layers if isinstance(layer, AdaptiveSoftmax)), None)
    if softmax is None:
        return PERPLEXITY
    return replace(PERPLEXITY, loss=lambda outputs, y: adaptive_cross_entropy(softmax, outputs["context"], y))
