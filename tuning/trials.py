"""One trial: from hyperparameters to a configuration, a model, a short training and its best objective."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqapps import formats
from seqapps.applications import application_of, config_from
from seqapps.config import RunConfig
from seqapps.dataset.manifest import Manifest
from seqapps.errors import RunError, SeqappsError
from seqapps.metrics.figures import figure

if TYPE_CHECKING:
    import tensorflow as tf

    from seqapps.batching import Batches
    from seqapps.training.log import History, Listener


@dataclass(frozen=True)
class TrialRecord:
    """The result of a trial.

    Args:
        trial: its id; ids increase with time.
        status: `completed` or `failed`.
        overrides: dotted field to value.
        objective: the best validation objective; None when it failed.
        epochs: finished epochs, including those of the earlier round that it resumed from.
        seconds: time taken.
        parameters: number of trainable parameters; 0 when it failed.
        reason: why it failed.
        run_id: its MLflow run.
        seed: of its training.
    """

    trial: str
    status: Literal["completed", "failed"]
    overrides: Mapping[str, Any]
    objective: float | None
    epochs: int
    seconds: float
    parameters: int
    reason: str
    run_id: str
    seed: int

    @property
    def shown(self) -> str:
        """The objective as text."""
        return "failed" if self.objective is None else figure(self.objective, 1)

    def write(self, folder: Path) -> None:
        """Writes the record, atomically."""
        formats.write(folder / f"{self.trial}.json", "trial", asdict(self))


def read_records(folder: Path) -> list[TrialRecord]:
    """Returns the records in `folder`, in the order of the trials.

    Raises:
        FormatError: another version of seqapps wrote one.
        DataError: one is damaged.
    """
    files = sorted(folder.glob("*.json"))
    remedy = f"remove {folder.parent} and run `seqapps tune CONFIG` again, which searches from the beginning"
    return [formats.read(file, "trial", TrialRecord, remedy) for file in files]


def with_overrides(config: RunConfig, overrides: Mapping[str, Any], where: str) -> RunConfig:
    """Returns a configuration with dotted fields replaced, checked as if it had come from a file.

    Raises:
        ConfigError: the combination is not possible; says why.
    """
    tables = config.model_dump(mode="json")
    for name, value in overrides.items():
        *sections, field = name.split(".")
        table = tables
        for section in sections:
            table = table.setdefault(section, {})
        table[field] = value
    return config_from(tables, where)


def of_trial(config: RunConfig, overrides: Mapping[str, Any], seed: int, where: str) -> RunConfig:
    """Returns the configuration of a trial: it reproduces the trial's training, on the same split of the rows.

    Args:
        config: of the search; if its split has no seed, the split uses `seed`.
        overrides: dotted field to value.
        seed: of the trial's training.
        where: names it in an error.

    Raises:
        ConfigError: the combination is not possible; says why.
    """
    changed = {**overrides, "tuning.algorithm": "none"}
    if seed != config.seed:
        changed |= {"seed": seed, "data.split.seed": config.split_seed}
    return with_overrides(config, changed, where)


def run_trial(  # noqa: PLR0913 - a configuration, its data, its place, its length, its listeners
    config: RunConfig, prepared: Path, manifest: Manifest, folder: Path, *, epochs: int, listeners: Sequence[Listener]
) -> History:
    """Builds and trains the model of a configuration, resuming from an earlier round in `folder`.

    Args:
        config: with the trial's overrides and seed.
        prepared, manifest: the data.
        folder: for the checkpoint.
        epochs: total number of epochs.
        listeners: receive every step and epoch.

    Raises:
        RunError: padding changes the model's outputs, or the best objective is not a number.
    """
    import keras

    from seqapps.training import loop as training
    from seqapps.training.padding_audit import audit
    from seqapps.training.trained_model import load_resources

    keras.backend.clear_session()  # also collects garbage
    training.configure(config)
    application = application_of(config)
    with training.scope(config):
        model = application.build(manifest)
    application.initialise(model, load_resources(prepared / "vocabularies", manifest))
    batches = application.batches(prepared, manifest, "train")
    audit(model, batches, precision=config.training.precision)
    history = training.train(
        model,
        PartBatches(batches, config.tuning.max_rows_fraction),
        application.batches(prepared, manifest, "validation"),
        config,
        folder,
        listeners=listeners,
        epochs=epochs,
        objective=application.criterion(manifest, model),
        judge=application.judge(prepared, manifest),
    )
    if not math.isfinite(history.best):
        raise RunError(f"the best {history.objective} is {history.best}, which is no figure to rank by")
    return history


def begin_folder(folder: Path, earlier: Path | None) -> None:
    """Empties a trial's folder, then copies the earlier round's checkpoint into it.

    A killed trial restarts from its beginning, so that its result does not depend on the kill.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if earlier is not None and earlier.exists():
        shutil.copytree(earlier, folder)


def explain(error: Exception) -> str:
    """Returns why a trial failed, in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, SeqappsError) else f"{type(error).__name__}: {text[:500]}"


class PartBatches:
    """The first share of an epoch's batches. If the order changes with the epoch, so does the part.

    Args:
        batches: all batches.
        fraction: share of the batches, above 0; at least one batch is kept.
    """

    def __init__(self, batches: Batches, fraction: float) -> None:
        self._batches = batches
        self.steps = max(1, round(batches.steps * fraction))
        self.tokens = max(1, round(batches.tokens * self.steps / batches.steps))
        self.batch_size = batches.batch_size
        self.carries = batches.carries
        self.padding = batches.padding

    def dataset(self, epoch: int, start: int = 0) -> tf.data.Dataset:
        """Returns `(x, y, weights)` of the part, from batch `start` on."""
        return self._batches.dataset(epoch, start).take(self.steps - start)
