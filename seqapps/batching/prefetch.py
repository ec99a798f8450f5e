"""Parallel map and prefetch of dataset elements."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

_AHEAD = 8
_MOST_THREADS = 8


def prefetch(dataset: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
    """Maps a function over the elements in parallel, in order, and prefetches the results.

    tf.data's autotuning is off. Its thread sleeps increasingly long between polls and does not always notice that the
    iterator is finished: the end of an epoch was seen to wait 18 seconds for the next poll, after an epoch of 23.
    """
    threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    dataset = dataset.map(function, num_parallel_calls=threads).prefetch(_AHEAD)
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
