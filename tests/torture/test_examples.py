"""Every script of examples/ as a user runs it: in a process of its own, into an empty folder.

What is expected of the output is the point of each example, not its exact figures.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SAID = {
    "conditional_generation": [r"42,017  forty-two thousand and seventeen"],
    "language_model": [r"promoted: True", r"temperature 0\.5: (9\d\.\d|100\.0) % are right"],
    "layers": [r"SimpleRNN .*0\.1\d+\n", r"GRU .*0\.00\d+\n"],
    "masked_word": [r"promoted: True"],
    "sequence_tagging": [r"CRF"],
    "text_classification": [r"The gate: (promoted|refused)"],
    "time_series": [r"promoted: True"],
    "translation": [r"2024-12-25"],
}
PICTURES = {"layers": "layers.png", "time_series": "time_series.png", "translation": "translation.png"}


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "examples").glob("*.py")))
def test_a_script_says_what_it_is_there_to_show(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "SEQAPPS_EXAMPLES": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, f"examples/{name}.py"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [pattern for pattern in SAID[name] if not re.search(pattern, done.stdout)] == [], done.stdout
    assert "Warning" not in done.stderr
    if picture := PICTURES.get(name):
        assert (tmp_path / picture).stat().st_size > 20_000
