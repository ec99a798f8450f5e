"""The workspace: one folder with all of a user's state. Plain Python."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from seqapps.files import sweep

DEFAULT = "seqapps-workspace"
_STORE = "mlflow.db"


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
        return f"sqlite:///{(self.root / _STORE).resolve()}"

    @property
    def artifacts(self) -> Path:
        """Files of MLflow runs when the store is embedded."""
        return self.root / "mlartifacts"

    def prepared(self, name: str, fingerprint: str) -> Path:
        """A prepared data set, named by the fingerprint of its inputs."""
        return self.root / "prepared" / f"{name}-{fingerprint[:12]}"

    def run(self, name: str, fingerprint: str) -> Path:
        """A training run: checkpoint, history, samples, model, evaluation."""
        return self.root / "runs" / f"{name}-{fingerprint[:12]}"

    def search(self, name: str, fingerprint: str) -> Path:
        """A search: the tuner's state, trials, winner."""
        return self.root / "tuning" / f"{name}-{fingerprint[:12]}"

    def sweep(self, name: str = "") -> None:
        """Removes partial files of killed processes, of shared folders and of a configuration, if named."""
        sweep(self.root, self.root / "prepared", Path(tempfile.gettempdir()))
        sweep(self.cache, self.exports, self.artifacts, below=True)
        if name:
            sweep(*(folder for kind in ("runs", "tuning") for folder in self.root.glob(f"{kind}/{name}-*")), below=True)
            sweep(self.root / "stages" / name)

    def stage(self, name: str, stage: str) -> Path:
        """The last record of a stage for a configuration: fingerprints of its inputs, and its outputs."""
        return self.root / "stages" / name / f"{stage}.json"


def store_of(run_folder: Path, recorded: str) -> str:
    """Returns the store of a run folder: a workspace that was moved or copied has its own beside the runs."""
    own = Workspace(run_folder.resolve().parent.parent)
    embedded = recorded.startswith("sqlite:///") and recorded.endswith(f"/{_STORE}")
    return own.tracking_uri if embedded and (own.root / _STORE).exists() else recorded
