"""`seqapps rollback MODEL`: restores the previous champion; recorded in the ledger."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seqapps.cli._arguments import refuse_settings

if TYPE_CHECKING:
    from rich.console import Console

    from seqapps.registry.tracking import Tracker

HELP = "make the version before the champion again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes the model's name, or the configuration that made it, `--to VERSION` and `--reason`."""
    parser.add_argument("model", metavar="MODEL", help="name in the registry, or the configuration file")
    parser.add_argument("--to", default="", metavar="VERSION", help="an earlier champion, instead of the last one")
    parser.add_argument("--reason", required=True, help="why; kept in the ledger")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Moves the alias and prints the decision to stdout."""
    from seqapps.cli._page import page
    from seqapps.registry import promotion

    if not arguments.model.endswith(".toml"):
        refuse_settings(arguments, arguments.model)
    tracker, model = _registry(arguments)
    decision = promotion.rollback(tracker, model, reason=arguments.reason, to=arguments.to, console=console)
    page().print(promotion.decision_table(decision))
    return 0


def _registry(arguments: argparse.Namespace) -> tuple[Tracker, str]:
    """Returns the store and the model's name in it."""
    from seqapps.applications import load_config
    from seqapps.registry.tracking import Tracker
    from seqapps.workspace import Workspace

    workspace = Workspace(arguments.workspace)
    workspace.sweep()
    if arguments.model.endswith(".toml"):
        config = load_config(arguments.model, arguments.overrides)
        return Tracker.open(config, workspace, arguments.tracking_uri), config.model_name
    return Tracker(arguments.tracking_uri or workspace.tracking_uri, workspace.artifacts), arguments.model
