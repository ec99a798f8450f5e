"""Translation: pairs of any format to features, the model's options, the metrics, and the serving graph's answers."""

from __future__ import annotations

import gzip
import json
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import sacrebleu
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from pipelines.plan import make_plan
from pipelines.readers import RowReader
from pipelines.sources import resolve
from seqapps import applications
from seqapps.applications import Call, config_from, options_of
from seqapps.applications.answers import Score
from seqapps.applications.translation import Translation, TranslationTask
from seqapps.architectures import encoder_decoder
from seqapps.baselines import BaselineContext, copy_source, nearest_translation
from seqapps.batching.rows import shift_right
from seqapps.dataset.manifest import Manifest, VocabularyFile
from seqapps.dataset.ragged import Ragged, RawBlock
from seqapps.errors import ConfigError, UsageError
from seqapps.evaluation.bootstrap import paired_bootstrap
from seqapps.inference import translator as translator_graph
from seqapps.inference.translator import Search, Translator, golden_calls, reference_nats, translate_rows
from seqapps.layers.scheduled_sampling import ScheduledSampling
from seqapps.metrics import translation as translation_metrics
from seqapps.preprocessing.pairs import sentence_key
from seqapps.preprocessing.tokenizers import Tokenizer
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD
from seqapps.serving import check

PAIRS = [
    ("Run!", "Cours\u202f!"),
    ("run !", "Courez\u202f!"),
    ("The cat sees me.", "Le chat me voit."),
    ("I see the cat.", "Je vois le chat."),
    ("Who are you?", "Qui es-tu\u00a0?"),
    ("Who are they?", "Qui sont-ils\u00a0?"),
    ("The old man runs.", "Le vieil homme court."),
    ("The old cat sleeps.", "Le vieux chat dort."),
]
SIDE = {"level": "character", "vocabulary_size": 0}


def block(pairs: list[tuple[str, str]]) -> RawBlock:
    columns = {
        name: [text.encode() for text in texts]
        for name, texts in zip(("source", "target"), zip(*pairs, strict=True), strict=True)
    }
    whole = np.ones(len(pairs), bool)
    return RawBlock("pairs", np.arange(1, len(pairs) + 1), columns, whole, whole)


def application(**sections: Any) -> TranslationTask:
    tables: dict[str, Any] = {
        "name": "tiny",
        "application": "translation",
        "source": {"files": ["pairs.tsv"]},
        "data": {"source": SIDE, "target": SIDE},
        "model": {"cell": "gru", "units": [6], "decoder_units": [8], "embedding": 6},
        "training": {"batch_size": 4},
    }
    for name, values in sections.items():
        tables[name] = {**tables.get(name, {}), **values}
    return TranslationTask(config_from(tables, "test"))


class Prepared(NamedTuple):
    application: TranslationTask
    resources: dict[str, Any]
    examples: dict[str, Ragged]
    manifest: Manifest


def prepared(**sections: Any) -> Prepared:
    """What the job makes of PAIRS, without the job."""
    task = application(**sections)
    analysis = task.vocabularies(block(PAIRS))
    counts: dict[str, dict[bytes, int]] = {}
    for name, (tokens, found) in analysis.counts.items():
        for token, count in zip(tokens, found.tolist(), strict=True):
            counts.setdefault(name, {})
            counts[name][token] = counts[name].get(token, 0) + count
    resources = dict(task.learn(counts))
    vocabularies = {
        name: VocabularyFile(folder=name, size=tokenizer.size, sha256="", coverage=1.0)
        for name, tokenizer in resources.items()
    }
    manifest = Manifest.model_construct(
        vocabularies=vocabularies, schema_=task.schema(), splits={}, lengths={"train": {"8": 1, "32": 7}}
    )
    return Prepared(TranslationTask(task.config, resources), resources, task.encode(analysis.rows, resources), manifest)


# ---- formats, rejects, splits

SPACES = "a\u202fb \u00a0c\u2028d\u0085e\u2009f"
"""Spaces and separators of Unicode, which are no ends of lines."""


