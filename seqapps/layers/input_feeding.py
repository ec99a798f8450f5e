"""A decoder with input feeding: each step reads the previous step's attentional vector. Pure Keras.

Source: Luong et al. 2015, section 3.3 (input feeding).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from seqapps.layers import seeded
from seqapps.seeds import seed_of


@keras.saving.register_keras_serializable("seqapps")
class FeedingDecoder(keras.layers.Layer):  # type: ignore[misc]
    """A recurrent decoder whose attention at each step is an input of the next one.

        h_t = cells([x_t, v_{t-1}]),    c_t = attention(h_t, memory),    v_t = readout([c_t, h_t])

    Keras has no such layer: `keras.layers.RNN` followed by attention does not feed v back. It runs step by step.

    Source: Luong et al. 2015, "Effective Approaches to Attention-based Neural Machine Translation", section 3.3 (input
    feeding) and eq. 5 (v).

    Args:
        cells: sequence of cells, from the first layer to the last.
        dropouts: sequence of float in [0, 1): shares dropped before each layer and after the last; one mask for all
            time steps of an example.
        attention: `Attention`, queried with the last layer's output at every step.
        readout: layer that maps c and h to v, such as `keras.layers.Dense`.
        seed: int, default 0: of dropout, together with the layer's name: the same in every process.
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        x: `<float>[B, T, E]`.
        states: list with a list for each layer, `<float>[B, D]` each.
        feed: v before the first step, `<float>[B, H]`.
        memory: dictionary of the other arguments of attention: `keys <float>[B, S, K]`, `memory <float>[B, S, M]`, and
            `mask <bool>[B, S]`.
        training: bool, default False: whether dropout is on.

    Returns:
        v of every step `<float>[B, T, H]`, the attention weights `<float>[B, T, S]`, and the states (as given) and
        v `<float>[B, H]` after the last step.

    Raises:
        ValueError: there is not one dropout more than cells.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from seqapps import layers
        >>> attention, readout = layers.Attention("dot", 4), keras.layers.Dense(6, "tanh")
        >>> decoder = layers.FeedingDecoder([keras.layers.GRUCell(4)], [0.0, 0.1], attention, readout)
        >>> x, state, feed, m = (np.ones(s, "float32") for s in ((2, 3, 5), (2, 4), (2, 6), (2, 7, 4)))
        >>> memory = {"keys": m, "memory": m, "mask": np.ones((2, 7), bool)}
        >>> vectors, weights, states, last = decoder(x, states=[[state]], feed=feed, memory=memory)
        >>> vectors.shape, weights.shape, states[0][0].shape, last.shape
        (TensorShape([2, 3, 6]), TensorShape([2, 3, 7]), TensorShape([2, 4]), TensorShape([2, 6]))
    """

    def __init__(
        self,
        cells: Sequence[Any],
        dropouts: Sequence[float],
        attention: Any,
        readout: Any,
        *,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if len(dropouts) != len(cells) + 1:
            raise ValueError(f"dropouts must be one more than the {len(cells)} cells. Received: {list(dropouts)}")
        self.cells, self.dropouts, self.seed = list(cells), tuple(dropouts), seed
        own, policy = seed_of(seed, self.name), self.dtype_policy
        self.drops = [
            seeded.dropout(rate, name=f"dropout_{index}", seed=own, dtype=policy) for index, rate in enumerate(dropouts)
        ]
        self.attention, self.readout = attention, readout

    def build(self, x_shape: Any, states_shape: Any, feed_shape: Any, memory_shape: Any) -> None:
        """Makes the weights of the cells, of attention and of the readout."""
        size = x_shape[-1] + feed_shape[-1]
        for cell in self.cells:
            if not cell.built:
                cell.build((None, size))
            size = cell.units
        if not self.attention.built:
            self.attention.build((None, None, size))
        if not self.readout.built:
            self.readout.build((None, None, memory_shape["memory"][-1] + size))

    def call(
        self, x: Any, states: list[list[Any]], feed: Any, memory: dict[str, Any], training: bool = False
    ) -> tuple[Any, Any, list[list[Any]], Any]:
        """Runs all steps sequentially.

        Args:
            x: `<float>[B, T, E]`.
            states: of each layer, `<float>[B, D]` each.
            feed: the attentional vector before the first step, `<float>[B, H]`.
            memory: `keys`, `memory` and `mask` of attention.
            training: whether dropout is on.

        Returns:
            attentional vectors `<float>[B, T, H]`, attention weights `<float>[B, T, S]`, and the states and the
            attentional vector after the last step.
        """
        ops = keras.ops
        sizes = [x.shape[-1] + feed.shape[-1], *(cell.units for cell in self.cells)]
        ones = [ops.ones((ops.shape(x)[0], size), x.dtype) for size in sizes]
        masks = [drop(one, training=training) for drop, one in zip(self.drops, ones, strict=True)]

        def step(carry: Any, now: Any) -> tuple[Any, Any]:
            layers, before, _ = carry
            hidden, after = ops.concatenate([now, before], axis=-1), []
            for cell, layer, mask in zip(self.cells, layers, masks, strict=False):
                hidden, kept = cell(hidden * mask, layer)
                after.append(list(kept) if isinstance(kept, list | tuple) else [kept])
            hidden = hidden * masks[-1]
            context, weights = self.attention(hidden[:, None, :], **memory)
            vector = self.readout(ops.concatenate([context[:, 0], hidden], axis=-1))
            carry = (after, vector, weights[:, 0])
            return carry, carry

        nothing = ops.zeros_like(memory["memory"][:, :, 0])
        carry = ([list(layer) for layer in states], feed, nothing)
        if x.shape[1] == 1:
            carry, _ = step(carry, x[:, 0])
            after, vector, weights = carry
            return vector[:, None], weights[:, None], after, vector
        (after, vector, _), (_, vectors, weights) = ops.scan(step, carry, ops.transpose(x, (1, 0, 2)))
        back = (1, 0, 2)
        return ops.transpose(vectors, back), ops.transpose(weights, back), after, vector

    def compute_output_spec(
        self, x: Any, states: list[list[Any]], feed: Any, memory: dict[str, Any], training: bool = False
    ) -> tuple[Any, Any, list[list[Any]], Any]:
        """Returns the shapes of `call`'s results."""
        rows, steps = x.shape[:2]
        dtype = self.compute_dtype
        vectors = keras.KerasTensor((rows, steps, feed.shape[-1]), dtype=dtype)
        weights = keras.KerasTensor((rows, steps, memory["memory"].shape[1]), dtype=dtype)
        after = [[keras.KerasTensor(state.shape, dtype=dtype) for state in layer] for layer in states]
        return vectors, weights, after, keras.KerasTensor(feed.shape, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        message = keras.saving.serialize_keras_object
        own = {"cells": [message(cell) for cell in self.cells], "dropouts": list(self.dropouts), "seed": self.seed}
        layers = {"attention": message(self.attention), "readout": message(self.readout)}
        return {**super().get_config(), **own, **layers}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FeedingDecoder:
        """Makes the layer from its arguments."""
        made = keras.saving.deserialize_keras_object
        layers = {name: made(config[name]) for name in ("attention", "readout")}
        return cls(**{**config, **layers, "cells": [made(cell) for cell in config["cells"]]})
