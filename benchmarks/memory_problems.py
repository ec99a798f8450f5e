"""Which cell keeps something over how many steps: the adding problem and the copy problem.

    python benchmarks/memory_problems.py                      the short form: length 50, 1,000 steps at most
    python benchmarks/memory_problems.py --full               lengths 50, 100, 200, up to 10,000 steps (long)
    python benchmarks/memory_problems.py --full --seeds 1 --output FILE --markdown docs/benchmarks.md
    python benchmarks/memory_problems.py --lengths 20 --problems adding --cells lstm gru

What stands in the file of `--output` is not done again: a run that was killed goes on.

Adding: each of T steps gives a number from [0, 1) and a mark; two steps are marked, one in each half. The answer after
the last step is the sum of the two marked numbers. Always to answer 1 has a mean square error of 1/6 (0.167); solved is
below 0.01. Copy: 10 symbols out of 8, T blanks, a sign to begin, and the 10 symbols are to be repeated. To remember
nothing costs log 8 a symbol (2.08 nats); solved is below 0.1.

Every batch is drawn anew, so that the loss of training is that of unseen rows. The cells have the same number of units,
the optimizer is Adam, gradients are clipped at norm 1. Reported is the step after which the mean loss of the last 50
steps was below the mark.

Sources: Hochreiter & Schmidhuber 1997, "Long Short-Term Memory", sec. 5.4 (adding); Arjovsky, Shah & Bengio 2016,
"Unitary Evolution Recurrent Neural Networks", sec. 4.1 and 4.2 (both, in this form).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from _tables import publish

from seqapps.config import TrainingConfig
from seqapps.layers.states import recurrent_layer
from seqapps.optimization.losses import Objective, cross_entropy
from seqapps.optimization.optimizers import make_optimizer
from seqapps.optimization.steps import TrainingStep

CELLS = ("simple_rnn", "lstm", "gru")
SYMBOLS, KEPT = 8, 10
BLANK, START = SYMBOLS, SYMBOLS + 1
LOOK = 50


@dataclass(frozen=True)
class Problem:
    """A task of one length.

    Args:
        name: `adding` or `copy`.
        mark: the mean loss below which it is solved.
        nothing: the mean loss of who remembers nothing.
        objective: what is minimised.
        draw: (random numbers, rows, length) to x, y and weights.
    """

    name: str
    mark: float
    nothing: float
    objective: Objective
    draw: Callable[[np.random.Generator, int, int], tuple[Any, Any, Any]]


@dataclass(frozen=True)
class Result:
    """What one cell did with one problem; `solved` is the step, 0 when it was not solved within `steps`."""

    problem: str
    cell: str
    length: int
    seed: int
    solved: int
    steps: int
    loss: float
    seconds: float


def adding(random: np.random.Generator, rows: int, length: int) -> tuple[Any, Any, Any]:
    """Returns x `<float32>[B, T, 2]`, the sums `<float32>[B]` and weights of 1."""
    numbers = random.random((rows, length))
    marks = np.zeros((rows, length))
    half = length // 2
    places = random.integers(0, half, rows), random.integers(half, length, rows)
    for place in places:
        marks[np.arange(rows), place] = 1.0
    x = tf.constant(np.stack([numbers, marks], axis=-1), tf.float32)
    return x, tf.constant((numbers * marks).sum(axis=1), tf.float32), tf.ones(rows)


def copying(random: np.random.Generator, rows: int, length: int) -> tuple[Any, Any, Any]:
    """Returns x as one-hot `<float32>[B, T + 20, 10]`, y `<int32>[B, T + 20]`, and weights that are 1 on the answer."""
    symbols = random.integers(0, SYMBOLS, (rows, KEPT))
    given = np.full((rows, length + 2 * KEPT), BLANK)
    given[:, :KEPT], given[:, KEPT + length - 1] = symbols, START
    wanted, weights = np.full_like(given, BLANK), np.zeros(given.shape)
    wanted[:, -KEPT:], weights[:, -KEPT:] = symbols, 1.0
    return tf.one_hot(given, START + 1), tf.constant(wanted, tf.int32), tf.constant(weights, tf.float32)


PROBLEMS = {
    "adding": Problem(
        "adding",
        0.01,
        1.0 / 6.0,
        Objective("square", "min", lambda outputs, y: tf.square(outputs["answer"][:, 0] - y), lambda loss: loss),
        adding,
    ),
    "copy": Problem(
        "copy",
        0.1,
        float(np.log(SYMBOLS)),
        Objective("nats", "min", lambda outputs, y: cross_entropy(outputs["answer"], y), lambda loss: loss),
        copying,
    ),
}


def build(problem: Problem, cell: str, units: int, features: int) -> keras.Model:
    """Returns one recurrent layer and a linear answer: after the last step (adding), or after each (copy)."""
    x = keras.Input((None, features), name="x")
    sequence, last, *_ = recurrent_layer(cell, units, name=cell)(x)
    answer = keras.layers.Dense(1)(last) if problem.name == "adding" else keras.layers.Dense(START + 1)(sequence)
    return keras.Model({"x": x}, {"answer": answer})


def solve(problem: Problem, cell: str, length: int, options: argparse.Namespace, seed: int) -> Result:
    """Trains one cell until the problem is solved or its steps are over."""
    keras.utils.set_random_seed(seed)
    random, began = np.random.default_rng(seed), time.perf_counter()
    x, y, weights = problem.draw(random, options.batch, length)
    model = build(problem, cell, options.units, x.shape[-1])
    settings = TrainingConfig(learning_rate=options.rate, clip_threshold=1.0)
    signature = tf.nest.map_structure(lambda value: tf.TensorSpec(value.shape, value.dtype), ({"x": x}, y, weights))
    optimizer = make_optimizer(settings, model.trainable_variables)
    step = TrainingStep(model, optimizer, problem.objective, settings, signature)
    taken, loss, solved = 0, float("nan"), 0
    while taken < options.steps and not solved:
        step.clear()
        for _ in range(LOOK):
            x, y, weights = problem.draw(random, options.batch, length)
            step({"x": x}, y, weights, {}, options.rate)
        taken += LOOK
        loss = step.sums().mean_loss
        solved = taken if loss < problem.mark else 0
    return Result(problem.name, cell, length, seed, solved, taken, loss, time.perf_counter() - began)


def table(results: list[Result], problem: Problem, steps: int) -> str:
    """Returns one line a cell, one column a length: the middle step at which it was solved, or the loss it ended at."""
    lengths = sorted({result.length for result in results})
    lines = [
        f"{problem.name}: steps until the loss is below {problem.mark:g} (to remember nothing gives "
        f"{problem.nothing:.3f}); where not solved in {steps:,}, the loss",
        "  " + f"{'cell':<12}" + "".join(f"{f'length {length}':>16}" for length in lengths),
    ]
    for cell in dict.fromkeys(result.cell for result in results):
        cells = []
        for length in lengths:
            found = [result for result in results if (result.cell, result.length) == (cell, length)]
            done = sorted(result.solved for result in found if result.solved)
            if len(done) * 2 > len(found):
                cells.append(f"{done[len(done) // 2]:,}")
            else:
                cells.append(f"no ({min(result.loss for result in found):.3f})" if found else "not run")
        lines.append("  " + f"{cell:<12}" + "".join(f"{cell_:>16}" for cell_ in cells))
    return "\n".join(lines)


def main() -> None:
    """Runs every problem, cell and length, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="lengths 50, 100, 200, up to 10,000 steps, three seeds")
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--lengths", nargs="+", type=int, default=[])
    parser.add_argument("--steps", type=int, default=0, help="most steps, a multiple of 50")
    parser.add_argument("--seeds", nargs="+", type=int, default=[])
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=3e-3, help="learning rate")
    parser.add_argument("--output", type=Path, help="a JSON file of all results; those that it has are not done again")
    parser.add_argument("--no-run", action="store_true", help="only tables, of what the file of --output has")
    parser.add_argument("--markdown", type=Path, help="puts the tables into this file")
    options = parser.parse_args()
    options.steps = options.steps or (10_000 if options.full else 1_000)
    lengths = options.lengths or ([50, 100, 200] if options.full else [50])
    seeds = options.seeds or ([1, 2, 3] if options.full else [1])
    setting = {name: getattr(options, name) for name in ("steps", "units", "batch", "rate")}
    kept = Kept(options.output, setting)
    tables = []
    for name in options.problems:
        problem, results = PROBLEMS[name], []
        for cell in options.cells:
            for length in lengths:
                for seed in seeds:
                    result = kept.of(name, cell, length, seed)
                    if result is None and options.no_run:
                        continue
                    result = result or solve(problem, cell, length, options, seed)
                    print(f"    {result}", flush=True)
                    results.append(result)
                    kept.add(result)
        tables.append(table(results, problem, options.steps))
        print(tables[-1], flush=True)
    if options.markdown:
        note = (
            f"{options.units} units, batch {options.batch}, Adam at {options.rate:g}, norm clipped at 1, seeds "
            f"{', '.join(map(str, seeds))}."
        )
        text = "\n\n".join(f"```\n{one}\n```" for one in tables)
        publish(options.markdown, "memory", "Which cell keeps something over how many steps", note, text)


class Kept:
    """Results in a file.

    Args:
        file: where they are; None keeps none.
        setting: what all of them were measured with; a file of another setting is refused.
    """

    def __init__(self, file: Path | None, setting: dict[str, Any]) -> None:
        self._file, self._setting = file, setting
        self._results: list[Result] = []
        if file is not None and file.exists():
            found = json.loads(file.read_text())
            if found["setting"] != setting:
                raise SystemExit(f"{file} holds results of {found['setting']}, not of {setting}: name another file")
            self._results = [Result(**result) for result in found["results"]]

    def of(self, problem: str, cell: str, length: int, seed: int) -> Result | None:
        """Returns the result that is there already."""
        wanted = problem, cell, length, seed
        return next((r for r in self._results if (r.problem, r.cell, r.length, r.seed) == wanted), None)

    def add(self, result: Result) -> None:
        """Keeps one more, at once."""
        if result not in self._results:
            self._results.append(result)
        if self._file is not None:
            content = {"setting": self._setting, "results": [asdict(result) for result in self._results]}
            beside = self._file.with_name(self._file.name + ".new")
            beside.write_text(json.dumps(content, indent=2) + "\n")
            beside.replace(self._file)


if __name__ == "__main__":
    main()
