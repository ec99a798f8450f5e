"""The law of `tests/test_tokenizers.py` over many more texts: decoding gives the normalised text, and Beam and graph
agree; every code point alone and beside others."""

from __future__ import annotations

import pytest
import tensorflow as tf
from hypothesis import given, settings
from test_tokenizers import CHARACTER, KEPT, PROSE, SUBWORD, TEXTS, in_graph, learned, rows_of, through_beam

from seqapps.preprocessing.tokenizers import TokenizerConfig, join, normalize, split

FOLDED = KEPT.model_copy(update={"normalization": "NFKC", "lowercase": True})
_PART = 0x2000
_PARTS = [start for start in range(0, 0x110000, _PART) if not 0xD800 <= start < 0xE000]


@pytest.mark.parametrize("config", [CHARACTER, KEPT, FOLDED, SUBWORD], ids=["character", "word", "folded", "subword"])
def test_decoding_gives_the_normalised_text(config: TokenizerConfig) -> None:
    known = learned(PROSE * 5, config, 600) if config.level == "subword" else None

    @settings(max_examples=400, deadline=None)
    @given(texts=TEXTS)
    def law(texts: list[str]) -> None:
        tokenizer = known or learned(texts, config)
        if known:  # SentencePiece writes a space as this sign
            texts = [text.replace("\u2581", "") for text in texts]
        wanted = normalize(tf.constant([text.encode() for text in texts]), config).numpy().tolist()
        assert tokenizer.decode(tokenizer.encode(tf.constant(texts))).numpy().tolist() == wanted
        assert rows_of(through_beam(texts, tokenizer)) == in_graph(texts, tokenizer)

    law()


@pytest.mark.parametrize("config", [KEPT, FOLDED], ids=["word", "folded"])
@pytest.mark.parametrize("start", _PARTS[:: len(_PARTS) // 8], ids=hex)
def test_every_code_point_comes_back(start: int, config: TokenizerConfig) -> None:
    parts = [part for part in _PARTS if start <= part < start + _PART * (len(_PARTS) // 8)]
    for part in parts:
        for form in ("{}", "a{}", "{}a", "a{}b", "a {} b", ".{}.", " {} ", "{0}{0}"):
            codes = [code for code in range(part, part + _PART) if not 0xD800 <= code < 0xE000]
            texts = tf.constant([form.format(chr(code)).encode() for code in codes])
            found, wanted = join(split(texts, config), config), normalize(texts, config)
            assert bool(tf.reduce_all(found == wanted)), (hex(part), form)
