"""The fixed-window neural language model: units become vectors, and all before a few of them is forgotten.

    x = (E w_{t-n+1}, ..., E w_{t-1});  p(w_t | ...) = softmax(U tanh(H x + d) + b)

Source: Bengio et al. 2003, "A Neural Probabilistic Language Model", eq. 1, without the direct connections W.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, Ground
from seqapps.baselines._contexts import ages, contexts
from seqapps.config import BaselinesConfig
from seqapps.errors import RunError

if TYPE_CHECKING:
    import keras

    from seqapps.preprocessing.blocks import Ragged

_BATCH = 512
_LEARNING_RATE = 2e-3
"""Of Adam, at the first step; it falls linearly to zero at the last."""
_CHECKS = 5
"""Looks at the validation split, at least."""
_VALIDATION_UNITS = 50_000
"""Units of the validation split that a look scores, at most."""
_VALIDATION_CELLS = 1 << 27
"""Logits of a look: over 10,000 words it scores 13,000 of them, or it would cost as much as the training between."""
_CELLS = 1 << 23
"""Logits of a scoring call: 32 MiB."""

_Step = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class FixedWindow:
    """A trained model.

    Args:
        model: contexts `<int32>[B, C]` in, logits `<float32>[B, V]` out.
        description: what it is, in one line.
    """

    model: keras.Model
    description: str

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float32]:
        """Returns -log p of every unit, in nats, `<float32>[units]`."""
        return _scorer(self.model)(examples["ids"].values)


def fit(ground: Ground) -> Baseline:
    """Returns the model with the weights that were best on the validation split.

    Training ends after `baselines.fixed_window_epochs`, after `baselines.fixed_window_max_steps`, or when the
    validation split gets worse. Equal seeds give equal weights on a CPU.

    Raises:
        RunError: the loss is not finite.
    """
    config, seed = ground.config.baselines, ground.config.seed
    ids = ground.examples("train")["ids"].values
    size = ground.manifest.vocabularies["text"].size
    looked_at = min(_VALIDATION_UNITS, max(1, _VALIDATION_CELLS // size))
    held_out = ground.examples("validation")["ids"].values[:looked_at]
    model = build(config, size, seed)
    steps = min(config.fixed_window_epochs * -(-len(ids) // _BATCH), config.fixed_window_max_steps)
    done = _train(model, _batches(ids, config.fixed_window_context, seed), held_out, steps, ground.report)
    return FixedWindow(
        model,
        f"neural model of {config.fixed_window_context} units of context (Bengio et al. 2003), embedding "
        f"{config.fixed_window_embedding}, {config.fixed_window_units} tanh units, {done:,} steps of {_BATCH}",
    )


def build(config: BaselinesConfig, vocabulary_size: int, seed: int) -> keras.Model:
    """Returns the model with random weights, in float32 whatever the policy: contexts `<int32>[B, C]` to logits."""
    import keras

    initial = keras.initializers
    size = config.fixed_window_embedding
    inputs = keras.Input((config.fixed_window_context,), dtype="int32", name="contexts")
    normal = initial.RandomNormal(stddev=size**-0.5, seed=seed)
    x = keras.layers.Embedding(vocabulary_size, size, normal, dtype="float32", name="embedding")(inputs)
    x = keras.layers.Flatten(dtype="float32")(x)
    x = keras.layers.Dense(
        config.fixed_window_units,
        "tanh",
        kernel_initializer=initial.GlorotUniform(seed=seed + 1),
        dtype="float32",
        name="hidden",
    )(x)
    logits = keras.layers.Dense(
        vocabulary_size, kernel_initializer=initial.GlorotUniform(seed=seed + 2), dtype="float32", name="logits"
    )(x)
    return keras.Model(inputs, logits, name="fixed_window")


def _train(
    model: keras.Model,
    batches: Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]],
    held_out: NDArray[Any],
    steps: int,
    report: Callable[[str], None],
) -> int:
    """Trains until the validation split gets worse, leaves the best weights and returns the steps that were made."""
    import tensorflow as tf

    step, score = _step(model, steps), _scorer(model)
    best, kept = np.inf, model.get_weights()
    between = -(-steps // _CHECKS)
    for number in range(1, steps + 1):
        x, y = next(batches)
        step(tf.constant(x), tf.constant(y))
        if number % between and number != steps:
            continue
        nats = float(score(held_out).mean(dtype=np.float64))
        if not np.isfinite(nats):
            raise RunError(f"fixed_window: the loss is {nats} after {number} steps. Leave it out of baselines.names.")
        report(f"step {number:,} of {steps:,}, validation perplexity {np.exp(nats):.2f}")
        if nats >= best:
            break
        best, kept = nats, model.get_weights()
    model.set_weights(kept)
    return number


def _step(model: keras.Model, steps: int) -> _Step:
    """Returns one step of Adam as a graph: (contexts `<int32>[B, C]`, units `<int32>[B]`) to the loss before it."""
    import keras
    import tensorflow as tf

    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.PolynomialDecay(_LEARNING_RATE, steps, 0.0))
    optimizer.build(model.trainable_variables)
    signature = [tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.int32), tf.TensorSpec([None], tf.int32)]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=model(x, training=True))
            loss = tf.reduce_mean(nats)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    compiled: _Step = step
    return compiled


def _scorer(model: keras.Model) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Returns ids `<int>[units]` to -log p of each, `<float32>[units]`."""
    import tensorflow as tf

    size = int(model.inputs[0].shape[1])
    batch = min(8_192, max(64, _CELLS // int(model.outputs[0].shape[-1])))

    @tf.function(input_signature=[tf.TensorSpec([None, size], tf.int32), tf.TensorSpec([None], tf.int32)])  # type: ignore[untyped-decorator]
    def score(x: Any, y: Any) -> Any:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=model(x, training=False))

    def nats(ids: NDArray[Any]) -> NDArray[np.float32]:
        age, result = ages(ids), np.empty(len(ids), np.float32)
        for low in range(0, len(ids), batch):
            at = np.arange(low, min(low + batch, len(ids)))
            x = contexts(ids, age, at, size).astype(np.int32)
            result[at] = score(tf.constant(x), tf.constant(ids[at].astype(np.int32))).numpy()
        return result

    return nats


def _batches(ids: NDArray[Any], size: int, seed: int) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Yields (contexts, units) without end, every unit once in an epoch, in an order that the seed decides."""
    age, random = ages(ids), np.random.default_rng(seed)
    while True:
        order = random.permutation(len(ids))
        for low in range(0, len(order), _BATCH):
            at = order[low : low + _BATCH]
            yield contexts(ids, age, at, size).astype(np.int32), ids[at].astype(np.int32)
