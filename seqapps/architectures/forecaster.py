"""Direct forecast: recurrent layers read the history, and one dense layer gives all steps of the horizon at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from seqapps.architectures._forecast import ForecastConfig, Sizes, answer, window
from seqapps.architectures._stack import recurrent_stack

if TYPE_CHECKING:
    import keras


class Config(ForecastConfig):
    """The `model` section of a direct forecast.

    Args:
        hidden: units of a dense layer (ReLU) between the recurrent layers and the answer; 0 for none. With it, what is
            known of the future and the history can act on each other.
    """

    architecture: Literal["forecaster"] = "forecaster"
    hidden: int = Field(0, ge=0, le=65_536)


def build(config: Config, *, sizes: Sizes, use_cudnn: bool | Literal["auto"] = "auto") -> keras.Model:
    """Returns history -> recurrent layers -> last state -> dense -> answer, added to what it is anchored to.

    Args:
        config: the `model` section.
        sizes: of a window.
        use_cudnn: False builds a model that runs on any machine; its weights are the same.

    Returns:
        A functional model. In: see `_forecast.window`. Out: `forecast <float32>[B, P, V, Q]` in standard units.
    """
    import keras

    given = window(config, sizes)
    x, _ = recurrent_stack(config, given.past, given.mask, use_cudnn=use_cudnn)
    # A backward layer ends at the first step.
    if config.bidirectional and (config.merge != "concat" or config.output_layers):
        x = keras.ops.concatenate([x[:, -1], x[:, 0]], axis=-1)
    elif config.bidirectional:
        x = keras.ops.concatenate([x[:, -1, : config.units[-1]], x[:, 0, config.units[-1] :]], axis=-1)
    else:
        x = x[:, -1]
    if given.future is not None:
        x = keras.ops.concatenate([x, keras.layers.Flatten(name="whole_future")(given.future)], axis=-1)
    if config.hidden:
        x = keras.layers.Dense(config.hidden, "relu", name="hidden")(x)
        if config.dropout:
            x = keras.layers.Dropout(config.dropout, name="dropout_hidden")(x)
    x = keras.layers.Dense(sizes.horizon * sizes.targets * config.answers, name="answer")(x)
    x = keras.layers.Reshape((sizes.horizon, sizes.targets, config.answers), name="steps")(x)
    if given.base is not None:
        x = x + given.base
    if config.anchor == "last":
        x = x + given.last[:, None, :, None]
    return keras.Model(dict(given.inputs), {"forecast": answer(x)}, name="forecaster")
