"""The files that wait longest go first, so that two processes end at about the same time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seqapps.commands._stack import keep_compiled

# XLA compiles a recurrence for every shape that a test brings: half the time without optimisation.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
keep_compiled(Path(__file__).parent.parent / ".pytest_cache")

_FIRST = ("test_journey", "test_tuning_kill", "test_contracts", "test_prepare_kill", "test_serving", "test_promotion")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts tests by their file's place in the list above; the others keep their order."""
    places = {name: place for place, name in enumerate(_FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
