"""Our recurrent layers beside Keras': the same arguments, weights and inputs; outputs, states and gradients of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.testing import assert_allclose

from seqapps.layers import recurrent as layers

Mode = Literal["eager", "any shape", "one shape", "jit"]
"""How a layer is called: at once; in a graph for any B and T, or for one shape; in a graph that XLA compiles."""

KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "simple_rnn": (keras.layers.SimpleRNN, layers.SimpleRNN, {}),
    "lstm": (keras.layers.LSTM, layers.LSTM, {}),
    "gru_after": (keras.layers.GRU, layers.GRU, {}),
    "gru_before": (keras.layers.GRU, layers.GRU, {"reset_after": False}),
}
TOLERANCES = {"float64": 1e-9, "float32": 2e-5, "mixed_float16": 3e-2, "mixed_bfloat16": 2e-1}
"""By dtype, of the largest number of each result. In half precision ours computes in float32, Keras' does not."""


@dataclass(frozen=True)
class Case:
    """One layer and one call.

    Args:
        kind: of `KINDS`.
        units, rows, steps, inputs: D, B, T and F.
        options: of both layers.
        both: a `merge_mode` of `Bidirectional` (`none` is None); empty for one direction.
        mask: `none`, `right`, `left`, `holes` or `empty`.
        states: whether initial states are given.
        training: of the call.
        mode: see `Mode`.
        calls: how often it is called; what a layer remembers is compared, too.
        seed: of weights and inputs.
    """

    kind: str
    units: int = 4
    rows: int = 3
    steps: int = 5
    inputs: int = 3
    options: dict[str, Any] = field(default_factory=dict)
    both: str = ""
    mask: str = "none"
    states: bool = False
    training: bool = True
    mode: Mode = "eager"
    calls: int = 1
    seed: int = 0

    @property
    def dtype(self) -> str:
        """Name of the dtype policy."""
        return str(self.options.get("dtype", "float32"))


def pair(case: Case) -> tuple[Any, Any]:
    """Returns Keras' layer and ours, with the same random weights."""
    theirs, ours, own = KINDS[case.kind]
    made = [kind(case.units, **own, **case.options) for kind in (theirs, ours)]
    if case.both:
        mode = None if case.both == "none" else case.both
        made = [keras.layers.Bidirectional(layer, merge_mode=mode) for layer in made]
    shape = (case.rows if case.options.get("stateful") else None, None, case.inputs)
    random = np.random.default_rng(case.seed)
    for layer in made:
        layer.build(shape)
    made[0].set_weights([random.normal(0.0, 0.5, weight.shape) for weight in made[0].weights])
    made[1].set_weights(made[0].get_weights())
    return made[0], made[1]


def mask_of(case: Case) -> Any:
    """Returns `<bool>[B, T]`; None for no mask. Rows of `right`, `left` and `holes` may be empty."""
    random, places = np.random.default_rng(case.seed + 1), np.arange(case.steps)
    lengths = random.integers(0, case.steps + 1, (case.rows, 1))
    kinds = {
        "none": None,
        "right": places < lengths,
        "left": places >= case.steps - lengths,
        "holes": random.random((case.rows, case.steps)) < 0.6,
        "empty": np.zeros((case.rows, case.steps), bool),
    }
    return kinds[case.mask]


def results(layer: Any, case: Case) -> list[Any]:
    """Returns outputs and states of every call, and the gradients of the last one, as they come."""
    random = np.random.default_rng(case.seed + 2)
    dtype = keras.DTypePolicy(case.dtype).compute_dtype

    def draw(*shape: int) -> Any:
        return tf.cast(random.normal(0.0, 1.0, shape), dtype)

    inner = layer.forward_layer if case.both else layer
    count = (2 if case.kind == "lstm" else 1) * (2 if case.both else 1)
    states = [draw(case.rows, case.units) for _ in range(count if case.states else 0)]
    x, mask = draw(case.rows, case.steps, case.inputs), mask_of(case)
    mask = tf.constant(mask if mask is not None else np.ones((case.rows, case.steps), bool))

    def run(x: Any, mask: Any, *states: Any) -> Any:
        weights = [weight.value for weight in layer.trainable_weights]
        with tf.GradientTape() as tape:
            tape.watch([x, *states])
            options = {"mask": mask} if case.mask != "none" else {}
            found = layer(x, initial_state=list(states) or None, training=case.training, **options)
            outputs = keras.tree.flatten(found)
            loss = tf.add_n([_asked(place, output) for place, output in enumerate(outputs)])
        return outputs, tape.gradient(loss, [x, *states, *weights])

    called = _called(run, case, x, mask, states)
    computed: list[Any] = []
    for _ in range(case.calls):
        outputs, gradients = called(x, mask, *states)
        computed += outputs
    remembered = list(inner.states or []) if inner.stateful else []
    return [*computed, *remembered, *gradients]


def _asked(place: int, output: Any) -> Any:
    """A loss that asks something else of every number of an output.

    What grows over the steps (ReLU) is made small first: the sine of a large number has no digit left in float32.
    """
    output = tf.cast(output, tf.float64 if output.dtype == tf.float64 else tf.float32)
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(tf.concat([tf.reshape(output, [-1]), [1.0]], 0))))
    output = output / largest
    return (place + 1.0) * tf.reduce_mean(tf.sin(3.0 * output) + output)


def _called(run: Callable[..., Any], case: Case, x: Any, mask: Any, states: list[Any]) -> Callable[..., Any]:
    if case.mode == "eager":
        return run
    rows: int | None = case.rows
    steps: int | None = case.steps
    if case.mode == "any shape":
        # A stateful layer must know its rows.
        rows, steps = rows if case.options.get("stateful") else None, None
    free = (rows, steps)
    signature = [tf.TensorSpec((*free, case.inputs), x.dtype), tf.TensorSpec(free, tf.bool)]
    signature += [tf.TensorSpec((free[0], case.units), state.dtype) for state in states]
    return tf.function(run, autograph=False, input_signature=signature, jit_compile=case.mode == "jit")  # type: ignore[no-any-return]


