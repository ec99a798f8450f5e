"""Averaged gradient descent that the non-monotone criterion switches on."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from seqapps.applications import config_from
from seqapps.architectures import stacked
from seqapps.batching.streams import StreamBatches
from seqapps.config import RunConfig
from seqapps.errors import ConfigError
from seqapps.optimization.optimizers import AveragedDescent, no_longer_better
from seqapps.training.loop import configure, train


def config(**training: Any) -> RunConfig:
    tables = {
        "application": "language_model",
        "source": {"builtin": "python-docs"},
        "model": {"units": [6], "embedding": 4},
        "training": {"batch_size": 4, "window": 8, **training},
    }
    return config_from(tables, "test")


@pytest.mark.parametrize(
    ("values", "n", "direction", "expected"),
    [
        ([5.0, 4.0, 3.0], 1, "min", False),
        ([3.0, 4.0, 3.5], 1, "min", True),  # worse than 3.0, the best of those before the last one before
        ([3.0, 2.0, 2.5], 1, "min", False),
        ([3.0, 2.0, 2.5, 2.4], 1, "min", True),
        ([3.0, 3.5], 1, "min", False),  # nothing lies far enough back
        ([3.0, 9.0, 9.0, 9.0, 9.0, 9.0], 5, "min", False),
        ([3.0, 9.0, 9.0, 9.0, 9.0, 9.0, 3.1], 5, "min", True),
        ([0.3, 0.1, 0.2], 1, "max", True),
        ([0.3, 0.1, 0.4], 1, "max", False),
    ],
)
def test_the_non_monotone_criterion(values: list[float], n: int, direction: str, expected: bool) -> None:
    assert no_longer_better(values, n, direction) is expected  # type: ignore[arg-type]


def test_the_mean_is_that_of_the_weights_after_every_step_since_the_start() -> None:
    weight = tf.Variable([0.0])
    optimizer = AveragedDescent([weight])
    step = tf.function(lambda gradient: optimizer.apply([gradient], [tf.constant(1.0)], tf.constant(1.0)))
    step(tf.constant([-10.0]))
    with optimizer.averaged():
        assert weight.numpy() == [10.0]
    optimizer.start()
    seen = []
    for gradient in (-2.0, 4.0, -6.0):
        step(tf.constant([gradient]))
        seen.append(float(weight[0]))
    assert seen == [12.0, 8.0, 14.0]
    with optimizer.averaged():
        np.testing.assert_allclose(weight, [34.0 / 3.0])
    assert weight.numpy() == [14.0]


def test_weight_decay_is_added_to_the_gradient() -> None:
    weight = tf.Variable([2.0])
    AveragedDescent([weight], weight_decay=0.5).apply([tf.constant([1.0])], [tf.constant(1.0)], tf.constant(0.1))
    np.testing.assert_allclose(weight, [2.0 - 0.1 * (1.0 + 0.5 * 2.0)])


class Breaking:
    """Batches that break off when a step is asked for."""

    def __init__(self, batches: Any, at: int) -> None:
        self._batches, self._at = batches, at
        for name in ("steps", "tokens", "batch_size", "carries", "padding"):
            setattr(self, name, getattr(batches, name))

    def dataset(self, epoch: int, start: int = 0) -> Any:
        dataset, first = self._batches.dataset(epoch, start), epoch * self._batches.steps + start
        outer = self

        class Steps:
            element_spec = dataset.element_spec

            def __iter__(self) -> Any:
                for step, batch in enumerate(dataset, first):
                    if step == outer._at:
                        raise KeyboardInterrupt
                    yield batch

        return Steps()


def averaged(folder: Path, breaks: tuple[int, ...] = ()) -> tuple[Any, Any, list[Any]]:
    """Trains for five epochs, of which the third is judged worse than the first; returns what the judge saw."""
    run = config(optimizer="nt_asgd", nonmonotone=1, learning_rate=1.0, epochs=5, early_stopping=0, checkpoint_steps=2)
    batches = StreamBatches(np.tile(np.arange(4, 12), 25), batch_size=4, window=8, start=3)
    said, seen = iter([3.0, 4.0, 5.0, 2.0, 1.0]), []

    def judge(model: Any) -> float:
        seen.append([np.array(weight) for weight in model.weights])
        return next(said)

    for at in (*breaks, -1):
        configure(run)
        model = stacked.build(run.model, vocabulary_size=12, carry=True)  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt) if at >= 0 else nullcontext():
            history = train(model, Breaking(batches, at), batches, run, folder, judge=judge)  # type: ignore[arg-type]
    assert (history.best, history.best_epoch) == (1.0, 5)
    return model, batches, seen


def test_averaging_begins_once_validation_gets_worse_and_is_what_is_kept(tmp_path: Path) -> None:
    model, batches, seen = averaged(tmp_path)
    with np.load(tmp_path / "checkpoint.npz") as archive:
        on, steps, *means = [archive[f"optimizer/{index}"] for index in range(2 + len(model.trainable_variables))]
        went_on = [archive[f"model/{index}"] for index in range(len(model.weights))]
    # The two epochs after the third are averaged, from their first step on.
    assert (bool(on), int(steps)) == (True, 2 * batches.steps)
    for weight, judged, mean, other in zip(model.weights, seen[-1], means, went_on, strict=True):
        np.testing.assert_array_equal(judged, mean)
        np.testing.assert_array_equal(weight, mean)
        assert not np.array_equal(other, mean)


def test_a_training_that_broke_off_ends_with_the_same_means(tmp_path: Path) -> None:
    model, batches, _ = averaged(tmp_path / "whole")
    again, _, _ = averaged(tmp_path / "broken", (batches.steps + 1, 3 * batches.steps + 3, 4 * batches.steps + 5))
    for weight, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_early_stopping_that_comes_before_averaging_is_refused() -> None:
    with pytest.raises(ConfigError, match="early_stopping = 0, or more than 5"):
        config(optimizer="nt_asgd", early_stopping=3)
