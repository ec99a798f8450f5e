"""The raw files of a configuration: paths, folders, globs, built-in texts, downloads; and their hashes."""

from __future__ import annotations

import glob
import hashlib
import http.client
import os
import re
import urllib.parse
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipelines.builtin import builtin_files
from pipelines.pieces import Beside
from seqapps.config import SourceConfig
from seqapps.dataset.manifest import HASHES, hashes_of
from seqapps.dataset.text_files import check_encoding, readable
from seqapps.errors import ConfigError, DataError, nearest
from seqapps.files import new_file
from seqapps.secrets import address, expand, recorded, scrub

_SECONDS_WITHOUT_ANSWER = 60


@dataclass(frozen=True)
class Source:
    """A raw file.

    Args:
        name: its name in the manifest, the rejects and the split by file: its path below the pattern that matched it.
        path: its path on disk.
        split: the split that the configuration assigns; empty when the job splits its rows.
        beside: the files whose lines are aligned with its lines.
    """

    name: str
    path: str
    split: str
    beside: tuple[Beside, ...] = ()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return os.stat(self.path).st_size


@dataclass(frozen=True)
class _Found:
    """A file, and the pattern that found it."""

    split: str
    short: str
    path: str
    pattern: str

    @property
    def named(self) -> bool:
        """Whether the pattern is the file itself."""
        return self.path == self.pattern


def resolve(config: SourceConfig, cache: Path, *, same: bool = False) -> list[Source]:
    """Returns the files of a `source` section, in reading order: the order of the patterns, then by name.

    Args:
        config: the section.
        cache: folder of downloads.
        same: whether a file may be in several splits (`data.split.same`).

    Raises:
        DataError: a pattern matches nothing, a file is in two splits, a download fails or has another sha256, or an
            aligned file is missing.
        ConfigError: an unknown built-in text.
    """
    if config.builtin:
        found = [_Found("", name, str(path), "") for name, path in builtin_files(config.builtin, cache)]
    elif config.url:
        path = fetch(config.url, config.sha256, cache / "downloads")
        found = [_Found("", path.name, str(path), str(path))]
    elif config.files:
        found = _matches("source.files", "", config.files)
    else:
        splits = ("train", "validation", "test")
        found = [file for split in splits for file in _matches(f"source.{split}", split, getattr(config, split))]
    if config.format == "aligned":
        found = _main_files(config, found)
    if not same:
        _check_splits(found)
    for file in found:
        _check_is_text(file.path)
    return _named(config, found)


def _check_is_text(path: str) -> None:
    """Raises for a compressed file or another encoding: all of its lines would be refused one by one."""
    if not path.endswith(".gz"):
        with open(path, "rb") as file:
            check_encoding(file.read(8), readable(os.fsencode(Path(path).name)))


def all_files(sources: Iterable[Source]) -> list[Source]:
    """Returns the files with their aligned files, in reading order: all that is read."""
    return [
        file
        for source in sources
        for file in (source, *(Source(beside.name, beside.path, source.split) for beside in source.beside))
    ]


def columns_of_path(config: SourceConfig, name: str, path: str) -> dict[str, bytes]:
    """Returns the columns that `source.from_path` takes from a file's path.

    Args:
        config: the `source` section.
        name: of the file, as in the manifest.
        path: its path on disk.

    Raises:
        DataError: the path has no such part.
    """
    file = PurePosixPath(name)
    stem, _, suffix = file.name.removesuffix(".gz").partition(".")
    folder = file.parent.name or Path(path).absolute().parent.name
    parts = {"folder": folder, "stem": stem, "suffix": suffix}
    for column, part in config.from_path.items():
        if not parts[part]:
            raise DataError(
                f"{name}: `source.from_path` takes the column `{column}` from the {part} of the file's path, and there "
                f"is none. Received: {path}."
            )
    return {column: parts[part].encode("utf-8", "replace") for column, part in config.from_path.items()}


def check_folders(config: SourceConfig, sources: Sequence[Source]) -> None:
    """Raises for files that would give a column from the path an unintended value: a file next to the folders that name
    its values would get the name of the parent folder, and where file names are the values, an unrelated file its own.

    Raises:
        DataError: names some of them.
    """
    patterns = {os.path.normpath(os.path.expanduser(path)) for path in _patterns(config)}
    if "stem" in config.from_path.values():
        _check_stems(config, [source for source in sources if os.path.normpath(source.path) not in patterns])
    if "folder" not in config.from_path.values():
        return
    inside = {source.path for source in sources if len(PurePosixPath(source.name).parts) > 1}
    stray = [
        source.path for source in sources if source.path not in inside and os.path.normpath(source.path) not in patterns
    ]
    if inside and stray:
        column = next(name for name, part in config.from_path.items() if part == "folder")
        folder = Path(stray[0]).parent
        raise DataError(
            f"`source.from_path` takes the column `{column}` from the folder, and files stand beside the folders. "
            f"Received: {', '.join(stray[:3])}{', ...' if len(stray) > 3 else ''} ({len(stray)} in all), which would "
            f'be `{folder.name}`. Remedy: move them away, or name the folders. Example: ["{folder}/*/*"].'
        )


