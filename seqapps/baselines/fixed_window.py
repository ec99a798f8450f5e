"""The fixed-window neural language model: embeddings of the last few tokens, without memory beyond them.

    x = (E w_{t-n+1}, ..., E w_{t-1});  p(w_t | ...) = softmax(U tanh(H x + d) + b)

Source: Bengio et al. 2003, "A Neural Probabilistic Language Model", eq. 1, without the direct connections W.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext
from seqapps.baselines._contexts import ages, contexts
from seqapps.config import BaselinesConfig
from seqapps.errors import RunError
from seqapps.seeds import seed_of

if TYPE_CHECKING:
    import keras

from seqapps.dataset.ragged import Ragged

APPLICATIONS = ("language_model",)
RANK = 30

_BATCH = 512
_LEARNING_RATE = 2e-3
"""Learning rate of Adam; it decays to zero over the last steps."""
_LOOKS = 2
"""Evaluations on the validation split per epoch."""
_FEWEST_LOOKS = 6
"""Before the rate decays: on little data, the first steps may improve the loss by less than its standard error."""
_STEPS_BETWEEN = 1_000
"""Maximum number of steps between two evaluations."""
_VALIDATION_TOKENS = 50_000
"""Maximum number of validation tokens that an evaluation scores."""
_VALIDATION_CELLS = 1 << 27
"""Logits of an evaluation: over 10,000 words it scores 13,000 tokens, or it would cost as much as the training."""
_CELLS = 1 << 23
"""Logits of a scoring call: 32 MiB."""

_Step = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class FixedWindow:
    """A trained model.

    Args:
        model: contexts `<int32>[B, C]` in, logits `<float32>[B, V]` out.
        description: what it is, in one line.
        converged: whether training converged before a cap of steps.
    """

    model: keras.Model
    description: str
    converged: bool

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[np.float32]:
        """Returns -log p of every token, in nats, `<float32>[tokens]`."""
        return _scorer(self.model)(examples["ids"].values)


def fit(context: BaselineContext) -> Baseline:
    """Returns the model with the weights that were best on the validation split.

    The learning rate is constant until half as many steps again have improved the validation loss by less than its
    standard error, then decays to zero over half as many steps as were made. `baselines.fixed_window_epochs` and
    `baselines.fixed_window_max_steps` are caps: if one of them comes first, the model has not converged. Training is
    deterministic for a seed on a CPU.

    Raises:
        RunError: the loss is not finite.
    """
    config, seed = context.config.baselines, context.config.seed
    ids = context.examples("train")["ids"].values
    size = context.manifest.vocabularies["text"].size
    looked_at = min(_VALIDATION_TOKENS, max(1, _VALIDATION_CELLS // size))
    held_out = context.examples("validation")["ids"].values[:looked_at]
    model = build(config, size, seed)
    an_epoch = -(-len(ids) // _BATCH)
    most = min(config.fixed_window_epochs * an_epoch, config.fixed_window_max_steps)
    between = max(1, min(an_epoch // _LOOKS, _STEPS_BETWEEN))
    batches = _batches(ids, config.fixed_window_context, seed_of(seed, "fixed_window", "order"))
    training = _Training(model, batches, held_out, context.report)
    done, converged = training.run(most, between)
    return FixedWindow(
        model,
        f"neural model of {config.fixed_window_context} tokens of context (Bengio et al. 2003), embedding "
        f"{config.fixed_window_embedding}, {config.fixed_window_units} tanh units, {done:,} steps of {_BATCH}",
        converged,
    )


def build(config: BaselinesConfig, vocabulary_size: int, seed: int) -> keras.Model:
    """Returns the model with random weights, in float32 whatever the policy: contexts `<int32>[B, C]` to logits."""
    import keras

    initial = keras.initializers
    size = config.fixed_window_embedding
    inputs = keras.Input((config.fixed_window_context,), dtype="int32", name="contexts")
    normal = initial.RandomNormal(stddev=size**-0.5, seed=seed_of(seed, "fixed_window", "embedding"))
    x = keras.layers.Embedding(vocabulary_size, size, normal, dtype="float32", name="embedding")(inputs)
    x = keras.layers.Flatten(dtype="float32")(x)
    x = keras.layers.Dense(
        config.fixed_window_units,
        "tanh",
        kernel_initializer=initial.GlorotUniform(seed=seed_of(seed, "fixed_window", "hidden")),
        dtype="float32",
        name="hidden",
    )(x)
    logits = keras.layers.Dense(
        vocabulary_size,
        kernel_initializer=initial.GlorotUniform(seed=seed_of(seed, "fixed_window", "logits")),
        dtype="float32",
        name="logits",
    )(x)
    return keras.Model(inputs, logits, name="fixed_window")


class _Training:
    """A training run.

    Args:
        model: that is trained.
        batches: contexts and tokens, without end.
        held_out: tokens of the validation split that an evaluation scores.
        report: callback that takes a progress message.
    """

    def __init__(
        self,
        model: keras.Model,
        batches: Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]],
        held_out: NDArray[Any],
        report: Callable[[str], None],
    ) -> None:
        self._model, self._batches, self._held_out, self._report = model, batches, held_out, report
        self._step, self._score = _step(model), _scorer(model)
        self._done = 0
        self._looks: list[tuple[int, float]] = []  # steps that were made, and the best nats so far
        self._error = np.inf
        self._kept = model.get_weights()

    def run(self, most: int, between: int) -> tuple[int, bool]:
        """Trains, restores the best weights, and returns the number of steps and whether training converged."""
        before = max(1, 2 * most // 3)
        while self._done < before and not self._is_level():
            self._take(min(between, before - self._done), _LEARNING_RATE, _LEARNING_RATE)
        level = self._is_level()
        self._model.set_weights(self._kept)
        high, falling = self._done, min(-(-self._done // 2), most - self._done)
        while self._done < high + falling:
            low, steps = self._done - high, min(between, high + falling - self._done)
            rates = [_LEARNING_RATE * (1.0 - at / falling) for at in (low, low + steps)]
            self._take(steps, *rates)
        self._model.set_weights(self._kept)
        return self._done, level

    def _is_level(self) -> bool:
        """Returns whether the last third of the steps improved the loss by less than the standard error."""
        earlier = [best for steps, best in self._looks if 3 * steps <= 2 * self._done]
        return len(self._looks) >= _FEWEST_LOOKS and earlier[-1] - self._looks[-1][1] < self._error

    def _take(self, steps: int, first: float, last: float) -> None:
        """Takes steps with a learning rate from `first` to `last`, then evaluates on the validation split."""
        import tensorflow as tf

        for number in range(steps):
            x, y = next(self._batches)
            self._step(tf.constant(x), tf.constant(y), tf.constant(first + (last - first) * number / steps))
        self._done += steps
        scores = self._score(self._held_out).astype(np.float64)
        nats = float(scores.mean())
        if not np.isfinite(nats):
            raise RunError(
                f"fixed_window: the loss is {nats} after {self._done} steps. Leave it out of baselines.names."
            )
        self._report(f"step {self._done:,}, validation perplexity {np.exp(nats):.2f}")
        best = self._looks[-1][1] if self._looks else np.inf
        if nats < best:
            best, self._kept = nats, self._model.get_weights()
            self._error = float(scores.std() / np.sqrt(len(scores)))
        self._looks.append((self._done, best))


def _step(model: keras.Model) -> _Step:
    """Returns one Adam step as a graph: contexts `<int32>[B, C]`, tokens `<int32>[B]`, rate to the loss before it."""
    import keras
    import tensorflow as tf

    optimizer = keras.optimizers.Adam(_LEARNING_RATE)
    optimizer.build(model.trainable_variables)
    signature = [
        tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.int32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([], tf.float32),
    ]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def step(x: Any, y: Any, rate: Any) -> Any:
        optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=model(x, training=True))
            loss = tf.reduce_mean(nats)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    compiled: _Step = step
    return compiled


def _scorer(model: keras.Model) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Returns ids `<int>[tokens]` to -log p of each, `<float32>[tokens]`."""
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
    """Yields (contexts, tokens) indefinitely, every token once per epoch, in a seeded random order."""
    age, random = ages(ids), np.random.default_rng(seed)
    while True:
        order = random.permutation(len(ids))
        for low in range(0, len(order), _BATCH):
            at = order[low : low + _BATCH]
            yield contexts(ids, age, at, size).astype(np.int32), ids[at].astype(np.int32)
