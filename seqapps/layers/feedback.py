"""A recurrent step that takes its previous output as input. Pure Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import keras

from seqapps.layers import checked, seeded
from seqapps.layers.cells import checked_options, make_cell, state_sizes_of
from seqapps.seeds import seed_of


@keras.saving.register_keras_serializable("seqapps")
class FeedbackCell(keras.layers.Layer):  # type: ignore[misc]
    """One step of an autoregressive decoder of numbers, a cell for `keras.layers.RNN`.

        h_t = cells(known_t, y_{t-1}),    y_t = base_t [+ y_{t-1} where `cumulative`] + W h_t + b

    Differs from `keras.layers.StackedRNNCells`: the previous output is an input and a state. Each step has V targets
    and Q outputs for each of them, such as quantiles; the output `point` is fed back.

    Source: Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks", section 2 (the decoder);
    Salinas et al. 2020, "DeepAR: Probabilistic forecasting with autoregressive recurrent networks", section 3.

    Args:
        cell: `"simple_rnn"`, `"lstm"` or `"gru"`.
        units: tuple of int: size of each layer, the first layer first.
        targets: int, V.
        answers: int, Q.
        point: int in [0, Q): which of the outputs is fed back.
        cumulative: bool: whether a step forecasts the change from the previous step.
        options: dictionary or None, default None: of the cells, as in `Cell`.
        seed: int, default 0: of the initial weights, together with the layer's name: the same in every process.
        arguments: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        inputs: known numbers and base, `<float>[B, D + V Q]`.
        states: of each cell, as in `Cell`; last y_{t-1}, `<float>[B, V]`.

    Returns:
        y_t `<float>[B, V Q]`, and the list of the states after the step, of which the last is the point forecast
        `<float>[B, V]`.

    Raises:
        ValueError: an argument is none of the allowed values.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from seqapps import layers
        >>> cell = layers.FeedbackCell("gru", (4,), targets=1, answers=3, point=1, cumulative=True)
        >>> keras.layers.RNN(cell, return_sequences=True)(np.ones((2, 5, 2 + 3), "float32")).shape
        TensorShape([2, 5, 3])
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
        self.options = checked_options(cell, options or {})
        checked.one_of("point", point, range(answers))
        self.cell, self.units, self.seed = cell, tuple(units), seed
        own = seed_of(seed, self.name)
        self.targets, self.answers, self.point, self.cumulative = targets, answers, point, cumulative
        self.cells = [
            make_cell(cell, size, self.options, name=f"{cell}_{index}", seed=own, dtype=self.dtype_policy)
            for index, size in enumerate(units)
        ]
        self.dense = seeded.dense(targets * answers, name="answer", seed=own, dtype=self.dtype_policy)
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
