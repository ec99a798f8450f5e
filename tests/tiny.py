"""A prepared folder small enough to train on in a second, written by hand: no Beam."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from seqapps.applications import config_from
from seqapps.config import RunConfig
from seqapps.dataset.manifest import Manifest, Shard, Split, Table, VocabularyFile, sha256_of, write_manifest
from seqapps.dataset.schema import Feature, Schema
from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig
from seqapps.preprocessing.vocabulary import BEGIN, END, Vocabulary

WORDS = ("the", "cat", "dog", "sat", "ran", "on", "a", "mat", "log", "and")
ORDER = 3


def make_config(**sections: dict[str, Any]) -> RunConfig:
    """Returns the configuration of a tiny character model; a section's fields can be replaced."""
    tables: dict[str, Any] = {
        "name": "tiny",
        "application": "language_model",
        "source": {"files": ["tiny.txt"]},
        "data": {"vocabulary_size": 0, "ngram_order": ORDER, "tokens": {"level": "character"}},
        "model": {"architecture": "stacked", "cell": "gru", "units": [8], "embedding": 6},
        "training": {"batch_size": 4, "window": 16, "epochs": 2, "learning_rate": 0.01, "sample_length": 10},
        "baselines": {
            "fixed_window_context": 2,
            "fixed_window_embedding": 4,
            "fixed_window_units": 8,
            "fixed_window_epochs": 1,
        },
    }
    for name, values in sections.items():
        tables[name] = {**tables.get(name, {}), **values} if isinstance(values, dict) else values
    return config_from(tables, "tiny")


def make_prepared(path: Path, **sections: dict[str, Any]) -> tuple[RunConfig, Path, Manifest]:
    """Writes a prepared folder of sentences over ten words, as characters; two shards for training, one for the others.

    Args:
        path: the folder; created.
        sections: fields of the configuration to replace, such as `model={"units": [4]}`.

    Returns:
        The configuration, the folder and its manifest.
    """
    rows = _sentences(120)
    vocabulary = Vocabulary.from_counts(_counts(rows), 0)
    tokenizer = Tokenizer(TokenizerConfig(level="character"), vocabulary=vocabulary)
    tokenizer.save(path / "vocabularies" / "text")
    ids = [[*vocabulary.lookup([letter.encode() for letter in row]).tolist(), END] for row in rows]
    parts = {"train": [ids[:50], ids[50:100]], "validation": [ids[100:110]], "test": [ids[110:]]}
    splits = {name: _write_split(path, name, shards) for name, shards in parts.items()}
    manifest = Manifest(
        application="language_model",
        schema_=Schema(features=(Feature(name="ids", dtype="int64", shape=(None,), meaning="ids of a row"),)),
        splits=splits,
        rejected={},
        lengths={},
        vocabularies={
            "text": VocabularyFile(
                folder="vocabularies/text",
                size=tokenizer.size,
                sha256=sha256_of(path / "vocabularies" / "text" / "tokens.json"),
                coverage=1.0,
            )
        },
        tables={"ngrams": (_write_ngrams(path, ids[:100]),)},
        sources=(),
        fingerprint="0123456789abcdef" * 4,
        code_version="tests",
        settings={},
    )
    write_manifest(path, manifest)
    return make_config(**sections), path, manifest


def _sentences(count: int) -> list[str]:
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, size=random.integers(2, 7))) for _ in range(count)]


def _counts(rows: list[str]) -> dict[bytes, int]:
    counts: dict[bytes, int] = {}
    for letter in "".join(rows):
        counts[letter.encode()] = counts.get(letter.encode(), 0) + 1
    return counts


def _write_split(path: Path, name: str, shards: list[list[list[int]]]) -> Split:
    files = []
    for number, rows in enumerate(shards):
        file = path / name / f"shard-{number:05d}.tfrecord"
        file.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(file)) as writer:
            for ids in rows:
                feature = tf.train.Feature(int64_list=tf.train.Int64List(value=ids))
                example = tf.train.Example(features=tf.train.Features(feature={"ids": feature}))
                writer.write(example.SerializeToString(deterministic=True))
        tokens = sum(map(len, rows))
        files.append(
            Shard(
                file=str(file.relative_to(path)),
                rows=len(rows),
                tokens=tokens,
                bytes=file.stat().st_size,
                sha256=sha256_of(file),
            )
        )
    return Split(rows=sum(f.rows for f in files), tokens=sum(f.tokens for f in files), shards=tuple(files))


def _write_ngrams(path: Path, rows: list[list[int]]) -> Table:
    windows = []
    for ids in rows:
        padded = [BEGIN] * (ORDER - 1) + ids
        windows += [padded[at : at + ORDER] for at in range(len(ids))]
    grams, counts = np.unique(np.array(windows, np.int32), axis=0, return_counts=True)
    file = path / "ngrams" / "part-00000.npy"
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, np.concatenate([grams, counts[:, None].astype(np.int32)], axis=1))
    return Table(file="ngrams/part-00000.npy", rows=len(grams), sha256=sha256_of(file))
