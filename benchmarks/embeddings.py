"""What a large vocabulary costs in a training step: Adam, which moves every row, beside the lazy Adam and descent.

    python benchmarks/embeddings.py                                    vocabularies of 10,000, 50,000 and 200,000
    python benchmarks/embeddings.py --markdown docs/benchmarks.md

A tagger: embedding of 128, one LSTM of 128, 20 tags, 32 rows of 32 words, gradients clipped by their norm. The words of
a batch are drawn by Zipf's law, so that few rows of the embedding have a gradient. The optimizers take turns in one
process; what is told is the median of the turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from _tables import publish

from seqapps.config import TrainingConfig
from seqapps.modeling.layers import Embedding
from seqapps.modeling.losses import PERPLEXITY
from seqapps.modeling.optimizers import make_optimizer
from seqapps.modeling.recurrent import recurrent_layer
from seqapps.modeling.steps import TrainingStep

OPTIMIZERS = ("adam", "lazy_adam", "sgd")
ROWS, STEPS, UNITS, TAGS = 32, 32, 128, 20


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabularies", nargs="+", type=int, default=[10_000, 50_000, 200_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20, help="of a turn")
    parser.add_argument("--markdown", type=Path, help="puts the table into this file")
    options = parser.parse_args()
    lines = [
        "| words | rows of a batch | adam, ms a step | lazy_adam | sgd |",
        "|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for size in options.vocabularies:
        batches = draw(size)
        steps = {name: step_of(name, size, batches[0]) for name in OPTIMIZERS}
        times: dict[str, list[float]] = {name: [] for name in OPTIMIZERS}
        for step in steps.values():
            turn(step, batches, 3)
        for _ in range(options.rounds):
            for name, step in steps.items():
                times[name].append(turn(step, batches, options.steps))
        distinct = statistics.mean(len(np.unique(batch[0]["words"])) for batch in batches)
        cells = " | ".join(f"{statistics.median(times[name]) * 1000:.1f}" for name in OPTIMIZERS)
        lines.append(f"| {size:,} | {distinct:.0f} | {cells} |")
        print(lines[-1], flush=True)
    if options.markdown:
        publish(options.markdown, "embeddings", "Large vocabularies", "", "\n".join(lines))


def draw(size: int) -> list[Any]:
    """Returns batches (x, y, weights) whose words follow Zipf's law: p(rank) ~ 1 / rank."""
    random = np.random.default_rng(1)
    shares = 1.0 / np.arange(1, size)
    shares /= shares.sum()
    batches = []
    for _ in range(20):
        words = tf.constant(random.choice(size - 1, (ROWS, STEPS), p=shares) + 1, tf.int32)
        tags = tf.constant(random.integers(0, TAGS, (ROWS, STEPS)), tf.int32)
        batches.append(({"words": words}, tags, tf.ones((ROWS, STEPS))))
    return batches


def step_of(optimizer: str, size: int, batch: Any) -> TrainingStep:
    """Returns the training step of a fresh tagger."""
    keras.utils.set_random_seed(1)
    words = keras.Input((None,), dtype="int32", name="words")
    sequence, *_ = recurrent_layer("lstm", UNITS, name="lstm")(Embedding(size, 128)(words))
    model = keras.Model({"words": words}, {"logits": keras.layers.Dense(TAGS)(sequence)})
    settings = TrainingConfig(optimizer=optimizer)  # type: ignore[arg-type]
    signature = tf.nest.map_structure(lambda value: tf.TensorSpec(value.shape, value.dtype), batch)
    return TrainingStep(model, make_optimizer(settings, model.trainable_variables), PERPLEXITY, settings, signature)


def turn(step: TrainingStep, batches: list[Any], count: int) -> float:
    """Returns the seconds of a step; waits for the last one."""
    began = time.perf_counter()
    for number in range(count):
        step(*batches[number % len(batches)], {}, 1e-3)
    step.sums()
    return (time.perf_counter() - began) / count


if __name__ == "__main__":
    main()
