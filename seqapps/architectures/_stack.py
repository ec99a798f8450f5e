"""What architectures share: the fields of a stack of recurrent layers, and the stack itself, with masks."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from seqapps.config import ModelConfig


class StackConfig(ModelConfig):
    """The fields of a stack of recurrent layers.

    Args:
        cell: `simple_rnn`, `lstm` (Hochreiter & Schmidhuber 1997, forget bias 1) or `gru` (Cho et al. 2014).
        units: size of each layer (of each direction), the first layer first.
        bidirectional: both directions, their outputs side by side (Schuster & Paliwal 1997).
        dropout: share dropped before each layer and after the last; one mask for all time steps of a row
            (variational; Gal & Ghahramani 2016).
    """

    cell: Literal["simple_rnn", "lstm", "gru"] = "lstm"
    units: tuple[Annotated[int, Field(ge=1)], ...] = (128,)
    bidirectional: bool = True
    dropout: float = Field(0.0, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _has_layers(self) -> Self:
        if not self.units:
            raise ValueError("`model.units` must name at least one layer. Received: []. Example: [256, 256]")
        return self


def recurrent_stack(  # noqa: PLR0913 - what a stack is made of
    config: StackConfig,
    x: Any,
    mask: Any,
    *,
    name: str = "",
    initial: list[list[Any]] | None = None,
    use_cudnn: bool | Literal["auto"] = "auto",
) -> tuple[Any, list[list[Any]]]:
    """Returns the last layer's sequence and every layer's last states.

    Args:
        config: cell, units, directions and dropout.
        x: `<float>[B, T, D]`.
        mask: `<bool>[B, T]`, True on what is real: right-padded rows. It is passed explicitly; a row of padding alone
            is run for one step, since cuDNN takes no empty row.
            None runs every step: enough where only the steps before a real one decide what it gives.
        name: begins the layers' names.
        initial: the layers' states before the first step (per layer those of the forward direction, then of the
            backward one); None starts from zero.
        use_cudnn: False builds layers that run on any machine, with the same weights.

    Returns:
        `<float>[B, T, D or 2 D]`, 0 where the mask is False, and for every layer the states after the last real step,
        `<float>[B, D]` each (h, and c of an LSTM; forward, then backward).
    """
    import keras

    from seqapps.modeling.recurrent import recurrent_layer

    prefix = f"{name}_" if name else ""
    steps = mask
    if mask is not None:
        # The first step of every row counts, so that no row is empty.
        steps = keras.ops.logical_or(mask, keras.ops.cumsum(keras.ops.ones_like(mask, dtype="int32"), axis=1) == 1)
    states = []
    for index, units in enumerate(config.units):
        x = spatial_dropout(x, config.dropout, f"{prefix}dropout_{index}")
        layer = recurrent_layer(config.cell, units, name=f"{prefix}{config.cell}_{index}", use_cudnn=use_cudnn)
        if config.bidirectional:
            layer = keras.layers.Bidirectional(layer, name=f"{prefix}bi_{config.cell}_{index}")
        x, *last = layer(x, mask=steps, initial_state=initial[index] if initial else None)
        if mask is not None:
            x = x * keras.ops.cast(mask, x.dtype)[:, :, None]
        states.append(last)
    return spatial_dropout(x, config.dropout, f"{prefix}dropout_out"), states


def spatial_dropout(x: Any, rate: float, name: str) -> Any:
    """Drops whole features of a row: one mask for all time steps (variational). No layer when the rate is 0."""
    import keras

    return keras.layers.SpatialDropout1D(rate, name=name)(x) if rate else x
