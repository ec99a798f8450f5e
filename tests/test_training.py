"""Loss, optimizers, clipping, schedules and the training loop: equal to Keras, or to what the arithmetic says."""

import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.console import Console
from tiny import make_prepared

from seqapps.applications import application_of, config_from
from seqapps.architectures import stacked
from seqapps.batching.documents import DocumentBatches
from seqapps.batching.streams import StreamBatches
from seqapps.config import RunConfig, ScheduleConfig, TrainingConfig
from seqapps.dataset.ragged import Ragged
from seqapps.errors import ConfigError, RunError
from seqapps.layers.states import zero_states
from seqapps.optimization.auto_clip import AutoThreshold
from seqapps.optimization.losses import PERPLEXITY, Objective, cross_entropy, perplexity, weighted
from seqapps.optimization.optimizers import clipping, make_optimizer, rows_once
from seqapps.optimization.schedules import Schedule
from seqapps.optimization.steps import TrainingStep, ValidationStep
from seqapps.training import checkpoints
from seqapps.training.curves import learning_curves
from seqapps.training.display import TrainingDisplay
from seqapps.training.log import EpochLog, History, StepLog, TrainingPlan
from seqapps.training.loop import configure, train

# ---- the loss


@pytest.mark.parametrize("classes", [40, 1_203], ids=["few", "many: compiled"])
def test_cross_entropy_and_its_gradient_equal_those_of_keras(classes: int) -> None:
    generator = np.random.default_rng(1)
    logits = tf.constant(generator.normal(size=(3, 5, classes)) * 6.0, tf.float32)
    targets = tf.constant(generator.integers(0, classes, (3, 5)), tf.int32)
    weights = tf.constant(generator.integers(0, 2, (3, 5)), tf.float32)
    # Szegedy et al. 2016, section 7: the target's one-hot row, mixed with a row of 1 / V.
    spread = 0.9 * tf.one_hot(targets, classes) + 0.1 / classes
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        ours = [cross_entropy(logits, targets), cross_entropy(logits, targets, smoothing=0.1)]
        theirs = [
            keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True),
            keras.losses.categorical_crossentropy(spread, logits, from_logits=True),
        ]
        means = [tf.reduce_sum(losses * weights) / tf.reduce_sum(weights) for losses in (*ours, *theirs)]
    slopes = [tape.gradient(mean, logits) for mean in means]
    for case in range(2):
        np.testing.assert_allclose(ours[case], theirs[case], rtol=1e-6, atol=2e-6)
        np.testing.assert_allclose(slopes[case], slopes[2 + case], atol=1e-6)


@pytest.mark.parametrize("classes", [2, 1_000])
def test_cross_entropy_is_finite_where_a_probability_underflows(classes: int) -> None:
    logits = tf.constant(np.pad([[0.0, 2000.0], [-2000.0, 0.0]], ((0, 0), (0, classes - 2)), constant_values=-4000.0))
    assert cross_entropy(tf.cast(logits, tf.float32), tf.constant([0, 1])).numpy().tolist() == [2000.0, 0.0]
    assert perplexity(1000.0) == math.inf


@pytest.mark.parametrize(
    ("y", "weights", "right"),
    [((4,), (4,), True), ((4, 3), (4, 3), True), ((4, 1), (4,), False), ((4, 1), (4, 3), False), ((4,), (4, 3), False)],
    ids=str,
)
def test_a_loss_has_the_shape_of_the_weights(y: tuple[int, ...], weights: tuple[int, ...], right: bool) -> None:
    losses = cross_entropy(tf.zeros((*y, 5)), tf.zeros(y, tf.int32))
    if right:
        np.testing.assert_allclose(weighted(losses, tf.zeros(y), 2.0 * tf.ones(weights)), 2.0 * np.log(5.0), rtol=1e-6)
        return
    with pytest.raises(RunError, match=r"^A loss must have the shape of the weights.*`y\[:, 0\]` makes \[B\] of"):
        weighted(losses, tf.zeros(y), tf.ones(weights))


# ---- clipping and optimizers


