"""Registered models: versions with aliases, made from a SavedModel, and looked up by name, version or run."""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from seqapps import exported, formats
from seqapps.errors import RunError, UsageError, nearest
from seqapps.files import publish_folder, scratch
from seqapps.registry.reachable import SQLITE
from seqapps.registry.tracking import LEASE, SAVED_MODEL, RunRef, Tracker
from seqapps.secrets import address
from seqapps.training.trained_model import FILE_NAME as TRAINED

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

    from seqapps.workspace import Workspace

CHAMPION, CHALLENGER = "champion", "challenger"
RUN_FOLDER = "seqapps.run_folder"
FORMAT = "seqapps.format"
"""Tag of a version: the format of its tags and files."""
TRAINED_ARTIFACT = "trained"
_SAVED = "artifacts/*/saved_model.pb"
"""Path of a SavedModel inside a pyfunc's folder."""
_CODE = Path(__file__).with_name("mlflow_pyfunc.py")
_REQUIREMENTS = ("mlflow", "tensorflow", "tensorflow-text", "pandas")


@dataclass(frozen=True)
class ModelVersionRef:
    """A version in the registry.

    Args:
        model: name of the registered model.
        version: its number.
        run_id: the run that made it.
        run_folder: the run's folder on the machine that made it; it may not exist.
        source: location of its files.
        format: of its tags and files; empty for one without that tag.
    """

    model: str
    version: str
    run_id: str
    run_folder: Path
    source: str
    format: str = ""

    @property
    def trained(self) -> Path | None:
        """The trained model, if it is on this machine; else see `trained_folder`."""
        folder = self.run_folder / "model"
        return folder if (folder / TRAINED).exists() else None


def champion(tracker: Tracker, model: str) -> ModelVersionRef | None:
    """Returns the version with the alias `champion`, or None."""
    return by_alias(tracker, model, CHAMPION)


def by_alias(tracker: Tracker, model: str, alias: str) -> ModelVersionRef | None:
    """Returns the version with an alias, or None."""
    number = aliases(tracker, model).get(alias)
    return None if number is None else _ref(tracker.client.get_model_version(model, number))


def aliases(tracker: Tracker, model: str) -> dict[str, str]:
    """Returns the aliases of a model, alias to version; empty for a model that is not registered."""
    found = registered(tracker, model)
    return {alias: str(number) for alias, number in found.aliases.items()} if found else {}


def registered(tracker: Tracker, model: str) -> RegisteredModel | None:
    """Returns the registered model, or None."""
    if not _can_be_asked(model):
        return None
    found = tracker.client.search_registered_models(f"name = '{model}'")
    return found[0] if found else None


def registered_names(tracker: Tracker) -> list[str]:
    """Returns the names of all models, without leases."""
    names = [item.name for item in tracker.client.search_registered_models()]
    return [name for name in names if LEASE not in name]


def versions(tracker: Tracker, model: str) -> list[ModelVersionRef]:
    """Returns all versions of a model, the oldest first."""
    found = tracker.client.search_model_versions(f"name = '{model}'")
    return [_ref(item) for item in sorted(found, key=lambda item: int(item.version))]


def register(  # noqa: PLR0913 - the run, its two folders and the tags
    tracker: Tracker, model: str, *, run_id: str, run_folder: Path, saved_model: Path, tags: Mapping[str, str]
) -> ModelVersionRef:
    """Returns the version that a run's model has in the registry, registering it when it has none.

    Missing or changed files of a version are logged again, to the same place. The trained model is also copied to the
    run's artifacts, so that another machine can compare against it.

    Raises:
        FormatError: another version of seqapps registered it; its files are left as they are.
        RunError: `saved_model` is not a SavedModel.
    """
    with tracker.lock("registry"):
        known = [readable(item) for item in versions(tracker, model) if item.run_id == run_id]
        if known:
            _refuse_another_format(tracker, known[-1])
        if known and _is_whole(tracker, known[-1], saved_model):
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
        if known:
            return known[-1]
        tracker.ensure_registered(model)
        everything = {FORMAT: formats.stamp("version"), RUN_FOLDER: str(run_folder.resolve()), **tags}
        logged = source.removeprefix("models:/") if source.startswith("models:/") else None
        made = tracker.client.create_model_version(model, source, run_id=run_id, tags=everything, model_id=logged)
        return _ref(made)


