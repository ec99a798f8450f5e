"""The gates of Keras' cells, recomputed from their weights, since Keras cells do not expose them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from seqapps.diagnosis.results import Gate
from seqapps.diagnosis.unrolling import Steps

Floats = NDArray[np.float32]

LOW, HIGH = 0.05, 0.95
"""A gate outside these bounds is saturated: its gradient is small. For a tanh: -0.95 and 0.95."""
CELL_STATE, CANDIDATE, ACTIVATION = "cell state", "candidate", "activation"

_ENDS = {
    **dict.fromkeys((CANDIDATE, ACTIVATION), (-HIGH, HIGH)),
    # Where the tanh of the cell state, which the output gate passes, is outside these bounds.
    CELL_STATE: (-float(np.arctanh(HIGH)), float(np.arctanh(HIGH))),
}

REMEMBERS = {"forget", "update"}
"""Gates that say how much of the state is kept: f of an LSTM, z of a GRU (Keras: h' = z h + (1 - z) g)."""

_DIFFERENCE = 1e-2


def gates_of(cell: Any, steps: Steps) -> tuple[dict[str, Floats], str]:
    """Returns the gates of a cell at all real steps, `<float32>[N, D]` by name, and why there are none.

    They are followed by the candidate, where its activation is a tanh, and the cell state c of an LSTM. A cell without
    gates has its `activation`, which saturates like one. The state is recomputed from the gates and compared with the
    cell's: a cell with different equations is not examined.
    """
    real = steps.real
    x, states = steps.inputs[real], [state[:, :-1][real] for state in steps.states]
    if isinstance(cell, keras.layers.LSTMCell):
        gates, state = _lstm(cell, x, states)
    elif isinstance(cell, keras.layers.GRUCell):
        gates, state = _gru(cell, x, states)
    elif isinstance(cell, keras.layers.SimpleRNNCell):
        gates, state = {ACTIVATION: steps.outputs[real]}, steps.outputs[real]
    else:
        return {}, f"the gates of {type(cell).__name__} are not known"
    if np.abs(state - steps.states[0][:, 1:][real]).max(initial=0.0) > _DIFFERENCE:
        return {}, f"{type(cell).__name__} does more than its gates: they are not examined"
    if cell.activation is not keras.activations.tanh:  # no known saturation bounds
        gates = {name: values for name, values in gates.items() if name not in _ENDS}
    return gates, ""


def summary(gates: dict[str, Floats]) -> list[Gate]:
    """Returns mean, deviation and saturation of gates, candidates and states."""
    found = []
    for name, values in gates.items():
        if len(values):
            low, high = _ENDS.get(name, (LOW, HIGH))
            mean, deviation = float(values.mean()), float(values.std())
            shares = float((values < low).mean()), float((values > high).mean())
            found.append(Gate(name=name, mean=mean, low=shares[0], high=shares[1], deviation=deviation))
    return found


def time_constants(gates: dict[str, Floats]) -> tuple[float, float, float] | None:
    """Returns -1 / log f in steps: 10 %, 50 % and 90 % of the units lie below it. None without such a gate.

    f of a unit is the geometric mean over all real steps: what is kept after n steps is f^n = exp(-n / constant).
    """
    for name in REMEMBERS & gates.keys():
        if not len(gates[name]) or not np.isfinite(gates[name]).all():
            return None
        logarithms = np.log(np.clip(gates[name].astype(np.float64), 1e-12, 1.0 - 1e-9)).mean(axis=0)
        low, middle, high = np.quantile(-1.0 / logarithms, (0.1, 0.5, 0.9))
        return float(low), float(middle), float(high)
    return None


def _lstm(cell: Any, x: Floats, states: list[Floats]) -> tuple[dict[str, Floats], Floats]:
    h, c = states
    z = x @ _array(cell.kernel) + h @ _array(cell.recurrent_kernel)
    if cell.use_bias:
        z = z + _array(cell.bias)
    i, f, g, o = np.split(z, 4, axis=1)
    i, f, o = (_apply(cell.recurrent_activation, value) for value in (i, f, o))
    g = _apply(cell.activation, g)
    new = f * c + i * g
    found = {"input": i, "forget": f, "output": o, CANDIDATE: g, CELL_STATE: new}
    return found, o * _apply(cell.activation, new)


def _gru(cell: Any, x: Floats, states: list[Floats]) -> tuple[dict[str, Floats], Floats]:
    h, kernel, recurrent, units = states[0], _array(cell.kernel), _array(cell.recurrent_kernel), cell.units
    bias: NDArray[Any] = _array(cell.bias) if cell.use_bias else np.zeros(3 * units, np.float32)
    given, kept = (bias[0], bias[1]) if bias.ndim == 2 else (bias, np.zeros_like(bias))
    z_x, r_x, g_x = np.split(x @ kernel + given, 3, axis=1)
    z_h, r_h = np.split(h @ recurrent[:, : 2 * units] + kept[: 2 * units], 2, axis=1)
    z, r = (_apply(cell.recurrent_activation, value) for value in (z_x + z_h, r_x + r_h))
    if cell.reset_after:
        candidate = r * (h @ recurrent[:, 2 * units :] + kept[2 * units :])
    else:
        candidate = (r * h) @ recurrent[:, 2 * units :]
    candidate = _apply(cell.activation, g_x + candidate)
    return {"update": z, "reset": r, CANDIDATE: candidate}, z * h + (1.0 - z) * candidate


def _array(variable: Any) -> Floats:
    return np.asarray(variable, np.float32)


def _apply(function: Any, values: Floats) -> Floats:
    return np.asarray(keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(values))), np.float32)
