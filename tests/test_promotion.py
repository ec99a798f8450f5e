"""The gate, the registry and the ledger, with a real store and real SavedModels."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console
from tiny import make_config
from warm import Warm

from seqapps import formats
from seqapps.calls import WRITING
from seqapps.config import PromotionConfig, RunConfig
from seqapps.errors import RunError, UsageError
from seqapps.evaluation.bootstrap import paired_bootstrap
from seqapps.exported import Exported
from seqapps.files import write_json
from seqapps.registry.ledger import Entry, champions
from seqapps.registry.promotion import (
    Decision,
    _carry_out,
    champion,
    decision_table,
    ledger,
    promote,
    resolve,
    rollback,
    trained_folder,
)
from seqapps.registry.tracking import Tracker
from seqapps.registry.versions import aliases, versions
from seqapps.workspace import Workspace

ROOT = Path(__file__).parent.parent
QUIET = Console(file=io.StringIO())
NUMBERS = itertools.count()


class Echo(tf.Module):  # type: ignore[misc]
    """A SavedModel with the signatures of a language model."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])  # type: ignore[untyped-decorator]
    def plain(self, prompt: Any) -> dict[str, Any]:
        return {"text": tf.strings.join([prompt, "12"], " ")}

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec([None], kind) for kind in (tf.string, tf.int64, tf.float32, tf.int64)]
    )
    def generate(self, prompt: Any, max_length: Any, temperature: Any, seed: Any) -> dict[str, Any]:
        return {"text": tf.strings.join([prompt, *map(tf.strings.as_string, (max_length, seed))], " ")}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])  # type: ignore[untyped-decorator]
    def score(self, text: Any) -> dict[str, Any]:
        return {"total": -tf.cast(tf.strings.length(text), tf.float32)}


