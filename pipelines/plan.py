"""How raw files are cut into the elements of the job. A function of files and configuration alone.

An element is a tuple of pieces; a piece is a byte range of one file, cut between rows. Every element writes its own
shards, so the bytes of a prepared folder do not depend on how many workers share the elements.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from pipelines.pieces import WHOLE, Beside, Cut, Element, Piece
from pipelines.readers import RowReader
from pipelines.readers.lines import lines_at, offsets_of
from pipelines.sources import Source, check_folders, columns_of_path
from seqapps.applications import Application, application_of
from seqapps.config import RunConfig, SourceConfig, SplitConfig
from seqapps.dataset.text_files import open_raw
from seqapps.errors import ConfigError, DataError
from seqapps.preprocessing.splits import SPLITS, places_of

_SHARES_OF_A_TRIAL = {"train": 0.8, "validation": 0.1, "test": 0.1}


def is_cuttable(source: SourceConfig) -> bool:
    """Returns whether a file of the source can be cut: at any line's end, or at an empty line between two rows."""
    return bool(cut_of(source))


def cut_of(source: SourceConfig) -> Cut:
    """Returns where a file of the source can be cut."""
    if source.rows == "file" or source.format == "csv":
        return ""
    return "gap" if source.rows == "paragraph" or source.format in ("conll", "conllu") else "line"


def make_plan(config: RunConfig, sources: Sequence[Source], rows: int = 0) -> list[Element]:
    """Returns the elements of the job.

    Args:
        config: the whole configuration.
        sources: the raw files, in reading order.
        rows: the most rows in all (a dry run); 0 for all.

    Raises:
        ConfigError: the rows cannot be split in the way that the configuration asks for.
        DataError: these files cannot be split that way, or they lack a column.
    """
    _check(config, sources)
    pieces = list(pieces_of(config, sources))
    if rows:
        pieces = list(_limited(pieces, rows))
    elements: list[Element] = []
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        group.append(piece)
        size += _bytes(piece) + sum(map(_bytes, piece.beside))
        if size >= config.data.shard_bytes:
            elements.append(Element(len(elements), tuple(group)))
            group, size = [], 0
    if group:
        elements.append(Element(len(elements), tuple(group)))
    return elements


def header_doubts(config: RunConfig, sources: Sequence[Source]) -> list[str]:
    """Returns a line for each file whose first line looks like a header, and is read as a row; see `check_headers`."""
    return RowReader.of(config, application_of(config).columns).check_headers(sources)


def _bytes(part: Piece | Beside) -> int:
    return max(0, min(part.end, os.stat(part.path).st_size) - part.start)


def _check(config: RunConfig, sources: Sequence[Source]) -> None:
    """Raises before anything expensive starts."""
    application, source = application_of(config), config.source
    reader = RowReader.of(config, application.columns)
    for file in sources:
        columns_of_path(source, file.name, file.path)
    check_folders(source, sources)
    reader.check_headers(sources)
    if config.data.split.by == "time":
        _check_time(source, application)
    reader.check_names(sources)


def _check_time(source: SourceConfig, application: Application) -> None:
    if source.rows != "file":
        raise ConfigError(
            '`data.split.by` = "time" divides the steps of a series, and a series is a whole file. Received: '
            f'`source.rows` = "{source.rows}". Allowed with it: row, file, position.'
        )
    if type(application).divide is Application.divide:
        raise ConfigError(
            f'`data.split.by` = "time" divides the steps of a series, and {application.name} has none. Received: '
            "time. Allowed: row, file."
        )


def pieces_of(config: RunConfig, sources: Sequence[Source]) -> Iterable[Piece]:
    """Yields the pieces of all files, in reading order."""
    cut = cut_of(config.source)
    for index, (source, ranges) in enumerate(zip(sources, _ranges(config, sources), strict=True)):
        packed = any(path.endswith(".gz") for path in (source.path, *(beside.path for beside in source.beside)))
        cuttable = cut and not packed
        pieces: list[Piece] = []
        for start, border, split in ranges:
            whole = border == WHOLE
            stop = source.size if whole and cuttable else border
            step = config.data.shard_bytes if cuttable else WHOLE
            for low in range(start, max(stop, start + 1), step):
                high = min(low + step, stop)
                last = whole and high == stop
                end = WHOLE if last else high
                piece = Piece(index, source.name, source.path, low, end, begins=low == 0, ends=last)
                pieces.append(replace(piece, split=split, cut=cut, beside=source.beside))
        yield from _aligned(pieces) if source.beside else pieces


