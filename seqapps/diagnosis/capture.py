"""One pass of a whole model: each recurrent layer's inputs, and the gradient of the loss w.r.t. its outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from seqapps.layers.states import zero_states
from seqapps.optimization.losses import Objective, weighted

Batch = tuple[Mapping[str, Any], Any, Any]
"""(x, y, weights), as returned by `Batches.dataset`."""

_FAST = "use_cudnn"
"""The attribute of a layer that disables kernels, ours or cuDNN's."""


@dataclass
class Call:
    """One call of a recurrent layer.

    Args:
        layer: a subclass of `keras.layers.RNN`.
        sequences: `<float>[B, T, D]`.
        initial: its states before the first step, `<float>[B, D]` each; None for the layer's default.
        mask: `<bool>[B, T]`, or None.
        outputs: its sequence (or last output), and its last states where it returns them.
        asked: the gradient of the mean loss with respect to each of `outputs`; None where the loss does not depend on
            it.
    """

    layer: Any
    sequences: Any
    initial: list[Any] | None
    mask: Any
    outputs: list[Any]
    asked: list[Any]


@dataclass(frozen=True)
class Pass:
    """A forward and a backward pass in inference mode.

    Args:
        loss: weighted mean loss.
        gradients: of the trainable variables; None where the loss does not depend on one.
        calls: of recurrent layers, in the order in which they ran; of repeated calls of a layer, the last.
    """

    loss: float
    gradients: list[Any]
    calls: list[Call]


def capture(model: keras.Model, batch: Batch, objective: Objective) -> Pass:
    """Runs a model on a batch eagerly, without dropout, from zero states, and records its recurrent layers.

    Args:
        model: inputs named as in x, and carried states.
        batch: a few examples of a split.
        objective: the loss.
    """
    x, y, weights = batch
    variables = [variable.value for variable in model.trainable_variables]
    with watched(model) as calls, tf.GradientTape(persistent=True) as tape:
        outputs = model({**x, **zero_states(model, int(weights.shape[0]))}, training=False)
        losses = tf.cast(objective.loss(outputs, y), tf.float32)
        weights = tf.cast(weights, tf.float32)
        loss = tf.reduce_sum(weighted(losses, y, weights)) / tf.maximum(tf.reduce_sum(weights), 1e-9)
    gradients = tape.gradient(loss, variables)
    for call in calls.values():
        call.asked = tape.gradient(loss, call.outputs)
    return Pass(float(loss), [_dense(gradient) for gradient in gradients], list(calls.values()))


@contextmanager
def watched(model: keras.Model) -> Iterator[dict[int, Call]]:
    """Records the calls of a model's recurrent layers, which are restored at the end.

    They use Keras' own loop: a fast kernel would be compiled for this one batch.
    """
    found: dict[int, Call] = {}
    layers = recurrent_layers(model)
    usual = [getattr(layer, _FAST, None) for layer in layers]
    for layer, fast in zip(layers, usual, strict=True):
        object.__setattr__(layer, "call", _noting(layer, found))
        if fast is not None:
            setattr(layer, _FAST, False)
    try:
        yield found
    finally:
        for layer, fast in zip(layers, usual, strict=True):
            object.__delattr__(layer, "call")
            if fast is not None:
                setattr(layer, _FAST, fast)


def recurrent_layers(model: keras.Model) -> list[Any]:
    """Returns all `keras.layers.RNN` layers, including those in wrappers and submodels."""
    found = [layer for layer in model._flatten_layers(include_self=False) if isinstance(layer, keras.layers.RNN)]
    return list({id(layer): layer for layer in found}.values())


def _noting(layer: Any, found: dict[int, Call]) -> Any:
    usual = layer.call

    def call(
        sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False, **options: Any
    ) -> Any:
        result = usual(sequences, initial_state=initial_state, mask=mask, training=training, **options)
        initial = None if initial_state is None else keras.tree.flatten(initial_state)
        outputs = list(result) if isinstance(result, list | tuple) else [result]
        found.pop(id(layer), None)
        found[id(layer)] = Call(layer, sequences, initial, mask, outputs, [])
        return result

    return call


def _dense(gradient: Any) -> Any:
    return None if gradient is None else tf.convert_to_tensor(gradient)
