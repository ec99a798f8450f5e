"""Tags and spans: schemes, conversion, validation, and what conlleval counts, in figures worked out by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from seqapps.errors import DataError
from seqapps.metrics.tagging import span_metrics, statistics, token_metrics, type_table
from seqapps.preprocessing.spans import (
    Scheme,
    Span,
    TagSet,
    converted,
    spans_of,
    tag_names,
    tags_of,
    type_names,
    valid,
)

SCHEMES = [scheme for scheme in get_args(Scheme) if scheme != "none"]
SENTENCE = [Span(0, 2, "PER"), Span(3, 4, "LOC"), Span(4, 7, "LOC"), Span(7, 8, "ORG")]
TAGS = {
    "IOB1": "I-PER I-PER O I-LOC B-LOC I-LOC I-LOC I-ORG O",
    "BIO": "B-PER I-PER O B-LOC B-LOC I-LOC I-LOC B-ORG O",
    "BIOES": "B-PER E-PER O S-LOC B-LOC I-LOC E-LOC S-ORG O",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_spans_to_tags_and_back(scheme: Any) -> None:
    tags = TAGS[scheme].split()
    assert tags_of(SENTENCE, 9, scheme) == tags
    assert spans_of(tags, scheme) == spans_of(tags, scheme, strict=True) == SENTENCE
    assert valid(tags, scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("to", SCHEMES)
def test_conversion(scheme: Any, to: Any) -> None:
    assert converted(TAGS[scheme].split(), scheme, to) == TAGS[to].split()


@st.composite
def spans(draw: Any) -> tuple[list[Span], int]:
    found, end = [], 0
    for _ in range(draw(st.integers(0, 4))):
        start = end + draw(st.integers(0, 2))
        end = start + draw(st.integers(1, 3))
        found.append(Span(start, end, draw(st.sampled_from("ab"))))
    return found, end + draw(st.integers(0, 2))


@given(row=spans(), scheme=st.sampled_from(SCHEMES))
def test_every_segmentation_survives_every_scheme(row: tuple[list[Span], int], scheme: Any) -> None:
    found, length = row
    tags = tags_of(found, length, scheme)
    assert len(tags) == length and valid(tags, scheme)
    assert spans_of(tags, scheme) == found


@given(
    tags=st.lists(st.sampled_from(tag_names("ab", "BIOES")), max_size=7),
    scheme=st.sampled_from(SCHEMES),
)
def test_valid_is_what_the_allowed_transitions_say(tags: list[str], scheme: Any) -> None:
    names = tag_names("ab", scheme)
    allowed, border = TagSet(scheme, 2).allowed(), len(names)
    path = [border, *(names.index(tag) if tag in names else -1 for tag in tags), border]
    expected = -1 not in path and all(allowed[pair] for pair in pairwise(path))
    assert valid(tags, scheme) == expected


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("BIO", "O I-a"),
        ("BIO", "B-a I-b"),
        ("BIO", "B-a E-a"),
        ("BIO", "X-a"),
        ("BIO", "B-"),
        ("BIO", "b-a"),
        ("BIO", "B"),
        ("IOB1", "B-a I-a"),
        ("IOB1", "I-b B-a"),
        ("BIOES", "B-a"),
        ("BIOES", "B-a O"),
        ("BIOES", "S-a I-a E-a"),
        ("BIOES", "B-a E-b"),
    ],
)
def test_tags_that_a_scheme_does_not_have(scheme: Any, tags: str) -> None:
    assert not valid(tags.split(), scheme)


@pytest.mark.parametrize(
    ("tags", "lenient", "strict"),
    [
        ("O I-a I-a", [(1, 3)], []),
        ("B-a I-b I-b", [(0, 1), (1, 3)], [(0, 1)]),
        ("I-a B-a I-a", [(0, 1), (1, 3)], [(1, 3)]),
        ("B-a O I-a", [(0, 1), (2, 3)], [(0, 1)]),
    ],
)
def test_tags_in_a_wrong_order_are_read_as_conlleval_reads_them(tags: str, lenient: Any, strict: Any) -> None:
    assert [span[:2] for span in spans_of(tags.split(), "BIO")] == lenient
    assert [span[:2] for span in spans_of(tags.split(), "BIO", strict=True)] == strict


@pytest.mark.parametrize(
    ("tags", "lenient", "strict"),
    [
        ("B-a I-a O", [(0, 2)], []),
        ("E-a E-a", [(0, 1), (1, 2)], []),
        ("S-a E-a S-a", [(0, 1), (1, 2), (2, 3)], [(0, 1), (2, 3)]),
        ("B-a E-a I-a", [(0, 2), (2, 3)], [(0, 2)]),
        ("B-a S-a", [(0, 1), (1, 2)], [(1, 2)]),
    ],
)
def test_wrong_orders_of_bioes(tags: str, lenient: Any, strict: Any) -> None:
    assert [span[:2] for span in spans_of(tags.split(), "BIOES")] == lenient
    assert [span[:2] for span in spans_of(tags.split(), "BIOES", strict=True)] == strict


def test_order_of_tags_is_that_of_their_names() -> None:
    assert tag_names(["b", "a"], "BIOES") == ["B-a", "B-b", "E-a", "E-b", "I-a", "I-b", "O", "S-a", "S-b"]
    assert type_names(tag_names(["b", "a-c"], "BIO"), "BIO") == ["a-c", "b"]
    for scheme in get_args(Scheme):
        names, tags = tag_names(["x", "y", "z"], scheme), TagSet(scheme, 3)
        assert TagSet.of_size(len(names), scheme) == tags and tags.size == len(names)
        if scheme != "none":
            assert names[tags.outside] == "O"
            letters = ["OBEIS"[prefix] for prefix in tags.prefixes[: tags.size]]
            types = ["" if kind < 0 else "-" + "xyz"[kind] for kind in tags.type_of[: tags.size]]
            assert [letter + kind for letter, kind in zip(letters, types, strict=True)] == names
            assert tags.unseen("I-new") > tags.size - 1 and tags.type_of[tags.unseen("I-new")] == 3
    with pytest.raises(DataError, match="4 tags"):
        TagSet.of_size(4, "BIO")


# ---- golden files: gold and received tags, and what conlleval gives for them

GOLDEN = {
    # gold: PER 0-2, LOC 3-4 | ORG 0-1; received: PER 0-2, LOC 2-4 | ORG 0-1, PER 1-2
    "IOB1": (
        ["I-PER I-PER O I-LOC", "I-ORG O"],
        ["I-PER I-PER I-LOC I-LOC", "I-ORG I-PER"],
        {"precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7, "strict_f1": 4 / 7, "accuracy": 4 / 6},
    ),
    # gold: PER 0-2, LOC 3-4, LOC 4-6; received: PER 0-2 (right), LOC 3-6 by one I after O (ill-formed)
    "BIO": (
        ["B-PER I-PER O B-LOC B-LOC I-LOC"],
        ["B-PER I-PER O I-LOC I-LOC I-LOC"],
        {"precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5, "strict_f1": 2 / 4, "accuracy": 4 / 6},
    ),
    # gold: PER 0-2, LOC 2-3 | ORG 0-3; received: PER 0-2 right, ill-formed (no E); LOC right | ORG 0-2, S-ORG 2-3
    "BIOES": (
        ["B-PER E-PER S-LOC", "B-ORG I-ORG E-ORG"],
        ["B-PER I-PER S-LOC", "B-ORG E-ORG S-ORG"],
        {"precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7, "strict_f1": 2 / 6, "accuracy": 3 / 6},
    ),
}


def counted(scheme: Any, gold: list[str], received: list[str]) -> tuple[Any, list[str]]:
    names = tag_names(["LOC", "ORG", "PER"], scheme)
    ids = [np.array([names.index(tag) for row in rows for tag in row.split()]) for rows in (received, gold)]
    splits = np.cumsum([0, *(len(row.split()) for row in gold)])
    unknown = np.arange(splits[-1]) % 2 == 0
    return statistics(ids[0], ids[1], unknown, splits, TagSet(scheme, 3)), names


@pytest.mark.parametrize("scheme", SCHEMES)
def test_figures_are_those_of_conlleval(scheme: Any) -> None:
    gold, received, expected = GOLDEN[scheme]
    totals = counted(scheme, gold, received)[0].sum(axis=0)
    found = span_metrics(totals) | token_metrics(totals)
    for name, value in expected.items():
        assert_allclose(found[name], value, err_msg=name)


def test_table_of_types() -> None:
    statistics, names = counted("IOB1", *GOLDEN["IOB1"][:2])
    assert type_table(statistics.sum(axis=0), type_names(names, "IOB1")) == (
        ("LOC", 1.0, 1.0, 0.0, 0.0, 0.0),
        ("ORG", 1.0, 1.0, 1.0, 1.0, 1.0),
        ("PER", 1.0, 2.0, 0.5, 1.0, 2 / 3),
    )


def test_counts_of_sentences_add_up() -> None:
    statistics, _ = counted("IOB1", *GOLDEN["IOB1"][:2])
    assert_array_equal(statistics[:, :6], [[4, 3, 2, 1, 1, 0], [2, 1, 1, 1, 1, 0]])
    found = token_metrics(statistics)
    assert_allclose(found["accuracy"], [3 / 4, 1 / 2])
    assert_allclose(found["unknown_accuracy"], [1 / 2, 1.0])


def test_a_type_that_training_does_not_have_is_expected_and_never_received() -> None:
    tags = TagSet("BIO", 1)  # B-a I-a O
    gold = np.array([0, 1, tags.unseen("B-b"), tags.unseen("I-b")])
    totals = statistics(np.array([0, 1, 2, 2]), gold, np.zeros(4, bool), np.array([0, 4]), tags).sum(axis=0)
    found = span_metrics(totals)
    assert (found["precision"], found["recall"]) == (1.0, 0.5)
    assert [row[:3] for row in type_table(totals, ["a"])] == [("a", 1.0, 1.0), ("(not in training)", 1.0, 0.0)]


def test_without_a_scheme_every_token_counts_by_its_tag() -> None:
    totals = statistics(
        np.array([0, 1, 1]), np.array([0, 0, 1]), np.zeros(3, bool), np.array([0, 2, 3]), TagSet("none", 2)
    ).sum(axis=0)
    assert type_table(totals, ["NOUN", "VERB"]) == (
        ("NOUN", 2.0, 1.0, 1.0, 0.5, 2 / 3),
        ("VERB", 1.0, 2.0, 0.5, 1.0, 2 / 3),
    )
    assert np.isnan(token_metrics(totals)["unknown_accuracy"])


def test_nothing_to_find_and_nothing_found_is_zero() -> None:
    totals = statistics(np.array([2]), np.array([2]), np.zeros(1, bool), np.array([0, 1]), TagSet("BIO", 1)).sum(axis=0)
    assert {name: float(value) for name, value in span_metrics(totals).items()} == {
        "f1": 0.0,
        "precision": 0.0,
        "recall": 0.0,
        "strict_f1": 0.0,
    }
