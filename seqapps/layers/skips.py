"""Skip connections around a recurrent layer. Pure Keras."""

from __future__ import annotations

from typing import Any, Literal

import keras

from seqapps.layers import seeded
from seqapps.seeds import seed_of

_CLOSED = -1.0
"""Initial bias of a highway gate: it mostly passes the layer's input through (Srivastava et al. 2015, sec. 2.2)."""


@keras.saving.register_keras_serializable("seqapps")
class LayerSkip(keras.layers.Layer):  # type: ignore[misc]
    """Combines a layer's output with its input: y = f(x) + x, or y = t * f(x) + (1 - t) * x, t = sig(T x + b).

    Where the sizes differ, P x replaces x.

    Sources: He et al. 2016, "Deep Residual Learning for Image Recognition", eq. 1 and 2 (residual); Srivastava et al.
    2015, "Highway Networks", eq. 3 (highway).

    Args:
        kind: `residual` or `highway`.
        seed: of the initial weights, together with the layer's name.
    """

    def __init__(self, kind: Literal["residual", "highway"], *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.kind, self.seed = kind, seed
        self.supports_masking = True
        self.projection: Any = None
        self.gate: Any = None

    def build(self, given_shape: tuple[int | None, ...], read_shape: tuple[int | None, ...]) -> None:
        """Makes P `<float32>[E, D]`, T `<float32>[D, D]` and b `<float32>[D]`, as needed."""
        size, own = int(given_shape[-1] or 0), seed_of(self.seed, self.name)
        if read_shape[-1] != size:
            self.projection = seeded.dense(size, use_bias=False, name="projection", seed=own)
            self.projection.build(read_shape)
        if self.kind == "highway":
            bias = keras.initializers.Constant(_CLOSED)
            self.gate = seeded.dense(size, "sigmoid", bias_initializer=bias, name="gate", seed=own)
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

    def compute_mask(self, *_: Any) -> None:
        """Propagates no implicit mask: masks are explicit arguments."""

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {**super().get_config(), "kind": self.kind, "seed": self.seed}
