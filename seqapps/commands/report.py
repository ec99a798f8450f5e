"""`seqapps report RUN_OR_CONFIG`: one run on one page, from its configuration to the ledger and where things lie."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from seqapps.config import RunConfig
    from seqapps.history import History
    from seqapps.manifest import Manifest
    from seqapps.workspace import Workspace

HELP = "one run on one page: configuration, data, epochs, figures, places"

_BARS = "▁▂▃▄▅▆▇█"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes a configuration, a run folder or an MLflow run."""
    parser.add_argument("run", metavar="RUN_OR_CONFIG", help="configuration file, run folder, or id of an MLflow run")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Prints the page to stdout."""
    from seqapps.commands._page import page
    from seqapps.workspace import Workspace

    workspace = Workspace(arguments.workspace)
    folder = find(arguments.run, workspace, arguments.overrides)
    out = page()
    for part in parts(folder, workspace, arguments.tracking_uri):
        out.print(part, soft_wrap=isinstance(part, str))
    return 0


def find(reference: str, workspace: Workspace, overrides: list[str]) -> Path:
    """Returns the run folder that a user means.

    Raises:
        UsageError: there is none; lists what there is.
    """
    from seqapps.commands._journey import read_json
    from seqapps.commands.stages import Records
    from seqapps.errors import UsageError, nearest

    if (Path(reference) / "model").is_dir():
        return Path(reference)
    known = {folder.name: folder for folder in sorted(workspace.root.glob("runs/*")) if (folder / "model").is_dir()}
    if reference.endswith(".toml"):
        from seqapps.applications import load_config

        name = load_config(reference, overrides).name
        record = Records(workspace, name).last("train")
        if record is not None and record.outputs[0].exists():
            return record.outputs[0].parent
        raise UsageError(f"{reference} has no finished training in {workspace.root}. Run `seqapps run {reference}`.")
    for name, folder in known.items():
        if reference == name or read_json(folder / "run.json").get("run_id", "").startswith(reference):
            return folder
    close = nearest(reference, known)
    raise UsageError(
        f"run `{reference}` was not found in {workspace.root}. Allowed: a configuration file, a run folder, the id of "
        f"an MLflow run. Runs: {', '.join(known) or 'none'}." + (f" Nearest: {close}." if close else "")
    )


def parts(folder: Path, workspace: Workspace, uri: str) -> list[Any]:
    """Returns what is printed, in order; parts of stages that are not done yet are left out."""
    from seqapps.applications import config_from
    from seqapps.commands._journey import read_json
    from seqapps.history import History
    from seqapps.manifest import Manifest

    stored = read_json(folder / "model" / "model.json")
    config = config_from(stored["config"], str(folder / "model" / "model.json"))
    page: list[Any] = [_configuration(config), _data(Manifest.model_validate(stored["manifest"]))]
    if (folder / "history.json").exists():
        history = History.from_dict(read_json(folder / "history.json"))
        page += [_epochs(history)]
    if (folder / "evaluation" / "evaluation.json").exists():
        from seqapps.evaluation import read_evaluation, table

        page.append(table(read_evaluation(folder / "evaluation")))
    return [*page, *_registry(config, workspace, uri, folder), _places(folder, workspace, config)]


def _configuration(config: RunConfig) -> Table:
    """Returns what differs from the defaults: the rest is `seqapps config`."""
    from seqapps.tracking import flatten

    table = _table(f"{config.name}: {config.application}", "setting", "value")
    for key, value in flatten(config.model_dump(mode="json", exclude_defaults=True)).items():
        table.add_row(key, str(value))
    return table


def _data(manifest: Manifest) -> Table:
    table = _table("data", "split", "rows", "tokens")
    for name, split in manifest.splits.items():
        table.add_row(name, f"{split.rows:,}", f"{split.tokens:,}")
    vocabularies = manifest.vocabularies.items()
    sizes = [f"vocabulary {key}: {file.size:,} ({file.coverage:.2%} covered)" for key, file in vocabularies]
    rejected = [f"rejected {reason}: {count:,}" for reason, count in manifest.rejected.items() if count]
    table.caption = ". ".join([*sizes, *rejected])
    return table


def _epochs(history: History) -> Table:
    bars = sparkline([epoch.validation_loss for epoch in history.epochs])
    table = _table(
        f"training: {history.parameters:,} parameters, {history.seconds / 60:.1f} min, validation loss {bars}",
        *("epoch", "loss", "validation loss", history.objective, "rate", "gradient norm", "clipped", "tokens/s"),
    )
    for epoch in history.epochs:
        mark = " *" if epoch.epoch == history.best_epoch else ""
        table.add_row(
            f"{epoch.epoch}{mark}",
            f"{epoch.loss:.4f}",
            f"{epoch.validation_loss:.4f}",
            f"{epoch.objective:.4g}",
            f"{epoch.learning_rate:.2g}",
            f"{epoch.gradient_norm:.3g}",
            f"{epoch.clip_share:.0%}",
            f"{epoch.tokens_per_second:,.0f}",
        )
    return table


def _registry(config: RunConfig, workspace: Workspace, uri: str, folder: Path) -> list[Any]:
    """Returns the ledger of the model; nothing when the store was never made."""
    from seqapps.commands._journey import read_json

    store = uri or str(read_json(folder / "run.json").get("uri", ""))
    if not store:
        return []
    from seqapps.ledger import ledger
    from seqapps.tracking import Tracker

    tracker = Tracker.open(config, workspace, store)
    table = _table(f"ledger of {config.model_name}", "when", "who", "action", "version", "champion", "reason")
    for entry in ledger(tracker, config.model_name):
        champion = f"{entry.before or '-'} -> {entry.after or '-'}"
        table.add_row(entry.when[:19], entry.who, entry.action, entry.version, champion, entry.reason)
    return [table] if table.row_count else []


def _places(folder: Path, workspace: Workspace, config: RunConfig) -> str:
    from seqapps.commands._journey import read_json
    from seqapps.commands._page import places
    from seqapps.commands.stages import Records

    exported, trained = (Records(workspace, config.name).last(stage) for stage in ("export", "train"))
    files = {
        "run folder": folder,
        "learning curves": folder / "learning_curves.png",
        "SavedModel": folder / "saved_model",
        "last export": exported.outputs[0] if exported is not None else None,
    }
    rows: dict[str, object] = {name: path for name, path in files.items() if path is not None and path.exists()}
    rows["MLflow run"] = read_json(folder / "run.json").get("run_id", "")
    if trained is not None:
        rows["MLflow page"] = trained.result["page"]
    return places(rows)


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column)
    return table


def sparkline(values: list[float]) -> str:
    """Returns numbers as a line of bars, the largest the highest.

    >>> sparkline([3.0, 2.0, 1.0])
    '█▄▁'
    """
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(_BARS[int((value - low) / span * (len(_BARS) - 1))] for value in values)
