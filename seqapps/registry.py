"""Registered models: versions with aliases, made from a SavedModel, and found again by name, version or run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from seqapps.errors import RunError, UsageError, nearest
from seqapps.files import publish_folder, scratch
from seqapps.reaching import SQLITE
from seqapps.tracking import RunRef, Tracker
from seqapps.trained import FILE_NAME as TRAINED

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

    from seqapps.workspace import Workspace

CHAMPION, CHALLENGER = "champion", "challenger"
RUN_FOLDER = "seqapps.run_folder"
TRAINED_ARTIFACT = "trained"
_CODE = Path(__file__).with_name("served_pyfunc.py")
_REQUIREMENTS = ("mlflow", "tensorflow", "tensorflow-text", "pandas")
_TYPES = {
    "DT_STRING": "string",
    "DT_INT32": "integer",
    "DT_INT64": "long",
    "DT_FLOAT": "float",
    "DT_DOUBLE": "double",
    "DT_BOOL": "boolean",
}
_ZERO: dict[str, Any] = {"string": "", "integer": 0, "long": 0, "float": 0.0, "double": 0.0, "boolean": False}


@dataclass(frozen=True)
class ModelVersionRef:
    """A version in the registry.

    Args:
        model: name of the registered model.
        version: its number.
        run_id: the run that made it.
        run_folder: the run's folder on the machine that made it; it need not be there.
        source: where its files lie.
    """

    model: str
    version: str
    run_id: str
    run_folder: Path
    source: str

    @property
    def trained(self) -> Path | None:
        """The trained model (`seqapps.trained`), when it lies on this machine; else see `trained_folder`."""
        folder = self.run_folder / "model"
        return folder if (folder / TRAINED).exists() else None


def champion(tracker: Tracker, model: str) -> ModelVersionRef | None:
    """Returns the version that bears the alias `champion`, or None."""
    return by_alias(tracker, model, CHAMPION)


def by_alias(tracker: Tracker, model: str, alias: str) -> ModelVersionRef | None:
    """Returns the version that bears an alias, or None."""
    number = aliases(tracker, model).get(alias)
    return None if number is None else _ref(tracker.client.get_model_version(model, number))


def aliases(tracker: Tracker, model: str) -> dict[str, str]:
    """Returns the aliases of a model, alias to version; empty for a model that is not registered."""
    found = registered(tracker, model)
    return {alias: str(number) for alias, number in found.aliases.items()} if found else {}


def registered(tracker: Tracker, model: str) -> RegisteredModel | None:
    """Returns what the registry knows of a model, or None."""
    found = tracker.client.search_registered_models(f"name = '{model}'")
    return found[0] if found else None


def versions(tracker: Tracker, model: str) -> list[ModelVersionRef]:
    """Returns all versions of a model, the oldest first."""
    found = tracker.client.search_model_versions(f"name = '{model}'")
    return [_ref(item) for item in sorted(found, key=lambda item: int(item.version))]


def register(  # noqa: PLR0913 - the run, its two folders and the tags
    tracker: Tracker, model: str, *, run_id: str, run_folder: Path, saved_model: Path, tags: Mapping[str, str]
) -> ModelVersionRef:
    """Returns the version that a run's model has in the registry, registering it when it has none.

    The trained model goes to the run's artifacts as well, so that another machine can compare against it.

    Raises:
        RunError: `saved_model` is no SavedModel.
    """
    with tracker.lock("registry"):
        known = [item for item in versions(tracker, model) if item.run_id == run_id]
        if known:
            return known[-1]
        run = RunRef(run_id, tracker.run(run_id).info.experiment_id)
        source = tracker.log_model(
            run,
            model,
            code=_CODE,
            saved_model=saved_model,
            requirements=_requirements(),
            signature=_signature(saved_model),
        )
        if (run_folder / "model" / TRAINED).exists():
            tracker.log_artifact(run_id, run_folder / "model", TRAINED_ARTIFACT)
        if registered(tracker, model) is None:
            tracker.client.create_registered_model(model)
        everything = {RUN_FOLDER: str(run_folder.resolve()), **tags}
        logged = source.removeprefix("models:/") if source.startswith("models:/") else None
        made = tracker.client.create_model_version(model, source, run_id=run_id, tags=everything, model_id=logged)
        return _ref(made)


def trained_folder(tracker: Tracker, ref: ModelVersionRef, workspace: Workspace) -> Path:
    """Returns the trained model of a version: the run's folder, else its artifacts, which are fetched once.

    Raises:
        RunError: neither the folder nor the artifact exists.
    """
    if ref.trained is not None:
        return ref.trained
    target = workspace.cache / "trained" / f"{ref.model}-{ref.version}-{ref.run_id[:12]}"
    if not (target / TRAINED).exists():
        items = [item.path for item in tracker.client.list_artifacts(ref.run_id)]
        if TRAINED_ARTIFACT not in items:
            raise RunError(
                f"version {ref.version} of `{ref.model}` cannot be loaded: {ref.run_folder} is gone, and its run has "
                f"no artifact `{TRAINED_ARTIFACT}`. Received: {items}."
            )
        with scratch(target) as folder:
            folder.mkdir()
            publish_folder(Path(tracker.client.download_artifacts(ref.run_id, TRAINED_ARTIFACT, str(folder))), target)
    return target


def resolve(reference: str, workspace: Workspace, tracking_uri: str = "") -> Path:
    """Returns the SavedModel that a user means: a folder, `name@champion`, `name@3` or a run id.

    Raises:
        UsageError: nothing of that name; lists what there is, and the nearest.
    """
    if (Path(reference) / "saved_model.pb").exists():
        return Path(reference)
    uri = tracking_uri or workspace.tracking_uri
    database = Path(uri.removeprefix(SQLITE))
    if uri.startswith(SQLITE) and not database.exists():
        raise UsageError(
            f"model `{reference}` was not found: it is no SavedModel folder, and {database} does not exist, so nothing "
            "is registered. Run `seqapps run CONFIG` first, or name its `--workspace`."
        )
    tracker = Tracker(uri, workspace.artifacts)
    name, at, which = reference.partition("@")
    ref = _named(tracker, name, which) if at else _of_run(tracker, reference)
    return _saved_model(tracker, ref, workspace)


def _named(tracker: Tracker, name: str, which: str) -> ModelVersionRef:
    if registered(tracker, name) is None:
        raise UsageError(_unknown("model", name, [item.name for item in tracker.client.search_registered_models()]))
    number = aliases(tracker, name).get(which, which)
    known = {ref.version: ref for ref in versions(tracker, name)}
    if number not in known:
        raise UsageError(_unknown(f"version of `{name}`", which, [*aliases(tracker, name), *known]))
    return known[number]


def _of_run(tracker: Tracker, run_id: str) -> ModelVersionRef:
    found = tracker.client.search_model_versions(f"run_id = '{run_id}'")
    if found:
        return _ref(found[0])
    names = [item.name for item in tracker.client.search_registered_models()]
    choices = [f"{name}@{alias}" for name in names for alias in aliases(tracker, name)]
    raise UsageError(
        _unknown("model", run_id, choices)
        + " A model is a SavedModel folder, name@alias, name@version, or the id of a run that was promoted or refused."
    )


def _saved_model(tracker: Tracker, ref: ModelVersionRef, workspace: Workspace) -> Path:
    address = urlparse(ref.source)
    if address.scheme == "file":
        return _inside(Path(unquote(address.path)))
    target = workspace.cache / "models" / f"{ref.model}-{ref.version}-{ref.run_id[:12]}"
    if not target.exists():
        with scratch(target) as folder:
            folder.mkdir()
            publish_folder(tracker.fetch(ref.source, folder), target)
    return _inside(target)


def _inside(model: Path) -> Path:
    """Returns the SavedModel inside a pyfunc's folder, where it keeps the name that it was registered from."""
    found = sorted(model.glob("artifacts/*/saved_model.pb"))
    if not found:
        raise RunError(f"{model} holds no SavedModel: its files were removed. Train and promote it again.")
    return found[0].parent


