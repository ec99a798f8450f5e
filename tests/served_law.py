"""The law of every signature of a served model, stated over an exported folder, and what its tests have in common.

Each function takes a `Subject` and raises AssertionError where the law does not hold.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
import time
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from rich.console import Console

from pipelines.prepare import prepare
from seqapps import architectures, serving
from seqapps.applications import application_of, load_config
from seqapps.dataset.manifest import read_manifest
from seqapps.inference import _served
from seqapps.registry import versions as registry
from seqapps.serving import alone
from seqapps.training import loop as training
from seqapps.training.trained_model import save_trained
from seqapps.workspace import Workspace

CONTRACTS = Path(__file__).parent / "contracts"
SMALL = {"units": [10, 8], "embedding": 6}
"""Fields of an architecture that are made small when it has them."""

MOST_SECONDS = 2.0
"""Of the processor, for one call."""

MANY = 1000
"""Rows of the largest call."""

CELLS = 1 << 19
"""Stands for `_served._CELLS`, so that a thousand rows of these small models are answered by parts, as those of a large
one are."""

Values = dict[str, Any]


def configurations() -> list[Path]:
    """Returns every contract configuration: one of each application, and one of each of its modes."""
    return sorted(CONTRACTS.rglob("*.toml"))


def named(file: Path) -> str:
    """Returns what a configuration is called among the others: `text_classification`, `translation/general`."""
    return file.relative_to(CONTRACTS).with_suffix("").as_posix()


def exported(file: Path, folder: Path, cells: int = CELLS) -> Path:
    """Prepares, builds and exports a contract configuration with random weights; returns the SavedModel.

    Args:
        file: the configuration.
        folder: where everything is written.
        cells: see `CELLS`; how long a call takes is asked with those of the product.
    """
    from warm import check_alone

    quiet = Console(quiet=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQAPPS_CONTRACTS", str(CONTRACTS))
        patch.setattr(alone, "Popen", check_alone)
        patch.setattr(_served, "_CELLS", cells)
        fields = architectures.load(load_config(file).model.architecture).Config.model_fields
        config = load_config(file, [f"model.{field}={value}" for field, value in SMALL.items() if field in fields])
        prepared = prepare(config, Workspace(folder / "workspace"), console=quiet)
        application, manifest = application_of(config), read_manifest(prepared)
        training.configure(config)
        save_trained(folder / "model", application, manifest, application.build(manifest), prepared)
        return serving.export(folder / "model", prepared, folder / "saved_model", console=quiet).folder


class Subject:
    """An exported model whose signatures are asked.

    Args:
        folder: the SavedModel.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
        if self.record["needs_tensorflow_text"]:
            import tensorflow_text  # noqa: F401
        self._model = tf.saved_model.load(str(folder))

    @property
    def signatures(self) -> list[str]:
        return sorted(self._model.signatures)

    def settings(self, signature: str) -> dict[str, dict[str, Any]]:
        """Returns the settings of a full signature with their defaults and bounds."""
        found: dict[str, dict[str, Any]] = self.record["signatures"][signature].get("settings", {})
        return found

    def texts(self, signature: str) -> list[str]:
        """Returns the names of the inputs that are one text a row."""
        inputs = self.record["signatures"][signature]["inputs"]
        return [name for name, spec in inputs.items() if (spec["dtype"], len(spec["shape"])) == ("string", 1)]

    def numbers(self, signature: str) -> list[str]:
        """Returns the names of the inputs that are numbers of a row and no settings."""
        inputs, settings = self.record["signatures"][signature]["inputs"], self.settings(signature)
        return [name for name, spec in inputs.items() if name not in settings and spec["dtype"].startswith("float")]

    @property
    def most_bytes(self) -> int:
        """The longest text that a call of one row may have."""
        return int(self.record["limits"]["bytes"])

    def rows(self, signature: str, count: int, settings: Mapping[str, Any] | None = None) -> Values:
        """Returns the inputs of so many rows: those of the first golden call, over and over, with some settings."""
        first = self.golden[signature][0]["inputs"]
        chosen = np.arange(count) % len(next(iter(first.values())))
        return {name: [values[row] for row in chosen] for name, values in first.items()} | {
            name: [value] * count for name, value in (settings or {}).items()
        }

    def call(self, signature: str, inputs: Values) -> dict[str, Any]:
        """Returns the outputs as arrays."""
        specs = self.record["signatures"][signature]["inputs"]
        tensors = {}
        for name, values in inputs.items():
            shape = [size or 0 for size in specs[name]["shape"]]
            empty = np.zeros([0, *(size or 1 for size in shape[1:])], specs[name]["dtype"].replace("string", "S"))
            tensors[name] = tf.constant(values if len(values) else empty, specs[name]["dtype"])
        return {name: value.numpy() for name, value in self._model.signatures[signature](**tensors).items()}

    @cached_property
    def pyfunc(self) -> Any:
        """The model as it is registered, and as MLflow loads it, around the same SavedModel: that is loaded once."""
        what = {"python_model": str(registry._CODE), "artifacts": {"saved_model": str(self.folder)}}
        described = {"signature": registry._signature(self.folder), "pip_requirements": ["tensorflow"]}
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
            warnings.simplefilter("ignore", UserWarning)  # it asks for an input example
            mlflow.pyfunc.save_model(f"{folder}/model", **what, **described)
            patch.setattr(tf.saved_model, "load", lambda _: self._model)
            return mlflow.pyfunc.load_model(f"{folder}/model")

    def classes(self) -> int:
        """Returns how many labels the model outputs; 3 where it outputs none."""
        outputs = self.call("serving_default", self.rows("serving_default", 1))
        return int(outputs["labels"].shape[1]) if "labels" in outputs else 3


