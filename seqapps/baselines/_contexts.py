"""N-gram contexts: the tokens before a token within its example, padded with BEGIN."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.preprocessing.vocabulary import BEGIN, END


def ages(ids: NDArray[Any]) -> NDArray[np.int64]:
    """Returns the number of preceding tokens of the same example for each token, `<int64>[tokens]`.

    An example ends with END. A row that does not is a part of a longer document, which continues in the next row.
    """
    begins = np.flatnonzero(np.concatenate([[True], ids[:-1] == END])[: len(ids)])
    return np.arange(len(ids)) - np.repeat(begins, np.diff(np.append(begins, len(ids))))


def contexts(ids: NDArray[Any], age: NDArray[np.int64], at: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Returns the `size` tokens before each chosen token, the nearest last, `<int64>[chosen, size]`.

    Args:
        ids: all tokens, `<int>[tokens]`.
        age: the result of `ages(ids)`.
        at: positions of the chosen tokens, `<int64>[chosen]`.
        size: tokens of a context.
    """
    distance = np.arange(size, 0, -1)
    before = ids[np.maximum(at[:, None] - distance, 0)]
    return np.where(age[at][:, None] < distance, BEGIN, before).astype(np.int64)
