"""Sequence tagging: raw rows to features, the model's laws, the serving graph with its offsets, and the answers."""

from __future__ import annotations

import argparse
import json
import os
import unicodedata
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from rich.console import Console

from pipelines.plan import make_plan
from pipelines.prepare import prepare
from pipelines.readers import RowReader
from pipelines.sources import resolve
from seqapps import baselines
from seqapps.applications import Call, application_of, config_from, load_config
from seqapps.applications.sequence_tagging import SequenceTagging, Tagging, TextSpan
from seqapps.baselines import BaselineContext
from seqapps.baselines.most_frequent_tag import MostFrequentTag
from seqapps.dataset.analysed import TaggedRows
from seqapps.dataset.manifest import Manifest, read_manifest
from seqapps.dataset.ragged import Ragged, RawBlock
from seqapps.errors import ConfigError
from seqapps.preprocessing.spans import TagSet, tag_names, valid
from seqapps.preprocessing.tagged_rows import Annotation, Sentence, analyse, marked
from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig, split
from seqapps.preprocessing.vocabulary import SPECIALS, Vocabulary
from seqapps.preprocessing.word_features import SHAPES, WordEncoder, shapes_of, split_with_offsets
from seqapps.serving import check
from seqapps.training import loop as training
from seqapps.training.trained_model import load_resources
from seqapps.workspace import Workspace

CONTRACTS = Path(__file__).parent / "contracts"
DATA = os.environ.get("SEQAPPS_DATA", "")


# ---- words and their places

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(texts=st.lists(TEXTS, min_size=1, max_size=4), words=st.sampled_from(["unicode", "whitespace"]))
@settings(max_examples=40, deadline=None)
def test_offsets_cut_the_tokens_out_of_the_text(texts: list[str], words: Any) -> None:
    valid_text, tokens, starts, ends = split_with_offsets(tf.constant([text.encode() for text in texts]), words)
    assert [text.decode() for text in valid_text.numpy()] == texts
    for row, text in enumerate(texts):
        found = [token.decode() for token in tokens[row].numpy()]
        assert found == [text[a:b] for a, b in zip(starts[row].numpy(), ends[row].numpy(), strict=True)]
        assert not "".join(found) or not any(token.isspace() and token in " \n\u3000" for token in found)
    assert tokens.to_list() == split(tf.constant([t.encode() for t in texts]), TokenizerConfig(words=words)).to_list()


def test_offsets_count_code_points_of_emoji_and_combining_marks() -> None:
    text = "Cafe\u0301 \U0001f600\u00a0x2!"
    _, tokens, starts, ends = split_with_offsets(tf.constant([text]), "unicode")
    assert [token.decode() for token in tokens[0].numpy()] == ["Cafe\u0301", "\U0001f600", "x2", "!"]
    assert starts[0].numpy().tolist() == [0, 6, 8, 10] and ends[0].numpy().tolist() == [5, 7, 10, 11]


def test_bytes_that_are_not_utf8_are_one_character_each() -> None:
    valid_text, _, starts, ends = split_with_offsets(tf.constant([b"\xff a"]), "whitespace")
    assert valid_text.numpy()[0].decode() == "\ufffd a"
    assert (starts[0].numpy().tolist(), ends[0].numpy().tolist()) == ([0, 2], [1, 3])


def test_shapes() -> None:
    names = [name for name, _ in SHAPES] + ["lower"]
    words = ["1,000", "B2B", "--", "NATO", "É", "Élan", "O'Neil", "iPhone", "word", "東京"]
    found = [names[shape - 1] for shape in shapes_of(tf.constant(words)).numpy()]
    assert found == [
        "number", "with digits", "no letter", "capitals", "capitalised", "capitalised", "mixed", "mixed", "lower",
        "lower",
    ]  # fmt: skip


def encoder(longest: int) -> WordEncoder:
    words = Tokenizer(TokenizerConfig(lowercase=True), Vocabulary((*SPECIALS, "a b", "é")))
    characters = Tokenizer(TokenizerConfig(level="character"), Vocabulary((*SPECIALS, *"abcdefg")))
    return WordEncoder(words, characters, longest)


def test_a_word_is_normalised_alone_and_its_characters_keep_their_case() -> None:
    found = encoder(4)(tf.constant(["A B", "\u00c9", "zz", "<pad>"]))
    assert found["words"].numpy().tolist() == [4, 5, 1, 1]
    assert found["characters"].numpy().tolist()[:2] == [[1, 1, 1, 0], [1, 0, 0, 0]]


