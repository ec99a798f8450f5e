"""The only access to MLflow: an explicit client and explicit run ids, never "the active run", no autolog.

The embedded store is an SQLite file of the workspace. It is created once, under a file lock, before any use: two
processes that open an empty file would both try to make its tables, and one would fail.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlparse

from seqapps import __version__, formats
from seqapps.config import RunConfig, to_toml
from seqapps.dataset.manifest import Manifest
from seqapps.errors import DataError, RunError, UsageError
from seqapps.files import copy_file, temporaries_in, temporary_folder
from seqapps.registry.provenance import git_tags, is_gone, lock_file, process_tags, user
from seqapps.registry.reachable import SQLITE, reach
from seqapps.secrets import address, recorded

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from seqapps.workspace import Workspace

KIND = "seqapps.kind"
_WORD = "seqapps.word"
LEASE = ".seqapps-lease"
"""Suffix of the registered model that represents a lease: the right to move another model's champion."""
LEASE_SECONDS = 60.0
"""A move takes one or two seconds."""
SAVED_MODEL = "saved_model"
_PARAM_LENGTH, _TAG_LENGTH, _KEY_LENGTH, _BATCH, _DIGEST = 6000, 8000, 250, 100, 36
_DEFAULT_EXPERIMENT = "seqapps"

Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class RunRef:
    """A run of MLflow."""

    run_id: str
    experiment_id: str


@dataclass(frozen=True)
class NamedRun:
    """The content of `run.json`, which names the run of the folder that it is in.

    Args:
        word: the unique key of a run that is about to be made; empty once it is.
        run_id, uri: the run and its store; empty before.
    """

    word: str = ""
    run_id: str = ""
    uri: str = ""


def named_run(file: Path) -> NamedRun:
    """Returns the content of `run.json`; empty if it is missing, damaged or of another format: the run has other marks,
    and the file is written again."""
    try:
        return formats.read(file, "run", NamedRun, "remove it")
    except (FileNotFoundError, DataError):
        return NamedRun()


