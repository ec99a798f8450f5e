"""What half precision brings on a CPU, and what it costs: bfloat16 beside float32.

    python benchmarks/precision.py                             the time of a training step of W1
    python benchmarks/precision.py --full                      of W1, W2 and W3, and the validation loss of a training
    python benchmarks/precision.py --full --markdown docs/benchmarks.md

Steps: those of benchmarks/recurrent.py; both take turns in one process. The recurrent layers compute in float32
either way; what bfloat16 changes are the products outside of them, the softmax above all. The training is
configs/language_model/python_docs.toml with two epochs, prepared once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _tables import paired, publish
from _workloads import WORKLOADS

POLICIES = ("float32", "mixed_bfloat16")
CONFIG = Path(__file__).parent.parent / "configs" / "language_model" / "python_docs.toml"


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), help="by default, see above")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="of a turn")
    parser.add_argument("--full", action="store_true", help="two minutes")
    parser.add_argument("--markdown", type=Path, help="puts the table into this file")
    options = parser.parse_args()
    lines = ["| workload | float32, ms a step | mixed_bfloat16 | times as fast |", "|---|---|---|---|"]
    print("\n".join(lines))
    for name in options.workloads or ("W1", "W2", "W3")[: 3 if options.full else 1]:
        lines.append(line(name, options.rounds, options.steps))
        print(lines[-1], flush=True)
    note = ""
    if options.full:
        losses = trained()
        cells = ", ".join(f"{policy} {loss:.4f}" for policy, loss in losses.items())
        note = f"Validation loss of the demo after two epochs, in nats: {cells}."
        print(note)
    if options.markdown:
        publish(options.markdown, "precision", "Half precision on a CPU", note, "\n".join(lines))


def line(name: str, rounds: int, count: int) -> str:
    """Returns the line of one workload."""
    import keras
    from _recurrent_keras import Ours

    engines: dict[str, Any] = {}
    for policy in POLICIES:
        keras.mixed_precision.set_global_policy(policy)
        engines[policy] = Ours(WORKLOADS[name], training=True)
        engines[policy].first()
        engines[policy].run(3)
    keras.mixed_precision.set_global_policy("float32")
    times: dict[str, list[float]] = {policy: [] for policy in POLICIES}
    for _ in range(rounds):
        for policy, engine in engines.items():
            began = time.perf_counter()
            engine.run(count)
            times[policy].append((time.perf_counter() - began) / count)
    low, middle, high = paired(times["float32"], times["mixed_bfloat16"])
    cells = " | ".join(f"{statistics.median(times[policy]) * 1e3:.1f}" for policy in POLICIES)
    return f"| {name} | {cells} | {middle:.2f} ({low:.2f}-{high:.2f}) |"


def trained() -> dict[str, float]:
    """Returns the last validation loss of the same training in each precision."""
    losses = {}
    with tempfile.TemporaryDirectory() as folder:
        same = [str(CONFIG), "--workspace", folder, "--set", "training.epochs=2", "--quiet"]
        for policy in POLICIES:
            for command in ("prepare", "train"):
                line = [sys.executable, "-m", "seqapps", command, *same, "--set", f"training.precision={policy}"]
                subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
            written = max(Path(folder).glob("runs/*/history.json"), key=lambda path: path.stat().st_mtime)
            losses[policy] = json.loads(written.read_text())["epochs"][-1]["validation_loss"]
    return losses


if __name__ == "__main__":
    main()