class House:
    """One store, and models that are promoted into it."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.tracker = Tracker.open(make_config(), self.workspace)
        self.saved_model = root / "saved_model"
        echo = Echo()
        signatures = {"serving_default": echo.plain, "generate": echo.generate, "score": echo.score}
        tf.saved_model.save(echo, str(self.saved_model), signatures=signatures)
        settings = {name: WRITING[name].facts() for name in ("max_length", "temperature", "seed")}
        inputs = {name: {"dtype": "int64", "shape": [None]} for name in settings}
        text = {"dtype": "string", "shape": [None]}
        inputs |= {"prompt": text, "temperature": {"dtype": "float32", "shape": [None]}}
        described = {
            "serving_default": {"inputs": {"prompt": text}, "outputs": {"text": text}, "full": "generate"},
            "generate": {"inputs": inputs, "outputs": {"text": text}, "settings": settings},
            "score": {"inputs": {"text": text}, "outputs": {"total": {"dtype": "float32", "shape": [None]}}},
        }
        record = Exported("language_model", "echo", {}, {}, described, {}, "", "0", tf.__version__, False, {})
        formats.write(self.saved_model / "model.json", "export", asdict(record))

    def config(self, model: str) -> RunConfig:
        return make_config(promotion={"model": model, "resamples": 200}, baselines={"names": ["uniform", "unigram"]})

    def run(self, model: str, perplexity: float, **evidence: Any) -> dict[str, Any]:
        """Returns the arguments of `promote` for a new run that reached a perplexity."""
        folder = self.workspace.run(model, f"{next(NUMBERS):012d}")
        write_json(folder / "model" / "model.json", {})
        write_evidence(folder / "evaluation", perplexity, **evidence)
        return {
            "config": self.config(model),
            "run_id": self.tracker.start("train", kind="train").run_id,
            "run_folder": folder,
            "saved_model": self.saved_model,
            "evaluation_folder": folder / "evaluation",
        }

    def promote(self, run: dict[str, Any], force: str = "") -> Decision:
        return promote(self.tracker, **run, force=force, console=QUIET)

    def win(self, model: str, perplexity: float) -> Decision:
        """Promotes a run that was evaluated against the champion of the moment, which reached 1.0 more."""
        current = champion(self.tracker, model)
        against = (current.version, perplexity + 1.0) if current else None
        return self.promote(self.run(model, perplexity, champion=against))


def write_evidence(  # noqa: PLR0913 - the figures of four systems
    folder: Path,
    perplexity: float,
    *,
    uniform: float = 30.0,
    unigram: float = 20.0,
    champion: tuple[str, float] | None = None,
    not_comparable: str = "",
) -> None:
    """Writes what an evaluation leaves: 40 sequences of 25 tokens, with the same difficulties for every system."""
    noise = np.random.default_rng(0).normal(scale=0.3, size=40)

    def sums(value: float) -> Any:
        return np.stack([25.0 * (np.log(value) + noise - noise.mean()), np.full(40, 25.0)], axis=1)

    systems = {"model": perplexity, "baseline.uniform": uniform, "baseline.unigram": unigram}
    record: dict[str, Any] = {
        "application": "language_model",
        "split": "test",
        "note": "",
        "token": "character",
        "tokens": 1000,
        "sequences": 40,
        "objective": "perplexity",
        "direction": "min",
        "metrics": {"perplexity": perplexity},
        "baselines": {
            name: {"description": name, "metrics": {"perplexity": systems[f"baseline.{name}"]}, "seconds": 1.0}
            for name in ("uniform", "unigram")
        },
        "champion": None,
        "seconds": 1.0,
    }
    if champion:
        systems["champion"] = champion[1]
        metrics = {} if not_comparable else {"perplexity": champion[1]}
        record["champion"] = {"version": champion[0], "metrics": metrics, "not_comparable": not_comparable}
    formats.write(folder / "evaluation.json", "evaluation", record)
    np.savez(folder / "statistics.npz", **{name: sums(value) for name, value in systems.items()})


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("promotion"))


def test_the_first_model_that_beats_all_baselines_is_champion(house: House) -> None:
    decision = house.promote(house.run("first", 10.0))
    assert (decision.action, decision.before, decision.after, decision.passed) == ("promote", "", "1", True)
    assert aliases(house.tracker, "first") == {"challenger": "1", "champion": "1"}
    current = champion(house.tracker, "first")
    assert current is not None
    assert current.trained == current.run_folder / "model"


def test_worse_than_one_baseline_is_refused_and_recorded(house: House) -> None:
    decision = house.promote(house.run("worse", 25.0))
    assert (decision.action, decision.after, decision.moved) == ("refuse", "", False)
    assert [(check.against, check.passed) for check in decision.checks] == [("uniform", True), ("unigram", False)]
    assert decision.reason.startswith("not surely better than unigram: difference +5 [")
    assert decision.reason.endswith("better in 0.0% of 200 resamples of 40 sequences, needed 95.0%")
    assert aliases(house.tracker, "worse") == {"challenger": "1"}
    (entry,) = ledger(house.tracker, "worse")
    assert (entry.action, entry.version, entry.before, entry.after) == ("refuse", "1", "", "")
    assert entry.evidence["checks"][1]["ours"] == 25.0
    tags = house.tracker.client.get_model_version("worse", "1").tags
    assert tags["seqapps.decision"] == "refuse"
    assert json.loads(tags["seqapps.evidence"])["objective"] == "perplexity"


def test_equal_to_a_baseline_is_refused(house: House) -> None:
    assert house.promote(house.run("tie", 20.0)).action == "refuse"


def test_a_baseline_must_be_beaten_surely(house: House) -> None:
    """Better by a point, and in four resamples of five: enough for nothing but a lower confidence."""
    run = house.run("point", 19.9)
    path = run["evaluation_folder"] / "statistics.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    noise = np.random.default_rng(1).normal(scale=0.04, size=40)
    arrays["model"][:, 0] += 25.0 * (noise - noise.mean())
    np.savez(path, **arrays)
    decision = house.promote(run)
    check = decision.checks[1]
    assert (decision.action, check.against, check.passed) == ("refuse", "unigram", False)
    assert check.theirs is not None
    assert check.ours < check.theirs
    assert "needed 95.0%" in check.detail
    run["config"] = house.config("point").model_copy(
        update={"promotion": run["config"].promotion.model_copy(update={"baseline_confidence": 0.6})}
    )
    assert house.promote(run).action == "promote"


def test_equal_figures_are_told_apart_by_the_second_metric() -> None:
    right = np.ones(50)
    low, high = (np.stack([right, right * nats], axis=1) for nats in (0.002, 0.083))
    options: dict[str, Any] = {"direction": "max", "resamples": 200, "seed": 1}

    def accuracy(totals: Any) -> Any:
        return totals[..., 0] / 50

    def log_loss(totals: Any) -> Any:
        return totals[..., 1] / 50

    assert paired_bootstrap(low, high, accuracy, **options).probability_better == 0.0
    assert paired_bootstrap(low, high, accuracy, second=log_loss, **options).probability_better == 1.0
    assert paired_bootstrap(high, low, accuracy, second=log_loss, **options).probability_better == 0.0
    worse = high * np.array([0.9, 1.0])  # a second metric does not outweigh the first
    assert paired_bootstrap(worse, high, accuracy, second=log_loss, **options).probability_better == 0.0


def test_the_champion_must_be_beaten_surely(house: House) -> None:
    house.win("second", 10.0)
    equal = house.promote(house.run("second", 10.0, champion=("1", 10.0)))
    assert equal.action == "refuse"
    assert "better in 0.0% of 200 resamples of 40 sequences, needed 95.0%" in equal.reason
    better = house.promote(house.run("second", 9.0, champion=("1", 10.0)))
    assert (better.action, better.before, better.after) == ("promote", "1", "3")
    assert aliases(house.tracker, "second") == {"challenger": "3", "champion": "3"}
    assert house.tracker.client.get_model_version("second", "3").tags["seqapps.champion_before"] == "1"


def test_a_champion_without_figures_refuses(house: House) -> None:
    house.win("unscored", 10.0)
    unscored = house.promote(house.run("unscored", 5.0))
    assert unscored.action == "refuse"
    assert "the evaluation knows no champion: run `seqapps evaluate` again" in unscored.reason
    stale = house.promote(house.run("unscored", 5.0, champion=("7", 10.0)))
    assert "the evaluation knows version 7" in stale.reason
    other = house.promote(house.run("unscored", 5.0, champion=("1", 10.0), not_comparable="another vocabulary"))
    assert "it cannot be compared: another vocabulary" in other.reason
    assert aliases(house.tracker, "unscored")["champion"] == "1"


def test_a_baseline_that_was_not_scored_refuses(house: House) -> None:
    run = house.run("missing", 5.0)
    run["config"] = make_config(promotion={"model": "missing"})  # asks for all four baselines
    decision = house.promote(run)
    assert decision.action == "refuse"
    assert "not surely better than kneser_ney: it was not scored" in decision.reason


def test_force_moves_the_champion_and_says_so(house: House) -> None:
    run = house.run("forced", 25.0)
    assert house.promote(run).action == "refuse"
    decision = house.promote(run, force="the old one leaks names")
    assert (decision.action, decision.after, decision.passed) == ("force", "1", False)
    said = "forced: the old one leaks names (the gate refused: not surely better than unigram"
    assert decision.reason.startswith(said)
    assert [entry.action for entry in ledger(house.tracker, "forced")] == ["refuse", "force"]
    assert aliases(house.tracker, "forced")["champion"] == "1"


def test_promoting_twice_changes_nothing(house: House) -> None:
    run = house.run("twice", 10.0)
    first = house.promote(run)
    again = house.promote(run)
    assert (again.action, again.version) == ("promote", "1")
    assert again == first
    assert len(versions(house.tracker, "twice")) == 1
    assert len(ledger(house.tracker, "twice")) == 1


def test_a_gate_without_a_condition_refuses(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqapps.applications.language_model import LanguageModel

    run = house.run("nothing", 10.0)
    monkeypatch.setattr(LanguageModel, "baselines", lambda self: ())
    decision = house.promote(run)
    assert (decision.action, decision.after) == ("refuse", "")
    assert decision.reason.startswith("not surely better than any baseline: there is none, and no champion")


def test_rollback_goes_back_along_the_champions(house: House) -> None:
    for perplexity in (10.0, 9.0):
        house.win("back", perplexity)
    house.promote(house.run("back", 15.0, champion=("2", 9.0)))  # version 3 is refused
    house.win("back", 8.0)
    assert aliases(house.tracker, "back")["champion"] == "4"
    first = rollback(house.tracker, "back", reason="complaints", console=QUIET)
    assert (first.action, first.before, first.after) == ("rollback", "4", "2")
    second = rollback(house.tracker, "back", reason="more complaints", console=QUIET)
    assert (second.before, second.after) == ("2", "1")
    assert aliases(house.tracker, "back")["champion"] == "1"
    with pytest.raises(UsageError, match="`back` had no champion before version 1"):
        rollback(house.tracker, "back", reason="still", console=QUIET)
    entries = ledger(house.tracker, "back")
    assert [(item.action, item.before, item.after) for item in entries] == [
        ("promote", "", "1"),
        ("promote", "1", "2"),
        ("refuse", "2", "2"),
        ("promote", "2", "4"),
        ("rollback", "4", "2"),
        ("rollback", "2", "1"),
    ]
    assert entries[4].reason == "complaints"
    assert sorted(entries, key=lambda item: item.when) == entries
    assert all(item.who and item.when.endswith("+00:00") for item in entries)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def killed_at(point: int, patch: pytest.MonkeyPatch) -> None:
    """Has the client end everything just before its `point`-th change to the registry."""
    from mlflow import MlflowClient

    left = itertools.count(point, -1)
    for name in ("set_model_version_tag", "set_registered_model_alias", "delete_model_version_tag"):
        real = getattr(MlflowClient, name)

        def call(*words: Any, real: Callable[..., Any] = real) -> Any:
            if next(left) == 1:
                raise Killed
            return real(*words)

        patch.setattr(MlflowClient, name, call)


def test_a_rollback_that_was_killed_is_finished(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before each change and given again: one version back and one entry; only the next one goes further.

    The champion stands in the ledger before the version that comes back, too.
    """
    name, begin = "killed", "1"
    house.win(name, 10.0)
    house.win(name, 9.0)
    for point in itertools.count(1):
        _carry_out(house.tracker, Decision("force", name, begin, "2", begin, "", (), f"again {point}"), "", {})
        before = len(ledger(house.tracker, name))
        with monkeypatch.context() as patch:
            killed_at(point, patch)
            try:
                rollback(house.tracker, name, reason="complaints", console=QUIET)
                break
            except Killed:
                pass
        again = rollback(house.tracker, name, reason="complaints", console=QUIET)
        assert (again.action, again.before, again.after) == ("rollback", begin, "2"), point
        assert aliases(house.tracker, name)["champion"] == "2"
        entries = ledger(house.tracker, name)[before:]
        assert [(entry.before, entry.after) for entry in entries] == [(begin, "2")], point
        assert "seqapps.rolling_back" not in house.tracker.client.get_model_version(name, "2").tags
    assert point > 6
    assert rollback(house.tracker, name, reason="complaints", to="2", console=QUIET).action == "keep"
    assert rollback(house.tracker, name, reason="complaints", console=QUIET).after == "1"


