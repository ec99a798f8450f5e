"""The units before a unit, inside its example: BEGIN stands where the example had not begun."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.preprocessing.vocabulary import BEGIN, END


def ages(ids: NDArray[Any]) -> NDArray[np.int64]:
    """Returns how many units of the same example stand before each unit, `<int64>[units]`.

    An example ends with END. A row that does not is a part of a running document, which goes on in the next row.
    """
    begins = np.flatnonzero(np.concatenate([[True], ids[:-1] == END])[: len(ids)])
    return np.arange(len(ids)) - np.repeat(begins, np.diff(np.append(begins, len(ids))))


def contexts(ids: NDArray[Any], age: NDArray[np.int64], at: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Returns the `size` units before each chosen unit, the nearest last, `<int64>[chosen, size]`.

    Args:
        ids: all units, `<int>[units]`.
        age: what `ages(ids)` gives.
        at: positions of the chosen units, `<int64>[chosen]`.
        size: units of a context.
    """
    distance = np.arange(size, 0, -1)
    before = ids[np.maximum(at[:, None] - distance, 0)]
    return np.where(age[at][:, None] < distance, BEGIN, before).astype(np.int64)
