"""Layers that share the matrix of an embedding layer, in files and clones, too. Pure Keras."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras


class SharesEmbedding:
    """Mixin of a layer with an argument `embedding`.

    In a file, Keras returns the same object for every mention of a layer. `keras.models.clone_model` and
    `Model.from_config` make each layer alone, this one with a copy of the embedding. The copy is replaced by the
    embedding of the same name on whose output the layer is called.
    """

    embedding: Any
    _copied: bool = False

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        shared = keras.saving.serialize_keras_object(self.embedding) if self.embedding is not None else None
        return {**super().get_config(), "embedding": shared}  # type: ignore[misc]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Makes the layer from its arguments."""
        shared = config["embedding"]
        embedding = keras.saving.deserialize_keras_object(shared) if shared else None
        layer = cls(**{**config, "embedding": embedding})
        layer._copied = bool(shared) and keras.saving.deserialize_keras_object(shared) is not embedding
        return layer

    def __call__(self, x: Any, *arguments: Any, **options: Any) -> Any:
        """See `keras.layers.Layer.__call__`."""
        if self._copied and isinstance(x, keras.KerasTensor):
            own = self.embedding
            found = next((layer for layer in _before(x) if layer.name == own.name and type(layer) is type(own)), None)
            if found is not None:
                self._replace(found)
            self._copied = False
        return super().__call__(x, *arguments, **options)  # type: ignore[misc]

    def _replace(self, embedding: Any) -> None:
        tracker = self._tracker  # type: ignore[attr-defined]
        tracker.unlock()  # a layer that `Model.from_config` makes is built before it is called
        tracker.untrack(self.embedding)
        self.embedding = embedding
        if self.built:  # type: ignore[attr-defined]
            tracker.lock()


def _before(tensor: Any) -> Iterator[Any]:
    """Yields the layers from which a symbolic tensor was computed, those of nested models among them."""
    waiting, seen = [tensor], set()
    while waiting:
        history = waiting.pop()._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(history.operation, keras.layers.Layer):
            yield from history.operation._flatten_layers()
        waiting += node.input_tensors
