"""Training and inference at the sizes of a GPU: Keras models against PyTorch's cuDNN LSTM, in turn on the same batches.

    python benchmarks/gpu.py --markdown docs/benchmarks.md                   on a machine with a GPU
    KERAS_BACKEND=jax python benchmarks/gpu.py --batch 4 --units 16 --steps 2       on a processor: that it works

Batches of 256 rows, 1,024 units; all else as in benchmarks/recurrent.py: G1 is its W1 (word language model, two layers
of LSTM, 35 steps), G3 its W3 (characters, 128 steps), G4 its W4 and G5 its W5 (both directions, padded to the longest
row, lengths that vary). `keras` is a Keras model of the layers of seqapps.layers.recurrent on whichever backend
KERAS_BACKEND names; `torch` is nn.LSTM, packed where lengths vary. A round takes a turn of each, A B A B ..: a figure
is the median of the rounds, a ratio the median of the ratios within the rounds. Both begin with the same weights: where
their first losses differ, nothing is measured.

The backend need not be TensorFlow. Where a machine has PyTorch or JAX alone, a copy of this repository is enough, not
installed, and numpy; Keras comes as a wheel (`pip install keras==3.15.1`, or `--no-deps` beside absl-py, h5py,
ml-dtypes, namex, optree and rich). With TensorFlow the layers take cuDNN with and without padding; in PyTorch and JAX
Keras' own do so only without: there masked layers (G4, G5) run step by step. Products are in TF32 everywhere.

Peak memory is that of the GPU's tensors; on a processor that of the process. The first step begins when imports are
done and includes the building of the model.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from _tables import here, ratio_cell, write_section
from _workers import Missing, Worker
from _workloads import WORKLOADS, Workload, batches
from recurrent import MODES, Plan, agree, chosen, keep, kept, rounds_of

VARIANTS = ("keras", "torch")
SOURCES = {
    "G1": ("W1", "word LM, 2 layers of LSTM, 35 steps"),
    "G3": ("W3", "character LM, 2 layers of LSTM, 128 steps"),
    "G4": ("W4", "BiLSTM tagger, treebank lengths"),
    "G5": ("W5", "BiLSTM classifier, 32 to 64 steps"),
}
"""Workload to that of benchmarks/recurrent.py, and what it is."""
FOLDER = Path(__file__).parent
HEAD = ("variant", "tokens/s", "x PyTorch", "peak MB", "first step s")
_TOLERANCE = 2e-3
"""Of the first losses: products in TF32 have ten bits after the point."""


def main() -> None:
    """Measures, prints, and writes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", help=f"of {','.join(SOURCES)}; default: all")
    parser.add_argument("--modes", default=",".join(MODES), help=f"of {','.join(MODES)}")
    parser.add_argument("--batch", type=int, help="rows of a batch; default: 256")
    parser.add_argument("--units", type=int, help="of a layer and direction; default: 1024")
    parser.add_argument("--steps", type=int, help="batches of a turn, about; default: as many as take --seconds")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn, about")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each variant")
    parser.add_argument("--torch-python", default=sys.executable, help="the interpreter that has PyTorch")
    parser.add_argument("--json", type=Path, help="figures; groups of a file that is there are replaced or kept")
    parser.add_argument("--markdown", type=Path, help="the table is written into this file, from all groups of --json")
    arguments = parser.parse_args()
    if not (any(Path("/dev").glob("nvidia[0-9]*")) or arguments.batch or arguments.units):
        print("No GPU is here: nothing is measured. --batch 4 --units 16 --steps 2 shows on a processor that it works.")
        return
    workloads = chosen(arguments.workloads, SOURCES, tuple(SOURCES))
    modes = chosen(arguments.modes, MODES, MODES)
    plan = Plan(arguments.rounds, arguments.seconds, arguments.torch_python, arguments.steps)
    # Two processes share the GPU: JAX and TensorFlow would take all of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    groups = kept(arguments.json)
    for workload in workloads:
        load = sized(workload, arguments.batch or 256, arguments.units or 1024)
        for mode in modes:
            group = measure(workload, load, mode, plan)
            groups[f"{workload} {mode} {group['backend']}"] = group
            print("\n".join(_lines(group)), flush=True)
            keep(arguments.json, groups)
    if arguments.markdown:
        write_section(arguments.markdown, "gpu", markdown(groups))


