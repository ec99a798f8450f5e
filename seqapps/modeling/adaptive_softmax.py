"""A softmax over many words that asks for a rare one in two steps: is it rare, and which one is it. Pure Keras.

    p(w | x) = softmax(x H + b)[w]                                            w < c_1: a frequent word
    p(w | x) = softmax(x H + b)[c_1 + i] softmax(x P_i K_i + b_i)[w - c_i]    c_i <= w < c_{i + 1}: a word of tail i

The ids stand in the order of their frequency. Most positions of a text hold a frequent word, and only the head is
computed for them. The projections P_i to fewer dimensions are left out where `reduction` is 1.

Source: Grave et al. 2017, "Efficient softmax approximation for GPUs", section 4; classes of words: Goodman 2001.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np

COVERED = (0.8, 0.9)
"""Shares of a text whose words lie before each tail, where no cutoffs are given and words follow Zipf's law."""


def zipf_cutoffs(vocabulary_size: int, shares: Sequence[float] = COVERED) -> tuple[int, ...]:
    """Returns how many of the most frequent words make up each share of a text, where the word of rank r stands 1/r
    times as often as the first one (Zipf's law): increasing, each once, below the size of the vocabulary."""
    mass = np.cumsum(1.0 / np.arange(1, vocabulary_size + 1))
    found = {int(np.searchsorted(mass, share * mass[-1])) + 1 for share in shares}
    return tuple(sorted(cutoff for cutoff in found if cutoff < vocabulary_size))


@keras.saving.register_keras_serializable("seqapps")
class AdaptiveSoftmax(keras.layers.Layer):  # type: ignore[misc]
    """Gives the log-probability of every word, and the scores from which that of one word follows sooner.

    Args:
        vocabulary_size: V.
        cutoffs: the id at which each tail begins; the head holds those below the first one.
        reduction: tail i projects D dimensions to D / reduction^(i + 1); 1 does not.

    Raises:
        ValueError: the cutoffs do not increase between 0 and V.
    """

    def __init__(self, vocabulary_size: int, cutoffs: Sequence[int], *, reduction: int = 1, **options: Any) -> None:
        super().__init__(**options)
        borders = [0, *cutoffs, vocabulary_size]
        if not cutoffs or any(low >= high for low, high in pairwise(borders)):
            raise ValueError(
                f"Cutoffs must increase between 0 and the size of the vocabulary, {vocabulary_size}. Received: "
                f"{list(cutoffs)}. Example: {list(zipf_cutoffs(vocabulary_size))}."
            )
        self.vocabulary_size, self.cutoffs, self.reduction = vocabulary_size, tuple(cutoffs), reduction

    @property
    def tails(self) -> list[tuple[int, int]]:
        """The first id of each tail, and the id after its last one."""
        return list(pairwise([*self.cutoffs, self.vocabulary_size]))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes H `[D, c_1 + tails]` and, for each tail, P_i `[D, D / reduction^(i + 1)]` or None, and K_i, with
        biases."""
        width = int(input_shape[-1])  # type: ignore[arg-type]
        self._head = self._scores("head", width, self.cutoffs[0] + len(self.cutoffs))
        self._tails = []
        for place, (low, high) in enumerate(self.tails):
            narrow = max(1, width // self.reduction ** (place + 1))
            projection = None
            if self.reduction > 1:
                projection = self.add_weight(shape=(width, narrow), name=f"tail_{place}_projection")
            self._tails.append((projection, *self._scores(f"tail_{place}", narrow, high - low)))

    def _scores(self, name: str, width: int, words: int) -> tuple[Any, Any]:
        kernel = self.add_weight(shape=(width, words), name=f"{name}_kernel")
        return kernel, self.add_weight(shape=(words,), initializer="zeros", name=f"{name}_bias")

    def head(self, x: Any) -> Any:
        """Returns the scores of the frequent words, then those of the tails. `<float>[N, D] -> [N, c_1 + tails]`."""
        return _affine(x, *self._head)

    def tail(self, place: int, x: Any) -> Any:
        """Returns the scores of the words of a tail. `<float>[N, D] -> [N, words]`."""
        projection, kernel, bias = self._tails[place]
        if projection is not None:
            x = keras.ops.matmul(x, keras.ops.cast(projection, x.dtype))
        return _affine(x, kernel, bias)

    def call(self, x: Any) -> Any:
        """Returns log p of every word, as good as logits. `<float>[B, T, D] -> <float32>[B, T, V]`."""
        rows, steps = keras.ops.shape(x)[:2]
        flat = keras.ops.reshape(x, (-1, x.shape[-1]))
        first, frequent = _log_softmax(self.head(flat)), self.cutoffs[0]
        parts = [first[:, :frequent]]
        for place in range(len(self.tails)):
            rare = first[:, frequent + place : frequent + place + 1]
            parts.append(rare + _log_softmax(self.tail(place, flat)))
        return keras.ops.reshape(keras.ops.concatenate(parts, axis=1), (rows, steps, self.vocabulary_size))

    def compute_output_spec(self, x: Any) -> Any:
        """The shape of `call`'s result."""
        return keras.KerasTensor((*x.shape[:-1], self.vocabulary_size), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        own = {"vocabulary_size": self.vocabulary_size, "cutoffs": list(self.cutoffs), "reduction": self.reduction}
        return {**super().get_config(), **own}


def _affine(x: Any, kernel: Any, bias: Any) -> Any:
    return keras.ops.matmul(x, keras.ops.cast(kernel, x.dtype)) + keras.ops.cast(bias, x.dtype)


def _log_softmax(scores: Any) -> Any:
    return keras.ops.log_softmax(keras.ops.cast(scores, "float32"))
