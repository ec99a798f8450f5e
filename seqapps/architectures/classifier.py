"""A classifier: embedding, recurrent layers, pooling to one vector, class logits (many to one)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from seqapps.architectures._stack import StackConfig
from seqapps.config import Unit

if TYPE_CHECKING:
    import keras


class Config(StackConfig):
    """The `model` section of a classifier.

    Args:
        embedding: size of the embedding.
        train_embedding: whether the embedding is trained; False freezes pretrained vectors.
        word_dropout: share of the words replaced by `<unk>`, in training only (Iyyer et al. 2015).
        embedding_dropout: rate of element-wise dropout of the embedding; `dropout` drops whole features.
        pooling: the vector of an example: `last` state (of each direction), `mean` or `max` over its steps, or
            `attention` (Yang et al. 2016), which also outputs the weight of each token.
    """

    architecture: Literal["classifier"] = "classifier"
    embedding: Unit = 128
    train_embedding: bool = True
    word_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    embedding_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    pooling: Literal["last", "mean", "max", "attention"] = "max"

    @model_validator(mode="after")
    def _last_states(self) -> Self:
        if self.pooling == "last":
            self.states_alone('changes outputs, and `model.pooling` = "last" takes the last states')
        return self


def build(
    config: Config,
    *,
    vocabulary_size: int,
    classes: int,
    use_cudnn: bool | Literal["auto"] = "auto",
    seed: int = 0,
) -> keras.Model:
    """Returns word dropout -> embedding -> [dropout -> recurrent layer] x L -> pooling -> dropout -> logits.

    Args:
        config: the `model` section.
        vocabulary_size: V, the number of ids.
        classes: C, the number of classes.
        use_cudnn: False builds a model that runs on any device, with the same weights.
        seed: of the configuration; with the layers' names it determines initial weights and dropout.

    Returns:
        A functional model. In: `tokens <int32>[B, T]`. Out: `logits <float32>[B, C]` and, for attention pooling,
        `attention <float32>[B, T]`, 0 on padding.
    """
    import keras

    from seqapps.architectures._stack import recurrent_stack
    from seqapps.layers import seeded
    from seqapps.layers.word_dropout import WordDropout

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    mask = keras.ops.not_equal(tokens, 0)
    ids = WordDropout(config.word_dropout, seed=seed, name="word_dropout")(tokens) if config.word_dropout else tokens
    given: Any = {"trainable": config.train_embedding, "seed": seed, "name": "embedding"}
    x = seeded.embedding(vocabulary_size, config.embedding, **given)(ids)
    if config.embedding_dropout:
        x = seeded.dropout(config.embedding_dropout, name="embedding_dropout", seed=seed)(x)
    x, states = recurrent_stack(config, x, mask, use_cudnn=use_cudnn, seed=seed)
    pooled, outputs = _pool(config, x, mask, states[-1], seed)
    logits = seeded.dense(classes, name="logits", seed=seed)(pooled)
    return keras.Model({"tokens": tokens}, {"logits": logits, **outputs}, name="classifier")


def _pool(config: Config, x: Any, mask: Any, states: list[Any], seed: int) -> tuple[Any, dict[str, Any]]:
    """Returns the vector of each row, `<float>[B, D or 2 D]`, and further outputs."""
    from seqapps.layers import seeded
    from seqapps.layers.pooling import AttentionPooling, last_state, masked_max, masked_mean

    match config.pooling:
        case "last":
            # The stack applies dropout to its sequence, but not to its states.
            rate = config.dropouts[-1]
            state = last_state(states, len(states) // (2 if config.bidirectional else 1))
            return seeded.dropout(rate, name="dropout_state", seed=seed)(state) if rate else state, {}
        case "mean":
            return masked_mean(x, mask), {}
        case "max":
            return masked_max(x, mask), {}
    pooled, weights = AttentionPooling(int(x.shape[-1]), seed=seed, name="attention")(x, mask)
    return pooled, {"attention": weights}
