"""The law of every signature over every contract configuration and mode, with 1,000 rows: see `served_law`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import served_law as law

FILES = law.configurations()


@cache
def subject_of(file: Path, folder: Path) -> law.Subject:
    return law.Subject(law.exported(file, folder))


@pytest.mark.parametrize("file", FILES, ids=law.named)
def test_every_signature_keeps_the_law(file: Path, tmp_path: Path) -> None:
    subject = subject_of(file, tmp_path)
    classes = subject.classes()
    for rows in (0, 1, 2, classes, classes + 1, 1000):
        law.check_shapes(subject, rows)
    law.check_companions(subject)
    law.check_bad_rows(subject)
    law.check_bounds(subject)
    law.check_defaults(subject)
    law.check_pyfunc(subject, classes + 1)
