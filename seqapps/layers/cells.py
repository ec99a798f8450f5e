"""Recurrent cells with options that Keras' lack: leaky units, deep transitions, skips in time, layer normalisation.

Pure Keras, for `keras.layers.RNN`. A cell without any such option is Keras' own, whose layers have fast kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import keras

from seqapps.layers import checked, seeded
from seqapps.seeds import seed_of

STATES: dict[str, tuple[str, ...]] = {"simple_rnn": ("h",), "lstm": ("h", "c"), "gru": ("h",)}
"""Cell name to the names of its states."""
PAST = "past"
"""Name of the additional state of a cell with skips in time: its last outputs, oldest first."""

_OWN = {"simple_rnn": keras.layers.SimpleRNNCell, "lstm": keras.layers.LSTMCell, "gru": keras.layers.GRUCell}


@dataclass(frozen=True)
class CellOptions:
    """Options of a cell besides its kind and size; equations in `Cell`.

    Args:
        reset: of a GRU: the reset gate acts `after` or `before` the product with the recurrent matrix.
        activation: of the candidate; of an LSTM also of the cell state before the output gate. A name that Keras knows.
        recurrent_initializer: of the recurrent matrix: `orthogonal`, `glorot_uniform`, or `identity` (a simple RNN).
        transition_activation: of the hidden layers between two states.
        leak: of a simple RNN: share of the state that is kept, in [0, 1); initial value for `learn_leak`.
        learn_leak: whether it is trained, one value for each unit.
        normalise: layer normalisation inside the cell.
        transition_depth: hidden layers between one state and the next.
        transition_skip: whether a residual connection bypasses them.
        skip_steps: d: the state of t - d also enters step t; 0 for none.
    """

    reset: Literal["after", "before"] = "after"
    activation: str = "tanh"
    recurrent_initializer: Literal["orthogonal", "identity", "glorot_uniform"] = "orthogonal"
    leak: float = 0.0
    learn_leak: bool = False
    normalise: bool = False
    transition_depth: int = 0
    transition_skip: bool = False
    transition_activation: str = "tanh"
    skip_steps: int = 0

    @property
    def plain(self) -> bool:
        """Whether Keras has this cell."""
        return self == CellOptions(self.reset, self.activation, self.recurrent_initializer)

    def arguments(self, seed: int) -> dict[str, Any]:
        """Returns the arguments of Keras' layer or cell for these options and this seed, without `reset`."""
        own = seeded.recurrent(seed)
        own["recurrent_initializer"] = self.initial(seed)
        return {**own, "activation": self.activation}

    def initial(self, seed: int) -> keras.initializers.Initializer:
        """Returns the initialiser of the recurrent matrix for a cell's seed."""
        return seeded.initializer(self.recurrent_initializer, seed, "recurrent_kernel")


PLAIN = CellOptions()


def checked_options(kind: str, options: Mapping[str, Any]) -> CellOptions:
    """Returns the options of a cell of one kind.

    Raises:
        ValueError: the kind or a name is unknown, or an option has no meaning for this kind or without another one.
    """
    checked.one_of("kind", kind, STATES)
    for name in options:
        checked.one_of("A name of options", name, [field.name for field in fields(CellOptions)])
    found = CellOptions(**options)
    checked.share("leak", found.leak)
    checked.one_of("reset", found.reset, ("after", "before"))
    refused = {
        "leak and learn_leak are for kind = 'simple_rnn'": kind != "simple_rnn" and (found.leak or found.learn_leak),
        "learn_leak begins at leak, which is 0": found.learn_leak and not found.leak,
        "reset = 'before' is for kind = 'gru'": kind != "gru" and found.reset == "before",
        "transition_skip goes past the layers of transition_depth, which is 0": (
            found.transition_skip and not found.transition_depth
        ),
        "transition_depth and skip_steps are not negative": min(found.transition_depth, found.skip_steps) < 0,
    }
    for reason, holds in refused.items():
        if holds:
            raise ValueError(f"{reason}. Received: kind = {kind!r}, options = {dict(options)}")
    return found


