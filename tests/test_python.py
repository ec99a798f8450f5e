"""The Python API: the examples of docs/python.md, in their order, and what importing the package costs."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqapps
from seqapps.errors import ConfigError, DataError, UsageError

PAGE = Path(__file__).parent.parent / "docs" / "python.md"
NAMES = ("apache_beam", "keras", "keras_tuner", "mlflow", "numpy", "pydantic", "rich", "tensorflow")
TABLES: dict[str, Any] = {
    "name": "of_a_dictionary",
    "application": "language_model",
    "source": {"files": ["a.txt"]},
    "data": {"tokens": {"level": "word"}},
}


def test_the_examples_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    printed, run = capsys.readouterr(), names["run"]
    assert printed.err == ""
    assert "`training.epoch`" in printed.out
    assert "Nearest: epochs" in printed.out
    assert (run.config.training.epochs, run.config.training.learning_rate) == (2, 0.01)
    assert run.promoted
    assert run.evaluation.metrics["perplexity"] < run.evaluation.baselines["unigram"].metrics["perplexity"]
    assert [path.exists() for path in (run.folder, run.exported, run.report)] == [True] * 3
    asked = ["the keys by the lamp"]
    _check_stages(names, run)
    assert run.model.predict(asked, max_length=5) == names["model"].predict(asked, max_length=5) == [names["answer"]]
    assert type(names["again"].layers[-2]) is seqapps.layers.GRU

    again = seqapps.run("sentences.toml", overrides={"training.learning_rate": 0.01})
    assert (again.folder, again.decision) == (run.folder, run.decision)
    assert "train: up to date" in capsys.readouterr().err
    with pytest.raises(UsageError, match="Nearest: sentences"):
        seqapps.load("sentense@champion")


def _check_stages(names: dict[str, Any], run: seqapps.Run) -> None:
    """What the examples of single stages and of one's own model left."""
    trained, evaluated, past = names["trained"], names["evaluated"], names["past"].history
    assert (trained.folder, trained.config, evaluated.evaluation) == (run.folder, run.config, run.evaluation)
    assert evaluated.folder == run.folder / "evaluation"
    assert trained.network.output["logits"].shape[-1] == len(names["data"].vocabularies["text"])
    assert past["loss"][1] < past["loss"][0]
    assert past["val_loss"][1] < past["val_loss"][0]


def test_a_configuration_is_a_file_a_dictionary_or_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "of_a_dictionary.toml"
    file.write_text(
        'application = "language_model"\n[source]\nfiles = ["a.txt"]\n[data]\ntokens = { level = "word" }\n'
    )
    config = seqapps.load_config(file)
    assert isinstance(config, seqapps.Config)
    assert seqapps.load_config(TABLES) == seqapps.load_config(config) == config
    paths = {**TABLES, "source": {"files": (Path("a.txt"),)}}
    assert seqapps.load_config(paths) == config
    changes = {"data.tokens": {"level": "character"}, "training.epochs": 3, "model.units": (8, 4), "name": "other"}
    changed = seqapps.load_config(TABLES, changes)
    assert (changed.name, changed.training.epochs) == ("other", 3)
    assert changed == seqapps.load_config(config, changes) == seqapps.load_config(file, changes)
    assert changed.model_dump()["data"]["tokens"]["level"] == "character"
    assert changed.model_dump()["model"]["units"] == (8, 4)
    assert TABLES["data"] == {"tokens": {"level": "word"}}
    monkeypatch.delenv("SEQAPPS_NOT_SET", raising=False)
    unset = {"source.files": ["${SEQAPPS_NOT_SET}/a.txt"]}
    for given in (TABLES, config, file):
        with pytest.raises(ConfigError, match=r"\$\{SEQAPPS_NOT_SET\} is not set"):
            seqapps.load_config(given, unset)
        with pytest.raises(ConfigError, match=r"override of `training.epochs.x`: `epochs` is a value, not a section"):
            seqapps.load_config(given, {"training.epochs": 3, "training.epochs.x": 1})


