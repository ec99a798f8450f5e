"""Drop-in replacements of Keras' recurrent layers: same weights, configuration and results, faster implementation.

Also Keras' embedding, for large vocabularies.

    layer = LSTM(256, return_sequences=True)        # instead of keras.layers.LSTM(256, return_sequences=True)

With TensorFlow they run the kernels of `seqapps.layers.kernels`: on a GPU cuDNN, where it supports the cell, with any
mask; on a CPU our own. With `use_cudnn=False` they run Keras' own loop of core operations, which any TensorFlow can
load: for SavedModels. With other backends they are Keras' layers. `layer.obstacle()` returns why a layer does not run
the CPU kernels.

Second derivatives use TensorFlow's own operations on a CPU; `GradientTape.jacobian` of them requires a static number
of at most 64 steps, or `use_cudnn=False`. cuDNN has no second derivatives: on a GPU they require `use_cudnn=False`, as
with Keras' layers.
"""

from __future__ import annotations

import functools
from typing import Any

import keras

from seqapps.seeds import seed_of

_GPU = "there is a GPU"
_BACKEND = "the Keras backend is"


class _Recurrent:
    """Mixin with what the three layers add to Keras'.

    Args:
        weight_drop: share of the recurrent matrix that is set to 0, the rest scaled up, drawn once for each batch
            (DropConnect; Merity et al. 2017, "Regularizing and Optimizing LSTM Language Models", section 2).
    """

    beside: int = 1
    """Number of recurrences that run concurrently, including this one: the kernels share the cores. Not saved."""

    def __init__(self, units: int, *arguments: Any, weight_drop: float = 0.0, **options: Any) -> None:
        if not 0.0 <= weight_drop < 1.0:
            raise ValueError(f"weight_drop must be a share. Received: {weight_drop}. Allowed: [0, 1)")
        super().__init__(units, *arguments, **options)  # type: ignore[call-arg]
        self.weight_drop = weight_drop
        seed = self.cell.seed  # type: ignore[attr-defined]
        own = seed if seed is None else seed_of(seed, "weight_drop")
        self._drawn = keras.random.SeedGenerator(own) if weight_drop else None

    def get_config(self) -> dict[str, Any]:
        own = {"weight_drop": self.weight_drop} if self.weight_drop else {}
        return {**super().get_config(), "use_cudnn": self.use_cudnn, **own}  # type: ignore[misc, attr-defined]

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        """See `keras.layers.RNN.call`. Random draws of a call are not shared with concurrent calls."""
        cell: Any = self.cell  # type: ignore[attr-defined]
        layer = self
        if training and (self.weight_drop or cell.dropout or cell.recurrent_dropout):
            drawn = {}
            if self.weight_drop:
                drawn["recurrent_kernel"] = keras.random.dropout(
                    cell.recurrent_kernel, self.weight_drop, seed=self._drawn
                )
            layer = _twin(self, cell=_twin(cell, **drawn))
        return super(_Recurrent, layer).call(  # type: ignore[misc]
            sequences, initial_state=initial_state, mask=mask, training=training
        )

    def obstacle(self) -> str:
        """Returns why the layer cannot run the CPU kernels; empty when it can."""
        layer: Any = self
        if keras.backend.backend() != "tensorflow":
            return f"{_BACKEND} {keras.backend.backend()}"
        # Reasons that also rule out the GPU kernels come first.
        reasons = (
            (layer.use_cudnn is False, "use_cudnn is False"),
            (layer.unroll, "unroll is True"),
            (not layer.cell.use_bias, "use_bias is False"),
            (layer.cell.recurrent_dropout, "recurrent_dropout draws another mask for every step"),
        )
        found = next((reason for holds, reason in reasons if holds), "") or self._activations()
        if found or _gpus():
            return found or _GPU
        return f"the layer computes in {layer.compute_dtype}" if layer.compute_dtype == "float64" else ""

    def _activations(self) -> str:
        cell: Any = self.cell  # type: ignore[attr-defined]
        if cell.activation is not keras.activations.tanh:
            return f"the activation is {_name(cell.activation)}, not tanh"
        if cell.recurrent_activation is not keras.activations.sigmoid:
            return f"the recurrent activation is {_name(cell.recurrent_activation)}, not sigmoid"
        return ""

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        """See `keras.layers.RNN.inner_loop`: `(last output, outputs, states)`, batch-major."""
        obstacle = self.obstacle()
        if obstacle and (obstacle != _GPU or _not_cudnn(self)):
            return super().inner_loop(sequences, initial_state, mask=mask, training=training)  # type: ignore[misc]
        from seqapps.layers.kernels import cudnn, layered

        way = cudnn if obstacle else layered
        states = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        if mask is not None and len(mask.shape) == 3:
            mask = mask[:, :, 0]
        return way.run_layer(self, sequences, states, mask, training=bool(training))