def state_sizes_of(kind: str, units: int, options: CellOptions = PLAIN) -> dict[str, int]:
    """Returns the states of a cell, name to size, in order: `h`, of an LSTM `c`, and with skips in time `past`."""
    sizes = dict.fromkeys(STATES[kind], units)
    return {**sizes, PAST: options.skip_steps * units} if options.skip_steps else sizes


def make_cell(  # noqa: PLR0913 - what a cell is made of
    kind: str, units: int, options: CellOptions = PLAIN, *, name: str, seed: int = 0, dtype: Any = None
) -> Any:
    """Returns a cell: Keras' own where it has one, with the same weights.

    Args:
        kind, units, options: see `Cell`.
        name: of the cell.
        seed: that of the parent.
        dtype: policy; None for the global one.
    """
    if not options.plain:
        return Cell(kind, units, asdict(options), name=name, seed=seed, dtype=dtype)
    arguments = {**options.arguments(seed_of(seed, name)), "dtype": dtype}
    if kind == "gru":
        arguments["reset_after"] = options.reset == "after"
    return _OWN[kind](units, name=name, **arguments)


def repeated_past(state: Any, steps: int) -> Any:
    """Returns the last outputs of a cell that was in one state for `steps` steps, `[B, D] -> [B, steps D]`."""
    return keras.ops.concatenate([state] * steps, axis=-1)


