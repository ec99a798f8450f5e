"""Assignment of rows to splits by a hash of their keys, so that equal rows always go to the same split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from seqapps.config import RunConfig, SplitConfig
from seqapps.dataset.ragged import RawBlock

SPLITS = ("train", "validation", "test")


def places_of(keys: Iterable[bytes], seed: int, split: SplitConfig) -> NDArray[np.int64]:
    """Returns the split of every key, as index in SPLITS: a seeded hash, so that equal keys stay together.

    The hash is a number from 0 to 1: test takes the lowest values, then validation, then train. The split's own seed
    takes precedence over that of the run.
    """
    key_of_hash = seed if split.seed is None else split.seed
    empty = hashlib.blake2b(digest_size=8, key=key_of_hash.to_bytes(8, "little"))
    digests = []
    for key in keys:
        digest = empty.copy()
        digest.update(key)
        digests.append(digest.digest())
    shares = np.frombuffer(b"".join(digests), "<u8") / 2.0**64
    return np.where(shares < split.test, 2, np.where(shares < split.test + split.validation, 1, 0))


def divide(
    raw: RawBlock, keys: Callable[[RawBlock], list[bytes]], split: str, config: RunConfig
) -> dict[str, RawBlock]:
    """Returns split name to rows.

    Args:
        raw: the rows.
        keys: returns the keys that are hashed.
        split: the split that the configuration names for all rows; empty when rows are divided. Validation rows are
            taken from training rows when the configuration names training files, no validation files, and divides by
            `row`: otherwise whole files or documents have been assigned already.
        config: the seed, the shares and the named files.
    """
    shares, source = config.data.split, config.source
    by_row = shares.by == "row" and source.rows != "document"
    if split == "train" and by_row and source.train and not source.validation:
        shares = shares.model_copy(update={"test": 0.0})
    elif split:
        return {split: raw}
    places = places_of(keys(raw), config.seed, shares)
    return {name: raw.take(np.flatnonzero(places == number)) for number, name in enumerate(SPLITS)}
