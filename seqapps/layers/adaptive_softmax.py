"""Adaptive softmax: a softmax over a large vocabulary that predicts rare words hierarchically. Pure Keras.

    p(w | x) = softmax(x H + b)[w]                                            w < c_1: a frequent word
    p(w | x) = softmax(x H + b)[c_1 + i] softmax(x P_i K_i + b_i)[w - c_i]    c_i <= w < c_{i + 1}: a word of tail i

Ids are sorted by decreasing frequency. Most positions of a text hold a frequent word, and only the head is computed
for them. There are no projections P_i where `reduction` is 1.

Source: Grave et al. 2017, "Efficient softmax approximation for GPUs", section 4; classes of words: Goodman 2001.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from seqapps.layers import checked, seeded
from seqapps.layers.shared import SharesEmbedding
from seqapps.seeds import seed_of

COVERED = (0.8, 0.9)
"""Default cutoffs: shares of a text covered by the words before each tail, assuming Zipf's law."""


def zipf_cutoffs(vocabulary_size: int, shares: Sequence[float] = COVERED) -> tuple[int, ...]:
    """Returns how many of the most frequent words cover each share of a text, if the word of rank r is 1/r times as
    frequent as the first one (Zipf's law): increasing, without duplicates, below the vocabulary size."""
    mass = np.cumsum(1.0 / np.arange(1, vocabulary_size + 1))
    found = {int(np.searchsorted(mass, share * mass[-1])) + 1 for share in shares}
    return tuple(sorted(cutoff for cutoff in found if cutoff < vocabulary_size))


