"""Arguments that several commands take. Nothing heavy: `--help` imports this."""

from __future__ import annotations

import argparse

from seqapps.errors import UsageError


def add_config(parser: argparse.ArgumentParser) -> None:
    """Lets a command take CONFIG or `--config FILE`, which is how the tuner's winner is usually passed."""
    parser.add_argument("file", nargs="?", metavar="CONFIG", help="TOML file of the run, such as configs/.../x.toml")
    parser.add_argument("--config", dest="config_file", metavar="FILE", help="the same as CONFIG")
    parser.add_argument(
        "--any-code", action="store_true", help="what an earlier version of the code made counts as up to date"
    )


def refuse_settings(arguments: argparse.Namespace, asked: str) -> None:
    """Raises for configuration overrides where a model or a run is named.

    Args:
        arguments: the parsed call.
        asked: the model or run.

    Raises:
        UsageError: `--set` would do nothing.
    """
    if arguments.overrides:
        raise UsageError(
            f"seqapps {arguments.command}: `--set` changes a configuration, and {asked!r} is none. Received: "
            f"{', '.join(arguments.overrides)}. Remedy: leave it out."
        )