def test_a_dictionary_needs_a_name() -> None:
    with pytest.raises(ConfigError, match="the tables: `name` is required where no file gives one"):
        seqapps.load_config({name: table for name, table in TABLES.items() if name != "name"})
    with pytest.raises(ConfigError, match=r"the tables: `sorce` does not exist.*Nearest: source"):
        seqapps.load_config({**TABLES, "sorce": {}})


def _prepared(folder: Path) -> tuple[seqapps.Config, Path]:
    """Returns the configuration of a small prepared folder of characters, and that folder."""
    from tiny import make_prepared

    from seqapps.dataset.manifest import write_manifest

    config, place, manifest = make_prepared(folder / "small-0123456789ab")
    write_manifest(place, manifest.model_copy(update={"settings": {**config.preparation, "rows": 200}}))
    return config, place


def test_every_pass_over_a_training_split_is_the_next_epoch(tmp_path: Path) -> None:
    from seqapps.applications import application_of

    _, folder = _prepared(tmp_path)
    data = seqapps.load_dataset(folder, batch_size=8, overrides={"training.batching": "length", "seed": 7})
    batches = application_of(data.config).batches(folder, data.manifest, "train")
    assert (data.config.name, data.config.seed, batches.batch_size) == ("small", 7, 8)
    assert int(data.train.cardinality()) == batches.steps == 13
    first = next(iter(data.train))  # of a pass that is left
    assert first[0].shape == first[1].shape == first[2].shape
    for epoch in (1, 2):
        for (x, y, weights), (inputs, *expected) in zip(data.train, batches.dataset(epoch), strict=True):
            np.testing.assert_array_equal(x, inputs["tokens"])
            np.testing.assert_array_equal(y, expected[0])
            np.testing.assert_array_equal(weights, expected[1])
    orders = [[batch[1].numpy().tolist() for batch in data.validation] for _ in range(2)]
    assert orders[0] == orders[1]


def test_streams_are_the_default_of_a_language_model(tmp_path: Path) -> None:
    config, folder = _prepared(tmp_path)
    data = seqapps.load_dataset(folder)
    x, y, weights = data.test.element_spec
    assert x.shape == y.shape == weights.shape == (32, 64)
    rows = [batch[0].numpy() for batch in seqapps.load_dataset(folder, batch_size=4).train]
    assert {row.shape for row in rows} == {(4, 64)}
    assert data.config.preparation == config.preparation
    assert data.vocabularies["text"][:5] == ("<pad>", "<unk>", "<bos>", "<eos>", " ")


def test_what_a_prepared_folder_cannot_give(tmp_path: Path) -> None:
    config, folder = _prepared(tmp_path)
    with pytest.raises(ConfigError, match=r"Received: data.tokens.level, application\."):
        seqapps.load_dataset(folder, overrides={"data.tokens.level": "word", "application": "masked_word"})
    with pytest.raises(ConfigError, match=r"`training.batch_size` must be greater than or equal to 1"):
        seqapps.load_dataset(folder, batch_size=0)
    with pytest.raises(DataError, match="not a complete prepared data set"):
        seqapps.load_dataset(tmp_path)
    data = seqapps.load_dataset(folder)
    splits = {name: split for name, split in data.manifest.splits.items() if name != "test"}
    without = seqapps.Dataset(config, folder, data.manifest.model_copy(update={"splits": splits}))
    with pytest.raises(DataError, match="split `test` does not exist"):
        without.test  # noqa: B018


def test_every_public_name_says_what_it_is() -> None:
    for name in {*seqapps.__all__} - {"__version__"}:
        assert len(inspect.getdoc(getattr(seqapps, name)) or "") > 60, name


def test_importing_the_package_is_light() -> None:
    code = f"import sys, seqapps; print([name for name in {NAMES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert {*seqapps.__all__} <= {*dir(seqapps)}


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'seqapps' has no attribute 'trane'"):
        seqapps.trane  # noqa: B018
