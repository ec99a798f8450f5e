"""The settings of calls of a served model, with the one table of their defaults and bounds.

The graphs check the bounds and fill in the defaults, `model.json` records both, and MLflow's pyfunc and
`seqapps predict` take the defaults from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

MOST_BYTES = 1 << 14
"""Most bytes of a text. Like the other bounds, unless a graph says otherwise; measured in decision 27."""
MOST_CELLS = 1 << 20
"""Largest product of rows and bytes of the longest text."""
MOST_WRITTEN = 1 << 20
"""Largest product of rows and requested output length."""
MOST_SQUARE = 1 << 22
"""Largest product of rows and squared bytes, for outputs with a number for each pair of tokens."""


@dataclass(frozen=True)
class Setting:
    """A number that a full signature takes for each example.

    Args:
        default: used if a call omits it; a float if the setting is one.
        least, most: the bounds, inclusive.
    """

    default: int | float
    least: int | float
    most: int | float

    @property
    def whole(self) -> bool:
        """Whether it is a whole number, `int64` in a graph; `float32` otherwise."""
        return isinstance(self.default, int)

    @property
    def words(self) -> str:
        """The bounds as text."""
        return f"must be at least {self.least:.10g} and at most {self.most:.10g}"

    def facts(self) -> dict[str, Any]:
        """Returns the setting as JSON values."""
        return asdict(self)


Settings = Mapping[str, Setting]

_TOP_K = Setting(0, 0, 1 << 16)
_SEED = Setting(1, -(1 << 31), (1 << 31) - 1)
_K = Setting(5, 1, 1 << 10)

WRITING: Settings = {
    "max_length": Setting(100, 1, 1 << 12),
    "temperature": Setting(0.8, 0.0, 1000.0),
    "top_k": _TOP_K,
    "seed": _SEED,
}
"""Settings of text completion."""

DRAWING: Settings = {**WRITING, "max_length": Setting(1000, 1, 1 << 12), "count": Setting(1, 1, 256)}
"""Settings of conditional text generation."""

SUGGESTING: Settings = {"k": _K}
"""Settings of next-token prediction, and of words for a blank."""

_TRANSLATED: Settings = {
    "max_length": Setting(0, 0, 1 << 10),
    "min_length": Setting(0, 0, (1 << 10) - 1),
    "no_repeat_ngram": Setting(0, 0, 32),
}

TRANSLATING: Settings = {
    "beam": Setting(4, 1, 64),
    "n_best": Setting(1, 1, 64),
    **_TRANSLATED,
    "length_penalty": Setting(0.6, 0.0, 10.0),
}
"""Settings of translation by search; with a `max_length` of 0 as long as the training data needs."""

SAMPLING: Settings = {
    **_TRANSLATED,
    "temperature": Setting(1.0, 0.0, 1000.0),
    "top_k": _TOP_K,
    "seed": _SEED,
}
"""Settings of translation by sampling. `seqapps predict` samples if its `--temperature` is above 0."""


def limits(most_bytes: int, most_cells: int, most_written: int) -> dict[str, int]:
    """Returns the bounds of every call of a graph, for `model.json`."""
    return {
        "bytes": most_bytes,
        "rows_times_bytes": most_cells,
        "rows_times_length": most_written,
        "rows_times_square": MOST_SQUARE,
    }
