"""The language reference shipped with CPython: each topic of `pydoc_data.topics` is a file."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Mapping
from pathlib import Path

from pipelines.builtin import written_once


def files(cache: Path) -> list[tuple[str, Path]]:
    """Returns (name, path) of every topic."""
    folder = written_once(cache / "builtin" / f"python-docs-{platform.python_version()}", _topics)
    return [(f"python-docs/{path.name}", path) for path in folder.glob("*.txt")]


def _topics() -> Mapping[str, str]:
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    return {f"{topic}.txt": text for topic, text in topics.items()}