def conforms(case: Case) -> None:
    """Asserts that ours outputs what Keras' outputs; where Keras' raises an error, ours does.

    Raises:
        AssertionError: it does not.
    """
    theirs, ours = pair(case)
    try:
        expected = results(theirs, case)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        try:
            results(ours, case)
        except (ValueError, TypeError, tf.errors.OpError):
            return
        raise AssertionError(f"{case}: Keras' layer raises {error}; ours does not") from error
    found = results(ours, case)
    assert len(found) == len(expected), case
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert (one is None) == (other is None), (case, place)
        if other is None:
            continue
        assert one.dtype == other.dtype, (case, place)
        mine, keras_own = (np.asarray(keras.ops.cast(value, "float64")) for value in (one, other))
        scale = max(1.0, float(np.abs(keras_own).max(initial=0.0)))
        assert_allclose(mine / scale, keras_own / scale, atol=TOLERANCES[case.dtype], err_msg=f"{case}, result {place}")


def curves_as_keras(kind: str, in_a_graph: bool) -> None:
    """Asserts that the gradient of a gradient's norm is that of Keras' layer.

    Args:
        kind: of `KINDS`.
        in_a_graph: whether it is taken in a graph, over many steps, which is a loop; else at once, over few.
    """
    options = {"return_sequences": True, "return_state": True, "go_backwards": in_a_graph}
    shape = (4, 70 if in_a_graph else 6)
    given, mask = np.random.default_rng(1).normal(size=(*shape, 3)), np.random.default_rng(2).random(shape) < 0.7

    def run(layer: Any) -> Any:
        x, weights = tf.constant(given, tf.float32), [weight.value for weight in layer.trainable_weights]
        with tf.GradientTape() as second:
            second.watch(x)
            with tf.GradientTape() as first:
                first.watch(x)
                sequence, *states = layer(x, mask=tf.constant(mask))
                loss = tf.reduce_sum(tf.square(sequence)) + tf.add_n([tf.reduce_sum(tf.sin(s)) for s in states])
            norm = tf.reduce_sum(tf.square(first.gradient(loss, x)))
        return second.gradient(norm, [x, *weights])

    layers_of_both = pair(Case(kind, options=options))
    theirs, ours = ((tf.function(run, autograph=False) if in_a_graph else run)(layer) for layer in layers_of_both)
    for one, other in zip(ours, theirs, strict=True):
        scale = max(1.0, float(tf.reduce_max(tf.abs(other))))
        assert_allclose(one / scale, other / scale, atol=2e-5)


def hessian_as_keras(kind: str) -> None:
    """Asserts that the Hessian by `GradientTape.jacobian`, all rows at once, is that of Keras' layer."""
    given, mask = np.random.default_rng(3).normal(size=(2, 4, 3)), np.array([[True] * 4, [True, True, False, True]])

    def run(layer: Any) -> Any:
        x = tf.constant(given, tf.float32)
        with tf.GradientTape() as second:
            second.watch(x)
            with tf.GradientTape() as first:
                first.watch(x)
                loss = tf.reduce_sum(tf.square(layer(x, mask=tf.constant(mask))))
            slope = first.gradient(loss, x)
        return second.jacobian(slope, x)

    theirs, ours = map(run, pair(Case(kind, options={"go_backwards": True})))
    assert_allclose(ours, theirs, atol=2e-5)


def model_of(module: Any, **more: Any) -> keras.Model:
    """Returns a functional model of every kind of layer, bare and wrapped, with the same weights for any module.

    Args:
        module: `keras.layers`, or ours.
        more: arguments of layers of ours.
    """
    own = more if module is layers else {}
    inputs = keras.Input((None, 3))
    x = keras.layers.Masking()(inputs)
    x = keras.layers.Bidirectional(module.LSTM(4, return_sequences=True, seed=1, dropout=0.2, **own))(x)
    x = module.GRU(4, "tanh", return_sequences=True, reset_after=False, go_backwards=True)(x)
    x, last = module.GRU(4, return_sequences=True, return_state=True)(x)
    x = module.LSTM(4, return_sequences=True)(x, initial_state=[last, last])
    wrapped = keras.Sequential([module.SimpleRNN(4, activation="relu", seed=2)])
    model = keras.Model(inputs, keras.layers.Dense(1)(wrapped(x)))
    random = np.random.default_rng(3)
    model.set_weights([random.normal(0.0, 0.4, weight.shape) for weight in model.get_weights()])
    return model


def padded() -> Any:
    """Returns rows for it, `<float32>[4, 6, 3]`, of several lengths; one is empty."""
    x = np.random.default_rng(4).normal(size=(4, 6, 3)).astype(np.float32)
    x[1, 4:] = x[2, 1:] = x[3] = 0.0
    return x


def trains_as_keras(make: Callable[[Any], keras.Model], **mode: Any) -> None:
    """Asserts that `fit` ends with the weights that Keras' layers end with; the last batch is smaller.

    Args:
        make: a model of a module's layers.
        mode: of `compile`.
    """
    x, y = np.concatenate([padded(), padded()[:1]]), np.arange(5.0)[:, None]
    trained = []
    for module in (keras.layers, layers):
        model = make(module)
        model.compile("sgd", "mse", **mode)
        model.fit(x, y, batch_size=2, epochs=2, shuffle=False, verbose=0)
        trained.append(model.get_weights())
    for one, other in zip(*trained, strict=True):
        assert_allclose(one, other, atol=1e-4)
