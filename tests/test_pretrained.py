"""Pretrained vectors: files as they come, words by hand, and a trained model that needs no file."""

from __future__ import annotations

import gzip
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from seqapps.errors import ConfigError, DataError
from seqapps.preprocessing import resources
from seqapps.preprocessing.pretrained import PretrainedConfig, Vectors, read_vectors, vectors_of

GLOVE = "the 0.5 1 -2\ncat 1 2 3\n. . . 7 7 7\nParis 4 5 6\ncat 9 9 9\né 0 0.25 0\n"
TOKENS = ("<pad>", "<unk>", "<bos>", "<eos>", "cat", "paris", "dog", "é", ".")


def written(path: Path, text: str) -> Path:
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["vectors.txt", "vectors.txt.gz"])
@pytest.mark.parametrize("header", ["", "6 3\n"])
def test_glove_and_word2vec(tmp_path: Path, name: str, header: str) -> None:
    path = written(tmp_path / name, header + GLOVE)
    found = read_vectors(path, [b"cat", b"dog", "é".encode(), b"the", b"."], any_case=False)
    assert found.present.tolist() == [True, False, True, True, False]
    assert_allclose(found.matrix, [[1, 2, 3], [0, 0, 0], [0, 0.25, 0], [0.5, 1, -2], [0, 0, 0]])


def test_trailing_spaces_and_carriage_returns(tmp_path: Path) -> None:
    path = written(tmp_path / "v.txt", "2 2 \r\na 1 2 \r\nb 3 4 \r\n")
    assert_allclose(read_vectors(path, [b"b", b"a"], any_case=True).matrix, [[3, 4], [1, 2]])


def test_a_word_takes_the_vector_of_another_case_only_when_its_own_is_missing(tmp_path: Path) -> None:
    path = written(tmp_path / "v.txt", "Us 1 1\nUS 2 2\nus 3 3\nÉTÉ 4 4\n")
    words = [b"us", b"uS", "été".encode()]
    assert_allclose(read_vectors(path, words, any_case=True).matrix, [[3, 3], [1, 1], [4, 4]])
    assert read_vectors(path, words, any_case=False).present.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2\ncat 1\n", r"line 2: 'cat' must have 2 finite numbers. Received: 1"),
        ("cat 1 x\n", r"line 1: 'cat' is not followed by numbers alone"),
        ("cat 1 nan\n", r"finite"),
        ("", "holds no vectors"),
        ("5 300\n", "holds no vectors"),
    ],
)
def test_files_that_are_no_vectors(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_vectors(written(tmp_path / "v.txt", text), [b"cat"], any_case=True)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_vectors(tmp_path / "none.txt", [b"cat"], any_case=True)


def vectors(tmp_path: Path, embedding: int = 3) -> Vectors:
    config = PretrainedConfig(path=str(written(tmp_path / "v.txt", GLOVE)))
    counts = {b"cat": 6, b"paris": 1, b"dog": 2, "é".encode(): 1, b"rare": 10}
    return vectors_of(config, TOKENS, counts, embedding=embedding)


def test_share_of_words_found(tmp_path: Path) -> None:
    found = vectors(tmp_path)
    assert found.facts == {"dimension": 3, "words": 5, "found": 3}
    assert found.coverage == 8 / 20
    assert found.found.tolist() == [False, False, False, False, True, True, False, True, False]


def test_saved_and_loaded_the_same(tmp_path: Path) -> None:
    found = vectors(tmp_path)
    for name in ("one", "two"):
        found.save(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    again = resources.load(tmp_path / "one")
    assert isinstance(again, Vectors)
    assert_array_equal(again.matrix, found.matrix)
    assert_array_equal(again.found, found.found)
    assert (again.coverage, again.words, again.size) == (found.coverage, found.words, 9)


def test_filling_an_embedding(tmp_path: Path) -> None:
    found = vectors(tmp_path)
    layer = keras.layers.Embedding(9, 3)
    layer.build()
    drawn = np.asarray(layer.embeddings)
    found.fill(layer)
    after = np.asarray(layer.embeddings)
    assert_allclose(after[[4, 5, 7]], [[1, 2, 3], [4, 5, 6], [0, 0.25, 0]])
    assert not after[0].any()
    scale = found.matrix[found.found].std() / drawn.std()
    assert_allclose(after[[1, 2, 3, 6, 8]], drawn[[1, 2, 3, 6, 8]] * scale, rtol=1e-5)


def test_an_embedding_of_another_size(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`model.embedding` must be 3.*Received: 8"):
        vectors(tmp_path, embedding=8)
    layer = keras.layers.Embedding(9, 8)
    layer.build()
    with pytest.raises(ConfigError, match=r"must be 3"):
        vectors(tmp_path).fill(layer)
