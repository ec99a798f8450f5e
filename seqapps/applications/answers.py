"""Prediction helpers that the applications share: batching of input rows and formatting of predictions."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqapps.calls import Settings
from seqapps.dataset.text_files import as_text
from seqapps.errors import UsageError, quoted, wrong_value

BATCH = 64
"""Batch size of one call of a signature."""

_INT32 = 1 << 31


@dataclass(frozen=True)
class Score:
    """Log-probability of a text.

    Args:
        text: the scored text, as valid UTF-8.
        tokens: its tokens as the vocabulary writes them; `<eos>` last where the model ends texts.
        log_probabilities: log p of each token, in nats.
        total: their sum.
        perplexity: exp(-total / tokens).
    """

    text: str
    tokens: tuple[str, ...]
    log_probabilities: tuple[float, ...]
    total: float
    perplexity: float


def scores_of(found: Mapping[str, Any], texts: Sequence[str | bytes]) -> list[Score]:
    """Returns the scores of texts from the outputs of a signature `score`: `tokens`, `log_probabilities`, `length`,
    `total` and `perplexity`."""
    columns = (found[name] for name in ("tokens", "log_probabilities", "length", "total", "perplexity"))
    return [
        Score(as_text(text), tuple(tokens[:length]), tuple(shares[:length]), total, perplexity)
        for text, tokens, shares, length, total, perplexity in zip(texts, *columns, strict=True)
    ]


def score_line(score: Score, one_line: bool, heading: str = "") -> str:
    """Formats a score: one line per token, or total, perplexity and number of tokens in one line.

    Args:
        score: the score.
        one_line: for tables.
        heading: first line, instead of the text.
    """
    if one_line:
        return f"{score.total:.6f}\t{score.perplexity:.6f}\t{len(score.tokens)}"
    width = max((len(visible(token)) for token in score.tokens), default=0)
    pairs = zip(score.tokens, score.log_probabilities, strict=True)
    rows = [f"  {visible(token):<{width}}  {nats:9.4f}" for token, nats in pairs]
    return "\n".join(
        [heading or score.text, *rows, f"  total {score.total:.4f} nats, perplexity {score.perplexity:.4f}"]
    )


def for_rows(options: argparse.Namespace, settings: Settings, rows: int, first: int = 0) -> dict[str, list[Any]]:
    """Returns the settings of a full signature, repeated for every row; rows sample with consecutive seeds.

    Args:
        options: the parsed options, which hold the settings by name.
        settings: those that the signature takes.
        rows: number of rows.
        first: number of rows before these.
    """
    found = {name: [getattr(options, name)] * rows for name in settings}
    if "seed" in found:
        found["seed"] = [row_seed(options.seed, first + row) for row in range(rows)]
    return found


def row_seed(seed: int, row: int) -> int:
    """Returns the seed of a row: `seed` for the first, incremented by one per row, within 32 bits."""
    return (seed + row + _INT32) % (2 * _INT32) - _INT32


def visible(token: str) -> str:
    """Shows a token that is a space or a line end as a Python string, others as they are."""
    return token if token.isprintable() and token.strip() else repr(token)


def escaped(text: str) -> str:
    """Returns a text as one line, with line ends escaped."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def check_settings(options: argparse.Namespace, settings: Settings) -> None:
    """Raises if an option is out of the bounds of its setting.

    Args:
        options: the parsed options.
        settings: name (`top_k`) to its bounds.

    Raises:
        UsageError: names the option, the value received and the allowed range.
    """
    for name, setting in settings.items():
        value = getattr(options, name)
        if not setting.least <= value <= setting.most:
            option = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
            raise UsageError(wrong_value(f"predict: `{option}`", value, setting.words))


def showcase(golden: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Returns the first golden call of `serving_default`, row by row: the first input and every scalar output."""
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
