"""How many batches may share a window inside which rows are sorted by length: what is learned, and what is padding.

    python benchmarks/batching.py                          the short form: agreement at a distance, two windows
    python benchmarks/batching.py --full                   every task of this file, several windows and seeds
    python benchmarks/batching.py --full --markdown docs/benchmarks.md

A window of 1 takes rows as they come; one of `all` sorts the whole epoch, so that a batch has rows of one length. Each
training is one of a committed configuration, with fewer rows and epochs and a smaller model, and differs from its
neighbours in the window alone: the seed, and with it the initial weights, are the same. Results are kept in
`benchmarks/results/batching.json` as they come, and those that are there are not measured again.

Agreement at a distance (`pipelines/builtin/agreement.py`): the share of verbs of the validation split for which the
right number is more probable than the wrong one.

Speed follows from the padding: the positions of an epoch are those of its rows / (1 - padding). The seconds in the
results hold what is compiled, which the first training of a task does for the others.

Tasks that read files take them from `$SEQAPPS_DATA`; without it they are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from _tables import here, publish
from rich.console import Console

from pipelines.builtin.agreement import VERBS
from pipelines.prepare import prepare
from seqapps.applications import application_of, load_config
from seqapps.batching import Batches, buckets
from seqapps.dataset.manifest import read_manifest
from seqapps.files import write_json
from seqapps.layers.states import zero_states
from seqapps.training import loop as training
from seqapps.training.trained_model import load_resources
from seqapps.workflow.stack import keep_compiled
from seqapps.workspace import Workspace

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "batching.json"
ALL = 1_000_000
"""A window that holds every epoch."""
WINDOWS = (1, 2, 4, 8, 16, ALL)


@dataclass(frozen=True)
class Task:
    """A training that is measured.

    Args:
        config: file in `configs/`.
        rows: raw rows that are read.
        epochs: of a training.
        overrides: of the configuration.
    """

    config: str
    rows: int
    epochs: int
    overrides: tuple[str, ...] = ()


_SLOTS = ("model.units=[64]", "model.characters=none")
_PAIRS = ("model.units=[64]",)

TASKS = {
    "agreement": Task("language_model/agreement", 2_000, 10),
    "agreement, by positions": Task("language_model/agreement", 2_000, 10, ("training.token_budget=400",)),
    "agreement, batches of 8": Task("language_model/agreement", 2_000, 5, ("training.batch_size=8",)),
    "agreement, batches of 2": Task("language_model/agreement", 2_000, 2, ("training.batch_size=2",)),
    "names of 7 kinds": Task("conditional_generation/python_names", 3_000, 4, ("model.units=[96]", "data.samples=0")),
    "sentiment": Task("text_classification/cls_mr", 2_000, 5, ("model.units=[48]",)),
    "slots": Task("sequence_tagging/snips_slots", 1_500, 4, _SLOTS),
    "slots, batches of 4": Task("sequence_tagging/snips_slots", 1_500, 2, (*_SLOTS, "training.batch_size=4")),
    "masked words": Task("masked_word/python_docs", 2_000, 4, ("model.units=[64]", "training.token_budget=0")),
    "English-French": Task("translation/tatoeba_enfr", 1_500, 4, (*_PAIRS, "training.batch_size=32")),
    "English-French, batches of 4": Task("translation/tatoeba_enfr", 1_500, 2, (*_PAIRS, "training.batch_size=4")),
}
COMMON = ("training.early_stopping=0", "training.sample_length=0")


def main() -> None:
    """Measures what is not measured yet, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all tasks, windows and seeds; keeps the results")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--windows", nargs="+", type=int, default=WINDOWS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workspace", type=Path, help="for the prepared data; a temporary folder by default")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--markdown", type=Path, help="puts the tables into this file; measures nothing")
    options = parser.parse_args()
    results = json.loads(options.results.read_text()) if options.full and options.results.exists() else {}
    if options.markdown:
        publish(options.markdown, "batching", "Rows of one length together", "", table(results))
        return
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(options.workspace or Path(folder))
        keep_compiled(workspace.cache)
        if not options.full:
            results = {f"agreement/{window}/1": measure("agreement", window, 1, workspace, 3) for window in (1, ALL)}
        for seed in range(1, options.seeds + 1) if options.full else ():
            for name in options.tasks:
                if "SEQAPPS_DATA" not in os.environ and "SEQAPPS_DATA" in file_of(TASKS[name]).read_text():
                    continue
                for window in options.windows:
                    key = f"{name}/{window}/{seed}"
                    if key not in results:
                        results[key] = measure(name, window, seed, workspace)
                        print(key, results[key]["best"], results[key].get("verbs", ""), flush=True)
                        write_json(options.results, results)
    print(table(results))


def file_of(task: Task) -> Path:
    """Returns the configuration's file."""
    return ROOT / "configs" / f"{task.config}.toml"


@contextmanager
def fixed(window: int) -> Iterator[None]:
    """Takes one size of a window, whatever the epoch."""
    usual = buckets.window_of
    buckets.window_of = lambda steps: min(window, max(1, steps))
    try:
        yield
    finally:
        buckets.window_of = usual