def check_shapes(subject: Subject, count: int) -> None:
    """Every input and every output has one row for each row of the call, answered as among others."""
    for signature in subject.signatures:
        interface = subject.record["signatures"][signature]
        assert all(spec["shape"][:1] == [None] for spec in interface["inputs"].values()), signature
        outputs = subject.call(signature, subject.rows(signature, count))
        assert outputs.keys() == interface["outputs"].keys()
        assert {name: value.shape[0] for name, value in outputs.items()} == dict.fromkeys(outputs, count), signature
        assert not any(outputs["error"]), signature
        few = len(next(iter(subject.golden[signature][0]["inputs"].values())))
        if count > few:
            once, places = subject.call(signature, subject.rows(signature, few)), np.arange(count) % few
            for name, value in once.items():
                _same(value[places], outputs[name], f"{signature}.{name}")


def check_companions(subject: Subject) -> None:
    """A row is answered as it is alone, wherever it stands."""
    for signature in subject.signatures:
        rows = subject.rows(signature, len(next(iter(subject.golden[signature][0]["inputs"].values()))))
        turned = {name: values[::-1] for name, values in rows.items()}
        together, other = subject.call(signature, rows), subject.call(signature, turned)
        for row in range(len(together["error"])):
            alone = subject.call(signature, {name: [values[row]] for name, values in rows.items()})
            for name, value in alone.items():
                _same(value[0], together[name][row], f"{signature}.{name}")
                _same(value[0], other[name][::-1][row], f"{signature}.{name}")


def check_bad_rows(subject: Subject) -> None:
    """A row that cannot be answered says why, and the others are answered as without it."""
    for signature in subject.signatures:
        for name in subject.texts(signature):
            longer = "a" * (subject.most_bytes + 1)
            message = rf"`{name}` has {len(longer)} bytes\. Allowed: \d+ in a call of 3 rows\. Split it into parts\."
            _check_bad(subject, signature, name, longer, message)
        for name in subject.numbers(signature):
            message = rf"`{name}` must (not hold infinite|be finite) numbers"
            for number in (math.inf, -math.inf):
                _check_bad(subject, signature, name, _changed(subject.rows(signature, 2)[name][1], number), message)
    if "tokens" in subject.record["signatures"].get("tag_tokens", {}).get("inputs", {}):
        _check_tokens(subject)
    if subject.record["application"] == "conditional_generation" and "condition" in subject.texts("generate"):
        for signature in subject.signatures:
            _check_bad(subject, signature, "condition", "no such label", "`condition` must be a label")
    if "times" in subject.record["signatures"]["serving_default"]["inputs"]:
        times = ["tomorrow"] * len(subject.rows("serving_default", 1)["times"][0])
        _check_bad(subject, "serving_default", "times", times, "`times` must be ISO 8601")