@pytest.mark.parametrize(
    ("how", "threshold", "factors", "clipped"),
    [
        ("global_norm", 6.5, [0.5, 0.5], True),
        ("global_norm", 13.0, [1.0, 1.0], False),
        ("norm", 6.0, [1.0, 0.5], True),
        ("none", 0.1, [1.0, 1.0], False),
    ],
)
def test_clipping_of_norms_5_and_12(how: Any, threshold: float, factors: list[float], clipped: bool) -> None:
    gradients = [tf.constant([3.0, 4.0]), tf.constant([[12.0]])]
    found = clipping(gradients, how, threshold)
    assert float(found.norm) == pytest.approx(13.0)
    assert [float(factor) for factor in found.factors] == pytest.approx(factors)
    assert bool(found.clipped) is clipped
    if how == "global_norm" and clipped:
        after = [gradient * factor for gradient, factor in zip(gradients, found.factors, strict=True)]
        assert float(tf.linalg.global_norm(after)) == pytest.approx(threshold)


def test_the_automatic_threshold_is_the_percentile_of_the_norms_so_far() -> None:
    take = tf.function(AutoThreshold(25.0, length=4))
    thresholds = [float(take(tf.constant(norm))) for norm in (8.0, 4.0, 6.0, math.inf, 2.0)]
    # 8; 4 + 1/4 of 4; 4 + 1/2 of 2; infinity is left out; 2 + 3/4 of 2.
    assert thresholds == pytest.approx([8.0, 5.0, 5.0, 5.0, 3.5])
    # The ring holds the last four: 10, 4, 6, 2.
    assert float(take(tf.constant(10.0))) == pytest.approx(3.5)
    assert float(take(tf.constant(10.0))) == pytest.approx(np.percentile([10.0, 10.0, 6.0, 2.0], 25.0))


def test_a_percentile_is_for_automatic_clipping_alone() -> None:
    with pytest.raises(ConfigError, match="`clip_percentile` is for clip"):
        config(clip_percentile=20.0)


def test_a_training_under_automatic_clipping_tells_its_threshold(tmp_path: Path) -> None:
    run = config(clip="auto", clip_percentile=50.0, epochs=2)
    history = train(model_of(run), stream(), stream(90), run, tmp_path)
    for log in history.epochs:
        assert log.clip_threshold is not None
        assert 0.0 < log.clip_threshold < log.gradient_norm_max
        assert 0.0 < log.clip_share <= 1.0
    assert min(log.clip_share for log in history.epochs) < 1.0
    picture = tmp_path / "curves.png"
    learning_curves(history, picture)
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        ({"optimizer": "adam"}, lambda: keras.optimizers.Adam(0.01, global_clipnorm=1.0)),
        (
            {"optimizer": "adamw", "weight_decay": 0.1},
            lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1, global_clipnorm=1.0),
        ),
        ({"optimizer": "sgd"}, lambda: keras.optimizers.SGD(0.01, global_clipnorm=1.0)),
        ({"optimizer": "sgd", "momentum": 0.9}, lambda: keras.optimizers.SGD(0.01, 0.9, global_clipnorm=1.0)),
    ],
)
def test_optimizers_step_as_those_of_keras(settings: dict[str, Any], theirs: Any) -> None:
    generator = np.random.default_rng(1)
    start = [generator.normal(size=shape).astype(np.float32) for shape in ((4, 3), (3,))]
    ours, other = ([keras.Variable(value) for value in start] for _ in range(2))
    optimizer, reference = make_optimizer(TrainingConfig(**settings), ours), theirs()
    reference.build(other)
    for _ in range(20):
        gradients = [tf.constant(generator.normal(size=value.shape), tf.float32) for value in start]
        optimizer.apply(gradients, clipping(gradients, "global_norm", 1.0).factors, tf.constant(0.01))
        reference.apply(gradients, other)
    for mine, its in zip(ours, other, strict=True):
        # The rounding of twenty steps at numbers about one.
        np.testing.assert_allclose(np.array(mine), np.array(its), atol=3e-6)


def rows_of(indices: list[int], values: list[list[float]]) -> Any:
    return tf.IndexedSlices(tf.constant(values), tf.constant(indices), tf.constant([4, 2]))