def _aligned(pieces: list[Piece]) -> list[Piece]:
    """Moves the borders of a file's pieces to line beginnings, and finds the same lines in the aligned files."""
    if len(pieces) < 2:
        return pieces
    first = pieces[0]
    borders = lines_at(first.path, [piece.start for piece in pieces[1:]])
    lines = [line for _, line in borders]
    starts = [0, *(offset for offset, _ in borders)]
    ends = [*starts[1:], WHOLE]
    columns = []
    for beside in first.beside:
        offsets = [0, *offsets_of(beside.path, lines), WHOLE]
        columns.append([replace(beside, start=low, end=high) for low, high in pairwise(offsets)])
    rows = zip(pieces, starts, ends, zip(*columns, strict=True), strict=True)
    return [replace(piece, start=start, end=end, beside=beside) for piece, start, end, beside in rows]


Range = tuple[int, int, str]
"""Begin, end and split."""


def _ranges(config: RunConfig, sources: Sequence[Source]) -> list[list[Range]]:
    """Returns the byte ranges of every file and their splits; an empty split for rows split by their own keys."""
    split, source = config.data.split, config.source
    if source.train:
        split = split.model_copy(update={"test": 0.0})  # only validation rows are taken from training files
    divided = [file for file in sources if not source.train or (file.split == "train" and not source.validation)]
    if split.by == "position":
        found = _by_position(config, split, divided)
    elif split.by == "file" or (split.by == "row" and source.rows == "document"):
        found = [[(0, WHOLE, name)] for name in _by_file(config, split, divided)]
    else:
        found = [[(0, WHOLE, file.split)] for file in divided]
    places = dict(zip((file.path for file in divided), found, strict=True))
    return [places.get(file.path, [(0, WHOLE, file.split)]) for file in sources]


def _by_file(config: RunConfig, split: SplitConfig, sources: Sequence[Source]) -> list[str]:
    kind = "document" if config.source.rows == "document" else "file"
    names = [SPLITS[place] for place in places_of((source.name.encode() for source in sources), config.seed, split)]
    wanted = [name for name in SPLITS if name != "test" or split.test]
    empty = [name for name in wanted if name not in names]
    if sources and empty:
        other = "position" if is_cuttable(config.source) else "row"
        received = f"1 {kind} ({sources[0].name})" if len(sources) == 1 else f"{len(sources)} {kind}s"
        raise DataError(
            f'`data.split.by` = "{split.by}" places whole {kind}s by a hash of their names, which leaves '
            f'{" and ".join(empty)} empty. Received: {received}. Remedy: split = {{ by = "{other}" }}, '
            "another `seed`, or more files."
        )
    return names


def _by_position(config: RunConfig, split: SplitConfig, sources: Sequence[Source]) -> list[list[Range]]:
    """Cuts the concatenated bytes of all files at the two borders, each moved to the next line's beginning."""
    if not is_cuttable(config.source):
        received = f"format = {config.source.format!r}, rows = {config.source.rows!r}"
        raise ConfigError(
            '`data.split.by` = "position" cuts at line ends, and a row of this source may span lines. Received: '
            f"{received}. Allowed: row, file."
        )
    sizes = [_unpacked_size(source) for source in sources]
    total = sum(sizes)
    borders = [int(total * (1.0 - split.validation - split.test)), int(total * (1.0 - split.test))]
    places, base = [], 0
    for source, size in zip(sources, sizes, strict=True):
        cuts = [0, *(_line_start(source, min(max(border - base, 0), size), size) for border in borders), WHOLE]
        ranges = [(cuts[part], cuts[part + 1], SPLITS[part]) for part in range(3)]
        # The file's end is written WHOLE, so that the last range of a file is known to be the last.
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
    """Distributes the rows of a dry run over the splits, then over the pieces of each."""
    present = [name for name in ("", *SPLITS) if any(piece.split == name for piece in pieces)]
    for name in present:
        mine = [piece for piece in pieces if piece.split == name]
        share = rows if len(present) == 1 else max(1, int(rows * _SHARES_OF_A_TRIAL[name]))
        each, more = divmod(share, min(len(mine), share))
        for index, piece in enumerate(mine[:share]):
            yield replace(piece, limit=each + (index < more))