def measure(name: str, window: int, seed: int, workspace: Workspace, epochs: int = 0) -> dict[str, Any]:
    """Trains once; returns the figures of all epochs, the padding, and the seconds of the epochs."""
    task = TASKS[name]
    own = (f"training.epochs={epochs or task.epochs}", f"seed={seed}", "data.split.seed=1")
    config = load_config(file_of(task), [*COMMON, *task.overrides, *own])
    prepared = prepare(config, workspace, rows=task.rows, console=Console(quiet=True))
    manifest, application = read_manifest(prepared), application_of(config)
    keras.backend.clear_session()
    training.configure(config)
    model = application.build(manifest)
    application.initialise(model, load_resources(prepared / "vocabularies", manifest))
    validation, verbs = application.batches(prepared, manifest, "validation"), list[float]()
    other = other_numbers(load_resources(prepared / "vocabularies", manifest)) if "agreement" in name else {}

    share_right = agreement(model, other) if other else None

    def sample(epoch: int) -> str:
        verbs.append(share_right(validation) if share_right else 0.0)
        return ""

    with fixed(window), tempfile.TemporaryDirectory() as folder:
        batches = application.batches(prepared, manifest, "train")
        began = time.process_time()
        history = training.train(
            model,
            batches,
            validation,
            config,
            Path(folder),
            sample=sample if other else None,
            objective=application.criterion(manifest, model),
            judge=application.judge(prepared, manifest),
        )
        padding = batches.padding
    return {
        "best": history.best,
        "epochs": [log.objective for log in history.epochs],
        "objective": history.objective,
        "padding": padding,
        "steps": batches.steps,
        "seconds": time.process_time() - began,
        **({"verbs": verbs} if other else {}),
        **here(),
    }


def other_numbers(resources: Any) -> dict[int, int]:
    """Returns the id of every verb to that of the same verb in the other number."""
    words = [word.encode() for pair in VERBS for word in pair]
    ids = resources["text"].vocabulary.lookup(words).tolist()
    return {ids[place]: ids[place ^ 1] for place in range(len(ids))}


def agreement(model: keras.Model, other: dict[int, int]) -> Callable[[Batches], float]:
    """Returns a function for the share of verbs that are more probable than the same verbs in the other number."""
    numbers = np.zeros(max(other) + 1, np.int64)
    numbers[list(other)] = list(other.values())

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def logits_of(x: dict[str, Any]) -> Any:
        return model(x, training=False)["logits"]

    def share(batches: Batches) -> float:
        right: list[bool] = []
        for x, y, _ in batches.dataset(0):
            logits = np.asarray(logits_of({**x, **zero_states(model, y.shape[0])}))
            targets = np.minimum(np.asarray(y), len(numbers) - 1)
            rows, steps = np.nonzero(numbers[targets] * (targets == np.asarray(y)))
            verbs = targets[rows, steps]
            right += (logits[rows, steps, verbs] > logits[rows, steps, numbers[verbs]]).tolist()
        return float(np.mean(right))

    return share


def table(results: dict[str, Any]) -> str:
    """Returns the tables: a line for each task, a column for each window."""
    windows = [window for window in WINDOWS if any(f"/{window}/" in key for key in results)]
    heads = ["all" if window == ALL else str(window) for window in windows]
    lines = [f"| task | batches | figure | {' | '.join(heads)} |", f"|{'---|' * (3 + len(heads))}"]
    for name in TASKS:
        found = {window: runs(results, name, window) for window in windows}
        if not any(found.values()):
            continue
        first = next(of for of in found.values() if of)[0]
        rows = {first["objective"]: ([run["best"] for run in found[window]] for window in windows)}
        if "verbs" in first:
            rows["verbs right"] = ([max(run["verbs"]) for run in found[window]] for window in windows)
            rows["first epoch with 0.95"] = ([learned(run["verbs"]) for run in found[window]] for window in windows)
        rows["padding"] = ([run["padding"] for run in found[window]] for window in windows)
        for figure, values in rows.items():
            cells = " | ".join(map(cell, values))
            lines.append(f"| {name} | {first['steps']} | {figure} | {cells} |")
    return "\n".join(lines)


def learned(verbs: Sequence[float]) -> float:
    """Returns the first epoch with 19 of 20 verbs right; infinity without one."""
    return next((place for place, share in enumerate(verbs, 1) if share >= 0.95), float("inf"))


def runs(results: dict[str, Any], name: str, window: int) -> list[dict[str, Any]]:
    """Returns the trainings of a task with a window, by seed."""
    return [result for key, result in sorted(results.items()) if key.startswith(f"{name}/{window}/")]


def cell(values: Sequence[float]) -> str:
    """Returns the mean and the standard deviation over seeds."""
    if not values or max(values) == float("inf"):
        return "never" if values else ""
    spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4g}{spread}"


if __name__ == "__main__":
    main()
