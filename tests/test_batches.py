"""Shards to batches: literal numbers, every token exactly once, and files that are not what the manifest says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from seqapps.batching.buckets import Buckets, window_of
from seqapps.batching.documents import DocumentBatches
from seqapps.batching.records import read_split
from seqapps.batching.rows import shift_right
from seqapps.batching.streams import StreamBatches
from seqapps.dataset.manifest import Manifest, Shard, Split, sha256_of
from seqapps.dataset.ragged import Ragged, evenly_spaced
from seqapps.dataset.schema import Feature, Schema
from seqapps.errors import DataError


def ragged(*rows: list[int]) -> Ragged:
    splits = np.cumsum([0, *map(len, rows)])
    return Ragged(np.array([token for row in rows for token in row], np.int32), splits.astype(np.int64))


def numbers(batches: Any, epoch: int = 0, start: int = 0) -> list[tuple[Any, Any, Any]]:
    return [
        (x["tokens"].numpy().tolist(), y.numpy().tolist(), weights.numpy().tolist())
        for x, y, weights in batches.dataset(epoch, start)
    ]


def pairs(made: list[tuple[Any, Any, Any]]) -> list[tuple[int, int]]:
    """What is predicted, with the token before it, by token."""
    found = []
    for x, y, weights in made:
        real = np.array(weights) > 0
        found += list(zip(np.array(x)[real].tolist(), np.array(y)[real].tolist(), strict=True))
    return sorted(found, key=lambda pair: pair[1])


# ---- streams


def test_streams_are_these_numbers() -> None:
    batches = StreamBatches(np.arange(10, 17), batch_size=2, window=3, start=3)
    assert (batches.steps, batches.tokens, batches.batch_size, batches.carries) == (2, 7, 2, True)
    first = ([[3, 10, 11], [13, 14, 15]], [[10, 11, 12], [14, 15, 16]], [[1, 1, 1], [1, 1, 1]])
    second = ([[12, 0, 0], [0, 0, 0]], [[13, 0, 0], [0, 0, 0]], [[1, 0, 0], [0, 0, 0]])
    assert numbers(batches) == [first, second]
    assert numbers(batches, epoch=5, start=1) == [second]
    assert numbers(batches, start=2) == []


def test_more_streams_than_tokens_leave_empty_rows() -> None:
    batches = StreamBatches(np.array([7, 8]), batch_size=3, window=2, start=3)
    assert numbers(batches) == [([[3, 0], [7, 0], [0, 0]], [[7, 0], [8, 0], [0, 0]], [[1, 0], [1, 0], [0, 0]])]


def test_stream_batches_have_one_static_shape() -> None:
    x, y, weights = StreamBatches(np.arange(4, 40), batch_size=2, window=5, start=3).dataset(0).element_spec
    assert [tuple(spec.shape) for spec in (x["tokens"], y, weights)] == [(2, 5)] * 3
    assert [spec.dtype for spec in (x["tokens"], y, weights)] == [tf.int32, tf.int32, tf.float32]


@settings(max_examples=8, deadline=None)
@given(count=st.integers(1, 60), rows=st.integers(1, 7), window=st.integers(1, 9))
def test_streams_predict_every_token_once_from_the_token_before(count: int, rows: int, window: int) -> None:
    ids = np.arange(4, 4 + count)
    batches = StreamBatches(ids, batch_size=rows, window=window, start=3)
    made = numbers(batches)
    assert len(made) == batches.steps
    assert pairs(made) == list(zip([3, *ids[:-1]], ids, strict=True))


def test_an_empty_split_makes_no_batches() -> None:
    with pytest.raises(DataError, match=r"Received: an empty split\."):
        StreamBatches(np.zeros(0, np.int32), batch_size=2, window=2, start=3)
    with pytest.raises(DataError, match=r"Received: an empty split\."):
        DocumentBatches(ragged([], []), batch_size=2, window=2, start=2, seed=1, shuffle=True)


# ---- documents


def test_documents_are_these_numbers() -> None:
    rows = ragged([5, 6, 7], [8], [9, 10, 11, 12, 13], [])
    batches = DocumentBatches(rows, batch_size=2, window=3, start=2, seed=1, shuffle=False)
    assert (batches.steps, batches.tokens, batches.batch_size, batches.carries) == (2, 9, 2, False)
    # Sorted by length; the long document goes on in a row that begins with its token before, 11.
    first = ([[2, 0], [11, 12]], [[8, 0], [12, 13]], [[1, 0], [1, 1]])
    second = ([[2, 5, 6], [2, 9, 10]], [[5, 6, 7], [9, 10, 11]], [[1, 1, 1], [1, 1, 1]])
    assert numbers(batches) == [first, second]
    assert numbers(batches, epoch=3, start=1) == [second]


def test_the_last_documents_are_filled_up_with_rows_of_weight_zero() -> None:
    batches = DocumentBatches(ragged([5], [6], [7]), batch_size=2, window=4, start=2, seed=1, shuffle=False)
    assert numbers(batches)[1] == ([[2], [0]], [[7], [0]], [[1], [0]])


def test_the_order_of_documents_is_a_function_of_seed_and_epoch() -> None:
    rows = ragged(*[[token] * (token % 5 + 1) for token in range(4, 60)])

    def made(seed: int, epoch: int) -> Any:
        return numbers(DocumentBatches(rows, batch_size=4, window=9, start=2, seed=seed, shuffle=True), epoch)

    assert made(1, 0) == made(1, 0)
    assert made(1, 0) != made(1, 1)
    assert made(1, 0) != made(2, 0)
    batches = DocumentBatches(rows, batch_size=4, window=9, start=2, seed=1, shuffle=True)
    assert numbers(batches, 2, start=5) == numbers(batches, 2)[5:]


@settings(max_examples=8, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=30).filter(any),
    rows=st.integers(1, 5),
    window=st.integers(1, 6),
    shuffle=st.booleans(),
)
def test_documents_predict_every_token_once_from_the_token_before(
    lengths: list[int], rows: int, window: int, shuffle: bool
) -> None:
    tokens = iter(range(4, 4 + sum(lengths)))
    documents = [[next(tokens) for _ in range(length)] for length in lengths]
    batches = DocumentBatches(ragged(*documents), batch_size=rows, window=window, start=2, seed=1, shuffle=shuffle)
    expected = [pair for row in documents for pair in zip([2, *row], row, strict=False)]
    assert pairs(numbers(batches)) == expected


# ---- which rows share a batch


def order_of(lengths: Any, budget: int = 0, size: int = 32, epoch: int = 0, seed: int = 1) -> Any:
    buckets = Buckets(np.asarray(lengths, np.int64), batch_size=size, token_budget=budget, seed=seed, shuffle=True)
    return buckets, [rows[rows >= 0] for rows in buckets.order(epoch)]


def predicted_by_its_batch(lengths: Any, order: Any) -> float:
    """Share of the variance of the lengths that lies between batches: 1 where every batch has rows of one length."""
    between = sum(len(rows) * (lengths[rows].mean() - lengths.mean()) ** 2 for rows in order)
    return float(between / (len(lengths) * lengths.var()))


@pytest.mark.parametrize("budget", [0, 600])
@pytest.mark.parametrize("rows", [40, 300, 1_500])
def test_an_epoch_of_few_batches_mixes_lengths(rows: int, budget: int) -> None:
    lengths = np.random.default_rng(1).integers(3, 40, rows)
    buckets, order = order_of(lengths, budget)
    # What chance alone gives is (batches - 1) / (rows - 1).
    assert predicted_by_its_batch(lengths, order) < 2.5 * buckets.steps / rows + 0.1


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 90), max_size=200),
    budget=st.sampled_from([0, 1, 40, 200]),
    size=st.integers(1, 9),
    epoch=st.integers(0, 3),
)
def test_every_row_stands_in_one_batch_of_every_epoch(lengths: list[int], budget: int, size: int, epoch: int) -> None:
    buckets, order = order_of(lengths, budget, size, epoch)
    assert len(order) == buckets.steps
    assert all(map(len, order))
    assert sorted(row for rows in order for row in rows.tolist()) == list(range(len(lengths)))
    for rows in order:
        longest = max(lengths[row] for row in rows)
        assert len(rows) == 1 or not budget or len(rows) * longest <= budget
        assert len(rows) <= size or budget


@pytest.mark.parametrize("budget", [0, 600])
def test_many_batches_are_sorted_so_that_padding_is_small(budget: int) -> None:
    lengths = np.random.default_rng(1).integers(1, 40, 40_000)
    buckets, _ = order_of(lengths, budget)
    assert buckets.steps > 1_000
    assert buckets.padding() < 0.13


@pytest.mark.parametrize(("rows", "budget"), [(100, 1_000), (200, 4_000), (500, 200)])
def test_no_order_is_sorted_in_wider_windows_than_the_rule_allows(
    rows: int, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few long rows: an order may need more batches than an epoch has."""
    random = np.random.default_rng(0)
    widest: list[int] = []
    real = Buckets._sorted

    def sorted_in(buckets: Buckets, order: Any, window: int) -> Any:
        widest.append(window)
        return real(buckets, order, window)

    monkeypatch.setattr(Buckets, "_sorted", sorted_in)
    lengths = (random.pareto(1.2, rows) * 5 + 1).clip(0, budget / 4).astype(np.int64)
    buckets = Buckets(lengths, batch_size=0, token_budget=budget, seed=1, shuffle=True)
    for epoch in range(60):
        buckets.order(epoch)
    assert max(widest, default=1) <= window_of(buckets._fewest)