def read(tables: dict[str, Any], cache: Path) -> RawBlock:
    config = config_from({"application": "translation", "source": tables}, "test")
    element, *_ = make_plan(config, resolve(config.source, cache))
    (found,) = RowReader.of(config, TranslationTask.columns).read(element.pieces[0])
    return found.block


@pytest.mark.parametrize("form", ["aligned", "tsv", "tsv without header", "jsonl", "csv"])
def test_every_format_gives_the_same_pairs_and_no_space_splits_a_line(tmp_path: Path, form: str) -> None:
    pairs = [("one", SPACES), (SPACES, "two"), ("Run!", "Cours\u202f!")]
    if form == "aligned":
        for side, texts in zip(("en", "fr"), zip(*pairs, strict=True), strict=True):
            (tmp_path / f"train.{side}").write_bytes("".join(f"{text}\n" for text in texts).encode())
        tables: dict[str, Any] = {"files": [str(tmp_path / "train.en")], "beside": {"target": "*.fr"}}
    elif form == "jsonl":
        rows = "".join(json.dumps({"en": a, "fr": b}, ensure_ascii=False) + "\n" for a, b in pairs)
        (tmp_path / "pairs").write_bytes(rows.encode())
        tables = {"files": [str(tmp_path / "pairs")], "fields": {"source": "en", "target": "fr"}}
    elif form == "tsv without header":
        rows = "".join(f"{a}\t{b}\tby someone\n" for a, b in pairs)
        (tmp_path / "pairs.gz").write_bytes(gzip.compress(rows.encode()))
        tables = {"files": [str(tmp_path / "pairs.gz")], "columns": ["source", "target", "attribution"]}
    else:
        tab = "\t" if form == "tsv" else ","
        rows = "".join(f"{a}{tab}{b}\n" for a, b in [("source", "target"), *pairs])
        (tmp_path / "pairs").write_bytes(rows.encode())
        tables = {"files": [str(tmp_path / "pairs")]}
    found = read({**tables, "format": form.partition(" ")[0]}, tmp_path)
    assert {name: [text.decode() for text in found.columns[name]] for name in ("source", "target")} == {
        "source": [pair[0] for pair in pairs],
        "target": [pair[1] for pair in pairs],
    }


def test_pairs_that_are_refused() -> None:
    pairs = [("a b", "c"), ("a b c", "d"), ("a", "\u00a0\u202f"), ("", "b"), ("a", "one two three")]
    data = {"max_length": 2, "source": {"level": "word"}, "target": {"level": "word"}}
    found = [(refusal.row, refusal.reason) for refusal in application(data=data).reject(block(pairs))]
    assert found == [(1, "too-long"), (2, "empty"), (3, "empty"), (4, "too-long")]
    characters = [("abc", "ab")]
    found = [(refusal.row, refusal.reason) for refusal in application(data={"max_length": 2}).reject(block(characters))]
    assert found == [(0, "too-long")]
    assert application(data={"max_length": 0}).reject(block([("a " * 900, "b")])) == []


def test_translations_of_one_sentence_stay_in_one_split() -> None:
    rows = [(f"Sentence {number}.", f"Satz {number}.") for number in range(300)]
    rows += [(f"sentence\u00a0{number} !", f"Spruch {number}.") for number in range(300)]
    parts = application().divide(block(rows), "")
    keys = {name: {sentence_key(text) for text in part.columns["source"]} for name, part in parts.items()}
    assert all(keys.values()) and sum(map(len, keys.values())) == 300
    assert sum(map(len, parts.values())) == 600


def test_keys_keep_sentences_apart_that_differ_in_a_letter_or_are_signs_alone() -> None:
    assert sentence_key(b"Run!") == sentence_key("\uff32\uff35\uff2e .".encode()) == b"run"
    assert len({sentence_key(text.encode()) for text in ("ran", "run", "?", "!!", "ça", "ca")}) == 6


# ---- features and batches


