"""Shared by the architectures with a vocabulary: the output layer."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from seqapps.architectures._stack import Size, StackConfig
from seqapps.errors import ConfigError

if TYPE_CHECKING:
    import keras


class WordsConfig(StackConfig):
    """The fields of a stack that predicts tokens of a vocabulary.

    Args:
        tie_embeddings: the output matrix is the embedding's transpose (Press & Wolf 2017).
        softmax: `full`, or `adaptive`: rare words are predicted hierarchically (Grave et al. 2017). A different model,
            with exact probabilities; several times as fast for a large vocabulary.
        cutoffs: of `adaptive`: the ids, in order of frequency, at which a tail of rare words begins. Empty: two tails,
            after the words that cover 0.8 and 0.9 of a text by Zipf's law.
        tail_reduction: of `adaptive`: factor by which the dimensions shrink from each part to the next tail (4 as
            published). 1 keeps all of them.
    """

    tie_embeddings: bool = False
    softmax: Literal["full", "adaptive"] = "full"
    cutoffs: tuple[Size, ...] = ()
    tail_reduction: Size = 1

    @model_validator(mode="after")
    def _softmax_has_these_parts(self) -> Self:
        if self.tail_reduction > 1 and self.tie_embeddings:
            raise ValueError(
                "`model.tail_reduction` takes matrices of its own. Received: tie_embeddings = true. Remedy: "
                "tie_embeddings = false, or tail_reduction = 1"
            )
        if (self.cutoffs or self.tail_reduction > 1) and self.softmax != "adaptive":
            raise ValueError(
                '`model.cutoffs` and `model.tail_reduction` are for `model.softmax` = "adaptive". Received: '
                f"{self.softmax!r}"
            )
        if any(low >= high for low, high in pairwise(self.cutoffs)):
            raise ValueError(f"`model.cutoffs` must increase. Received: {list(self.cutoffs)}. Example: [2000, 10000]")
        return self


def scored(
    config: WordsConfig, x: Any, embedding: keras.layers.Layer, vocabulary_size: int, *, seed: int
) -> dict[str, Any]:
    """Returns `logits <float>[B, T, V]` of x `<float>[B, T, D]` and, for an adaptive softmax, x itself as `context`,
    from which the loss is computed faster.

    Args:
        config: the `model` section.
        x: hidden vector of each position; of the embedding's size for tied embeddings.
        embedding: layer whose matrix tied embeddings share.
        vocabulary_size: V.
        seed: of the model.

    Raises:
        ConfigError: a cutoff lies above the vocabulary.
    """
    from seqapps.layers import seeded
    from seqapps.layers.adaptive_softmax import AdaptiveSoftmax, zipf_cutoffs
    from seqapps.layers.heads import TiedLogits

    if config.softmax == "full":
        if config.tie_embeddings:
            return {"logits": TiedLogits(embedding, name="logits")(x)}
        return {"logits": seeded.dense(vocabulary_size, name="logits", seed=seed)(x)}
    cutoffs = config.cutoffs or zipf_cutoffs(vocabulary_size)
    if not cutoffs or cutoffs[-1] >= vocabulary_size:
        raise ConfigError(
            f"`model.cutoffs` must lie below the size of the vocabulary, {vocabulary_size}. Received: {list(cutoffs)}. "
            f'Remedy: softmax = "full", or cutoffs = {list(zipf_cutoffs(vocabulary_size))}.'
        )
    shared = embedding if config.tie_embeddings else None
    given: Any = {"reduction": config.tail_reduction, "embedding": shared, "seed": seed, "name": "logits"}
    softmax = AdaptiveSoftmax(vocabulary_size, cutoffs, **given)
    return {"logits": softmax(x), "context": x}
