"""N-gram counts against a plain Counter: any rows, any block sizes, any order of merging."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import ngrams
from seqapps.dataset.ragged import Ragged
from seqapps.errors import DataError
from seqapps.preprocessing.vocabulary import BEGIN


def ragged(rows: list[list[int]]) -> Ragged:
    splits = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Ragged(np.asarray([token for row in rows for token in row], np.int64), splits)


def plain(documents: list[list[int]], order: int) -> Counter[tuple[int, ...]]:
    found: Counter[tuple[int, ...]] = Counter()
    for document in documents:
        line = [BEGIN] * (order - 1) + document
        found.update(tuple(line[end - order : end]) for end in range(order, len(line) + 1))
    return found


def as_counter(rows: ngrams.Rows, packing: ngrams.Packing) -> Counter[tuple[int, ...]]:
    return Counter({tuple(row[:-1]): row[-1] for row in packing.unpack(rows).tolist()})


def merged(paths: list[Path], packing: ngrams.Packing, block_rows: int) -> ngrams.Rows:
    blocks = list(ngrams.merge(paths, packing.words, block_rows))
    return np.concatenate(blocks) if blocks else np.zeros((0, packing.words + 1), np.uint64)


def test_trigrams_of_two_rows() -> None:
    packing = ngrams.Packing(order=3, size=8)
    rows = ngrams.count(ragged([[4, 5, 3], [4, 5]]), np.ones(2, np.bool_), packing)
    assert packing.unpack(rows).tolist() == [[2, 2, 4, 2], [2, 4, 5, 2], [4, 5, 3, 1]]


def test_packing_keeps_tokens_that_need_several_words() -> None:
    packing = ngrams.Packing(order=5, size=10_000)
    assert (packing.bits, packing.words) == (14, 2)
    columns = [np.asarray([9_999, place]) for place in range(5)]
    rows = np.stack([*packing.pack(columns), np.asarray([7, 8], np.uint64)], axis=1)
    assert packing.unpack(rows).tolist() == [[9_999, 9_999, 9_999, 9_999, 9_999, 7], [0, 1, 2, 3, 4, 8]]


ROWS = st.lists(st.lists(st.integers(1, 9), max_size=12), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, order=st.integers(1, 6), size=st.sampled_from([10, 5_000, 3_000_000]))
def test_counts_are_those_of_a_counter(rows: list[list[int]], order: int, size: int) -> None:
    packing = ngrams.Packing(order, size)
    found = ngrams.count(ragged(rows), np.ones(len(rows), np.bool_), packing)
    assert as_counter(found, packing) == plain(rows, order)


@settings(max_examples=40, deadline=None)
@given(
    blocks=st.lists(ROWS, min_size=1, max_size=7),
    packing=st.builds(ngrams.Packing, st.integers(1, 5), st.sampled_from([10, 3_000_000])),
    block_rows=st.integers(1, 20),
    shuffle=st.randoms(),
)
def test_merging_runs_is_adding_counters(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    blocks: list[list[list[int]]],
    packing: ngrams.Packing,
    block_rows: int,
    shuffle: Random,
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    paths = []
    for index, rows in enumerate(blocks):
        paths.append(folder / f"{index}.run")
        ngrams.write_run(paths[-1], [ngrams.count(ragged(rows), np.ones(len(rows), np.bool_), packing)])
    shuffle.shuffle(paths)
    half = len(paths) // 2
    ngrams.write_run(folder / "half.run", ngrams.merge(paths[:half], packing.words, block_rows))
    all_rows = merged([folder / "half.run", *paths[half:]], packing, block_rows)
    assert as_counter(all_rows, packing) == plain([row for rows in blocks for row in rows], packing.order)
    # Sorted, and every n-gram in exactly one place, whatever the blocks of the merge were.
    keys = [tuple(row) for row in all_rows[:, :-1].tolist()]
    assert keys == sorted(set(keys))


@settings(max_examples=60, deadline=None)
@given(
    documents=st.lists(st.lists(st.lists(st.integers(3, 9), max_size=5), min_size=1, max_size=5), max_size=4),
    order=st.integers(1, 5),
)
def test_documents_cut_into_parts_count_as_if_whole(documents: list[list[list[int]]], order: int) -> None:
    packing = ngrams.Packing(order, 10)
    found: Counter[tuple[int, ...]] = Counter()
    blocks = []
    for parts in documents:
        for index, part in enumerate(parts):
            ids, begins = ragged([part]), np.asarray([index == 0])
            found += as_counter(ngrams.count(ids, begins, packing), packing)
            blocks.append(ngrams.border(ids, begins, order))
    found += as_counter(ngrams.seams(blocks, packing), packing)
    assert found == plain([[token for part in parts for token in part] for parts in documents], order)


def test_table_is_cut_into_parts_of_equal_size(tmp_path: Path) -> None:
    packing = ngrams.Packing(order=1, size=100)
    rows = np.stack([*packing.pack([np.arange(10)]), np.arange(1, 11, dtype=np.uint64)], axis=1)
    parts = ngrams.write_table(tmp_path, [rows[:3], rows[3:4], rows[4:]], packing, part_rows=4)
    parts_of = [(part["file"], part["rows"], part["tokens"]) for part in parts]
    assert parts_of == [("part-00000.npy", 4, 10), ("part-00001.npy", 4, 26), ("part-00002.npy", 2, 19)]
    tables = [np.load(tmp_path / part["file"]) for part in parts]
    for part in parts:
        data = (tmp_path / part["file"]).read_bytes()
        assert (part["bytes"], part["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert tables[0].dtype == np.int32
    assert np.concatenate(tables).tolist() == [[place, place + 1] for place in range(10)]


def test_a_count_that_the_table_cannot_hold_is_refused() -> None:
    packing = ngrams.Packing(order=1, size=4)
    with pytest.raises(DataError, match="2,147,483,647"):
        packing.unpack(np.asarray([[1, 1 << 31]], np.uint64))
