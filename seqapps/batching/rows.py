"""Padded batches of examples with several features, for all applications except language models on a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.batching.buckets import Buckets
from seqapps.batching.prefetch import prefetch
from seqapps.config import RunConfig
from seqapps.dataset.ragged import Ragged
from seqapps.errors import DataError

Columns = Mapping[str, Any]
Collate = Callable[[Columns, Columns, Any], tuple[dict[str, Any], Any, Any]]
"""(dense, lengths, present) -> (x, y, weights): `dense` maps a feature to its padded values `[B, T, ...]` (0 on
padding), `lengths` to the steps of each row `<int32>[B]`, and `present <float32>[B]` is 0 for a row of padding."""


class RowBatches:
    """Independent examples with zero initial state, bucketed by length (`Buckets`).

    Args:
        features: name to examples; text features are left out.
        collate: builds `(x, y, weights)` from a padded batch, as graph operations, including the shift by one.
        lengths: steps of each example, by which examples are bucketed, `<int64>[examples]`.
        tokens: number of unmasked positions (weight 1) in an epoch, for throughput figures.
        batch_size, token_budget, seed, shuffle: see `Buckets`.

    Raises:
        DataError: there are no examples.
    """

    carries = False

    def __init__(  # noqa: PLR0913
        self,
        features: Mapping[str, Ragged],
        collate: Collate,
        *,
        lengths: NDArray[np.int64],
        tokens: int,
        batch_size: int,
        token_budget: int = 0,
        seed: int,
        shuffle: bool,
    ) -> None:
        if not len(lengths):
            raise DataError("A split must hold rows to make batches. Received: an empty split.")
        self._features = {name: rows for name, rows in features.items() if rows.values.dtype.kind in "iufb"}
        self._collate = collate
        self._buckets = Buckets(lengths, batch_size=batch_size, token_budget=token_budget, seed=seed, shuffle=shuffle)
        self.steps, self.tokens, self.batch_size = self._buckets.steps, tokens, batch_size

    @classmethod
    def of_split(  # noqa: PLR0913
        cls,
        features: Mapping[str, Ragged],
        collate: Collate,
        *,
        lengths: NDArray[np.int64],
        tokens: int,
        config: RunConfig,
        split: str,
    ) -> RowBatches:
        """Returns the batches of a split as the configuration's `training` wants them; only `train` is shuffled."""
        return cls(
            features,
            collate,
            lengths=lengths,
            tokens=tokens,
            batch_size=config.training.batch_size,
            token_budget=config.training.token_budget,
            seed=config.seed,
            shuffle=split == "train",
        )

    @property
    def padding(self) -> float:
        """Share of the positions of an epoch that are padding."""
        return self._buckets.padding()

    def dataset(self, epoch: int, start: int = 0) -> tf.data.Dataset:
        """Returns `(x, y, weights)` of an epoch, from batch `start` on."""
        columns = {name: (tf.constant(rows.values), tf.constant(rows.splits)) for name, rows in self._features.items()}

        def gather(examples: Any) -> tuple[dict[str, Any], Any, Any]:
            present = examples >= 0
            examples = tf.maximum(examples, 0)
            padded = {name: _padded(values, splits, examples, present) for name, (values, splits) in columns.items()}
            dense = {name: values for name, (values, _) in padded.items()}
            lengths = {name: length for name, (_, length) in padded.items()}
            return self._collate(dense, lengths, tf.cast(present, tf.float32))

        order = self._buckets.order(epoch)[start:]
        dataset = batches_of_examples(order, self._buckets.batch_size)
        return prefetch(dataset, gather)


def batches_of_examples(order: list[NDArray[np.int64]], batch_size: int) -> tf.data.Dataset:
    """Returns a dataset of the example indices of each batch, with static shape if all batches have the same size."""
    if all(len(examples) == batch_size for examples in order):
        return tf.data.Dataset.from_tensor_slices(np.array(order, np.int64).reshape(-1, batch_size))
    splits = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(examples) for examples in order])])
    ragged = tf.RaggedTensor.from_row_splits(np.concatenate(order), splits)
    return tf.data.Dataset.from_tensor_slices(ragged)


def shift_right(ids: Any, first: Any) -> Any:
    """Returns the inputs that predict `ids`: what comes before each of them.

    Args:
        ids: targets, `<int32>[B, T]`.
        first: what comes before the first of each row: one id, or `<int32>[B]`.

    Returns:
        `<int32>[B, T]`: `first`, then `ids` without the last.
    """
    begins = tf.broadcast_to(tf.reshape(first, [-1, 1]), [tf.shape(ids)[0], 1])
    return tf.concat([tf.cast(begins, ids.dtype), ids[:, :-1]], axis=1)


def _padded(values: Any, splits: Any, examples: Any, present: Any) -> tuple[Any, Any]:
    """Returns the chosen examples padded with zeros to the longest, and their lengths `<int32>[B]`."""
    begins = tf.gather(splits, examples)
    lengths = (tf.gather(splits, examples + 1) - begins) * tf.cast(present, splits.dtype)
    steps = tf.range(tf.reduce_max(lengths))[None, :]
    real = steps < lengths[:, None]
    found = tf.gather(values, (begins[:, None] + steps) * tf.cast(real, splits.dtype))
    mask = tf.reshape(real, tf.concat([tf.shape(real), tf.ones(len(values.shape) - 1, tf.int32)], axis=0))
    return tf.where(mask, found, tf.zeros((), values.dtype)), tf.cast(lengths, tf.int32)