def test_a_window_holds_a_small_share_of_the_epoch() -> None:
    assert [window_of(steps) for steps in (0, 1, 249, 250, 500, 1_999, 2_000, 100_000)] == [1, 1, 1, 2, 4, 15, 16, 16]


# ---- shards


def write_split(folder: Path, shards: list[list[list[int]]], features: tuple[Feature, ...]) -> Manifest:
    records = []
    for index, rows in enumerate(shards):
        path = folder / "train" / f"shard-{index:05d}.tfrecord"
        path.parent.mkdir(exist_ok=True)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in rows:
                ids = tf.train.Feature(int64_list=tf.train.Int64List(value=row))
                scores = tf.train.Feature(float_list=tf.train.FloatList(value=[0.5] * 2 * len(row)))
                example = tf.train.Example(features=tf.train.Features(feature={"ids": ids, "scores": scores}))
                writer.write(example.SerializeToString())
        size, tokens = path.stat().st_size, sum(map(len, rows))
        file = str(path.relative_to(folder))
        records.append(Shard(file=file, rows=len(rows), tokens=tokens, bytes=size, sha256=sha256_of(path)))
    split = Split(rows=sum(map(len, shards)), tokens=sum(shard.tokens for shard in records), shards=tuple(records))
    return Manifest(
        application="language_model",
        schema_=Schema(features=features),
        splits={"train": split},
        rejected={},
        lengths={},
        vocabularies={},
        tables={},
        sources=(),
        fingerprint="0" * 64,
        code_version="0",
        settings={},
    )