def test_of_a_long_word_both_ends_are_read() -> None:
    found = encoder(5)(tf.constant(["abcdefg", "abcde", "ab", ""]))["characters"].numpy().tolist()
    assert found == [[4, 5, 6, 9, 10], [4, 5, 6, 7, 8], [4, 5, 0, 0, 0], [0] * 5]


# ---- raw rows

TOKENS = Annotation(spans=False, lists=True, words="unicode", scheme="BIO", to="BIOES")


def block(**columns: list[str]) -> RawBlock:
    rows = len(next(iter(columns.values())))
    whole = np.ones(rows, bool)
    return RawBlock("x", np.arange(rows), {k: [v.encode() for v in vs] for k, vs in columns.items()}, whole, whole)


@pytest.mark.parametrize(
    ("tokens", "tags", "reason"),
    [
        ('["a","b"]', '["O"]', "unequal-lengths"),
        ('["a"]', '["I-x"]', "bad-tag"),
        ('["a"]', '["Q-x"]', "bad-tag"),
        ('["a"]', '[""]', "bad-tag"),
        ('["a"]', '[" "]', "bad-tag"),
        ('["a"]', '["B- "]', "bad-tag"),
        ('["a",""]', '["O","O"]', "empty-token"),
        (r'["a\ud800"]', '["O"]', "unreadable-list"),
        ('["a"]', r'["B-\ud800"]', "unreadable-list"),
        ("[]", "[]", "no-tokens"),
        ("a b", '["O","O"]', "unreadable-list"),
        ("[1]", '["O"]', "unreadable-list"),
    ],
)
def test_rows_that_are_rejected(tokens: str, tags: str, reason: str) -> None:
    assert TOKENS.sentences(block(tokens=[tokens], tags=[tags])) == [reason]


@pytest.mark.parametrize("tag", ["", " ", "\u00a0"])
def test_a_tag_that_stands_for_its_token_is_not_blank(tag: str) -> None:
    plain = Annotation(spans=False, lists=True, words="unicode", scheme="none", to="none")
    assert plain.sentences(block(tokens=['["a"]'], tags=[json.dumps([tag])])) == ["bad-tag"]


def test_tags_keep_a_nul_at_their_end() -> None:
    rows = [Sentence(b"a b", [b"a", b"b"], ["X", "X\0"]), Sentence(b"a", [b"a"], ["X"])]
    found = analyse(rows, TokenizerConfig(level="word"))
    assert found.counts["tags"][0] == [b"X", b"X\0"]
    assert found.counts["tags"][1].tolist() == [2, 1]
    assert isinstance(found.rows, TaggedRows)
    assert found.rows.tags.strings == [b"X", b"X\0"]
    assert found.rows.tags.index.tolist() == [0, 1, 0]


def test_tokens_and_tags_are_taken_as_they_are_and_converted() -> None:
    raw = block(tokens=['["New York","is"]', '["x"]'], tags=['["B-city","O"]', '["O"]'])
    (first, _) = TOKENS.sentences(raw)
    assert not isinstance(first, str)
    assert (first.tokens, first.tags) == ([b"New York", b"is"], ["S-city", "O"])


def test_plain_text_is_split_at_ascii_white_space_alone() -> None:
    plain = Annotation(spans=False, lists=False, words="unicode", scheme="none", to="none")
    (found,) = plain.sentences(block(tokens=["don't  10\u00a0000 [x"], tags=["A B C"]))
    assert not isinstance(found, str)
    assert [token.decode() for token in found.tokens] == ["don't", "10\u00a0000", "[x"]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([[0, 2, "x"], [4, 8, "y"]], ["B-x", "I-x", "O", "B-y", "I-y"]),
        ([[4, 8, "y"], [0, 1, "x"]], ["B-x", "O", "O", "B-y", "I-y"]),
        ([], ["O"] * 5),
        ([[0, 2, "x"], [1, 3, "y"]], "overlapping-spans"),
        ([[5, 8, "x"]], "span-off-token-border"),
        ([[4, 9, "x"]], "span-off-token-border"),
        ([[2, 2, "x"]], "bad-span"),
        ([[-1, 2, "x"]], "bad-span"),
        ([[0, 2, ""]], "bad-span"),
        ([[0, 2]], "bad-span"),
        ({"start": 0}, "bad-span"),
        ([[0, 2.0, "x"]], "bad-span"),
        ([[0, 2, 1]], "bad-span"),
        ([[0, 2, "\ud800"]], "bad-span"),
    ],
)
def test_spans_in_raw_text(spans: Any, expected: Any) -> None:
    reader = Annotation(spans=True, lists=True, words="unicode", scheme="BIO", to="BIO")
    (found,) = reader.sentences(block(text=["\U0001f600\U0001f600, cd e"], spans=[json.dumps(spans)]))
    assert found == expected if isinstance(found, str) else found.tags == expected


