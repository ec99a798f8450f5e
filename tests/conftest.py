"""The files that wait longest go first, so that two processes end at about the same time."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqapps.workflow.stack import keep_compiled

# Matrices are small here: threads that spin until the others are done took two thirds of a search's time.
# Libraries read this when they are imported, and no import above imports one.
for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
# XLA compiles a recurrence for every shape that a test brings: half the time without optimisation.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false")
keep_compiled(Path(__file__).parent.parent / ".pytest_cache")

_FIRST = (
    "test_pipeline",
    "test_contracts",
    "test_serving",
    "test_tuning_kill",
    "test_resume",
    "test_tuning",
    "test_layers",
    "test_prepare_kill",
    "test_cells",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts tests by their file's place in the list above; the others keep their order."""
    places = {name: place for place, name in enumerate(_FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_collection_finish() -> None:
    """What the imports left is never garbage; tracing makes so many objects that looking through it all is costly."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


@pytest.fixture(scope="session", autouse=True)
def copied_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow's stores begin as copies of an empty one; processes of pytest-xdist share it."""
    import stores

    from seqapps.registry import tracking

    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(stores.EMPTY, str(shared / "empty-store.db"))
        patch.setattr(tracking, "_client", stores.client)
        yield
