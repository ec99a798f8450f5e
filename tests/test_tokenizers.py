"""One tokenizer: what Beam writes is what the graph computes, for any text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from seqapps.dataset.analysed import strings_from_arrays, strings_to_arrays
from seqapps.dataset.ragged import Ragged
from seqapps.errors import DataError
from seqapps.preprocessing.analysis import analyse_text, encode_text, learn_tokenizer
from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig, join, normalize, split
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD, UNKNOWN

CHARACTER = TokenizerConfig(level="character")
WORD = TokenizerConfig(level="word", normalization="NFKC", lowercase=True)
PLAIN_WORD = TokenizerConfig(level="word", words="whitespace")
KEPT = TokenizerConfig(level="word", spacing="kept")
SUBWORD = TokenizerConfig(level="subword")
# Surrogates are no characters: they have no UTF-8.
TEXTS = st.lists(st.text(st.characters(exclude_categories=("Cs",))), min_size=1, max_size=5)
PROSE = [
    "The first man, the second man.",
    "  two  spaces, and a tab:\tx",
    "a line\nanother\n\n  indented\n",
    "Ünïcödé: 日本",
]


def through_beam(texts: list[str], tokenizer: Tokenizer, ends: bool = False) -> Ragged:
    """Does what the two passes do."""
    _, arrays = analyse_text([text.encode() for text in texts], tokenizer.config)
    return encode_text(arrays, tokenizer, ends=np.full(len(texts), ends))


def learned(texts: list[str], config: TokenizerConfig, size: int = 0) -> Tokenizer:
    (tokens, counts), _ = analyse_text([text.encode() for text in texts], config)
    return learn_tokenizer(dict(zip(tokens, counts.tolist(), strict=True)), config, size, 1)


def in_graph(texts: list[str], tokenizer: Tokenizer) -> list[list[int]]:
    ids: list[list[int]] = tf.function(tokenizer.encode)(tf.constant([text.encode() for text in texts])).to_list()
    return ids


def rows_of(ids: Ragged) -> list[list[int]]:
    return [ids.row(row).tolist() for row in range(len(ids))]


def decoded(ids: Ragged, tokenizer: Tokenizer) -> list[str]:
    ragged = tf.RaggedTensor.from_row_splits(tf.constant(ids.values, tf.int32), ids.splits)
    return [text.decode() for text in tokenizer.decode(ragged).numpy()]


def test_words_and_their_ids() -> None:
    (tokens, counts), arrays = analyse_text([b"The cat, the DOG.", b"", "\u00a0e\u0301t\u00e9\u3000x".encode()], WORD)
    assert dict(zip([token.decode() for token in tokens], counts.tolist(), strict=True)) == {
        "the": 2,
        "cat": 1,
        ",": 1,
        "dog": 1,
        ".": 1,
        "été": 1,
        "x": 1,
    }
    tokenizer = learn_tokenizer({b"the": 2, b"cat": 1}, WORD, 0, 1)
    ids = encode_text(arrays, tokenizer, ends=np.asarray([True, True, False]))
    assert rows_of(ids) == [[4, 5, UNKNOWN, 4, UNKNOWN, UNKNOWN, END], [END], [UNKNOWN, UNKNOWN]]
    assert ids.values.dtype == np.int64


def test_characters_and_their_ids() -> None:
    (tokens, counts), arrays = analyse_text(["abé".encode(), b"ba\n"], CHARACTER)
    assert (tokens, counts.tolist()) == ([b"\n", b"a", b"b", "é".encode()], [1, 2, 2, 1])
    tokenizer = learn_tokenizer(dict(zip(tokens, counts.tolist(), strict=True)), CHARACTER, 6, 1)
    assert rows_of(encode_text(arrays, tokenizer, ends=np.asarray([True, True]))) == [[4, 5, 1, 3], [5, 4, 1, 3]]


def test_ties_go_by_the_bytes_of_the_token() -> None:
    assert learn_tokenizer({b"b": 1, b"a": 1, b"c": 2}, PLAIN_WORD, 6, 1).vocabulary.tokens[4:] == ("c", "a")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("6.2", "6 ￭.￭ 2"),
        ("6 . 2", "6 . 2"),
        ("6:02, or 7", "6 ￭:￭ 02 ￭, or 7"),
        ("the 6-by-2 board", "the 6 ￭-￭ by ￭-￭ 2 board"),
        ('say "six two"', 'say "￭ six two ￭"'),
        ("(a) [b]?!", "(￭ a ￭) [￭ b ￭] ￭? ￭!"),
        ("l’été", "l ￭’￭ été"),
        ("a￭b ￭ c", "a￭b ￭ c"),
        ("", ""),
    ],
)
def test_a_sign_tells_where_no_space_stands(text: str, tokens: str) -> None:
    found = split(tf.constant([text]), KEPT)
    assert [token.decode() for token in found.flat_values.numpy()] == tokens.split()
    assert join(found, KEPT).numpy()[0].decode() == text


def test_white_space_that_is_no_single_space_is_a_token() -> None:
    (row,) = split(tf.constant(["\ta  b\n c\u202f! "]), KEPT).to_list()
    expected = ["\t￭", "a", "￭ ", "￭ ￭", "b", "￭\n", "c", "￭\u202f", "￭!", "￭ "]
    assert [token.decode() for token in row] == expected


@pytest.mark.parametrize(
    "config",
    [
        CHARACTER,
        KEPT,
        KEPT.model_copy(update={"normalization": "NFKC", "lowercase": True}),
        SUBWORD,
        SUBWORD.model_copy(update={"normalization": "NFC"}),
    ],
    ids=["character", "word", "folded word", "subword", "NFC subword"],
)
def test_decoding_gives_the_normalised_text(config: TokenizerConfig) -> None:
    known = "".join(map(chr, range(9, 14))) + " .,'\"-()￭éÉ\u00a0\u202f\u0301ﬁ日Ωa1_<unk>"

    @settings(max_examples=15, deadline=None)
    @given(texts=st.lists(st.text(st.sampled_from(known)), min_size=1, max_size=4) | TEXTS)
    def law(texts: list[str]) -> None:
        tokenizer = learned(texts, config) if config.level != "subword" else bytewise
        if config.level == "subword":  # SentencePiece writes a space as this sign
            texts = [text.replace("\u2581", "") for text in texts]
        wanted = normalize(tf.constant([text.encode() for text in texts]), config).numpy().tolist()
        assert decoded(through_beam(texts, tokenizer, ends=True), tokenizer) == [text.decode() for text in wanted]
        assert tokenizer.decode(tokenizer.encode(tf.constant(texts))).numpy().tolist() == wanted

    bytewise = learned(PROSE * 5, config, 600) if config.level == "subword" else None
    law()


@settings(max_examples=10, deadline=None)
@given(rows=st.lists(st.lists(st.text(st.sampled_from("ab.￭"), min_size=1)), min_size=1))
def test_whitespace_words_come_back_with_one_space_between_them(rows: list[list[str]]) -> None:
    tokenizer = learned([" ".join(row) for row in rows], PLAIN_WORD)
    texts = [" ".join(row) for row in rows]
    assert decoded(through_beam(texts, tokenizer, ends=True), tokenizer) == texts


def test_words_have_the_tokens_that_they_have_without_their_spacing() -> None:
    text = tf.constant(["The cat, the 6.2 (DOG)."])
    plain, kept = split(text, WORD).to_list()[0], split(text, WORD.model_copy(update={"spacing": "kept"})).to_list()[0]
    assert [token.decode().strip("￭") for token in kept] == [token.decode() for token in plain]


@pytest.mark.parametrize(
    "config", [CHARACTER, WORD, PLAIN_WORD, KEPT], ids=["character", "word", "whitespace", "spacing"]
)
def test_beam_and_graph_agree_on_any_text(config: TokenizerConfig) -> None:
    @settings(max_examples=10 if config.keeps_spacing else 60, deadline=None)
    @given(texts=TEXTS, seen=TEXTS)
    def law(texts: list[str], seen: list[str]) -> None:
        tokenizer = learned([*seen, texts[0]], config)
        assert rows_of(through_beam(texts, tokenizer)) == in_graph(texts, tokenizer)

    law()


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS)
def test_characters_decode_to_the_text(texts: list[str]) -> None:
    tokenizer = learned(texts, CHARACTER)
    assert decoded(through_beam(texts, tokenizer, ends=True), tokenizer) == texts


@settings(max_examples=80, deadline=None)
@given(rows=st.lists(st.binary(max_size=5), max_size=6))
def test_packed_byte_strings_come_back(rows: list[bytes]) -> None:
    assert strings_from_arrays("names", strings_to_arrays("names", rows)) == rows


@pytest.mark.parametrize("size", [60, 600], ids=["characters of the text alone", "with bytes"])
def test_subwords_decode_to_the_text(size: int) -> None:
    tokenizer = learned(PROSE * 5, SUBWORD, size)
    ids = through_beam(PROSE, tokenizer, ends=True)
    assert decoded(ids, tokenizer) == PROSE
    assert [row[-1] for row in rows_of(ids)] == [END] * 4


def test_subwords_spell_what_training_did_not_see() -> None:
    tokenizer = learned(PROSE * 5, SUBWORD, 600)
    unseen = ["Ω → 🎉 <s> </s> <unk> \r\n", "", " ", "\n", "   \n   x   "]
    assert decoded(through_beam(unseen, tokenizer), tokenizer) == unseen


def test_subwords_are_written_with_their_spaces_and_special_ones_by_name() -> None:
    tokenizer = learned(PROSE * 5, SUBWORD, 60)
    ids = tokenizer.encode(tf.constant(["a a"]))[0]
    written = [token.decode() for token in tokenizer.written(tf.concat([ids, [PAD, UNKNOWN, BEGIN, END]], 0)).numpy()]
    assert "".join(written[:-4]) == "a a"
    assert written[-4:] == ["<pad>", "<unk>", "<bos>", "<eos>"]


def test_beam_and_graph_agree_on_subwords_also_over_many_lines() -> None:
    tokenizer = learned(PROSE * 5, SUBWORD, 600)
    texts = ["".join(PROSE * 3), *PROSE, "", "\n\n"]
    assert rows_of(through_beam(texts, tokenizer)) == in_graph(texts, tokenizer)


def test_equal_counts_give_equal_subword_models() -> None:
    counts = {b" the": 9, b"The": 4, b" man": 5, b" men": 3}
    again = dict(reversed(counts.items()))
    assert learn_tokenizer(counts, SUBWORD, 40, 1).model == learn_tokenizer(again, SUBWORD, 40, 1).model


def test_a_vocabulary_that_cannot_hold_the_characters_says_how_many_it_needs() -> None:
    with pytest.raises(DataError, match=r"Received: 5\. Needed: at least 1\d"):
        learn_tokenizer({b" abcdefg": 2}, SUBWORD, 5, 1)


@pytest.mark.parametrize("config", [CHARACTER, WORD, SUBWORD], ids=["character", "word", "subword"])
def test_a_saved_tokenizer_gives_the_same_ids(config: TokenizerConfig, tmp_path: Path) -> None:
    tokenizer = learned(PROSE, config, 60)
    tokenizer.save(tmp_path / "text")
    assert rows_of(through_beam(PROSE, Tokenizer.load(tmp_path / "text"))) == rows_of(through_beam(PROSE, tokenizer))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe\x00", b"[1]", b'{"format": "tokenizer 1", "level": "glyph"}']
)
def test_a_damaged_tokenizer_is_reported_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    learned(["abc"], TokenizerConfig(level="character")).save(tmp_path / "t")
    (tmp_path / "t" / "tokenizer.json").write_bytes(content)
    with pytest.raises(DataError, match=r"tokenizer\.json is damaged.* Remedy: run `seqapps prepare` again"):
        Tokenizer.load(tmp_path / "t")
