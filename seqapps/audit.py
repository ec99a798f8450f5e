"""The padding audit: before a model is trained, whether padding or the rows beside a row change what it gives for it.

Weights keep padding out of losses and metrics; nothing but the model keeps it out of the numbers themselves. A pooling
layer without its mask, a backward direction that begins on padding or a layer that mixes rows trains without any error
and is worse in service, where rows come alone. So one batch is run three times: as it is, with padding appended, and
row by row, each row cut to its own length.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.data import Batches
from seqapps.errors import RunError
from seqapps.modeling.recurrent import STATE, zero_states

Batch = tuple[Mapping[str, Any], Any, Any]
"""(x, y, weights), as `Batches.dataset` gives them."""
Lengths = Mapping[int, NDArray[np.int64]]
"""Size of a time axis to the steps of each row that are real, `<int64>[B]`."""

TOLERANCE: dict[str, float] = {"float32": 1e-5, "mixed_bfloat16": 1e-2, "mixed_float16": 1e-2}
"""Precision to the largest difference that is rounding, relative to max(1, |value|)."""

_STEPS = 3
_BATCHES = 8
_ROWS = 8
_ALONE = 3


@dataclass(frozen=True)
class Audit:
    """What an audit found: nothing, or it would have stopped the run.

    Args:
        largest: largest difference of a number, relative to max(1, |value|).
        outputs: how many outputs were compared, over all runs.
        rows: rows of the batch that was taken.
        padding: share of that batch's steps that were padding already.
        seconds: time that it took.
    """

    largest: float
    outputs: int
    rows: int
    padding: float
    seconds: float

    @property
    def line(self) -> str:
        """The audit in one line."""
        return (
            f"padding audit: largest difference {self.largest:.0e} in {self.outputs} outputs "
            f"({self.rows} rows, {self.seconds:.1f} s)"
        )


def audit(model: keras.Model, batches: Batches, *, precision: str = "float32") -> Audit:
    """Runs a model on a padded batch, with more padding, and row by row.

    It takes the batch with most padding among the first few, and a few of its rows, from the shortest to the longest.

    Args:
        model: inputs named as in x, and carried states, which start from zero.
        batches: of the training split.
        precision: `training.precision`, which decides what counts as rounding.

    Raises:
        RunError: an output differs; names the difference and the first layer whose output differs.
    """
    began, tolerance = time.monotonic(), TOLERANCE[precision]
    batch = _some_rows(model, _most_padded(model, batches))
    x, _, weights = batch
    pairs = [("appending padding", batch, append_padding(model, batch, _STEPS))]
    for row in _spread(_real_rows(weights), _ALONE):
        pairs.append((f"running row {row} without the others", _one_row(batch, row), alone(model, batch, row)))
    largest, outputs = 0.0, 0
    with full_precision():
        give = runner(model, x)
        for change, before, after in pairs:
            lengths = lengths_of(model, before)
            # A row that is run alone is compared with what the whole batch gave for it.
            first = give(x) if before is batch else _row_of(give(x), x, before, batch)
            found = compare(first, give(after[0]), before[2], lengths)
            name, difference = max(found.items(), key=lambda item: item[1], default=("", 0.0))
            if difference > tolerance:
                layer = _first_layer(model, name, batch, (before, after), tolerance)
                raise RunError(_message(change, name, difference, tolerance, layer))
            largest, outputs = max(largest, difference), outputs + len(found)
    rows = len(_rows_of(weights))
    return Audit(largest, outputs, rows, _padding(model, batch), round(time.monotonic() - began, 3))
