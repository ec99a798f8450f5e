"""Output layers that compute logits from the last hidden sequence. Pure Keras."""

from __future__ import annotations

from typing import Any

import keras

from seqapps.layers.shared import SharesEmbedding


@keras.saving.register_keras_serializable("seqapps")
class TiedLogits(SharesEmbedding, keras.layers.Layer):  # type: ignore[misc]
    """Computes each token's logit as the inner product with its embedding.

        logits = x E^T + b

    Differs from `keras.layers.ReversibleEmbedding`, which is both layers in one: it has a bias, and it shares the
    matrix of any embedding layer. The matrix stays shared in files, in `clone_model` and in `Model.from_config`.

    Source: Press & Wolf 2017, "Using the Output Embedding to Improve Language Models".

    Args:
        embedding: embedding layer, whose matrix E `<float32>[V, D]` is shared.
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        x: `<float>[B, T, D]`.

    Returns:
        `<float>[B, T, V]`.

    Example:
        >>> import keras
        >>> from seqapps import layers
        >>> embedding = layers.Embedding(7, 3)
        >>> ids = keras.Input((None,), dtype="int32")
        >>> x = layers.LSTM(3, return_sequences=True)(embedding(ids))
        >>> model = keras.Model(ids, layers.TiedLogits(embedding)(x))
        >>> [weight.path for weight in model.weights].count(embedding.embeddings.path), model.output_shape
        (1, (None, None, 7))
    """

    def __init__(self, embedding: keras.layers.Embedding, **options: Any) -> None:
        super().__init__(**options)
        self.embedding = embedding
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the bias `<float32>[V]`."""
        self.bias = self.add_weight(shape=(self.embedding.input_dim,), initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:
        """`<float>[B, T, D] -> <float>[B, T, V]`."""
        matrix = keras.ops.cast(self.embedding.embeddings, x.dtype)
        # All positions as rows of one matrix product: multiplying a 3-D tensor by a matrix is much slower on a CPU.
        rows, steps = keras.ops.shape(x)[:2]
        flat = keras.ops.matmul(keras.ops.reshape(x, (-1, x.shape[-1])), keras.ops.transpose(matrix))
        flat = flat + keras.ops.cast(self.bias, x.dtype)
        return keras.ops.reshape(flat, (rows, steps, self.embedding.input_dim))
