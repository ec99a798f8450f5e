"""What the light diagnosis of every training costs: a step with and without its sums, and the radii of an epoch.

    python benchmarks/diagnosis.py                                     W1, W2 and W3 of benchmarks/recurrent.py
    python benchmarks/diagnosis.py --markdown docs/benchmarks.md

A training adds up the gradient norms of every layer, and looks at the spectral radii of the recurrent matrices at each
epoch's end. Both kinds of step take turns in one process; the share of a step is the median of the ratios within the
rounds, with the middle half of them. The radii are reported as a share of an epoch of 1,000 steps. The norm over all
parameters is what clipping needs, and is in both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _recurrent_keras import Ours
from _tables import paired, publish
from _workloads import WORKLOADS

from seqapps.optimization.spectra import recurrent_radii
from seqapps.optimization.steps import TrainingStep

EPOCH = 1_000
"""Steps: Penn Treebank in batches of W1 has 1,327."""


NOTE = (
    "`the sums`: what a step takes longer that adds up the gradient norms of every layer, the median of the rounds and "
    "the middle half of them; `radii`: the spectral radii of the recurrent matrices, once an epoch, as a share of "
    "1,000 steps."
)


class Bare(TrainingStep):
    """A step that adds up no norms of layers."""

    def _count_layers(self, finite: Any, squares: Any) -> None:
        pass


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), default=["W1", "W2", "W3"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn, about")
    parser.add_argument("--markdown", type=Path, help="puts the table into this file")
    options = parser.parse_args()
    lines = [
        "| workload | a step, ms | without the sums, ms | the sums | radii, ms | of an epoch |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for name in options.workloads:
        lines.append(line(name, options.rounds, options.seconds))
        print(lines[-1], flush=True)
    if options.markdown:
        publish(options.markdown, "diagnosis", "The light diagnosis", NOTE, "\n".join(lines))


def line(name: str, rounds: int, seconds: float) -> str:
    """Returns the line of one workload."""
    engines = [Ours(WORKLOADS[name], training=True, step=kind) for kind in (TrainingStep, Bare)]
    for engine in engines:
        engine.first()
        engine.run(3)
    steps = max(1, round(seconds / turn(engines[0], 3)))
    whole: list[float] = []
    bare: list[float] = []
    for _ in range(rounds):
        whole.append(turn(engines[0], steps))
        bare.append(turn(engines[1], steps))
    # whole / bare, round by round.
    low, middle, high = (100 * (ratio - 1) for ratio in paired(whole, bare))
    model = engines[0].model
    recurrent_radii(model)
    began = time.perf_counter()
    recurrent_radii(model)
    radii = time.perf_counter() - began
    step, without = statistics.median(whole), statistics.median(bare)
    share = f"{middle:.1f} % ({low:.1f} to {high:.1f})"
    epoch = f"{radii * 1e3:.1f} | {radii / (EPOCH * step):.2%}"
    return f"| {name} | {step * 1e3:.1f} | {without * 1e3:.1f} | {share} | {epoch} |"


def turn(engine: Ours, steps: int) -> float:
    """Returns the seconds of a step."""
    began = time.perf_counter()
    engine.run(steps)
    return (time.perf_counter() - began) / steps


if __name__ == "__main__":
    main()