def test_rollback_to_a_version_that_never_was_champion_is_refused(house: House) -> None:
    house.win("never", 10.0)
    house.promote(house.run("never", 15.0, champion=("1", 10.0)))
    with pytest.raises(UsageError, match=r"`never` had no champion 2, or it was deleted. Nothing was changed."):
        rollback(house.tracker, "never", reason="", to="2", console=QUIET)


def test_rollback_passes_over_deleted_versions(house: House) -> None:
    for perplexity in (10.0, 9.0, 8.0):
        house.win("deleted", perplexity)
    house.tracker.client.delete_model_version("deleted", "2")
    assert rollback(house.tracker, "deleted", reason="", console=QUIET).after == "1"
    # The entry of the deleted version is still in the artifact.
    assert [item.after for item in ledger(house.tracker, "deleted")] == ["1", "2", "3", "1"]


def test_rollback_needs_a_model_and_a_champion(house: House) -> None:
    with pytest.raises(UsageError, match=r"model `nobody` is not registered. Registered: .*"):
        rollback(house.tracker, "nobody", reason="", console=QUIET)
    house.promote(house.run("lonely", 25.0))
    with pytest.raises(UsageError, match="`lonely` has no champion"):
        rollback(house.tracker, "lonely", reason="", console=QUIET)