IDS = Feature(name="ids", dtype="int64", shape=(None,), meaning="tokens")
SCORES = Feature(name="scores", dtype="float32", shape=(None, 2), meaning="two numbers a token")


def test_a_split_is_read_in_the_manifests_order(tmp_path: Path) -> None:
    manifest = write_split(tmp_path, [[[7, 8, 3], [3]], [], [[9, 3]]], (IDS, SCORES))
    (tmp_path / "train" / "shard-00009.tfrecord").write_bytes(b"not listed, not read")
    columns = read_split(tmp_path, manifest, "train")
    assert columns["ids"].values.tolist() == [7, 8, 3, 3, 9, 3]
    assert columns["ids"].values.dtype == np.int32
    assert columns["ids"].splits.tolist() == [0, 3, 4, 6]
    assert columns["scores"].values.shape == (6, 2)
    assert columns["scores"].splits.tolist() == [0, 3, 4, 6]


def test_a_shard_that_is_not_what_was_written_is_named(tmp_path: Path) -> None:
    manifest = write_split(tmp_path, [[[7, 8, 3], [3]], [[9, 3]]], (IDS,))
    path = tmp_path / "train" / "shard-00001.tfrecord"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(DataError, match=r"shard-00001\.tfrecord is truncated: it must have \d+ bytes\. Received: \d+"):
        read_split(tmp_path, manifest, "train")
    path.write_bytes(whole[:-5] + bytes(5))
    with pytest.raises(DataError, match=r"shard-00001\.tfrecord cannot be read: .*Run `seqapps prepare` again\."):
        read_split(tmp_path, manifest, "train")
    path.unlink()
    with pytest.raises(DataError, match=r"shard-00001\.tfrecord is missing, and the manifest lists it\."):
        read_split(tmp_path, manifest, "train")


def test_a_shard_with_other_rows_than_the_manifest_says_is_named(tmp_path: Path) -> None:
    manifest = write_split(tmp_path, [[[7, 3], [3]]], (IDS,))
    shard = manifest.splits["train"].shards[0].model_copy(update={"rows": 3})
    split = manifest.splits["train"].model_copy(update={"shards": (shard,)})
    manifest = manifest.model_copy(update={"splits": {"train": split}})
    with pytest.raises(DataError, match=r"shard-00000\.tfrecord must hold 3 rows of `ids`\. Received: 2\."):
        read_split(tmp_path, manifest, "train")


def test_an_unknown_split_is_named_with_the_nearest(tmp_path: Path) -> None:
    manifest = write_split(tmp_path, [[[3]]], (IDS,))
    with pytest.raises(DataError, match=r"split `trian` does not exist\..*Nearest: train\."):
        read_split(tmp_path, manifest, "trian")


def test_inputs_are_the_targets_one_step_later() -> None:
    ids = tf.constant([[5, 6, 7], [8, 9, 0]])
    np.testing.assert_array_equal(shift_right(ids, 2), [[2, 5, 6], [2, 8, 9]])
    np.testing.assert_array_equal(shift_right(ids, tf.constant([3, 4])), [[3, 5, 6], [4, 8, 9]])


def test_evenly_spaced_rows_are_distinct_and_hold_both_ends() -> None:
    assert evenly_spaced(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly_spaced(3, 8).tolist() == [0, 1, 2]
    assert evenly_spaced(1, 3).tolist() == [0]
    assert evenly_spaced(0, 3).tolist() == []
    assert evenly_spaced(5, 1).tolist() == [0]
