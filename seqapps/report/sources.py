"""The data of a page: all outputs of a run, read once."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from seqapps import formats
from seqapps.applications import Application, application_of
from seqapps.config import RunConfig
from seqapps.dataset.manifest import Manifest
from seqapps.diagnosis.results import Diagnosis, read_diagnosis
from seqapps.errors import DataError
from seqapps.evaluation.bootstrap import Comparison, interval, paired_bootstrap
from seqapps.evaluation.evaluate import FILE_NAME, Evaluation, read_evaluation, read_statistics
from seqapps.evaluation.examples import Details, read_details
from seqapps.evaluation.slices import SliceTable, read_slices
from seqapps.evaluation.tables import best_baseline
from seqapps.preprocessing.splits import SPLITS
from seqapps.registry.ledger import Entry
from seqapps.registry.tracking import NamedRun
from seqapps.training.log import TRAIN_AGAIN, Audit, History
from seqapps.training.trained_model import read_trained

T = TypeVar("T")
_RESAMPLES = 1_000
_REJECTS_READ, _REJECTS_SHOWN = 100_000, 3


@dataclass(frozen=True)
class Reject:
    """A raw row that was refused: why, file, line, and the beginning of its text."""

    reason: str
    file: str
    line: int
    text: str


_REJECTED = TypeAdapter(Reject)


@dataclass(frozen=True)
class Run:
    """A trained run, with the outputs of its later stages.

    Args:
        folder: the run folder.
        config: its configuration.
        manifest: of the data it was trained on.
        code_version: of seqapps, when it was trained.
        history: of the training.
        audit: the padding audit; None when there is none.
        diagnosis: of its gradients; None when there is none. Its plots are in `diagnosis/`.
        prepared: the prepared folder; None when it was deleted.
        evaluation, statistics, details, slices: of `evaluation/`, if finished.
        ledger: the model's decisions, the oldest first.
        tags: of the MLflow run.
        run_id, uri: the MLflow run and its store.
    """

    folder: Path
    config: RunConfig
    manifest: Manifest
    code_version: str
    history: History | None = None
    audit: Audit | None = None
    diagnosis: Diagnosis | None = None
    prepared: Path | None = None
    evaluation: Evaluation | None = None
    statistics: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    details: Details = field(default_factory=Details)
    slices: Sequence[SliceTable] = ()
    ledger: Sequence[Entry] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str = ""
    uri: str = ""

    @cached_property
    def application(self) -> Application:
        """The application of the configuration."""
        return application_of(self.config)

    @property
    def splits(self) -> list[str]:
        """The splits, the training split first."""
        return [name for name in SPLITS if name in self.manifest.splits]

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float] | None]:
        """The middle 95 % of the objective of every system, by its name in `statistics`."""
        options = {"resamples": _RESAMPLES, "seed": self.config.seed}
        return {name: interval(sums, self._metric, **options) for name, sums in self.statistics.items()}

    @cached_property
    def best_baseline(self) -> str:
        """The best baseline by the objective; empty when there is none."""
        return best_baseline(self.evaluation) if self.evaluation is not None else ""

    def against(self, other: str) -> Comparison | None:
        """Returns the comparison with another system of `statistics`; None when they cannot be compared."""
        if self.evaluation is None or other not in self.statistics or len(self.statistics["model"]) < 2:
            return None
        return paired_bootstrap(
            self.statistics["model"],
            self.statistics[other],
            self._metric,
            direction=self.evaluation.direction,
            resamples=_RESAMPLES,
            seed=self.config.seed,
        )

    @cached_property
    def entry(self) -> Entry | None:
        """The last decision on this run."""
        return next((entry for entry in reversed(self.ledger) if entry.run_id == self.run_id), None)

    @cached_property
    def rejects(self) -> dict[str, list[Reject]]:
        """The first refused rows of each reason."""
        found: dict[str, list[Reject]] = defaultdict(list)
        path = None if self.prepared is None else self.prepared / "rejects" / "rejects.jsonl"
        if path is None or not path.exists():
            return {}
        with open(path, encoding="utf-8") as file:
            for line in itertools.islice(file, _REJECTS_READ):
                try:
                    record = _REJECTED.validate_json(line)
                except ValidationError as error:
                    raise DataError(
                        f"{path} is damaged ({error.errors()[0]['msg']}). Remedy: remove {self.prepared} and run "
                        "`seqapps prepare CONFIG` again."
                    ) from None
                if len(found[record.reason]) < _REJECTS_SHOWN:
                    found[record.reason].append(record)
        return dict(found)

    @property
    def saved_model_bytes(self) -> int:
        """Size of the SavedModel; 0 when there is none."""
        return sum(path.stat().st_size for path in (self.folder / "saved_model").rglob("*") if path.is_file())

    def _metric(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(all="ignore"):
            return self.application.metrics(totals)[self.application.objective]


def read_run(folder: Path, **further: Any) -> Run:
    """Returns the content of a run folder.

    Args:
        folder: the run folder.
        further: `prepared`, `ledger`, `tags`, which are stored elsewhere.
    """
    stored = read_trained(folder / "model")
    named = _read(folder / "run.json", "run", NamedRun) or NamedRun()
    evaluated = folder / "evaluation"
    done: dict[str, Any] = {}
    if (evaluated / FILE_NAME).exists():
        evaluation = read_evaluation(evaluated)
        done = {
            "evaluation": evaluation,
            "statistics": read_statistics(evaluated),
            "details": read_details(evaluated, evaluation.pictures),
            "slices": tuple(read_slices(evaluated)),
        }
    return Run(
        folder=folder,
        config=stored.typed(folder / "model"),
        manifest=stored.manifest,
        code_version=stored.code_version,
        history=_read(folder / "history.json", "history", History),
        audit=_read(folder / "audit.json", "audit", Audit),
        diagnosis=read_diagnosis(folder / "diagnosis"),
        run_id=named.run_id,
        uri=named.uri,
        **done,
        **further,
    )


def _read(path: Path, kind: str, shape: type[T]) -> T | None:
    """Returns a record; None if there is none."""
    return formats.read(path, kind, shape, TRAIN_AGAIN) if path.exists() else None
