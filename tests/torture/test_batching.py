"""Where the rule sorts inside windows, what is learned is within 3 % of what mixed batches learn."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_agreement import learned

from seqapps.batching.buckets import window_of


@pytest.mark.parametrize(("size", "epochs"), [(4, 4)])
def test_windows_of_the_rule_learn_as_mixed_batches_do(size: int, epochs: int, tmp_path: Path) -> None:
    assert window_of(1_600 // size) > 1
    sorted_, verbs = learned(tmp_path / "rule", epochs=epochs, size=size)
    mixed, _ = learned(tmp_path / "mixed", epochs=epochs, size=size, window=1)
    assert min(sorted_) < 1.03 * min(mixed)
    assert max(verbs) > 0.95


def test_a_budget_of_positions_learns_as_so_many_rows_do(tmp_path: Path) -> None:
    """It sorted the whole epoch once, and the agreement was never learned."""
    by_positions, verbs = learned(tmp_path / "budget", epochs=8, size=32, budget=600)
    by_rows, _ = learned(tmp_path / "rows", epochs=8, size=32)
    assert min(by_positions) < 1.03 * min(by_rows)
    assert max(verbs) > 0.95
