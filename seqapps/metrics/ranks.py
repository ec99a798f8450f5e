"""The rank of the true word among all words of the vocabulary, for networks and count-based models."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.preprocessing.vocabulary import SPECIALS

NATS, RANK, BEST = 0, 1, 2
"""Columns of the result of `ranked`."""

_FIRST = len(SPECIALS)


def ranked(log_p: NDArray[Any], ids: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Returns -log p of each true word, its rank from 1, and the most probable word, `<float32>[N, 3]`.

    Special tokens are not ranked, since they are never suggested: if the true word is `<unk>`, the rank is `size`,
    beyond every word. Ties are broken by the lower id, that is the more frequent word.

    Args:
        log_p: log-probabilities of every token, `<float>[N, V or more]`.
        ids: the true words, `<int>[N]`.
        size: V; columns beyond it are ignored.
    """
    own = log_p[np.arange(len(ids)), ids]
    words = log_p[:, _FIRST:size]
    above = np.count_nonzero(words > own[:, None], axis=1)
    earlier = np.arange(_FIRST, size) < np.asarray(ids)[:, None]
    above += np.count_nonzero((words == own[:, None]) & earlier, axis=1)
    result = np.empty((len(ids), 3), np.float32)
    result[:, NATS] = -own
    result[:, RANK] = np.where(np.asarray(ids) < _FIRST, size, 1 + above)
    result[:, BEST] = _FIRST + words.argmax(axis=1)
    return result
