"""Generated sentences whose verb agrees with a subject some words earlier; deterministic.

    the keys by the lamp of the guards are here

The nouns between the subject and its verb (attractors) have a number of their own, so that the nearest one misleads
half the time: only the first noun determines the number of the verb. Each phrase in between makes the sentence longer.
The vocabulary is small, so that the number of the verb is a large part of what can be learned.

Source of the task: Linzen et al. 2016, "Assessing the Ability of LSTMs to Learn Syntax-Sensitive Dependencies".
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.builtin import written_once

ROWS = 2_000
MOST_PHRASES = 4
_VERSION = 1
"""Part of the folder's name: change it whenever the generated text changes."""

NOUNS = ("key", "lamp", "guard", "door")
VERBS = (("is", "are"), ("was", "were"))
"""Singular and plural."""
_BETWEEN = ("by", "of")
_ENDS = ("here", "there")


def files(cache: Path) -> list[tuple[str, Path]]:
    """Returns one file with one sentence per line."""
    folder = written_once(cache / "builtin" / f"agreement-{_VERSION}", _texts)
    return [("agreement/sentences.txt", folder / "sentences.txt")]


def _texts() -> Mapping[str, str]:
    return {"sentences.txt": "".join(f"{sentence}\n" for sentence in sentences(ROWS))}


def sentences(count: int) -> Iterator[str]:
    """Yields sentences of 1 to `MOST_PHRASES` phrases between subject and verb, each number equally often."""
    chance = random.Random(1)
    for place in range(count):
        plural, words = chance.randrange(2), []
        words.append(_noun(chance, plural))
        for _ in range(place % MOST_PHRASES + 1):
            words.append(f"{chance.choice(_BETWEEN)} {_noun(chance, chance.randrange(2))}")
        words.append(chance.choice(VERBS)[plural])
        words.append(chance.choice(_ENDS))
        yield " ".join(words)


def _noun(chance: random.Random, plural: int) -> str:
    return f"the {chance.choice(NOUNS)}{'s' if plural else ''}"


def verb_of(sentence: str) -> tuple[str, str]:
    """Returns the verb of a sentence, and the same verb in the other number.

    >>> verb_of("the keys by the lamp are here")
    ('are', 'is')
    """
    verb = sentence.split()[-2]
    singular, plural = next(pair for pair in VERBS if verb in pair)
    return verb, singular if verb == plural else plural
