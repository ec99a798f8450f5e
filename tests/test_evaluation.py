"""Laws of evaluation: perplexity by hand, all systems on the same tokens, a bootstrap that is never sure of nothing."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from rich.console import Console

from seqapps import baselines, formats
from seqapps.applications import application_of, config_from
from seqapps.baselines import kneser_ney
from seqapps.dataset.manifest import (
    Manifest,
    Shard,
    Split,
    Table,
    VocabularyFile,
    read_manifest,
    sha256_of,
    write_manifest,
)
from seqapps.dataset.ragged import Ragged
from seqapps.errors import DataError, RunError, UsageError
from seqapps.evaluation import bootstrap
from seqapps.evaluation.evaluate import (
    PICTURE,
    ChampionScore,
    Evaluation,
    Score,
    as_metrics,
    evaluate,
    paired_bootstrap,
    read_evaluation,
    read_statistics,
)
from seqapps.evaluation.examples import read_details
from seqapps.evaluation.plot import picture
from seqapps.evaluation.tables import tables
from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig
from seqapps.preprocessing.vocabulary import SPECIALS, Vocabulary
from seqapps.registry.promotion import gate
from seqapps.training.trained_model import Trained

BEGIN, END = 2, 3
SIZE = 9  # four special tokens and five letters


def tables_of(batching: str = "stream", **sections: Any) -> dict[str, Any]:
    return {
        "application": "language_model",
        "source": {"builtin": "python-docs"},
        "data": {"tokens": {"level": "character"}, "ngram_order": 3},
        "model": {"cell": "gru", "units": [8], "embedding": 6},
        "training": {"batching": batching, "batch_size": 4},
        "baselines": {"fixed_window_context": 2, "fixed_window_units": 8, "fixed_window_max_steps": 10},
        "evaluation": {"streams": 2, "window": 16},
        "promotion": {"segment": 10},
        **sections,
    }


def rows_of(rows: int, seed: int) -> list[list[int]]:
    """Letters that rise by one, now and then by two: a bigram knows them well."""
    random = np.random.default_rng(seed)
    steps = [np.cumsum(random.integers(1, 3, size=random.integers(1, 25))) for _ in range(rows)]
    return [[*(step % 5 + 4).tolist(), END] for step in steps]


def write_split(folder: Path, name: str, rows: list[list[int]]) -> Split:
    path = folder / name / "shard-00000.tfrecord"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            feature = tf.train.Feature(int64_list=tf.train.Int64List(value=row))
            writer.write(tf.train.Example(features=tf.train.Features(feature={"ids": feature})).SerializeToString())
    tokens = sum(map(len, rows))
    shard = Shard(
        file=f"{name}/{path.name}", rows=len(rows), tokens=tokens, bytes=path.stat().st_size, sha256=sha256_of(path)
    )
    return Split(rows=len(rows), tokens=tokens, shards=(shard,))


def prepare(folder: Path, letters: str = "abcde", splits: tuple[str, ...] = ("train", "validation", "test")) -> Path:
    """Writes a prepared folder, as the job does."""
    folder.mkdir(parents=True)
    Tokenizer(TokenizerConfig(level="character"), Vocabulary((*SPECIALS, *letters))).save(folder / "vocabularies/text")
    rows = {name: rows_of(150 if name == "train" else 30, seed) for seed, name in enumerate(splits)}
    grams = [[*gram] for row in rows["train"] for gram in zip([2, 2, *row], [2, *row], row, strict=False)]
    tokens, counts = np.unique(grams, axis=0, return_counts=True)
    (folder / "ngrams").mkdir()
    np.save(folder / "ngrams/part-00000.npy", np.column_stack([tokens, counts]).astype(np.int32))
    vocabulary = VocabularyFile(
        folder="vocabularies/text",
        size=SIZE,
        sha256=sha256_of(folder / "vocabularies/text/tokens.json"),
        coverage=1.0,
    )
    manifest = Manifest(
        application="language_model",
        schema_=application_of(config_from(tables_of(), "test")).schema(),
        splits={name: write_split(folder, name, rows[name]) for name in splits},
        rejected={},
        lengths={},
        vocabularies={"text": vocabulary},
        tables={"ngrams": (Table(file="ngrams/part-00000.npy", rows=len(tokens), sha256=""),)},
        sources=(),
        fingerprint="1" * 64,
        code_version="0",
        settings={},
    )
    write_manifest(folder, manifest)
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("prepared") / "data")


def trained_on(folder: Path, scale: float = 1.0, **options: Any) -> Trained:
    application = application_of(config_from(tables_of(**options), "test"))
    manifest = read_manifest(folder)
    model = application.build(manifest)
    model.set_weights([scale * weight for weight in model.get_weights()])
    return Trained(application, manifest, model, {"text": Tokenizer.load(folder / "vocabularies/text")})


def silent() -> Console:
    return Console(file=io.StringIO(), width=200)


def printed(evaluation: Evaluation) -> str:
    console = Console(file=io.StringIO(), width=200)
    for table in tables(evaluation):
        console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


# ---- metrics


def test_perplexity_by_hand() -> None:
    """Three tokens with p = 1/2, 1/4, 1/8: 6 bits, 2 bits a token, perplexity 4; cut after two tokens."""
    application = application_of(config_from(tables_of(promotion={"segment": 2}), "test"))
    nats = -np.log(np.array([0.5, 0.25, 0.125], np.float32))
    statistics = application.statistics(nats, {"ids": Ragged(np.array([4, 5, 3]), np.array([0, 3]))})
    assert_allclose(statistics, [[3 * math.log(2), 2], [3 * math.log(2), 1]], rtol=1e-6)
    metrics = application.metrics(statistics.sum(axis=0))
    assert_allclose([metrics["perplexity"], metrics["bits"], metrics["nats"]], [4.0, 2.0, 1.3862944], rtol=1e-6)


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(prepared: Path, tmp_path: Path) -> None:
    evaluation = evaluate(trained_on(prepared, scale=0.0), prepared, tmp_path, console=silent())
    assert evaluation.metrics["perplexity"] == pytest.approx(9.0, rel=1e-6)
    assert evaluation.metrics["bits"] == pytest.approx(math.log2(9), rel=1e-6)
    assert evaluation.baselines["uniform"].metrics["perplexity"] == pytest.approx(7.0, rel=1e-6)


# ---- evaluate


@pytest.mark.parametrize("batching", ["stream", "length"])
def test_every_system_is_scored_on_the_same_tokens(prepared: Path, tmp_path: Path, batching: str) -> None:
    trained = trained_on(prepared, batching=batching)
    evaluation = evaluate(trained, prepared, tmp_path, champion=trained, champion_version="4", console=silent())
    assert evaluation == read_evaluation(tmp_path)
    assert (evaluation.split, evaluation.note, evaluation.token) == ("test", "", "character")
    assert evaluation.tokens == sum(map(len, rows_of(30, seed=2)))
    assert list(evaluation.baselines) == ["uniform", "unigram", "kneser_ney", "fixed_window"]
    statistics = read_statistics(tmp_path)
    names = {"model", "champion", *(f"baseline.{name}" for name in evaluation.baselines)}
    assert set(statistics) == names
    assert {array.shape for array in statistics.values()} == {(evaluation.sequences, 2)}
    assert {float(array[:, 1].sum()) for array in statistics.values()} == {evaluation.tokens}
    assert (statistics["champion"] == statistics["model"]).all()
    assert evaluation.champion == ChampionScore(version="4", metrics=evaluation.metrics)
    order = ["kneser_ney", "unigram", "uniform"]
    perplexities = [evaluation.baselines[name].metrics["perplexity"] for name in order]
    assert perplexities == sorted(perplexities)
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_baselines_are_fitted_once(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evaluate(trained_on(prepared), prepared, tmp_path, console=silent())
    with monkeypatch.context() as patch:
        patch.setattr(baselines, "load", lambda name: pytest.fail(f"{name} is fitted again"))
        second = evaluate(trained_on(prepared), prepared, tmp_path, console=silent())
    assert second.baselines == first.baselines
    # What decides a baseline is its data, its configuration and its code.
    changed = {**tables_of()["baselines"], "fixed_window_units": 9}
    third = evaluate(trained_on(prepared, baselines=changed), prepared, tmp_path, console=silent())
    assert "9 tanh units" in third.baselines["fixed_window"].description


def test_a_baseline_that_is_not_for_such_data_is_left_out_and_reported(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(context: baselines.BaselineContext) -> baselines.Baseline:
        raise baselines.Infeasible("it is for up to 20 steps. Received: 21")

    load = baselines.load
    monkeypatch.setattr(baselines, "load", lambda name: fit if name == "unigram" else load(name))
    console, names = Console(file=io.StringIO(), width=200), ["uniform", "unigram"]
    trained = trained_on(prepared, baselines={"names": names})
    evaluation = evaluate(trained, prepared, tmp_path, console=console)
    message = "unigram is left out: it is for up to 20 steps. Received: 21"
    assert message in console.file.getvalue()  # type: ignore[attr-defined]
    assert message in " ".join(printed(evaluation).split())
    assert (list(evaluation.baselines), evaluation.left_out["unigram"]) == (["uniform"], message.partition(": ")[2])
    checks = gate(trained.application.config, evaluation, read_statistics(tmp_path), "")
    assert [check.against for check in checks] == ["uniform"]


def test_how_it_is_measured_decides_a_baselines_sums(prepared: Path, tmp_path: Path) -> None:
    for streams in (1, 2, 1):
        options = {"baselines": {"names": ["uniform"]}, "evaluation": {"streams": streams}}
        evaluate(trained_on(prepared, **options), prepared, tmp_path, console=silent())
    assert len(list((tmp_path / "baselines").glob("uniform-*.npz"))) == 2


def test_what_is_measured_is_todays_and_what_was_trained_stays(prepared: Path, tmp_path: Path) -> None:
    trained = trained_on(prepared, baselines={"names": ["uniform"]})
    sections = {"baselines": {"names": ["unigram"]}, "promotion": {"segment": 5}, "seed": 9}
    today = config_from(tables_of(**sections), "test")
    before = evaluate(trained, prepared, tmp_path, console=silent())
    options: dict[str, Any] = {"champion": trained, "champion_version": "4", "console": silent()}
    after = evaluate(trained, prepared, tmp_path, config=today, **options)
    assert (list(before.baselines), list(after.baselines)) == (["uniform"], ["unigram"])
    assert after.sequences > before.sequences
    assert after.champion == ChampionScore(version="4", metrics=after.metrics)
    assert trained.application.config.baselines.names == ("uniform",)


def test_a_cache_file_that_was_cut_short_is_made_again(prepared: Path, tmp_path: Path) -> None:
    first = evaluate(trained_on(prepared), prepared, tmp_path, console=silent())
    for path in (tmp_path / "baselines").glob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    second = evaluate(trained_on(prepared), prepared, tmp_path, console=silent())
    assert second.baselines["kneser_ney"].metrics == first.baselines["kneser_ney"].metrics


def test_without_a_test_split_it_scores_validation_and_says_so(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "data", splits=("train", "validation"))
    chosen = {"names": ["uniform"]}
    evaluation = evaluate(trained_on(folder, baselines=chosen), folder, tmp_path / "out", console=silent())
    assert evaluation.split == "validation"
    assert evaluation.note.startswith("there is no test split")
    assert list(as_metrics(evaluation))[:1] == ["validation.perplexity"]
    assert "there is no test split" in printed(evaluation)


def test_a_champion_of_other_tokens_is_not_compared(prepared: Path, tmp_path: Path) -> None:
    champion = trained_on(prepare(tmp_path / "data", letters="vwxyz"))
    evaluation = evaluate(
        trained_on(prepared), prepared, tmp_path / "out", champion=champion, champion_version="2", console=silent()
    )
    reason = "its vocabulary `text` is another one, so that its tokens are not those of the data"
    assert evaluation.champion == ChampionScore(version="2", metrics={}, not_comparable=reason)
    assert "champion" not in read_statistics(tmp_path / "out")
    assert "not comparable" in printed(evaluation)
    with pytest.raises(DataError, match="cannot evaluate this model: its vocabulary `text` is another one"):
        evaluate(champion, prepared, tmp_path / "out", console=silent())


def test_a_diverged_model_is_an_error_and_leaves_no_record(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"evaluate: model outputs [\d,]+ of [\d,]+ scores that are not finite"):
        evaluate(trained_on(prepared, scale=float("nan")), prepared, tmp_path, console=silent())
    with pytest.raises(DataError, match=r"holds no evaluation\.json\. Run `seqapps evaluate`"):
        read_evaluation(tmp_path)
    with pytest.raises(DataError, match=r"holds no statistics\.npz\. Run `seqapps evaluate`"):
        read_statistics(tmp_path)


def test_a_record_of_another_kind_is_refused(tmp_path: Path) -> None:
    formats.write(tmp_path / "evaluation.json", "evaluation", {"split": "test"})
    with pytest.raises(DataError, match=r"evaluation\.json is damaged: the field `application` is missing\. Rem"):
        read_evaluation(tmp_path)
    (tmp_path / "evaluation.json").write_bytes(b"\xf5\xb1e")
    with pytest.raises(DataError, match=r"evaluation\.json is damaged and cannot be .* run `seqapps evaluate` again"):
        read_evaluation(tmp_path)


def test_kneser_ney_in_the_record_equals_the_table_token_by_token(prepared: Path, tmp_path: Path) -> None:
    """The record's figure is what the fitted object gives on the test rows, one example after the other."""
    evaluation = evaluate(trained_on(prepared), prepared, tmp_path, console=silent())
    model = kneser_ney.from_table(np.load(prepared / "ngrams/part-00000.npy"), SIZE)
    rows = rows_of(30, seed=2)
    nats = [-math.log(model.next_distribution(row[:at])[token]) for row in rows for at, token in enumerate(row)]
    assert evaluation.baselines["kneser_ney"].metrics["nats"] == pytest.approx(sum(nats) / len(nats), rel=1e-6)


