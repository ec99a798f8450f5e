"""Does the input keep up? Batches/s of tf.data alone beside steps/s of training, on a generated corpus.

    python benchmarks/input.py [--tokens 400000] [--steps 30]
    python benchmarks/input.py --ends 24

About half a minute on two cores. Input that is many times as fast as training never starves it.

`--ends N` asks another thing: how long is waited at the end of an epoch of 23 seconds? N epochs run side by side with
tf.data's autotuning, which we leave out, and N without.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf

from seqapps.architectures import stacked
from seqapps.batching import Batches
from seqapps.batching.documents import DocumentBatches
from seqapps.batching.streams import StreamBatches
from seqapps.config import TrainingConfig
from seqapps.dataset.ragged import Ragged
from seqapps.layers.states import zero_states
from seqapps.optimization.losses import PERPLEXITY
from seqapps.optimization.optimizers import make_optimizer
from seqapps.optimization.steps import TrainingStep


@dataclass(frozen=True)
class Shape:
    """A model and its batches."""

    vocabulary: int
    embedding: int
    units: tuple[int, ...]
    rows: int
    window: int


SHAPES = {"word": Shape(10_000, 200, (200, 200), 20, 35), "character": Shape(65, 64, (256, 256), 64, 128)}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=400_000, help="tokens of the generated corpus")
    parser.add_argument("--steps", type=int, default=30, help="training steps that are timed")
    parser.add_argument("--ends", type=int, metavar="N", help="ends of epochs, with autotuning and without")
    arguments = parser.parse_args()
    if arguments.ends:
        print_ends(arguments.ends)
        return
    print(f"{'model':<10} {'batching':<9} {'input alone':>27} {'training':>27} {'ratio':>6}")
    for name, shape in SHAPES.items():
        corpus = generated(arguments.tokens, shape.vocabulary)
        for batching, batches in both(corpus, shape).items():
            alone = rate(batches.dataset(0), lambda batch: None, batches.steps)
            step = training_step(batches, shape)
            trained = rate(batches.dataset(0), step, arguments.steps)
            figures = "".join(f"{each:>12,.1f}/s {tokens:>10,.0f} tok/s" for each, tokens in (alone, trained))
            print(f"{name:<10} {batching:<9} {figures} {alone[0] / trained[0]:>6,.0f}", flush=True)


def print_ends(count: int) -> None:
    """Prints how many ends of `count` epochs took over a second, and the longest one."""
    ours = StreamBatches(np.arange(800_000, dtype=np.int32), batch_size=20, window=35, start=3).dataset(0).take(1_300)
    tuned = tf.data.Options()
    tuned.autotune.enabled = True
    kinds = {"as we have it": ours, "autotuned": ours.prefetch(tf.data.AUTOTUNE).with_options(tuned)}

    def epoch(kind: str) -> tuple[str, Any]:
        iterator = iter(kinds[kind])
        for _ in iterator:
            time.sleep(0.0175)
        return kind, iterator

    with ThreadPoolExecutor(2 * count) as threads:
        done = list(threads.map(epoch, [*kinds] * count))
    waited: dict[str, list[float]] = {kind: [] for kind in kinds}
    while done:
        kind, iterator = done.pop()
        began = time.perf_counter()
        del iterator
        waited[kind].append(time.perf_counter() - began)
    for kind, seconds in waited.items():
        print(f"{kind:<14} {sum(each > 1.0 for each in seconds)} of {count} ends waited, {max(seconds):.1f} s at most")


def generated(tokens: int, vocabulary: int) -> Ragged:
    """Returns rows of 1 to 60 tokens, frequencies as Zipf's law has them."""
    generator = np.random.default_rng(1)
    lengths = generator.integers(1, 61, tokens // 30)
    splits = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    chances = 1.0 / np.arange(1, vocabulary - 3)
    values = generator.choice(np.arange(4, vocabulary), splits[-1], p=chances / chances.sum()).astype(np.int32)
    return Ragged(values, splits)


def both(corpus: Ragged, shape: Shape) -> dict[str, Batches]:
    """Returns the corpus as streams and as documents."""
    rows, window = shape.rows, shape.window
    return {
        "stream": StreamBatches(corpus.values, batch_size=rows, window=window, start=3),
        "document": DocumentBatches(corpus, batch_size=rows, window=window, start=2, seed=1, shuffle=True),
    }


def training_step(batches: Batches, shape: Shape) -> Callable[[Any], Any]:
    """Returns a step over one batch, traced already."""
    config = TrainingConfig(batch_size=shape.rows, window=shape.window)
    settings = stacked.Config(units=shape.units, embedding=shape.embedding)
    model = stacked.build(settings, vocabulary_size=shape.vocabulary, carry=True)
    optimizer = make_optimizer(config, model.trainable_variables)
    step = TrainingStep(model, optimizer, PERPLEXITY, config, batches.dataset(0).element_spec)
    states = zero_states(model, shape.rows)
    for batch in batches.dataset(0).take(2):
        step(*batch, states, 1e-3)
    return lambda batch: step(*batch, states, 1e-3)


def rate(batches: Any, use: Callable[[Any], Any], most: int) -> tuple[float, float]:
    """Returns batches and tokens a second, over at most `most` batches."""
    tokens, count, started = 0.0, 0, time.perf_counter()
    for batch in islice(batches, most):
        use(batch)
        tokens += float(batch[2].numpy().sum())
        count += 1
    seconds = time.perf_counter() - started
    return count / seconds, tokens / seconds


if __name__ == "__main__":
    main()
