"""How raw files are cut into the elements of the job. A function of files and configuration alone.

An element is a tuple of pieces; a piece is a byte range of one file, cut at line ends. Every element writes its own
shards, so the bytes of a prepared folder do not depend on how many workers share the elements.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

from pipelines.sources import Source
from seqapps.config import RunConfig, SourceConfig
from seqapps.errors import DataError
from seqapps.preprocessing.splits import SPLITS, places_of

WHOLE = sys.maxsize
_SHARES_OF_A_TRIAL = {"train": 0.8, "validation": 0.1, "test": 0.1}


@dataclass(frozen=True)
class Piece:
    """The lines of a file that begin in a byte range (of the unpacked content, for `.gz`).

    Args:
        source: index of the file in the list of sources.
        name, path: of the file.
        start, end: the byte range; `end` is WHOLE where the file is read to its end.
        begins, ends: whether it holds the file's beginning and end.
        split: the split of all its rows; empty when every row is placed by its own key.
        limit: at most so many lines are read (a dry run); 0 for all.
    """

    source: int
    name: str
    path: str
    start: int
    end: int
    begins: bool
    ends: bool
    split: str = ""
    limit: int = 0


@dataclass(frozen=True)
class Element:
    """What one call of a DoFn works on; `index` names its files."""

    index: int
    pieces: tuple[Piece, ...]

    @property
    def stem(self) -> str:
        """Beginning of the names of its files."""
        return f"{self.index:05d}"


def open_raw(path: str) -> BinaryIO:
    """Opens a raw file for reading; `.gz` is unpacked on the way."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.endswith(".gz") else open(path, "rb")


def is_cuttable(source: SourceConfig) -> bool:
    """Returns whether a row of the source never goes beyond a line, so that a file can be cut at any line's end."""
    whole = source.rows in ("file", "paragraph") or source.format in ("csv", "conll", "conllu", "aligned")
    return not whole


def make_plan(config: RunConfig, sources: Sequence[Source], rows: int = 0) -> list[Element]:
    """Returns the elements of the job.

    Args:
        config: the whole configuration.
        sources: the raw files, in reading order.
        rows: at most so many lines in all (a dry run); 0 for all.

    Raises:
        DataError: the files cannot be divided in the way that the configuration asks for.
    """
    pieces = list(_pieces(config, sources))
    if rows:
        pieces = list(_limited(pieces, rows))
    elements: list[Element] = []
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        group.append(piece)
        size += max(0, min(piece.end, sources[piece.source].size) - piece.start)
        if size >= config.data.shard_bytes:
            elements.append(Element(len(elements), tuple(group)))
            group, size = [], 0
    if group:
        elements.append(Element(len(elements), tuple(group)))
    return elements


def _pieces(config: RunConfig, sources: Sequence[Source]) -> Iterable[Piece]:
    split = config.data.split
    if any(source.split for source in sources):
        places = [[(0, WHOLE, source.split)] for source in sources]
    elif split.by == "time" or config.source.rows == "file":
        places = [[(0, WHOLE, "")] for _ in sources]  # a file is one row: the application divides it
    elif split.by == "position":
        places = _by_position(config, sources)
    elif split.by == "file" or config.source.rows == "document":
        places = [[(0, WHOLE, name)] for name in _by_file(config, sources)]
    else:
        places = [[(0, WHOLE, "")] for _ in sources]
    for index, (source, ranges) in enumerate(zip(sources, places, strict=True)):
        cuttable = not source.path.endswith(".gz") and is_cuttable(config.source)
        for start, end, name in ranges:
            whole = end == WHOLE
            stop = source.size if whole and cuttable else end
            step = config.data.shard_bytes if cuttable else WHOLE
            for low in range(start, max(stop, start + 1), step):
                high = min(low + step, stop)
                last = whole and high == stop
                yield Piece(index, source.name, source.path, low, WHOLE if last else high, low == 0, last, name)


def _by_file(config: RunConfig, sources: Sequence[Source]) -> list[str]:
    split = config.data.split
    kind = "document" if config.source.rows == "document" else "file"
    names = [SPLITS[place] for place in places_of((source.name.encode() for source in sources), config.seed, split)]
    wanted = [name for name in SPLITS if name != "test" or split.test]
    empty = [name for name in wanted if name not in names]
    if empty:
        received = f"1 {kind} ({sources[0].name})" if len(sources) == 1 else f"{len(sources)} {kind}s"
        raise DataError(
            f"`data.split.by` = \"{split.by}\" places whole {kind}s by a hash of their names, which leaves "
            f"{' and '.join(empty)} empty. Received: {received}. Remedy: split = {{ by = \"position\" }}, "
            "another `seed`, or more files."
        )
    return names


def _by_position(config: RunConfig, sources: Sequence[Source]) -> list[list[tuple[int, int, str]]]:
    """Cuts the byte line of all files at the two borders, each moved to the next line's beginning."""
    if not is_cuttable(config.source):
        received = f"format = {config.source.format!r}, rows = {config.source.rows!r}"
        raise DataError(
            "`data.split.by` = \"position\" cuts at line ends, and a row of this source may span lines. Received: "
            f"{received}. Allowed: row, file."
        )
    split = config.data.split
    sizes = [_unpacked_size(source) for source in sources]
    total = sum(sizes)
    borders = [int(total * (1.0 - split.validation - split.test)), int(total * (1.0 - split.test))]
    places, base = [], 0
    for source, size in zip(sources, sizes, strict=True):
        cuts = [0, *(_line_start(source, min(max(border - base, 0), size), size) for border in borders), WHOLE]
        ranges = [(cuts[part], cuts[part + 1], SPLITS[part]) for part in range(3)]
        # The file's end is written WHOLE, so that the last range of a file is known to end it.
        ranges = [(low, WHOLE if high >= size else high, name) for low, high, name in ranges if low < min(high, size)]
        places.append(ranges)
        base += size
    return places


def _unpacked_size(source: Source) -> int:
    if not source.path.endswith(".gz"):
        return source.size
    size = 0
    try:
        with open_raw(source.path) as file:
            while block := file.read(1 << 20):
                size += len(block)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{source.name} cannot be unpacked: {error}.") from None
    return size


def _line_start(source: Source, offset: int, size: int) -> int:
    """Returns where the first line begins at or after `offset`."""
    if offset in (0, size):
        return offset
    with open_raw(source.path) as file:
        file.seek(offset - 1)
        while (line := file.readline(1 << 20)) and not line.endswith(b"\n"):
            pass
        return file.tell()


def _limited(pieces: Sequence[Piece], rows: int) -> Iterable[Piece]:
    """Shares the lines of a dry run out over the splits, then over the pieces of each."""
    present = [name for name in ("", *SPLITS) if any(piece.split == name for piece in pieces)]
    for name in present:
        mine = [piece for piece in pieces if piece.split == name]
        share = rows if len(present) == 1 else max(1, int(rows * _SHARES_OF_A_TRIAL[name]))
        for index, piece in enumerate(mine[:share]):
            limit = share // min(len(mine), share) + (index < share % len(mine))
            yield replace(piece, limit=limit)