# ---- table, metrics, picture


def scored(*perplexities: float) -> list[dict[str, float]]:
    return [{"perplexity": p, "nats": math.log(p), "bits": math.log2(p)} for p in perplexities]


def golden() -> Evaluation:
    uniform, kneser, champion, model = scored(10_000.0, 148.0, 118.5, 115.25)
    return Evaluation(
        application="language_model",
        split="test",
        note="",
        token="word",
        tokens=73_760,
        sequences=300,
        objective="perplexity",
        direction="min",
        metrics=model,
        baselines={
            "kneser_ney": Score(description="interpolated 5-grams", metrics=kneser, seconds=2.0),
            "uniform": Score(description="every token", metrics=uniform, seconds=0.1),
        },
        champion=ChampionScore(version="3", metrics=champion),
        seconds=12.0,
    )


def test_the_table_goes_from_the_worst_baseline_to_the_model_and_marks_the_best() -> None:
    lines = printed(golden()).splitlines()
    assert "test: 73,760 words" in lines[0]
    assert "bits per word" in lines[2]
    body = [line.replace("│", " ").split() for line in lines if "│" in line and "per word" not in line]
    assert body == [
        ["uniform", "10,000.0", "9.210", "13.288"],
        ["kneser_ney", "148.0", "4.997", "7.209"],
        ["champion", "(version", "3)", "118.5", "4.775", "6.889"],
        ["model", "*", "115.2", "4.747", "6.849"],
    ]