def test_features_are_closed_and_keep_the_text() -> None:
    found = prepared()
    ids, resources = found.examples["target_ids"], found.resources
    for row, (source, target) in enumerate(PAIRS):
        assert ids.row(row)[-1] == END
        text = resources["target"].decode(tf.ragged.constant([ids.row(row).tolist()], dtype=tf.int32)).numpy()[0]
        assert text.decode() == target
        assert found.examples["source"].values[row].decode() == source


def test_a_batch_is_shifted_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found = prepared()
    monkeypatch.setattr(TranslationTask, "examples", lambda *_: found.examples)
    rows = 0
    for x, y, weights in found.application.batches(Path(), found.manifest, "validation").dataset(0):
        for before, target, weight in zip(x["target"].numpy(), y.numpy(), weights.numpy(), strict=True):
            length = int(weight.sum())
            assert_array_equal(weight, np.arange(len(weight)) < length)
            if not length:  # a row that fills the batch
                continue
            rows += 1
            assert target[length - 1] == END and before[0] == BEGIN
            assert_array_equal(before[1:length], target[: length - 1])
            assert_array_equal(before[length:], PAD)
    assert rows == len(PAIRS)


def test_a_shared_vocabulary_is_counted_over_both_sides() -> None:
    side = {"level": "subword", "vocabulary_size": 70}
    shared = prepared(data={"source": side, "target": side, "shared_vocabulary": True})
    assert list(shared.resources) == ["text"]
    both = shared.application.vocabularies(block([("cat", "cat"), ("Run!", "Cours\u202f!")]))
    features = shared.application.encode(both.rows, shared.resources)
    assert_array_equal(features["source_ids"].row(0), features["target_ids"].row(0))
    assert 1 not in features["source_ids"].values and 1 not in features["target_ids"].values
    apart = prepared(data={"source": side, "target": SIDE})
    assert sorted(apart.resources) == ["source", "target"]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"shared_vocabulary": True, "target": {"level": "word"}}}, "needs equal `data.source`"),
        ({"model": {"tie_embeddings": "all"}}, "needs `data.shared_vocabulary` = true"),
        ({"data": {"source": {"vocabulary_size": 0}}}, "`data.source.vocabulary_size` must be given for subwords"),
        ({"training": {"batching": "stream"}}, "pairs are rows by themselves"),
    ],
)
def test_combinations_that_cannot_work(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        application(**sections)


# ---- what the model's options do


def shapes(tie: str) -> list[tuple[int, ...]]:
    config = encoder_decoder.Config(units=(3,), embedding=5, tie_embeddings=tie)
    model = encoder_decoder.build(config, source_size=11, target_size=11 if tie == "all" else 13, use_cudnn=False)
    return [tuple(weight.shape) for weight in model.trainable_weights]


def test_tied_embeddings_are_one_matrix() -> None:
    apart, output, whole = (shapes(tie) for tie in ("none", "output", "all"))
    assert [apart.count(shape) for shape in ((11, 5), (13, 5), (5, 13), (13,))] == [1, 1, 1, 1]
    assert [output.count(shape) for shape in ((11, 5), (13, 5), (5, 13), (13,))] == [1, 1, 0, 1]
    assert [whole.count(shape) for shape in ((11, 5), (5, 11), (11,))] == [1, 0, 1]


def test_label_smoothing_spreads_the_target_in_training_alone() -> None:
    task = application(model={"label_smoothing": 0.2})
    manifest = prepared().manifest
    model = task.build(manifest)
    objective = task.criterion(manifest, model)
    logits, y = np.random.default_rng(1).normal(size=(2, 3, 7)).astype(np.float32), np.array([[1, 2, 6], [0, 3, 3]])
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    plain = -np.take_along_axis(log_p, y[..., None], axis=-1)[..., 0]
    assert objective.training_loss is not None
    outputs = {"logits": tf.constant(logits)}
    smooth = objective.training_loss(outputs, tf.constant(y, tf.int32))
    assert_allclose(smooth, 0.8 * plain + 0.2 * -log_p.mean(axis=-1), rtol=1e-5)
    assert_allclose(objective.loss(outputs, tf.constant(y, tf.int32)), plain, rtol=1e-5)
    assert application().criterion(manifest, model).training_loss is None


def sampled(share: float, steps: int = 0) -> keras.Model:
    keras.utils.set_random_seed(6)
    config = encoder_decoder.Config(
        cell="gru",
        units=(5,),
        decoder_units=(8,),
        embedding=6,
        scheduled_sampling=share,
        scheduled_sampling_steps=steps,
    )
    model = encoder_decoder.build(config, source_size=11, target_size=12, use_cudnn=False)
    model.set_weights([3.0 * weight for weight in model.get_weights()])
    return model


X = {
    "source": tf.constant([[4, 5, 6, 3], [7, 8, 3, 0]]),
    "target": tf.constant([[BEGIN, 4, 5, 6, 7], [BEGIN, 9, 10, 11, 4]]),
}


def test_scheduled_sampling_of_all_feeds_what_the_model_itself_would_write() -> None:
    model = sampled(1.0)
    inputs = X["target"].numpy()
    for step in range(1, inputs.shape[1]):
        logits = model({**X, "target": tf.constant(inputs)}, training=False)["logits"]
        inputs[:, step] = logits.numpy()[:, step - 1].argmax(axis=-1)
    assert (inputs != X["target"].numpy()).any()
    expected = model({**X, "target": tf.constant(inputs)}, training=False)["logits"]
    assert_allclose(model(X, training=True)["logits"], expected, atol=1e-5)


def test_scheduled_sampling_leaves_validation_alone_and_its_share_grows() -> None:
    model = sampled(0.5, steps=4)
    layer = model.get_layer("inputs")
    assert isinstance(layer, ScheduledSampling)
    plain = model(X, training=False)["logits"]
    shares = []
    for _ in range(6):
        shares.append(float(layer.current_share()))
        model(X, training=True)
    assert_allclose(shares, [0.0, 0.125, 0.25, 0.375, 0.5, 0.5])
    assert_array_equal(model(X, training=False)["logits"], plain)


def test_about_the_share_of_the_inputs_is_replaced() -> None:
    model = sampled(0.3)
    target = tf.concat([tf.fill([200, 1], BEGIN), tf.fill([200, 9], PAD + 1)], axis=1)
    seen = model.get_layer("encoder")(tf.repeat(X["source"][:1], 200, axis=0))
    limited = model.get_layer("inputs")(target, seen, training=True).numpy()
    assert_array_equal(limited[:, 0], BEGIN)
    assert 0.25 < (limited[:, 1:] != PAD + 1).mean() < 0.35


# ---- metrics

WORDS = st.sampled_from(
    ["the", "cat", "sat", "on", "a", "mat", ".", "!", "it's", "1,000", "été", "猫が", "\u202f!", ""]
)
TEXTS = st.lists(WORDS, max_size=9).map(" ".join)


@given(
    rows=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6), tokenizer=st.sampled_from(["13a", "intl", "char"])
)
@settings(max_examples=80, deadline=None)
def test_bleu_and_chrf_are_those_of_sacrebleu(rows: list[tuple[str, str]], tokenizer: str) -> None:
    written, references = map(list, zip(*rows, strict=True))
    counts = translation_metrics.sentence_counts(written, references, tokenizer)
    totals = np.concatenate([counts.sum(axis=0), [0.0, 1.0, 0.0, len(rows)]])
    found = translation_metrics.metrics_of(totals)
    assert found["bleu"] == pytest.approx(
        sacrebleu.corpus_bleu(written, [references], tokenize=tokenizer).score, abs=1e-9
    )
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(written, [references]).score, abs=1e-9)