class Tracker:
    """Runs, parameters, metrics and artifacts, written by run id.

    The attribute `uri` is the form for records and messages: variables unexpanded, without user and password.

    Args:
        uri: `sqlite:///...` (or another database), or `http(s)://...` of a server; `${NAME}` is replaced.
        artifacts: folder of the runs' files; ignored by a server.
        experiment: name of the experiment, created when missing.

    Raises:
        UsageError: the store type is retired by MLflow or its driver missing, or the experiment is deleted.
        RunError: the store does not answer.
    """

    def __init__(self, uri: str, artifacts: Path | None, *, experiment: str = _DEFAULT_EXPERIMENT) -> None:
        self._address = address(uri, "`tracking.uri`")
        self.uri = recorded(uri)
        if "://" not in self._address or self._address.startswith("file:"):
            raise UsageError(
                "`tracking.uri` must be a server or a database. MLflow has retired folders of files. "
                f"Received: {self.uri!r}. Example: http://127.0.0.1:5000 or sqlite:////data/mlflow.db."
            )
        self.experiment = experiment
        self._artifacts = None if self.is_server else artifacts
        reach(self._address)
        with self.lock("store"):
            self.client = _client(self._address)
            self.experiment_id = self._experiment()

    @classmethod
    def open(cls, config: RunConfig, workspace: Workspace, uri: str = "") -> Tracker:
        """Returns the tracker of a configuration, and closes runs whose process is gone.

        Args:
            config: names the server (`tracking.uri`) and the experiment (`tracking.experiment`, else `name`).
            workspace: holds the embedded store when no server is named.
            uri: overrides the configuration's.
        """
        name = config.tracking.experiment or config.name or _DEFAULT_EXPERIMENT
        tracker = cls(uri or config.tracking.uri or workspace.tracking_uri, workspace.artifacts, experiment=name)
        tracker.reap()
        return tracker

    @property
    def page_command(self) -> str:
        """The command (or the address) that opens MLflow's page."""
        return self.uri if self.is_server else f"mlflow ui --backend-store-uri {self.uri}"

    @property
    def is_server(self) -> bool:
        """Whether the store is a server, which decides where files are stored."""
        return self._address.startswith("http")

    # ---- runs

    def start(
        self, run_name: str, *, kind: str, parent: str | None = None, tags: Mapping[str, str] | None = None
    ) -> RunRef:
        """Returns a new run, marked with this process, the user, the git commit and the version of seqapps.

        Args:
            run_name: display name.
            kind: what the run is (`train`, `search`, `trial`, `ledger`), kept as a tag.
            parent: id of the parent run.
            tags: further tags.
        """
        everything = {KIND: kind, "mlflow.user": user(), "seqapps.version": __version__, **git_tags(), **process_tags()}
        if parent:
            everything["mlflow.parentRunId"] = parent
        everything |= {key: value[:_TAG_LENGTH] for key, value in (tags or {}).items()}
        run = self.client.create_run(self.experiment_id, tags=everything, run_name=run_name)
        return RunRef(run.info.run_id, self.experiment_id)

    def begin(self, file: Path, run_name: str, *, kind: str, tags: Mapping[str, str] | None = None) -> RunRef:
        """Returns the run that a file names, marked as running; else a new one, whose id is written to the file.

        A kill at any moment leaves one run: a unique key is written to the file before the run is made with it.

        Args:
            file: JSON, beside the outputs of the run.
            run_name, kind, tags: see `start`. If the file is damaged, or of another format, the run is found by its
                tags.
        """
        stored, marks = named_run(file), tags or {}
        known = stored.run_id
        if not known and file.exists():  # written before the run was made, or damaged
            found = self.find(kind=kind, tags={_WORD: stored.word} if stored.word else marks)
            known = found[0].info.run_id if found else ""
        if known and self._has(known):
            run = self.resume(known)
        else:
            word = uuid.uuid4().hex
            formats.write(file, "run", {"word": word})
            run = self.start(run_name, kind=kind, tags={**marks, _WORD: word})
        if stored.run_id != run.run_id or stored.uri != self.uri:
            formats.write(file, "run", {"run_id": run.run_id, "uri": self.uri})
        return run

    def _has(self, run_id: str) -> bool:
        """Whether a run is in this store, whose address may have changed since."""
        try:
            return bool(self.run(run_id).info.lifecycle_stage == "active")
        except UsageError:
            return False

    def resume(self, run_id: str) -> RunRef:
        """Marks a run as running again, in this process.

        Raises:
            UsageError: the store has no such run.
        """
        run = self.run(run_id)
        self.client.update_run(run_id, status="RUNNING")
        self.set_tags(run_id, {**git_tags(), **process_tags()})
        return RunRef(run_id, run.info.experiment_id)

    def run(self, run_id: str) -> Run:
        """Returns the MLflow record of a run.

        Raises:
            UsageError: the store has no such run.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            raise UsageError(f"run `{run_id}` is not in {self.uri}: {error}") from None

    def find(self, *, kind: str, tags: Mapping[str, str] | None = None) -> list[Run]:
        """Returns the experiment's runs of a kind that have all `tags`, the newest first."""
        terms = [f"tags.`{key}` = '{value}'" for key, value in {KIND: kind, **(tags or {})}.items()]
        return self._search(" and ".join(terms))

    def children(self, parent: str) -> list[Run]:
        """Returns the runs that are nested in `parent`, the newest first."""
        return self._search(f"tags.`mlflow.parentRunId` = '{parent}'")

    def reap(self) -> list[str]:
        """Marks runs as KILLED that are RUNNING in a process of this machine that is gone; returns their ids."""
        gone = [run.info.run_id for run in self._search("attributes.status = 'RUNNING'") if is_gone(run.data.tags)]
        for run_id in gone:
            self.client.set_terminated(run_id, "KILLED")
        return gone

    def finish(self, run_id: str, status: Status = "FINISHED") -> None:
        """Closes a run."""
        self.client.set_terminated(run_id, status)

    # ---- logging

    def log_config(self, run_id: str, config: RunConfig) -> None:
        """Logs the whole configuration: dotted parameters, and the file `config.toml` for `--config`.

        MLflow's parameters are immutable: those that a resumed run already has are left as they are.
        """
        from mlflow.entities import Param

        tables = config.model_dump(mode="json")
        known = self.run(run_id).data.params
        values = {key[:_KEY_LENGTH]: str(value)[:_PARAM_LENGTH] for key, value in flatten(tables).items()}
        params = [Param(key, value) for key, value in values.items() if key not in known]
        for start in range(0, len(params), _BATCH):
            self.client.log_batch(run_id, params=params[start : start + _BATCH])
        self.log_text(run_id, to_toml(tables), "config.toml")

    def log_dataset(self, run_id: str, manifest: Manifest, folder: Path) -> None:
        """Logs the prepared data as the run's data set; the manifest's whole fingerprint is a tag."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = {name: {"rows": split.rows, "tokens": split.tokens} for name, split in manifest.splits.items()}
        dataset = Dataset(
            name=folder.name,
            digest=manifest.fingerprint[:_DIGEST],
            source_type="local",
            source=json.dumps({"uri": folder.resolve().as_uri()}),
            schema=json.dumps(manifest.schema_.model_dump(mode="json")),
            profile=json.dumps(profile),
        )
        tags = [InputTag("mlflow.data.context", "training"), InputTag("seqapps.fingerprint", manifest.fingerprint)]
        self.client.log_inputs(run_id, [DatasetInput(dataset, tags)])
        self.set_tags(run_id, {"seqapps.data": manifest.fingerprint})

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int = 0) -> None:
        """Logs the metrics of one step in one call, without NaN."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        values = {key: float(value) for key, value in metrics.items() if value is not None}
        batch = [Metric(key, value, now, step) for key, value in values.items() if not math.isnan(value)]
        for start in range(0, len(batch), _BATCH):
            self.client.log_batch(run_id, metrics=batch[start : start + _BATCH])

    def log_metrics_once(self, run_id: str, metrics: Mapping[str, float], step: int = 0) -> None:
        """Logs those metrics of a step that the run lacks: a killed process may have logged some."""
        known = self.run(run_id).data.metrics
        news = {
            key: value
            for key, value in metrics.items()
            if key not in known or step not in {item.step for item in self.client.get_metric_history(run_id, key)}
        }
        self.log_metrics(run_id, news, step)

    def log_last_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Logs those metrics that differ from the run's last values."""
        known = self.run(run_id).data.metrics
        self.log_metrics(run_id, {key: value for key, value in metrics.items() if known.get(key) != value})

    def log_artifact(self, run_id: str, path: Path, folder: str = "") -> None:
        """Copies a file, or the content of a folder, to the run's artifacts (into `folder` there)."""
        self._put(self.run(run_id).info.artifact_uri, path, folder)

    def log_text(self, run_id: str, text: str, file: str) -> None:
        """Writes a text artifact."""
        folder, _, name = file.rpartition("/")
        with temporary_folder() as place:
            (place / name).write_bytes(text.encode())
            self.log_artifact(run_id, place / name, folder)

    def read_text(self, run_id: str, file: str) -> str | None:
        """Returns a text artifact, or None when the run has none of that name."""
        folder, _, name = file.rpartition("/")
        if name not in {path.rpartition("/")[2] for path in self.artifacts(run_id, folder)}:
            return None
        with temporary_folder() as target:
            return self.download(run_id, file, target).read_text(encoding="utf-8", errors="replace")

    def artifacts(self, run_id: str, folder: str = "") -> list[str]:
        """Returns the paths of a run's artifacts, those at the top or in a folder."""
        return [item.path for item in self._files(self.run(run_id).info.artifact_uri).list_artifacts(folder or None)]

    def download(self, run_id: str, path: str, folder: Path) -> Path:
        """Copies an artifact into `folder`, and returns its path."""
        return Path(self._files(self.run(run_id).info.artifact_uri).download_artifacts(path, str(folder)))

    def here(self, uri: str) -> str:
        """Returns the present location of files of the embedded store. It records absolute paths, but a workspace can
        be moved or copied; writes of a copy must not go into the original."""
        if self._artifacts is None or not self._is_embedded():
            return uri
        _, inside, rest = uri.rpartition(f"/{self._artifacts.name}/")
        return f"{self._artifacts.resolve().as_uri()}/{rest}" if inside else uri

    def _is_embedded(self) -> bool:
        """Whether the store and its artifacts are in one workspace."""
        database = Path(self._address.removeprefix(SQLITE))
        return self._artifacts is not None and database.resolve().parent == self._artifacts.resolve().parent

    def _put(self, uri: str, path: Path, folder: str) -> None:
        """Copies a file, or the content of a folder, to an artifact location."""
        if self._is_embedded() and (address := urlparse(self.here(uri))).scheme == "file":
            target = Path(unquote(address.path), folder)
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    copy_file(file, target / (file.relative_to(path) if path.is_dir() else file.name))
        elif path.is_dir():
            self._files(uri).log_artifacts(str(path), folder or None)
        else:
            self._files(uri).log_artifact(str(path), folder or None)

    def _files(self, uri: str) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(self.here(uri), tracking_uri=self._address)

    def log_model(  # noqa: PLR0913 - what makes a pyfunc
        self, run: RunRef, name: str, *, code: Path, saved_model: Path, requirements: Sequence[str], signature: Any
    ) -> str:
        """Logs a pyfunc made from code around a SavedModel, and returns its source in the registry.

        Nothing is pickled and no requirement is inferred (that would cost 20 seconds).

        Args:
            run: the run that made it.
            name: display name.
            code: a Python file that ends in `mlflow.models.set_model`.
            saved_model: folder, copied as the artifact `saved_model`.
            requirements: pinned requirements.
            signature: the `mlflow.models.ModelSignature` of the columns and parameters.
        """
        from mlflow import pyfunc
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        logged = self._logged_model(run, name)
        with temporary_folder() as folder, temporaries_in(folder / "tmp"), warnings.catch_warnings():
            # MLflow requests an input example, which would load and run the model here.
            warnings.simplefilter("ignore", UserWarning)
            pyfunc.save_model(
                f"{folder}/model",
                python_model=str(code),
                artifacts={SAVED_MODEL: str(saved_model)},
                pip_requirements=list(requirements),
                signature=signature,
                mlflow_model=Model(run_id=run.run_id, model_id=logged.model_id),
            )
            self._put(logged.artifact_location, folder / "model", "")
        self.client.finalize_logged_model(logged.model_id, "READY")
        outputs = self.run(run.run_id).outputs
        if logged.model_id not in {output.model_id for output in (outputs.model_outputs if outputs else [])}:
            self.client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        # A server accepts only the id of a logged model as its source. Without a server, the registry would look that
        # id up in the process' default store, so there it is the path itself.
        return f"models:/{logged.model_id}" if self.is_server else self.here(logged.artifact_location)

    def ensure_registered(self, model: str) -> None:
        """Creates the registered model when it is missing; another machine may be doing the same."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _logged_model(self, run: RunRef, name: str) -> Any:
        """Returns the logged model that a killed process began for a run, or a new one."""
        found = self.client.search_logged_models(
            [run.experiment_id], f"source_run_id = '{run.run_id}' AND name = '{name}'", max_results=1
        )
        return found[0] if found else self.client.create_logged_model(run.experiment_id, name, source_run_id=run.run_id)

    def fetch(self, source: str, folder: Path) -> Path:
        """Downloads the files of a model version into `folder`, and returns their path."""
        from mlflow.artifacts import download_artifacts

        place = self.here(self._location(source))
        return Path(download_artifacts(artifact_uri=place, dst_path=str(folder), tracking_uri=self._address))

    def lists(self, source: str, folder: str) -> list[str]:
        """Returns the paths in a folder of a model version's files; empty if there is none."""
        return [item.path for item in self._files(self._location(source)).list_artifacts(folder)]

    def _location(self, source: str) -> str:
        """Returns the location of a model version's files, whose source may be the id of a logged model."""
        if not source.startswith("models:/m-"):
            return source
        location: str = self.client.get_logged_model(source.removeprefix("models:/")).artifact_location
        return location

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Sets tags of a run."""
        from mlflow.entities import RunTag

        items = [RunTag(key[:_KEY_LENGTH], value[:_TAG_LENGTH]) for key, value in tags.items()]
        self.client.log_batch(run_id, tags=items)

    # ---- locks and searches

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Excludes other processes of this machine from a piece of work on this store."""
        with lock_file(self._lock_path(name)):
            yield

    @contextlib.contextmanager
    def lease(self, model: str) -> Iterator[Callable[[], None]]:
        """Excludes all other processes, also on other machines, from moving a model's champion.

        With a server a lock of this machine is not enough. Registering a name is atomic on the server: the process
        that registers the lease's name holds it, and a waiter that has seen the same lease unchanged for a minute takes
        it over. No two clocks are compared.

        Yields:
            A function that raises `RunError` when the lease was lost meanwhile. Call it right before an action that
            must not happen twice.

        Raises:
            RunError: another process holds the lease, and keeps renewing it.
        """
        with self.lock("registry"):
            if self._address.startswith(SQLITE):
                yield lambda: None
                return
            name, token = f"{model}{LEASE}", uuid.uuid4().hex
            self._take(name, token)
            self._sweep_leases(name)

            def check() -> None:
                if self._holder(name).get("token") != token:
                    raise RunError(f"another process took the lease on `{model}`. Nothing was moved: run it again.")

            try:
                yield check
            finally:
                if self._holder(name).get("token") == token:
                    self.client.delete_registered_model(name)

    def _take(self, name: str, token: str) -> None:
        from mlflow.exceptions import MlflowException

        tags = {"token": token, "holder": f"process {os.getpid()} of {user()}@{platform.node()}"}
        seen, since, until = "", time.monotonic(), time.monotonic() + 5 * LEASE_SECONDS
        while True:
            try:
                self.client.create_registered_model(name, tags=tags)
                return
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise RunError(f"the tracking store {self.uri} does not answer: {error}") from None
            holder = self._holder(name)
            now = time.monotonic()
            if now > until:
                raise RunError(f"`{name}` is held by {holder.get('holder')} in {self.uri}. Wait for it, and run again.")
            if holder.get("token", "") != seen:
                seen, since = holder.get("token", ""), now
            elif now - since > LEASE_SECONDS:
                self._break(name, seen)
            time.sleep(0.3)

    def _break(self, name: str, token: str) -> None:
        """Breaks the lease of a holder that is gone. Of several processes that try, one rename succeeds."""
        from mlflow.exceptions import MlflowException

        old = f"{name}.{token}"
        with contextlib.suppress(MlflowException):
            if self._holder(name).get("token") == token:
                self.client.rename_registered_model(name, old)
                self.client.delete_registered_model(old)

    def _sweep_leases(self, name: str) -> None:
        """Removes broken leases, left by a process that was killed before it removed them."""
        from mlflow.exceptions import MlflowException

        for left in self.client.search_registered_models(f"name LIKE '{name}.%'"):
            if left.name.startswith(f"{name}."):  # `_` in a name is a wildcard
                with contextlib.suppress(MlflowException):
                    self.client.delete_registered_model(left.name)

    def _holder(self, name: str) -> Mapping[str, str]:
        found = self.client.search_registered_models(f"name = '{name}'")
        return dict(found[0].tags) if found else {}

    def _lock_path(self, name: str) -> Path:
        if self._address.startswith(SQLITE):
            database = Path(self._address.removeprefix(SQLITE))
            return database.with_name(f".{database.name}.{name}.lock")
        digest = hashlib.sha256(self._address.encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"seqapps-{digest}.{name}.lock"

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_experiment_by_name(self.experiment)
            if found is None:
                location = None if self._artifacts is None else (self._artifacts / self.experiment).resolve().as_uri()
                return self.client.create_experiment(self.experiment, artifact_location=location)
        except MlflowException as error:
            raise RunError(f"the tracking store {self.uri} does not answer: {error}") from None
        if found.lifecycle_stage != "active":
            raise UsageError(
                f"experiment `{self.experiment}` was deleted in {self.uri}. Bring it back with `mlflow experiments "
                f"restore -x {found.experiment_id}`, or choose another name with `--set tracking.experiment=NAME`."
            )
        return found.experiment_id

    def _search(self, condition: str) -> list[Run]:
        runs: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], condition, max_results=1000, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs


