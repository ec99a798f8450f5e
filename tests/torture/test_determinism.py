"""Every application, trained alone and then beside threads that draw from the generators of the process: one result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from test_seeds import MODELS, threads_that_draw

from pipelines.prepare import prepare
from seqapps import applications, architectures
from seqapps.applications import application_of, load_config
from seqapps.dataset.manifest import read_manifest
from seqapps.training import loop as training
from seqapps.training.padding_audit import audit
from seqapps.training.trained_model import load_resources
from seqapps.workspace import Workspace

CONTRACTS = Path(__file__).parent.parent / "contracts"
PAIRS = [
    (name, model) for name in applications.names() for model in applications.architectures_of(applications.load(name))
]


@pytest.fixture
def contracts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SEQAPPS_CONTRACTS", str(CONTRACTS))
    yield


@pytest.mark.usefixtures("contracts")
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_training_has_one_result(pair: tuple[str, str], tmp_path: Path) -> None:
    name, architecture = pair
    small = {"units": [8], "embedding": 6, "dropout": 0.2}
    fields = architectures.load(architecture).Config.model_fields
    overrides = [f"model.{field}={value}" for field, value in small.items() if field in fields]
    own = [f"model.architecture={architecture}", "training.epochs=2", *overrides]
    config = load_config(CONTRACTS / f"{name}.toml", own)
    prepared = prepare(config, Workspace(tmp_path), console=Console(quiet=True))
    manifest, application = read_manifest(prepared), application_of(config)

    def trained(folder: str) -> tuple[list[bytes], list[float]]:
        training.configure(config)
        model = application.build(manifest)
        application.initialise(model, load_resources(prepared / "vocabularies", manifest))
        batches = application.batches(prepared, manifest, "train")
        audit(model, batches)
        history = training.train(
            model,
            batches,
            application.batches(prepared, manifest, "validation"),
            config,
            tmp_path / folder,
            objective=application.criterion(manifest, model),
            judge=application.judge(prepared, manifest),
        )
        return [np.array(weight).tobytes() for weight in model.weights], [log.objective for log in history.epochs]

    alone = trained("alone")
    MODELS["stacked"](3)
    with threads_that_draw():
        assert trained("beside") == alone
