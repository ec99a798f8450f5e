"""A recurrent step whose input is its own last answer. Pure Keras."""

from __future__ import annotations

from typing import Any

import keras

CELLS = {"simple_rnn": keras.layers.SimpleRNNCell, "lstm": keras.layers.LSTMCell, "gru": keras.layers.GRUCell}


@keras.saving.register_keras_serializable("seqapps")
class FeedbackCell(keras.layers.Layer):  # type: ignore[misc]
    """One step of a decoder of numbers: (known_t, y_{t-1}) -> stacked cells -> y_t.

        y_t = base_t [+ y_{t-1}] + W h_t + b

    Args:
        cell: `simple_rnn`, `lstm` or `gru`.
        units: size of each layer, the first layer first.
        targets, answers: V and Q: numbers of a step.
        point: which of the Q answers is fed back.
        cumulative: whether a step forecasts the change from the step before it.
    """

    def __init__(  # noqa: PLR0913 - what a step is made of
        self,
        cell: str,
        units: tuple[int, ...],
        *,
        targets: int,
        answers: int,
        point: int,
        cumulative: bool,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.cell, self.units = cell, tuple(units)
        self.targets, self.answers, self.point, self.cumulative = targets, answers, point, cumulative
        self.cells = [CELLS[cell](size, name=f"{cell}_{index}") for index, size in enumerate(units)]
        self.dense = keras.layers.Dense(targets * answers, name="answer")
        sizes = [size for size in units for _ in range(2 if cell == "lstm" else 1)]
        self.state_size = [*sizes, targets]
        self.output_size = targets * answers

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights for inputs `[B, D]`: known numbers, then the base `[V * Q]`."""
        size = int(input_shape[-1] or 0) - self.output_size + self.targets
        for cell, units in zip(self.cells, self.units, strict=True):
            cell.build((None, size))
            size = units
        self.dense.build((None, size))
        self.built = True

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, list[Any]]:
        """Returns y_t `<float>[B, V * Q]` and the states after it, of which the last is its point forecast."""
        *before, last = states
        known, base = inputs[:, : -self.output_size], inputs[:, -self.output_size :]
        x = keras.ops.concatenate([known, last], axis=-1)
        width = 2 if self.cell == "lstm" else 1
        after = []
        for index, cell in enumerate(self.cells):
            x, new = cell(x, list(before[width * index : width * (index + 1)]), training=training)
            after += list(new) if isinstance(new, list | tuple) else [new]
        values = base + self.dense(x)
        shaped = keras.ops.reshape(values, (-1, self.targets, self.answers))
        if self.cumulative:
            shaped = shaped + last[:, :, None]
        return keras.ops.reshape(shaped, (-1, self.output_size)), [*after, shaped[:, :, self.point]]

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        own = {name: getattr(self, name) for name in ("cell", "units", "targets", "answers", "point", "cumulative")}
        return {**super().get_config(), **own}