def test_a_baseline_that_a_cap_of_steps_ended_has_a_dagger_and_figures_that_differ_are_shown_so() -> None:
    close, closer = scored(115.2504, 115.2512)
    baselines = {
        "fixed_window": Score(description="", metrics=close, seconds=1.0, converged=False),
        "kneser_ney": Score(description="", metrics=closer, seconds=1.0),
    }
    capped = golden().model_copy(update={"baselines": baselines, "rows": 944, "champion": None})
    lines = printed(capped).splitlines()
    body = [line.replace("│", " ").split() for line in lines if "115." in line]
    assert [row[:-2] for row in body] == [
        ["kneser_ney", "115.2512"],
        ["fixed_window", "\u2020", "115.2504"],
        ["model", "*", "115.2500"],
    ]
    assert "944 rows, 73,760 words" in lines[0]
    assert any("\u2020 its fitting was ended by a cap of steps" in line for line in lines)
    assert "\u2020" not in printed(golden())


def test_what_a_system_does_not_give_is_a_dash() -> None:
    evaluation = golden()
    uniform = Score(description="every token", metrics={"perplexity": 10_000.0}, seconds=0.1)
    lines = printed(evaluation.model_copy(update={"baselines": {"uniform": uniform}})).splitlines()
    assert [line.replace("│", " ").split() for line in lines if "uniform" in line] == [
        ["uniform", "10,000.0", "-", "-"]
    ]


