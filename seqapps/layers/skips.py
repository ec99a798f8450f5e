"""Skip connections around a recurrent layer. Pure Keras."""

from __future__ import annotations

from typing import Any, Literal

import keras

from seqapps.layers import checked, seeded
from seqapps.seeds import seed_of

_CLOSED = -1.0
"""Initial bias of a highway gate: it mostly passes the layer's input through (Srivastava et al. 2015, sec. 2.2)."""


@keras.saving.register_keras_serializable("seqapps")
class LayerSkip(keras.layers.Layer):  # type: ignore[misc]
    """Combines the output f(x) of a layer with its input x.

        y = f(x) + x                                                   `residual`
        y = t * f(x) + (1 - t) * x,    t = sigmoid(T x + b)            `highway`; b begins at -1

    Differs from `keras.layers.Add`: where the sizes differ, P x replaces x; and there is the gated form.

    Source: He et al. 2016, "Deep Residual Learning for Image Recognition", eq. 1 and 2 (`residual`); Srivastava et al.
    2015, "Highway Networks", eq. 3 (`highway`).

    Args:
        kind: `"residual"` or `"highway"`.
        seed: int, default 0: of the initial weights, together with the layer's name: the same in every process.
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        given: the output of the layer, `<float>[B, T, D]`.
        read: its input, `<float>[B, T, E]`.

    Returns:
        `<float>[B, T, D]`, with the mask of `given`.

    Raises:
        ValueError: `kind` is none of the allowed values.

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> x = np.ones((2, 5, 4), "float32")
        >>> outputs = layers.GRU(4, return_sequences=True)(x)
        >>> skipped = layers.LayerSkip("residual")(outputs, x)
        >>> bool(np.allclose(skipped, outputs + x))
        True
    """

    def __init__(self, kind: Literal["residual", "highway"], *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        checked.one_of("kind", kind, ("residual", "highway"))
        self.kind, self.seed = kind, seed
        self.supports_masking = True
        self.projection: Any = None
        self.gate: Any = None

    def build(self, given_shape: tuple[int | None, ...], read_shape: tuple[int | None, ...]) -> None:
        """Makes P `<float32>[E, D]`, T `<float32>[D, D]` and b `<float32>[D]`, as needed."""
        size, own, policy = int(given_shape[-1] or 0), seed_of(self.seed, self.name), self.dtype_policy
        if read_shape[-1] != size:
            self.projection = seeded.dense(size, use_bias=False, name="projection", seed=own, dtype=policy)
            self.projection.build(read_shape)
        if self.kind == "highway":
            bias = keras.initializers.Constant(_CLOSED)
            self.gate = seeded.dense(size, "sigmoid", bias_initializer=bias, name="gate", seed=own, dtype=policy)
            self.gate.build(given_shape)
        self.built = True

    def call(self, given: Any, read: Any) -> Any:
        """Output `<float>[B, T, D]` and input `<float>[B, T, E]` of the layer -> `<float>[B, T, D]`."""
        if self.projection is not None:
            read = self.projection(read)
        if self.gate is None:
            return given + read
        gate = self.gate(read)
        return gate * given + (1.0 - gate) * read

    def compute_output_shape(self, given_shape: Any, read_shape: Any) -> Any:
        """Returns the shape of the layer's output."""
        return given_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {**super().get_config(), "kind": self.kind, "seed": self.seed}