_ABOUT = frozenset(("authors", "changelog", "copying", "licence", "license", "notice", "readme"))
"""Names of files that describe the others."""


def _check_stems(config: SourceConfig, sources: Sequence[Source]) -> None:
    """Raises for a file that no pattern names and that describes the others or has another suffix than most."""
    parts = [PurePosixPath(source.name).name.removesuffix(".gz").partition(".") for source in sources]
    usual, count = next(iter(Counter(suffix for *_, suffix in parts).most_common(1)), ("", 0))
    stray = [
        source.path
        for source, (stem, _, suffix) in zip(sources, parts, strict=True)
        if stem.casefold() in _ABOUT or (suffix != usual and 2 * count > len(parts))
    ]
    if stray:
        column = next(name for name, part in config.from_path.items() if part == "stem")
        example = f"*.{usual}" if usual else "a*"
        raise DataError(
            f"`source.from_path` takes the column `{column}` from the names of the files, and among them are others. "
            f"Received: {', '.join(stray[:3])}{', ...' if len(stray) > 3 else ''} ({len(stray)} in all). Remedy: move "
            f'them away, or name the files. Example: ["{Path(stray[0]).parent}/{example}"].'
        )


def _patterns(config: SourceConfig) -> list[str]:
    return [*config.files, *config.train, *config.validation, *config.test]


def _named(config: SourceConfig, found: list[_Found]) -> list[Source]:
    """Short names where they are unique; if two patterns yield the same one, the path is kept as given."""
    seen = Counter(file.short for file in found)
    names = [readable(os.fsencode(file.short if seen[file.short] == 1 else file.path)) for file in found]
    return [
        Source(name, file.path, file.split, _beside(config, name, file.path))
        for name, file in zip(names, found, strict=True)
    ]


def _beside(config: SourceConfig, name: str, path: str) -> tuple[Beside, ...]:
    """Returns the files aligned with a file.

    Raises:
        DataError: one is missing, or is the file itself.
    """
    found = []
    for column, wanted in _wanted(config, path).items():
        beside = next((file for file in (wanted, f"{wanted}.gz") if os.path.isfile(file)), None)
        if beside is None:
            close = nearest(Path(wanted).name, sorted(os.listdir(Path(path).parent)))
            near = f" Nearest that exists: {close}." if close else ""
            raise DataError(
                f"`source.beside`: {name} needs {wanted} beside it for the column `{column}`, and there is none.{near} "
                "Where a folder or a pattern found a file that is none of the text, name the files one by one."
            )
        if os.path.samefile(beside, path):
            raise DataError(
                f"`source.beside`: the file beside {name} for the column `{column}` is the same file. Name the files "
                "of another column in the source, or another file here."
            )
        found.append(Beside(column, os.path.relpath(beside, Path(path).parent), beside))
    folder = PurePosixPath(name).parent
    names = [readable(os.fsencode(os.path.normpath(folder / file.name))) for file in found]
    return tuple(Beside(file.column, shown, file.path) for file, shown in zip(found, names, strict=True))


def _wanted(config: SourceConfig, path: str) -> dict[str, str]:
    """Returns column to the path of the file aligned with `path`, whether or not it exists."""
    stem = Path(path).name.partition(".")[0]
    return {
        column: os.path.normpath(Path(path).parent / name.replace("*", stem)) for column, name in config.beside.items()
    }


def _main_files(config: SourceConfig, found: list[_Found]) -> list[_Found]:
    """Returns the files without those that are aligned with another one, where a folder or a pattern matched both.

    Raises:
        DataError: two files would share the same aligned file.
    """
    owners: dict[str, list[_Found]] = defaultdict(list)
    for file in found:
        for path in _wanted(config, file.path).values():
            owners[os.path.normpath(path)].append(file)
    beside = owners.keys() | {f"{path}.gz" for path in owners}
    main = [file for file in found if file.named or os.path.normpath(file.path) not in beside]
    chosen = {file.path for file in main}
    for path, files in owners.items():
        rivals = [file.path for file in files if file.path in chosen]
        if len(rivals) > 1 and not all(file.named for file in files):
            raise DataError(
                f"`source.beside`: {path} would lie beside {' and beside '.join(rivals[:3])}. "
                f'Name the file that is meant. Example: files = ["{rivals[0]}"].'
            )
    if not main:
        raise DataError(
            f"`source.beside`: every file that was found lies beside another one. Received: {found[0].path}"
            f"{' and others' if len(found) > 1 else ''}. Name the file whose lines come first, or use `*` for its stem."
        )
    return main