@keras.saving.register_keras_serializable("seqapps")
class AdaptiveSoftmax(SharesEmbedding, keras.layers.Layer):  # type: ignore[misc]
    """Outputs the log-probability of every word, or the scores from which that of one word is computed faster.

        p(w | x) = softmax(x H + b)[w]                                            w < c_1: a frequent word
        p(w | x) = softmax(x H + b)[c_1 + i] softmax(x P_i K_i + b_i)[w - c_i]    c_i <= w < c_{i + 1}: in tail i

    Keras has no such layer; it replaces `Dense(V)` before a softmax. Calling it computes every word, which is no faster
    than `Dense`; what is faster is the loss of seqapps' trainings, which computes only the parts that hold the words of
    a batch (`kernels` and `scores`). The parts are the head and the tails, counted from 0; ids are sorted by decreasing
    frequency.

    Source: Grave et al. 2017, "Efficient softmax approximation for GPUs", section 4; the shared matrix: Press & Wolf
    2017, "Using the Output Embedding to Improve Language Models".

    Args:
        vocabulary_size: int: V.
        cutoffs: sequence of int: first id of each tail; the head holds the ids below the first one. See
            `zipf_cutoffs`.
        reduction: int, default 1: the first tail projects D dimensions to D / reduction, the second to D / reduction^2;
            1 for no projections P_i.
        embedding: embedding layer or None, default None: the layer whose matrix `<float32>[V, D]` is shared: the
            columns of H and K_i are the vectors of their words. It stays shared in files, in `clone_model` and in
            `Model.from_config`.
        seed: int, default 0: of the initial weights, together with the layer's name: the same in every process.
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        x: `<float>[B, T, D]`.

    Returns:
        log p of every word, `<float32>[B, T, V]`, usable as logits.

    Raises:
        ValueError: the cutoffs do not increase between 0 and V, `reduction` is below 1, or a shared matrix is combined
            with a projection.

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> layers.zipf_cutoffs(10_000)
        (1412, 3758)
        >>> log_p = layers.AdaptiveSoftmax(100, [10, 40], reduction=2)(np.ones((2, 5, 8), "float32"))
        >>> log_p.shape, bool(np.allclose(np.exp(log_p).sum(-1), 1.0, atol=1e-5))
        (TensorShape([2, 5, 100]), True)
    """

    def __init__(
        self,
        vocabulary_size: int,
        cutoffs: Sequence[int],
        *,
        reduction: int = 1,
        embedding: keras.layers.Embedding | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        checked.positive("reduction", reduction)
        borders = [0, *cutoffs, vocabulary_size]
        if not cutoffs or any(low >= high for low, high in pairwise(borders)):
            raise ValueError(
                f"Cutoffs must increase between 0 and the size of the vocabulary, {vocabulary_size}. Received: "
                f"{list(cutoffs)}. Example: {list(zipf_cutoffs(vocabulary_size))}."
            )
        if embedding is not None and reduction > 1:
            raise ValueError(f"A shared matrix keeps its dimensions. Received: reduction = {reduction}. Allowed: 1.")
        self.vocabulary_size, self.cutoffs = vocabulary_size, tuple(cutoffs)
        self.reduction, self.embedding, self.seed = reduction, embedding, seed
        self.supports_masking = True

    @property
    def tails(self) -> list[tuple[int, int]]:
        """The first id of each tail, and the id after its last one."""
        return list(pairwise([*self.cutoffs, self.vocabulary_size]))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes H `[D, c_1 + tails]` (only the columns of the tails, `[tails, D]`, where the matrix is shared), and P_i
        and K_i of each tail; a bias for each part."""
        width = int(input_shape[-1])  # type: ignore[arg-type]
        names = ["head", *(f"tail_{place}" for place in range(len(self.tails)))]
        sizes = [self.cutoffs[0] + len(self.tails), *(high - low for low, high in self.tails)]
        widths = [max(1, width // self.reduction**place) for place in range(len(sizes))]
        own = seed_of(self.seed, self.name)

        def drawn(shape: tuple[int, int], name: str) -> Any:
            begin = seeded.initializer("glorot_uniform", own, name)
            return self.add_weight(shape=shape, initializer=begin, name=name)

        self._projections = [
            drawn((width, narrow), f"{name}_projection") if narrow != width else None
            for name, narrow in zip(names, widths, strict=True)
        ]
        if self.embedding is None:
            self._kernels = [
                drawn((narrow, words), f"{name}_kernel")
                for name, narrow, words in zip(names, widths, sizes, strict=True)
            ]
        else:
            self._rare = drawn((len(self.tails), width), "tails_kernel")
        self._biases = [
            self.add_weight(shape=(words,), initializer="zeros", name=f"{name}_bias")
            for name, words in zip(names, sizes, strict=True)
        ]

    def kernels(self) -> list[Any]:
        """Returns the matrix of each part, for `scores`: a shared one is split once, and its gradients are concatenated
        once."""
        if self.embedding is None:
            return list(self._kernels)
        frequent, *rare = keras.ops.split(self.embedding.embeddings, list(self.cutoffs), axis=0)
        head = keras.ops.concatenate([frequent, self._rare], axis=0)
        return [keras.ops.transpose(part) for part in (head, *rare)]

    def scores(self, part: int, x: Any, kernels: Sequence[Any]) -> Any:
        """Returns the logits of the words of a part; in the head, those of the tails come last.

        Args:
            part: 0 is the head.
            x: `<float>[N, D]`.
            kernels: returned by `kernels`.

        Returns:
            `<float>[N, words]`.
        """
        projection = self._projections[part]
        if projection is not None:
            x = keras.ops.matmul(x, keras.ops.cast(projection, x.dtype))
        return keras.ops.matmul(x, keras.ops.cast(kernels[part], x.dtype)) + keras.ops.cast(self._biases[part], x.dtype)

    def call(self, x: Any) -> Any:
        """Returns log p of every word, usable as logits. `<float>[B, T, D] -> <float32>[B, T, V]`."""
        rows, steps = keras.ops.shape(x)[:2]
        flat, kernels, frequent = keras.ops.reshape(x, (-1, x.shape[-1])), self.kernels(), self.cutoffs[0]
        first, *others = (
            keras.ops.log_softmax(keras.ops.cast(self.scores(part, flat, kernels), "float32"))
            for part in range(1 + len(self.tails))
        )
        rare = [first[:, frequent + place : frequent + place + 1] + words for place, words in enumerate(others)]
        found = keras.ops.concatenate([first[:, :frequent], *rare], axis=1)
        return keras.ops.reshape(found, (rows, steps, self.vocabulary_size))

    def compute_output_spec(self, x: Any) -> Any:
        """The shape of `call`'s result."""
        return keras.KerasTensor((*x.shape[:-1], self.vocabulary_size), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        own = {"vocabulary_size": self.vocabulary_size, "cutoffs": list(self.cutoffs), "reduction": self.reduction}
        return {**super().get_config(), **own, "seed": self.seed}
