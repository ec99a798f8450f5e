"""N-gram counts at any scale: sorted runs on disk, merged in blocks. Memory does not grow with the text.

An n-gram is packed into as few 64-bit words as its tokens need, the first token highest, so that sorting the words
sorts the n-grams. A run is a file of `<uint64>[rows, words + 1]`, sorted, every n-gram once, the count last.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqapps.dataset.ragged import Ragged
from seqapps.errors import DataError
from seqapps.files import new_file, write_bytes
from seqapps.preprocessing.vocabulary import BEGIN

FAN_IN = 16
"""Runs that are merged at once."""
BLOCK_ROWS = 1 << 16
"""Rows of each run that are in memory during a merge."""
PART_ROWS = 1 << 20
"""Rows of a file of the final table."""

Rows = NDArray[np.uint64]


@dataclass(frozen=True)
class Packing:
    """How `order` tokens of a vocabulary of `size` are packed into 64-bit words."""

    order: int
    size: int

    @property
    def bits(self) -> int:
        """Bits of a token."""
        return max(1, (self.size - 1).bit_length())

    @property
    def places(self) -> list[tuple[int, int]]:
        """Word and shift of every token of the n-gram."""
        per_word = 64 // self.bits
        return [(place // per_word, self.bits * (per_word - 1 - place % per_word)) for place in range(self.order)]

    @property
    def words(self) -> int:
        """64-bit words of an n-gram."""
        return self.places[-1][0] + 1

    def pack(self, columns: Sequence[NDArray[Any]]) -> list[Rows]:
        """Returns the packed words of n-grams given as one column per token."""
        words = [np.zeros(len(columns[0]), np.uint64) for _ in range(self.words)]
        for column, (word, shift) in zip(columns, self.places, strict=True):
            words[word] |= column.astype(np.uint64) << np.uint64(shift)
        return words

    def unpack(self, rows: Rows) -> NDArray[np.int32]:
        """Returns the tokens of packed rows and their counts, `<int32>[rows, order + 1]`."""
        mask = np.uint64((1 << self.bits) - 1)
        table = np.empty((len(rows), self.order + 1), np.int32)
        for place, (word, shift) in enumerate(self.places):
            table[:, place] = (rows[:, word] >> np.uint64(shift)) & mask
        if len(rows) and rows[:, -1].max() > np.iinfo(np.int32).max:
            raise DataError("An n-gram occurs more than 2,147,483,647 times, which the table cannot hold.")
        table[:, -1] = rows[:, -1]
        return table


def count(ids: Ragged, begins: NDArray[np.bool_], packing: Packing) -> Rows:
    """Returns the n-grams that end at each token of each row, sorted, each once with its count.

    The beginning of an example is padded with BEGIN tokens. A row that continues an earlier one (`begins` False)
    contributes only the n-grams that lie wholly in it; `seam` returns the others.
    """
    return reduced([*packing.pack(_columns(ids, begins, packing.order))])


def _columns(ids: Ragged, begins: NDArray[np.bool_], order: int) -> list[NDArray[Any]]:
    lengths = ids.lengths
    starts = ids.splits[:-1][lengths > 0]
    column = ids.values
    columns = [column]
    for _ in range(order - 1):
        column = np.concatenate([column[:1], column[:-1]])
        column[starts] = BEGIN
        columns.insert(0, column)
    if begins.all() or order == 1:
        return columns
    known = np.ones(len(ids.values), np.bool_)
    for row in np.flatnonzero(~begins):
        known[ids.splits[row] : min(ids.splits[row] + order - 1, ids.splits[row + 1])] = False
    return [column[known] for column in columns]


def border(ids: Ragged, begins: NDArray[np.bool_], order: int) -> dict[str, Any]:
    """Returns what `seams` needs of a non-empty block. Only documents span several blocks."""
    context = order - 1
    last = ids.row(len(ids) - 1)
    return {
        "continues": not begins[0],
        "head": [] if begins[0] else ids.row(0)[:context].tolist(),
        "tail": last[max(0, len(last) - context) :].tolist(),
        "tail_continues": not begins[-1],
    }


def seam(context: Sequence[int], head: Sequence[int], packing: Packing) -> Rows:
    """Returns the n-grams that end in `head` and begin in `context`, the order - 1 tokens before it."""
    line = np.asarray([*context, *head], np.int64)
    return reduced(packing.pack([line[place : place + len(head)] for place in range(packing.order)]))


def seams(blocks: Iterable[Mapping[str, Any]], packing: Packing) -> Rows:
    """Returns the n-grams that span the border of two blocks of one document, sorted, each once.

    Args:
        blocks: for every block of the training split, in order: whether its first row `continues` an example, the
            `head` of that row, the `tail` of its last row, and whether that row continues one, too (`tail_continues`).
        packing: of the n-grams.
    """
    length = packing.order - 1
    beginning = [BEGIN] * length
    context, found = beginning, [seam(beginning, [], packing)]
    for block in blocks:
        if block["continues"]:
            found.append(seam(context, block["head"], packing))
        line = (context if block["tail_continues"] else beginning) + block["tail"]
        context = line[len(line) - length :]
    rows = np.concatenate(found)
    return reduced([rows[:, word].copy() for word in range(packing.words)], rows[:, -1].copy())


def reduced(words: list[Rows], counts: Rows | None = None) -> Rows:
    """Returns sorted rows in which every n-gram occurs once, with the sum of its counts."""
    if not len(words[0]):
        return np.zeros((0, len(words) + 1), np.uint64)
    if len(words) == 1 and counts is None:
        unique, sums = np.unique(words[0], return_counts=True)
        return np.stack([unique, sums.astype(np.uint64)], axis=1)
    order = np.lexsort(words[::-1]) if len(words) > 1 else np.argsort(words[0], kind="stable")
    ordered = [word[order] for word in words]
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = np.logical_or.reduce([word[1:] != word[:-1] for word in ordered])
    first = np.flatnonzero(fresh)
    if counts is None:
        sums = np.diff(np.append(first, len(order))).astype(np.uint64)
    else:
        sums = np.add.reduceat(counts[order], first)
    return np.stack([*(word[first] for word in ordered), sums], axis=1)


def write_run(path: Path, rows: Iterable[Rows]) -> None:
    """Writes sorted rows as a run, whole or not at all."""
    with new_file(path) as temporary, open(temporary, "wb") as file:
        for block in rows:
            file.write(np.ascontiguousarray(block).data)


def merge(paths: Sequence[Path], words: int, block_rows: int = BLOCK_ROWS) -> Iterator[Rows]:
    """Yields the rows of all runs, sorted, every n-gram once with the sum of its counts.

    In each step the smallest of the runs' last rows in memory is the border: everything up to it can be yielded,
    because no run holds anything smaller beyond its rows in memory.
    """
    runs = [_Run(path, words + 1, block_rows) for path in paths]
    while runs := [run for run in runs if run.fill()]:
        border = min(tuple(run.rows[-1, :-1].tolist()) for run in runs)
        taken = np.concatenate([run.take(border) for run in runs])
        yield reduced([taken[:, word].copy() for word in range(words)], taken[:, -1].copy())


class _Run:
    """A run that is read block by block."""

    def __init__(self, path: Path, columns: int, block_rows: int) -> None:
        self._path = path
        self._offset = 0
        self._columns = columns
        self._block = block_rows
        self.rows: Rows = np.zeros((0, columns), np.uint64)

    def fill(self) -> bool:
        """Reads the next block when the last one is used up. Returns False at the end."""
        if not len(self.rows):
            values = np.fromfile(self._path, np.uint64, self._block * self._columns, offset=self._offset)
            self._offset += values.nbytes
            self.rows = values.reshape(-1, self._columns)
        return len(self.rows) > 0

    def take(self, border: tuple[int, ...]) -> Rows:
        """Returns and drops the rows up to and including the border."""
        low, high = 0, len(self.rows)
        for word, value in enumerate(border):
            column = self.rows[low:high, word]
            # Rows below the border in this word are in; those equal to it go by the next word.
            high = low + int(np.searchsorted(column, np.uint64(value), "right"))
            if word < len(border) - 1:
                low += int(np.searchsorted(column, np.uint64(value), "left"))
        taken, self.rows = self.rows[:high], self.rows[high:]
        return taken


def write_table(
    folder: Path, rows: Iterable[Rows], packing: Packing, part_rows: int = PART_ROWS
) -> list[dict[str, Any]]:
    """Writes `part-NNNNN.npy` files `<int32>[rows, order + 1]`.

    Returns the `file`, `rows`, `bytes` and `sha256` of each, and `tokens`: the sum of its counts, which over all parts
    is the number of tokens counted, because exactly one n-gram ends at each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, Any]] = []
    waiting: list[Rows] = []

    def write(block: Rows) -> None:
        name, buffer = f"part-{len(parts):05d}.npy", io.BytesIO()
        np.save(buffer, packing.unpack(block), allow_pickle=False)
        data = buffer.getvalue()
        write_bytes(folder / name, data)
        described = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "tokens": int(block[:, -1].sum())}
        parts.append({"file": name, "rows": len(block), **described})

    for block in rows:
        waiting.append(block)
        while sum(map(len, waiting)) >= part_rows:
            whole = np.concatenate(waiting)
            write(whole[:part_rows])
            waiting = [whole[part_rows:]]
    if sum(map(len, waiting)):
        write(np.concatenate(waiting))
    return parts
