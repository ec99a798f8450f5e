"""A recurrent step that takes its previous output as input. Pure Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import keras

from seqapps.layers import seeded
from seqapps.layers.cells import CellOptions, make_cell, state_sizes_of
from seqapps.seeds import seed_of


@keras.saving.register_keras_serializable("seqapps")
class FeedbackCell(keras.layers.Layer):  # type: ignore[misc]
    """One step of an autoregressive decoder of numbers: (known_t, y_{t-1}) -> stacked cells -> y_t.

        y_t = base_t [+ y_{t-1}] + W h_t + b

    Args:
        cell: `simple_rnn`, `lstm` or `gru`.
        units: size of each layer, the first layer first.
        targets, answers: V and Q: numbers of targets, and of outputs for each.
        point: which of the Q outputs is fed back.
        cumulative: whether a step forecasts the change from the previous step.
        options: of the cells: the fields of `CellOptions`.
        seed: of the initial weights, together with the layer's name.
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
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.options = CellOptions(**(options or {}))
        self.cell, self.units, self.seed = cell, tuple(units), seed
        own = seed_of(seed, self.name)
        self.targets, self.answers, self.point, self.cumulative = targets, answers, point, cumulative
        self.cells = [
            make_cell(cell, size, self.options, name=f"{cell}_{index}", seed=own) for index, size in enumerate(units)
        ]
        self.dense = seeded.dense(targets * answers, name="answer", seed=own)
        sizes = [size for each in units for size in state_sizes_of(cell, each, self.options).values()]
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

    def call(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        """Returns y_t `<float>[B, V * Q]` and the next states, of which the last is the point forecast."""
        *before, last = states
        known, base = inputs[:, : -self.output_size], inputs[:, -self.output_size :]
        x = keras.ops.concatenate([known, last], axis=-1)
        width = len(state_sizes_of(self.cell, 1, self.options))
        after = []
        for index, cell in enumerate(self.cells):
            x, new = cell(x, list(before[width * index : width * (index + 1)]))
            after += list(new) if isinstance(new, list | tuple) else [new]
        values = base + self.dense(x)
        shaped = keras.ops.reshape(values, (-1, self.targets, self.answers))
        if self.cumulative:
            shaped = shaped + last[:, :, None]
        return keras.ops.reshape(shaped, (-1, self.output_size)), [*after, shaped[:, :, self.point]]

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        names = ("cell", "units", "targets", "answers", "point", "cumulative", "seed")
        own = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **own, "options": asdict(self.options)}
