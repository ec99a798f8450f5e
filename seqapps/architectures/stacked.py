"""Stacked recurrent layers: SimpleRNN, LSTM or GRU, one over the other (Goodfellow et al. 2016, fig. 10.13 a)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from seqapps.config import ModelConfig

if TYPE_CHECKING:
    import keras


class Config(ModelConfig):
    """The `model` section of a stack.

    Args:
        cell: `simple_rnn`, `lstm` (Hochreiter & Schmidhuber 1997, forget bias 1) or `gru` (Cho et al. 2014).
        units: size of each layer, the first layer first.
        embedding: size of the embedding.
        dropout: share dropped between layers, before the first and after the last; one mask for all time steps of a
            row (variational; Gal & Ghahramani 2016).
        tie_embeddings: the output matrix is the embedding's transpose (Press & Wolf 2017), with a projection between
            when the sizes differ.
        bidirectional: both directions; not for language models.
    """

    architecture: Literal["stacked"] = "stacked"
    cell: Literal["simple_rnn", "lstm", "gru"] = "lstm"
    units: tuple[Annotated[int, Field(ge=1)], ...] = (256,)
    embedding: int = Field(128, ge=1)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    tie_embeddings: bool = False
    bidirectional: bool = False

    @model_validator(mode="after")
    def _has_layers(self) -> Self:
        if not self.units:
            raise ValueError("`model.units` must name at least one layer. Received: []. Example: [256, 256]")
        return self


def build(
    config: Config, *, vocabulary_size: int, carry: bool, use_cudnn: bool | Literal["auto"] = "auto"
) -> keras.Model:
    """Returns embedding -> [dropout -> recurrent layer] x L -> dropout -> logits.

    Args:
        config: the `model` section.
        vocabulary_size: V, the number of ids.
        carry: whether the layers' states are inputs and outputs (`state_<layer>_h`, `state_<layer>_c`).
        use_cudnn: False builds a model that runs on any machine; its weights are the same.

    Returns:
        A functional model. In: `tokens <int32>[B, T]` and the states `<float32>[B, D]`. Out: `logits
        <float32>[B, T, V]` and the states after the last step.
    """
    import keras

    from seqapps.modeling.heads import TiedLogits
    from seqapps.modeling.recurrent import recurrent_layer, state_inputs

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    embedding = keras.layers.Embedding(vocabulary_size, config.embedding, name="embedding")
    inputs: dict[str, Any] = {"tokens": tokens}
    outputs: dict[str, Any] = {}
    x = embedding(tokens)
    for index, units in enumerate(config.units):
        x = _dropout(x, config.dropout, f"dropout_{index}")
        states = state_inputs(config.cell, units, index) if carry else {}
        layer = recurrent_layer(config.cell, units, name=f"{config.cell}_{index}", use_cudnn=use_cudnn)
        x, *last = layer(x, initial_state=list(states.values()) or None)
        inputs |= states
        outputs |= {name: keras.ops.cast(state, "float32") for name, state in zip(states, last, strict=False)}
    x = _dropout(x, config.dropout, "dropout_out")
    if config.tie_embeddings:
        if config.units[-1] != config.embedding:
            x = keras.layers.Dense(config.embedding, use_bias=False, name="projection")(x)
        logits = TiedLogits(embedding, name="logits")(x)
    else:
        logits = keras.layers.Dense(vocabulary_size, name="logits")(x)
    return keras.Model(inputs, {"logits": logits, **outputs}, name="stacked")


def _dropout(x: Any, rate: float, name: str) -> Any:
    """Drops whole features of a row: one mask for all time steps (variational)."""
    import keras

    return keras.layers.SpatialDropout1D(rate, name=name)(x) if rate else x
