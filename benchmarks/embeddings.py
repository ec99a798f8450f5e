"""What a large vocabulary costs in a training step: Adam, which moves every row, beside the lazy Adam and descent.

    python benchmarks/embeddings.py                                    vocabularies of 10,000, 50,000 and 200,000
    python benchmarks/embeddings.py --markdown docs/benchmarks.md

A tagger: embedding of 128, one LSTM of 128, 20 tags, 32 rows of 32 words, gradients clipped by their norm. The words of
a batch are drawn by Zipf's law, so that few rows of the embedding have a gradient. The optimizers take turns in one
process; what is reported is the median of the turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from _tables import publish
from _turns import take_turns, zipf_words

from seqapps.config import TrainingConfig
from seqapps.layers.recurrent import Embedding
from seqapps.layers.states import recurrent_layer
from seqapps.optimization.losses import PERPLEXITY
from seqapps.optimization.optimizers import make_optimizer
from seqapps.optimization.steps import TrainingStep

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
        times = take_turns(steps, batches, {}, rounds=options.rounds, count=options.steps)
        distinct = statistics.mean(len(np.unique(batch[0]["words"])) for batch in batches)
        cells = " | ".join(f"{statistics.median(times[name]) * 1000:.1f}" for name in OPTIMIZERS)
        lines.append(f"| {size:,} | {distinct:.0f} | {cells} |")
        print(lines[-1], flush=True)
    if options.markdown:
        publish(options.markdown, "embeddings", "Large vocabularies", "", "\n".join(lines))


def draw(size: int) -> list[Any]:
    """Returns batches (x, y, weights) whose words follow Zipf's law: p(rank) ~ 1 / rank."""
    tags = np.random.default_rng(2).integers(0, TAGS, (20, ROWS, STEPS)).astype(np.int32)
    return [
        ({"words": tf.constant(words)}, tf.constant(own), tf.ones((ROWS, STEPS)))
        for words, own in zip(zipf_words(size, 20, (ROWS, STEPS)), tags, strict=True)
    ]


def step_of(optimizer: str, size: int, batch: Any) -> TrainingStep:
    """Returns the training step of a fresh tagger."""
    keras.utils.set_random_seed(1)
    words = keras.Input((None,), dtype="int32", name="words")
    sequence, *_ = recurrent_layer("lstm", UNITS, name="lstm")(Embedding(size, 128)(words))
    model = keras.Model({"words": words}, {"logits": keras.layers.Dense(TAGS)(sequence)})
    settings = TrainingConfig(optimizer=optimizer)  # type: ignore[arg-type]
    signature = tf.nest.map_structure(lambda value: tf.TensorSpec(value.shape, value.dtype), batch)
    return TrainingStep(model, make_optimizer(settings, model.trainable_variables), PERPLEXITY, settings, signature)


if __name__ == "__main__":
    main()
