"""Pretrained word vectors: the rows of a GloVe or word2vec text file that a vocabulary needs, as a resource.

`prepare` reads the file once and stores the vectors of the vocabulary with the prepared data, so that training needs no
external file. A trained model needs neither, since its weights contain the embedding. An application implements

    learn        learns the tokenizer, then `vectors_of(..)`, and returns both as resources
    build        creates an embedding layer of the vectors' size
    initialise   copies them: `resources["vectors"].fill(model.get_layer("embedding"))`
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from seqapps import formats
from seqapps.config import ModelConfig, Section
from seqapps.dataset.manifest import MADE_AGAIN
from seqapps.errors import ConfigError, DataError
from seqapps.files import read_arrays
from seqapps.secrets import expand

FILE_NAME = "vectors.json"
_ARRAYS = "vectors.npz"
_SPECIALS = 4


class PretrainedConfig(Section):
    """Where word vectors come from.

    Args:
        path: a text file, also `.gz`: a line a word, the word and its numbers separated by spaces (GloVe); a first
            line with the number of words and their size is left out (word2vec). Empty takes none.
        any_case: a word that the file lacks takes the first vector whose word differs in letter case alone.
    """

    path: str = ""
    any_case: bool = True

    @field_validator("path")
    @classmethod
    def _in_the_home_folder(cls, path: str) -> str:
        return os.path.expanduser(path)


def check_embedding(model: ModelConfig, pretrained: PretrainedConfig) -> None:
    """Raises for an embedding that is neither trained nor pretrained.

    Raises:
        ConfigError: `model.train_embedding` is false without vectors.
    """
    if not getattr(model, "train_embedding", True) and not pretrained.path:
        raise ConfigError(
            "`model.train_embedding` = false keeps random vectors. Give `data.pretrained.path`, or train them."
        )


@dataclass(frozen=True)
class Looked:
    """`vectors.json`: `coverage` and `words` of Vectors."""

    coverage: float
    words: int


@dataclass(frozen=True)
class Vectors:
    """The vectors of a vocabulary's words.

    Args:
        matrix: `<float32>[V, D]`, zeros where the file has no such word.
        found: which words the file has, `<bool>[V]`.
        coverage: share of the training tokens whose words were found.
        words: number of words that were looked up: the vocabulary without its special tokens.
    """

    matrix: NDArray[np.float32]
    found: NDArray[np.bool_]
    coverage: float
    words: int

    initial = True
    """Only the start of training needs them; a trained model holds the embedding in its weights."""

    @property
    def size(self) -> int:
        """Size of the vocabulary."""
        return len(self.matrix)

    @property
    def dimension(self) -> int:
        """Dimension of the vectors."""
        return int(self.matrix.shape[1])

    @property
    def facts(self) -> dict[str, Any]:
        """The part stored in the manifest: the dimension, and how many words were looked up and found."""
        return {"dimension": self.dimension, "words": self.words, "found": int(self.found.sum())}

    def fill(self, embedding: Any) -> None:
        """Copies the vectors into a built embedding layer.

        Words that were not found keep their random vectors, scaled to the standard deviation of the found ones.
        Source: Kim 2014, "Convolutional Neural Networks for Sentence Classification", section 3.1.

        Args:
            embedding: a `keras.layers.Embedding` of V rows; its row 0 (padding) becomes zero.

        Raises:
            ConfigError: the layer has another size.
        """
        check_dimension(self.dimension, int(embedding.output_dim))
        drawn = np.asarray(embedding.embeddings, np.float32)
        matrix = drawn.copy()
        if self.found.any():
            matrix *= float(self.matrix[self.found].std()) / max(float(drawn.std()), 1e-12)
            matrix[self.found] = self.matrix[self.found]
        matrix[0] = 0.0
        embedding.embeddings.assign(matrix)

    def save(self, folder: Path) -> None:
        """Writes `vectors.json` and `vectors.npz` into `folder`, which is created. Equal vectors give equal bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / _ARRAYS, matrix=self.matrix[self.found], found=self.found)
        record = {"coverage": self.coverage, "words": self.words}
        (folder / FILE_NAME).write_text(
            json.dumps(formats.stamped("vectors", record), indent=1) + "\n", encoding="utf-8"
        )

    @classmethod
    def load(cls, folder: Path) -> Vectors:
        """Reads what `save` wrote; raises a DataError for what cannot be read."""
        record = formats.read(folder / FILE_NAME, "vectors", Looked, MADE_AGAIN)
        arrays = read_arrays(folder / _ARRAYS, MADE_AGAIN)
        try:
            found, rows = arrays["found"], arrays["matrix"]
            matrix = np.zeros((len(found), rows.shape[1]), np.float32)
            matrix[found] = rows
        except (KeyError, IndexError, TypeError, ValueError) as error:
            what = f"{type(error).__name__}: {error}"
            raise DataError(f"{folder / _ARRAYS} is damaged ({what}). Remedy: {MADE_AGAIN}.") from None
        return cls(matrix, found, record.coverage, record.words)


