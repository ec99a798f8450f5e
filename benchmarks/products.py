"""The matrix products of a recurrence on one thread: as XLA has them, as TensorFlow's operation, and PyTorch.

    python benchmarks/products.py --torch-python /path/to/python

What a loop over time does most is h U, a product of few rows with a matrix that stays the same. This is the rate that
each engine reaches there, beside that of a large product: where it is far below, the recurrence is, too. The engines
come one after the other; the figure is the median of the rounds, in brackets the best one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

SHAPES = {
    "W1: 10 rows, 200 to 800": (10, 200, 800),
    "W3: 32 rows, 256 to 1,024": (32, 256, 1024),
    "W3 undivided: 64 rows": (64, 256, 1024),
    "W3 backward: 32 rows, 1,024 to 256": (32, 1024, 256),
    "large: 2,048 each": (2048, 2048, 2048),
}
ROUNDS, REPEATS = 21, 50


def rates(call: Callable[[], Any], operations: int) -> list[float]:
    """Returns the rate of each round in GFLOP/s."""
    call()
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        found.append(operations / (time.perf_counter() - began) / 1e9)
    return found


def tensorflow_calls(rows: int, inner: int, columns: int, repeats: int) -> dict[str, Callable[[], Any]]:
    """Returns the product, repeated in a graph: compiled by XLA, and not."""
    import tensorflow as tf

    a, b = tf.random.normal((rows, inner)), tf.random.normal((inner, columns))

    def run(a: Any, b: Any) -> Any:
        def body(n: Any, last: Any) -> Any:
            return n + 1, tf.matmul(a + last[0, 0] * 0.0, b)

        return tf.while_loop(lambda n, _: n < repeats, body, [0, tf.zeros((rows, columns))])[1]

    compiled = {name: tf.function(run, jit_compile=name == "XLA", autograph=False) for name in ("XLA", "TensorFlow")}
    return {name: lambda graph=graph: graph(a, b)[0, 0].numpy() for name, graph in compiled.items()}


def torch_worker() -> None:
    """Prints the rates of PyTorch as JSON."""
    import torch

    torch.set_num_threads(1)
    found = {}
    for name, (rows, inner, columns) in SHAPES.items():
        a, b, repeats = torch.randn(rows, inner), torch.randn(inner, columns), repeats_of(rows)

        def call(a: Any = a, b: Any = b, repeats: int = repeats) -> None:
            with torch.no_grad():
                for _ in range(repeats):
                    a @ b

        found[name] = rates(call, 2 * rows * inner * columns * repeats)
    print(json.dumps(found))


def repeats_of(rows: int) -> int:
    """Returns how often a product is repeated in a call."""
    return 1 if rows > 1000 else REPEATS


def main() -> None:
    """Prints a line for each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", default=sys.executable, help="the interpreter that has PyTorch")
    parser.add_argument("--torch-worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if arguments.torch_worker:
        torch_worker()
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    done = subprocess.run(
        [arguments.torch_python, __file__, "--torch-worker"], capture_output=True, text=True, check=False
    )
    torch = json.loads(done.stdout) if done.returncode == 0 else {}
    for name, (rows, inner, columns) in SHAPES.items():
        repeats = repeats_of(rows)
        calls = tensorflow_calls(rows, inner, columns, repeats)
        found = {engine: rates(call, 2 * rows * inner * columns * repeats) for engine, call in calls.items()}
        if torch:
            found["PyTorch"] = torch[name]
        shown = "  ".join(
            f"{engine} {statistics.median(rate):5.1f} ({max(rate):.1f})" for engine, rate in found.items()
        )
        print(f"{name:<36} GFLOP/s: {shown}", flush=True)
    if not torch:
        print("PyTorch is not installed here: --torch-python names an interpreter that has it.")


if __name__ == "__main__":
    main()
