"""Arguments that several verbs take. Nothing heavy: `--help` imports this."""

from __future__ import annotations

import argparse


def add_config(parser: argparse.ArgumentParser) -> None:
    """Lets a verb take CONFIG or `--config FILE`, which is how the tuner's winner is usually handed over."""
    parser.add_argument("file", nargs="?", metavar="CONFIG", help="TOML file of the run, such as configs/.../x.toml")
    parser.add_argument("--config", dest="config_file", metavar="FILE", help="the same as CONFIG")
    parser.add_argument(
        "--any-code", action="store_true", help="what an earlier version of the code made counts as up to date"
    )