def vectors_of(
    config: PretrainedConfig, tokens: Sequence[str], counts: Mapping[bytes, int], *, embedding: int
) -> Vectors:
    """Returns the vectors of a vocabulary.

    Args:
        config: names the file.
        tokens: the vocabulary in the order of its ids, with its special tokens.
        counts: how often each token occurs in the training split, for the coverage.
        embedding: the dimension of the model's embedding.

    Raises:
        DataError: the file is missing, is not a text file of vectors, or a line differs in dimension from those before.
        ConfigError: the file's vectors have another dimension than the model's embedding.
    """
    words = [token.encode() for token in tokens[_SPECIALS:]]
    found = read_vectors(Path(expand(config.path)), words, any_case=config.any_case)
    check_dimension(found.dimension, embedding, config.path)
    matrix = np.zeros((len(tokens), found.dimension), np.float32)
    matrix[_SPECIALS:] = found.matrix
    present = np.concatenate([np.zeros(_SPECIALS, np.bool_), found.present])
    covered = sum(counts.get(word, 0) for word, there in zip(words, found.present.tolist(), strict=True) if there)
    return Vectors(matrix, present, covered / max(sum(counts.values()), 1), len(words))


def check_dimension(dimension: int, embedding: int, path: str = "") -> None:
    """Raises if the model's embedding has another dimension than the vectors.

    Raises:
        ConfigError: names both dimensions.
    """
    if dimension != embedding:
        where = f" of {path}" if path else ""
        raise ConfigError(
            f"`model.embedding` must be {dimension}, the size of the vectors{where}. Received: {embedding}."
        )


@dataclass(frozen=True)
class _Found:
    matrix: NDArray[np.float32]
    present: NDArray[np.bool_]

    @property
    def dimension(self) -> int:
        return int(self.matrix.shape[1])


def read_vectors(path: Path, words: Sequence[bytes], *, any_case: bool) -> _Found:
    """Returns the vectors of words, `matrix <float32>[words, D]` and `present <bool>[words]`.

    Only the lines of the requested words are parsed; the first line of a word counts.

    Raises:
        DataError: see `vectors_of`.
    """
    same: dict[bytes, list[int]] = {}
    alike: dict[bytes, list[int]] = {}
    for place, word in enumerate(words):
        same.setdefault(word, []).append(place)
        if any_case:
            alike.setdefault(_lower(word), []).append(place)
    exact: dict[int, NDArray[np.float32]] = {}
    other: dict[int, NDArray[np.float32]] = {}
    dimension = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                if number == 1 and _is_header(line):
                    continue
                dimension = dimension or len(line.split()) - 1
                word = line[: line.find(b" ")]
                first = [place for place in same.get(word, ()) if place not in exact]
                second = [place for place in alike.get(_lower(word), ()) if place not in other] if any_case else []
                if first or second:
                    vector = _numbers(line, word, dimension, f"{path}, line {number}")
                    if vector is not None:
                        exact |= dict.fromkeys(first, vector)
                        other |= dict.fromkeys(second, vector)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"`data.pretrained.path`: {path} cannot be read: {error}.") from None
    if dimension < 1:
        raise DataError(f"{path} holds no vectors. Allowed: lines of a word and its numbers, separated by spaces.")
    present = np.zeros(len(words), np.bool_)
    matrix = np.zeros((len(words), dimension), np.float32)
    for place, vector in {**other, **exact}.items():
        matrix[place], present[place] = vector, True
    return _Found(matrix, present)


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else open(path, "rb")


def _lower(word: bytes) -> bytes:
    """Returns a word in lower case; ASCII, the bulk of a file, is not decoded."""
    return word.lower() if word.isascii() else word.decode("utf-8", "replace").lower().encode()


def _is_header(line: bytes) -> bool:
    """Whether a first line is word2vec's: the number of words and their size."""
    parts = line.split()
    return len(parts) == 2 and all(part.isdigit() for part in parts)


def _numbers(line: bytes, word: bytes, dimension: int, where: str) -> NDArray[np.float32] | None:
    """Returns the vector of a line; None if the line's word contains a space, so that it differs from `word`.

    Raises:
        DataError: the line has too few numbers, or values that are not numbers.
    """
    parts = line.split()
    if len(parts) - 1 > dimension:
        return None
    try:
        vector = np.array(parts[1:], np.float32)
    except ValueError:
        raise DataError(f"{where}: {word.decode('utf-8', 'replace')!r} is not followed by numbers alone.") from None
    if len(vector) != dimension or not np.isfinite(vector).all():
        raise DataError(
            f"{where}: {word.decode('utf-8', 'replace')!r} must have {dimension} finite numbers. "
            f"Received: {len(vector)} numbers."
        )
    return vector
