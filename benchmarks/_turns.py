"""What benchmarks of large vocabularies share: words as a text has them, and training steps that take turns."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.optimization.steps import TrainingStep


def zipf_words(size: int, count: int, shape: tuple[int, ...]) -> list[NDArray[np.int32]]:
    """Returns arrays of ids in [1, size) that follow Zipf's law: p(rank) ~ 1 / rank."""
    random = np.random.default_rng(1)
    shares = 1.0 / np.arange(1, size)
    shares /= shares.sum()
    return [(random.choice(size - 1, shape, p=shares) + 1).astype(np.int32) for _ in range(count)]


def take_turns(
    steps: Mapping[str, TrainingStep],
    batches: Sequence[Any],
    states: Mapping[str, Any],
    *,
    rounds: int,
    count: int,
) -> dict[str, list[float]]:
    """Returns the seconds of a step in each round, by name; one after the other in every round.

    Args:
        steps: by name; each is run a few times before.
        batches: (x, y, weights).
        states: that every step begins with.
        rounds: turns of each.
        count: steps of a turn.
    """

    def turn(step: TrainingStep, count: int) -> float:
        began = time.perf_counter()
        for number in range(count):
            step(*batches[number % len(batches)], states, 1e-3)
        step.sums()  # waits for the last one
        return (time.perf_counter() - began) / count

    for step in steps.values():
        turn(step, 3)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(turn(step, count))
    return times
