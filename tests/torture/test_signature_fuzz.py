"""10,000 hostile calls in one process: each is answered or refused in words, and memory stays.

One item asks the models of all applications, one after the other, in a process that has loaded them all. The modes have
smaller items, with a part of the calls each.
"""

from __future__ import annotations

import gc
from pathlib import Path

import psutil
import pytest
import served_law as law
from hypothesis import HealthCheck, Phase, given, seed, settings

from seqapps.inference import _served

CALLS, MOST_BYTES = 10_000, 256 * 2**20
FILES = law.configurations()
APPLICATIONS = [file for file in FILES if file.parent == law.CONTRACTS]
MODES = [file for file in FILES if file not in APPLICATIONS]
OF_A_MODE = 100
NOISE = 64 * 2**20
"""How much memory a long text takes, which is given back to the process and not to the system. The first hundred calls
are not counted: most of it is taken there."""


def subject_of(file: Path, root: Path) -> law.Subject:
    """Returns a model of which every signature has had one golden call: what is compiled at a first call is its own."""
    subject = law.Subject(law.exported(file, root / law.named(file), _served._CELLS))
    for signature in subject.signatures:
        subject.call(signature, subject.rows(signature, 3))
    return subject


def ask(subject: law.Subject, calls: int, number: int) -> int:
    """Returns how many hostile calls were made; each keeps the law."""
    made = 0

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
        nonlocal made
        law.check_call(subject, *call)
        made += 1

    once()
    return made


def resident() -> int:
    """Returns the bytes of this process that lie in memory."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def test_ten_thousand_hostile_calls(tmp_path: Path) -> None:
    subjects = [subject_of(file, tmp_path) for file in APPLICATIONS]
    before, made, number = resident(), 0, 0
    while made < CALLS:
        for subject in subjects:
            made += ask(subject, 200, number)
            grown = resident() - before
            print(f"{made} calls, {grown / 2**20:+.0f} MB after {subject.record['application']}")
            assert grown < MOST_BYTES
        number += 1


@pytest.mark.parametrize("file", MODES, ids=law.named)
def test_hostile_calls_of_a_mode(file: Path, tmp_path: Path) -> None:
    subject = subject_of(file, tmp_path)
    assert ask(subject, OF_A_MODE, 0) > OF_A_MODE // 2
    before = resident()
    assert ask(subject, OF_A_MODE, 1) > OF_A_MODE // 2
    assert resident() - before < NOISE + MOST_BYTES * OF_A_MODE // CALLS
