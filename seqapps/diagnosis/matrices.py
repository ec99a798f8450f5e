"""Singular values and eigenvalues of recurrent matrices."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from seqapps.diagnosis.results import Matrix
from seqapps.layers.cells import STATES, Cell, state_sizes_of
from seqapps.optimization.spectra import radius

_EXACT, _EIGENVALUES, _ITERATIONS = 512, 256, 100
"""Sizes up to which all singular values, and all eigenvalues, are computed; above, the largest by iteration."""

_GATES = {
    "lstm": ("input", "forget", "candidate", "output"),
    "gru": ("update", "reset", "candidate"),
    "simple_rnn": ("recurrent",),
}
"""Kind of a cell to the gates of its weights, in the order of their concatenation."""
_KINDS = {keras.layers.LSTMCell: "lstm", keras.layers.GRUCell: "gru", keras.layers.SimpleRNNCell: "simple_rnn"}


def kind_of(cell: Any) -> str:
    """Returns `simple_rnn`, `lstm` or `gru`; empty for a cell that is none of them."""
    if isinstance(cell, Cell):
        return cell.kind
    return next((kind for type_, kind in _KINDS.items() if isinstance(cell, type_)), "")


def state_names(cell: Any, count: int) -> list[str]:
    """Returns the names of a cell's states."""
    if isinstance(cell, Cell):
        return list(state_sizes_of(cell.kind, cell.units, cell.options))
    names = STATES.get(kind_of(cell), ())
    return list(names) if len(names) == count else [f"state {place + 1}" for place in range(count)]


def gate_names(cell: Any, parts: int) -> tuple[str, ...]:
    """Returns the names of the matrices that are concatenated in a cell's recurrent weights."""
    names = _GATES.get(kind_of(cell), ())
    if len(names) == parts:
        return names
    return ("recurrent",) if parts == 1 else tuple(f"part {place + 1}" for place in range(parts))


def recurrent_matrices(cell: Any) -> list[Matrix]:
    """Returns largest singular value and spectral radius of every gate of a cell and its inner cells."""
    found = []
    inner = [layer for layer in cell._flatten_layers() if hasattr(layer, "recurrent_kernel")]
    for owner in inner:
        weights: NDArray[np.float32] = np.asarray(owner.recurrent_kernel, np.float32)
        rows, columns = weights.shape
        parts = columns // rows if columns % rows == 0 else 1
        prefix = f"{owner.name} " if len(inner) > 1 else ""
        for name, matrix in zip(gate_names(owner, parts), np.split(weights, parts, axis=1), strict=True):
            found.append(
                Matrix(gate=prefix + name, singular=largest_singular_value(matrix), radius=spectral_radius(matrix))
            )
    return found


def largest_singular_value(matrix: NDArray[Any]) -> float:
    """Returns the spectral norm: exact for a small matrix, else by power iteration on A^T A (1 % or better)."""
    if not np.isfinite(matrix).all():
        return float("nan")
    if min(matrix.shape) <= _EXACT:
        return float(np.linalg.svd(matrix, compute_uv=False)[0])
    vector: NDArray[Any] = np.random.default_rng(0).normal(size=(matrix.shape[1],))
    lengths = [0.0]
    for _ in range(_ITERATIONS):
        vector = matrix.T @ (matrix @ vector)
        lengths.append(float(np.linalg.norm(vector)))
        if lengths[-1] == 0.0 or abs(lengths[-1] - lengths[-2]) < 1e-4 * lengths[-1]:
            break
        vector = vector / np.float64(lengths[-1])
    return math.sqrt(lengths[-1])


def spectral_radius(matrix: NDArray[Any]) -> float | None:
    """Returns the largest absolute eigenvalue of a square matrix (1 % or better for a large one); None for another
    shape, nan for numbers that are not finite."""
    if matrix.shape[0] != matrix.shape[1]:
        return None
    if not np.isfinite(matrix).all():
        return float("nan")
    return float(np.abs(np.linalg.eigvals(matrix)).max()) if len(matrix) <= _EIGENVALUES else radius(matrix)