class TrackingListener:
    """Logs a training to MLflow: metrics of every epoch in one call, the sample as a text.

    Args:
        tracker: the store.
        run_id: the run to log to.
    """

    def __init__(self, tracker: Tracker, run_id: str) -> None:
        self._tracker = tracker
        self._run_id = run_id
        self._log = tracker.log_metrics_once

    def on_start(self, plan: Any) -> None:
        """Does nothing: the caller logs the configuration."""

    def on_step(self, log: Any) -> None:
        """Does nothing: one call to the store per step would cost more than the step."""

    def on_epoch(self, log: Any) -> None:
        """Logs every number of the epoch, and its sample."""
        values = flatten(vars(log))
        numbers = {key: value for key, value in values.items() if type(value) in (int, float) and key != "epoch"}
        self._log(self._run_id, numbers, step=log.epoch)
        self._log = self._tracker.log_metrics  # only the first epoch of a process can have been logged before
        if getattr(log, "sample", ""):
            self._tracker.log_text(self._run_id, log.sample + "\n", f"samples/epoch-{log.epoch:03d}.txt")

    def on_end(self, history: Any) -> None:
        """Does nothing: the caller logs figures and plots."""


def flatten(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested tables as dotted names to values.

    >>> flatten({"training": {"epochs": 3}})
    {'training.epochs': 3}
    """
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _client(uri: str) -> MlflowClient:
    # Read when MLflow is imported, so they must be set before. Addresses on stdout would mix with results.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    import logging

    from mlflow import MlflowClient

    # They log errors with tracebacks before raising them; that is for `--debug`, which lets warnings through.
    level = logging.WARNING if logging.getLogger().level <= logging.WARNING else logging.CRITICAL
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(level)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)
