"""What the baselines of configurations reach, without training a network.

    python benchmarks/baselines.py                          the short form: one series that needs no data
    python benchmarks/baselines.py configs/time_series/*.toml configs/sequence_tagging/snips_slots.toml
    python benchmarks/baselines.py CONFIG --names crf --workspace FOLDER

Each configuration is prepared, its baselines are fitted on the training split, and scored on the validation and the
test split. The figures of a configuration go to `benchmarks/results/baselines/<application>/<name>.json` as soon as a
baseline has them: run again after a kill, only what is missing is measured. What was measured by other code, with other
options, or on other data, is measured again. Baselines that have nothing to choose by validation (`ets`, `theta`,
`sarima`) are fitted to that part, too: their figures on it say nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from rich.console import Console

from pipelines.prepare import prepare
from seqapps import baselines
from seqapps.applications import Application, application_of, load_config
from seqapps.config import BaselinesConfig
from seqapps.dataset.manifest import Manifest, digest_of, read_manifest, sha256_of
from seqapps.files import write_json
from seqapps.workspace import Workspace

RESULTS = Path(__file__).parent / "results" / "baselines"
_SHORT = Path(__file__).parent.parent / "configs" / "time_series" / "electric_load.toml"
_SHOWN = 4


def main() -> None:
    """Measures what is missing, and prints a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", type=Path, default=[_SHORT])
    parser.add_argument("--names", nargs="+", help="of baselines; by default all of the application's")
    parser.add_argument("--workspace", type=Path, default=Path("seqapps-workspace"))
    options = parser.parse_args()
    for path in options.configs:
        measure(path, Workspace(options.workspace), options.names)


def measure(path: Path, workspace: Workspace, names: list[str] | None) -> None:
    """Measures the baselines of a configuration that have no figure yet."""
    config = load_config(path)
    application = application_of(config)
    folder = prepare(config, workspace, console=Console(quiet=True))
    manifest = read_manifest(folder)
    file = RESULTS / config.application / f"{path.stem}.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    names = list(names or application.baselines())
    if found.get("data") != manifest.fingerprint:
        names += sorted(set(found.get("baselines", {})) - set(names))  # those that stand there were of other data
        found = {"data": manifest.fingerprint, "objective": application.objective, "baselines": {}}
    for name in names:
        code = digest_of([sha256_of(source) for source in _sources(name)] + _options(name, config.baselines))[:16]
        if found["baselines"].get(name, {}).get("code") != code:
            found["baselines"][name] = {"code": code, **score(name, application, folder, manifest)}
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, found)
        print(f"{path.stem}: {name}: {_shown(found['baselines'][name], application.objective)}", flush=True)


def score(name: str, application: Application, folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Returns what a baseline is, its metrics on validation and test, and its seconds of processor time."""
    context = baselines.BaselineContext(
        config=application.config,
        folder=folder,
        manifest=manifest,
        examples=lambda split: application.examples(folder, manifest, split),
        report=lambda line: print(f"  {name}: {line}", flush=True),
    )
    began = time.process_time()
    try:
        baseline = baselines.load(name)(context)
    except baselines.Infeasible as reason:
        return {"left_out": str(reason)}
    result: dict[str, Any] = {"description": baseline.description, "converged": getattr(baseline, "converged", True)}
    for split in ("validation", "test"):
        if split in manifest.splits and manifest.splits[split].rows:
            examples = context.examples(split)
            with np.errstate(all="ignore"):
                totals = application.statistics(baseline.predict(examples), examples).sum(axis=0)
                metrics = {metric: float(value) for metric, value in application.metrics(totals).items()}
            result[split] = {metric: round(value, 6) for metric, value in metrics.items() if np.isfinite(value)}
    return {**result, "processor_seconds": round(time.process_time() - began, 1)}


def _sources(name: str) -> list[Path]:
    """Returns the file of a baseline, and those that several share."""
    folder = Path(baselines.__file__).parent
    return [folder / f"{name}.py", *sorted(folder.glob("_[a-z]*.py"))]


def _options(name: str, config: BaselinesConfig) -> list[str]:
    """Returns what a configuration says of a baseline: `fixed_window_units = 256` and the like."""
    return [f"{field} = {value}" for field, value in config if field.startswith(f"{name}_")]


def _shown(found: dict[str, Any], objective: str) -> str:
    if "left_out" in found:
        return f"left out: {found['left_out']}"
    figures = ", ".join(
        f"{split} {found[split][objective]:.{_SHOWN}g}" for split in ("validation", "test") if split in found
    )
    capped = "" if found["converged"] else ", ended by a cap"
    return f"{objective} {figures}{capped}; {found['processor_seconds']} s; {found['description']}"


if __name__ == "__main__":
    main()
