"""A trained model as one self-contained folder: configuration, manifest, weights, vocabularies.

model.json              configuration, manifest and code version
model.weights.h5        the best weights
vocabularies/<name>/    tokenizers
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqapps import __version__, formats
from seqapps.applications import Application, application_of, config_from
from seqapps.dataset.manifest import Manifest
from seqapps.errors import ConfigError, DataError
from seqapps.files import new_folder

if TYPE_CHECKING:
    import keras

    from seqapps.config import RunConfig

FILE_NAME = "model.json"
WEIGHTS = "model.weights.h5"


@dataclass(frozen=True)
class Trained:
    """A trained model with its configuration, manifest and vocabularies."""

    application: Application
    manifest: Manifest
    model: keras.Model
    resources: Mapping[str, Any]


def save_trained(
    folder: Path, application: Application, manifest: Manifest, model: keras.Model, prepared: Path
) -> None:
    """Writes a trained model to `folder`, atomically."""
    kept = {name: vocabulary for name, vocabulary in manifest.vocabularies.items() if not vocabulary.initial}
    manifest = manifest.model_copy(update={"vocabularies": kept})
    record = {
        "config": application.config.model_dump(mode="json"),
        "manifest": manifest.model_dump(mode="json"),
        "code_version": __version__,
    }
    with new_folder(folder, replace=True) as building:
        building.mkdir()
        model.save_weights(building / WEIGHTS)
        for name, vocabulary in manifest.vocabularies.items():
            shutil.copytree(prepared / vocabulary.folder, building / "vocabularies" / name)
        formats.write(building / FILE_NAME, "trained", record)


@dataclass(frozen=True)
class Stored:
    """`model.json` of a trained model.

    Args:
        config: the tables of its configuration.
        manifest: of the data that it was trained on.
        code_version: of seqapps, when it was trained.
    """

    config: dict[str, Any]
    manifest: Manifest
    code_version: str

    def typed(self, folder: Path) -> RunConfig:
        """Returns the configuration of the model in `folder`.

        Raises:
            DataError: this version of seqapps has other fields.
        """
        try:
            return config_from(self.config, str(folder / FILE_NAME))
        except ConfigError as error:
            raise DataError(
                f"{error} It is the configuration of a model that seqapps {self.code_version} trained, and this is "
                f"{__version__}. Remedy: {_again(folder)}, or use the version that trained it."
            ) from None


def read_trained(folder: Path) -> Stored:
    """Returns `model.json` of a trained model.

    Raises:
        FormatError: another version of seqapps wrote it.
        DataError: there is none, or it is damaged.
    """
    remedy = _again(folder)
    try:
        return formats.read(folder / FILE_NAME, "trained", Stored, remedy)
    except FileNotFoundError:
        raise DataError(
            f"{folder} holds no {FILE_NAME}: it is not a complete trained model. Remedy: {remedy}."
        ) from None


def load_trained(folder: Path, *, use_cudnn: bool | Literal["auto"] = "auto", precision: str = "") -> Trained:
    """Loads the result of `save_trained`, with the model rebuilt and its weights loaded.

    Args:
        folder: written by `save_trained`.
        use_cudnn: see `Application.build`.
        precision: of the computation, whatever Keras's policy; empty for `training.precision`.

    Raises:
        DataError: the folder holds no complete model.
    """
    stored = read_trained(folder)
    manifest = stored.manifest
    with _whole(folder, "vocabularies"):
        resources = load_resources(folder / "vocabularies", manifest)
    application = application_of(stored.typed(folder), resources)
    with _policy(precision or application.config.training.precision):
        model = application.build(manifest, use_cudnn=use_cudnn)
    with _whole(folder, WEIGHTS):
        model.load_weights(folder / WEIGHTS)
    return Trained(application, manifest, model, resources)


@contextmanager
def _whole(folder: Path, name: str) -> Iterator[None]:
    """Raises a DataError for a part of a trained model that cannot be read."""
    try:
        yield
    except (PermissionError, formats.FormatError):
        raise
    except Exception as error:  # HDF5 and each tokenizer raise their own types
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"{folder / name} is damaged and cannot be read ({what}). Remedy: {_again(folder)}.") from error


def _again(folder: Path) -> str:
    return f"remove {folder} and run `seqapps train CONFIG` again; a finished training is only saved anew"


@contextmanager
def _policy(name: str) -> Iterator[None]:
    """Sets the Keras dtype policy for new layers, and restores the previous one."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def load_resources(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Returns the tokenizers, labels and scalings in `folder`, by name."""
    from seqapps.preprocessing import resources

    return {name: resources.load(folder / name) for name in manifest.vocabularies}