@keras.saving.register_keras_serializable(package="seqapps")
class SimpleRNN(_Recurrent, keras.layers.SimpleRNN):  # type: ignore[misc]
    """`keras.layers.SimpleRNN`; see the module.

    Args:
        units: size of the state.
        use_cudnn: False for Keras' own loop on every device.
        options: those of `keras.layers.SimpleRNN`, and `weight_drop`.
    """

    def __init__(self, units: int, *arguments: Any, use_cudnn: bool | str = "auto", **options: Any) -> None:
        super().__init__(units, *arguments, **options)
        if use_cudnn not in ("auto", True, False):
            raise ValueError(f"use_cudnn must be one of 'auto', True and False. Received: {use_cudnn!r}")
        self.use_cudnn = use_cudnn
        if use_cudnn is not False and keras.backend.backend() == "tensorflow" and _gpus():
            self.supports_jit = False  # XLA cannot run cuDNN; Keras' LSTM and GRU do the same

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.cell.seed}  # Keras omits it

    def _activations(self) -> str:
        activation = self.cell.activation
        known = (keras.activations.tanh, keras.activations.relu)
        return "" if activation in known else f"the activation is {_name(activation)}, not tanh or relu"


@keras.saving.register_keras_serializable(package="seqapps")
class LSTM(_Recurrent, keras.layers.LSTM):  # type: ignore[misc]
    """`keras.layers.LSTM`; see the module."""


@keras.saving.register_keras_serializable(package="seqapps")
class GRU(_Recurrent, keras.layers.GRU):  # type: ignore[misc]
    """`keras.layers.GRU`; see the module. `reset_after` True (cuDNN's) and False (Cho et al. 2014) are both fast."""


@keras.saving.register_keras_serializable(package="seqapps")
class Embedding(keras.layers.Embedding):  # type: ignore[misc]
    """`keras.layers.Embedding` that gathers the requested rows without reading the whole matrix first.

    TensorFlow copies a variable with sparse updates (`lazy_adam`, gradient descent) whenever it is read as a whole.
    """

    def call(self, inputs: Any) -> Any:
        """`<int32>[...] -> <float32>[..., D]`."""
        variable = self.embeddings
        if keras.backend.backend() != "tensorflow" or not isinstance(variable, keras.Variable):
            return super().call(inputs)
        from seqapps.layers.kernels.rows import rows

        return keras.ops.cast(rows(variable.value, inputs), self.compute_dtype)


def path(layer: Any) -> str:
    """Returns which implementation a recurrent layer uses on this machine, in words."""
    if not isinstance(layer, _Recurrent):
        return "step by step, Keras' loop: its cell has no kernel"
    obstacle = layer.obstacle()
    if not obstacle:
        dtype = layer.compute_dtype  # type: ignore[attr-defined]
        return "compiled for this CPU" if dtype == "float32" else "compiled for this CPU, in float32"
    if obstacle.startswith(_BACKEND):
        return f"Keras' own layer: {obstacle}"
    if obstacle == _GPU:
        obstacle = _not_cudnn(layer)
    return f"step by step, Keras' loop: {obstacle}" if obstacle else "cuDNN"


def _not_cudnn(layer: Any) -> str:
    """Returns why a layer without other obstacles does not use cuDNN on a GPU; empty when it does."""
    before = isinstance(layer, keras.layers.GRU) and not layer.cell.reset_after
    return "cuDNN resets after the product alone" if before else ""


def _name(activation: Any) -> str:
    """Returns the name of an activation: a function, a partial one, or a layer."""
    function = activation.func if isinstance(activation, functools.partial) else activation
    return str(getattr(function, "__name__", type(function).__name__))


def _twin(layer: Any, **different: Any) -> Any:
    """Returns a shallow copy of a layer, sharing its variables, with some attributes replaced.

    Layers are shared by threads: state of a single call is not written into them.
    """
    twin = object.__new__(type(layer))
    twin.__dict__.update(layer.__dict__, **different)
    return twin


@functools.cache
def _gpus() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))
