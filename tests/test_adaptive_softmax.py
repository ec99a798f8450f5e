"""The adaptive softmax: exact probabilities of all words, and that of one word by the shorter way."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

from seqapps.architectures import cloze, stacked
from seqapps.batching.streams import StreamBatches
from seqapps.config import TrainingConfig
from seqapps.errors import ConfigError
from seqapps.inference.blank_filler import BlankFiller
from seqapps.inference.scoring import stream_nats
from seqapps.inference.text_generator import TextGenerator
from seqapps.layers.adaptive_softmax import AdaptiveSoftmax, zipf_cutoffs
from seqapps.layers.states import zero_states
from seqapps.optimization.losses import PERPLEXITY, adaptive_cross_entropy, perplexity_of
from seqapps.optimization.optimizers import make_optimizer
from seqapps.optimization.steps import TrainingStep, ValidationStep
from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig
from seqapps.preprocessing.vocabulary import END, SPECIALS, Vocabulary
from seqapps.training.loop import configure, train

V, D, CUTOFFS = 23, 8, (5, 11)


def softmax_of(dtype: str = "float32", **options: Any) -> tuple[AdaptiveSoftmax, Any]:
    keras.utils.set_random_seed(2)
    layer = AdaptiveSoftmax(V, CUTOFFS, dtype=dtype, **options)
    x = tf.constant(np.random.default_rng(1).normal(size=(3, 4, D)).astype(np.float32))
    layer(x)
    for weight in layer.weights:  # biases, too
        weight.assign(tf.random.stateless_normal(weight.shape, (len(weight.shape), weight.shape[-1])))
    return layer, x


def language_model(**model: Any) -> keras.Model:
    keras.utils.set_random_seed(3)
    config = stacked.Config(units=(7,), embedding=6, softmax="adaptive", cutoffs=CUTOFFS, **model)
    return stacked.build(config, vocabulary_size=V, carry=True)


def tokenizer() -> Tokenizer:
    words = tuple(f"word{chr(97 + place)}" for place in range(V - len(SPECIALS)))
    return Tokenizer(TokenizerConfig(level="word"), Vocabulary((*SPECIALS, *words)))


def log_softmax(scores: Any) -> Any:
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def test_log_probabilities_are_those_of_the_equations() -> None:
    layer, x = softmax_of(reduction=2)
    weights = {weight.name: np.array(weight) for weight in layer.weights}
    assert {name: value.shape for name, value in weights.items()} == {
        "head_kernel": (8, 7), "head_bias": (7,),
        "tail_0_projection": (8, 4), "tail_0_kernel": (4, 6), "tail_0_bias": (6,),
        "tail_1_projection": (8, 2), "tail_1_kernel": (2, 12), "tail_1_bias": (12,),
    }  # fmt: skip
    flat = x.numpy().reshape(-1, D)
    head = log_softmax(flat @ weights["head_kernel"] + weights["head_bias"])
    expected = [head[:, :5]]
    for place in (0, 1):
        projected = flat @ weights[f"tail_{place}_projection"]
        words = log_softmax(projected @ weights[f"tail_{place}_kernel"] + weights[f"tail_{place}_bias"])
        expected.append(head[:, 5 + place : 6 + place] + words)
    found = layer(x).numpy()
    assert_allclose(found.reshape(-1, V), np.concatenate(expected, axis=1), rtol=1e-5, atol=1e-5)
    assert_allclose(np.exp(found).sum(axis=-1), 1.0, rtol=1e-5)


def embedding() -> keras.layers.Embedding:
    layer = keras.layers.Embedding(V, D)
    layer.build()
    return layer


def test_a_shared_matrix_is_that_of_head_and_tails() -> None:
    shared = embedding()
    layer, x = softmax_of(embedding=shared)
    own = {weight.name: np.array(weight) for weight in layer.weights if weight is not shared.embeddings}
    assert {name: value.shape for name, value in own.items()} == {
        "tails_kernel": (2, 8), "head_bias": (7,), "tail_0_bias": (6,), "tail_1_bias": (12,),
    }  # fmt: skip
    flat, vectors = x.numpy().reshape(-1, D), np.array(shared.embeddings)
    head = log_softmax(flat @ np.concatenate([vectors[:5], own["tails_kernel"]]).T + own["head_bias"])
    rare = [
        head[:, 5 + place : 6 + place] + log_softmax(flat @ vectors[low:high].T + own[f"tail_{place}_bias"])
        for place, (low, high) in enumerate(((5, 11), (11, 23)))
    ]
    assert_allclose(layer(x).numpy().reshape(-1, V), np.concatenate([head[:, :5], *rare], 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"reduction": 3}, {"embedding": True}], ids=str)
@pytest.mark.parametrize("targets", [range(12), [0] * 12, [4, 5, 10, 11, 22, 3] * 2, [22] * 12])
def test_the_shorter_way_gives_the_same_loss_and_gradients(targets: Any, options: dict[str, Any]) -> None:
    layer, x = softmax_of(**({"embedding": embedding()} if "embedding" in options else options))
    y = tf.reshape(tf.constant(list(targets), tf.int32), (3, 4))
    scale = tf.reshape(tf.range(12, dtype=tf.float32), (3, 4))
    found = []
    for shorter in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(x)
            nats = adaptive_cross_entropy(layer, x, y) if shorter else -tf.gather(layer(x), y, batch_dims=2)
            loss = tf.reduce_sum(nats * scale)
        gradients = tape.gradient(
            loss, [x, *(weight.value for weight in layer.weights)], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        found.append([nats, *map(tf.convert_to_tensor, gradients)])
    for longer, shorter in zip(*found, strict=True):
        assert_allclose(shorter, longer, rtol=1e-4, atol=1e-5)


def test_half_precision_gives_float32_log_probabilities() -> None:
    layer, x = softmax_of("mixed_float16")
    x, y = tf.cast(x, tf.float16), tf.zeros((3, 4), tf.int32)
    assert layer(x).dtype == tf.float32
    assert_allclose(adaptive_cross_entropy(layer, x, y), -layer(x)[:, :, 0], rtol=1e-2)


@pytest.mark.parametrize(("size", "cutoffs"), [(10_000, (1_412, 3_758)), (50_000, (5_117, 15_996))])
def test_tails_begin_at_shares_of_a_text_by_zipfs_law(size: int, cutoffs: tuple[int, int]) -> None:
    def mass(words: int) -> float:
        return float(sum(1 / rank for rank in range(1, words + 1)))

    for cutoff, share in zip(cutoffs, (0.8, 0.9), strict=True):
        assert mass(cutoff - 1) < share * mass(size) <= mass(cutoff)
    assert zipf_cutoffs(size) == cutoffs
    assert zipf_cutoffs(3) == (2,)


def test_a_model_learns_by_the_shorter_way_what_it_tells_by_the_longer(tmp_path: Path) -> None:
    """Validation, by the shorter way, and `stream_nats` agree with the log-probabilities that are served."""
    from seqapps.applications import config_from

    tables = {
        "application": "language_model",
        "source": {"builtin": "python-docs"},
        "model": {"units": [12], "embedding": 8, "softmax": "adaptive", "cutoffs": [8, 14]},
        "training": {"batch_size": 4, "window": 8, "epochs": 6, "learning_rate": 0.02, "early_stopping": 0},
    }
    run = config_from(tables, "test")
    configure(run)
    model = stacked.build(run.model, vocabulary_size=V, carry=True)  # type: ignore[arg-type]
    ids = np.tile(np.arange(3, V), 20)
    batches = StreamBatches(ids, batch_size=4, window=8, start=END)
    history = train(model, batches, batches, run, tmp_path, objective=perplexity_of(model))
    assert history.epochs[-1].validation_loss < 0.5 * history.epochs[0].validation_loss
    spec = batches.dataset(0).element_spec
    shorter, longer = (
        ValidationStep(model, how, spec).mean_loss(batches) for how in (perplexity_of(model), PERPLEXITY)
    )
    assert shorter == pytest.approx(longer, rel=1e-4)
    scored = stream_nats(model, ids, END, streams=4, window=8)
    assert scored.mean() == pytest.approx(shorter, rel=1e-4)


def test_a_training_step_computes_no_probabilities_of_all_words() -> None:
    """They are an output of the model, and nothing that the step does asks for it."""
    model, batches = language_model(), StreamBatches(np.arange(3, V), batch_size=2, window=5, start=END)
    config, asked = TrainingConfig(batch_size=2, window=5), {}
    for objective in (PERPLEXITY, perplexity_of(model)):
        optimizer = make_optimizer(config, model.trainable_variables)
        step = TrainingStep(model, optimizer, objective, config, batches.dataset(0).element_spec)
        graph = step._graph.get_concrete_function().graph
        ends = [operation.name for operation in graph.control_outputs] + [tensor.op.name for tensor in graph.outputs]
        nodes = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), ends).node
        asked[objective] = sum(node.op == "LogSoftmax" for node in nodes)
    assert list(asked.values()) == [3, 0]


def test_a_generator_writes_completes_and_scores() -> None:
    model, words = language_model(), tokenizer()
    generator = TextGenerator(model, words, start=END)
    found = generator.complete(prompt=tf.constant(["worda wordb"]), k=tf.constant([V], tf.int64))
    x = {"tokens": tf.constant([[END, 4, 5]], tf.int32), **zero_states(model, 1)}
    expected = np.exp(model(x)["logits"][0, -1].numpy())
    assert_allclose(sorted(found["probabilities"][0].numpy()), sorted(expected[[*range(4, V), END]]), rtol=1e-5)
    score = generator.score(tf.constant(["wordt worda"]))
    assert_allclose(score["total"], score["log_probabilities"].numpy().sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_a_two_sided_model_fills_blanks(tied: bool) -> None:
    config = cloze.Config(units=(7,), embedding=6, hidden=5, softmax="adaptive", tie_embeddings=tied)
    model = cloze.build(config, vocabulary_size=V + 1, blank=V)
    assert model.output["context"].shape == (None, None, 6 if tied else 5)
    found = BlankFiller(model, tokenizer()).fill(text=tf.constant(["worda __ wordb"]), k=tf.constant([3], tf.int64))
    assert found["probabilities"].shape == (1, 1, 3)
    assert perplexity_of(model) is not PERPLEXITY


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"softmax": "adaptive", "tie_embeddings": True, "tail_reduction": 4},
            "`model.tail_reduction` takes matrices of its own. Received: tie_embeddings = true",
        ),
        ({"cutoffs": [5]}, "`model.tail_reduction` are for `model.softmax` = \"adaptive\". Received: 'full'"),
        ({"tail_reduction": 4}, "`model.tail_reduction` are for `model.softmax` = \"adaptive\". Received: 'full'"),
        ({"softmax": "adaptive", "cutoffs": [9, 5]}, r"`model.cutoffs` must increase. Received: \[9, 5\]"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stacked.Config(**fields)


def test_a_cutoff_above_the_vocabulary_is_refused_when_its_size_is_known() -> None:
    config = stacked.Config(softmax="adaptive", cutoffs=(V,))
    with pytest.raises(ConfigError, match=r"must lie below the size of the vocabulary, 23. Received: \[23\]"):
        stacked.build(config, vocabulary_size=V, carry=True)
    with pytest.raises(ValueError, match=r"must increase between 0 and the size of the vocabulary, 23"):
        AdaptiveSoftmax(V, ())
    with pytest.raises(ValueError, match=r"A shared matrix keeps its dimensions. Received: reduction = 4"):
        AdaptiveSoftmax(V, CUTOFFS, reduction=4, embedding=embedding())


def test_the_layer_is_saved_and_loaded(tmp_path: Path) -> None:
    layer, x = softmax_of()
    model = keras.Sequential([keras.Input((4, D)), layer])
    model.save(tmp_path / "model.keras")
    assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(x), model(x), rtol=1e-6)
