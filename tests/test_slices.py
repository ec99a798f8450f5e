"""Laws of slices, intervals and shown examples: by hand, on an application that counts right answers."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from rich.console import Console

from seqapps import formats
from seqapps.applications import Breakdown
from seqapps.dataset.ragged import Ragged
from seqapps.errors import UsageError
from seqapps.evaluation import slices
from seqapps.evaluation.bootstrap import interval
from seqapps.evaluation.evaluate import Evaluation, Score
from seqapps.evaluation.examples import read_details, values_of_examples, worst, write_details

LABELS = ("good", "bad")


class Counting:
    """The least application: an answer is right or wrong. Two sequences an example, as long texts are cut."""

    name, objective, direction, token = "counting", "accuracy", "max", "word"
    config: Any = SimpleNamespace(seed=1, promotion=SimpleNamespace(resamples=200))

    def __init__(self, examples: dict[str, Ragged] | None = None) -> None:
        self.given = examples or {}

    def examples(self, folder: Path, manifest: Any, split: str) -> dict[str, Ragged]:
        return self.given

    def rows(self, examples: dict[str, Ragged]) -> Any:
        return np.repeat(np.arange(len(examples["ids"])), 2)

    def metrics(self, totals: Any) -> dict[str, Any]:
        return {"accuracy": totals[..., 0] / totals[..., 1]}

    def slices(self, field: str, examples: dict[str, Ragged]) -> list[str] | None:
        return [value.decode() for value in examples["label"].values] if field == "label" else None

    def breakdowns(self, totals: Any, resources: Any) -> list[Breakdown]:
        return [Breakdown("classes", ("label", "F1"), (("good", 0.5), ("bad", float("nan"))))]

    def pictures(self, prediction: Any, examples: Any, resources: Any, folder: Path) -> dict[str, Path]:
        (folder / "dots.png").write_bytes(b"\x89PNG")
        return {"dots": folder / "dots.png"}

    def shown(self, prediction: Any, examples: Any, resources: Any, rows: Any) -> list[dict[str, str]]:
        return [{"text": f"row {row}", "received": str(prediction[row])} for row in rows]


def strings(*values: str) -> Ragged:
    return Ragged(np.array([value.encode() for value in values], object), np.arange(len(values) + 1))


def of_lengths(*lengths: int) -> Ragged:
    return Ragged(np.zeros(sum(lengths), np.int32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def examples() -> dict[str, Ragged]:
    return {
        "ids": of_lengths(1, 2, 3, 4, 9, 16),
        "label": strings("good", "bad", "good", "good", "bad", "good"),
        "raw.source": strings("web", "web", "book", "web", "book", ""),
    }


RIGHT = np.array([1, 1, 0, 1, 1, 1, 0, 0, 1, 0, 1, 1], float)
"""Of the twelve sequences; two an example."""


def evaluated(folder: Path, right: Any = RIGHT) -> Counting:
    sums = np.stack([right, np.ones(12)], axis=1)
    base = np.stack([np.tile([1.0, 0.0], 6), np.ones(12)], axis=1)
    accuracy = float(right.mean())
    record = Evaluation(
        application="counting",
        split="test",
        note="",
        token="word",
        tokens=12,
        sequences=12,
        objective="accuracy",
        direction="max",
        metrics={"accuracy": accuracy},
        baselines={"majority": Score(description="the most frequent label", metrics={"accuracy": 0.5}, seconds=0.0)},
        seconds=1.0,
    )
    formats.write(folder / "evaluation.json", "evaluation", record.model_dump(mode="json"))
    np.savez(folder / "statistics.npz", **{"model": sums, "baseline.majority": base})
    return Counting(examples())


def found(folder: Path, *fields: str) -> list[slices.SliceTable]:
    manifest: Any = None
    application: Any = evaluated(folder)
    return slices.measure(application, folder, manifest, folder, fields)


def rows_of(table: slices.SliceTable) -> list[tuple[str, int, int, float | None, float | None]]:
    return [
        (row.name, row.examples, row.sequences, row.model.value, row.baseline.value if row.baseline else None)
        for row in table.slices
    ]


def test_slices_of_a_label_by_hand(tmp_path: Path) -> None:
    (table,) = found(tmp_path, "label")
    # good: examples 0, 2, 3, 5 with 1 1, 1 1, 0 0, 1 1; bad: examples 1 and 4 with 0 1, 1 0.
    assert rows_of(table) == [("good", 4, 8, 0.75, 0.5), ("bad", 2, 4, 0.5, 0.5)]
    assert (table.objective, table.baseline, table.split) == ("accuracy", "majority", "test")
    good = table.slices[0].model
    assert good.low is not None and good.high is not None and 0.0 < good.low < 0.75 < good.high <= 1.0


def test_slices_of_lengths_are_powers_of_two_in_order(tmp_path: Path) -> None:
    (table,) = found(tmp_path, "length")
    assert [(row.name, row.examples) for row in table.slices] == [("1", 1), ("2", 1), ("3-4", 2), ("9-16", 2)]
    assert sum(row.sequences for row in table.slices) == 12


def test_slices_of_a_kept_column(tmp_path: Path) -> None:
    (table,) = found(tmp_path, "source")
    assert [(row.name, row.examples) for row in table.slices] == [("web", 3), ("book", 2), ("(empty)", 1)]


def test_an_unknown_field_names_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Allowed: label, length, source\. Nearest: source") as caught:
        found(tmp_path, "sorce")
    assert "`data.keep`" in str(caught.value)


def test_slices_are_kept_beside_earlier_ones_and_only_for_their_statistics(tmp_path: Path) -> None:
    found(tmp_path, "label")
    both = found(tmp_path, "length", "length")
    assert [table.field for table in both] == ["length"]
    assert {table.field for table in slices.read_slices(tmp_path)} == {"label", "length"}
    evaluated(tmp_path, right=1.0 - RIGHT)
    assert slices.read_slices(tmp_path) == []


def test_the_table_fits_a_hundred_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (table,) = found(tmp_path, "label")
    Console(width=100).print(slices.table(table))
    lines = capsys.readouterr().out.splitlines()
    assert any("0.750" in line and "good" in line and "0.500" in line for line in lines)
    assert "majority" in lines[2]


def test_many_numbers_are_put_into_quantiles() -> None:
    application: Any = Counting()
    given = {"ids": of_lengths(*[1] * 100), "raw.year": strings(*map(str, range(1900, 2000)))}
    names = slices.slices_of(application, "year", given)
    distinct, counts = np.unique(names.astype(str), return_counts=True)
    assert counts.tolist() == [20] * 5
    assert distinct.tolist()[0] == "1900 to 1919.8"


def test_many_values_keep_the_most_frequent() -> None:
    application: Any = Counting()
    values = [f"name {number}" for number in range(50) for _ in range(50 - number)]
    names = slices.slices_of(application, "who", {"ids": of_lengths(*[1] * len(values)), "raw.who": strings(*values)})
    distinct = set(names.tolist())
    assert len(distinct) == 20
    assert {"name 0", "name 18", "(other)"} <= distinct and "name 19" not in distinct


def test_slices_have_different_names() -> None:
    application: Any = Counting()
    values = ["x" * 60 + "a", "x" * 60 + "b", "a  b", "a b", "(other)", "", " "]
    given = {"ids": of_lengths(*[1] * len(values)), "raw.who": strings(*values)}
    assert slices.slices_of(application, "who", given).tolist() == [
        "x" * 60 + "...", "x" * 60 + "... (2)", "a b", "a b (2)", "(other) (2)", "(empty)", "(empty) (2)",
    ]  # fmt: skip


def test_a_long_value_costs_its_own_memory_and_not_that_of_all_rows() -> None:
    application: Any = Counting()
    values = ["x" * 2_000_000, *("short" for _ in range(20_000))]
    given = {"ids": of_lengths(*[1] * len(values)), "raw.who": strings(*values)}
    tracemalloc.start()
    names = slices.slices_of(application, "who", given)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(names.tolist()) == {"x" * 60 + "...", "short"}
    assert most < 50_000_000


# ---- intervals


def test_an_interval_holds_the_value_and_shrinks_with_more_sequences() -> None:
    random = np.random.default_rng(0)

    def width(count: int) -> float:
        sums = np.stack([random.integers(0, 2, count).astype(float), np.ones(count)], axis=1)
        ends = interval(sums, lambda totals: totals[..., 0] / totals[..., 1], resamples=500, seed=1)
        assert ends is not None
        assert ends[0] <= sums[:, 0].mean() <= ends[1]
        return ends[1] - ends[0]

    assert width(100) == pytest.approx(2 * 1.96 * 0.5 / 10, rel=0.25)  # normal approximation of a proportion
    assert width(2500) < 0.3 * width(100)


def test_one_sequence_has_no_interval_and_not_a_number_is_left_out() -> None:
    def metric(totals: Any) -> Any:
        return totals[..., 0] / totals[..., 1]

    assert interval(np.ones((1, 2)), metric, resamples=10, seed=1) is None
    assert interval(np.zeros((3, 2)), metric, resamples=10, seed=1) is None
    assert interval(np.array([[1.0, 1.0], [0.0, 0.0]]), metric, resamples=100, seed=1) == (1.0, 1.0)


# ---- examples, breakdowns, pictures


def test_the_worst_come_first_and_those_without_a_value_never() -> None:
    values = np.array([0.5, np.nan, 0.0, 1.0, 0.25])
    assert worst(values, "max", 3, seed=1) == [2, 4, 0]
    assert worst(values, "min", 2, seed=1) == [3, 0]
    assert sorted(worst(values, "min", 20, seed=1)) == [0, 2, 3, 4]
    right = np.array([1.0, 0.0, 1.0, 1.0])
    assert worst(right, "max", 20, seed=1) == [1]  # what is right is no example of what is wrong
    assert worst(np.ones(3), "max", 20, seed=1) == []
    ties = np.zeros(100)
    assert worst(ties, "max", 5, seed=1) == worst(ties, "max", 5, seed=1) != worst(ties, "max", 5, seed=2)


def test_an_example_is_measured_over_all_its_sequences() -> None:
    application: Any = Counting()
    sums = np.stack([RIGHT, np.ones(12)], axis=1)
    assert_array_equal(values_of_examples(application, sums, examples()), [1.0, 0.5, 1.0, 0.0, 0.5, 1.0])


def test_details_come_back_as_they_were_written(tmp_path: Path) -> None:
    application: Any = Counting()
    sums = np.stack([RIGHT, np.ones(12)], axis=1)
    pictures = write_details(
        application, tmp_path, prediction=np.arange(6), statistics=sums, examples=examples(), resources={}
    )
    assert pictures == {"dots": "pictures/dots.png"}
    json.loads((tmp_path / "breakdowns.json").read_text(), parse_constant=pytest.fail)
    details = read_details(tmp_path, pictures)
    assert details.breakdowns == (Breakdown("classes", ("label", "F1"), (("good", 0.5), ("bad", None))),)
    first = details.worst[0]
    assert (first.row, first.value, first.columns) == (3, 0.0, {"text": "row 3", "received": "3"})
    assert list(first.columns) == ["text", "received"]
    assert [item.row for item in details.random] == list(range(6))
    assert details.pictures == {"dots": tmp_path / "pictures/dots.png"}


def test_an_application_that_shows_nothing_has_no_examples(tmp_path: Path) -> None:
    class Silent(Counting):
        def shown(self, prediction: Any, examples: Any, resources: Any, rows: Any) -> list[dict[str, str]]:
            return []

    application: Any = Silent()
    sums = np.stack([RIGHT, np.ones(12)], axis=1)
    write_details(application, tmp_path, prediction=np.arange(6), statistics=sums, examples=examples(), resources={})
    assert read_details(tmp_path, {}).worst == ()
