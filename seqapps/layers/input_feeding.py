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
    """x_t and the previous attentional vector -> cells -> attention -> readout: the attentional vector of step t.

    Args:
        cells: of each layer, from the first to the last.
        dropouts: shares dropped before each layer and after the last; one mask for all time steps of an example.
        attention: queried with the last layer's output at every step.
        readout: maps the context and that output to the attentional vector.
        seed: of dropout, together with the layer's name.
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
        self.cells = list(cells)
        own = seed_of(seed, self.name)
        self.drops = [seeded.dropout(rate, name=f"dropout_{index}", seed=own) for index, rate in enumerate(dropouts)]
        self.attention, self.readout = attention, readout

    def build(self, x_shape: Any, states_shape: Any, feed_shape: Any, memory_shape: Any) -> None:
        """Makes the weights of the cells, of attention and of the readout."""
        size = x_shape[-1] + feed_shape[-1]
        for cell in self.cells:
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
