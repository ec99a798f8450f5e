"""Measures of generated samples: whether they are novel, distinct and well formed."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from seqapps.errors import ConfigError

_FIELD = re.compile(r"[A-Za-z]:.*")
_NOTE = r"[_^=]*[A-Ga-g][,']*"
_LENGTH = r"\d*(?:/+\d*)?"
_PARTS = re.compile(
    rf"""\s+ | %.*$ | "[^"\n]*" | ![^!\n]*! | \{{[^}}\n]*\}} | \[[A-Za-z]:[^\]\n]*\]
    | \(\d(?::\d*){{0,2}} | [()] | [~.uvTHLMPSO] | \\$
    | \[(?:"[^"\n]*"|{_NOTE}{_LENGTH}-?|[ ])+\]{_LENGTH} | {_NOTE}{_LENGTH} | [zZxX]{_LENGTH} | -
    | [<>]+ | (?P<bar>:*\|+[\]:|]*\d?(?:,\d)* | ::+ | \[\|) | \[?\d(?:[,-]\d)*(?=[\s"|(A-Ga-gz_^=]) | \[(?=\d)
    """,
    re.VERBOSE | re.MULTILINE,
)


def check_pattern(name: str, pattern: str) -> None:
    """Raises if a checker and a pattern do not go together.

    Raises:
        ConfigError: only one of the two is given, or the pattern is not a regular expression.
    """
    if (name == "pattern") != bool(pattern):
        raise ConfigError(
            f'`data.pattern` goes with `data.checker` = "pattern". Received: checker = {name!r}, '
            f"pattern = {pattern!r}. "
            'Example: pattern = "[a-z]+".'
        )
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"`data.pattern` is no regular expression: {error}. Received: {pattern!r}.") from None


def checker(name: str, pattern: str) -> Callable[[str], bool] | None:
    """Returns the predicate that decides whether a text is well formed; None for `none`.

    Args:
        name: `none`, `python_identifier`, `abc` or `pattern`.
        pattern: regular expression that the whole text must match (`pattern`).
    """
    if name == "python_identifier":
        return is_identifier
    if name == "abc":
        return is_abc
    if name == "pattern":
        compiled = re.compile(pattern)
        return lambda text: compiled.fullmatch(text) is not None
    return None


def judged(
    samples: Sequence[Sequence[int]],
    texts: Sequence[bytes],
    seen: Set[tuple[int, ...]],
    is_valid: Callable[[str], bool] | None,
) -> NDArray[np.float32]:
    """Returns whether each sample is novel, distinct and valid, `<float32>[samples, 3]` of 0 and 1.

    Args:
        samples: their ids, without special tokens.
        texts: the same, as UTF-8.
        seen: the ids of every text of the training split; samples not among them are novel.
        is_valid: see `checker`; without it no sample is valid.
    """
    result, earlier = np.zeros((len(samples), 3), np.float32), set()
    for place, (ids, text) in enumerate(zip(map(tuple, samples), texts, strict=True)):
        valid = is_valid is not None and is_valid(text.decode("utf-8", "replace"))
        result[place] = (ids not in seen, ids not in earlier, valid)
        earlier.add(ids)
    return result


def is_identifier(text: str) -> bool:
    """Returns whether a text is a valid Python identifier and not a keyword."""
    return text.isidentifier() and not keyword.iskeyword(text)


def is_abc(text: str) -> bool:
    """Returns whether a text is one tune in ABC notation: a header, then music with bars.

    The header begins with X: (a number) and ends with K:, with a title T: between. In the music every character belongs
    to a note, rest, chord, chord name in quotes, tuplet, slur, grace note, repeat or bar; there is one bar at least.
    Whether the bars match the metre is not checked.

    Source: the ABC music standard 2.1, sections 2.2 (file structure), 3 (fields) and 4 (the tune body).
    """
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("%")]
    keys = [index for index, line in enumerate(lines) if line.startswith("K:")]
    if not lines or not keys or not re.fullmatch(r"X:\s*\d+\s*", lines[0]):
        return False
    header, body = lines[: keys[0]], [line for line in lines[keys[0] + 1 :] if not _FIELD.fullmatch(line)]
    if not all(_FIELD.fullmatch(line) for line in header) or not any(line.startswith("T:") for line in header):
        return False
    return bool(body) and _is_music("\n".join(body))


def _is_music(body: str) -> bool:
    place, bars = 0, 0
    while place < len(body):
        part = _PARTS.match(body, place)
        if part is None or part.end() == place:
            return False
        bars += part["bar"] is not None
        place = part.end()
    return bars > 0
