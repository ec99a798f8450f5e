"""Keras layers whose initial weights and dropout are determined by a seed and their name. Pure Keras.

Without a seed, Keras draws one from the global generator of the process, which all threads share.
"""

from __future__ import annotations

from typing import Any

import keras

from seqapps.layers.recurrent import Embedding
from seqapps.seeds import seed_of

_DRAWN = {
    "glorot_uniform": keras.initializers.GlorotUniform,
    "identity": lambda seed: keras.initializers.Identity(),  # nothing is drawn
    "normal": keras.initializers.RandomNormal,
    "orthogonal": keras.initializers.Orthogonal,
    "uniform": keras.initializers.RandomUniform,
}


def initializer(kind: str, seed: int, name: str, **options: Any) -> keras.initializers.Initializer:
    """Returns an initialiser with its own seed.

    Args:
        kind: `glorot_uniform`, `identity`, `normal`, `orthogonal` or `uniform`.
        seed: of the layer.
        name: of the weight in its layer.
        options: of the initialiser.
    """
    return _DRAWN[kind](seed=seed_of(seed, name), **options)


def generator(seed: int, name: str) -> keras.random.SeedGenerator:
    """Returns the seed generator of the layer `name` in a model with `seed`."""
    return keras.random.SeedGenerator(seed_of(seed, name))


def dense(units: int, activation: Any = None, *, name: str, seed: int, **options: Any) -> keras.layers.Dense:
    """Returns `keras.layers.Dense` with Keras' default kernel initialiser (Glorot 2010, uniform)."""
    kernel = initializer("glorot_uniform", seed_of(seed, name), "kernel")
    return keras.layers.Dense(units, activation, kernel_initializer=kernel, name=name, **options)


def convolution(units: int, window: int, *, name: str, seed: int, **options: Any) -> keras.layers.Conv1D:
    """Returns `keras.layers.Conv1D` with Keras' default kernel initialiser (Glorot, uniform)."""
    kernel = initializer("glorot_uniform", seed_of(seed, name), "kernel")
    return keras.layers.Conv1D(units, window, kernel_initializer=kernel, name=name, **options)


def embedding(  # noqa: PLR0913 - what an embedding is made of
    size: int, units: int, *, name: str, seed: int, deviation: float = 0.0, trainable: bool = True
) -> keras.layers.Embedding:
    """Returns an embedding of `size` vectors, initialised as in Keras, or normally with a standard `deviation`."""
    own = seed_of(seed, name)
    first = initializer("normal", own, "embeddings", stddev=deviation) if deviation else None
    first = first or initializer("uniform", own, "embeddings")
    return Embedding(size, units, first, trainable=trainable, name=name)


def dropout(rate: float, *, name: str, seed: int, **options: Any) -> keras.layers.Dropout:
    """Returns `keras.layers.Dropout`."""
    return keras.layers.Dropout(rate, seed=seed_of(seed, name), name=name, **options)


def spatial_dropout(rate: float, *, name: str, seed: int) -> keras.layers.SpatialDropout1D:
    """Returns a layer that drops whole features of an example: one mask for all time steps."""
    return keras.layers.SpatialDropout1D(rate, seed=seed_of(seed, name), name=name)


def recurrent(seed: int) -> dict[str, Any]:
    """Returns the seeded arguments of a Keras recurrent layer or cell; `seed` is its own."""
    return {
        "kernel_initializer": initializer("glorot_uniform", seed, "kernel"),
        "recurrent_initializer": initializer("orthogonal", seed, "recurrent_kernel"),
        "seed": seed_of(seed, "dropout"),
    }