def sized(workload: str, rows: int, units: int) -> Workload:
    """Returns a workload of benchmarks/recurrent.py with other rows and units."""
    source, title = SOURCES[workload]
    return replace(WORKLOADS[source], title=f"{title}; {rows} rows, {units} units", rows=rows, units=units)


def measure(workload: str, load: Workload, mode: str, plan: Plan) -> dict[str, Any]:
    """Returns the figures of a workload as JSON: sizes, device, of each variant its figures or why there are none."""
    found = batches(load)
    workers: dict[str, Worker] = {}
    figures: dict[str, dict[str, Any]] = {}
    device, backend = "", os.environ.get("KERAS_BACKEND", "tensorflow")
    try:
        for variant in VARIANTS:
            python = plan.torch_python if variant == "torch" else sys.executable
            script = FOLDER / f"_gpu_{variant}.py"
            try:
                workers[variant] = Worker([python, str(script), json.dumps(asdict(load)), mode])
            except Missing as reason:
                figures[variant] = {"missing": str(reason)}
        agree({variant: worker.started["figure"] for variant, worker in workers.items()}, workload, _TOLERANCE)
        times = rounds_of(workers, load, plan)
        for variant, worker in workers.items():
            use = worker.ask("device")
            device = use["device"] if device in ("", use["device"]) else f"{device} and {use['device']}"
            figures[variant] = {
                "seconds": times[variant],
                "first_seconds": worker.started["first_seconds"],
                "megabytes": use["megabytes"],
                "figure": worker.started["figure"],
            }
    finally:
        for worker in workers.values():
            worker.close()
    return {
        **here(),
        "device": device,
        "backend": backend,
        "workload": workload,
        "title": load.title,
        "mode": mode,
        "tokens": sum(batch.tokens for batch in found) / len(found),
        "variants": {variant: figures[variant] for variant in VARIANTS},
    }


def _rows(group: dict[str, Any]) -> list[tuple[str, ...]]:
    """Returns the cells of each variant."""
    rows, variants = [], group["variants"]
    for variant, found in variants.items():
        name = f"keras ({group['backend']})" if variant == "keras" else variant
        if "missing" in found:
            rows.append((name, found["missing"], "", "", ""))
            continue
        speed = group["tokens"] / statistics.median(found["seconds"])
        ratio, first = ratio_cell(variants, "torch", variant), f"{found['first_seconds']:.1f}"
        rows.append((name, f"{speed:,.0f}", ratio, f"{found['megabytes']:,.0f}", first))
    return rows


def _lines(group: dict[str, Any]) -> list[str]:
    """Returns a group as text."""
    rows, widths = [HEAD, *_rows(group)], (20, 13, 24, 11, 14)
    title = f"\n{group['workload']} {group['mode']}, {group['device']}: {group['title']}; {group['tokens']:,.0f} tokens"
    return [title] + [
        "  " + row[0].ljust(widths[0]) + "".join(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def markdown(groups: dict[str, Any]) -> str:
    """Returns all groups as one table, with the devices, dates and commits that they were taken at."""
    order = sorted(groups.values(), key=lambda g: (g["workload"], MODES.index(g["mode"]), g["backend"]))
    lines = []
    for place in sorted({(g["device"], g["machine"], g["date"], g["commit"], g["title"]) for g in order}):
        taken = [g for g in order if (g["device"], g["machine"], g["date"], g["commit"], g["title"]) == place]
        names = ", ".join(f"{g['workload']} {g['mode']} ({g['backend']})" for g in taken)
        lines.append(f"- {place[0]}, {place[1]}; {place[2]}; commit {place[3]}: {names}: {place[4]}.")
    lines += ["", "| workload | | " + " | ".join(HEAD) + " |", "|" + "---|" * (len(HEAD) + 2)]
    for group in order:
        for row in _rows(group):
            lines.append(f"| {group['workload']} | {group['mode']} | " + " | ".join(row) + " |")
    return "\n".join(["## GPU", "", *lines])


if __name__ == "__main__":
    main()