def _check_splits(found: Iterable[_Found]) -> None:
    """Raises for a file in two splits: a model would be evaluated on rows that it was trained on."""
    owners: dict[str, _Found] = {}
    for file in found:
        owner = owners.setdefault(os.path.realpath(file.path), file)
        if owner.split != file.split:
            raise DataError(
                f"{file.path} is in two splits: `source.{owner.split}` finds it by {owner.pattern!r} and "
                f"`source.{file.split}` by {file.pattern!r}. Name the files of each split one by one, or by patterns "
                "that share none; or say that this is meant: `data.split.same` = true."
            )


def _matches(where: str, split: str, patterns: Sequence[str]) -> list[_Found]:
    """Returns the files that patterns find, each once."""
    found: dict[str, _Found] = {}
    for pattern in (os.path.expanduser(expand(pattern, where)) for pattern in patterns):
        root, paths = _expand(pattern)
        if not paths:
            raise DataError(_nothing_there(where, pattern))
        for path in paths:
            if not os.path.exists(path):
                raise DataError(
                    f"`{where}`: {path} is a link to {os.readlink(path)}, which does not exist. Remove the link, or "
                    "name the files one by one."
                )
            short = Path(path).relative_to(root).as_posix()
            found.setdefault(os.path.realpath(path), _Found(split, short, path, pattern))
    return list(found.values())


def _expand(pattern: str) -> tuple[Path, list[str]]:
    path = Path(pattern)
    if path.is_file():
        return path.parent, [pattern]
    if path.is_dir():
        files = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
        hidden = {file for file in files if any(part.startswith(".") for part in file.relative_to(path).parts)}
        readable = [file for file in files if file not in hidden and (file.is_file() or _is_broken(file))]
        return path, sorted(map(str, readable))
    plain = [index for index, part in enumerate(path.parts) if glob.has_magic(part)]
    if not plain:
        return path, []
    files_found = [file for file in glob.glob(pattern, recursive=True) if os.path.isfile(file) or _is_broken(file)]
    return Path(*path.parts[: plain[0]]), sorted(files_found)


def _is_broken(path: str | Path) -> bool:
    """Returns whether a path is a link to nothing."""
    return os.path.islink(path) and not os.path.exists(path)


def _nothing_there(where: str, pattern: str) -> str:
    folder, missing = Path(pattern), ""
    while not folder.is_dir():
        folder, missing = folder.parent, folder.name
    close = nearest(missing, os.listdir(folder))
    near = f"{folder / close}" if close else f"the folder {folder}"
    return f"`{where}`: no file matches {pattern!r}. Nearest that exists: {near}."


def fetch(url: str, sha256: str, folder: Path) -> Path:
    """Downloads a file once and returns where it lies. It gets its name only after its content is verified.

    Args:
        url: `${NAME}` in it is replaced, and its value is never written or printed.
        sha256: of the content.
        folder: of the cache.

    Raises:
        DataError: the download failed, or its sha256 differs (both are named).
    """
    expanded, url = address(url, "`source.url`"), recorded(url)
    if urllib.parse.urlparse(expanded).scheme not in ("http", "https", "file"):
        raise ConfigError(f"`source.url` must be http, https or file. Received: {url!r}.")
    place = urllib.parse.unquote(urllib.parse.urlparse(url).path)
    target = folder / sha256 / (re.sub(r"[^\w.-]+", "_", Path(place).name) or "download")
    if target.exists():
        return target
    with new_file(target) as temporary:
        digest = hashlib.sha256()
        try:
            with (
                open(temporary, "wb") as file,
                _opener(expanded).open(_without_user(expanded), timeout=_SECONDS_WITHOUT_ANSWER) as answer,
            ):
                while block := answer.read(1 << 20):
                    digest.update(block)
                    file.write(block)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise DataError(
                f"`source.url`: {url} cannot be fetched: {scrub(str(error))}. Or name a local file in `source.files`."
            ) from None
        if digest.hexdigest() != sha256:
            raise DataError(
                f"`source.url`: {url} has another content. Expected sha256: {sha256}. Received: {digest.hexdigest()}."
            )
    return target


def _without_user(url: str) -> str:
    """Returns an address without user and password, which urllib does not support there."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Returns the opener of an address, with its user and password as basic authentication if it has them."""
    parts = urllib.parse.urlsplit(url)
    if parts.username is None:
        return urllib.request.build_opener()
    passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
    user, password = (urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
    passwords.add_password(None, _without_user(url), user, password, is_authenticated=True)
    return urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))


def hash_sources(sources: Sequence[Source], cache: Path) -> list[str]:
    """Returns the sha256 of every file. A file of the same path and stamp is not read again."""
    return hashes_of([source.path for source in sources], cache / HASHES)
