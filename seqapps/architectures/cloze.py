"""Two stacks of recurrent layers, one per direction, that predict each word from its left and right context.

    left_t  = state of the forward stack after <bos>, w_1 .. w_{t-1}
    right_t = state of the backward stack after <eos>, w_n .. w_{t+1}
    p(w_t | all other words) = softmax(W [relu(H [left_t; right_t] + b)] + c)

The stacks are combined only above their last layers. An ordinary bidirectional stack combines the directions after
every layer: from the second layer on, the state at t + 1 depends on w_t, which leaks the word to be predicted.

Source: Schuster & Paliwal 1997, "Bidirectional Recurrent Neural Networks" (section II-C, a symbol given all others);
Melamud et al. 2016, "context2vec: Learning Generic Context Embedding with Bidirectional LSTM", fig. 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from seqapps.architectures._stack import recurrent_stack
from seqapps.architectures._words import WordsConfig, scored
from seqapps.config import Unit
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD

if TYPE_CHECKING:
    import keras


class Config(WordsConfig):
    """The `model` section of two stacks.

    Args:
        bidirectional: always false: there are two stacks of one direction each.
        embedding: size of the embedding, which both stacks read.
        hidden: units of the layer that combines left and right.
        tie_embeddings: the output matrix is the embedding's transpose (Press & Wolf 2017).
        blank_rate: share of the words that are masked for both stacks in training, for texts with several blanks. The
            masked words are still predicted.
    """

    both_ways: ClassVar[str] = "would show each of the two stacks the word that it predicts"

    architecture: Literal["cloze"] = "cloze"
    bidirectional: bool = False
    embedding: Unit = 128
    hidden: Unit = 256
    tie_embeddings: bool = True
    blank_rate: float = Field(0.1, ge=0.0, lt=1.0)


def build(
    config: Config, *, vocabulary_size: int, blank: int, use_cudnn: bool | Literal["auto"] = "auto", seed: int = 0
) -> keras.Model:
    """Returns embedding -> forward stack, backward stack -> hidden layer -> logits.

    Only here are rows shifted by one for each stack. The backward stack reads each row from its last word, so that
    padding comes after all words for both.

    Args:
        config: the `model` section.
        vocabulary_size: V, the number of ids, `blank` included.
        blank: id of a missing word.
        use_cudnn: False builds a model that runs on any device, with the same weights.
        seed: of the configuration; with the layers' names it determines initial weights and dropout.

    Returns:
        A functional model. In: `tokens <int32>[B, T]`, right-padded rows of words. Out: `logits <float32>[B, T, V]` of
        the word at each position given all others, and the further output of `scored` for an adaptive softmax.
    """
    import keras

    from seqapps.layers import seeded
    from seqapps.layers.cloze import CONTEXT, Blanks, ReverseWords, after_marker

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    # Vectors of norm about 1: Keras' own are so small that tied logits take an epoch to distinguish words.
    deviation = config.embedding**-0.5
    embedding = seeded.embedding(vocabulary_size, config.embedding, deviation=deviation, name="embedding", seed=seed)
    words = Blanks(config.blank_rate, blank, seed=seed, name="blanks")(tokens) if config.blank_rate else tokens
    real = tokens != PAD
    turn = ReverseWords(name="reverse_words")
    # Padding follows the words for both stacks, so that neither needs a mask.
    begun = embedding(after_marker(words, BEGIN))
    given: Any = {"real": real, "use_cudnn": use_cudnn, "seed": seed}
    left, _ = recurrent_stack(config, begun, None, name="forward", **given)
    turned = embedding(after_marker(turn(words, real), END))
    right, _ = recurrent_stack(config, turned, None, name="backward", **given)
    x: Any = keras.layers.Concatenate(name="sides")([left, turn(right, real)])
    if config.tie_embeddings:
        x = seeded.dense(config.hidden, "relu", name="hidden", seed=seed)(x)
        x = seeded.dense(config.embedding, name=CONTEXT, seed=seed)(x)
    else:
        x = seeded.dense(config.hidden, "relu", name=CONTEXT, seed=seed)(x)
    logits = scored(config, x, embedding, vocabulary_size, seed=seed)
    return keras.Model({"tokens": tokens}, logits, name="cloze")