def test_rows_that_stand_twice_are_added_up() -> None:
    found = rows_once(rows_of([2, 0, 2], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert found.indices.numpy().tolist() == [2, 0]
    assert found.values.numpy().tolist() == [[6.0, 8.0], [3.0, 4.0]]


@pytest.mark.parametrize("how", ["global_norm", "norm", "none"])
def test_the_norm_of_rows_is_that_of_their_matrix(how: Any) -> None:
    rows = rows_once(rows_of([2, 0, 2], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    gradients = [rows, tf.constant([1.0, 2.0])]
    found = clipping(gradients, how, 5.0)
    expected = clipping([tf.convert_to_tensor(gradient) for gradient in gradients], how, 5.0)
    assert float(found.norm) == float(expected.norm) == pytest.approx(math.sqrt(130.0))
    assert [*map(float, found.factors)] == [*map(float, expected.factors)]


@pytest.mark.parametrize("optimizer", ["sgd", "nt_asgd"])
def test_descent_by_rows_is_descent(optimizer: str) -> None:
    start = np.arange(8.0, dtype=np.float32).reshape(4, 2)
    ours, other = keras.Variable(start), keras.Variable(start)
    rows = rows_of([2, 0], [[1.0, 2.0], [3.0, 4.0]])
    for variable, gradient in ((ours, rows), (other, tf.convert_to_tensor(rows))):
        made = make_optimizer(TrainingConfig(optimizer=optimizer, early_stopping=0), [variable])
        assert made.takes_rows
        made.apply([gradient], [tf.constant(0.5)], tf.constant(0.1))
    np.testing.assert_array_equal(np.array(ours), np.array(other))


def test_lazy_adam_is_adam_for_rows_that_every_batch_has_and_leaves_the_others_alone() -> None:
    generator = np.random.default_rng(1)
    start = generator.normal(size=(4, 2)).astype(np.float32)
    ours, other = keras.Variable(start), keras.Variable(start)
    lazy = make_optimizer(TrainingConfig(optimizer="lazy_adam"), [ours])
    adam = make_optimizer(TrainingConfig(optimizer="adam"), [other])
    assert (lazy.takes_rows, adam.takes_rows) == (True, False)
    for step in range(5):
        rows = rows_of([3, 1], generator.normal(size=(2, 2)).astype(np.float32).tolist())
        lazy.apply([rows], [tf.constant(0.5)], tf.constant(0.1))
        adam.apply([tf.convert_to_tensor(rows)], [tf.constant(0.5)], tf.constant(0.1))
        np.testing.assert_allclose(np.array(ours), np.array(other), atol=5e-6, err_msg=str(step))
    # Now Adam moves row 1 by what it remembers; the lazy one does not, and it went on from where row 3 is.
    row = rows_of([3], [[1.0, -1.0]])
    before = np.array(ours)
    lazy.apply([row], [tf.constant(0.5)], tf.constant(0.1))
    adam.apply([tf.convert_to_tensor(row)], [tf.constant(0.5)], tf.constant(0.1))
    np.testing.assert_allclose(np.array(ours)[3], np.array(other)[3], atol=5e-6)
    np.testing.assert_array_equal(np.array(ours)[:3], before[:3])
    assert not np.array_equal(np.array(other)[1], before[1])


def test_a_training_step_hands_on_the_rows_of_an_embedding() -> None:
    """The lazy step moves the rows of the batch alone, and the loss that it reports is that of Adam."""
    moved, losses = {}, {}
    for name in ("lazy_adam", "adam"):
        run = config(optimizer=name)
        model = model_of(run)
        batches = stream()
        step = TrainingStep(
            model, make_optimizer(run.training, model.trainable_variables), PERPLEXITY, run.training,
            batches.dataset(0).element_spec,
        )  # fmt: skip
        embedding = model.get_layer("embedding").embeddings
        x, y, weights = next(iter(batches.dataset(0)))
        for _ in range(2):
            before = np.array(embedding)
            step(x, y, weights, zero_states(model, batches.batch_size), 0.01)
        moved[name] = set(np.flatnonzero((np.array(embedding) != before).any(axis=1)).tolist())
        losses[name] = step.sums().loss
        seen = set(np.unique(x["tokens"]).tolist())
    assert moved["lazy_adam"] == seen
    assert losses["lazy_adam"] == pytest.approx(losses["adam"], rel=1e-5)


def test_no_sum_of_a_training_step_depends_on_which_thread_is_first() -> None:
    """`AddN` begins with the input that nothing else reads any more: of three and more, the last bit is then chance."""
    run = config(clip="auto")
    model, batches = model_of(run), stream()
    optimizer = make_optimizer(run.training, model.trainable_variables)
    step = TrainingStep(model, optimizer, PERPLEXITY, run.training, batches.dataset(0).element_spec)
    graph = step._graph.get_concrete_function().graph
    sums = [operation for operation in graph.get_operations() if operation.type == "AddN"]
    assert [operation.name for operation in sums if len(operation.inputs) > 2] == []


def test_weight_decay_is_refused_for_lazy_adam() -> None:
    with pytest.raises(ConfigError, match="`weight_decay` is for optimizer"):
        config(optimizer="lazy_adam", weight_decay=0.1)


# ---- schedules


def rates(steps: int, **settings: Any) -> list[float]:
    schedule = Schedule(ScheduleConfig(**settings), 1.0, steps)
    return [schedule.rate(step, 0) for step in range(steps)]


def test_the_constant_and_the_cosine_rate() -> None:
    assert rates(3, name="constant") == [1.0, 1.0, 1.0]
    assert rates(6, name="cosine", warmup_steps=2) == pytest.approx(
        [0.5, 1.0, 1.0, 0.5 + 0.5 * math.cos(math.pi / 4), 0.5, 0.5 - 0.5 * math.cos(math.pi / 4)]
    )


def test_hold_then_decay_halves_after_the_held_epochs() -> None:
    schedule = Schedule(ScheduleConfig(name="hold_then_decay", hold_epochs=2, factor=0.5), 1.0, 100)
    assert [schedule.rate(0, epoch) for epoch in range(4)] == [1.0, 1.0, 0.5, 0.25]


def test_plateau_drops_after_patience_and_remembers() -> None:
    schedule = Schedule(ScheduleConfig(name="plateau", patience=2, factor=0.1), 1.0, 100)
    seen = []
    for improved in (True, False, False, True, False):
        schedule.end_epoch(improved)
        seen.append(schedule.rate(0, 0))
    assert seen == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.1])
    again = Schedule(ScheduleConfig(name="plateau", patience=2, factor=0.1), 1.0, 100)
    again.restore(json.loads(json.dumps(schedule.state())))
    again.end_epoch(False)
    assert again.rate(0, 0) == pytest.approx(0.01)


# ---- the loop


class Recorder:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.closed = 0

    def on_start(self, plan: TrainingPlan) -> None:
        self.heard.append(plan)

    def on_step(self, log: StepLog) -> None:
        self.heard.append(log)

    def on_epoch(self, log: EpochLog) -> None:
        self.heard.append(log)

    def on_end(self, history: History) -> None:
        self.heard.append(history)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def float32_again() -> Iterator[None]:
    yield
    keras.mixed_precision.set_global_policy("float32")


def config(**training: Any) -> RunConfig:
    tables = {
        "application": "language_model",
        "source": {"builtin": "python-docs"},
        "model": {"units": [12], "embedding": 8},
        "training": {"batch_size": 4, "window": 8, "epochs": 3, "learning_rate": 0.02, "early_stopping": 0, **training},
    }
    return config_from(tables, "test")


def model_of(run: RunConfig) -> keras.Model:
    configure(run)
    return stacked.build(run.model, vocabulary_size=12, carry=True)  # type: ignore[arg-type]


def stream(count: int = 200) -> StreamBatches:
    return StreamBatches(np.tile(np.arange(4, 12), 100)[:count], batch_size=4, window=8, start=3)


def test_a_training_learns_tells_and_keeps(tmp_path: Path) -> None:
    run, recorder = config(), Recorder()
    model = model_of(run)
    history = train(
        model, stream(), stream(90), run, tmp_path, listeners=[recorder], sample=lambda epoch: f"text {epoch}"
    )
    plan, first, *_ = recorder.heard
    assert (plan.epochs, plan.steps, plan.tokens, plan.note) == (3, 7, 200, "")
    assert plan.parameters == 12 * 8 + (8 + 12 + 1) * 48 + 13 * 12
    assert (first.epoch, first.step, first.steps) == (1, 1, 7)
    epochs = [log for log in recorder.heard if isinstance(log, EpochLog)]
    assert epochs == list(history.epochs)
    assert [log.epoch for log in epochs] == [1, 2, 3]
    assert epochs[-1].validation_loss < epochs[0].validation_loss < math.log(12)
    assert epochs[0].perplexity == pytest.approx(math.exp(epochs[0].loss))
    assert history.best == min(log.validation_perplexity for log in epochs) == epochs[history.best_epoch - 1].objective
    assert recorder.heard[-1] == history
    assert recorder.closed == 1
    assert (tmp_path / "samples" / "epoch-002.txt").read_text() == "text 2"
    assert History.read(tmp_path / "history.json") == history


def test_a_finished_training_returns_at_once_with_the_best_weights(tmp_path: Path) -> None:
    run = config(epochs=2)
    model = model_of(run)
    history = train(model, stream(), stream(90), run, tmp_path, identity="a")
    weights = [np.array(weight) for weight in model.weights]
    again, recorder = model_of(run), Recorder()
    assert train(again, stream(), stream(90), run, tmp_path, listeners=[recorder], identity="a") == history
    for weight, expected in zip(again.weights, weights, strict=True):
        assert np.array_equal(np.array(weight), expected)
    assert [type(heard) for heard in recorder.heard] == [TrainingPlan, History]
    longer = train(again, stream(), stream(90), run, tmp_path, epochs=3, identity="a")
    assert longer.epochs[:2] == history.epochs
    assert len(longer.epochs) == 3


def test_a_checkpoint_of_another_identity_is_left_aside(tmp_path: Path) -> None:
    run, recorder = config(epochs=1), Recorder()
    train(model_of(run), stream(), stream(90), run, tmp_path, identity="a")
    train(model_of(run), stream(), stream(90), run, tmp_path, identity="b", listeners=[recorder])
    plan = recorder.heard[0]
    assert "checkpoint.npz belongs to another configuration or other data, and is left aside." in plan.note
    assert plan.epoch == 0


def test_a_truncated_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    run, recorder = config(), Recorder()
    history = train(model_of(run), stream(), stream(90), run, tmp_path)
    path = tmp_path / checkpoints.FILE_NAME
    path.write_bytes(path.read_bytes()[:-1000])
    again = train(model_of(run), stream(), stream(90), run, tmp_path, listeners=[recorder])
    plan = recorder.heard[0]
    assert "checkpoint.npz cannot be read as a checkpoint: " in plan.note
    assert plan.epoch == 2
    assert [log.validation_loss for log in again.epochs] == [log.validation_loss for log in history.epochs]
    for name in (checkpoints.FILE_NAME, checkpoints.PREVIOUS):
        (tmp_path / name).write_bytes(b"nothing")
    found = checkpoints.find(tmp_path, "any")
    assert found.checkpoint is None
    assert found.note.endswith("Training starts from the beginning.")


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    # Validation is of another language: learning the first one can only harm after a while.
    run = config(epochs=30, early_stopping=2, learning_rate=0.05)
    other = StreamBatches(np.tile([4, 7, 5, 11], 20), batch_size=4, window=8, start=3)
    model = model_of(run)
    history = train(model, stream(), other, run, tmp_path)
    assert history.stopped == "early"
    assert len(history.epochs) == history.best_epoch + 2 < 30
    best = history.epochs[history.best_epoch - 1]
    assert best.objective == min(log.objective for log in history.epochs)
    again = ValidationStep(model, PERPLEXITY, other.dataset(0).element_spec).mean_loss(other)
    assert again == pytest.approx(best.validation_loss, abs=1e-6)


def test_epochs_that_are_equal_by_the_objective_are_told_apart_by_the_loss(tmp_path: Path) -> None:
    run = config(epochs=3, early_stopping=1)
    configure(run)
    always_right = replace(PERPLEXITY, name="accuracy", direction="max", figure=None)
    options: dict[str, Any] = {"objective": always_right, "judge": lambda model: 1.0}
    history = train(model_of(run), stream(), stream(60), run, tmp_path, **options)
    losses = [log.validation_loss for log in history.epochs]
    assert len(losses) == 3  # the loss falls, so that nobody stops early
    assert history.best == 1.0
    assert history.best_epoch == 1 + losses.index(min(losses)) > 1


def test_clipping_is_logged_before_it_is_done(tmp_path: Path) -> None:
    run = config(epochs=1, clip_threshold=1e-3)
    log = train(model_of(run), stream(), stream(90), run, tmp_path).epochs[0]
    assert log.clip_share == 1.0
    assert log.gradient_norm_max >= log.gradient_norm > 1e-3


def test_a_step_that_is_not_finite_moves_nothing_and_is_counted(tmp_path: Path) -> None:
    def loss(outputs: Any, y: Any) -> Any:
        # Rows whose first target is 8 lose their number: that is every other batch of this text.
        bad = tf.reduce_any(y[:, :1] == 8)
        return cross_entropy(outputs["logits"], y) * tf.where(bad, math.nan, 1.0)

    objective = Objective("perplexity", "min", loss, perplexity)
    ids = np.concatenate([np.tile(np.arange(4, 8), 8), np.tile(np.arange(8, 12), 8)])
    batches = StreamBatches(ids, batch_size=1, window=16, start=3)
    clean = StreamBatches(ids[:32], batch_size=1, window=16, start=3)
    run = config(epochs=2, batch_size=1, window=16)
    model = model_of(run)
    history = train(model, batches, clean, run, tmp_path, objective=objective)
    assert [log.non_finite_steps for log in history.epochs] == [2, 2]
    assert [log.non_finite_first for log in history.epochs] == [3, 3]
    assert all(np.isfinite(np.array(weight)).all() for weight in model.weights)
    assert all(math.isfinite(log.loss) and math.isfinite(log.gradient_norm) for log in history.epochs)


def test_gradients_that_are_never_finite_stop_training_with_advice(tmp_path: Path) -> None:
    run, recorder = config(), Recorder()
    model = model_of(run)
    model.get_layer("embedding").embeddings.assign(np.full((12, 8), np.nan))
    with pytest.raises(RunError, match=r"steps in a row had a loss or a gradient that is not finite\. Try a lower"):
        train(model, stream(800), stream(90), run, tmp_path, listeners=[recorder])
    assert recorder.closed == 1


def test_sequence_reduction_scales_the_gradient_by_the_length(tmp_path: Path) -> None:
    norms = []
    for reduction in ("token", "sequence"):
        run = config(epochs=1, reduction=reduction, clip="none", optimizer="sgd", learning_rate=1e-9)
        batches = StreamBatches(np.tile(np.arange(4, 12), 4), batch_size=4, window=8, start=3)
        history = train(model_of(run), batches, batches, run, tmp_path / reduction)
        norms.append(history.epochs[0].gradient_norm)
    assert norms[1] == pytest.approx(8 * norms[0], rel=1e-4)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_documents(precision: str, tmp_path: Path) -> None:
    run = config(precision=precision, batching="length", epochs=2)
    splits = np.arange(0, 201, 8)
    rows = Ragged(np.tile(np.arange(4, 12), 25).astype(np.int32), splits)
    batches = DocumentBatches(rows, batch_size=4, window=8, start=2, seed=1, shuffle=True)
    model = model_of(run)
    history = train(model, batches, batches, run, tmp_path)
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert history.epochs[1].validation_loss < history.epochs[0].validation_loss < math.log(12)


# ---- what people see


def a_history() -> History:
    logs = [
        EpochLog(
            epoch=epoch,
            steps=10,
            loss=2.0 / epoch,
            perplexity=math.exp(2.0 / epoch),
            validation_loss=2.5 / epoch,
            validation_perplexity=math.exp(2.5 / epoch),
            objective=math.exp(2.5 / epoch),
            best=True,
            learning_rate=0.01,
            gradient_norm=0.5,
            gradient_norm_max=3.0,
            clip_share=0.25,
            non_finite_steps=epoch - 1,
            tokens_per_second=12_345.0,
            seconds=65.0,
            sample="[brackets] stay",
        )
        for epoch in (1, 2)
    ]
    return History("perplexity", "min", logs[1].objective, 2, "epochs", 1_000, tuple(logs))


@pytest.mark.parametrize("terminal", [False, True])
def test_the_display_shows_rows_and_samples(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=110, color_system=None)
    display, history = TrainingDisplay(console), a_history()
    display.on_start(TrainingPlan(2, 10, 640, 1_000, "perplexity", "min", note="A note.", padding=0.124))
    display.on_step(StepLog(1, 5, 10, 2.0, math.exp(2.0), 0.5, 0.01, 12_345.0, 75.0))
    for log in history.epochs:
        display.on_epoch(log)
    display.on_end(history)
    display.close()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "A note." in text
    assert "1,000 parameters, 640 tokens in 10 steps an epoch, 2 epochs, 12% padding" in text
    assert "    1   2.0000      2.5000       12.1825      0.01      0.5    25%    12,345     1:05 *" in text
    assert "[brackets] stay" in text
    assert "1 steps were skipped: a gradient was not finite." in text
    assert "Best perplexity 3.49 after epoch 2 of 2, 2:10." in text
    if not terminal:
        assert "  epoch 1/2  step 5/10  loss 2.000  perplexity 7.389  12,345 tokens/s  |g| 0.5  1:15 left" in text


def test_the_display_tells_small_figures_apart() -> None:
    """Of a series of the size of 1e-5, every epoch was 0.0000."""
    console = Console(file=io.StringIO(), width=110, color_system=None)
    display, log = TrainingDisplay(console), a_history().epochs[0]
    display.on_start(TrainingPlan(2, 10, 640, 1_000, "rmse", "min"))
    display.on_epoch(replace(log, loss=0.00123456, validation_loss=0.0, objective=1.2273e-06))
    assert "    1  0.001235      0.0000   0.000001227  " in console.file.getvalue()  # type: ignore[attr-defined]


def test_perplexity_is_shown_and_logged_only_where_it_is_the_figure(tmp_path: Path) -> None:
    run, recorder = config(epochs=1), Recorder()
    console = Console(file=io.StringIO(), width=140, color_system=None)
    accuracy = Objective("expected_accuracy", "max", PERPLEXITY.loss, lambda loss: math.exp(-loss))
    listeners = [recorder, TrainingDisplay(console)]
    history = train(model_of(run), stream(), stream(90), run, tmp_path, listeners=listeners, objective=accuracy)
    log = history.epochs[0]
    assert (log.perplexity, log.validation_perplexity) == (None, None)
    assert history.best == pytest.approx(math.exp(-log.validation_loss))
    assert History.read(tmp_path / "history.json") == history
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert not any("perplexity" in line for line in lines)
    head, row = (next(line for line in lines if word in line) for word in ("tokens/s     time", f"{log.loss:.4f}  "))
    # The column is as wide as its name.
    assert head.index("expected_accuracy") + len("expected_accuracy") == row.index(f"{log.objective:.4f}") + 6


def test_learning_curves_are_a_picture(tmp_path: Path) -> None:
    learning_curves(a_history(), tmp_path / "pictures" / "curves.png")
    assert (tmp_path / "pictures" / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_legends_lie_on_no_line_and_on_no_title(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    learning_curves(a_history(), tmp_path / "curves.png")
    (figure,) = figures
    figure.draw_without_rendering()
    for axes in figure.axes:
        (title,) = [text for text in axes.findobj(Text) if text.get_text() == axes.get_title("left")]
        legend, lines = axes.get_legend().get_window_extent(), axes.get_window_extent()
        assert lines.y1 <= legend.y0 and legend.y1 <= title.get_window_extent().y0


def test_a_language_model_takes_batches_of_differing_rows(tmp_path: Path) -> None:
    config, prepared, manifest = make_prepared(tmp_path, training={"batching": "length", "token_budget": 60})
    application = application_of(config)
    batches = application.batches(prepared, manifest, "train")
    assert len({weights.shape[0] for _, _, weights in batches.dataset(0)}) >= 3
    history = train(application.build(manifest), batches, batches, config, tmp_path / "run")
    assert history.epochs[1].loss < history.epochs[0].loss