def test_many_metrics_stand_in_tables_of_a_hundred_columns_the_objective_first() -> None:
    evaluation = golden()
    many = {f"recall_of_kind_{number}": number / 20 for number in range(9)}
    wide = evaluation.model_copy(update={"metrics": {**many, **evaluation.metrics}})
    parts = tables(wide)
    console = Console(file=io.StringIO(), width=100)
    for part in parts:
        console.print(part)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    heads = [line for line in text.splitlines() if "system" in line]
    assert len(heads) == len(parts) == 3
    assert heads[0].split("┃")[2].strip() == "perplexity"
    assert "…" not in text
    assert all(f"recall of kind {number}" in text for number in range(9))
    assert text.count("champion (version 3)") == 3


def test_a_metric_that_is_not_a_number_is_left_out_and_the_objective_must_be_one(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = trained_on(prepared)
    kind = type(trained.application)
    with monkeypatch.context() as patch:
        found = {"perplexity": 1.0, "loss": float("nan")}
        patch.setattr(kind, "metrics", lambda self, totals: {name: totals[..., 0] * by for name, by in found.items()})
        evaluation = evaluate(trained, prepared, tmp_path, console=silent())
    assert list(evaluation.metrics) == ["perplexity"]
    assert read_evaluation(tmp_path) == evaluation
    with monkeypatch.context() as patch:
        patch.setattr(kind, "metrics", lambda self, totals: {"perplexity": totals[..., 0] * np.nan})
        with pytest.raises(RunError, match=r"evaluate: perplexity of model must be finite.*Received: nan"):
            evaluate(trained, prepared, tmp_path, console=silent())


def test_the_worst_texts_are_shown_with_their_least_expected_tokens(prepared: Path, tmp_path: Path) -> None:
    evaluate(trained_on(prepared), prepared, tmp_path, console=silent())
    details = read_details(tmp_path, {})
    values = [item.value for item in details.worst]
    assert len(values) == len(details.random) == 20
    assert values == sorted(values, reverse=True)  # type: ignore[type-var]
    first = details.worst[0].columns
    assert list(first) == ["text", "least expected (nats)"]
    assert set(first["text"]) <= set("abcde")


def test_metrics_have_flat_names() -> None:
    metrics = as_metrics(golden())
    assert len(metrics) == 12
    assert metrics["test.perplexity"] == 115.25
    assert metrics["test.baseline.kneser_ney.perplexity"] == 148.0
    assert metrics["test.champion.bits"] == math.log2(118.5)


def test_the_picture_is_a_png_with_and_without_a_champion(tmp_path: Path) -> None:
    picture(golden(), tmp_path / "new" / "a.png")
    picture(golden().model_copy(update={"champion": None, "baselines": {}}), tmp_path / "b.png")
    assert [(tmp_path / name).read_bytes()[:4] for name in ("new/a.png", "b.png")] == [b"\x89PNG"] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png", "new"]


# ---- paired bootstrap


def perplexity(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.exp(totals[..., 0] / totals[..., 1])
    return result


def systems(gap: float, sequences: int = 200) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two systems on sequences of 50 tokens; b costs `gap` nats a token more on average, with noise of both."""
    random = np.random.default_rng(1)
    hard = random.normal(4.5, 0.4, sequences)
    a, b = hard + random.normal(0, 0.1, sequences), hard + gap + random.normal(0, 0.1, sequences)
    tokens = np.full(sequences, 50.0)
    return np.stack([a * tokens, tokens], axis=1), np.stack([b * tokens, tokens], axis=1)


def test_a_clearly_better_system_is_better_and_the_other_is_not() -> None:
    a, b = systems(gap=0.05)
    forward = paired_bootstrap(a, b, perplexity, direction="min", resamples=2_000, seed=1)
    assert forward.difference == pytest.approx(float(perplexity(a.sum(0)) - perplexity(b.sum(0))))
    assert forward.low < forward.difference < forward.high < 0
    assert forward.probability_better > 0.99
    back = paired_bootstrap(b, a, perplexity, direction="min", resamples=2_000, seed=1)
    assert back.probability_better == pytest.approx(1.0 - forward.probability_better)
    assert back.difference == pytest.approx(-forward.difference)
    upward = paired_bootstrap(a, b, lambda totals: -perplexity(totals), direction="max", resamples=2_000, seed=1)
    assert upward.probability_better == forward.probability_better


def test_identical_systems_are_never_better() -> None:
    a, _ = systems(gap=0.0)
    same = paired_bootstrap(a, a.copy(), perplexity, direction="min", resamples=1_000, seed=1)
    assert same.model_dump() == {"difference": 0.0, "low": 0.0, "high": 0.0, "probability_better": 0.0}


def test_equally_good_systems_are_called_better_as_seldom_as_the_confidence_says() -> None:
    calls = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        nats = random.normal(4.0, 0.5, (2, 80)) * 50
        a, b = (np.stack([row, np.full(80, 50.0)], axis=1) for row in nats)
        result = paired_bootstrap(a, b, perplexity, direction="min", resamples=200, seed=seed)
        calls += result.probability_better >= 0.95
    assert 2 <= calls <= 20  # 10 are expected at 0.95


def test_sequences_are_drawn_as_pairs() -> None:
    """Sequences differ far more than systems do: pairs see the small difference, unpaired ones cannot."""
    a, _ = systems(gap=0.0)
    b = a + np.array([0.005 * 50, 0.0])
    assert paired_bootstrap(a, b, perplexity, direction="min", resamples=500, seed=1).probability_better == 1.0
    shuffled = np.random.default_rng(2).permutation(b)
    unpaired = paired_bootstrap(a, shuffled, perplexity, direction="min", resamples=500, seed=1)
    assert 0.05 < unpaired.probability_better < 0.95


def test_the_seed_decides_and_the_block_size_does_not_bend_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = systems(gap=0.005)
    options: dict[str, Any] = {"direction": "min", "resamples": 1_000}
    first = paired_bootstrap(a, b, perplexity, seed=1, **options)
    assert paired_bootstrap(a, b, perplexity, seed=1, **options) == first
    assert paired_bootstrap(a, b, perplexity, seed=2, **options) != first
    monkeypatch.setattr(bootstrap, "_CELLS", 200 * 7)
    # Sums of other blocks are rounded otherwise on some processors, in the last digit.
    other = paired_bootstrap(a, b, perplexity, seed=1, **options).model_dump()
    assert other == pytest.approx(first.model_dump(), rel=1e-9)


def test_the_interval_is_that_of_numpys_multinomial_draws() -> None:
    a, b = systems(gap=0.01)
    result = paired_bootstrap(a, b, perplexity, direction="min", resamples=5_000, seed=1)
    weights = np.random.default_rng(9).multinomial(200, [1 / 200] * 200, size=5_000)
    differences = perplexity(weights @ a) - perplexity(weights @ b)
    assert_allclose([result.low, result.high], np.quantile(differences, [0.025, 0.975]), atol=0.15)
    assert result.probability_better == pytest.approx((differences < 0).mean(), abs=0.02)


def test_a_metric_of_sums_is_not_a_mean_of_metrics() -> None:
    """A long sequence counts as long as it is: 1 token at 0 nats and 99 at log 2 give perplexity 2^0.99."""
    a = np.array([[0.0, 1.0], [99 * math.log(2), 99.0]])
    b = np.array([[0.0, 1.0], [99 * math.log(4), 99.0]])
    result = paired_bootstrap(a, b, perplexity, direction="min", resamples=100, seed=1)
    assert result.difference == pytest.approx(2**0.99 - 4**0.99)


def test_other_sequences_cannot_be_compared() -> None:
    a, b = systems(gap=0.0)
    with pytest.raises(UsageError, match=r"needs the same sequences.*Received: \(200, 2\) and \(199, 2\)"):
        paired_bootstrap(a, b[:-1], perplexity, direction="min", resamples=100, seed=1)


def test_records_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        golden().split = "train"