def test_a_champion_that_moved_meanwhile_stops_the_decision(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqapps.registry import promotion

    house.win("race", 10.0)
    run = house.run("race", 5.0, champion=("1", 10.0))
    other = house.run("race", 25.0)
    gate = promotion.gate

    def slow(*arguments: Any) -> Any:
        monkeypatch.setattr(promotion, "gate", gate)
        house.promote(other, force="meanwhile")
        return gate(*arguments)

    monkeypatch.setattr(promotion, "gate", slow)
    with pytest.raises(RunError, match="the champion of `race` changed from 1 to 3 while this was decided"):
        house.promote(run)
    assert aliases(house.tracker, "race")["champion"] == "3"


_WRITER = """
import sys
from seqapps.registry.ledger import Entry, append
from seqapps.registry.tracking import Tracker
tracker = Tracker(sys.argv[1], None, experiment="tiny")
for number in range(5):
    append(tracker, Entry.now("refuse", "shared", "1", before="", after="", run_id="", reason=sys.argv[2], evidence={}))
"""


def test_two_writers_lose_no_entry(house: House, tmp_path: Path) -> None:
    house.promote(house.run("shared", 25.0))
    (tmp_path / "writer.py").write_text(_WRITER)
    children = [Warm(str(tmp_path / "writer.py"), house.tracker.uri, name, cwd=ROOT) for name in ("a", "b")]
    done = [child.finish() for child in children]
    assert [child.returncode for child in done] == [0, 0], done
    entries = ledger(house.tracker, "shared")
    assert len(entries) == 11
    run_id = house.tracker.client.get_registered_model("shared").tags["seqapps.ledger_run"]
    assert house.tracker.run(run_id).data.tags["seqapps.kind"] == "ledger"
    text = house.tracker.read_text(run_id, "ledger.jsonl")
    assert text is not None
    assert [Entry.from_json(line) for line in text.splitlines()] == entries
    keys = set(json.loads(text.splitlines()[0]))
    assert {"when", "who", "action", "model", "from", "to", "evidence", "reason"} <= keys


@pytest.mark.parametrize("content", ["", '{"when": "20', "\xff\n[1]\n"])
def test_a_ledger_that_was_cut_is_made_again_from_the_tags(house: House, content: str) -> None:
    model = f"cut-{next(NUMBERS)}"
    house.win(model, 4.0)
    house.win(model, 3.0)
    before = ledger(house.tracker, model)
    found = house.workspace.artifacts.rglob("ledger.jsonl")
    files = [path for path in found if f'"model": "{model}"' in path.read_text()]
    whole = files[0].read_text()
    files[0].write_bytes(content.encode("latin-1"))
    assert ledger(house.tracker, model) == before
    assert len(before) == 2 and files[0].read_text() == whole


def test_champions_of_a_ledger() -> None:
    def entry(action: Any, after: str) -> Entry:
        return Entry("", "", action, "m", after, "", after, "", "")

    steps = [("promote", "1"), ("promote", "2"), ("refuse", "2"), ("force", "3"), ("rollback", "2"), ("promote", "5")]
    assert champions([entry(*step) for step in steps]) == ["1", "2", "5"]
    # A promotion that was killed before the alias moved stands twice.
    assert champions([entry("promote", "1"), entry("promote", "1")]) == ["1"]


def test_the_registered_model_answers_as_a_pyfunc(house: House) -> None:
    import mlflow
    import pandas as pd

    house.win("answers", 10.0)
    mlflow.set_tracking_uri(house.tracker.uri)
    model = mlflow.pyfunc.load_model("models:/answers@champion")
    rows = pd.DataFrame({"prompt": ["so", "na ja"]})
    # Rows that are given one seed draw with seeds that follow one another.
    expected = [{"text": "so 7 1"}, {"text": "na ja 7 2"}]
    kinds = [rows, {"prompt": ["so", "na ja"]}, ["so", "na ja"], [{"prompt": "so"}, {"prompt": "na ja"}]]
    assert [model.predict(kind, params={"max_length": 7}) for kind in kinds] == [expected] * 4
    # What is not given is what `seqapps predict` takes.
    assert model.predict("so") == [{"text": "so 100 1"}]
    assert model.predict(["so"], params={"signature": "generate", "seed": 4}) == [{"text": "so 100 4"}]
    own = rows.assign(max_length=[3, 4], seed=[8, -(2**31)])
    assert model.predict(own) == [{"text": "so 3 8"}, {"text": "na ja 4 -2147483648"}]
    assert [row["text"] for row in model.predict(["a"] * 130)] == [f"a 100 {seed}" for seed in range(1, 131)]
    for nothing in (rows[:0], [], {"prompt": []}):
        assert model.predict(nothing) == []
    scores = model.predict(pd.DataFrame({"text": ["abc"]}), params={"signature": "score"})
    assert scores == [{"total": -3.0}]
    with pytest.raises(ValueError, match="needs the column 'text'"):
        model.predict(rows, params={"signature": "score"})
    with pytest.raises(ValueError, match=r"Allowed: \['generate', 'score', 'serving_default'\]"):
        model.predict(rows, params={"signature": "scroe"})
    # What a row lacks fails this row alone; a setting that it lacks is the usual one.
    lacks = pd.DataFrame({"prompt": ["so", None, "ja"], "max_length": [3, None, None]})
    answered, failed, usual = model.predict(lacks)
    assert (answered, usual) == ({"text": "so 3 1"}, {"text": "ja 100 3"})
    assert failed["text"] == "" and re.fullmatch(
        r"column `prompt` must hold text\. Received: '(None|nan)'\.", failed["error"]
    )
    defaults = {param.name: param.default for param in model.metadata.signature.params}
    assert defaults == {"signature": "serving_default", "max_length": 100, "temperature": 0.8, "seed": 1}
    folder = resolve("answers@champion", house.workspace)
    requirements = (folder.parent.parent / "requirements.txt").read_text()
    assert all("==" in line for line in requirements.split())
    assert "seqapps" not in (folder.parent.parent / "mlflow_pyfunc.py").read_text().replace("import seqapps", "")


def test_resolve_finds_alias_version_run_and_folder(house: House) -> None:
    run = house.run("found", 10.0)
    house.promote(run)
    by_alias = resolve("found@champion", house.workspace)
    assert (by_alias / "saved_model.pb").exists()
    assert resolve("found@1", house.workspace) == by_alias
    assert resolve(run["run_id"], house.workspace) == by_alias
    assert resolve(str(house.saved_model), house.workspace) == house.saved_model
    assert resolve("found@challenger", house.workspace, house.tracker.uri) == by_alias


def test_resolve_names_what_there_is(house: House, tmp_path: Path) -> None:
    house.win("shakespeare", 10.0)
    with pytest.raises(UsageError, match=r"Received: 'shakspeare'. Allowed: .*Nearest: shakespeare\."):
        resolve("shakspeare@champion", house.workspace)
    with pytest.raises(UsageError, match=r"Allowed: 1, challenger, champion. Nearest: champion\."):
        resolve("shakespeare@champoin", house.workspace)
    with pytest.raises(UsageError, match=r"model does not exist. Received: 'nothing'"):
        resolve("nothing", house.workspace)
    with pytest.raises(UsageError, match="nothing is registered"):
        resolve("a@champion", Workspace(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_champion_whose_folder_is_gone_comes_from_the_artifacts(house: House) -> None:
    run = house.run("moved", 10.0)
    house.promote(run)
    (run["run_folder"]).rename(run["run_folder"].with_name("elsewhere"))
    current = champion(house.tracker, "moved")
    assert current is not None
    assert current.trained is None
    fetched = trained_folder(house.tracker, current, house.workspace)
    assert (fetched / "model.json").exists()
    assert trained_folder(house.tracker, current, house.workspace) == fetched


def test_a_name_that_the_registry_cannot_hold_is_refused(house: House) -> None:
    run = house.run("plain", 10.0)
    run["config"] = make_config().model_copy(update={"name": "", "promotion": PromotionConfig()})
    with pytest.raises(UsageError, match="the model needs a name"):
        house.promote(run)


def test_the_table_shows_every_condition(house: House) -> None:
    decision = house.promote(house.run("shown", 25.0))
    text = io.StringIO()
    Console(file=text, width=160).print(decision_table(decision))
    for word in ("version 1 was refused", "uniform", "30.000", "25.000", "passed", "failed", "difference +5"):
        assert word in text.getvalue()
