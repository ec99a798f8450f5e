"""What benchmarks/ compare is the same thing, and their figures are what they say."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"

TOY = """
import sys
sys.path.insert(0, {folder!r})
from _workers import Missing, serve

class Toy:
    def first(self):
        print("not an answer")
        return 7.5
    def run(self, steps, job):
        self.steps = steps
        if job == "fail":
            raise ValueError("out of " + job)

def make():
    if sys.argv[1] == "missing":
        raise Missing("no engine")
    return Toy()

serve(make)
"""


def module(name: str) -> ModuleType:
    """A file of benchmarks/, which finds its neighbours as a script does."""
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))


workloads, tables, workers = module("_workloads"), module("_tables"), module("_workers")

SMALL = {
    "language_model": workloads.Workload("", "language_model", "gru", 30, 30, 5, 6, 2, 3, 7),
    "tagger": workloads.Workload("", "tagger", "lstm", 40, 4, 5, 6, 1, 4, 0, cycle=2),
    "classifier": workloads.Workload("", "classifier", "lstm", 40, 3, 5, 6, 1, 4, 9),
    "encoder_decoder": workloads.Workload("", "encoder_decoder", "lstm", 30, 30, 6, 6, 1, 3, 5),
}


@pytest.mark.parametrize(
    ("name", "tokens", "operations"),
    [
        # A layer: 2 x 4 gates x units x (inputs + units); the head: 2 x units x classes.
        ("W1", 700, 700 * (2 * 2 * 4 * 200 * 400 + 2 * 200 * 10_000)),
        ("W3", 8_192, 8_192 * (2 * 4 * 256 * 320 + 2 * 4 * 256 * 512 + 2 * 256 * 65)),
        ("W6", 8_192, 8_192 * (2 * 3 * 256 * 320 + 2 * 3 * 256 * 512 + 2 * 256 * 65)),
    ],
)
def test_operations_of_a_forward_pass(name: str, tokens: int, operations: int) -> None:
    load = workloads.WORKLOADS[name]
    (batch,) = workloads.batches(load)
    assert (batch.tokens, workloads.forward_operations(load, batch)) == (tokens, operations)


@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_batches_are_the_same_at_every_call_and_zero_on_padding(name: str) -> None:
    load = workloads.WORKLOADS[name]
    found, again = workloads.batches(load), workloads.batches(load)
    assert len(found) == load.cycle
    for batch, same in zip(found, again, strict=True):
        for ids, others in zip(batch.x.values(), same.x.values(), strict=True):
            real = np.arange(ids.shape[1]) < batch.lengths[:, None]
            assert np.array_equal(ids, others)
            assert np.array_equal(ids != 0, real)
        assert batch.tokens == batch.lengths.sum() <= batch.x[next(iter(batch.x))].size
        assert batch.weights.shape == batch.y.shape


def test_sentences_are_as_long_as_those_of_the_treebank() -> None:
    assert sum(workloads.SENTENCE_LENGTHS) == 12_544 - 22
    found = workloads.batches(workloads.WORKLOADS["W4"])
    assert 15 < np.concatenate([batch.lengths for batch in found]).mean() < 18


@pytest.mark.parametrize("kind", SMALL)
def test_all_variants_begin_with_the_same_loss(kind: str) -> None:
    ours_and_stock, load = module("_recurrent_keras"), SMALL[kind]
    engines: list[Any] = [
        ours_and_stock.Ours(load, training=True),
        ours_and_stock.Stock(load, training=True, xla=False),
    ]
    torch = module("_recurrent_torch")
    if torch.torch is not None:
        engines.append(torch.Torch(load, training=True, compiled=False))
    losses = [engine.first() for engine in engines]
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-5)
    for engine in engines:
        engine.run(load.cycle)


def test_ratios_are_taken_round_by_round() -> None:
    assert tables.paired([2.0, 4.0, 6.0], [1.0, 2.0, 2.0]) == (2.0, 2.0, 2.5)
    assert tables.paired([3.0], [2.0]) == (1.5, 1.5, 1.5)


def test_a_section_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nabove\n")
    for name, text in (("a", "first"), ("b", "other"), ("a", "second")):
        tables.write_section(page, name, text)
    assert page.read_text() == (
        "# Title\n\nabove\n\n<!-- begin a -->\nsecond\n<!-- end a -->\n\n<!-- begin b -->\nother\n<!-- end b -->\n"
    )


def toy(tmp_path: Path, word: str) -> Any:
    script = tmp_path / "toy.py"
    script.write_text(TOY.format(folder=str(FOLDER)))
    return workers.Worker([sys.executable, str(script), word])


def test_a_worker_answers_and_stands_still_between_its_turns(tmp_path: Path) -> None:
    worker = toy(tmp_path, "")
    try:
        assert worker.started["figure"] == 7.5
        assert worker.ask("run", warm=1, steps=2)["seconds"] >= 0.0
        assert len(worker.ask("each", steps=3, job="")["seconds"]) == 3
        assert worker.ask("use")["megabytes"] > 1.0
        assert workers.OtherLoad([worker]).cores() >= 0.0
        state = Path(f"/proc/{worker.process_id}/stat").read_text().rpartition(")")[2].split()[0]
        assert state == "T"
        with pytest.raises(workers.Missing, match="ended with 1: ValueError: out of fail"):
            worker.ask("run", warm=0, steps=1, job="fail")
    finally:
        worker.close()


def test_a_worker_says_why_it_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(workers.Missing, match="no engine"):
        toy(tmp_path, "missing")


@pytest.mark.parametrize(("name", "training"), [("G1", True), ("G5", False)])
def test_the_benchmark_of_a_gpu_begins_as_that_of_a_cpu(name: str, training: bool) -> None:
    load = module("gpu").sized(name, 3, 4)
    load = dataclasses.replace(load, vocabulary=30, classes=5, embedding=4, steps=6)
    engine = module("_gpu_keras").Keras(load, training=training)
    expected = module("_recurrent_keras").Stock(load, training=training, xla=False).first()
    assert engine.first() == pytest.approx(expected, rel=1e-5)
    engine.run(1)
    assert engine.device_use()["megabytes"] > 1.0


def test_the_table_of_a_gpu() -> None:
    gpu, place = module("gpu"), {"machine": "m", "date": "d", "commit": "c", "device": "H", "title": "t", "tokens": 8.0}
    figures = {"seconds": [2.0, 2.0, 4.0], "first_seconds": 1.5, "megabytes": 7.0}
    variants = {"keras": figures, "torch": {**figures, "seconds": [4.0, 2.0, 4.0]}}
    group = {**place, "workload": "G1", "mode": "training", "backend": "jax", "variants": variants}
    missing = {**group, "mode": "inference", "variants": {**variants, "torch": {"missing": "no torch"}}}
    assert gpu.markdown({"a": missing, "b": group}).splitlines()[2:] == [
        "- H, m; d; commit c: G1 training (jax), G1 inference (jax): t.",
        "",
        "| workload | | variant | tokens/s | x PyTorch | peak MB | first step s |",
        "|---|---|---|---|---|---|---|",
        "| G1 | training | keras (jax) | 4 | 1.00 (1.00-1.50) | 7 | 1.5 |",
        "| G1 | training | torch | 2 |  | 7 | 1.5 |",
        "| G1 | inference | keras (jax) | 4 |  | 7 | 1.5 |",
        "| G1 | inference | torch | no torch |  |  |  |",
    ]
