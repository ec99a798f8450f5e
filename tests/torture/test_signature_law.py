"""The law of every signature over every contract configuration and mode, with 1,000 rows: see `served_law`.

And what calls at the bounds cost a model of a usual size:

    python -m pytest -q -s tests/torture/test_signature_law.py -k usual_size
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest
import served_law as law

from seqapps.inference import _served

FILES = law.configurations()
USUAL = {"units": [256, 256], "embedding": 128}
MOST_BYTES = 1 << 29
"""Of memory that calls at the bounds may take beside what the calls before them took."""


@pytest.mark.parametrize("file", FILES, ids=law.named)
def test_every_signature_keeps_the_law(file: Path, tmp_path: Path) -> None:
    subject = law.Subject(law.exported(file, tmp_path))
    classes = subject.classes()
    for rows in (0, 1, 2, classes, classes + 1, law.MANY):
        law.check_shapes(subject, rows)
        law.check_pyfunc(subject, rows)
    law.check_companions(subject)
    law.check_bad_rows(subject)
    law.check_longest(subject)
    law.check_bounds(subject)
    law.check_defaults(subject)


@pytest.mark.parametrize("name", ["language_model/character_stream", "masked_word", "sequence_tagging", "translation"])
def test_calls_at_the_bounds_stay_in_memory_with_a_model_of_usual_size(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(law, "SMALL", USUAL)
    subject = law.Subject(law.exported(law.CONTRACTS / f"{name}.toml", tmp_path, _served._CELLS))
    limits = subject.record["limits"]
    signature = "tag_text" if "tag_text" in subject.signatures else "score"
    signature = signature if signature in subject.signatures else "serving_default"
    for rows in (1, min(16, limits["rows_times_bytes"] // limits["bytes"])):
        subject.call(signature, subject.rows(signature, 3))
        text = ("_-_ " * limits["bytes"])[: limits["bytes"]]
        before, began = peak(), time.process_time()
        error = subject.call(signature, {key: [text] * rows for key in subject.texts(signature)})["error"]
        seconds, grown = time.process_time() - began, peak() - before
        print(f"{name} {signature}: {rows} x {len(text)} bytes, {seconds:.1f} s, {grown / 2**20:+.0f} MB")
        assert not any(error) and grown < MOST_BYTES


def peak() -> int:
    """Returns the most bytes of this process that have lain in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
