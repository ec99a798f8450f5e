"""What a large vocabulary costs a language model: the softmax over all words beside the adaptive one.

    python benchmarks/softmax.py                                    2 x LSTM 200; 10,000 and 50,000 words
    python benchmarks/softmax.py --full                             and 2 x LSTM 650, and 200,000 words
    python benchmarks/softmax.py --full --markdown docs/benchmarks.md

A training step of 20 rows of 35 words, gradient descent, gradients clipped by their norm; the words follow Zipf's law.
Both take turns in one process. What the adaptive softmax costs in perplexity is measured by a whole training, not here.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from _tables import paired, publish
from _turns import take_turns, zipf_words

from seqapps.architectures import stacked
from seqapps.config import TrainingConfig
from seqapps.layers.adaptive_softmax import zipf_cutoffs
from seqapps.layers.states import zero_states
from seqapps.optimization.losses import perplexity_of
from seqapps.optimization.optimizers import make_optimizer
from seqapps.optimization.steps import TrainingStep

ROWS, STEPS = 20, 35
KINDS = ("full", "adaptive")


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabularies", nargs="+", type=int, help="by default, see above")
    parser.add_argument("--full", action="store_true", help="650 units and 200,000 words, too")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="of a turn")
    parser.add_argument("--markdown", type=Path, help="puts the table into this file")
    options = parser.parse_args()
    lines = [
        "| units | words | in the head | full, ms a step | adaptive | times as fast | parameters, full | adaptive |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for units in (200, 650) if options.full else (200,):
        for size in options.vocabularies or (10_000, 50_000, 200_000)[: 3 if options.full else 2]:
            lines.append(line(units, size, options.rounds, options.steps))
            print(lines[-1], flush=True)
    if options.markdown:
        publish(options.markdown, "softmax", "Adaptive softmax", NOTE, "\n".join(lines))


NOTE = (
    "2 layers of LSTM, 20 rows of 35 words by Zipf's law, gradient descent, all of a training step; the cutoffs are "
    'those that `model.softmax = "adaptive"` takes by itself.'
)


def line(units: int, size: int, rounds: int, count: int) -> str:
    """Returns the line of one model."""
    texts = zipf_words(size, 20, (ROWS, STEPS + 1))
    batches = [
        ({"tokens": tf.constant(text[:, :-1])}, tf.constant(text[:, 1:]), tf.ones((ROWS, STEPS))) for text in texts
    ]
    steps, sizes, states = {}, {}, {}
    for kind in KINDS:
        steps[kind], model = step_of(kind, units, size, batches[0])
        sizes[kind], states = model.count_params(), zero_states(model, ROWS)
    times = take_turns(steps, batches, states, rounds=rounds, count=count)
    low, middle, high = paired(times["full"], times["adaptive"])
    full, adaptive = (f"{statistics.median(times[kind]) * 1e3:.1f}" for kind in KINDS)
    parameters = " | ".join(f"{sizes[kind] / 1e6:.1f} M" for kind in KINDS)
    speed = f"{middle:.2f} ({low:.2f}-{high:.2f})"
    return f"| {units} | {size:,} | {zipf_cutoffs(size)[0]:,} | {full} | {adaptive} | {speed} | {parameters} |"


def step_of(kind: str, units: int, size: int, batch: Any) -> tuple[TrainingStep, keras.Model]:
    """Returns the training step of a fresh language model, and the model."""
    keras.utils.set_random_seed(1)
    shape = stacked.Config(units=(units, units), embedding=units, softmax=kind)  # type: ignore[arg-type]
    model = stacked.build(shape, vocabulary_size=size, carry=True)
    settings = TrainingConfig(optimizer="sgd")
    signature = tf.nest.map_structure(lambda value: tf.TensorSpec(value.shape, value.dtype), batch)
    optimizer = make_optimizer(settings, model.trainable_variables)
    return TrainingStep(model, optimizer, perplexity_of(model), settings, signature), model


if __name__ == "__main__":
    main()
