"""10,000 hostile calls of served models, in slices: each is answered or refused in words, and memory stays.

An item exports one contract configuration and asks it in one process. Every configuration and mode has its items; all
of them together make at least 10,000 calls.
"""

from __future__ import annotations

import gc
import math
from functools import cache
from pathlib import Path

import psutil
import pytest
import served_law as law
from hypothesis import HealthCheck, Phase, given, seed, settings

CALLS, MOST_BYTES = 10_000, 256 * 2**20
SLICES = 2
FILES = law.configurations()
EACH = math.ceil(CALLS / len(FILES) / SLICES)


@cache
def subject_of(file: Path, folder: Path) -> law.Subject:
    return law.Subject(law.exported(file, folder))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.parametrize("file", FILES, ids=law.named)
def test_hostile_calls(file: Path, part: int, root: Path) -> None:
    subject = subject_of(file, root / law.named(file))

    def ask(calls: int, number: int) -> None:
        @seed(number)
        @settings(
            max_examples=calls,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(call=law.hostile_calls(subject))
        def once(call: tuple[str, law.Values]) -> None:
            law.check_call(subject, *call)

        once()

    for signature in subject.signatures:  # what is compiled at a first call is no part of another
        subject.call(signature, subject.rows(signature, 3))
    ask(EACH // 10, 1000 + part)
    before = resident()
    ask(EACH, part)
    assert resident() - before < MOST_BYTES


def resident() -> int:
    """Returns the bytes of this process that lie in memory."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)