def test_of_equal_bleu_the_lower_perplexity_is_better() -> None:
    texts, tokens = np.array([b"a b c d e", b"f g h i j"] * 4, object), np.full(8, 6)

    def sums(nats: float) -> Any:
        prediction = translation_metrics.predictions(texts, np.full(8, nats))
        return translation_metrics.statistics_of(prediction, texts, tokens, "13a")

    def better(ours: float, theirs: float) -> float:
        figures, second = translation_metrics.metrics_of, applications.load("translation").second
        return paired_bootstrap(
            sums(ours), sums(theirs), lambda totals: figures(totals)["bleu"], direction="max", resamples=50, seed=1,
            second=lambda totals: figures(totals)[second],
        ).probability_better  # fmt: skip

    assert (better(0.02, 0.83), better(0.83, 0.02), better(0.5, 0.5)) == (1.0, 0.0, 0.0)
    assert better(0.02, np.nan) == 0.0  # a system that gives texts alone cannot be told apart


def test_metrics_of_a_known_corpus() -> None:
    written = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
    references = ["The dog bit the man.", "It was not surprising.", "The man had just bitten him."]
    prediction = translation_metrics.predictions(np.array([t.encode() for t in written], object), np.array([1.0, 2, 3]))
    tokens = np.array([2, 2, 2])
    sums = translation_metrics.statistics_of(
        prediction, np.array([t.encode() for t in references], object), tokens, "13a"
    )
    found = translation_metrics.metrics_of(sums.sum(axis=0))
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(written, [references]).score)
    assert found["perplexity"] == pytest.approx(np.exp(1.0))
    assert found["exact_match"] == pytest.approx(1 / 3)
    many = translation_metrics.metrics_of(np.stack([sums.sum(axis=0), sums[0]]))
    assert many["bleu"].shape == (2,) and many["bleu"][1] == pytest.approx(100.0)


