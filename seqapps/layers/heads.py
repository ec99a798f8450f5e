"""Output layers that compute logits from the last hidden sequence. Pure Keras."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("seqapps")
class TiedLogits(keras.layers.Layer):  # type: ignore[misc]
    """Computes each token's logit as the inner product with its embedding: logits = x E^T + b.

    Source: Press & Wolf 2017, "Using the Output Embedding to Improve Language Models".

    Args:
        embedding: the embedding layer whose matrix E `<float32>[V, D]` is shared.
    """

    def __init__(self, embedding: keras.layers.Embedding, **options: Any) -> None:
        super().__init__(**options)
        self.embedding = embedding

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the bias `<float32>[V]`."""
        self.bias = self.add_weight(shape=(self.embedding.input_dim,), initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:
        """`<float32>[B, T, D] -> <float32>[B, T, V]`."""
        matrix = keras.ops.cast(self.embedding.embeddings, x.dtype)
        # All positions as rows of one matrix product: multiplying a 3-D tensor by a matrix is much slower on a CPU.
        rows, steps = keras.ops.shape(x)[:2]
        flat = keras.ops.matmul(keras.ops.reshape(x, (-1, x.shape[-1])), keras.ops.transpose(matrix))
        flat = flat + keras.ops.cast(self.bias, x.dtype)
        return keras.ops.reshape(flat, (rows, steps, self.embedding.input_dim))

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {**super().get_config(), "embedding": keras.saving.serialize_keras_object(self.embedding)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TiedLogits:
        """Makes the layer from its arguments."""
        config["embedding"] = keras.saving.deserialize_keras_object(config["embedding"])
        return cls(**config)
