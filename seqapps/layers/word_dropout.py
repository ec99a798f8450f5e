"""Word dropout: words masked in training, as regularisation."""

from __future__ import annotations

from typing import Any

import keras

from seqapps.layers import checked, seeded
from seqapps.preprocessing.vocabulary import END, UNKNOWN


@keras.saving.register_keras_serializable("seqapps")
class WordDropout(keras.layers.Layer):  # type: ignore[misc]
    """Replaces ids by that of the unknown word at random, in training only.

        id'_t = 1 with probability `rate`, if id_t > 3;    id'_t = id_t otherwise

    Keras has no such layer. The ids 0 to 3 are those of seqapps' vocabularies, `<pad>`, `<unk>`, `<bos>` and `<eos>`,
    and are kept. This also trains the vector of `<unk>`, which stands for any unknown word at inference.

    Source: Iyyer et al. 2015, "Deep Unordered Composition Rivals Syntactic Methods for Text Classification", section
    3.2.

    Args:
        rate: float in [0, 1): share of the words that are replaced.
        seed: int, default 0: of the random choice, together with the layer's name: the same in every process.
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        ids: `<int>[B, T]`.
        training: bool, default False: whether ids are replaced.

    Returns:
        `<int>[B, T]`.

    Raises:
        ValueError: `rate` is not in [0, 1).

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> ids = np.array([[2, 7, 8, 3, 0]])
        >>> layers.WordDropout(0.99)(ids, training=True).numpy().tolist()
        [[2, 1, 1, 3, 0]]
        >>> layers.WordDropout(0.99)(ids).numpy().tolist()
        [[2, 7, 8, 3, 0]]
    """

    def __init__(self, rate: float, *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        checked.share("rate", rate)
        self.rate, self.seed = rate, seed
        self.supports_masking = True
        self.generator = seeded.generator(seed, self.name)

    def call(self, ids: Any, training: bool = False) -> Any:
        """`<int32>[B, T] -> <int32>[B, T]`."""
        if not training or not self.rate:
            return ids
        drawn = keras.random.uniform(keras.ops.shape(ids), seed=self.generator) < self.rate
        return keras.ops.where(keras.ops.logical_and(drawn, ids > END), UNKNOWN, ids)

    def compute_output_shape(self, shape: Any) -> Any:
        """Returns the shape of the ids."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable("seqapps")
class VocabularyDropout(keras.layers.Layer):  # type: ignore[misc]
    """Zeroes the vectors of some words in the whole batch, in training only, and scales up the others.

        y_t = k[id_t] x_t / (1 - rate),    k[v] = 0 with probability `rate`, otherwise 1, for each word v of a batch

    Differs from `keras.layers.Dropout`: a word is dropped at all of its positions, and with all of its features.

    Source: Gal & Ghahramani 2016, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks",
    section 4.2; Merity et al. 2017, "Regularizing and Optimizing LSTM Language Models", section 4.3.

    Args:
        rate: float in [0, 1): share of the vocabulary that is dropped.
        size: int, V: the vocabulary size.
        seed: int, default 0: of the random choice, together with the layer's name: the same in every process.
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        x: the vectors of `ids`, `<float>[B, T, D]`.
        ids: `<int>[B, T]`, in [0, V).
        training: bool, default False: whether words are dropped.

    Returns:
        `<float>[B, T, D]`, with the mask of x.

    Raises:
        ValueError: `rate` is not in [0, 1), or `size` is below 1.

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> x = np.ones((1, 4, 1), "float32")
        >>> kept = layers.VocabularyDropout(0.5, 9)(x, np.array([[4, 5, 4, 5]]), training=True).numpy()[0, :, 0]
        >>> bool(kept[0] == kept[2] and kept[1] == kept[3] and set(kept) <= {0.0, 2.0})
        True
    """

    def __init__(self, rate: float, size: int, *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        checked.share("rate", rate)
        checked.positive("size", size)
        self.rate, self.size, self.seed = rate, size, seed
        self.supports_masking = True
        self.generator = seeded.generator(seed, self.name)

    def call(self, x: Any, ids: Any, training: bool = False) -> Any:
        """`<float>[B, T, D]`, the vectors of `ids <int32>[B, T]` -> `<float>[B, T, D]`."""
        if not training:
            return x
        kept = keras.random.uniform((self.size,), seed=self.generator) >= self.rate
        scale = keras.ops.cast(kept, x.dtype) / (1.0 - self.rate)
        return x * keras.ops.take(scale, ids)[:, :, None]

    def compute_output_shape(self, x_shape: Any, ids_shape: Any) -> Any:
        """Returns the shape of the vectors."""
        return x_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {**super().get_config(), "rate": self.rate, "size": self.size, "seed": self.seed}
