"""Generated pairs of a whole number as five digits and in English words; deterministic."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from pipelines.builtin import written_once
from pipelines.builtin.dates import in_words

ROWS = 12_000
_END = 100_000
_VERSION = 1
"""Part of the folder's name: change it whenever the generated text changes."""


def files(cache: Path) -> list[tuple[str, Path]]:
    """Returns one file of tab-separated columns, `vector` (a JSON list of digits) and `text`, with a header line."""
    folder = written_once(cache / "builtin" / f"number-words-{_VERSION}", _texts)
    return [("number-words/numbers.tsv", folder / "numbers.tsv")]


def _texts() -> Mapping[str, str]:
    numbers = random.Random(1).sample(range(_END), ROWS)
    rows = "".join(f"[{', '.join(f'{number:05}')}]\t{number_in_words(number)}\n" for number in numbers)
    return {"numbers.tsv": f"vector\ttext\n{rows}"}


def number_in_words(number: int) -> str:
    """Returns a number from 0 to 99,999 in British English words.

    >>> number_in_words(42_017)
    'forty-two thousand and seventeen'
    """
    thousands, rest = divmod(number, 1_000)
    hundreds, small = divmod(rest, 100)
    parts = [f"{in_words(thousands)} thousand"] if thousands else []
    parts += [f"{in_words(hundreds)} hundred"] if hundreds else []
    if small:
        parts += ["and", in_words(small)] if parts else [in_words(small)]
    return " ".join(parts) or "zero"
