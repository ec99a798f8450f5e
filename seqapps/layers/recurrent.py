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
from typing import Any, Literal

import keras

from seqapps.layers import checked
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
        checked.share("weight_drop", weight_drop)
        super().__init__(units, *arguments, **options)  # type: ignore[call-arg]
        self.weight_drop = weight_drop
        seed = self.cell.seed  # type: ignore[attr-defined]
        own = seed if seed is None else seed_of(seed, "weight_drop")
        self._drawn = keras.random.SeedGenerator(own) if weight_drop else None

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
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
    """Simple recurrent network (Elman 1990), with the weights and results of `keras.layers.SimpleRNN`.

        h_t = tanh(x_t W + h_{t-1} U + b)

    Differs from Keras' layer: on a CPU it runs a kernel compiled by XLA, on a GPU cuDNN with any mask, where the
    activation is `tanh` or `relu`; `use_cudnn` and `weight_drop` are additional arguments; a saved configuration
    keeps `seed`. What the kernels need: docs/layers.md; `obstacle()` returns why they are not used.

    Source: Elman 1990, "Finding Structure in Time"; `weight_drop`: Merity et al. 2017, "Regularizing and Optimizing
    LSTM Language Models", section 2.

    Args:
        units: int, u: size of the state and of an output.
        activation: str or callable, default `"tanh"`: of the new state; None for none.
        use_bias: bool, default True: whether there is a b.
        kernel_initializer: default `"glorot_uniform"`: of W `<float32>[D, u]`.
        recurrent_initializer: default `"orthogonal"`: of U `<float32>[u, u]`.
        bias_initializer: default `"zeros"`: of b `<float32>[u]`.
        kernel_regularizer: default None: penalty of W.
        recurrent_regularizer: default None: penalty of U.
        bias_regularizer: default None: penalty of b.
        activity_regularizer: default None: penalty of the outputs.
        kernel_constraint: default None: constraint of W.
        recurrent_constraint: default None: constraint of U.
        bias_constraint: default None: constraint of b.
        dropout: float in [0, 1), default 0.0: share of the inputs that is dropped, one mask for all time steps.
        recurrent_dropout: float in [0, 1), default 0.0: share of the state that is dropped; runs step by step.
        seed: int or None, default None: of dropout and of `weight_drop`.
        return_sequences: bool, default False: whether every output is returned instead of the last one.
        return_state: bool, default False: whether the last state is returned, too.
        go_backwards: bool, default False: whether it reads from the last step; outputs come in the order of reading.
        stateful: bool, default False: whether a batch begins with the last state of the previous one.
        unroll: bool, default False: whether the loop is written out, which requires a static T; no kernel then.
        use_cudnn: "auto", True or False, default "auto": False for Keras' own loop on every device.
        weight_drop: float in [0, 1), default 0.0: share of U that is set to 0 in training, drawn once for each batch;
            the rest is scaled by 1 / (1 - `weight_drop`).
        options: `name`, `dtype`, `trainable`, `zero_output_for_mask` and the others of `keras.layers.RNN`.

    Call arguments:
        sequences: `<float>[B, T, D]`.
        initial_state: `<float>[B, u]`, or a list of it; default None: zeros, or the carried state of a stateful layer.
        mask: `<bool>[B, T]`, True on real steps; default None: that of `Masking` or `Embedding(mask_zero=True)`, if
            any. A masked step passes the state through.
        training: bool, default False: whether dropout is applied.

    Returns:
        `<float>[B, u]`, or with `return_sequences` `<float>[B, T, u]`; with `return_state` followed by the last state,
        `<float>[B, u]`.

    Raises:
        ValueError: `use_cudnn` or `weight_drop` is none of the allowed values.

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> layer = layers.SimpleRNN(4, activation="relu", return_sequences=True)
        >>> layer(np.ones((2, 5, 3), "float32")).shape
        TensorShape([2, 5, 4])
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the arguments of Keras' layer
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: int | None = None,
        *,
        use_cudnn: bool | Literal["auto"] = "auto",
        weight_drop: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            seed=seed,
            weight_drop=weight_drop,
            **options,
        )
        checked.one_of("use_cudnn", use_cudnn, ("auto", True, False))
        self.use_cudnn = use_cudnn
        if use_cudnn is not False and keras.backend.backend() == "tensorflow" and _gpus():
            self.supports_jit = False  # XLA cannot run cuDNN; Keras' LSTM and GRU do the same

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {**super().get_config(), "seed": self.cell.seed}  # Keras omits it

    def _activations(self) -> str:
        activation = self.cell.activation
        known = (keras.activations.tanh, keras.activations.relu)
        return "" if activation in known else f"the activation is {_name(activation)}, not tanh or relu"


@keras.saving.register_keras_serializable(package="seqapps")
class LSTM(_Recurrent, keras.layers.LSTM):  # type: ignore[misc]
    """Long short-term memory, with the weights and results of `keras.layers.LSTM`.

        i, f, g, o = x_t W + h_{t-1} U + b
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g),    h_t = sigmoid(o) * tanh(c_t)

    Differs from Keras' layer: on a CPU it runs a kernel compiled by XLA, on a GPU cuDNN with any mask (Keras' layer
    rejects masks that are not right-padded, and fully padded rows, at run time); `weight_drop` is an additional
    argument; a saved configuration keeps `use_cudnn`; `use_cudnn=True` is no error without a GPU. The kernels need the
    default activations, a bias, and neither `recurrent_dropout` nor `unroll`; otherwise Keras' own loop runs, with the
    same results. `obstacle()` returns why the kernel is not used. See docs/layers.md.

    Source: Hochreiter & Schmidhuber 1997, "Long Short-Term Memory", with the forget gate of Gers et al. 2000, "Learning
    to Forget"; `weight_drop`: Merity et al. 2017, "Regularizing and Optimizing LSTM Language Models", section 2.

    Args:
        units: int, u: size of the states and of an output.
        activation: str or callable, default `"tanh"`: of g and of c_t; None for none.
        recurrent_activation: str or callable, default `"sigmoid"`: of the gates i, f and o; None for none.
        use_bias: bool, default True: whether there is a b.
        kernel_initializer: default `"glorot_uniform"`: of W `<float32>[D, 4u]`.
        recurrent_initializer: default `"orthogonal"`: of U `<float32>[u, 4u]`.
        bias_initializer: default `"zeros"`: of b `<float32>[4u]`.
        unit_forget_bias: bool, default True: whether b is 1 initially for f, and 0 for the others (Jozefowicz et al.
            2015).
        kernel_regularizer: default None: penalty of W.
        recurrent_regularizer: default None: penalty of U.
        bias_regularizer: default None: penalty of b.
        activity_regularizer: default None: penalty of the outputs.
        kernel_constraint: default None: constraint of W.
        recurrent_constraint: default None: constraint of U.
        bias_constraint: default None: constraint of b.
        dropout: float in [0, 1), default 0.0: share of the inputs that is dropped, one mask for all time steps.
        recurrent_dropout: float in [0, 1), default 0.0: share of h that is dropped; runs step by step.
        seed: int or None, default None: of dropout and of `weight_drop`.
        return_sequences: bool, default False: whether every output is returned instead of the last one.
        return_state: bool, default False: whether the last h and c are returned, too.
        go_backwards: bool, default False: whether it reads from the last step; outputs come in the order of reading.
        stateful: bool, default False: whether a batch begins with the last states of the previous one.
        unroll: bool, default False: whether the loop is written out, which requires a static T; no kernel then.
        use_cudnn: "auto", True or False, default "auto": False for Keras' own loop on every device.
        weight_drop: float in [0, 1), default 0.0: share of U that is set to 0 in training, drawn once for each batch;
            the rest is scaled by 1 / (1 - `weight_drop`).
        options: `name`, `dtype`, `trainable`, `zero_output_for_mask` and the others of `keras.layers.RNN`.

    Call arguments:
        sequences: `<float>[B, T, D]`.
        initial_state: a list of h and c, `<float>[B, u]` each; default None: zeros, or the carried states of a stateful
            layer.
        mask: `<bool>[B, T]`, True on real steps; default None: that of `Masking` or `Embedding(mask_zero=True)`, if
            any. A masked step passes the states through.
        training: bool, default False: whether dropout is applied.

    Returns:
        `<float>[B, u]`, or with `return_sequences` `<float>[B, T, u]`; with `return_state` followed by the last h and
        c, `<float>[B, u]` each.

    Raises:
        ValueError: `use_cudnn` or `weight_drop` is none of the allowed values.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from seqapps import layers
        >>> x = np.ones((2, 5, 3), "float32")
        >>> sequence, h, c = layers.LSTM(4, return_sequences=True, return_state=True)(x)
        >>> sequence.shape, h.shape, c.shape
        (TensorShape([2, 5, 4]), TensorShape([2, 4]), TensorShape([2, 4]))
        >>> keras.layers.Bidirectional(layers.LSTM(4))(x, mask=np.array([[True] * 5, [True] * 2 + [False] * 3])).shape
        TensorShape([2, 8])
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the arguments of Keras' layer
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: bool | Literal["auto"] = "auto",
        *,
        weight_drop: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            unit_forget_bias=unit_forget_bias,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            use_cudnn=use_cudnn,
            weight_drop=weight_drop,
            **options,
        )