def readable(ref: ModelVersionRef) -> ModelVersionRef:
    """Returns a version whose tags and files this version of seqapps reads.

    Raises:
        FormatError: another one registered it.
    """
    message = formats.unlike({formats.FIELD: ref.format or None}, "version")
    if message:
        raise formats.FormatError(
            f"version {ref.version} of `{ref.model}`",
            message,
            "use the version of seqapps that registered it, or take a model of another name: `seqapps run CONFIG --set "
            "promotion.model=NAME`",
        )
    return ref


def _refuse_another_format(tracker: Tracker, ref: ModelVersionRef) -> None:
    """Raises if the files of a version have another format: a server of that version of seqapps may read them."""
    folder = files_of(tracker, ref)
    record = None if folder is None else folder / "artifacts" / SAVED_MODEL / exported.FILE_NAME
    message = "" if record is None else formats.stale(record)
    if message:
        raise formats.FormatError(
            f"{record}, in service as version {ref.version} of `{ref.model}`,",
            message,
            "use the version of seqapps that registered it, or train a new version (`seqapps run CONFIG` without "
            "`--any-code`)",
        )


def files_of(tracker: Tracker, ref: ModelVersionRef) -> Path | None:
    """Returns the folder of a version's files, which may not exist; None if only a server knows it."""
    source = urlparse(tracker.here(ref.source))
    return Path(unquote(source.path)) if source.scheme == "file" else None


def has_files(tracker: Tracker, ref: ModelVersionRef) -> bool:
    """Returns whether a version's SavedModel exists."""
    folder = files_of(tracker, ref)
    if folder is not None:
        return bool(list(folder.glob(_SAVED)))
    return any(tracker.lists(ref.source, path) for path in tracker.lists(ref.source, "artifacts"))


def _is_whole(tracker: Tracker, ref: ModelVersionRef, saved_model: Path) -> bool:
    """Returns whether a version's files are those that would be logged now; with a server, whether they exist."""
    folder = files_of(tracker, ref)
    if folder is None:
        return has_files(tracker, ref)
    if not (folder / "MLmodel").exists():
        return False
    files, inner = [file for file in saved_model.rglob("*") if file.is_file()], folder / "artifacts" / SAVED_MODEL
    pairs = [(_CODE, folder / _CODE.name), *((file, inner / file.relative_to(saved_model)) for file in files)]
    return all(logged.is_file() and filecmp.cmp(file, logged, shallow=False) for file, logged in pairs)


def trained_folder(tracker: Tracker, ref: ModelVersionRef, workspace: Workspace) -> Path:
    """Returns the trained model of a version: the run's folder, else its artifacts, which are fetched once.

    The folder of this workspace is preferred: the workspace may have been moved or copied since.

    Raises:
        FormatError: another version of seqapps registered it.
        RunError: neither the folder nor the artifact exists.
    """
    readable(ref)
    for folder in (workspace.root / "runs" / ref.run_folder.name / "model", ref.trained):
        if folder is not None and (folder / TRAINED).exists():
            return folder
    target = workspace.cache / "trained" / f"{ref.model}-{ref.version}-{ref.run_id[:12]}"
    if not (target / TRAINED).exists():
        items = tracker.artifacts(ref.run_id)
        if TRAINED_ARTIFACT not in items:
            raise RunError(
                f"version {ref.version} of `{ref.model}` cannot be loaded: {ref.run_folder} is gone, and its run has "
                f"no artifact `{TRAINED_ARTIFACT}`. Received: {items}."
            )
        with scratch(target) as folder:
            folder.mkdir()
            publish_folder(tracker.download(ref.run_id, TRAINED_ARTIFACT, folder), target)
    return target


def resolve(reference: str, workspace: Workspace, tracking_uri: str = "") -> Path:
    """Returns the SavedModel of a reference: a folder, `name@champion`, `name@3` or a run id.

    Raises:
        UsageError: unknown reference; lists the known ones, and the nearest.
        FormatError: another version of seqapps registered it.
    """
    if (Path(reference) / "saved_model.pb").exists():
        return Path(reference)
    uri = tracking_uri or workspace.tracking_uri
    place = address(uri, "`tracking.uri`")
    if place.startswith(SQLITE) and not Path(place.removeprefix(SQLITE)).exists():
        raise UsageError(
            f"model `{reference}` was not found: it is no SavedModel folder, and {uri.removeprefix(SQLITE)} does not "
            "exist, so nothing is registered. Run `seqapps run CONFIG` first, or name its `--workspace`."
        )
    tracker = Tracker(uri, workspace.artifacts)
    name, at, which = reference.partition("@")
    ref = _named(tracker, name, which) if at else _of_run(tracker, reference)
    return _saved_model(tracker, ref, workspace)