def test_marked_text() -> None:
    assert marked(["a", "b", "c"], ["B-x", "I-x", "O"], "BIO") == "[x a b] c"
    assert marked(["a", "b"], ["DET", "NOUN"], "none") == "a/DET b/NOUN"


# ---- configuration

TABLES: dict[str, Any] = {
    "application": "sequence_tagging",
    "source": {"files": ["x"], "format": "conll"},
    "data": {"scheme": "BIO"},
}


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("data", {"scheme": "none", "train_scheme": "BIO"}, "`data.train_scheme` is about spans"),
        ("data", {"scheme": "none", "annotation": "spans"}, "`data.annotation` is about spans"),
        ("data", {"scheme": "BIO", "annotation": "spans"}, "Received: `source.format` = 'conll'"),
        ("training", {"batching": "stream"}, '`training.batching` must be "length"'),
        ("model", {"train_embedding": False}, "`model.train_embedding` = false keeps random vectors"),
    ],
)
def test_combinations_that_cannot_work(section: str, values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        config_from({**TABLES, section: values}, "test")


# ---- model


def build(head: str, characters: str, shapes: int = 3) -> keras.Model:
    from seqapps.architectures import tagger

    keras.utils.set_random_seed(1)
    config = tagger.Config(
        units=(5,), embedding=4, character_embedding=3, character_units=6, head=head, characters=characters,
        shapes=shapes, word_dropout=0.3, dropout=0.2,
    )  # fmt: skip
    allowed = TagSet("BIO", 2).allowed()
    return tagger.build(config, sizes=(9, 8, 8), allowed=allowed)


X = {
    "words": np.array([[4, 5, 6], [7, 0, 0]]),
    "characters": np.array([[[4, 5], [6, 0], [7, 4]], [[5, 5], [0, 0], [0, 0]]]),
    "shapes": np.array([[1, 2, 3], [1, 0, 0]]),
}


@pytest.mark.parametrize(("head", "characters"), [("softmax", "cnn"), ("crf", "lstm")])
def test_padding_of_words_and_of_sentences_changes_nothing(head: str, characters: str) -> None:
    model = build(head, characters)
    longer = {name: np.pad(value, [(0, 0), (0, 2), (0, 4)][: value.ndim]) for name, value in X.items()}
    plain, more = model(X), model(longer)
    assert_allclose(more["logits"][0, :3], plain["logits"][0], atol=1e-6)
    assert_allclose(more["logits"][1, :1], plain["logits"][1, :1], atol=1e-6)
    assert set(plain) == ({"logits"} if head == "softmax" else {"logits", "transitions", "mask"})


def test_inputs_are_those_that_are_read() -> None:
    assert [tensor.name for tensor in build("softmax", "none", 0).inputs] == ["words"]
    assert {tensor.name for tensor in build("crf", "lstm").inputs} == {"words", "characters", "shapes"}


@pytest.mark.parametrize("characters", ["cnn", "lstm"])
def test_characters_tell_unknown_words_apart(characters: str) -> None:
    model = build("softmax", characters)
    logits = model({**X, "words": np.minimum(X["words"], 1), "shapes": np.minimum(X["shapes"], 1)})["logits"]
    assert not np.allclose(logits[0, 0], logits[0, 2], atol=1e-4)


# ---- prepared data, serving


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> tuple[SequenceTagging, Path, Manifest]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQAPPS_CONTRACTS", str(CONTRACTS))
        overrides = ["model.units=[8]", "model.embedding=6", "data.tokens.lowercase=true"]
        config = load_config(CONTRACTS / "sequence_tagging.toml", overrides)
        folder = prepare(config, Workspace(tmp_path_factory.mktemp("tagging")), console=Console(quiet=True))
        application = application_of(config)
        assert isinstance(application, SequenceTagging)
        return application, folder, read_manifest(folder)


@pytest.fixture(scope="module")
def model(subject: tuple[SequenceTagging, Path, Manifest]) -> keras.Model:
    application, _, manifest = subject
    training.configure(application.config)
    model = application.build(manifest, use_cudnn=False)
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def call(subject: tuple[SequenceTagging, Path, Manifest], model: keras.Model) -> Call:
    """The served model, without the way through a file."""
    application, folder, manifest = subject
    module, signatures = application.signatures(model, load_resources(folder / "vocabularies", manifest))

    def called(signature: str, **inputs: Any) -> dict[str, Any]:
        assert module is not None
        return check.answer(tf, signatures[signature], inputs)

    return Call(called)


def test_prepared_features(subject: tuple[SequenceTagging, Path, Manifest]) -> None:
    application, folder, manifest = subject
    names = manifest.vocabularies["tags"].facts["names"]
    assert names == tag_names(["city", "river"], "BIOES")
    examples = application.examples(folder, manifest, "test")
    assert set(examples["tag_count"].values.tolist()) == {9}
    assert not application.examples(folder, manifest, "train")["unknown"].values.any()
    for row in range(len(examples["words"])):
        assert valid([names[tag] for tag in examples["tags"].row(row)], "BIOES")
        assert len(examples["tokens"].row(row)) == len(examples["words"].row(row)) == len(examples["unknown"].row(row))


def test_the_served_model_tags_as_the_split_is_tagged(
    subject: tuple[SequenceTagging, Path, Manifest], model: keras.Model, call: Call
) -> None:
    application, folder, manifest = subject
    names = manifest.vocabularies["tags"].facts["names"]
    examples = application.examples(folder, manifest, "train")
    predicted = Ragged(application.predict(model, examples), examples["words"].splits)
    found = call("serving_default", text=[text.decode() for text in examples["text"].values])
    for row in range(len(predicted)):
        length = found["length"][row]
        assert found["tokens"][row][:length] == [token.decode() for token in examples["tokens"].row(row)]
        assert found["tags"][row][:length] == [names[tag] for tag in predicted.row(row)]
    assert len(set(predicted.values.tolist())) > 3


def test_the_vectors_of_beam_are_those_of_the_served_model(
    subject: tuple[SequenceTagging, Path, Manifest], model: keras.Model, call: Call
) -> None:
    application, folder, manifest = subject
    texts = ["İSTANBUL liegt am Bosporus", "e\u0301lan ﬁn \U0001f600\u200d!", "Prague lies on the Vltava."]
    resources = load_resources(folder / "vocabularies", manifest)
    features = application.encode(application.vocabularies(block(text=texts, spans=["[]"] * 3)).rows, resources)
    predicted = Ragged(application.predict(model, features), features["words"].splits)
    found = call("serving_default", text=texts)
    names = manifest.vocabularies["tags"].facts["names"]
    for row in range(3):
        assert found["tags"][row][: found["length"][row]] == [names[tag] for tag in predicted.row(row)]


OPTIONS, PLAIN = argparse.Namespace(tokenised=False), argparse.Namespace(tokenised=True)
STRANGE = "  Nîmes, \U0001f600 Cafe\u0301 \uff21\u00a0\u00bd  Ho Chi Minh\nCity. "


def test_offsets_refer_to_the_text_that_was_sent(call: Call) -> None:
    rows = [STRANGE, "", "   ", unicodedata.normalize("NFD", "Nîmes"), "x"]
    answers = SequenceTagging.answer(call, rows, OPTIONS, 0)
    spans = 0
    for text, answer in zip(rows, answers, strict=True):
        assert answer.text == text
        assert [text[a:b] for a, b in answer.offsets] == list(answer.tokens)
        assert len(answer.tags) == len(answer.tokens)
        assert valid(answer.tags, "BIOES")  # the field never gives another order
        assert all(text[span.start : span.end] == span.text for span in answer.spans)
        starts, ends = [a for a, _ in answer.offsets], [b for _, b in answer.offsets]
        assert all(span.start in starts and span.end in ends for span in answer.spans)
        assert len(answer.spans) == sum(tag[0] in "BS" for tag in answer.tags)
        spans += len(answer.spans)
    assert spans
    assert answers[1] == Tagging("", (), (), (), (), 0.0)
    assert answers[0].log_probability < 0.0


def test_given_tokens_are_taken_as_they_are(call: Call) -> None:
    cut, given = SequenceTagging.answer(call, ["Ho Chi Minh City"], OPTIONS, 0), "\tHo  Chi Minh City "
    (same, other) = SequenceTagging.answer(call, [given, "St. Louis"], PLAIN, 0)
    assert (same.tags, same.tokens) == (cut[0].tags, cut[0].tokens)
    assert_allclose(same.log_probability, cut[0].log_probability, rtol=1e-4)
    assert [span.text.split() for span in same.spans] == [span.text.split() for span in cut[0].spans]
    assert all(given[span.start : span.end] == span.text for span in same.spans)
    assert other.tokens == ("St.", "Louis")
    assert SequenceTagging.answer(call, ["", "a"], PLAIN, 0)[0].tokens == ()
    whole = call("tag_tokens", tokens=[["Ho Chi Minh City", "lies"], ["x", ""]])
    assert whole["length"] == [2, 1] and whole["tokens"][1] == ["x", ""]


def test_the_other_examples_change_no_answer(call: Call) -> None:
    together = SequenceTagging.answer(call, ["Prague", STRANGE, "The Seine"], OPTIONS, 0)
    for text, answer in zip(["Prague", STRANGE, "The Seine"], together, strict=True):
        (alone,) = SequenceTagging.answer(call, [text], OPTIONS, 0)
        assert alone.tags == answer.tags
        assert_allclose(alone.log_probability, answer.log_probability, rtol=1e-4)


def test_lines_for_people() -> None:
    spans = (TextSpan(3, 9, "city", "Prague"),)
    answer = Tagging("in Prague\n", ("in", "Prague"), ("O", "B-city"), ((0, 2), (3, 9)), spans, -0.1)
    assert SequenceTagging.line(answer, OPTIONS, one_line=False) == "in [city Prague]\n"
    assert SequenceTagging.line(answer, OPTIONS, one_line=True) == "in [city Prague]\\n"
    speech = Tagging("a cat", ("a", "cat"), ("DET", "NOUN"), ((0, 1), (2, 5)), None, -0.1)
    assert SequenceTagging.line(speech, OPTIONS, one_line=True) == "a/DET cat/NOUN"
    (span,) = json.loads(json.dumps(asdict(answer)))["spans"]
    assert span == {"start": 3, "end": 9, "label": "city", "text": "Prague"}


def test_what_is_measured_and_shown(subject: tuple[SequenceTagging, Path, Manifest], tmp_path: Path) -> None:
    application, folder, manifest = subject
    resources = load_resources(folder / "vocabularies", manifest)
    examples = application.examples(folder, manifest, "test")
    right = examples["tags"].values
    totals = application.statistics(right, examples).sum(axis=0)
    figures = application.metrics(totals)
    assert next(iter(figures)) == application.objective == "f1"
    assert {name: float(value) for name, value in figures.items() if not np.isnan(value)}.items() >= {"f1": 1.0}.items()
    (table,) = application.breakdowns(totals, resources)
    assert [row[0] for row in table.rows] == ["city", "river"] and all(row[-1] == 1.0 for row in table.rows)
    (shown,) = application.shown(right, examples, resources, [0])
    assert shown["expected"] == shown["received"] and "[city " in shown["expected"]
    assert application.pictures(right, examples, resources, tmp_path) == {}


def test_the_padding_of_batches_has_no_weight(subject: tuple[SequenceTagging, Path, Manifest]) -> None:
    application, folder, manifest = subject
    batches = application.batches(folder, manifest, "train")
    positions = 0
    for x, y, weights in batches.dataset(0):
        assert_array_equal(weights > 0, x["words"] > 0)
        assert x["characters"].shape[:2] == y.shape and x["characters"].shape[2] <= 9
        positions += int(tf.reduce_sum(weights))
    assert positions == batches.tokens == manifest.splits["train"].tokens


# ---- formats and the floors that were published for them


def read(config: Any, path: Path, split_name: str) -> list[RawBlock]:
    """The rows of a split, as Beam reads them."""
    application = application_of(config)
    blocks = []
    for element in make_plan(config, resolve(config.source, path)):
        for piece in element.pieces:
            if piece.split == split_name:
                blocks += [part.block for part in RowReader.of(config, application.columns).read(piece)]
    return blocks


class Split:
    """The prepared splits of a configuration, without Beam, and the most frequent tags of its training split."""

    def __init__(self, path: Path, **tables: Any) -> None:
        config = config_from({"application": "sequence_tagging", **tables}, "test")
        self.application = application_of(config)
        analyses = {
            split: [self.application.vocabularies(part) for part in read(config, path, split) if len(part)]
            for split in ("train", "test")
        }
        counts: dict[str, Counter[bytes]] = {}
        for analysis in analyses["train"]:
            for name, (tokens, numbers) in analysis.counts.items():
                pairs = zip(tokens, numbers.tolist(), strict=True)
                counts.setdefault(name, Counter()).update(dict(pairs))
        resources = self.application.learn(counts)
        self.names = resources["tags"].names
        self.splits = {}
        for name, found in analyses.items():
            parts = [self.application.encode(analysis.rows, resources) for analysis in found]
            self.splits[name] = {key: Ragged.concatenate([part[key] for part in parts]) for key in parts[0]}
        seen, test = set(self.splits["train"]["tokens"].values.tolist()), self.splits["test"]
        unknown = np.array([token not in seen for token in test["tokens"].values.tolist()])
        test["unknown"] = Ragged(unknown, test["tokens"].splits)
        self.unknown = float(unknown.mean())
        context: Any = BaselineContext(config, path, None, lambda split: self.splits[split], print)  # type: ignore[arg-type]
        baseline = baselines.load("most_frequent_tag")(context)
        assert isinstance(baseline, MostFrequentTag)
        self.baseline = baseline

    def metric(self, name: str, baseline: MostFrequentTag | None = None) -> float:
        """A metric of the baseline on the test split."""
        test = self.splits["test"]
        totals = self.application.statistics((baseline or self.baseline).predict(test), test).sum(axis=0)
        return float(self.application.metrics(totals)[name])


def test_conll_with_columns_and_the_most_frequent_tag(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("the D\ncat N\n\ncat V\nsat N\n\nran V\n", encoding="utf-8")
    (tmp_path / "test.txt").write_text("the D\ncat V\ncat N\ndog N\n", encoding="utf-8")
    source = {"format": "conll", "train": [f"{tmp_path}/train.txt"], "test": [f"{tmp_path}/test.txt"]}
    found = Split(tmp_path, source=source)
    assert found.names == ("D", "N", "V")
    # `cat` is N and V once each, N first; `dog` is unknown, and N and V are equally frequent: N came first.
    assert found.splits["test"]["tokens"].values.tolist() == [b"the", b"cat", b"cat", b"dog"]
    assert found.baseline.predict(found.splits["test"]).tolist() == [0, 1, 1, 1]
    assert (found.metric("accuracy"), found.metric("unknown_accuracy"), found.unknown) == (0.75, 1.0, 0.25)


def test_an_aligned_row_of_unequal_lengths_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "seq.in").write_text("play a song\nstop it\nnow\n" * 4, encoding="utf-8")
    (tmp_path / "seq.out").write_text("O O B-item\nO\nB-time\n" * 4, encoding="utf-8")
    config = config_from(
        {
            "application": "sequence_tagging",
            "name": "aligned",
            "source": {"format": "aligned", "files": [f"{tmp_path}/seq.in"], "beside": {"tags": "seq.out"}},
            "data": {"scheme": "BIO", "max_reject_fraction": 0.4, "split": {"validation": 0.3, "test": 0.0}},
        },
        "test",
    )
    (raw,) = (part for element in make_plan(config, resolve(config.source, tmp_path)) for part in
              [next(RowReader.of(config, application_of(config).columns).read(element.pieces[0])).block])  # fmt: skip
    refused = application_of(config).reject(raw)
    assert [(refusal.row, refusal.reason) for refusal in refused] == [(row, "unequal-lengths") for row in (1, 4, 7, 10)]


needs_data = pytest.mark.skipif(not DATA, reason="SEQAPPS_DATA is not set")


@needs_data
def test_floor_of_english_parts_of_speech(tmp_path: Path) -> None:
    folder = f"{DATA}/tag-ud-english-ewt/en_ewt-ud-"
    source = {"format": "conllu", "train": [f"{folder}train.conllu.gz"], "test": [f"{folder}test.conllu"]}
    found = Split(tmp_path, source=source)
    assert round(100 * found.metric("accuracy"), 2) == 86.20
    assert round(100 * found.unknown, 2) == 9.13


@needs_data
def test_floor_of_snips_slots(tmp_path: Path) -> None:
    splits = {name: [f"{DATA}/slu-snips/{part}/seq.in"] for name, part in
              (("train", "train"), ("validation", "valid"), ("test", "test"))}  # fmt: skip
    source = {"format": "aligned", "beside": {"tags": "seq.out"}, **splits}
    found = Split(tmp_path, source=source, data={"scheme": "BIO"})
    assert round(100 * found.metric("f1"), 2) == 49.77
    # The published floor gives unknown words the most frequent tag other than O.
    other = replace(found.baseline, otherwise=found.names.index("I-object_name"))
    assert round(100 * found.metric("f1", other), 2) == 47.14