@keras.saving.register_keras_serializable("seqapps")
class Cell(keras.layers.Layer):  # type: ignore[misc]
    """A recurrent cell with options that Keras' cells lack, for `keras.layers.RNN`.

    One step of a simple RNN, an LSTM or a GRU, with s in place of h_{t-1} in every product:

        s = h_{t-1}                                                    without a deep transition
        s = m_n,  m_k = tanh(Q_k m_{k-1} + q_k),  m_0 = h_{t-1}        n = `transition_depth`
        s = h_{t-1} + m_n                                              `transition_skip`
        a = W x_t + b [+ V h_{t-d}]                                    `skip_steps` = d

        simple_rnn  n = tanh(a + U s),    h_t = l * h_{t-1} + (1 - l) * n          l = `leak`
        lstm        i, f, g, o = a + U s, c_t = sig(f) * c_{t-1} + sig(i) * tanh(g),    h_t = sig(o) * tanh(c_t)
        gru         z, r = sig(a + U s),  n = tanh(a + r * (U s + u)), or tanh(a + U (r * s)) for reset `before`,
                    h_t = z * h_{t-1} + (1 - z) * n

    z weights the old state in both forms of the GRU. `activation` replaces every tanh except that of m,
    which `transition_activation` replaces.

    `learn_leak`: l = sig(v), one value for each unit. `normalise`: LN(W x_t) and LN(U s) replace W x_t and U s,
    and tanh(LN(c_t)) replaces tanh(c_t); LN takes the mean and the variance over all units and gates of a step.

    Differs from `keras.layers.SimpleRNNCell`, `LSTMCell` and `GRUCell`, whose W, U and b have the same layout: leaky
    units, deep transitions, skips in time and layer normalisation, and no dropout. It runs step by step, without
    compiled kernels.

    Source: Jaeger et al. 2007, "Optimization and applications of echo state networks with leaky-integrator neurons",
    eq. 1; El Hihi & Bengio 1996, "Hierarchical Recurrent Neural Networks for Long-Term Dependencies" (leak, skips in
    time); Pascanu et al. 2014, "How to Construct Deep Recurrent Neural Networks", eq. 9 and fig. 2 (deep transition,
    DT(S)); Goodfellow et al. 2016, fig. 10.13 b and c, sec. 10.9; Cho et al. 2014, eq. 5 to 8 (reset `before`); Ba et
    al. 2016, "Layer Normalization", eq. 20 to 25.

    Args:
        kind: `"simple_rnn"`, `"lstm"` or `"gru"`.
        units: int: D.
        options: dictionary, default none: names and values of

            `reset`: `"after"` or `"before"`, default `"after"`: of a GRU.
            `activation`: str, default `"tanh"`.
            `recurrent_initializer`: `"orthogonal"`, `"glorot_uniform"` or `"identity"`, default `"orthogonal"`: of U.
            `leak`: float in [0, 1), default 0.0: l of a simple RNN.
            `learn_leak`: bool, default False: whether l is trained, one value for each unit.
            `normalise`: bool, default False: layer normalisation.
            `transition_depth`: int, default 0: n.
            `transition_skip`: bool, default False.
            `transition_activation`: str, default `"tanh"`.
            `skip_steps`: int, default 0: d; 0 for none.
        seed: int, default 0: of the initial weights, together with the layer's name: the same in every process.
        arguments: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        inputs: `<float>[B, F]`.
        states: h_{t-1} `<float>[B, D]`; of an LSTM c_{t-1} `<float>[B, D]`; with `skip_steps` the last d outputs, the
            oldest first, `<float>[B, d D]`.

    Returns:
        h_t `<float>[B, D]`, and the list of the states after the step.

    Raises:
        ValueError: an argument is none of the allowed values, or an option has no meaning for this kind of cell.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from seqapps import layers
        >>> cell = layers.Cell("simple_rnn", 4, {"leak": 0.9, "skip_steps": 2})
        >>> output, h, past = keras.layers.RNN(cell, return_state=True)(np.ones((2, 5, 3), "float32"))
        >>> output.shape, h.shape, past.shape
        (TensorShape([2, 4]), TensorShape([2, 4]), TensorShape([2, 8]))
    """

    def __init__(
        self, kind: str, units: int, options: Mapping[str, Any] | None = None, *, seed: int = 0, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        checked.positive("units", units)
        self.kind, self.units, self.options, self.seed = kind, units, checked_options(kind, options or {}), seed
        sizes = list(state_sizes_of(kind, units, self.options).values())
        self.state_size = sizes if len(sizes) > 1 else sizes[0]
        self.output_size = units
        self._activation = keras.activations.get(self.options.activation)
        self._after = kind == "gru" and self.options.reset == "after"
        self._norms: dict[str, Any] = {}
        if self.options.normalise:
            names = ["input_norm", "recurrent_norm"]
            if kind == "gru" and not self._after:
                names.append("candidate_norm")
            # The cell has its own bias, except for c.
            policy = self.dtype_policy
            self._norms = {
                name: keras.layers.LayerNormalization(center=False, name=name, dtype=policy) for name in names
            }
            if kind == "lstm":
                self._norms["cell_norm"] = keras.layers.LayerNormalization(name="cell_norm", dtype=policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights for inputs `[B, F]`."""
        units, options = self.units, self.options
        wide = {"simple_rnn": 1, "lstm": 4, "gru": 3}[self.kind] * units
        own = seed_of(self.seed, self.name)

        def kernel(shape: tuple[int | None, ...], name: str, kind: str = "orthogonal") -> Any:
            return self.add_weight(shape=shape, initializer=seeded.initializer(kind, own, name), name=name)

        def bias(shape: tuple[int, ...], name: str) -> Any:
            return self.add_weight(shape=shape, initializer="zeros", name=name)

        self.kernel = kernel((input_shape[-1], wide), "kernel", "glorot_uniform")
        self.recurrent_kernel = self.add_weight(
            shape=(units, wide), initializer=options.initial(own), name="recurrent_kernel"
        )
        self.bias = bias((2, wide) if self._after else (wide,), "bias")
        if self.kind == "lstm":
            # A forget gate that is open initially (Jozefowicz et al. 2015).
            ones, zeros = keras.ops.ones((units,)), keras.ops.zeros((units,))
            self.bias.assign(keras.ops.concatenate([zeros, ones, zeros, zeros]))
        self.transitions = [
            (kernel((units, units), f"transition_{n}"), bias((units,), f"transition_bias_{n}"))
            for n in range(options.transition_depth)
        ]
        if options.skip_steps:
            self.skip_kernel = kernel((units, wide), "skip_kernel", "glorot_uniform")
        if options.learn_leak:
            logit = keras.ops.log(options.leak / (1.0 - options.leak))
            begin = keras.initializers.Constant(float(logit))
            self.leak_logit = self.add_weight(shape=(units,), initializer=begin, name="leak_logit")
        shapes = {"recurrent_norm": 2 * units if "candidate_norm" in self._norms else wide, "input_norm": wide}
        for name, norm in self._norms.items():
            norm.build((None, shapes.get(name, units)))
        self.built = True

    def call(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        """Returns h_t `<float>[B, D]` and the states after the step. `inputs <float>[B, F]`."""
        ops = keras.ops
        states = list(states)
        past = states.pop() if self.options.skip_steps else None
        before = self._transition(states[0])
        bias = self.bias[0] if self._after else self.bias
        given = self._normed("input_norm", ops.matmul(inputs, self.kernel)) + bias
        if past is not None:
            given = given + ops.matmul(past[:, : self.units], self.skip_kernel)
        steps: dict[str, Any] = {"simple_rnn": self._simple_rnn, "lstm": self._lstm, "gru": self._gru}
        after: list[Any] = steps[self.kind](given, before, *states)
        if past is not None:
            after.append(ops.concatenate([past[:, self.units :], after[0]], axis=-1))
        return after[0], after

    def _transition(self, state: Any) -> Any:
        deep = state
        activation = keras.activations.get(self.options.transition_activation)
        for kernel, bias in self.transitions:
            deep = activation(keras.ops.matmul(deep, kernel) + bias)
        return state + deep if self.options.transition_skip else deep

    def _simple_rnn(self, given: Any, before: Any, h: Any) -> list[Any]:
        ops = keras.ops
        new = self._activation(given + self._recurrent(before))
        if not self.options.leak:
            return [new]
        leak = ops.sigmoid(self.leak_logit) if self.options.learn_leak else self.options.leak
        return [leak * h + (1.0 - leak) * new]

    def _lstm(self, given: Any, before: Any, _: Any, c: Any) -> list[Any]:
        ops = keras.ops
        i, f, g, o = ops.split(given + self._recurrent(before), 4, axis=-1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * self._activation(g)
        return [ops.sigmoid(o) * self._activation(self._normed("cell_norm", c)), c]

    def _gru(self, given: Any, before: Any, h: Any) -> list[Any]:
        ops, units = keras.ops, self.units
        if self._after:
            product = self._recurrent(before) + self.bias[1]
            z, r = ops.split(ops.sigmoid((given + product)[:, : 2 * units]), 2, axis=-1)
            n = self._activation(given[:, 2 * units :] + r * product[:, 2 * units :])
        else:
            gates = self._normed("recurrent_norm", ops.matmul(before, self.recurrent_kernel[:, : 2 * units]))
            z, r = ops.split(ops.sigmoid(given[:, : 2 * units] + gates), 2, axis=-1)
            reset = ops.matmul(r * before, self.recurrent_kernel[:, 2 * units :])
            n = self._activation(given[:, 2 * units :] + self._normed("candidate_norm", reset))
        return [z * h + (1.0 - z) * n]

    def _recurrent(self, before: Any) -> Any:
        return self._normed("recurrent_norm", keras.ops.matmul(before, self.recurrent_kernel))

    def _normed(self, name: str, x: Any) -> Any:
        return self._norms[name](x) if name in self._norms else x

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {
            **super().get_config(),
            "kind": self.kind,
            "units": self.units,
            "options": asdict(self.options),
            "seed": self.seed,
        }