def _signature(saved_model: Path) -> Any:
    """Returns MLflow's schema of a SavedModel: inputs with a batch axis are columns, single values are parameters.

    The cells of a column with further axes are nested lists. A parameter's default is what the first golden example
    of its signature gives.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    columns: dict[str, Any] = {}
    params: dict[str, tuple[str, Any]] = {"signature": ("string", "serving_default")}
    golden = _golden(saved_model)
    for signature, inputs in _interface(saved_model).items():
        for name, (dtype, rank) in inputs.items():
            if rank == 0:
                params.setdefault(name, (dtype, golden.get(signature, {}).get(name, _ZERO[dtype])))
            else:
                columns[name] = _cells(dtype, rank - 1)
    return ModelSignature(
        # Another signature may need other columns, so none is required here; the model says what is missing.
        inputs=Schema([ColSpec(dtype, name, required=False) for name, dtype in columns.items()]),
        params=ParamSchema([ParamSpec(name, dtype, default) for name, (dtype, default) in params.items()]),
    )


def _cells(dtype: str, axes: int) -> Any:
    """Returns MLflow's type of a cell: a value, or nested lists of values."""
    from mlflow.types import DataType
    from mlflow.types.schema import Array

    found: Any = DataType[dtype]
    for _ in range(axes):
        found = Array(found)
    return found


def _interface(saved_model: Path) -> dict[str, dict[str, tuple[str, int]]]:
    """Returns signature name to its inputs, name to (type, rank), without loading the model."""
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        content = (saved_model / "saved_model.pb").read_bytes()
    except FileNotFoundError:
        raise RunError(f"{saved_model} holds no saved_model.pb: it is no SavedModel. Run `seqapps export`.") from None
    graphs = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    return {
        name: {
            key: (_TYPES[types_pb2.DataType.Name(info.dtype)], len(info.tensor_shape.dim))
            for key, info in sorted(definition.inputs.items())
        }
        for name, definition in graphs[0].signature_def.items()
        if not name.startswith("__")
    }


def _golden(saved_model: Path) -> dict[str, dict[str, Any]]:
    """Returns the first golden call of each signature, or nothing when none travels in the SavedModel."""
    for file in sorted(saved_model.glob("**/golden*.json")):
        calls = json.loads(file.read_text(encoding="utf-8"))
        return {name: examples[0].get("inputs", examples[0]) for name, examples in calls.items() if examples}
    return {}


def _requirements() -> list[str]:
    pinned = []
    for name in _REQUIREMENTS:
        try:
            pinned.append(f"{name}=={version(name)}")
        except PackageNotFoundError:  # tensorflow under another distribution's name (tensorflow-cpu)
            continue
    return pinned


def _ref(item: ModelVersion) -> ModelVersionRef:
    folder = Path(item.tags.get(RUN_FOLDER, ""))
    return ModelVersionRef(item.name, str(item.version), item.run_id or "", folder, item.source or "")


def _unknown(what: str, received: str, allowed: Iterable[str]) -> str:
    names = sorted(set(allowed))
    if not names:
        return f"{what} does not exist. Received: {received!r}. Nothing is registered yet: run `seqapps run CONFIG`."
    close = nearest(received, names)
    return f"{what} does not exist. Received: {received!r}. Allowed: {', '.join(names)}." + (
        f" Nearest: {close}." if close else ""
    )
