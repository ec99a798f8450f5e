"""The inputs that determine a prepared folder: configuration, raw files, code. Plain Python, so that it is fast."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.sources import Source, all_files, columns_of_path, hash_sources, resolve
from seqapps import plugins
from seqapps.config import RunConfig
from seqapps.dataset.manifest import digest_of, sha256_of, stamp_of
from seqapps.errors import DataError
from seqapps.secrets import expand
from seqapps.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[1]
_PACKAGES = ("tensorflow", "tensorflow-text", "sentencepiece")
"""Packages whose versions can change ids."""


@dataclass(frozen=True)
class Input:
    """Everything that determines the bytes of a prepared folder.

    Args:
        sources: the raw files, in reading order.
        files: the same with their companion files: all that is read.
        hashes: sha256 of each of `files`.
        settings: the relevant part of the configuration.
        components: name to digest.
        read: path, stamp and sha256 of all that is read, `data`'s further files included.
    """

    sources: tuple[Source, ...]
    files: tuple[Source, ...]
    hashes: tuple[str, ...]
    settings: dict[str, Any]
    components: dict[str, str]
    read: tuple[tuple[str, str, str], ...] = ()

    def check_unchanged(self) -> None:
        """Checks the files again after all of them have been read.

        Raises:
            DataError: a file's content has changed since it was hashed.
        """
        for path, stamp, sha256 in self.read:
            if not os.path.exists(path) or (stamp_of(path) != stamp and sha256_of(path) != sha256):
                raise DataError(
                    f"{path} changed while it was being read. Nothing was published: run `seqapps prepare` again when "
                    "nobody writes to it."
                )

    @property
    def fingerprint(self) -> str:
        """sha256 over the components."""
        return digest_of(self.components)


def read_input(config: RunConfig, workspace: Workspace, rows: int = 0) -> Input:
    """Returns the input of a configuration; `rows` above 0 is a dry run of so many rows.

    Raises:
        DataError: a file is missing or a download fails.
    """
    sources = resolve(config.source, workspace.cache, same=config.data.split.same)
    files = all_files(sources)
    stamps = [stamp_of(file.path) for file in files]
    hashes = hash_sources(files, workspace.cache)
    settings = config.preparation
    described: list[list[Any]] = [
        [file.name, file.split, file.size, sha256] for file, sha256 in zip(files, hashes, strict=True)
    ]
    described += _columns_of_paths(config, sources)
    further = _further_files(config)
    stamps += [stamp_of(source.path) for source in further]
    further_hashes = hash_sources(further, workspace.cache)
    described += [
        [source.name, "", source.size, sha256] for source, sha256 in zip(further, further_hashes, strict=True)
    ]
    paths = [file.path for file in (*files, *further)]
    read = tuple(zip(paths, stamps, [*hashes, *further_hashes], strict=True))
    components = {"config": digest_of(settings), "data": digest_of(described), "code": _code(config.application)}
    if rows:
        components["rows"] = digest_of(rows)
        settings["rows"] = rows
    return Input(tuple(sources), tuple(files), tuple(hashes), settings, components, read)


def _columns_of_paths(config: RunConfig, sources: Sequence[Source]) -> list[list[Any]]:
    """Returns the columns that `source.from_path` takes from every file's path, beyond its name."""
    if not config.source.from_path:
        return []
    found = [columns_of_path(config.source, source.name, source.path) for source in sources]
    return [sorted((name, value.decode()) for name, value in columns.items()) for columns in found]


def _further_files(config: RunConfig) -> list[Source]:
    """Returns the files that the `data` section names.

    Raises:
        DataError: one is missing.
    """
    paths = [expand(path, "`data`") for path in config.data.further_files]
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise DataError(f"`data`: {missing[0]} does not exist.")
    return [Source(Path(path).name, path, "") for path in paths]


def _code(application: str) -> str:
    """Returns the sha256 over the code that writes the data, and the versions of the packages that affect ids."""
    seqapps = PROJECT / "seqapps"
    files = [
        *sorted((PROJECT / "pipelines").rglob("*.py")),
        *sorted((seqapps / "preprocessing").rglob("*.py")),
        *(seqapps / "applications").glob(f"{application}.py"),
        *sorted((seqapps / "dataset").glob("*.py")),
    ]
    hashes = {path.relative_to(PROJECT).as_posix(): sha256_of(path) for path in files}
    hashes |= {module: sha256_of(path) for module, path in plugins.APPLICATIONS.sources(application).items()}
    return digest_of(hashes | {name: importlib.metadata.version(name) for name in _PACKAGES})
