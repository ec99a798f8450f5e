"""Decoding: exported SavedModels through seqapps.serving, and the same loops in PyTorch, in turn.

    python benchmarks/decoding.py                            the short form
    python benchmarks/decoding.py --full --json FILE --markdown docs/benchmarks.md --torch-python PATH

Tokens a second of greedy search, sampling and beam search at batch 1 and 32, and the latency of one warm `complete`
call. Ours reads and writes text, PyTorch ids; weights are the same and never end a text before its limit. Greedy and
beam search must find the same log p. For PyTorch, see benchmarks/recurrent.py; the cold start of `seqapps predict` is
in benchmarks/predict.py.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

from _jobs import JOBS
from _tables import here, ratio_cell, write_section
from _workers import Missing, OtherLoad, Worker

FOLDER = Path(__file__).parent
SCRIPTS = {"ours": "_decoding_keras.py", "torch": "_decoding_torch.py"}
COMPLETE = "language model, complete, 1"


def main() -> None:
    """Measures, prints, and writes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="turns of 1 s and 2,000 calls of `complete`")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each variant")
    parser.add_argument("--seconds", type=float, help="of a turn, about; default: 0.2, or 1 with --full")
    parser.add_argument("--torch-python", default=sys.executable, help="the interpreter that has PyTorch")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--markdown", type=Path, help="the table is written into this file")
    arguments = parser.parse_args()
    seconds, calls = (1.0, 2000) if arguments.full else (0.2, 500)
    found = measure(arguments.rounds, arguments.seconds or seconds, calls, arguments.torch_python)
    print("\n".join(_lines(found)))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.markdown:
        write_section(arguments.markdown, "decoding", markdown(found))


def measure(rounds: int, seconds: float, calls: int, torch_python: str) -> dict[str, Any]:
    """Returns the figures as JSON: seconds of a call by job, variant and round, and those of `complete`.

    Args:
        rounds: turns of each variant.
        seconds: of a turn, about.
        calls: of `complete`, for its percentiles.
        torch_python: the interpreter that has PyTorch.
    """
    workers: dict[str, Worker] = {}
    missing: dict[str, str] = {}
    for variant, script in SCRIPTS.items():
        python = torch_python if variant == "torch" else sys.executable
        try:
            workers[variant] = Worker([python, str(FOLDER / script)])
        except Missing as reason:
            missing[variant] = str(reason)
    try:
        _agree({variant: worker.started["figure"] for variant, worker in workers.items()})
        jobs: dict[str, Any] = {}
        load_of_others = OtherLoad(workers.values())
        for job in JOBS:
            if job == COMPLETE:
                continue
            jobs[job] = _alternate(workers, job, rounds, seconds)
            print(f"{job}: measured", file=sys.stderr, flush=True)
        complete: dict[str, list[float]] = {variant: [] for variant in workers}
        for _ in range(rounds):
            for variant, worker in workers.items():
                worker.ask("run", warm=20, steps=0, job=COMPLETE)
                complete[variant] += worker.ask("each", steps=math.ceil(calls / rounds), job=COMPLETE)["seconds"]
        other_cores = load_of_others.cores()
    finally:
        for worker in workers.values():
            worker.close()
    return {**here(), "other_cores": other_cores, "missing": missing, "jobs": jobs, "complete": complete}


def _agree(figures: dict[str, dict[str, float]]) -> None:
    """Raises SystemExit when the variants do not find the same log p."""
    for job in JOBS:
        values = {variant: found[job] for variant, found in figures.items() if job in found}
        numbers = list(values.values())
        if numbers and not all(math.isclose(number, numbers[0], rel_tol=1e-3) for number in numbers):
            raise SystemExit(f"{job}: the variants do not write the same. Received: log p {values}")


def _alternate(workers: dict[str, Worker], job: str, rounds: int, seconds: float) -> dict[str, Any]:
    calls = {}
    for variant, worker in workers.items():
        once = worker.ask("run", warm=1, steps=1, job=job)["seconds"]
        calls[variant] = max(1, round(seconds / once))
    times: dict[str, Any] = {variant: {"seconds": []} for variant in workers}
    for _ in range(rounds):
        for variant, worker in workers.items():
            spent = worker.ask("run", warm=1, steps=calls[variant], job=job)["seconds"]
            times[variant]["seconds"].append(spent / calls[variant])
    return times


def _rows(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Returns the cells of each job: its name, ours, PyTorch's, the ratio."""
    rows = []
    for name, times in found["jobs"].items():
        tokens = JOBS[name].rows * JOBS[name].tokens
        cells = [
            f"{tokens / statistics.median(times[variant]['seconds']):,.0f}"
            if variant in times
            else found["missing"][variant]
            for variant in SCRIPTS
        ]
        rows.append((name, *cells, ratio_cell(times, "torch", "ours") if "ours" in times else ""))
    cells = []
    for variant in SCRIPTS:
        times = sorted(found["complete"].get(variant, []))
        if not times:
            cells.append(found["missing"][variant])
            continue
        p50, p99 = statistics.median(times), times[math.ceil(0.99 * len(times)) - 1]
        cells.append(f"{p50 * 1e3:.2f} / {p99 * 1e3:.2f}")
    return [*rows, ("one `complete` call, ms: p50 / p99", *cells, "")]


HEAD = ("tokens/s: model, search, batch", "ours", "PyTorch", "x PyTorch")


def _lines(found: dict[str, Any]) -> list[str]:
    return [f"{row[0]:<38}" + "".join(cell.rjust(26) for cell in row[1:]) for row in (HEAD, *_rows(found))]


def markdown(found: dict[str, Any]) -> str:
    """Returns the table, with the machine, the date and the commit that it was taken at."""
    load = f"Other processes kept {found['other_cores']:.1f} cores busy."
    lines = ["## Decoding", "", f"- {found['machine']}; {found['date']}; commit {found['commit']}. {load}"]
    lines += ["- Ours is a SavedModel, text in and text out; PyTorch takes and returns ids.", ""]
    lines += ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in _rows(found)])


if __name__ == "__main__":
    main()
