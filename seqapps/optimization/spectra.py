"""Spectral radii of a model's recurrent matrices, reported after every epoch."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

LARGEST = 1_024
"""Units of the largest matrix for which this is fast enough."""
_SQUARINGS = 8


def recurrent_radii(model: keras.Model) -> dict[str, float]:
    """Returns the largest spectral radius over the gates of each recurrent layer of a model, by the layer's name.

    nan where a weight is not finite. Layers with more than `LARGEST` units are left out.
    """
    found: dict[str, float] = {}
    for variable in model.trainable_variables:
        if variable.name != "recurrent_kernel" or len(variable.shape) != 2:
            continue
        rows, columns = variable.shape
        if rows <= LARGEST and columns % rows == 0:
            gates = np.split(np.asarray(variable, np.float32), columns // rows, axis=1)
            found[layer_of(variable)] = max(radius(gate) for gate in gates)
    return found


def radius(matrix: NDArray[np.float32]) -> float:
    """Returns the spectral radius of a square matrix by Gelfand's formula, |A^k|^(1/k), k = 2^8: 3 % or better.

    Computing eigenvalues is several times as slow.
    """
    if not np.isfinite(matrix).all():
        return float("nan")
    logarithm, power = 0.0, matrix
    for squaring in range(_SQUARINGS + 1):
        norm = float(np.linalg.norm(power))
        if norm == 0.0:
            return 0.0
        # A^k = exp(k * logarithm) * power, power of norm 1.
        logarithm += np.log(norm) / 2**squaring
        power = power / np.float32(norm)
        if squaring < _SQUARINGS:
            power = power @ power
    # For a radius of 1, the Frobenius norm is about the square root of the size.
    found = float(np.exp(logarithm - np.log(len(matrix)) / 2 ** (_SQUARINGS + 1)))
    # The last digits of a BLAS product depend on the memory alignment of the matrices.
    return float(f"{found:.5g}")


def layer_of(variable: Any) -> str:
    """Returns the name of the layer that owns a variable: its path without the weight and the cell, joined by dots."""
    parts = str(variable.path).split("/")[:-1]
    if len(parts) > 1 and (parts[-1].endswith("_cell") or parts[-1] == "cell"):
        parts.pop()
    return ".".join(parts) or str(variable.name)
