"""Word dropout: words masked in training, as regularisation."""

from __future__ import annotations

from typing import Any

import keras

from seqapps.layers import seeded
from seqapps.preprocessing.vocabulary import END, UNKNOWN


@keras.saving.register_keras_serializable("seqapps")
class WordDropout(keras.layers.Layer):  # type: ignore[misc]
    """Replaces ids by `<unk>` at random, in training only. `<pad>`, `<bos>` and `<eos>` are kept.

    This also trains the vector of `<unk>`, which stands for any unknown word at inference.
    Source: Iyyer et al. 2015, "Deep Unordered Composition Rivals Syntactic Methods for Text Classification".

    Args:
        rate: share of the words that are replaced.
        seed: of the random choice, together with the layer's name.
    """

    def __init__(self, rate: float, *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.rate, self.seed = rate, seed
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
    """Zeroes the embeddings of some tokens in the whole batch, in training only, and scales up the others.

    Source: Gal & Ghahramani 2016, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks",
    sec. 4.2; Merity et al. 2017, sec. 4.3.

    Args:
        rate: share of the vocabulary.
        size: V, the vocabulary size.
        seed: of dropout, together with the layer's name.
    """

    def __init__(self, rate: float, size: int, *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
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

    def compute_mask(self, *_: Any) -> None:
        """Propagates no implicit mask: masks are explicit arguments."""

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {**super().get_config(), "rate": self.rate, "size": self.size, "seed": self.seed}
