"""`seqapps config CONFIG`: the whole configuration, every default filled in, as loadable TOML."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seqapps.cli._arguments import add_config

if TYPE_CHECKING:
    from rich.console import Console

HELP = "print the whole configuration with every default filled in"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes CONFIG."""
    add_config(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Prints TOML to stdout."""
    from seqapps.config import to_toml
    from seqapps.workflow.pipeline import pipeline_of

    print(to_toml(pipeline_of(arguments, console).config.model_dump(mode="json")), end="")
    return 0