def test_signatures_are_sacrebleus_own() -> None:
    for tokenizer in ("13a", "char"):
        bleu, chrf = sacrebleu.BLEU(tokenize=tokenizer), sacrebleu.CHRF()
        for metric in (bleu, chrf):
            metric.corpus_score(["a b"], [["a c"]])
        assert translation_metrics.signatures(tokenizer) == (str(bleu.get_signature()), str(chrf.get_signature()))


def test_the_breakdown_is_quoted_with_the_signatures() -> None:
    task = application()
    prediction = translation_metrics.without_probabilities(np.array([b"a b c"], object))
    examples = {"target": ragged([b"a b d"]), "target_ids": ragged([1], [2])}
    sums = task.statistics(
        prediction, {"target": ragged([b"a b d"]), "target_ids": examples["target_ids"].take(np.array([0]))}
    )
    (table,) = task.breakdowns(sums.sum(axis=0), {})
    assert "nrefs:1|case:mixed|eff:no|tok:13a" in table.title
    assert table.rows[0][:3] == ("1-grams", 2.0, 3.0) and table.rows[-1][1:] == (3.0, 3.0, 1.0)


def ragged(*rows: list[Any]) -> Ragged:
    values = [value for row in rows for value in row]
    dtype = object if isinstance(values[0], bytes) else np.int64
    return Ragged(np.array(values, dtype), np.cumsum([0, *map(len, rows)]).astype(np.int64))


# ---- baselines


def test_baselines() -> None:
    found = prepared()
    context = BaselineContext(found.application.config, Path(), found.manifest, lambda _: found.examples, print)
    asked = {"source": Ragged(np.array([b"the OLD cat sleeps!", "été".encode()], object), np.arange(3))}
    copied = copy_source.fit(context).predict(asked)
    assert copied["text"].tolist() == asked["source"].values.tolist() and np.isnan(copied["nats"]).all()
    nearest = nearest_translation.fit(context).predict(asked)
    assert [text.decode() for text in nearest["text"]] == ["Le vieux chat dort.", PAIRS[0][1]]


# ---- the serving graph


class Exported(NamedTuple):
    prepared: Prepared
    model: keras.Model
    call: Call


