"""Training and inference of recurrent models: ours, Keras' own layers and PyTorch, in turn on the same batches.

    python benchmarks/recurrent.py                          the short form: three workloads, about four minutes
    python benchmarks/recurrent.py --full --json FILE --markdown docs/benchmarks.md
    python benchmarks/recurrent.py --workloads W1,W4 --modes training --variants ours,keras,torch

Each variant is a process of its own with two threads, stopped while another one is measured. A round takes a turn of
every variant, A B C A B C ..; a variant's figure is the median of the rounds, a ratio the median of the ratios within
the rounds. All variants begin with the same weights: where their first losses differ, nothing is measured.

PyTorch is no requirement of seqapps: `pip install -e .[bench]` brings it, or it lies in an environment of its own
(`pip install torch==2.13.0 numpy`) that --torch-python names. Without it the table says so.
torch.compile needs a C++ compiler and Python's headers; it leaves nn.LSTM and nn.GRU as they are, so that it compiles
what is around them.

Peak memory is that of the process, in brackets what it grew by after its imports; the first step begins when imports
are done and includes the building of the model. The limit is the rate of a product of 2,048 x 2,048 matrices, the best
that any of the engines reached, over the arithmetic of a token's matrix products.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _tables import here, ratio_cell, write_section
from _workers import THREADS, Missing, OtherLoad, Worker
from _workloads import WORKLOADS, Workload, batches, forward_operations

VARIANTS = ("ours", "keras", "keras-xla", "torch", "torch-compile")
MODES = ("training", "inference")
SHORT = ("W1", "W3", "W5")
FOLDER = Path(__file__).parent
_QUIET = 0.15
"""Cores that other processes may keep busy without a word in the table."""


@dataclass(frozen=True)
class Plan:
    """How long is measured.

    Args:
        rounds: turns of each variant.
        seconds: of a turn, about.
        torch_python: the interpreter that has PyTorch.
        steps: batches of a turn, about, instead of `seconds`.
    """

    rounds: int
    seconds: float
    torch_python: str
    steps: int | None = None


def main() -> None:
    """Measures, prints, and writes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all workloads and variants, longer turns")
    parser.add_argument("--workloads", help=f"of {','.join(WORKLOADS)}; default: {','.join(SHORT)}, or all with --full")
    parser.add_argument("--modes", default=",".join(MODES), help=f"of {','.join(MODES)}")
    parser.add_argument(
        "--variants", help=f"of {','.join(VARIANTS)}; default: without the compiled, or all with --full"
    )
    parser.add_argument("--rounds", type=int, default=7, help="turns of each variant")
    parser.add_argument("--seconds", type=float, help="of a turn, about; default: 0.3, or 1 with --full")
    parser.add_argument("--torch-python", default=sys.executable, help="the interpreter that has PyTorch")
    parser.add_argument("--json", type=Path, help="figures; groups of a file that is there are replaced or kept")
    parser.add_argument("--markdown", type=Path, help="the table is written into this file, from all groups of --json")
    arguments = parser.parse_args()
    workloads = chosen(arguments.workloads, WORKLOADS if arguments.full else SHORT, tuple(WORKLOADS))
    variants = chosen(arguments.variants, VARIANTS if arguments.full else ("ours", "keras", "torch"), VARIANTS)
    modes = chosen(arguments.modes, MODES, MODES)
    plan = Plan(arguments.rounds, arguments.seconds or (1.0 if arguments.full else 0.3), arguments.torch_python)
    groups = kept(arguments.json)
    for workload in workloads:
        for mode in modes:
            group = measure(workload, mode, variants, plan)
            groups[f"{workload} {mode}"] = group
            print("\n".join(_lines(group)), flush=True)
            keep(arguments.json, groups)
    if arguments.markdown:
        write_section(arguments.markdown, "recurrent", markdown(groups))


def kept(file: Path | None) -> dict[str, Any]:
    """Returns the groups that a file of figures has."""
    return json.loads(file.read_text()) if file and file.exists() else {}


def keep(file: Path | None, groups: dict[str, Any]) -> None:
    """Writes the groups into a file of figures, where one is asked for."""
    if file:
        file.write_text(json.dumps(groups, indent=1) + "\n")


