"""Shared by the forecasting architectures: fields, inputs, and the baseline that the output is added to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from seqapps.architectures._stack import StackConfig
from seqapps.config import Unit
from seqapps.dataset.manifest import Manifest
from seqapps.preprocessing.series.plan import Plan, category


class ForecastConfig(StackConfig):
    """The fields of a forecasting model.

    Args:
        bidirectional: of the encoder of the history.
        loss: `mse` (the mean is forecast) or `mae` (the median); not for quantiles.
        quantiles: levels of a quantile forecast, with the pinball loss (Koenker & Bassett 1978); 0.5, the median, is
            the point forecast. Empty: a point forecast only.
        anchor: baseline that the network's output is added to: `none`, `last` (the last value of the history: the
            network forecasts the change) or `season` (the value one season earlier; requires `data.season`).
        highway: a linear map of the whole history is added to the output (the autoregressive component of Lai et al.
            2018, "Modeling Long- and Short-Term Temporal Patterns with Deep Neural Networks", sec. 3.6).
    """

    cell: Literal["simple_rnn", "lstm", "gru"] = "gru"
    units: tuple[Unit, ...] = (16,)
    bidirectional: bool = False
    loss: Literal["mse", "mae"] = "mse"
    quantiles: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...] = ()
    anchor: Literal["none", "last", "season"] = "last"
    highway: bool = False

    @model_validator(mode="after")
    def _quantiles_in_order(self) -> Self:
        levels = self.quantiles
        if levels and (0.5 not in levels or list(levels) != sorted(set(levels))):
            raise ValueError(
                f"`model.quantiles` must increase and hold 0.5. Received: {list(levels)}. Example: [0.1, 0.5, 0.9]"
            )
        if levels and self.loss != "mse":
            raise ValueError("`model.loss` is not used beside `model.quantiles`, whose loss is the pinball loss")
        return self

    @property
    def answers(self) -> int:
        """Q, number of outputs for each step and target."""
        return max(1, len(self.quantiles))

    @property
    def point(self) -> int:
        """Index of the point forecast among them."""
        return self.quantiles.index(0.5) if self.quantiles else 0


@dataclass(frozen=True)
class Sizes:
    """The sizes of a window.

    Args:
        history, features: H and F.
        horizon, targets: P and V.
        known, static: number of numeric features of a future step, and of a series.
        codes, known_codes, static_codes: number of categories of each label column, without the unknown one.
    """

    history: int
    features: int
    horizon: int
    targets: int
    known: int = 0
    static: int = 0
    codes: tuple[int, ...] = ()
    known_codes: tuple[int, ...] = ()
    static_codes: tuple[int, ...] = ()


def sizes_of(plan: Plan, manifest: Manifest) -> Sizes:
    """Returns the sizes of the windows of a prepared data set."""
    columns = plan.columns

    def categories(names: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(manifest.vocabularies[category(name)].size for name in names)

    return Sizes(
        history=plan.history,
        features=plan.features,
        horizon=plan.horizon,
        targets=len(columns.targets),
        known=plan.known,
        static=len(columns.static_numbers),
        codes=categories(columns.labels),
        known_codes=categories(tuple(columns.labels[place] for place in columns.known_labels)),
        static_codes=categories(columns.static_labels),
    )


@dataclass(frozen=True)
class Window:
    """The inputs of a model and the tensors derived from them.

    Args:
        inputs: by name.
        past: `<float32>[B, H, D]`: numbers, one-hot categories, static features.
        mask: `<bool>[B, H]`, all True: a window has no padding.
        future: `<float32>[B, P, D]`, known features of the forecast steps; None without any.
        base: `<float32>[B, P, V, Q]`, added to the output, without the last value; None for zero.
        last: `<float32>[B, V]`, the last values of the history.
    """

    inputs: Mapping[str, Any]
    past: Any
    mask: Any
    future: Any
    base: Any
    last: Any


def window(config: ForecastConfig, sizes: Sizes) -> Window:
    """Returns the inputs of a model: `history`, and where there are any `codes`, `known`, `known_codes`, `static`,
    `static_codes`, `seasonal`."""
    import keras

    inputs = {"history": keras.Input((sizes.history, sizes.features), name="history")}
    shapes = {
        "codes": ((sizes.history, len(sizes.codes)), "int32"),
        "known": ((sizes.horizon, sizes.known), "float32"),
        "known_codes": ((sizes.horizon, len(sizes.known_codes)), "int32"),
        "static": ((sizes.static,), "float32"),
        "static_codes": ((len(sizes.static_codes),), "int32"),
        "seasonal": ((sizes.horizon, sizes.targets if config.anchor == "season" else 0), "float32"),
    }
    for name, (shape, dtype) in shapes.items():
        if shape[-1]:
            inputs[name] = keras.Input(shape, dtype=dtype, name=name)
    history = inputs["history"]
    fixed = _joined([inputs.get("static"), _one_hot(inputs.get("static_codes"), sizes.static_codes)])
    past = _joined([history, _one_hot(inputs.get("codes"), sizes.codes), _repeated(fixed, sizes.history)])
    future = _joined(
        [
            inputs.get("known"),
            _one_hot(inputs.get("known_codes"), sizes.known_codes),
            inputs.get("seasonal"),
            _repeated(fixed, sizes.horizon),
        ]
    )
    mask = keras.ops.ones_like(history[:, :, 0], dtype="bool")
    last = history[:, -1, : sizes.targets]
    return Window(inputs, past, mask, future, _base(config, sizes, inputs, past), last)


def _base(config: ForecastConfig, sizes: Sizes, inputs: Mapping[str, Any], past: Any) -> Any:
    import keras

    parts = []
    if config.anchor == "season":
        parts.append(keras.ops.repeat(inputs["seasonal"][..., None], config.answers, axis=3))
    if config.highway:
        answers = sizes.horizon * sizes.targets * config.answers
        flat = keras.layers.Flatten(name="whole_history")(past)
        linear = keras.layers.Dense(answers, use_bias=False, kernel_initializer="zeros", name="highway")(flat)
        parts.append(keras.layers.Reshape((sizes.horizon, sizes.targets, config.answers), name="linear")(linear))
    return sum(parts[1:], parts[0]) if parts else None


def answer(values: Any) -> Any:
    """Returns the output of a model, float32, the quantiles of each step sorted (the rearrangement of
    Chernozhukov, Fernandez-Val & Galichon 2010), `[B, P, V, Q]`."""
    import keras

    values = keras.ops.cast(values, "float32")
    return keras.ops.sort(values, axis=-1) if values.shape[-1] > 1 else values


def _one_hot(codes: Any, sizes: tuple[int, ...]) -> Any:
    """Index 0, an unknown category, maps to zeros."""
    import keras

    if codes is None:
        return None
    hot = [keras.ops.one_hot(codes[..., place], size + 1)[..., 1:] for place, size in enumerate(sizes)]
    return _joined(hot)


def _repeated(values: Any, steps: int) -> Any:
    import keras

    return None if values is None else keras.ops.repeat(values[:, None, :], steps, axis=1)


def _joined(parts: list[Any]) -> Any:
    import keras

    found = [part for part in parts if part is not None]
    if not found:
        return None
    return keras.ops.concatenate(found, axis=-1) if len(found) > 1 else found[0]