def exported(folder: Path, **settings: Any) -> Exported:
    """A model of random weights as a SavedModel that was loaded again."""
    found = prepared(model=settings)
    keras.utils.set_random_seed(3)
    model = found.application.build(found.manifest, use_cudnn=False)
    random = np.random.default_rng(4)
    model.set_weights([2.0 * w + random.normal(scale=0.2, size=w.shape) for w in model.get_weights()])
    module, signatures = found.application.signatures(model, found.resources)
    tf.saved_model.save(module, str(folder), signatures=signatures)
    loaded = tf.saved_model.load(str(folder))
    return Exported(found, model, Call(lambda name, **inputs: check.answer(tf, loaded.signatures[name], inputs)))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported(tmp_path_factory.mktemp("served") / "model", attention="general")


SOURCES = [source for source, _ in PAIRS[2:]]


def answers(served: Exported, rows: list[str], **options: Any) -> list[Any]:
    return TranslationTask.answer(served.call, rows, options_of(TranslationTask, options), 0)


def test_a_beam_of_one_is_greedy_in_the_saved_model(served: Exported) -> None:
    found = answers(served, SOURCES, beam=1, max_length=15)
    settings = {"max_length": 15, "min_length": 0, "temperature": 0.0, "top_k": 0, "seed": 1, "no_repeat_ngram": 0}
    of_rows = {name: [value] * len(SOURCES) for name, value in settings.items()}
    greedy = served.call("sample", source=SOURCES, **of_rows)
    assert [answer.text for answer in found] == greedy["text"]
    assert_allclose([answer.log_probability for answer in found], greedy["log_probability"], rtol=1e-4)


def test_n_best_lists_of_the_saved_model(served: Exported) -> None:
    found = answers(served, SOURCES, beam=5, n_best=5, max_length=12, length_penalty=1.0)
    for answer in found:
        assert isinstance(answer, Translation)
        scores = [other.score for other in answer.alternatives]
        assert scores == sorted(scores, reverse=True) and 1 <= len(scores) <= 5
        assert answer.text == answer.alternatives[0].text and answer.score == scores[0]
        penalty = (5 + answer.tokens) / 6
        assert answer.score == pytest.approx(answer.log_probability / penalty, rel=1e-4)
    alone = answers(served, SOURCES[:1], beam=5, n_best=5, max_length=12, length_penalty=1.0)[0]
    assert [other.text for other in alone.alternatives] == [other.text for other in found[0].alternatives]
    widest = answers(served, SOURCES, beam=12, max_length=12, length_penalty=0.0)
    single = answers(served, SOURCES, beam=1, max_length=12, length_penalty=0.0)
    assert sum(w.score for w in widest) >= sum(s.score for s in single)


def test_lengths_and_repeats_are_limited_in_the_saved_model(served: Exported) -> None:
    """Tokens are characters here."""
    for answer in answers(served, SOURCES, beam=3, n_best=3, min_length=7, max_length=9):
        assert all(7 <= len(other.text) <= 8 for other in answer.alternatives)
    for order in (1, 2):
        for answer in answers(served, SOURCES, beam=2, n_best=2, max_length=30, no_repeat_ngram=order):
            for other in answer.alternatives:
                grams = [other.text[at : at + order] for at in range(len(other.text) - order + 1)]
                assert len(set(grams)) == len(grams)


def test_without_a_limit_a_translation_may_be_as_long_as_the_data(served: Exported) -> None:
    """32 tokens hold every target, and a quarter more is 40; the last one is `<eos>`."""
    assert served.model.longest == 40
    limited, free = (answers(served, SOURCES, no_repeat_ngram=0, max_length=most) for most in (40, 0))
    assert free == limited
    longest = answers(served, SOURCES, min_length=39)
    assert {answer.tokens for answer in longest} == {40}
    longer = answers(served, SOURCES[:1], min_length=50)
    assert longer[0].tokens == 51
    drawn = answers(served, SOURCES, temperature=1.0, min_length=39)
    assert {answer.tokens for answer in drawn} == {40}
    task = served.prepared.application
    assert task._search(served.model).max_length == 40
    assert application(evaluation={"max_length": 7})._search(served.model).max_length == 7


