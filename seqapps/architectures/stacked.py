"""Stacked recurrent layers: SimpleRNN, LSTM or GRU, one above the other (Goodfellow et al. 2016, fig. 10.13 a)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from seqapps.architectures._stack import recurrent_stack, state_inputs_of
from seqapps.architectures._words import WordsConfig, scored
from seqapps.config import Unit
from seqapps.preprocessing.vocabulary import PAD

if TYPE_CHECKING:
    import keras


class Config(WordsConfig):
    """The `model` section of a stack.

    Args:
        bidirectional: both directions; not for language models.
        units: size of each layer, from the first to the last.
        embedding: size of the embedding.
        word_dropout: share of the tokens replaced by `<unk>`, in training only.
        vocabulary_dropout: share of the vocabulary whose embeddings are zeroed in a training step (embedding dropout
            of Gal & Ghahramani 2016 and Merity et al. 2017).
        tie_embeddings: the output matrix is the embedding's transpose (Press & Wolf 2017), after a projection
            when the sizes differ.
    """

    architecture: Literal["stacked"] = "stacked"
    bidirectional: bool = False
    units: tuple[Unit, ...] = (256,)
    embedding: Unit = 128
    word_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    vocabulary_dropout: float = Field(0.0, ge=0.0, lt=1.0)


def build(
    config: Config, *, vocabulary_size: int, carry: bool, use_cudnn: bool | Literal["auto"] = "auto", seed: int = 0
) -> keras.Model:
    """Returns embedding -> [dropout -> recurrent layer] x L -> dropout -> logits, with the options of `config`.

    Args:
        config: the `model` section.
        vocabulary_size: V, the number of ids.
        carry: whether the layers' states are inputs and outputs (`state_<layer>_h`, `state_<layer>_c`,
            `state_<layer>_past`).
        use_cudnn: False builds a model that runs on any device, with the same weights.
        seed: of the configuration; with the layers' names it determines initial weights and dropout.

    Returns:
        A functional model. In: `tokens <int32>[B, T]` and the states `<float32>[B, D]`. Out: `logits
        <float32>[B, T, V]`, the states after the last step, and the further output of `scored` for an adaptive softmax.
    """
    import keras

    from seqapps.layers import seeded
    from seqapps.layers.word_dropout import VocabularyDropout, WordDropout

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    embedding = seeded.embedding(vocabulary_size, config.embedding, name="embedding", seed=seed)
    states = state_inputs_of(config) if carry else []
    ids = WordDropout(config.word_dropout, seed=seed, name="word_dropout")(tokens) if config.word_dropout else tokens
    x = embedding(ids)
    if config.vocabulary_dropout:
        drop = VocabularyDropout(config.vocabulary_dropout, vocabulary_size, seed=seed, name="vocabulary_dropout")
        x = drop(x, ids)
    initial = [list(layer.values()) for layer in states] or None
    real = keras.ops.not_equal(tokens, PAD)
    x, last = recurrent_stack(config, x, None, initial=initial, real=real, use_cudnn=use_cudnn, seed=seed)
    outputs = {
        name: keras.ops.cast(state, "float32")
        for layer, after in zip(states, last, strict=False)
        for name, state in zip(layer, after, strict=True)
    }
    if config.tie_embeddings and config.outputs != config.embedding:
        x = seeded.dense(config.embedding, use_bias=False, name="projection", seed=seed)(x)
    inputs = {"tokens": tokens, **{name: state for layer in states for name, state in layer.items()}}
    logits = scored(config, x, embedding, vocabulary_size, seed=seed)
    return keras.Model(inputs, {**logits, **outputs}, name="stacked")
