"""Where everything of a user's work lies: one folder. Plain Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT = "seqapps-workspace"


@dataclass(frozen=True)
class Workspace:
    """The folders of a workspace; nothing is created by asking for a path."""

    root: Path

    @property
    def cache(self) -> Path:
        """Downloads and built-in texts."""
        return self.root / "cache"

    @property
    def exports(self) -> Path:
        """SavedModel folders: `exports/<model>/<version>`."""
        return self.root / "exports"

    @property
    def tracking_uri(self) -> str:
        """The embedded MLflow store."""
        return f"sqlite:///{(self.root / 'mlflow.db').resolve()}"

    @property
    def artifacts(self) -> Path:
        """Files of MLflow runs when the store is embedded."""
        return self.root / "mlartifacts"

    def prepared(self, name: str, fingerprint: str) -> Path:
        """A prepared data set, named by what made it."""
        return self.root / "prepared" / f"{name}-{fingerprint[:12]}"

    def run(self, name: str, fingerprint: str) -> Path:
        """A training run: checkpoint, history, samples, model, evaluation."""
        return self.root / "runs" / f"{name}-{fingerprint[:12]}"

    def search(self, name: str, fingerprint: str) -> Path:
        """A search: the tuner's state, trials, winner."""
        return self.root / "tuning" / f"{name}-{fingerprint[:12]}"

    def stage(self, name: str, stage: str) -> Path:
        """The record of what a stage last did for a configuration: its inputs' fingerprints and its outputs."""
        return self.root / "stages" / name / f"{stage}.json"