def test_the_score_of_a_translation_is_what_the_search_said(served: Exported) -> None:
    found = answers(served, SOURCES, beam=3, max_length=20)
    pairs = [f"{answer.source}\t{answer.text}" for answer in found]
    for answer, score in zip(found, answers(served, pairs, score=True), strict=True):
        assert isinstance(score, Score)
        assert (score.text, len(score.tokens)) == (f"{answer.source}\t{answer.text}", answer.tokens)
        assert score.tokens[-1] == "<eos>"
        assert score.total == pytest.approx(answer.log_probability, rel=1e-4, abs=1e-4)
        assert score.total == pytest.approx(sum(score.log_probabilities), rel=1e-4)
        assert score.perplexity == pytest.approx(np.exp(-score.total / len(score.tokens)), rel=1e-3)


def test_many_rows_are_translated_and_scored_as_the_saved_model_does(served: Exported) -> None:
    tokenizers: list[Tokenizer] = [served.prepared.resources[side] for side in ("source", "target")]
    translator = Translator(served.model, tokenizers[0], tokenizers[1])
    examples = served.prepared.examples
    for beam in (1, 3):
        texts = translate_rows(translator, examples["source_ids"], Search(beam, 1, 12, 0, 0.6, 0))
        found = answers(served, [source for source, _ in PAIRS], beam=beam, max_length=12)
        assert [text.decode() for text in texts] == [answer.text for answer in found]
    nats = reference_nats(translator, examples["source_ids"], examples["target_ids"])
    scores = answers(served, ["\t".join(pair) for pair in PAIRS], score=True)
    assert_allclose(nats, [-score.total for score in scores], rtol=1e-4)


