"""Shared by the architectures: the fields of a stack of recurrent layers, and the stack itself, with masks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from seqapps.config import ModelConfig, Unit

if TYPE_CHECKING:
    from seqapps.layers.cells import CellOptions

Size = Annotated[int, Field(ge=1)]
Activation = Literal["tanh", "relu", "leaky_relu", "elu"]

OF_A_CELL = (
    "cell", "reset", "activation", "recurrent_initializer", "leak", "learn_leak",
    "transition_depth", "transition_skip", "transition_activation", "skip_steps",
)  # fmt: skip
"""Fields of a cell, in any architecture; `layer_norm` = "cell" is one more."""
OF_OUTPUTS = ("merge", "layer_skip", "output_layers", "activation_penalty", "temporal_penalty")
"""Fields that affect a stack's outputs but not its states; `layer_norm` = "output" is one more."""


class StackConfig(ModelConfig):
    """The fields of a stack of recurrent layers.

    Args:
        cell: `simple_rnn`, `lstm` (Hochreiter & Schmidhuber 1997, forget bias 1) or `gru` (Cho et al. 2014).
        units: size of each layer (of each direction), from the first to the last.
        bidirectional: both directions (Schuster & Paliwal 1997).
        merge: how the outputs of both directions are combined: `concat`, `sum`, `average` or `product`.
        dropout: rate before each layer and after the last; one mask for all time steps of an example
            (variational; Gal & Ghahramani 2016).
        input_dropout, output_dropout: rate before the first layer, and after the last; default: `dropout`.
        recurrent_dropout: dropout rate of the state, with the same mask at all time steps (Gal & Ghahramani 2016). It
            disables the fast kernels: the layer runs step by step.
        weight_drop: share of the recurrent matrix that is zeroed for each training batch (DropConnect; Merity et al.
            2017). Its cost is negligible.
        reset: of a GRU: the reset gate acts `after` the product with the recurrent matrix (the form of cuDNN) or
            `before` it (Cho et al. 2014). In both forms the update gate z weights the old state: h_t = z h_{t-1} +
            (1 - z) n.
        activation: of the candidate of a cell; of an LSTM also of the cell state before the output gate. `tanh`, and
            `relu` for `simple_rnn`, have fast kernels; all others run step by step.
        recurrent_initializer: of the recurrent matrices: `orthogonal`, `glorot_uniform`, or `identity` (`simple_rnn`),
            with which a unit initially accumulates (IRNN, with `activation = "relu"`; Le et al. 2015).
        leak: of `simple_rnn`: share l of the state that is kept, h_t = l h_{t-1} + (1 - l) tanh(..): leaky units
            (Jaeger et al. 2007). 0 is the ordinary cell; any other value runs step by step, without fast kernels.
        learn_leak: every unit learns its own share, initialised to `leak`.
        transition_depth: hidden layers between one state and the next (Pascanu et al. 2014); 0 for none. Runs step by
            step.
        transition_activation: of those layers.
        transition_skip: a residual connection bypasses those layers (Goodfellow et al. 2016, fig. 10.13 c).
        skip_steps: d: the state of t - d also enters step t (El Hihi & Bengio 1996); 0 for none. Runs step by step.
        layer_norm: layer normalisation (Ba et al. 2016) of every layer's `output`, or inside the `cell`, as published
            (step by step).
        layer_skip: skip connection around each layer: `residual` (added; He et al. 2016) or `highway` (gated;
            Srivastava et al. 2015). Where the sizes differ, the input is projected.
        input_layers: sizes of dense layers (ReLU) before the first recurrent layer, applied to each step.
        output_layers: sizes of dense layers (ReLU) after the last one, applied to each step.
        activation_penalty: weight of the mean square of the last layer's output after dropout in the training loss
            (AR; Merity et al. 2017).
        temporal_penalty: the same for the change of that output between steps, before dropout (TAR).
    """

    both_ways: ClassVar[str] = ""
    """Why this architecture cannot be bidirectional; empty where it can."""

    cell: Literal["simple_rnn", "lstm", "gru"] = "lstm"
    units: tuple[Unit, ...] = (128,)
    bidirectional: bool = True
    merge: Literal["concat", "sum", "average", "product"] = "concat"
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    input_dropout: float | None = Field(None, ge=0.0, lt=1.0)
    output_dropout: float | None = Field(None, ge=0.0, lt=1.0)
    recurrent_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    weight_drop: float = Field(0.0, ge=0.0, lt=1.0)
    reset: Literal["after", "before"] = "after"
    activation: Activation = "tanh"
    recurrent_initializer: Literal["orthogonal", "identity", "glorot_uniform"] = "orthogonal"
    leak: float = Field(0.0, ge=0.0, lt=1.0)
    learn_leak: bool = False
    transition_depth: int = Field(0, ge=0, le=64)
    transition_skip: bool = False
    transition_activation: Activation = "tanh"
    skip_steps: int = Field(0, ge=0, le=65_536)
    layer_norm: Literal["none", "output", "cell"] = "none"
    layer_skip: Literal["none", "residual", "highway"] = "none"
    input_layers: tuple[Unit, ...] = ()
    output_layers: tuple[Unit, ...] = ()
    activation_penalty: float = Field(0.0, ge=0.0, allow_inf_nan=False)
    temporal_penalty: float = Field(0.0, ge=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _has_layers(self) -> Self:
        if not self.units:
            raise ValueError("`model.units` must name at least one layer. Received: []. Example: [256, 256]")
        if self.bidirectional and self.both_ways:
            raise ValueError(f"`model.bidirectional` = true {self.both_ways}. Received: true. Allowed: false")
        if self.merge != "concat" and not self.bidirectional:
            raise ValueError(f"`model.merge` is for `model.bidirectional` = true. Received: {self.merge!r} and false")
        return self

    @model_validator(mode="after")
    def _cell_has_these_parts(self) -> Self:
        if self.reset == "before" and self.cell != "gru":
            raise ValueError(f'`model.reset` is for cell "gru". Received: {self.cell!r}')
        if (self.leak or self.learn_leak) and self.cell != "simple_rnn":
            raise ValueError(
                f'`model.leak` is for cell "simple_rnn": the gates of the others learn what stays. Received: '
                f"{self.cell!r}"
            )
        if self.learn_leak and not self.leak:
            raise ValueError("`model.learn_leak` begins at `model.leak`, which is 0. Example: leak = 0.9")
        if self.recurrent_initializer == "identity" and self.cell != "simple_rnn":
            raise ValueError(
                '`model.recurrent_initializer` = "identity" is for cell "simple_rnn": matrices of gates side by side '
                f"are no square. Received: {self.cell!r}. Allowed: orthogonal, glorot_uniform"
            )
        if self.transition_skip and not self.transition_depth:
            raise ValueError("`model.transition_skip` goes past the layers of `model.transition_depth`, which is 0")
        if self.transition_activation != "tanh" and not self.transition_depth:
            raise ValueError(
                "`model.transition_activation` is that of the layers of `model.transition_depth`, which is 0. Example: "
                "transition_depth = 1"
            )
        if self.skip_steps == 1:
            raise ValueError("`model.skip_steps` = 1 is what every recurrent layer has. Received: 1. Allowed: 0, 2, ..")
        for name in ("recurrent_dropout", "weight_drop"):
            if getattr(self, name) and not self.cell_options.plain:
                raise ValueError(
                    f"`model.{name}` is for cells without `leak`, `transition_depth`, `skip_steps` and `layer_norm` = "
                    f'"cell". Received: {getattr(self, name):g}. Remedy: `dropout`'
                )
        return self

    @property
    def cell_options(self) -> CellOptions:
        """Options of a cell besides its kind and size."""
        from seqapps.layers.cells import CellOptions

        return CellOptions(
            reset=self.reset,
            activation=self.activation,
            recurrent_initializer=self.recurrent_initializer,
            leak=self.leak,
            learn_leak=self.learn_leak,
            normalise=self.layer_norm == "cell",
            transition_depth=self.transition_depth,
            transition_skip=self.transition_skip,
            transition_activation=self.transition_activation,
            skip_steps=self.skip_steps,
        )

    @property
    def dropouts(self) -> tuple[float, ...]:
        """Dropout rates before each layer, and after the last."""
        first = self.dropout if self.input_dropout is None else self.input_dropout
        last = self.dropout if self.output_dropout is None else self.output_dropout
        return (first, *[self.dropout] * (len(self.units) - 1), last)

    @property
    def outputs(self) -> int:
        """Size of the stack's output at every step."""
        if self.output_layers:
            return self.output_layers[-1]
        return self.units[-1] * (2 if self.bidirectional and self.merge == "concat" else 1)

    def fields_of(self, names: Iterable[str]) -> dict[str, Any]:
        """Returns some of the fields."""
        return {name: getattr(self, name) for name in names}

    def refuse(self, names: Iterable[str], why: str) -> None:
        """Rejects fields that differ from their defaults, such as those that would have no effect.

        Raises:
            ValueError: one of them is set; `why` ends the sentence that begins with its name.
        """
        for name in names:
            received, usual = getattr(self, name), type(self).model_fields[name].default
            if received != usual:
                received = list(received) if isinstance(received, tuple) else received
                raise ValueError(f"`model.{name}` {why}. Received: {received!r}")

    def states_alone(self, why: str) -> None:
        """Rejects fields that affect a stack's outputs, where only its states are used."""
        self.refuse(OF_OUTPUTS, why)
        if self.layer_norm == "output":
            raise ValueError(f'`model.layer_norm` = "output" {why}. Allowed: none, cell')


def recurrent_stack(  # noqa: PLR0913 - what a stack is made of
    config: StackConfig,
    x: Any,
    mask: Any,
    *,
    name: str = "",
    initial: list[list[Any]] | None = None,
    real: Any = None,
    use_cudnn: bool | Literal["auto"] = "auto",
    layers: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> tuple[Any, list[list[Any]]]:
    """Returns the sequence after the last layer and every layer's last states.

    Args:
        config: fields of the stack.
        x: `<float>[B, T, D]`.
        mask: `<bool>[B, T]`, True on real steps: right-padded rows. It is passed explicitly; a fully padded row is run
            for one step, since cuDNN accepts no empty row.
            None runs every step: sufficient where an output depends on earlier steps only.
        name: prefix of the layers' names.
        initial: the layers' states before the first step (per layer those of the forward direction, then of the
            backward one); None starts from zero.
        real: `<bool>[B, T]` for the penalties, where `mask` is None; None counts every step.
        use_cudnn: False builds layers that run on any device, with the same weights.
        layers: existing layers by name, used instead of new ones.
        seed: of the model; with the layers' names it determines initial weights and dropout.

    Returns:
        `<float>[B, T, config.outputs]`, 0 where the mask is False, and for every layer the states after the last real
        step (h, of an LSTM c, with skips in time past; forward, then backward).
    """
    import keras

    made = _Layers(config, f"{name}_" if name else "", layers or {}, use_cudnn, seed)
    steps = mask
    if mask is not None:
        # The first step of every row is unmasked, so that no row is empty.
        steps = keras.ops.logical_or(mask, keras.ops.cumsum(keras.ops.ones_like(mask, dtype="int32"), axis=1) == 1)
    for index in range(len(config.input_layers)):
        x = made.dense("input", index)(x)
    states = []
    for index in range(len(config.units)):
        read, x = x, made.dropped(x, config.dropouts[index], f"dropout_{index}")
        x, *last = made.recurrent(index)(x, mask=steps, initial_state=initial[index] if initial else None)
        if config.layer_norm == "output":
            x = made.get(f"norm_{index}", keras.layers.LayerNormalization)(x)
        if config.layer_skip != "none":
            x = made.skip(index)(x, read)
        x = _real_alone(x, mask)
        states.append(last)
    outputs, x = x, made.dropped(x, config.dropouts[-1], "dropout_out")
    if config.activation_penalty or config.temporal_penalty:
        x = made.penalty()(x, outputs, real=real if mask is None else mask)
    for index in range(len(config.output_layers)):
        x = _real_alone(made.dense("output", index)(x), mask)
    return x, states


class _Layers:
    """Makes the layers of a stack, or reuses existing ones."""

    def __init__(
        self, config: StackConfig, prefix: str, known: Mapping[str, Any], use_cudnn: bool | Literal["auto"], seed: int
    ) -> None:
        self._config, self._prefix, self._known = config, prefix, known
        self._use_cudnn, self._seed = use_cudnn, seed

    def get(self, name: str, make: Callable[..., Any]) -> Any:
        name = f"{self._prefix}{name}"
        return self._known[name] if name in self._known else make(name=name)

    def recurrent(self, index: int) -> Any:
        import keras

        from seqapps.layers.states import recurrent_layer

        config, units = self._config, self._config.units[index]

        def one_way(name: str, *, go_backwards: bool = False) -> Any:
            if config.recurrent_dropout:
                warnings.warn(
                    f"`model.recurrent_dropout` = {config.recurrent_dropout:g} leaves the fast path of layer {name}: "
                    "every step is run by itself, several times as slow on a CPU and about 25 times on a GPU. "
                    "`model.dropout` costs nothing.",
                    stacklevel=2,
                )
            return recurrent_layer(
                config.cell,
                units,
                name=name,
                use_cudnn=self._use_cudnn,
                options=config.cell_options,
                recurrent_dropout=config.recurrent_dropout,
                weight_drop=config.weight_drop,
                go_backwards=go_backwards,
                seed=self._seed,
            )

        if not config.bidirectional:
            return self.get(f"{config.cell}_{index}", one_way)
        mode = {"concat": "concat", "sum": "sum", "average": "ave", "product": "mul"}[config.merge]

        def two_ways(name: str) -> Any:
            inner = f"{self._prefix}{config.cell}_{index}"
            # Keras would copy the backward layer from the forward one, with the same seeds.
            backward = one_way(f"backward_{inner}", go_backwards=True)
            both = keras.layers.Bidirectional(one_way(inner), merge_mode=mode, backward_layer=backward, name=name)
            for layer in (both.forward_layer, both.backward_layer):
                layer.beside = 2
            return both

        return self.get(f"bi_{config.cell}_{index}", two_ways)

    def dense(self, where: Literal["input", "output"], index: int) -> Any:
        from seqapps.layers import seeded

        sizes = {"input": self._config.input_layers, "output": self._config.output_layers}[where]
        units, seed = sizes[index], self._seed
        return self.get(f"{where}_{index}", lambda name: seeded.dense(units, "relu", name=name, seed=seed))

    def skip(self, index: int) -> Any:
        from seqapps.layers.skips import LayerSkip

        kind: Any = self._config.layer_skip
        return self.get(f"skip_{index}", lambda name: LayerSkip(kind, seed=self._seed, name=name))

    def penalty(self) -> Any:
        from seqapps.layers.penalties import ActivationPenalty

        config = self._config
        return self.get(
            "penalty", lambda name: ActivationPenalty(config.activation_penalty, config.temporal_penalty, name=name)
        )

    def dropped(self, x: Any, rate: float, name: str) -> Any:
        from seqapps.layers import seeded

        def make(name: str) -> Any:
            return seeded.spatial_dropout(rate, name=name, seed=self._seed)

        return self.get(name, make)(x) if rate else x


def _real_alone(x: Any, mask: Any) -> Any:
    import keras

    return x if mask is None else x * keras.ops.cast(mask, x.dtype)[:, :, None]


def state_inputs_of(config: StackConfig) -> list[dict[str, Any]]:
    """Returns the inputs for the initial states of every layer, name to input, for a unidirectional stack."""
    from seqapps.layers.states import state_inputs

    return [state_inputs(config.cell, units, index, config.cell_options) for index, units in enumerate(config.units)]
