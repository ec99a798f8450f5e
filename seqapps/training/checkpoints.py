"""The complete state of a training as one file, written atomically; the previous one is kept.

`checkpoint.npz` holds arrays by name and one JSON text. The checksums of the archive
detect a truncated or altered file; then the previous one is used.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps import formats
from seqapps.errors import DataError
from seqapps.files import new_file
from seqapps.training.log import EpochLog

FILE_NAME = "checkpoint.npz"
PREVIOUS = "checkpoint-previous.npz"

_META = "meta"


@dataclass(frozen=True)
class Checkpoint:
    """Arrays by name (`model/0`, `optimizer/3`), and JSON metadata.

    Args:
        identity: fingerprint of its training; other trainings do not resume from it.
        arrays: name to array.
        meta: position, history and everything else that is not an array: `Position` without `identity`.
    """

    identity: str
    arrays: Mapping[str, NDArray[Any]]
    meta: Mapping[str, Any]

    def group(self, name: str) -> list[NDArray[Any]]:
        """Returns the arrays `name/0`, `name/1`, ... in order."""
        count = sum(key.startswith(f"{name}/") for key in self.arrays)
        return [self.arrays[f"{name}/{index}"] for index in range(count)]


@dataclass(frozen=True)
class Position:
    """The JSON of a checkpoint: how far its training is, and what it has seen.

    Args:
        identity: see `Checkpoint`.
        epoch, step: finished epochs, and finished steps of the next one.
        best, best_loss, best_epoch: the best objective so far, the validation loss then, and after which epoch.
        waited: epochs without improvement.
        schedule: state of the learning rate's schedule.
        seconds: of the epoch so far.
        logs: of the finished epochs.
    """

    identity: str
    epoch: int
    step: int
    best: float
    best_loss: float
    best_epoch: int
    waited: int
    schedule: Mapping[str, int]
    seconds: float
    logs: tuple[EpochLog, ...]


@dataclass(frozen=True)
class Found:
    """The newest checkpoint that can be resumed from, and a note on refused ones for people."""

    checkpoint: Checkpoint | None
    note: str


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes `checkpoint.npz`, and keeps the previous file as `checkpoint-previous.npz`.

    A kill at any moment leaves at least one whole file.
    """
    meta = json.dumps(formats.stamped("checkpoint", {"identity": checkpoint.identity, **checkpoint.meta}))
    target = folder / FILE_NAME
    arrays: dict[str, Any] = {_META: np.frombuffer(meta.encode(), np.uint8), **checkpoint.arrays}
    with new_file(target) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        if target.exists():
            os.replace(target, folder / PREVIOUS)


def find(folder: Path, identity: str) -> Found:
    """Returns the newest readable checkpoint of a training; a note says which could not be used, and why."""
    notes = []
    for name in (FILE_NAME, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            checkpoint = read(path)
        except DataError as error:
            notes.append(str(error))
            continue
        if checkpoint.identity == identity:
            return Found(checkpoint, " ".join(notes))
        notes.append(f"{path} belongs to another configuration or other data, and is left aside.")
    return Found(None, " ".join([*notes, "Training starts from the beginning."]) if notes else "")


def read(path: Path) -> Checkpoint:
    """Returns a checkpoint, every array read and its checksum verified.

    Raises:
        DataError: the file is truncated, altered, no checkpoint, or one of another version of seqapps.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = json.loads(arrays.pop(_META).tobytes().decode())
        message = formats.unlike(meta, "checkpoint")
        if message:
            raise DataError(f"{path} {message}, and is left aside.")
        if flaw := formats.flaw(meta, Position):
            raise ValueError(flaw)
        identity = meta.pop("identity")
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as a checkpoint: {type(error).__name__}: {error}.") from None
    del meta[formats.FIELD]
    return Checkpoint(identity, arrays, meta)
