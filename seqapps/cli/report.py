"""`seqapps report RUN_OR_CONFIG`: one run on one page, on the terminal and as a self-contained HTML file."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqapps.cli._arguments import refuse_settings
from seqapps.workflow import report as stages

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from seqapps.config import RunConfig
    from seqapps.dataset.manifest import Manifest
    from seqapps.report import Run
    from seqapps.training.log import History
    from seqapps.workspace import Workspace


HELP = "one run on one page, on the terminal and as an HTML file"


_BARS = "▁▂▃▄▅▆▇█"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes a configuration, a run folder or an MLflow run, and `--output FILE`."""
    parser.add_argument("run", metavar="RUN_OR_CONFIG", help="configuration file, run folder, or id of an MLflow run")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the HTML page (<run folder>/report.html)")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Writes the HTML page, and prints the terminal's page to stdout; it ends with the paths of everything."""
    from seqapps.cli._page import page
    from seqapps.report import FILE_NAME, write_report
    from seqapps.workspace import Workspace

    if arguments.output and arguments.output.is_dir():
        from seqapps.errors import UsageError

        raise UsageError(
            f"report: `--output` {arguments.output} is a folder. Example: --output {arguments.output / FILE_NAME}."
        )
    if not arguments.run.endswith(".toml"):
        refuse_settings(arguments, arguments.run)
    workspace = Workspace(arguments.workspace)
    found = stages.collect(
        stages.find(arguments.run, workspace, arguments.overrides), workspace, arguments.tracking_uri
    )
    target = arguments.output or found.folder / FILE_NAME
    write_report(found, target)
    out = page()
    for part in parts(found, workspace, target):
        out.print(part, soft_wrap=isinstance(part, str))
    return 0


def parts(run: Run, workspace: Workspace, page: Path) -> list[Any]:
    """Returns the printed parts, in order; those of unfinished stages are left out."""
    from seqapps.evaluation.tables import tables

    shown: list[Any] = [_configuration(run.config), _data(run.manifest)]
    if run.history is not None:
        shown.append(_epochs(run.history))
    if run.evaluation is not None:
        shown += tables(run.evaluation)
    return [*shown, *_registry(run), _places(run, workspace, page)]


def _configuration(config: RunConfig) -> Table:
    """Returns the fields that differ from the defaults; `seqapps config` shows all."""
    from seqapps.registry.tracking import flatten

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
    from seqapps.metrics.figures import figure

    bars = sparkline([epoch.validation_loss for epoch in history.epochs])
    table = _table(
        f"training: {history.parameters:,} parameters, {history.seconds / 60:.1f} min, {history.padding:.0%} padding, "
        f"validation loss {bars}",
        *("epoch", "loss", "validation loss", history.objective, "rate", "gradient norm", "clipped", "tokens/s"),
    )
    for epoch in history.epochs:
        mark = " *" if epoch.epoch == history.best_epoch else ""
        table.add_row(
            f"{epoch.epoch}{mark}",
            figure(epoch.loss, 1),
            figure(epoch.validation_loss, 1),
            figure(epoch.objective, 1),
            f"{epoch.learning_rate:.2g}",
            f"{epoch.gradient_norm:.3g}",
            f"{epoch.clip_share:.0%}",
            f"{epoch.tokens_per_second:,.0f}",
        )
    return table


def _registry(run: Run) -> list[Any]:
    """Returns the ledger of the model; nothing when there is no decision."""
    table = _table(f"ledger of {run.config.model_name}", "when", "who", "action", "version", "champion", "reason")
    for entry in run.ledger:
        champion = f"{entry.before or '-'} -> {entry.after or '-'}"
        table.add_row(entry.when[:19], entry.who, entry.action, entry.version, champion, entry.reason)
    return [table] if table.row_count else []


def _places(run: Run, workspace: Workspace, page: Path) -> str:
    from seqapps.cli._page import places
    from seqapps.workflow.records import Records

    exported, trained = (Records(workspace, run.config.name).last(stage) for stage in ("export", "train"))
    files = {
        "page": page,
        "run folder": run.folder,
        "learning curves": run.folder / "learning_curves.png",
        "SavedModel": run.folder / "saved_model",
        "last export": exported.outputs[0] if exported is not None else None,
    }
    rows: dict[str, object] = {name: path for name, path in files.items() if path is not None and path.exists()}
    rows["MLflow run"] = run.run_id
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
    """Returns numbers as a line of bars; `x` for one that is not finite.

    >>> sparkline([3.0, float("nan"), 2.0, 1.0])
    '█x▄▁'
    """
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    span = (high - low) or 1.0
    bars = (int((value - low) / span * (len(_BARS) - 1)) if math.isfinite(value) else None for value in values)
    return "".join("x" if bar is None else _BARS[bar] for bar in bars)
