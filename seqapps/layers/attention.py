"""Attention of a query over the steps of a memory. Pure Keras.

Source: Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate" (additive); Luong
et al. 2015, "Effective Approaches to Attention-based Neural Machine Translation" (dot, general).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import keras

from seqapps.layers import checked, seeded
from seqapps.seeds import seed_of

ScoreName = Literal["dot", "general", "additive"]

_NEVER = -3e38
"""Score of a padded step, below any other in float32: its weight is exactly 0. Not infinity: a fully padded
row then has equal weights instead of NaN."""


def attention_keys(score: ScoreName, memory: Any, units: int, name: str, *, seed: int = 0) -> Any:
    """Returns the keys, `<float>[B, S, K]`: computed once for a memory, for any number of queries.

    Args:
        score: `dot` uses the memory itself; `general` W m, so that q . (W m) = q^T W m (Luong et al.,
            eq. 8); `additive` U m (Bahdanau et al., appendix A.1.2).
        memory: `<float>[B, S, M]`.
        units: K for `general` (the query's size) and `additive` (the size of the hidden layer).
        name: of the new layer.
        seed: of its initial weights, together with the name.
    """
    if score == "dot":
        return memory
    return seeded.dense(units, use_bias=False, name=name, seed=seed)(memory)


@keras.saving.register_keras_serializable("seqapps")
class Attention(keras.layers.Layer):  # type: ignore[misc]
    """The mean of a memory, weighted by softmax over its steps of a score against a query.

        a_ts = softmax_s score(q_t, k_s),    c_t = sum_s a_ts m_s
        score = q . k                      `dot`, and `general` with the keys W m
        score = v . tanh(W q + k)          `additive`, with the keys U m

    Differs from `keras.layers.Attention` and `keras.layers.AdditiveAttention`: the keys are an argument, so that they
    are computed once for any number of queries (`attention_keys`); the weights are always returned; the softmax is
    computed in float32 under any policy; a row whose memory is all padding gives the mean of the memory and no NaN.

    Source: Luong et al. 2015, "Effective Approaches to Attention-based Neural Machine Translation", eq. 7 and 8 (`dot`,
    `general`); Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate", appendix
    A.1.2 (`additive`).

    Args:
        score: `"dot"`, `"general"` or `"additive"`.
        units: int: K of `additive`; unused by the others.
        seed: int, default 0: of the initial weights of `additive`, together with the layer's name: the same in every
            process.
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        query: `<float>[B, T, D]`; D is K for `dot` and `general`.
        keys: `<float>[B, S, K]`.
        memory: `<float>[B, S, M]`.
        mask: `<bool>[B, S]`, True on real steps; default None: the memory's own mask, that of `Masking` or
            `Embedding(mask_zero=True)`, if any.

    Returns:
        The context `<float>[B, T, M]`, with the mask of the query, and the weights `<float>[B, T, S]`, which sum to 1
        over the real steps.

    Raises:
        ValueError: `score` is none of the allowed values.

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> memory = np.eye(3, dtype="float32")[None]
        >>> query = 50 * memory[:, 1:2]
        >>> context, weights = layers.Attention("dot", 3)(query, memory, memory)
        >>> weights.numpy().round(3).tolist()
        [[[0.0, 1.0, 0.0]]]
        >>> _, weights = layers.Attention("dot", 3)(query, memory, memory, mask=np.array([[True, False, True]]))
        >>> weights.numpy().round(3).tolist()
        [[[0.5, 0.0, 0.5]]]
    """

    def __init__(self, score: ScoreName, units: int, *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        checked.one_of("score", score, get_args(ScoreName))
        self.score, self.units, self.seed = score, units, seed
        self.supports_masking = True

    def build(self, query_shape: Any, **_: Any) -> None:
        """Makes W `<float32>[D, K]` and v `<float32>[K]` of `additive`."""
        if self.score == "additive":
            shapes = {"query_kernel": (query_shape[-1], self.units), "score_kernel": (self.units, 1)}
            own = seed_of(self.seed, self.name)
            self.query_kernel, self.score_kernel = (
                self.add_weight(shape=shape, initializer=seeded.initializer("glorot_uniform", own, name), name=name)
                for name, shape in shapes.items()
            )

    def call(self, query: Any, keys: Any, memory: Any, mask: Any = None, memory_mask: Any = None) -> tuple[Any, Any]:
        """Returns the context `<float>[B, T, M]` and the weights `<float>[B, T, S]`; arguments: see the class.

        `memory_mask` is filled in by Keras: the mask that the memory carries, for calls without `mask`.
        """
        mask = memory_mask if mask is None else mask
        ops = keras.ops
        if self.score == "additive":
            asked = ops.matmul(query, ops.cast(self.query_kernel, query.dtype))
            hidden = ops.tanh(asked[:, :, None, :] + keys[:, None, :, :])
            scores = ops.sum(hidden * ops.cast(self.score_kernel[:, 0], hidden.dtype), axis=-1)
        else:
            scores = ops.matmul(query, ops.transpose(keys, (0, 2, 1)))
        # Softmax in float32 under any policy: half precision cannot represent the score of padding.
        scores = ops.cast(scores, "float32")
        if mask is not None:
            scores = ops.where(ops.cast(mask, "bool")[:, None, :], scores, _NEVER)
        weights = ops.cast(ops.softmax(scores, axis=-1), memory.dtype)
        return ops.matmul(weights, memory), weights

    def compute_output_spec(
        self, query: Any, keys: Any, memory: Any, mask: Any = None, memory_mask: Any = None
    ) -> tuple[Any, Any]:
        """Returns the shapes of the context and the weights."""
        rows, steps = query.shape[:2]
        context = keras.KerasTensor((rows, steps, memory.shape[-1]), dtype=self.compute_dtype)
        return context, keras.KerasTensor((rows, steps, memory.shape[1]), dtype=self.compute_dtype)

    def compute_mask(self, query: Any, previous_mask: Any = None) -> Any:
        """Returns the query's own mask, of the context: `mask` is that of the memory."""
        return getattr(query, "_keras_mask", None)

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {**super().get_config(), "score": self.score, "units": self.units, "seed": self.seed}
