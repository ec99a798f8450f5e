"""The end of the job: rejects with line numbers, the manifest, and the atomic rename that publishes the folder."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines import findings
from pipelines.inputs import Input
from pipelines.passes import schema_of
from pipelines.pieces import Element
from pipelines.readers.lines import lines_before
from pipelines.storage import Build, read_record
from seqapps import __version__
from seqapps.applications import Application
from seqapps.dataset.manifest import (
    Manifest,
    Shard,
    SourceFile,
    Split,
    Table,
    VocabularyFile,
    sha256_of,
    sha256_of_folder,
    write_manifest,
)
from seqapps.errors import DataError, RunError
from seqapps.files import new_file, publish_folder
from seqapps.preprocessing.splits import SPLITS

_REMEDY = "Use another runner, for example --runner=FnApiRunner."


def describe(application: Application, build: Build, elements: Sequence[Element], given: Input) -> Manifest:
    """Returns the manifest of the output of the passes.

    Raises:
        RunError: the runner reported success, but an output that the configuration asks for is missing.
        DataError: no row is left in a split that training needs.
    """
    records = [read_record(build.encoded(element.stem)) for element in elements]
    lost = [element.index for element, record in zip(elements, records, strict=True) if record is None]
    if lost:
        raise RunError(
            f"The Beam runner reported success, but {len(lost)} of {len(elements)} elements were not written, first: "
            f"{lost[0]}. {_REMEDY}"
        )
    _check_files(build, records)
    splits, lengths = _splits(records)
    for name in ("train", "validation"):
        if name not in splits:
            raise DataError(
                f"The {name} split is empty: {sum(split.rows for split in splits.values())} rows were kept in all. "
                "Remedy: more rows, another `seed`, or a larger share in `data.split`."
            )
    counted = [read_record(build.counted(element.stem)) for element in elements]
    rejected = sum((Counter(record["rejected"]) for record in counted), Counter[str]())
    _check_rejects(build, rejected)
    tables = read_record(build.tables) or {}
    _check_tables(application, build, tables, splits)
    return Manifest(
        application=application.name,
        schema_=schema_of(application),
        splits=splits,
        rejected=dict(sorted(rejected.items())),
        lengths=lengths,
        vocabularies={name: VocabularyFile(**record) for name, record in read_record(build.learned).items()},
        tables={
            name: tuple(
                Table(file=f"{name}/{part['file']}", rows=part["rows"], sha256=part["sha256"]) for part in parts
            )
            for name, parts in tables.items()
        },
        sources=tuple(
            SourceFile(file=source.name, bytes=source.size, sha256=sha256)
            for source, sha256 in zip(given.files, given.hashes, strict=True)
        ),
        fingerprint=given.fingerprint,
        code_version=__version__,
        settings=given.settings,
        found=findings.gather(application, build, elements),
    )


def _check_files(build: Build, records: Sequence[Mapping[str, Any]]) -> None:
    """Raises for a shard or a vocabulary that a record names and that is missing or changed."""
    shards = [shard for record in records for shard in record["shards"].values()]
    wrong = [shard["file"] for shard in shards if not _is_as_written(build.data / shard["file"], shard)]
    learned = read_record(build.learned)
    if learned is None:
        wrong.append("vocabularies")
    for record in (learned or {}).values():
        folder = build.data / record["folder"]
        if not folder.is_dir() or sha256_of_folder(folder) != record["sha256"]:
            wrong.append(record["folder"])
    _refuse(wrong)


def _check_rejects(build: Build, rejected: Mapping[str, int]) -> None:
    """Raises when a refused row is missing from the rejects."""
    with open(build.rejects, "rb") as file:
        listed = sum(1 for _ in file)
    if listed != sum(rejected.values()):
        raise RunError(
            f"The Beam runner reported success, but of {sum(rejected.values())} rejects {listed} were written. "
            f"{_REMEDY}"
        )


def _check_tables(
    application: Application,
    build: Build,
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    splits: Mapping[str, Split],
) -> None:
    """Raises when the n-gram table that the application asks for is missing or incomplete.

    Exactly one n-gram ends at each token of the training split, whatever the order, so a run that was lost on the way
    to the table shows in the sum of the counts.
    """
    _refuse(
        f"{name}/{part['file']}"
        for name, parts in tables.items()
        for part in parts
        if not _is_as_written(build.data / name / part["file"], part)
    )
    feature, order = application.ngrams
    if not order:
        return
    parts = tables.get("ngrams", ())
    if not parts:
        raise RunError(
            f"The Beam runner reported success, but the table of {order}-grams that this configuration asks for was "
            f"not written. {_REMEDY}"
        )
    tokens, wanted = sum(part["tokens"] for part in parts), splits["train"].tokens
    if feature == application.schema().names[0] and tokens != wanted:  # whose lengths are the tokens of a split
        raise RunError(
            f"The Beam runner reported success, but the table of {order}-grams counts {tokens} of the {wanted} tokens "
            f"of the training split. {_REMEDY}"
        )


def _refuse(wrong: Iterable[str]) -> None:
    if named := list(wrong):
        raise RunError(
            "The Beam runner reported success, but these are missing, cut or changed: "
            f"{', '.join(named[:5])}. {_REMEDY}"
        )


def _is_as_written(path: Path, record: Mapping[str, Any]) -> bool:
    """Whether a file exists with the bytes that its writer recorded."""
    is_of_its_size = path.is_file() and path.stat().st_size == record["bytes"]
    return is_of_its_size and sha256_of(path) == str(record["sha256"])


def _splits(records: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Split], dict[str, dict[str, int]]]:
    splits, lengths = {}, {}
    for name in SPLITS:
        found = [record["shards"][name] for record in records if name in record["shards"]]
        if not found:
            continue
        shards = tuple(Shard(**{key: shard[key] for key in Shard.model_fields}) for shard in found)
        histogram: Counter[str] = Counter()
        for shard in found:
            histogram.update(shard["lengths"])
        splits[name] = Split(
            rows=sum(shard.rows for shard in shards), tokens=sum(shard.tokens for shard in shards), shards=shards
        )
        lengths[name] = dict(sorted(histogram.items(), key=lambda item: int(item[0])))
    return splits, lengths


def write_rejects(build: Build, elements: Sequence[Element]) -> int:
    """Writes the refused rows of all counted elements, with line numbers in the whole files; returns their number."""
    number = 0
    with new_file(build.rejects) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for element, bases in _line_bases(build, elements):
            rejects = build.work / f"{element.stem}.rejects.jsonl"
            for text in rejects.open(encoding="utf-8") if rejects.exists() else ():
                reject = json.loads(text)
                index = reject.pop("piece")
                reject |= {"file": element.pieces[index].name, "line": bases[index] + reject["line"]}
                file.write(json.dumps(reject, ensure_ascii=False, sort_keys=True) + "\n")
                number += 1
    return number


def _line_bases(build: Build, elements: Sequence[Element]) -> Iterator[tuple[Element, list[int]]]:
    """Yields every element with the number of lines in the file before each of its pieces."""
    before: Counter[int] = Counter()
    for element in elements:
        record = read_record(build.counted(element.stem))
        if record is None:
            continue
        bases = []
        for piece, lines in zip(element.pieces, record["lines"], strict=True):
            bases.append(lines_before(piece) if piece.limit else before[piece.source])
            before[piece.source] += lines
        yield element, bases


def publish(build: Build, manifest: Manifest, target: Path) -> None:
    """Writes the manifest, last, and renames the folder to its final name."""
    _drop_strangers(build, manifest)
    write_manifest(build.data, manifest)
    publish_folder(build.data, target, replace=True)  # a folder of this name has no valid manifest, so it is unusable
    shutil.rmtree(build.root, ignore_errors=True)


def _drop_strangers(build: Build, manifest: Manifest) -> None:
    """Removes the temporary files of killed runs, so that equal inputs make equal folders."""
    listed = {shard.file for split in manifest.splits.values() for shard in split.shards}
    listed |= {table.file for tables in manifest.tables.values() for table in tables}
    kept = {build.data / file for file in listed} | {build.rejects}
    for vocabulary in manifest.vocabularies.values():
        kept |= {*(build.data / vocabulary.folder).iterdir()}
    for path in sorted(build.data.rglob("*"), reverse=True):
        if path.is_file() and path not in kept:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