def check_longest(subject: Subject) -> None:
    """A row whose texts are as long as any may be is answered, in the time that a call may take."""
    full = [name for name in subject.signatures if "full" not in subject.record["signatures"][name]]
    for signature in full:
        for name in {"text", "prompt", "source"} & {*subject.texts(signature)}:
            others = {"target"} & {*subject.texts(signature)}
            longest = ("_-_ " * subject.most_bytes)[: subject.most_bytes]  # a token for each byte, or nearly so
            rows = {**subject.rows(signature, 1), **{each: [longest] for each in (name, *others)}}
            began = time.process_time()
            assert subject.call(signature, rows)["error"].tolist() == [b""]
            assert time.process_time() - began < MOST_SECONDS, signature


def check_bounds(subject: Subject) -> None:
    """A setting that is out of its bounds is refused in words, for the one row that has it, before anything is made."""
    for signature in subject.signatures:
        for name, setting in subject.settings(signature).items():
            whole = isinstance(setting["default"], int)
            ends = [-(2**63), 2**63 - 1, 10**9 * 10] if whole else [float("nan"), float("inf"), -float("inf")]
            for value in [setting["least"] - 1, setting["most"] + 1, *ends]:
                rows = subject.rows(signature, 3)
                rows[name] = [rows[name][0], value, rows[name][2]]
                with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{name}` must be at least .* and at most"):
                    subject.call(signature, rows)
            for value in (setting["least"], setting["default"]):
                assert len(subject.call(signature, subject.rows(signature, 2, {name: value}))["error"]) == 2
            with pytest.raises(tf.errors.InvalidArgumentError, match="must have a value for each row"):
                subject.call(signature, {**subject.rows(signature, 3), name: [setting["default"]] * 2})


def check_defaults(subject: Subject) -> None:
    """A plain signature answers what its full one answers with the defaults of `model.json`."""
    for signature in subject.signatures:
        full = subject.record["signatures"][signature].get("full")
        if full:
            rows = subject.rows(signature, 3)
            usual = {name: [setting["default"]] * 3 for name, setting in subject.settings(full).items()}
            found, expected = subject.call(signature, rows), subject.call(full, {**rows, **usual})
            for name, value in expected.items():
                _same(value, found[name], f"{signature}.{name}")


def check_pyfunc(subject: Subject, count: int) -> None:
    """MLflow's pyfunc gives a dictionary for each row, whatever its input is made of; none for no row. A value that is
    missing, or a text that is too long, fails its row alone."""
    for signature in subject.signatures:
        settings = subject.settings(subject.record["signatures"][signature].get("full", signature))
        rows = {name: values for name, values in subject.rows(signature, count).items() if name not in settings}
        frame = pd.DataFrame({name: list(values) for name, values in rows.items()})
        asked = {"signature": signature}
        found = subject.pyfunc.predict(frame, params=asked)
        outputs = set(subject.record["signatures"][signature]["outputs"])
        assert len(found) == count
        assert all(set(row) == outputs for row in found)
        kinds: list[Any] = [rows, frame.to_dict("records")] if count < MANY else []
        kinds += [next(iter(rows.values()))] if kinds and len(rows) == 1 else []
        assert [subject.pyfunc.predict(kind, params=asked) == found for kind in kinds] == [True] * len(kinds)
        for nothing in (frame[:0], pd.DataFrame(), [], {name: [] for name in rows}):
            assert subject.pyfunc.predict(nothing, params=asked) == []
        if 3 <= count < MANY:
            _check_bad_cells(subject, signature, {name: values[:3] for name, values in rows.items()})


def _check_bad_cells(subject: Subject, signature: str, rows: Values) -> None:
    """Rows draw with seeds of their own: row i with `seed` + i."""
    seeded = "seed" in subject.settings(subject.record["signatures"][signature].get("full", signature))
    asked = {"signature": signature}
    beside = {name: [values[0], values[2]] for name, values in rows.items()} | ({"seed": [1, 3]} if seeded else {})
    good = subject.pyfunc.predict(beside, params=asked)
    for name in rows:
        longer = ["a" * (subject.most_bytes + 1)] if name in subject.texts(signature) else []
        for bad in (None, 7, object, *longer):
            values = {**rows, name: [rows[name][0], bad, rows[name][2]]}
            kinds: list[Any] = [values] if isinstance(bad, str) else [values, pd.DataFrame(values)]
            for kind in kinds:
                found = subject.pyfunc.predict(kind, params=asked)
                assert re.search(rf"`{name}` (must hold|has \d+ bytes)", found[1]["error"]), (signature, found[1])
                assert found[1].keys() == good[0].keys()
                assert not any(np.any(value) for key, value in _flat(found[1]).items() if key != "error")
                for row, expected in zip((0, 2), good, strict=True):
                    for key, value in expected.items():
                        _same(value, found[row][key], f"{signature}.{key}")


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the outputs of a row as arrays in which nothing is false."""
    return {name: np.asarray(value, object).ravel().astype(bool) for name, value in row.items()}


def hostile_calls(subject: Subject) -> st.SearchStrategy[tuple[str, Values]]:
    """Calls of all signatures with texts and settings as nobody sends them, most of which can be answered."""
    return st.sampled_from(subject.signatures).flatmap(
        lambda signature: st.integers(0, 5).flatmap(lambda rows: _hostile_inputs(subject, signature, rows))
    )


def check_call(subject: Subject, signature: str, inputs: Values) -> None:
    """A call is answered row by row, or refused in words; it takes 2 seconds of the processor at most."""
    began = time.process_time()
    try:
        outputs = subject.call(signature, inputs)
    except tf.errors.InvalidArgumentError as error:
        assert re.search(r"assertion failed: \[.* must .*Received:\]", error.message), error.message
    else:
        rows = len(next(iter(inputs.values())))
        assert {name: len(value) for name, value in outputs.items()} == dict.fromkeys(outputs, rows)
    assert time.process_time() - began < MOST_SECONDS, (signature, {name: str(v)[:200] for name, v in inputs.items()})


def _hostile_inputs(subject: Subject, signature: str, rows: int) -> st.SearchStrategy[tuple[str, Values]]:
    specs, settings = subject.record["signatures"][signature]["inputs"], subject.settings(signature)
    golden = subject.golden[signature][0]["inputs"]
    columns = {}
    for name in specs:
        if name in settings:
            cell = _hostile_settings(settings[name])
        elif name in subject.texts(signature):
            cell = st.one_of(st.sampled_from(golden[name]), _texts(subject.most_bytes))
        elif name in subject.numbers(signature):
            cell = st.builds(_changed, st.sampled_from(golden[name]), _NUMBERS, st.integers(0, 99))
        elif name == "tokens":
            columns[name] = _hostile_tokens(golden[name], subject.most_bytes, rows)
            continue
        else:  # times and labels
            cell = st.builds(_changed, st.sampled_from(golden[name]), _LETTERS | _TIMES, st.integers(0, 99))
        columns[name] = st.lists(cell, min_size=rows, max_size=rows)
    return st.fixed_dictionaries(columns).map(lambda inputs: (signature, inputs))


def _changed(cell: Any, value: Any, place: int = 0) -> Any:
    """Returns a cell of any shape with another value at one of its places."""
    array = np.array(cell, object if isinstance(value, str) else float)
    array.flat[place % array.size] = value
    return array.tolist()


def _hostile_tokens(golden: list[list[str]], most: int, rows: int) -> st.SearchStrategy[list[list[str]]]:
    """Rows of pieces, "" at their ends, all as wide as the longest."""
    known = sorted({token for row in golden for token in row})
    row = st.builds(
        lambda tokens, times: (tokens * times)[: 3 * most],
        st.lists(st.sampled_from(known) | _LETTERS | st.binary(max_size=9) | st.just("a"), max_size=4),
        st.sampled_from([1, 1, 1, 3, 50, 1000, most]),
    )
    return st.lists(row, min_size=rows, max_size=rows).map(_filled_up)


def _filled_up(rows: list[list[Any]]) -> list[list[Any]]:
    width = max(map(len, rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows]


_LETTERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
_TIMES = st.sampled_from(["9999-12-31T23:59:59", "0001-01-01", "2021-02-30", "2021-01-31T25:00", "1970-01-01T00:00Z"])
_NUMBERS = st.floats(width=64) | st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 1e39, 5e-324, -0.0])


def _texts(most: int) -> st.SearchStrategy[Any]:
    """Texts as nobody sends them; some are as long as a text may be (`most` bytes), or longer by one."""
    long = st.builds(lambda text, size: (text * size)[:size], st.sampled_from(["a", "a b ", "____ "]), _near(most))
    short = ["", " ", "____ " * 300, "a" * 5000, "\u0301" * 99, "\x00", "\n\t\u2028"]
    repeated = st.builds(lambda text, times: text * times, _LETTERS, st.sampled_from([10, 100, 3000]))
    usual = st.one_of(_LETTERS, _LETTERS, st.binary(max_size=40), repeated, st.sampled_from(short))
    # One text in a hundred is long: a call with it takes as long as fifty others.
    return st.integers(0, 99).flatmap(lambda dice: long if dice == 0 else usual)


def _near(most: int) -> st.SearchStrategy[int]:
    return st.sampled_from([most, most, most + 1, 2 * most])


def _hostile_settings(setting: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values of a setting; one of twenty lies at a bound or beyond it."""
    least, most = setting["least"], setting["most"]
    if isinstance(setting["default"], int):
        usual = st.integers(max(least, -9), min(most, 40))
        beyond = st.sampled_from([least, most, least - 1, most + 1, 10**9, -(2**63), 2**63 - 1])
    else:
        usual = st.floats(least, min(most, 5.0), width=32)
        beyond = st.sampled_from([least, most, -1.0, 1e30, float("nan"), float("inf"), -float("inf"), 1e-45])
    return st.integers(0, 20).flatmap(lambda dice: beyond if dice == 0 else usual)


def _check_tokens(subject: Subject) -> None:
    """Pieces count with a byte for what stood between them: many empty ones are as long as many full ones."""
    most, good = subject.most_bytes, subject.rows("tag_tokens", 3)["tokens"]
    exact = ["a"] * (most // 2)
    assert subject.call("tag_tokens", {"tokens": [exact]})["error"].tolist() == [b""]
    assert subject.call("tag_tokens", {"tokens": [["a"] + [""] * most]})["error"].tolist() == [b""]
    for longer in ([*exact, "a"], [""] * most + ["a"]):
        rows = _filled_up([good[0], longer, good[2]])
        found = subject.call("tag_tokens", {"tokens": rows})
        assert [bool(error) for error in found["error"]] == [False, True, False]
        assert f"`tokens` has {most + 2} bytes." in found["error"][1].decode()


def _check_bad(subject: Subject, signature: str, name: str, value: Any, message: str) -> None:
    rows = subject.rows(signature, 3)
    rows[name] = [rows[name][0], value, rows[name][2]]
    found = subject.call(signature, rows)
    assert [bool(error) for error in found["error"]] == [False, True, False], signature
    assert re.search(message, found["error"][1].decode()), found["error"][1]
    good = subject.call(signature, {key: [values[0], values[2]] for key, values in rows.items()})
    for output, answers in good.items():
        for answer, row in zip(answers, (0, 2), strict=True):
            _same(answer, found[output][row], f"{signature}.{output}")


def _same(expected: Any, received: Any, where: str) -> None:
    """A value, and the same one that is filled up with nothing where another row of its call is longer."""
    expected, received = np.asarray(expected), np.asarray(received)
    inside = tuple(slice(0, size) for size in expected.shape)
    if expected.dtype.kind == "f":
        assert_allclose(received[inside], expected, rtol=2e-4, atol=2e-5, err_msg=where)
    else:
        assert np.array_equal(received[inside], expected), (where, expected, received)
    beyond = received.copy()
    beyond[inside] = np.zeros((), received.dtype) if received.dtype.kind != "O" else b""
    assert not beyond.astype(bool).any(), where