def chosen(words: str | None, default: Any, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names of a comma-separated list, or the default; ends with what is allowed where one is not."""
    names = tuple(words.split(",")) if words else tuple(default)
    for name in names:
        if name not in allowed:
            raise SystemExit(f"Unknown name. Received: {name!r}. Allowed: {', '.join(allowed)}")
    return names


def measure(workload: str, mode: str, variants: tuple[str, ...], plan: Plan) -> dict[str, Any]:
    """Returns the figures of a workload as JSON: sizes, limit, of each variant its figures or why there are none."""
    load = WORKLOADS[workload]
    found = batches(load)
    tokens = sum(batch.tokens for batch in found) / len(found)
    operations = sum(forward_operations(load, batch) for batch in found) / len(found)
    workers: dict[str, Worker] = {}
    figures: dict[str, dict[str, Any]] = {}
    for variant in variants:
        script = "_recurrent_torch.py" if variant.startswith("torch") else "_recurrent_keras.py"
        python = plan.torch_python if variant.startswith("torch") else sys.executable
        try:
            workers[variant] = Worker([python, str(FOLDER / script), workload, mode, variant])
        except Missing as reason:
            figures[variant] = {"missing": str(reason)}
    try:
        agree({variant: worker.started["figure"] for variant, worker in workers.items()}, f"{workload} {mode}")
        rates = [worker.ask("rate")["rate"] for worker in workers.values()]
        load_of_others = OtherLoad(workers.values())
        times = rounds_of(workers, load, plan)
        other_cores = load_of_others.cores()
        rates += [worker.ask("rate")["rate"] for worker in workers.values()]
        for variant, worker in workers.items():
            figures[variant] = {
                "seconds": times[variant],
                "first_seconds": worker.started["first_seconds"],
                "import_seconds": worker.started["import_seconds"],
                "import_megabytes": worker.started["import_megabytes"],
                "megabytes": worker.ask("use")["megabytes"],
                "figure": worker.started["figure"],
            }
    finally:
        for worker in workers.values():
            worker.close()
    return {
        **here(),
        "workload": workload,
        "title": load.title,
        "mode": mode,
        "tokens": tokens,
        "operations": operations * (3 if mode == "training" else 1),
        "product_rate": max(rates, default=0.0),
        "other_cores": other_cores,
        "variants": {variant: figures[variant] for variant in variants},
    }


def agree(figures: dict[str, float], where: str, tolerance: float = 1e-4) -> None:
    """Raises SystemExit when the variants do not compute the same."""
    values = list(figures.values())
    if values and not all(math.isclose(value, values[0], rel_tol=tolerance) for value in values):
        raise SystemExit(f"{where}: the variants differ before the first step. Received: {figures}")


def rounds_of(workers: dict[str, Worker], load: Workload, plan: Plan) -> dict[str, list[float]]:
    """Returns seconds of a step, by variant and round."""
    steps = {}
    for variant, worker in workers.items():
        # Every shape of a batch has been seen once before anything is timed.
        worker.ask("run", warm=load.cycle, steps=load.cycle)
        once = worker.ask("run", warm=0, steps=load.cycle)["seconds"]
        cycles = plan.steps / load.cycle if plan.steps else plan.seconds / once
        steps[variant] = load.cycle * max(1, round(cycles))
    times: dict[str, list[float]] = {variant: [] for variant in workers}
    for _ in range(plan.rounds):
        for variant, worker in workers.items():
            # The caches hold what the variant before it left: a cycle goes untimed.
            seconds = worker.ask("run", warm=load.cycle, steps=steps[variant])["seconds"]
            times[variant].append(seconds / steps[variant])
    return times


def _rows(group: dict[str, Any]) -> list[tuple[str, ...]]:
    """Returns the cells of each variant: name, tokens a second, ratios, memory, first step, share of the limit."""
    rows, variants = [], group["variants"]
    for variant, found in variants.items():
        if "missing" in found:
            rows.append((variant, found["missing"], "", "", "", "", ""))
            continue
        speed = group["tokens"] / statistics.median(found["seconds"])
        limit = group["product_rate"] / (group["operations"] / group["tokens"])
        rows.append(
            (
                variant,
                f"{speed:,.0f}",
                ratio_cell(variants, "torch", variant),
                ratio_cell(variants, "keras", variant),
                f"{found['megabytes']:,.0f} (+{found['megabytes'] - found['import_megabytes']:,.0f})",
                f"{found['first_seconds']:.1f}",
                f"{speed / limit:.0%}",
            )
        )
    return rows


HEAD = ("variant", "tokens/s", "x PyTorch", "x Keras", "peak MB (beside imports)", "first step s", "of the limit")


def _lines(group: dict[str, Any]) -> list[str]:
    """Returns a group as text."""
    flops = group["operations"] / group["tokens"] / 1e6
    title = f"\n{group['workload']} {group['mode']}: {group['title']}; {group['tokens']:,.0f} tokens a step"
    limit = f"{flops:.2f} MFLOP a token, products at {group['product_rate'] / 1e9:.0f} GFLOP/s on {THREADS} threads"
    widths = (14, 11, 19, 19, 25, 13, 13)
    rows = [HEAD, *_rows(group)]
    return [f"{title}; {limit}; other processes on {group['other_cores']:.1f} cores"] + [
        "  " + row[0].ljust(widths[0]) + "".join(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def markdown(groups: dict[str, Any]) -> str:
    """Returns all groups as one table, with the machines, dates and commits that they were taken at."""
    order = sorted(groups.values(), key=lambda group: (group["workload"], MODES[::-1].index(group["mode"]) * -1))
    lines = []
    for place in sorted({(group["machine"], group["date"], group["commit"]) for group in order}):
        taken = [f"{g['workload']} {g['mode']}" for g in order if (g["machine"], g["date"], g["commit"]) == place]
        others = max(g["other_cores"] for g in order if f"{g['workload']} {g['mode']}" in taken)
        busy = f" Other processes kept up to {others:.1f} cores busy." if others > _QUIET else ""
        lines.append(f"- {place[0]}; {place[1]}; commit {place[2]}: {', '.join(taken)}.{busy}")
    lines += ["", "| workload | | " + " | ".join(HEAD) + " |", "|" + "---|" * (len(HEAD) + 2)]
    for group in order:
        for row in _rows(group):
            lines.append(f"| {group['workload']} | {group['mode']} | " + " | ".join(row) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
