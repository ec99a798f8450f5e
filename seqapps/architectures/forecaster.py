"""Direct forecast: recurrent layers read the history, and a dense layer outputs all steps of the horizon at once."""

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
        hidden: units of a dense layer (ReLU) before the output; 0 for none. It lets the known future features and the
            history interact.
    """

    architecture: Literal["forecaster"] = "forecaster"
    hidden: int = Field(0, ge=0, le=65_536)


def build(config: Config, *, sizes: Sizes, use_cudnn: bool | Literal["auto"] = "auto", seed: int = 0) -> keras.Model:
    """Returns history -> recurrent layers -> last state -> dense -> output, added to its baseline.

    Args:
        config: the `model` section.
        sizes: of a window.
        use_cudnn: False builds a model that runs on any device, with the same weights.
        seed: of the configuration; with the layers' names it determines initial weights and dropout.

    Returns:
        A functional model. In: see `_forecast.window`. Out: `forecast <float32>[B, P, V, Q]` in standard units.
    """
    import keras

    from seqapps.layers import seeded

    given = window(config, sizes)
    x, _ = recurrent_stack(config, given.past, given.mask, use_cudnn=use_cudnn, seed=seed)
    # A backward layer finishes at the first step.
    if config.bidirectional and (config.merge != "concat" or config.output_layers):
        x = keras.ops.concatenate([x[:, -1], x[:, 0]], axis=-1)
    elif config.bidirectional:
        x = keras.ops.concatenate([x[:, -1, : config.units[-1]], x[:, 0, config.units[-1] :]], axis=-1)
    else:
        x = x[:, -1]
    if given.future is not None:
        x = keras.ops.concatenate([x, keras.layers.Flatten(name="whole_future")(given.future)], axis=-1)
    if config.hidden:
        x = seeded.dense(config.hidden, "relu", name="hidden", seed=seed)(x)
        if config.dropout:
            x = seeded.dropout(config.dropout, name="dropout_hidden", seed=seed)(x)
    x = seeded.dense(sizes.horizon * sizes.targets * config.answers, name="answer", seed=seed)(x)
    x = keras.layers.Reshape((sizes.horizon, sizes.targets, config.answers), name="steps")(x)
    if given.base is not None:
        x = x + given.base
    if config.anchor == "last":
        x = x + given.last[:, None, :, None]
    return keras.Model(dict(given.inputs), {"forecast": answer(x)}, name="forecaster")
