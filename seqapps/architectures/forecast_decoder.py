"""Encoder-decoder: recurrent layers read the history, others of the same size forecast the horizon step by step, each
from its known features and the decoder's previous output.

Source: Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks", for numbers; trained as it is
served, without teacher forcing.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from seqapps.architectures._forecast import ForecastConfig, Sizes, answer, window
from seqapps.architectures._stack import recurrent_stack

if TYPE_CHECKING:
    import keras

APPLICATIONS = ("time_series",)


class Config(ForecastConfig):
    """The `model` section of an encoder-decoder of numbers; dropout and `input_layers` are the encoder's."""

    architecture: Literal["forecast_decoder"] = "forecast_decoder"

    @model_validator(mode="after")
    def _states_alone(self) -> Self:
        why = "changes outputs, and this decoder begins with the states of its encoder"
        self.states_alone(why)
        self.refuse(["output_dropout"], why)
        return self


def build(config: Config, *, sizes: Sizes, use_cudnn: bool | Literal["auto"] = "auto", seed: int = 0) -> keras.Model:
    """Returns history -> encoder -> states -> decoder over the horizon -> output.

    Args:
        config: the `model` section.
        sizes: of a window.
        use_cudnn: False builds a model that runs on any device, with the same weights.
        seed: of the configuration; with the layers' names it determines initial weights and dropout.

    Returns:
        A functional model. In: see `_forecast.window`. Out: `forecast <float32>[B, P, V, Q]` in standard units.
    """
    import keras

    from seqapps.layers.feedback import FeedbackCell

    given = window(config, sizes)
    _, states = recurrent_stack(config, given.past, given.mask, name="encoder", use_cudnn=use_cudnn, seed=seed)
    wide = sizes.targets * config.answers
    zeros = keras.ops.zeros_like(given.last)[:, :1]
    base = keras.ops.repeat(keras.ops.repeat(zeros[:, :, None], sizes.horizon, axis=1), wide, axis=2)
    if given.base is not None:
        base = keras.ops.reshape(given.base, (-1, sizes.horizon, wide))
    steps = base if given.future is None else keras.ops.concatenate([given.future, base], axis=-1)
    cell = FeedbackCell(
        config.cell,
        config.units,
        targets=sizes.targets,
        answers=config.answers,
        point=config.point,
        cumulative=config.anchor == "last",
        options=asdict(config.cell_options),
        name="step",
        seed=seed,
    )
    initial = [state for layer, last in enumerate(states) for state in _bridge(config, layer, last, seed)]
    x = keras.layers.RNN(cell, return_sequences=True, name="decoder")(steps, initial_state=[*initial, given.last])
    x = keras.layers.Reshape((sizes.horizon, sizes.targets, config.answers), name="steps")(x)
    return keras.Model(dict(given.inputs), {"forecast": answer(x)}, name="forecast_decoder")


def _bridge(config: Config, layer: int, states: list[Any], seed: int) -> list[Any]:
    """Returns the decoder's initial states of a layer: the encoder's last; of two directions, a dense map of both."""
    import keras

    from seqapps.layers import seeded
    from seqapps.layers.cells import STATES, repeated_past

    if not config.bidirectional:
        return states
    half = len(states) // 2
    both = [keras.ops.concatenate(pair, axis=-1) for pair in zip(states[:half], states[half:], strict=True)]
    first = [
        seeded.dense(config.units[layer], "tanh", name=f"bridge_{layer}_{place}", seed=seed)(state)
        for place, state in enumerate(both[: len(STATES[config.cell])])
    ]
    return [*first, repeated_past(first[0], config.skip_steps)] if config.skip_steps else first
