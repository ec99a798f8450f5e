"""Which raw files a configuration means: paths, folders, globs, built-in texts, downloads; and their hashes."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.builtin import builtin_files
from seqapps.config import SourceConfig
from seqapps.errors import ConfigError, DataError, nearest
from seqapps.manifest import sha256_of, write_json

_SECONDS_WITHOUT_ANSWER = 60


@dataclass(frozen=True)
class Source:
    """A raw file.

    Args:
        name: what the manifest, the rejects and the split by file call it: its path below the pattern that named it.
        path: where it lies.
        split: the split that the configuration gives it; empty when the job divides.
    """

    name: str
    path: str
    split: str

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return os.stat(self.path).st_size


def resolve(config: SourceConfig, cache: Path) -> list[Source]:
    """Returns the files of a `source` section, in reading order: the order of the patterns, then by name.

    Raises:
        DataError: a pattern matches nothing, or a download fails or has another sha256.
        ConfigError: an unknown built-in text.
    """
    if config.builtin:
        return [Source(name, str(path), "") for name, path in builtin_files(config.builtin, cache)]
    if config.url:
        path = fetch(config.url, config.sha256, cache / "downloads")
        return [Source(path.name, str(path), "")]
    if config.files:
        return _named([("", *found) for found in _matches("source.files", config.files)])
    found = []
    for split in ("train", "validation", "test"):
        found += [(split, *match) for match in _matches(f"source.{split}", getattr(config, split))]
    return _named(found)


def _named(found: list[tuple[str, str, str]]) -> list[Source]:
    """Short names where they are unique; two patterns that give the same one keep the path as it was given."""
    seen = Counter(short for _, short, _ in found)
    return [Source(short if seen[short] == 1 else path, path, split) for split, short, path in found]


def _matches(where: str, patterns: Sequence[str]) -> list[tuple[str, str]]:
    """Returns (name below the pattern, path), each file once."""
    found: dict[str, tuple[str, str]] = {}
    for pattern in patterns:
        root, paths = _expand(pattern)
        if not paths:
            raise DataError(_nothing_there(where, pattern))
        for path in paths:
            found.setdefault(os.path.realpath(path), (Path(path).relative_to(root).as_posix(), path))
    return list(found.values())


def _expand(pattern: str) -> tuple[Path, list[str]]:
    path = Path(pattern)
    if path.is_file():
        return path.parent, [pattern]
    if path.is_dir():
        files = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
        hidden = {file for file in files if any(part.startswith(".") for part in file.relative_to(path).parts)}
        return path, sorted(str(file) for file in files if file not in hidden)
    plain = [index for index, part in enumerate(path.parts) if glob.has_magic(part)]
    if not plain:
        return path, []
    files_found = filter(os.path.isfile, glob.glob(pattern, recursive=True))
    return Path(*path.parts[: plain[0]]), sorted(files_found)


def _nothing_there(where: str, pattern: str) -> str:
    folder, missing = Path(pattern), ""
    while not folder.is_dir():
        folder, missing = folder.parent, folder.name
    close = nearest(missing, os.listdir(folder))
    near = f"{folder / close}" if close else f"the folder {folder}"
    return f"`{where}`: no file matches {pattern!r}. Nearest that exists: {near}."


def fetch(url: str, sha256: str, folder: Path) -> Path:
    """Downloads a file once and returns where it lies. Its name appears only when its content is the expected one.

    Raises:
        DataError: it cannot be had, or its sha256 is another one (both are named).
    """
    scheme, _, address, *_ = urllib.parse.urlparse(url)
    if scheme not in ("http", "https", "file"):
        raise ConfigError(f"`source.url` must be http, https or file. Received: {url!r}.")
    target = folder / sha256 / (Path(urllib.parse.unquote(address)).name or "download")
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".download-", delete=False) as file:
        try:
            with urllib.request.urlopen(url, timeout=_SECONDS_WITHOUT_ANSWER) as answer:
                while block := answer.read(1 << 20):
                    digest.update(block)
                    file.write(block)
        except (urllib.error.URLError, OSError) as error:
            os.unlink(file.name)
            raise DataError(
                f"`source.url`: {url} cannot be fetched: {error}. Or name a local file in `source.files`."
            ) from None
    if digest.hexdigest() != sha256:
        os.unlink(file.name)
        raise DataError(
            f"`source.url`: {url} has another content. Expected sha256: {sha256}. Received: {digest.hexdigest()}."
        )
    shutil.move(file.name, target)
    return target


def hash_sources(sources: Sequence[Source], cache: Path) -> list[str]:
    """Returns the sha256 of every file. A file of the same path, size and time of change is not read again."""
    book = cache / "sha256.json"
    try:
        known: dict[str, list[str]] = json.loads(book.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        known = {}
    before, hashes = dict(known), []
    for source in sources:
        stat, path = os.stat(source.path), os.path.realpath(source.path)
        stamp = f"{stat.st_size} {stat.st_mtime_ns}"
        if known.get(path, [""])[0] != stamp:
            known[path] = [stamp, sha256_of(path)]
        hashes.append(known[path][1])
    if known != before:
        write_json(book, known)
    return hashes
