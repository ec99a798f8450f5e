"""One training step: ours (plain graph, own cross entropy and optimizer), Keras' parts, and XLA around Keras' parts.

    python benchmarks/training_step.py

Variants alternate in one process, so that a busy machine slows all of them; the ratio is what to read.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from seqapps.architectures import stacked
from seqapps.config import TrainingConfig
from seqapps.modeling.losses import PERPLEXITY
from seqapps.modeling.optimizers import make_optimizer
from seqapps.modeling.recurrent import zero_states
from seqapps.modeling.steps import TrainingStep

ROUNDS = 9


@dataclass(frozen=True)
class Workload:
    """A model and the shape of its batches."""

    name: str
    vocabulary: int
    embedding: int
    units: tuple[int, ...]
    batch: int
    window: int


WORKLOADS = (
    Workload("10,000 words, 2 x LSTM 200", 10_000, 200, (200, 200), 20, 35),
    Workload("65 characters, 2 x LSTM 256", 65, 64, (256, 256), 64, 128),
)


def variants(load: Workload, x: Any, y: Any, weights: Any) -> dict[str, Callable[[], float]]:
    """Returns name to a step that ends when its result is there."""

    def built() -> tuple[keras.Model, dict[str, Any]]:
        config = stacked.Config(units=load.units, embedding=load.embedding)
        model = stacked.build(config, vocabulary_size=load.vocabulary, carry=True, use_cudnn=False)
        return model, zero_states(model, load.batch)

    model, states = built()
    signature = ({"tokens": tf.TensorSpec(x.shape, tf.int32)}, tf.TensorSpec(y.shape, tf.int32))
    config = TrainingConfig()
    optimizer = make_optimizer(config, model.trainable_variables)
    ours = TrainingStep(model, optimizer, PERPLEXITY, config, (*signature, tf.TensorSpec(y.shape, tf.float32)))

    def our_step() -> float:
        ours({"tokens": x}, y, weights, states, 1e-3)
        return ours.sums().mean_loss

    plain, xla = (_keras_step(*built(), x, y, compiled) for compiled in (False, True))
    return {"ours": our_step, "Keras": plain, "Keras, XLA": xla}


def _keras_step(model: keras.Model, states: dict[str, Any], x: Any, y: Any, xla: bool) -> Callable[[], float]:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(1e-3, global_clipnorm=1.0)
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=xla, autograph=False)
    def step() -> Any:
        with tf.GradientTape() as tape:
            value = loss(y, model({"tokens": x, **states}, training=True)["logits"])
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        return value

    return lambda: float(step())


def measure(load: Workload) -> None:
    """Prints the first step, the median step and tokens a second of each variant."""
    shape = (load.batch, load.window)
    draw = np.random.default_rng(1).integers(0, load.vocabulary, (2, *shape), dtype=np.int32)
    steps = variants(load, tf.constant(draw[0]), tf.constant(draw[1]), tf.ones(shape))
    first, times = {}, {name: [] for name in steps}
    for name, step in steps.items():
        start = time.perf_counter()
        step()
        first[name] = time.perf_counter() - start
    for _ in range(ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    print(f"\n{load.name}, batch {load.batch}, {load.window} steps, {os.cpu_count()} cores")
    for name in steps:
        middle = statistics.median(times[name])
        ratio = statistics.median(a / b for a, b in zip(times["Keras"], times[name], strict=True))
        speed = load.batch * load.window / middle
        rate = f"{middle * 1e3:7.1f} ms  {speed:8,.0f} tokens/s  {ratio:5.2f} x Keras"
        print(f"  {name:<11} {rate}  first step {first[name]:.1f} s")


if __name__ == "__main__":
    for workload in WORKLOADS:
        measure(workload)
