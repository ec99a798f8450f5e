"""The two passes over one element. Plain functions of files: Beam only calls them.

A pass writes its files atomically, then the record that names them. An element whose record exists is skipped, which is
how a killed job resumes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines import ngrams
from pipelines.findings import CLASSES, Notes
from pipelines.pieces import Element, Piece
from pipelines.readers import BLOCK_BYTES, Read, RowReader
from pipelines.storage import Build, load_arrays, read_record, save_arrays, write_record
from pipelines.tfrecord import ShardWriter
from seqapps.applications import Application
from seqapps.dataset.analysed import Record, strings_from_arrays, strings_to_arrays
from seqapps.dataset.ragged import Ragged, RawBlock
from seqapps.dataset.schema import RAW, Feature, Schema
from seqapps.files import write_bytes
from seqapps.preprocessing.splits import SPLITS
from seqapps.preprocessing.vocabulary import UNKNOWN

_TEXT_OF_A_REJECT = 200


class Rows:
    """A buffer of rows of one split, from several reads, until they fill a block."""

    def __init__(self) -> None:
        self.blocks: list[RawBlock] = []
        self.bytes = 0

    def add(self, block: RawBlock) -> None:
        """Adds rows."""
        if len(block):
            self.blocks.append(block)
            self.bytes += sum(len(value) for column in block.columns.values() for value in column)

    def take(self) -> RawBlock:
        """Returns the rows as one block and clears the buffer."""
        blocks, self.blocks, self.bytes = self.blocks, [], 0
        sources = {block.source for block in blocks}
        return RawBlock(
            source=sources.pop() if len(sources) == 1 else "",
            lines=np.concatenate([block.lines for block in blocks]),
            columns={name: [v for block in blocks for v in block.columns[name]] for name in blocks[0].columns},
            begins=np.concatenate([block.begins for block in blocks]),
            ends=np.concatenate([block.ends for block in blocks]),
        )


class Block(NamedTuple):
    """What the first pass stores of a block for the second.

    Args:
        rows: the tokenised rows.
        kept: raw columns that are stored with every example (`data.keep`).
        begins: whether a row is the beginning of its example, `<bool>[rows]`.
    """

    rows: Record
    kept: Mapping[str, list[bytes]]
    begins: NDArray[np.bool_]


def save_block(path: Path, block: Block) -> None:
    """Writes a block, atomically."""
    arrays = {f"rows/{name}": array for name, array in block.rows.to_arrays().items()}
    for column, values in block.kept.items():
        arrays |= strings_to_arrays(f"kept/{column}", values)
    save_arrays(path, {**arrays, "begins": block.begins})


def load_block(path: Path, application: Application) -> Block:
    """Returns what `save_block` wrote."""
    arrays = load_arrays(path)
    rows = {name.removeprefix("rows/"): array for name, array in arrays.items() if name.startswith("rows/")}
    kept = {column: strings_from_arrays(f"kept/{column}", arrays) for column in application.config.data.keep}
    return Block(application.analysed.from_arrays(rows), kept, arrays["begins"])


class CountPass:
    """The first pass: reads, validates, splits, tokenises and counts."""

    def __init__(self, application: Application, build: Build) -> None:
        self._application = application
        self._build = build
        self._reader = RowReader.of(application.config, application.columns)

    def run(self, element: Element) -> Path:
        """Returns the record of an element, making it first if it does not exist."""
        record = self._build.counted(element.stem)
        if not record.exists():
            write_record(record, _Counting(self._application, self._build, self._reader, element).record())
        return record


class _Counting:
    def __init__(self, application: Application, build: Build, reader: RowReader, element: Element) -> None:
        self._application = application
        self._build = build
        self._reader = reader
        self._element = element
        self._waiting = {split: Rows() for split in SPLITS}
        self._blocks: list[dict[str, Any]] = []
        self._counts: dict[str, Counter[bytes]] = {}
        self._sums: dict[str, Any] = {}
        self._rejects: list[dict[str, Any]] = []
        self._reasons: Counter[str] = Counter()
        self._read = 0
        self._notes = Notes(application, build, element.stem)

    def record(self) -> dict[str, Any]:
        """Runs the pass and returns the content of the record."""
        lines = [self._read_piece(index, piece) for index, piece in enumerate(self._element.pieces)]
        for split in SPLITS:
            self._flush(split)
        stem, work = self._element.stem, self._build.work
        counts = {}
        for name, tokens in self._counts.items():
            counts[name] = f"{stem}.{name}.counts.npz"
            save_counts(work / counts[name], tokens)
        if self._rejects:
            text = "".join(json.dumps(reject, ensure_ascii=False, sort_keys=True) + "\n" for reject in self._rejects)
            write_bytes(work / f"{stem}.rejects.jsonl", text.encode())
        return {
            "read": self._read,
            "rejected": dict(self._reasons),
            "lines": lines,
            "blocks": self._blocks,
            "counts": counts,
            "sums": {name: np.asarray(array, np.float64).tolist() for name, array in self._sums.items()},
            "found": self._notes.record(),
        }

    def _read_piece(self, index: int, piece: Piece) -> int:
        lines = 0
        for read in self._reader.read(piece):
            self._refuse(index, read)
            self._read += self._application.count(read.block) + read.counted - len(read.block)
            self._place(piece, self._refused_by_application(index, piece, read))
            lines += read.lines
            for split in SPLITS:
                if self._waiting[split].bytes >= BLOCK_BYTES:
                    self._flush(split)
        return lines

    def _refuse(self, index: int, read: Read) -> None:
        for reject in read.rejects:
            text = reject.text.decode("utf-8", "replace")[:_TEXT_OF_A_REJECT]
            self._rejects.append({"reason": reject.reason, "piece": index, "line": reject.line, "text": text})
            self._reasons[reject.reason] += 1

    def _refused_by_application(self, index: int, piece: Piece, read: Read) -> RawBlock:
        block, application = read.block, self._application
        refused = [*application.reject(block), *application.left_out(block, piece.split)] if len(block) else []
        for refusal in sorted(refused, key=lambda refusal: (refusal.row, refusal.line)):
            shown = refusal.text or next(iter(block.columns.values()))[refusal.row]
            text = shown.decode("utf-8", "replace")[:_TEXT_OF_A_REJECT]
            line = int(block.lines[refusal.row]) + max(refusal.line - 1, 0)
            self._rejects.append({"reason": refusal.reason, "piece": index, "line": line, "text": text})
            self._reasons[refusal.reason] += 1
        dropped = sorted({refusal.row for refusal in refused if refusal.whole})
        return block.take(np.delete(np.arange(len(block)), dropped)) if dropped else block

    def _place(self, piece: Piece, block: RawBlock) -> None:
        if len(block):
            for split, rows in self._application.divide(block, piece.split).items():
                self._waiting[split].add(rows)

    def _flush(self, split: str) -> None:
        if not self._waiting[split].blocks:
            return
        block = self._waiting[split].take()
        self._notes.add(split, block)
        analysis = self._application.vocabularies(block)
        self._notes.count(split, next((analysis.counts[name] for name in CLASSES if name in analysis.counts), None))
        if split == "train":
            for name, (tokens, counts) in analysis.counts.items():
                total = self._counts.setdefault(name, Counter())
                for token, count in zip(tokens, counts.tolist(), strict=True):
                    total[token] += count
            for name, array in analysis.sums.items():
                self._sums[name] = self._sums.get(name, 0.0) + array
        name = f"{self._element.stem}.{len(self._blocks):04d}.npz"
        kept = {column: block.columns[column] for column in self._application.config.data.keep}
        save_block(self._build.work / name, Block(analysis.rows, kept, block.begins))
        self._blocks.append({"file": name, "split": split, "rows": len(block)})
        rejected = sum(self._reasons.values())
        self._build.progress(self._element.stem).write_text(f"{self._read} {rejected}", encoding="utf-8")


class EncodePass:
    """The second pass: ids, shards and n-gram runs.

    Args:
        application: makes the features.
        build: the build folder.
        resources: the tokenizers built from the first pass's counts.
        packing: of the n-grams that are counted; None for none.
    """

    def __init__(
        self, application: Application, build: Build, resources: Mapping[str, Any], packing: ngrams.Packing | None
    ) -> None:
        self._application = application
        self._build = build
        self._resources = resources
        self._packing = packing

    def run(self, element: Element) -> Path:
        """Returns the record of an element, making it first if it does not exist."""
        record = self._build.encoded(element.stem)
        if not record.exists():
            write_record(record, self._encode(element))
        return record

    def _encode(self, element: Element) -> dict[str, Any]:
        schema = schema_of(self._application)
        ngram_feature, _ = self._application.ngrams
        writers: dict[str, ShardWriter] = {}
        runs: list[str] = []
        seams: list[dict[str, Any]] = []
        unknown: Counter[str] = Counter()
        for number, block in enumerate(read_record(self._build.counted(element.stem))["blocks"]):
            stored = load_block(self._build.work / block["file"], self._application)
            features = self._application.encode(stored.rows, self._resources)
            features |= {f"{RAW}{column}": _one_a_row(values) for column, values in stored.kept.items()}
            for column, (feature, _) in self._application.written.items():
                unknown[column] += _rows_with_unknown(features[feature])
            split = block["split"]
            if split not in writers:
                (self._build.data / split).mkdir(exist_ok=True)
                writers[split] = ShardWriter(self._build.data / split / f"shard-{element.stem}.tfrecord", schema)
            writers[split].write(features)
            if self._packing and split == "train":
                ids = features[ngram_feature]
                runs.append(f"{element.stem}.{number:04d}.run")
                ngrams.write_run(self._build.work / runs[-1], [ngrams.count(ids, stored.begins, self._packing)])
                seams.append(ngrams.border(ids, stored.begins, self._packing.order))
        shards = {split: {"file": f"{split}/{w.path.name}", **w.close()} for split, w in writers.items()}
        return {"shards": shards, "runs": runs, "seams": seams, "unknown": dict(unknown)}


def schema_of(application: Application) -> Schema:
    """Returns the application's schema, and the raw columns stored with every example (`data.keep`)."""
    kept = tuple(
        Feature(name=f"{RAW}{column}", dtype="string", shape=(), meaning=f"the column `{column}` of the raw row")
        for column in application.config.data.keep
    )
    return Schema(features=(*application.schema().features, *kept))


def _rows_with_unknown(ids: Ragged) -> int:
    rows = np.repeat(np.arange(len(ids)), ids.lengths)
    return len(np.unique(rows[ids.values == UNKNOWN]))


def _one_a_row(values: list[bytes]) -> Ragged:
    return Ragged(np.array(values, dtype=object), np.arange(len(values) + 1, dtype=np.int64))


def save_counts(path: Path, counts: Mapping[bytes, int]) -> None:
    """Writes tokens and counts."""
    lengths = np.fromiter(map(len, counts), np.int64, len(counts))
    tokens = np.frombuffer(b"".join(counts), np.uint8)
    numbers = np.fromiter(counts.values(), np.int64, len(counts))
    save_arrays(path, {"tokens": tokens, "lengths": lengths, "counts": numbers})


def load_counts(path: Path) -> dict[bytes, int]:
    """Returns what `save_counts` wrote."""
    arrays = load_arrays(path)
    data, splits = arrays["tokens"].tobytes(), [0, *np.cumsum(arrays["lengths"]).tolist()]
    tokens = (data[low:high] for low, high in pairwise(splits))
    return dict(zip(tokens, arrays["counts"].tolist(), strict=True))