def test_scores_are_the_same_by_parts(served: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizers: list[Tokenizer] = [served.prepared.resources[side] for side in ("source", "target")]
    examples = served.prepared.examples
    source, target = examples["source_ids"], examples["target_ids"]
    translator, longest = Translator(served.model, *tokenizers), int(target.lengths.max())
    steps, decoder = list[int](), translator.decoder

    def counted(x: Any, training: bool) -> Any:
        tf.py_function(lambda length: steps.append(int(length)), [tf.shape(x["target"])[1]], [])
        return decoder(x, training=training)

    whole = reference_nats(translator, source, target)
    dense = translator_graph._dense
    weights = translator.attention(dense(source), dense(target)).numpy()
    monkeypatch.setattr(translator_graph, "_attention_units", lambda _: 1)
    monkeypatch.setattr(translator_graph, "_CELLS", 3 * len(target) * tokenizers[1].size)
    translator.decoder = counted
    assert_allclose(reference_nats(translator, source, target), whole, rtol=1e-5)
    assert steps == [*[3] * (longest // 3), *[longest % 3][: longest % 3]]
    assert_allclose(translator.attention(dense(source), dense(target)).numpy(), weights, atol=1e-6)
    before = tf.where(dense(target) != PAD, shift_right(dense(target), BEGIN), PAD)
    logits = served.model({"source": dense(source), "target": before}, training=False)["logits"]
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(dense(target), logits)
    assert_allclose(tf.reduce_sum(tf.where(dense(target) != PAD, nats, 0.0), axis=1), whole, rtol=1e-4)


def test_a_sample_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = prepared()
    monkeypatch.setattr(TranslationTask, "examples", lambda *_: found.examples)
    model, traced = found.application.build(found.manifest), list[int]()
    write = Translator.write

    def counted(self: Translator, *arguments: Any) -> Any:
        traced.append(1)
        return write(self, *arguments)

    monkeypatch.setattr(Translator, "write", counted)
    sample = found.application.sampler(model, found.resources, Path(), found.manifest)
    assert sample is not None
    first = sample(1)
    model.set_weights([3.0 + weight for weight in model.get_weights()])
    assert sample(2) != first  # the weights of today
    assert traced == [1]


def test_draws(served: Exported) -> None:
    first, again, other = (answers(served, SOURCES, temperature=1.5, max_length=15, seed=s) for s in (1, 1, 2))
    assert first == again != other
    only = answers(served, SOURCES, temperature=1.5, top_k=1, max_length=15)
    assert [a.text for a in only] == [a.text for a in answers(served, SOURCES, beam=1, max_length=15)]
    assert all(len(answer.alternatives) == 1 for answer in first)


def test_attention_is_drawn_for_every_row(served: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answers(served, SOURCES[:2], attention=str(tmp_path / "look.png"), max_length=9)
    assert [Path(answer.picture).name for answer in found] == ["look.png", "look-2.png"]
    assert capsys.readouterr().err.splitlines() == [
        f'predict: {answer.picture} shows where the model looked in "{answer.source}"' for answer in found
    ]
    assert all(Path(answer.picture).read_bytes().startswith(b"\x89PNG") for answer in found)
    looked = served.call("attend", source=SOURCES[:2], target=["Le", "Je vois"])
    for row, (length, width) in enumerate(zip(looked["length"], looked["source_length"], strict=True)):
        weights = np.array(looked["attention"][row])
        assert_allclose(weights[:length].sum(axis=1), 1.0, rtol=1e-5)
        assert not weights[length:].any() and not weights[:, width:].any()
        assert looked["source_tokens"][row][:width] == [*SOURCES[row], "<eos>"]


def test_what_a_model_without_attention_lacks(tmp_path: Path) -> None:
    found, model, call = exported(tmp_path / "model", attention="none")
    assert len(call("score", source=["ab"], target=["b"])["total"]) == 1
    with pytest.raises(KeyError, match="attend"):
        call("attend", source=["ab"], target=["b"])
    assert not Translator(model, found.resources["source"], found.resources["target"]).attends
    calls = golden_calls(["a"], ["b"], attends=False)
    assert sorted(calls) == ["sample", "score", "serving_default", "translate"]
    with pytest.raises(UsageError, match=r'`--attention` is for .* `model\.attention` other than "none", .* Remedy'):
        options_of(TranslationTask, {"attention": "x.png"}, signatures=calls)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "--beam"),
        ({"beam": 2, "n_best": 3}, "`--n-best`"),
        ({"min_length": 5, "max_length": 5}, "`--min-length`"),
        ({"n_best": 9}, r"predict: `--n-best` must be at most `--beam`, which is 4\. Received: 9\."),
        ({"length_penalty": -1.0}, "--length-penalty"),
        ({"score": True, "attention": "x.png"}, "`--score` and `--attention` exclude each other"),
        ({"temperature": 1.0, "n_best": 2}, "`--temperature` and `--n-best` exclude each other"),
        ({"seed": 1 << 31}, "--seed"),
        ({"temperature": 1.0, "beam": 2}, "`--temperature` and `--beam` exclude each other"),
        ({"temperature": 1.0, "length_penalty": 1.0}, "`--temperature` and `--length-penalty` exclude each other"),
        ({"score": True, "temperature": 1.0}, "`--score` and `--temperature` exclude each other"),
        ({"score": True, "beam": 2}, "`--score` and `--beam` exclude each other"),
        ({"score": True, "max_length": 9}, "`--score` and `--max-length` exclude each other"),
        ({"top_k": 3}, "`--top-k` is for `--temperature` above 0"),
        ({"seed": 3}, "`--seed` is for `--temperature` above 0"),
    ],
)
def test_options_that_cannot_be_answered(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        options_of(TranslationTask, options)


def test_a_pair_without_tab_is_refused() -> None:
    with pytest.raises(UsageError, match=r'takes source TAB target. Received: "no tab"'):
        TranslationTask.answer(Call(lambda *_, **__: {}), ["no tab"], options_of(TranslationTask, {"score": True}), 0)


def test_lines(served: Exported) -> None:
    (answer,) = answers(served, SOURCES[:1], beam=2, n_best=2, max_length=9)
    one, two = Namespace(n_best=1), Namespace(n_best=2)
    assert TranslationTask.line(answer, one, False) == answer.text
    assert TranslationTask.line(answer, two, False).splitlines()[0] == answer.source
    assert len(TranslationTask.line(answer, two, True).split("\t")) == 4
