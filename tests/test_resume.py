"""Killed at any step and run again: the same final weights, bit for bit, as never killed. Real processes, SIGKILL."""

import hashlib
import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from warm import PROCESSES

CASES = {
    "stream, dropout, plateau, clip auto": {"batching": "stream", "schedule": {"name": "plateau"}, "clip": "auto"},
    "document, sgd, cosine": {
        "batching": "length",
        "optimizer": "sgd",
        "momentum": 0.9,
        "learning_rate": 0.5,
        "schedule": {"name": "cosine", "warmup_steps": 3},
    },
}


class Deadly:
    """Batches that kill their process when an epoch's step is asked for."""

    def __init__(self, batches: Any, kill_at: int) -> None:
        self._batches, self._kill_at = batches, kill_at
        for name in ("steps", "tokens", "batch_size", "carries", "padding"):
            setattr(self, name, getattr(batches, name))

    def dataset(self, epoch: int, start: int = 0) -> Any:
        dataset = self._batches.dataset(epoch, start)
        first = epoch * self._batches.steps + start

        class Steps:
            element_spec = dataset.element_spec

            def __iter__(steps) -> Any:
                for step, batch in enumerate(dataset, first):
                    if step == self._kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    yield batch

        return Steps()


def run(folder: str, settings: dict[str, Any], kill_at: int) -> None:
    """Trains a small model; writes the hash of its weights and of all else that training moved."""
    import numpy as np

    from seqapps.applications import config_from
    from seqapps.architectures import stacked
    from seqapps.batching.documents import DocumentBatches
    from seqapps.batching.streams import StreamBatches
    from seqapps.dataset.ragged import Ragged
    from seqapps.training.loop import configure, train

    training = {"batch_size": 4, "window": 6, "epochs": 3, "deterministic": True, "checkpoint_steps": 4, **settings}
    tables = {
        "application": "language_model",
        "source": {"builtin": "python-docs"},
        "model": {"units": [8, 8], "embedding": 8, "dropout": 0.3, "cell": "lstm"},
        "training": {**training, "early_stopping": 0},
    }
    config = config_from(tables, "test")
    configure(config)
    generator = np.random.default_rng(5)
    lengths = generator.integers(1, 9, 50)
    ids = Ragged(generator.integers(4, 20, lengths.sum()).astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]))
    if config.training.batching == "stream":
        batches: Any = StreamBatches(ids.values, batch_size=4, window=6, start=3)
    else:
        batches = DocumentBatches(ids, batch_size=4, window=6, start=2, seed=1, shuffle=True)
    model = stacked.build(config.model, vocabulary_size=20, carry=True)  # type: ignore[arg-type]
    history = train(model, Deadly(batches, kill_at), batches, config, Path(folder), identity="same")
    digest = hashlib.sha256(b"".join(np.asarray(weight).tobytes() for weight in model.weights)).hexdigest()
    with np.load(Path(folder) / "checkpoint.npz") as archive:
        names = sorted(name for name in archive.files if name != "meta")
        everything = hashlib.sha256(b"".join(archive[name].tobytes() for name in names)).hexdigest()
    logs = [{**vars(log), "seconds": 0, "tokens_per_second": 0} for log in history.epochs]
    result = {"weights": digest, "everything": everything, "logs": logs, "steps": batches.steps}
    Path(folder, "result.json").write_text(json.dumps(result))


def in_process(folder: Path, settings: dict[str, Any], kill_at: int = -1) -> int | None:
    process = PROCESSES.Process(target=run, args=(str(folder), settings, kill_at))
    process.start()
    process.join(timeout=300)
    return process.exitcode


@pytest.mark.parametrize("name", CASES)
def test_a_killed_training_ends_with_the_weights_of_an_unbroken_one(name: str, tmp_path: Path) -> None:
    settings, whole, broken = CASES[name], tmp_path / "whole", tmp_path / "broken"
    assert in_process(whole, settings) == 0
    expected = json.loads((whole / "result.json").read_text())
    # In the first epoch, before the first checkpoint or after it; anywhere later. Each goes on from the one before.
    steps = expected["steps"]
    for kill_at in (random.choice((2, random.randrange(5, steps))), random.randrange(steps, 3 * steps)):
        assert in_process(broken, settings, kill_at) == -signal.SIGKILL, kill_at
        assert not (broken / "result.json").exists()
    assert in_process(broken, settings) == 0
    assert json.loads((broken / "result.json").read_text()) == expected