@keras.saving.register_keras_serializable(package="seqapps")
class GRU(_Recurrent, keras.layers.GRU):  # type: ignore[misc]
    """Gated recurrent unit, with the weights and results of `keras.layers.GRU`.

        z, r = sigmoid(x_t W + h_{t-1} U + b),    h_t = z * h_{t-1} + (1 - z) * n       with the columns of z and r
        n = tanh(x_t W + b_0 + r * (h_{t-1} U + b_1))     `reset_after=True`            with the columns of n
        n = tanh(x_t W + b + (r * h_{t-1}) U)             `reset_after=False`

    Differs from Keras' layer: on a CPU it runs a kernel compiled by XLA in both forms, on a GPU cuDNN with any mask
    where `reset_after` is True; `weight_drop` is an additional argument; a saved configuration keeps `use_cudnn`;
    `use_cudnn=True` is no error without a GPU. The kernels need the default activations, a bias, and neither
    `recurrent_dropout` nor `unroll`; otherwise Keras' own loop runs, with the same results. `obstacle()` returns why
    the kernel is not used. See docs/layers.md.

    Source: Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", eq. 5 to 8 (`reset_after`
    False); `weight_drop`: Merity et al. 2017, "Regularizing and Optimizing LSTM Language Models", section 2.

    Args:
        units: int, u: size of the state and of an output.
        activation: str or callable, default `"tanh"`: of n; None for none.
        recurrent_activation: str or callable, default `"sigmoid"`: of the gates z and r; None for none.
        use_bias: bool, default True: whether there is a b.
        kernel_initializer: default `"glorot_uniform"`: of W `<float32>[D, 3u]`.
        recurrent_initializer: default `"orthogonal"`: of U `<float32>[u, 3u]`.
        bias_initializer: default `"zeros"`: of b, `<float32>[2, 3u]` with `reset_after`, otherwise `<float32>[3u]`.
        kernel_regularizer: default None: penalty of W.
        recurrent_regularizer: default None: penalty of U.
        bias_regularizer: default None: penalty of b.
        activity_regularizer: default None: penalty of the outputs.
        kernel_constraint: default None: constraint of W.
        recurrent_constraint: default None: constraint of U.
        bias_constraint: default None: constraint of b.
        dropout: float in [0, 1), default 0.0: share of the inputs that is dropped, one mask for all time steps.
        recurrent_dropout: float in [0, 1), default 0.0: share of the state that is dropped; runs step by step.
        seed: int or None, default None: of dropout and of `weight_drop`.
        return_sequences: bool, default False: whether every output is returned instead of the last one.
        return_state: bool, default False: whether the last state is returned, too.
        go_backwards: bool, default False: whether it reads from the last step; outputs come in the order of reading.
        stateful: bool, default False: whether a batch begins with the last state of the previous one.
        unroll: bool, default False: whether the loop is written out, which requires a static T; no kernel then.
        reset_after: bool, default True: whether r acts after the product with U (cuDNN's form) or before it.
        use_cudnn: "auto", True or False, default "auto": False for Keras' own loop on every device.
        weight_drop: float in [0, 1), default 0.0: share of U that is set to 0 in training, drawn once for each batch;
            the rest is scaled by 1 / (1 - `weight_drop`).
        options: `name`, `dtype`, `trainable`, `zero_output_for_mask` and the others of `keras.layers.RNN`.

    Call arguments:
        sequences: `<float>[B, T, D]`.
        initial_state: `<float>[B, u]`, or a list of it; default None: zeros, or the carried state of a stateful layer.
        mask: `<bool>[B, T]`, True on real steps; default None: that of `Masking` or `Embedding(mask_zero=True)`, if
            any. A masked step passes the state through.
        training: bool, default False: whether dropout is applied.

    Returns:
        `<float>[B, u]`, or with `return_sequences` `<float>[B, T, u]`; with `return_state` followed by the last state,
        `<float>[B, u]`.

    Raises:
        ValueError: `use_cudnn` or `weight_drop` is none of the allowed values.

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> output, state = layers.GRU(4, reset_after=False, return_state=True)(np.ones((2, 5, 3), "float32"))
        >>> output.shape, bool(np.all(output == state))
        (TensorShape([2, 4]), True)
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the arguments of Keras' layer
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        use_cudnn: bool | Literal["auto"] = "auto",
        *,
        weight_drop: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            reset_after=reset_after,
            use_cudnn=use_cudnn,
            weight_drop=weight_drop,
            **options,
        )


@keras.saving.register_keras_serializable(package="seqapps")
class Embedding(keras.layers.Embedding):  # type: ignore[misc]
    """Vectors of ids, with the weights and results of `keras.layers.Embedding`.

        y = E[id]

    Differs from Keras' layer: it gathers the requested rows without reading the whole matrix first. TensorFlow copies a
    variable with sparse updates (`lazy_adam`, gradient descent) whenever it is read as a whole; with a large vocabulary
    that is much of a training step.

    Source: Bengio et al. 2003, "A Neural Probabilistic Language Model", section 2.

    Args:
        input_dim: int, V: number of ids.
        output_dim: int, D: size of a vector.
        embeddings_initializer: default `"uniform"`: of E `<float32>[V, D]`.
        embeddings_regularizer: default None: penalty of E.
        embeddings_constraint: default None: constraint of E.
        mask_zero: bool, default False: whether id 0 is padding: the mask that following layers get is `ids != 0`.
        weights: array `[V, D]` or None, default None: initial E.
        lora_rank: int or None, default None: rank of a trained low-rank change of a fixed E.
        lora_alpha: int or None, default None: the change is scaled by `lora_alpha / lora_rank`.
        quantization_config: default None: see `keras.layers.Embedding`.
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        inputs: `<int>[...]`, in [-V, V); a negative id counts from the end, as in Keras. Sparse and ragged tensors are
            passed to Keras' own code.

    Returns:
        `<float>[..., D]`.

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> layer = layers.Embedding(7, 3, mask_zero=True)
        >>> ids = np.array([[1, 5, 0]])
        >>> layer(ids).shape, layer.compute_mask(ids).numpy().tolist()
        (TensorShape([1, 3, 3]), [[True, True, False]])
    """

    def call(self, inputs: Any) -> Any:
        """`<int32>[...] -> <float32>[..., D]`."""
        if keras.backend.backend() != "tensorflow":
            return super().call(inputs)
        from seqapps.layers.kernels.rows import dense, rows

        variable = self.embeddings
        if not isinstance(variable, keras.Variable) or not dense(inputs):
            return super().call(inputs)
        return keras.ops.cast(rows(variable.value, inputs), self.compute_dtype)

    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        """See `keras.layers.Embedding.quantize`, which refuses subclasses because they may compute something else."""
        super().quantize(mode, type_check=type_check and type(self) is not Embedding, config=config)


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
