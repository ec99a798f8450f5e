"""Truncation of long rows of ids, as one graph operation that the job and the SavedModel share."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import tensorflow as tf

from seqapps.dataset.ragged import Ragged
from seqapps.preprocessing.vocabulary import END

Kept = Literal["head", "tail", "both"]


def shorten(rows: Any, longest: int, kept: Kept) -> Any:
    """Returns ragged rows of at most `longest` values, `<T>[B, None]`.

    Args:
        rows: ragged `<T>[B, None]`: ids, or the tokens that they stand for.
        longest: maximum number of values per row; 0 keeps all.
        kept: which end of a longer row is kept: `head` (its first values), `tail` (its last) or `both` (half from each
            end, the odd one from the head).

    Source: the three were compared by Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?", section 5.3.
    """
    if not longest:
        return rows
    match kept:
        case "head":
            return rows[:, :longest]
        case "tail":
            return rows[:, -longest:]
    tail = longest // 2
    lengths = rows.row_lengths()
    place = tf.ragged.range(lengths).with_row_splits_dtype(rows.row_splits.dtype)
    from_end = tf.repeat(lengths, lengths) - place.flat_values
    stays = (place.flat_values < longest - tail) | (from_end <= tail)
    return tf.ragged.boolean_mask(rows, place.with_flat_values(stays | tf.repeat(lengths <= longest, lengths)))


def closed(ids: Any) -> Any:
    """Returns ragged ids with END after every row, so that none is empty. `<int>[B, None] -> <int>[B, None]`."""
    end = tf.fill([ids.nrows(), 1], tf.constant(END, ids.dtype))
    return tf.concat([ids, end], axis=1)


def shorten_rows(ids: Ragged, longest: int, kept: Kept) -> Ragged:
    """Returns rows shortened and closed by END, `<int64>`: the numpy counterpart of `closed(shorten(..))`."""
    with tf.device("CPU:0"):
        rows = tf.RaggedTensor.from_row_splits(tf.constant(ids.values, tf.int64), tf.constant(ids.splits))
        done = closed(shorten(rows, longest, kept))
    return Ragged(done.flat_values.numpy().astype(np.int64), done.row_splits.numpy())
