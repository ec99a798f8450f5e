"""What is learned must not depend on which rows share a batch: agreement of subject and verb at a distance."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_benchmarks import module

from pipelines.builtin.agreement import MOST_PHRASES, NOUNS, VERBS, sentences, verb_of
from seqapps.applications import config_from
from seqapps.architectures import stacked
from seqapps.batching.documents import DocumentBatches
from seqapps.dataset.ragged import Ragged
from seqapps.preprocessing.vocabulary import END
from seqapps.training import loop as training

batching = module("batching")
WORDS = sorted({word for sentence in sentences(600) for word in sentence.split()})
IDS = {word: place for place, word in enumerate(WORDS, END + 1)}
OTHER = {IDS[pair[place]]: IDS[pair[1 - place]] for pair in VERBS for place in (0, 1)}


def ragged(rows: list[str]) -> Ragged:
    ids = [[IDS[word] for word in row.split()] + [END] for row in rows]
    return Ragged(np.concatenate(ids).astype(np.int32), np.cumsum([0, *map(len, ids)]))


def learned(
    folder: Path, *, epochs: int, size: int, window: int = 0, budget: int = 0
) -> tuple[list[float], list[float]]:
    """Validation perplexity and share of right verbs after every epoch.

    A window of 0 takes the rule; batches have `size` rows, or rows of `budget` positions together.
    """
    fields: dict[str, Any] = {
        "application": "language_model",
        "source": {"builtin": "agreement"},
        "model": {"units": [48], "embedding": 24},
        "training": {"batch_size": size, "epochs": epochs, "learning_rate": 1e-2, "early_stopping": 0},
    }
    config = config_from(fields, "test")
    training.configure(config)
    model = stacked.build(config.model, vocabulary_size=END + 1 + len(WORDS), carry=True, seed=1)  # type: ignore[arg-type]
    rows, verbs, share_right = list(sentences(1_800)), list[float](), batching.agreement(model, OTHER)

    def batches(part: list[str], shuffle: bool) -> DocumentBatches:
        options = {"batch_size": size, "token_budget": budget, "window": 64, "start": 2, "seed": 1, "shuffle": shuffle}
        return DocumentBatches(ragged(part), **options)

    held_out = batches(rows[1_600:], shuffle=False)

    def sample(epoch: int) -> str:
        verbs.append(share_right(held_out))
        return ""

    with batching.fixed(window) if window else nullcontext():
        history = training.train(model, batches(rows[:1_600], shuffle=True), held_out, config, folder, sample=sample)
    return [log.objective for log in history.epochs], verbs


def test_agreement_at_a_distance_is_learned(tmp_path: Path) -> None:
    """In ten epochs of 50 batches. Where the whole epoch is sorted, or a window holds four batches, it is not."""
    _, verbs = learned(tmp_path, epochs=10, size=32)
    assert max(verbs) > 0.95


def test_the_corpus_is_what_it_says() -> None:
    rows = list(sentences(1_200))
    assert rows[:2] == list(sentences(2))
    assert verb_of("the keys by the lamp are here") == ("are", "is")
    nouns = [[word for word in row.split() if word.rstrip("s") in NOUNS] for row in rows]
    assert [len(found) for found in nouns] == [place % MOST_PHRASES + 2 for place in range(1_200)]
    plural = [verb_of(row)[0] in {pair[1] for pair in VERBS} for row in rows]
    assert [found[0].endswith("s") for found in nouns] == plural
    # The noun beside the verb says nothing of it.
    beside = [found[-1].endswith("s") == of for found, of in zip(nouns, plural, strict=True)]
    assert np.mean(beside) == pytest.approx(0.5, abs=0.05)
