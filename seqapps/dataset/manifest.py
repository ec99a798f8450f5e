"""`manifest.json` describes a prepared folder. It is written last, so its presence means the folder is complete.

Schema and manifest are the only interface between Beam and TensorFlow, and are plain Python. Readers open the files
that the manifest lists, never a glob.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from seqapps import formats
from seqapps.dataset.schema import Schema
from seqapps.errors import DataError

FILE_NAME = "manifest.json"
HASHES = "sha256.json"
"""File name in the cache, see `hashes_of`."""
Book = dict[str, tuple[str, str]]
"""The cache of `hashes_of`: path to stamp and sha256."""
MADE_AGAIN = (
    "run `seqapps prepare` again, or remove the folder of the model that it belongs to and run its command again"
)
"""The remedy for a vocabulary, labels or a scaling that cannot be read."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(_Record):
    """One file of encoded examples. `file` is relative to the prepared folder; `tokens` counts `<eos>`."""

    file: str
    rows: int
    tokens: int
    bytes: int
    sha256: str


class Split(_Record):
    """One part of the data (`train`, `validation`, `test`), as its shards in reading order."""

    rows: int
    tokens: int
    shards: tuple[Shard, ...]


class VocabularyFile(_Record):
    """A folder of a tokenizer, of labels or of a scaling inside the prepared folder.

    Args:
        folder: its path.
        size: number of tokens including special ones, of labels, or of variables.
        sha256: hash of its content.
        coverage: share of the training tokens that are in the vocabulary.
        facts: what models are built from without reading the folder: names and counts of labels, means of variables.
        initial: whether only the start of training needs it (pretrained vectors), and a trained model does not.
    """

    folder: str
    size: int
    sha256: str
    coverage: float
    facts: dict[str, Any] = {}
    initial: bool = False


class SourceFile(_Record):
    """A raw file that was read: its name as given, bytes and sha256."""

    file: str
    bytes: int
    sha256: str


class Table(_Record):
    """Any other file of the folder that a later stage reads (n-gram counts, scaling), with its hash."""

    file: str
    rows: int
    sha256: str


class Manifest(_Record):
    """The description of a prepared folder.

    Args:
        application: name of the application whose `encode` produced the examples.
        schema_: the schema of an example (`schema` in the file).
        splits: split name to shards.
        rejected: reason to number of rows that were refused; the rows are in `rejects/`.
        lengths: split name to a histogram, `str(upper bound)` to number of examples, bounds are powers of two.
        vocabularies: name to the folder of a tokenizer, of labels or of a scaling.
        tables: name to further files, in order.
        sources: the raw files.
        fingerprint: sha256 of configuration part, sources and code version; names the folder.
        code_version: version of seqapps that wrote it.
        settings: the part of the configuration that determines it, for display and for `seqapps report`.
        found: the findings of `prepare`, for display; see `pipelines.findings`.
    """

    application: str
    schema_: Schema
    splits: dict[str, Split]
    rejected: dict[str, int]
    lengths: dict[str, dict[str, int]]
    vocabularies: dict[str, VocabularyFile]
    tables: dict[str, tuple[Table, ...]]
    sources: tuple[SourceFile, ...]
    fingerprint: str
    code_version: str
    settings: dict[str, Any]
    found: dict[str, Any] = {}

    @property
    def rows(self) -> int:
        """Number of examples over all splits."""
        return sum(split.rows for split in self.splits.values())


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Returns the sha256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def stamp_of(path: str | os.PathLike[str]) -> str:
    """Returns a stamp that changes with a file's content: size, times and inode. Tools that reset the modification time
    cannot reset that of the inode."""
    stat = os.stat(path)
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"


def hashes_of(paths: Sequence[str | os.PathLike[str]], book: Path) -> list[str]:
    """Returns the sha256 of every file. A file of the same path and stamp is not read again.

    Args:
        paths: of the files.
        book: JSON cache, path to stamp and sha256. It only saves reading: without it, or if it cannot be written, every
            file is read.
    """
    try:
        known = formats.read(book, "hashes", Book, "remove it")
    except (OSError, DataError):
        known = {}
    before, hashes = dict(known), []
    for given in paths:
        stamp, path = stamp_of(given), os.path.realpath(given)
        entry = known.get(path)
        if entry is None or entry[0] != stamp:
            entry = known[path] = (stamp, sha256_of(path))
        hashes.append(entry[1])
    if known != before:
        with contextlib.suppress(OSError):
            formats.write(book, "hashes", known)
    return hashes


def sha256_of_folder(folder: Path) -> str:
    """Returns one sha256 over the names and the contents of a folder's files."""
    return digest_of({path.name: sha256_of(path) for path in sorted(folder.iterdir())})


def digest_of(value: Any) -> str:
    """Returns the sha256 of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def write_manifest(folder: str | os.PathLike[str], manifest: Manifest) -> None:
    """Writes `manifest.json` into `folder`, atomically. Call it last."""
    formats.write(Path(folder) / FILE_NAME, "manifest", manifest.model_dump(mode="json"))


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Returns the manifest of a prepared folder.

    Raises:
        FormatError: another version of seqapps prepared it.
        DataError: the folder has no manifest (it is not complete) or one that cannot be read.
    """
    path = Path(folder) / FILE_NAME
    try:
        return formats.read(path, "manifest", Manifest, "run `seqapps prepare` again; it makes the folder anew")
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing: the folder is not a complete prepared data set. Run `seqapps prepare`."
        ) from None


def damage(folder: str | os.PathLike[str]) -> str:
    """Returns what is wrong with a prepared folder: the manifest or a file that it lists is missing, was changed, or
    has the format of another version of seqapps.

    Every file is read. Empty for an intact folder, and for one without a manifest.
    """
    place = Path(folder)
    try:
        manifest = read_manifest(place)
    except formats.FormatError as error:
        return f"{place / FILE_NAME} {error.description}"
    except DataError as error:
        return str(error) if (place / FILE_NAME).exists() else ""
    return _damaged_file(place, manifest) or _damaged_vocabulary(place, manifest)


def _damaged_file(place: Path, manifest: Manifest) -> str:
    files = {shard.file: shard.sha256 for split in manifest.splits.values() for shard in split.shards}
    files |= {table.file: table.sha256 for parts in manifest.tables.values() for table in parts}
    for file, sha256 in files.items():
        if not (place / file).is_file():
            return f"{place / file} is missing"
        if sha256_of(place / file) != sha256:
            return f"{place / file} was changed"
    return ""


def _damaged_vocabulary(place: Path, manifest: Manifest) -> str:
    for vocabulary in manifest.vocabularies.values():
        inner = place / vocabulary.folder
        if not inner.is_dir() or sha256_of_folder(inner) != vocabulary.sha256:
            return f"{inner} is missing or was changed"
        for file in sorted(inner.iterdir()):
            if description := formats.stale(file):
                return f"{file} {description}"
    return ""