def _named(tracker: Tracker, name: str, which: str) -> ModelVersionRef:
    if registered(tracker, name) is None:
        raise UsageError(_unknown("model", name, registered_names(tracker)))
    number = aliases(tracker, name).get(which, which)
    known = {ref.version: ref for ref in versions(tracker, name)}
    if number not in known:
        raise UsageError(_unknown(f"version of `{name}`", which, [*aliases(tracker, name), *known]))
    return known[number]


def _can_be_asked(text: str) -> bool:
    """Whether a text can be quoted in an MLflow search; no valid name or id is excluded."""
    return bool(text) and text.isprintable() and not set(text) & set("'\"\\`")


def _of_run(tracker: Tracker, run_id: str) -> ModelVersionRef:
    found = tracker.client.search_model_versions(f"run_id = '{run_id}'") if _can_be_asked(run_id) else []
    if found:
        return _ref(found[0])
    names = registered_names(tracker)
    choices = [f"{name}@{alias}" for name in names for alias in aliases(tracker, name)]
    raise UsageError(
        _unknown("model", run_id, choices)
        + " A model is a SavedModel folder, name@alias, name@version, or the id of a run that was promoted or refused."
    )


def _saved_model(tracker: Tracker, ref: ModelVersionRef, workspace: Workspace) -> Path:
    readable(ref)
    folder = files_of(tracker, ref)
    if folder is not None:
        return _inside(folder, ref)
    target = workspace.cache / "models" / f"{ref.model}-{ref.version}-{ref.run_id[:12]}"
    if not target.exists():
        with scratch(target) as folder:
            folder.mkdir()
            fetched = tracker.fetch(ref.source, folder)
            _inside(fetched, ref)  # else an incomplete download would be kept
            publish_folder(fetched, target)
    return _inside(target, ref)


def _inside(model: Path, ref: ModelVersionRef) -> Path:
    """Returns the SavedModel inside a pyfunc's folder, where it keeps the name of its original folder."""
    found = sorted(model.glob(_SAVED))
    if not found:
        raise RunError(
            f"{model} holds no SavedModel: the files of version {ref.version} of `{ref.model}` were removed. Run "
            f"`seqapps promote CONFIG` with the configuration that made it (run {ref.run_folder.name}): it logs them "
            "again."
        )
    return found[0].parent


def _signature(saved_model: Path) -> Any:
    """Returns MLflow's schema of a SavedModel: the settings of its full signatures are parameters, with the defaults of
    the graph, `seqapps predict` and `model.json`.

    It declares no columns: the required ones depend on the parameter `signature`, and with named columns MLflow
    refuses a list of texts and a dictionary of lists. The model reports missing ones.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec

    params = {"signature": ParamSpec("signature", "string", "serving_default")}
    for interface in _interfaces(saved_model).values():
        for name, setting in interface.get("settings", {}).items():
            kind = "long" if isinstance(setting["default"], int) else "double"
            params[name] = ParamSpec(name, kind, setting["default"])
    return ModelSignature(params=ParamSchema(list(params.values())))


def _interfaces(saved_model: Path) -> dict[str, dict[str, Any]]:
    """Returns signature name to its interface in `model.json`.

    Raises:
        RunError: `saved_model` is not an exported model.
    """
    if not (saved_model / "saved_model.pb").exists():
        raise RunError(f"{saved_model} holds no saved_model.pb: it is no SavedModel. Run `seqapps export`.")
    try:
        return exported.read(saved_model).signatures
    except FileNotFoundError:
        name = exported.FILE_NAME
        raise RunError(f"{saved_model} holds no {name}: seqapps did not export it. Run `seqapps export`.") from None


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
    own = item.tags.get(FORMAT, "")
    return ModelVersionRef(item.name, str(item.version), item.run_id or "", folder, item.source or "", own)


def _unknown(what: str, received: str, allowed: Iterable[str]) -> str:
    names = sorted(set(allowed))
    if not names:
        return f"{what} does not exist. Received: {received!r}. Nothing is registered yet: run `seqapps run CONFIG`."
    close = nearest(received, names)
    return f"{what} does not exist. Received: {received!r}. Allowed: {', '.join(names)}." + (
        f" Nearest: {close}." if close else ""
    )
