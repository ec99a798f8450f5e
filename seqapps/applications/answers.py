"""What applications share where they answer: batches of rows, lines of a file, and how answers are shown."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqapps.calls import Settings
from seqapps.dataset.text_files import as_text
from seqapps.errors import UsageError, quoted, wrong_value

BATCH = 64
"""Rows of one call of a signature."""

_INT32 = 1 << 31


@dataclass(frozen=True)
class Score:
    """How probable a text is.

    Args:
        text: what was scored, as valid UTF-8.
        units: its units as the vocabulary writes them; `<eos>` last where the model ends texts.
        log_probabilities: log p of each unit, in nats.
        total: their sum.
        perplexity: exp(-total / units).
    """

    text: str
    units: tuple[str, ...]
    log_probabilities: tuple[float, ...]
    total: float
    perplexity: float


def scores_of(found: Mapping[str, Any], texts: Sequence[str | bytes]) -> list[Score]:
    """Returns the scores of texts from the outputs of a signature `score`: `units`, `log_probabilities`, `length`,
    `total` and `perplexity`."""
    columns = (found[name] for name in ("units", "log_probabilities", "length", "total", "perplexity"))
    return [
        Score(as_text(text), tuple(units[:length]), tuple(shares[:length]), total, perplexity)
        for text, units, shares, length, total, perplexity in zip(texts, *columns, strict=True)
    ]


def score_line(score: Score, one_line: bool, heading: str = "") -> str:
    """Returns a score as text for people: a line for each unit; in one line total, perplexity and number of units.

    Args:
        score: what is shown.
        one_line: for tables.
        heading: its first line, instead of the text.
    """
    if one_line:
        return f"{score.total:.6f}\t{score.perplexity:.6f}\t{len(score.units)}"
    width = max((len(visible(unit)) for unit in score.units), default=0)
    pairs = zip(score.units, score.log_probabilities, strict=True)
    rows = [f"  {visible(unit):<{width}}  {nats:9.4f}" for unit, nats in pairs]
    return "\n".join(
        [heading or score.text, *rows, f"  total {score.total:.4f} nats, perplexity {score.perplexity:.4f}"]
    )


def for_rows(options: argparse.Namespace, settings: Settings, rows: int, first: int = 0) -> dict[str, list[Any]]:
    """Returns the settings of a full signature, each once for every row; rows draw with seeds one after the other.

    Args:
        options: has them by their names.
        settings: which ones the signature takes.
        rows: how many.
        first: how many rows came before these.
    """
    found = {name: [getattr(options, name)] * rows for name in settings}
    if "seed" in found:
        found["seed"] = [row_seed(options.seed, first + row) for row in range(rows)]
    return found


def row_seed(seed: int, row: int) -> int:
    """Returns the seed of a row: the given one for the first, and so on; it stays in 32 bits."""
    return (seed + row + _INT32) % (2 * _INT32) - _INT32


def visible(unit: str) -> str:
    """Shows a unit that is a space or a line end as a Python string, others as they are."""
    return unit if unit.isprintable() and unit.strip() else repr(unit)


def escaped(text: str) -> str:
    """Returns a text as one line."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def check_settings(options: argparse.Namespace, settings: Settings) -> None:
    """Raises where an option is out of the bounds of its setting.

    Args:
        options: the parsed options.
        settings: name (`top_k`) to its bounds.

    Raises:
        UsageError: names the option, what was received and what is allowed.
    """
    for name, setting in settings.items():
        value = getattr(options, name)
        if not setting.least <= value <= setting.most:
            option = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
            raise UsageError(wrong_value(f"predict: `{option}`", value, setting.words))


def showcase(golden: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Returns the first call of `serving_default`, row by row: its first input, and every output that is one text or
    one number."""
    calls = golden.get("serving_default") or []
    if not calls:
        return []
    inputs, outputs = calls[0]["inputs"], calls[0]["outputs"]
    asked = next((value for value in inputs.values() if isinstance(value, list)), [])
    lines = []
    for row, text in enumerate(asked):
        cells = [shown for name, values in outputs.items() if (shown := _cell(name, values, row))]
        lines.append(f"  {quoted(text)} -> {'  '.join(cells)}")
    return lines


def _cell(name: str, values: Any, row: int) -> str:
    value = values[row] if isinstance(values, list) and row < len(values) else None
    if isinstance(value, str):
        return f"{name} {quoted(value)}"
    return f"{name} {value:.4g}" if isinstance(value, float | int) else ""
