"""The console for results: standard output, as wide as the terminal, or wide enough for our tables without one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH = 120


def page() -> Console:
    """Returns the console of standard output."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)


def places(rows: Mapping[str, object]) -> str:
    """Returns names and paths as lines that can be copied: nothing is wrapped or cut."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {place}" for name, place in rows.items())
