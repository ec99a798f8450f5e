"""The build folder of a job, and atomic writes of its files.

prepared/.build-<name>-<fingerprint>/
    lock                    held by the process that runs the job
    work/                   intermediate files of the passes; a killed job resumes from here
    data/                   becomes the prepared folder, by one rename
    tmp/                    the runner's temporary files
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.errors import RunError
from seqapps.files import new_file, read_arrays, read_json, sweep, write_json

DIGITS = 12
"""Digits of the fingerprint in a folder's name."""


@dataclass(frozen=True)
class Build:
    """The folders and file names of a job. `stem` names an element."""

    root: Path

    @property
    def work(self) -> Path:
        """Intermediate files of the passes."""
        return self.root / "work"

    @property
    def data(self) -> Path:
        """The folder that becomes the prepared folder."""
        return self.root / "data"

    @property
    def vocabularies(self) -> Path:
        """Tokenizer folders."""
        return self.data / "vocabularies"

    def counted(self, stem: str) -> Path:
        """Record of an element after the first pass; written after everything that it names."""
        return self.work / f"{stem}.counted.json"

    def encoded(self, stem: str) -> Path:
        """Record of an element after the second pass."""
        return self.work / f"{stem}.encoded.json"

    def progress(self, stem: str) -> Path:
        """Rows of an element so far, for the progress line."""
        return self.work / f"{stem}.progress"

    @property
    def temporary(self) -> Path:
        """The runner's temporary files."""
        return self.root / "tmp"

    @property
    def learned(self) -> Path:
        """Record of the vocabularies."""
        return self.work / "vocabularies.json"

    @property
    def tables(self) -> Path:
        """Record of the further tables."""
        return self.work / "tables.json"

    @property
    def rejects(self) -> Path:
        """Refused rows, with line numbers in the whole files."""
        return self.data / "rejects" / "rejects.jsonl"

    @property
    def worker_options(self) -> Path:
        """Options for processes that a local runner starts: log level, and modules to import first."""
        return self.work / "worker-options.json"

    @property
    def failure(self) -> Path:
        """Why a worker gave up, as a message for the user."""
        return self.work / "failure.json"

    def make(self) -> None:
        """Creates the folders."""
        self.work.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(exist_ok=True)

    def sweep(self) -> None:
        """Removes the partial files of killed runs."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        sweep(self.root, below=True)

    def sweep_siblings(self) -> None:
        """Removes build folders of the same name and other inputs that no process works on."""
        stem = re.escape(self.root.name[:-DIGITS])
        for folder in self.root.parent.iterdir():
            if folder != self.root and re.fullmatch(rf"{stem}[0-9a-f]{{{DIGITS}}}", folder.name):
                with suppress(RunError), Build(folder).locked():
                    shutil.rmtree(folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the build folder; the lock is released when the process ends, however it ends.

        Raises:
            RunError: another process holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / "lock", "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                raise RunError(
                    f"{self.root} is being written by process {owner}. Wait for it, or end it and run again."
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def read_record(path: Path) -> Any:
    """Returns a record that a pass wrote, or None if there is none.

    Raises:
        DataError: the record is damaged.
    """
    try:
        return read_json(path, f"remove {path.parent.parent} and run `seqapps prepare` again", dict | list)
    except FileNotFoundError:
        return None


write_record = write_json


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes named arrays, atomically."""
    with new_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Returns what `save_arrays` wrote."""
    return read_arrays(path, f"remove {path.parent.parent} and run the command again")
