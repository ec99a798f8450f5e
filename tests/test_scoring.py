"""Laws of scoring: every token once, in order, given all tokens before it, whatever the cutting."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from seqapps.architectures import stacked
from seqapps.dataset.ragged import Ragged
from seqapps.errors import UsageError
from seqapps.inference import scoring
from seqapps.inference.scoring import document_nats, stream_nats

BEGIN, END = 2, 3
SIZE = 11


def lstm(carry: bool = True, **options: Any) -> keras.Model:
    keras.utils.set_random_seed(5)
    config = stacked.Config(**{"cell": "lstm", "units": (7, 6), "embedding": 5, **options})
    model = stacked.build(config, vocabulary_size=SIZE, carry=carry)
    # Large weights, so that the state matters to every later token; of a SimpleRNN they would make chaos of rounding.
    scale = 1.0 if config.cell == "simple_rnn" else 3.0
    model.set_weights([scale * weight for weight in model.get_weights()])
    return model


def text(tokens: int) -> NDArray[np.int64]:
    return np.random.default_rng(3).integers(3, SIZE, tokens)


def one_pass(model: keras.Model, ids: NDArray[Any], start: int) -> NDArray[np.float64]:
    """-log p of each token from a single call over the whole text, with log-softmax written out in numpy."""
    x = tf.constant([[start, *ids[:-1]]], tf.int32)
    states = {tensor.name: tf.zeros((1, tensor.shape[-1])) for tensor in model.inputs if tensor.name != "tokens"}
    logits = model({"tokens": x, **states})["logits"].numpy()[0].astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    nats: NDArray[np.float64] = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(ids)), ids]
    return nats


def rows_of(*lengths: int) -> Ragged:
    return Ragged(text(sum(lengths)), np.concatenate([[0], np.cumsum(lengths)]))


def test_a_uniform_model_costs_the_logarithm_of_its_vocabulary() -> None:
    model = lstm()
    model.set_weights([0.0 * weight for weight in model.get_weights()])
    assert_allclose(stream_nats(model, np.array([4, 5, 6]), END, streams=1, window=2), [2.3978953] * 3, rtol=1e-6)


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
def test_one_stream_equals_one_pass(cell: str) -> None:
    model, ids = lstm(cell=cell), text(53)
    nats = stream_nats(model, ids, END, streams=1, window=8)
    assert nats.dtype == np.float32
    assert_allclose(nats, one_pass(model, ids, END), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [1, 7, 53, 54, 1000])
def test_the_window_does_not_matter(window: int) -> None:
    model, ids = lstm(), text(53)
    assert_allclose(stream_nats(model, ids, END, streams=1, window=window), one_pass(model, ids, END), atol=1e-5)


@pytest.mark.parametrize("tokens", [50, 53, 49])
def test_each_stream_is_one_pass_from_state_zero_with_the_token_before_as_input(tokens: int) -> None:
    model, ids = lstm(), text(tokens)
    length = -(-tokens // 4)
    parts = [ids[low : low + length] for low in range(0, tokens, length)]
    before = [END, *(part[-1] for part in parts[:-1])]
    expected = np.concatenate([one_pass(model, part, start) for part, start in zip(parts, before, strict=True)])
    assert_allclose(stream_nats(model, ids, END, streams=4, window=5), expected, atol=1e-5)


def test_more_streams_than_tokens_and_a_text_without_tokens() -> None:
    model, ids = lstm(), text(3)
    assert stream_nats(model, ids, END, streams=16, window=8).shape == (3,)
    assert stream_nats(model, ids[:0], END, streams=2, window=8).shape == (0,)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_the_other_documents_of_a_batch_do_not_matter(batch_size: int) -> None:
    model, ids = lstm(), rows_of(5, 1, 17, 0, 8, 3, 17)
    expected = np.concatenate([one_pass(model, ids.row(row), BEGIN) for row in range(len(ids)) if ids.lengths[row]])
    assert_allclose(document_nats(model, ids, BEGIN, batch_size=batch_size), expected, atol=1e-5)


def test_long_documents_go_by_windows_of_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = lstm(), rows_of(5, 40, 17)
    whole = document_nats(model, ids, BEGIN, batch_size=3)
    monkeypatch.setattr(scoring, "_CELLS", 3 * SIZE * 4)
    assert_allclose(document_nats(model, ids, BEGIN, batch_size=3), whole, atol=1e-5)


def test_a_document_model_without_states_is_scored_in_one_piece() -> None:
    ids = rows_of(5, 9)
    carried = document_nats(lstm(), ids, BEGIN, batch_size=2)
    assert_allclose(document_nats(lstm(carry=False), ids, BEGIN, batch_size=2), carried, atol=1e-5)


def test_a_model_without_states_cannot_score_a_stream_by_windows() -> None:
    with pytest.raises(UsageError, match="this model carries no state from one to the next"):
        stream_nats(lstm(carry=False), text(50), END, streams=2, window=5)


def test_dropout_is_off() -> None:
    ids = text(20)
    plain, dropping = lstm(), lstm(dropout=0.9)
    dropping.set_weights(plain.get_weights())
    nats = [stream_nats(model, ids, END, streams=2, window=5) for model in (plain, dropping)]
    assert_allclose(nats[0], nats[1], atol=1e-6)


def test_log_softmax_is_float32_under_a_half_precision_policy() -> None:
    ids, model = text(40), lstm()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = lstm()
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(model.get_weights())
    nats = stream_nats(half, ids, END, streams=1, window=16)
    # bfloat16 has three significant digits; a softmax in it would leave the sum of the probabilities off by a percent.
    assert nats.dtype == np.float32
    assert_allclose(nats.mean(), one_pass(model, ids, END).mean(), rtol=0.02)
    everything = np.stack([stream_nats(half, np.array([token]), END, streams=1, window=1)[0] for token in range(SIZE)])
    assert_allclose(np.exp(-everything).sum(), 1.0, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"streams": 0, "window": 4}, {"streams": 1, "window": 0}])
def test_sizes_must_be_positive(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"must be at least 1\. Received: 0"):
        stream_nats(lstm(), text(5), END, **wrong)
