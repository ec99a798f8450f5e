"""The TensorFlow worker of benchmarks/recurrent.py: python _recurrent_keras.py W1 training ours

`ours` goes the way of `seqapps train`: an architecture, TrainingStep, our cross entropy and our Adam. `keras` and
`keras-xla` are what a Keras user writes: keras.layers, keras.losses, keras.optimizers and a tf.function, without and
with XLA.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from _workers import THREADS, serve
from _workloads import WORKLOADS, Workload, batches, first_weights


def main(workload: str, mode: str, variant: str) -> None:
    """Serves the driver."""

    def make() -> Any:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(THREADS)
        load, training = WORKLOADS[workload], mode == "training"
        if variant == "ours":
            _import_ours()
            return Ours(load, training=training)
        return Stock(load, training=training, xla=variant == "keras-xla")

    serve(make)


def _import_ours() -> None:
    """Imports are no part of the first step."""
    import seqapps.architectures.classifier
    import seqapps.architectures.encoder_decoder
    import seqapps.architectures.stacked
    import seqapps.architectures.tagger
    import seqapps.optimization.steps  # noqa: F401


class _Steps:
    """What both have in common. `_build` gives the model; `_make_step` and `_make_call` what is run on a batch."""

    def __init__(self, load: Workload, *, training: bool) -> None:
        self._load, self._training = load, training

    def first(self) -> float:
        import keras
        import tensorflow as tf

        keras.utils.set_random_seed(0)
        found = batches(self._load)
        self._batches = _cycle(
            [
                ({k: tf.constant(v) for k, v in batch.x.items()}, tf.constant(batch.y), tf.constant(batch.weights))
                for batch in found
            ]
        )
        self._model = self._build()
        place(self._model, self._load)
        self._states = self._zero_states()
        if not self._training:
            self._call = self._make_call(self._model)
            return _mean_size(self._infer().numpy(), found[0].weights)
        self._call = self._make_step(self._model)
        return self._loss(self._step())

    def run(self, steps: int, job: str = "") -> None:
        for _ in range(steps):
            result = self._step() if self._training else self._infer()
        if steps:
            self._wait(result)

    def _wait(self, result: Any) -> None:
        result.numpy()

    def product_rate(self) -> float:
        import tensorflow as tf

        a = tf.random.uniform((2048, 2048))
        return max(_rate(lambda: tf.matmul(a, a).numpy(), 2 * 2048**3) for _ in range(5))

    def _signature(self) -> Any:
        """TensorSpecs of a batch: rows of a known number, steps of any number where lengths vary."""
        import tensorflow as tf

        load = self._load
        steps = load.steps if load.kind == "language_model" else None
        names = {"tagger": ("words",), "encoder_decoder": ("source", "target")}.get(load.kind, ("tokens",))
        whole = (load.rows,) if load.kind == "classifier" else (load.rows, steps)
        x = {name: tf.TensorSpec((load.rows, steps), tf.int32) for name in names}
        return x, tf.TensorSpec(whole, tf.int32), tf.TensorSpec(whole, tf.float32)

    def _zero_states(self) -> dict[str, Any]:
        from seqapps.layers.states import zero_states

        return zero_states(self._model, self._load.rows)

    def _infer(self) -> Any:
        logits, self._states = self._call(next(self._batches)[0], self._states)
        return logits

    def _make_call(self, model: Any, *, xla: bool = False) -> Callable[..., Any]:
        import tensorflow as tf

        from seqapps.optimization.steps import state_signature

        signature = self._signature()

        @tf.function(
            input_signature=[signature[0], state_signature(model, signature)], jit_compile=xla, autograph=False
        )
        def call(x: Any, states: Any) -> Any:
            outputs = model({**x, **states}, training=False)
            return outputs["logits"], {name: outputs[name] for name in states}

        return call


class Ours(_Steps):
    """The product's own path.

    Args:
        load, training: see `_Steps`.
        step: the class of its training step; None takes the product's.
    """

    def __init__(self, load: Workload, *, training: bool, step: Any = None) -> None:
        super().__init__(load, training=training)
        self._step_class = step

    @property
    def model(self) -> Any:
        return self._model

    def _build(self) -> Any:
        from seqapps.architectures import classifier, encoder_decoder, stacked, tagger

        load = self._load
        sizes = {"cell": load.cell, "units": (load.units,) * load.layers, "embedding": load.embedding}
        match load.kind:
            case "language_model":
                return stacked.build(stacked.Config(**sizes), vocabulary_size=load.vocabulary, carry=True)
            case "tagger":
                import numpy as np

                config = tagger.Config(**sizes, characters="none", shapes=0)
                allowed = np.ones((load.classes + 1, load.classes + 1), bool)
                return tagger.build(config, sizes=(load.vocabulary, 0, 0), allowed=allowed)
            case "classifier":
                config = classifier.Config(**sizes, pooling="last")
                return classifier.build(config, vocabulary_size=load.vocabulary, classes=load.classes)
        config = encoder_decoder.Config(**sizes, bidirectional=False, attention="general", tie_embeddings="none")
        return encoder_decoder.build(config, source_size=load.vocabulary, target_size=load.vocabulary)

    def _make_step(self, model: Any) -> Any:
        from seqapps.config import TrainingConfig
        from seqapps.optimization.losses import PERPLEXITY
        from seqapps.optimization.optimizers import make_optimizer
        from seqapps.optimization.steps import TrainingStep

        config = TrainingConfig(optimizer="adam", clip="global_norm", clip_threshold=1.0)
        optimizer = make_optimizer(config, model.trainable_variables)
        kind = self._step_class or TrainingStep
        return kind(model, optimizer, PERPLEXITY, config, self._signature())

    def _step(self) -> Any:
        self._states = self._call(*next(self._batches), self._states, 1e-3)
        return self._call

    def _loss(self, result: Any) -> float:
        return float(self._call.sums().mean_loss)

    def _wait(self, result: Any) -> None:
        if self._training:
            self._call.sums()
        else:
            result.numpy()


class Stock(_Steps):
    """What a Keras user writes."""

    def __init__(self, load: Workload, *, training: bool, xla: bool) -> None:
        super().__init__(load, training=training)
        self._xla = xla

    def _build(self) -> Any:
        return _encoder_decoder(self._load) if self._load.kind == "encoder_decoder" else stack(self._load)

    def _make_call(self, model: Any, *, xla: bool = False) -> Callable[..., Any]:
        return super()._make_call(model, xla=self._xla)

    def _make_step(self, model: Any) -> Any:
        import keras
        import tensorflow as tf

        from seqapps.optimization.steps import state_signature

        loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
        optimizer = keras.optimizers.Adam(1e-3, global_clipnorm=1.0)
        optimizer.build(model.trainable_variables)
        signature, masked = self._signature(), self._load.kind == "tagger"

        @tf.function(input_signature=[*signature, state_signature(model, signature)], jit_compile=self._xla)
        def step(x: Any, y: Any, weights: Any, states: Any) -> Any:
            with tf.GradientTape() as tape:
                outputs = model({**x, **states}, training=True)
                loss = loss_of(y, outputs["logits"], sample_weight=weights if masked else None)
            optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
            return loss, {name: outputs[name] for name in states}

        return step

    def _step(self) -> Any:
        loss, self._states = self._call(*next(self._batches), self._states)
        return loss

    def _loss(self, result: Any) -> float:
        return float(result)


def stack(load: Workload, library: Any = None) -> Any:
    """Embedding, recurrent layers, head on every step or on the last output; masked where lengths vary.

    Args:
        load: sizes.
        library: has the classes LSTM and GRU; None takes keras.layers.
    """
    import keras

    name, masked = ("words" if load.kind == "tagger" else "tokens"), load.bidirectional
    tokens = keras.Input((None,), dtype="int32", name=name)
    inputs, outputs = {name: tokens}, {}
    x = keras.layers.Embedding(load.vocabulary, load.embedding, mask_zero=masked, name="embedding")(tokens)
    for index in range(load.layers):
        label = f"{load.cell}_{index}"
        if load.bidirectional:
            layer = _layer(load, label, library, return_sequences=load.kind == "tagger")
            x = keras.layers.Bidirectional(layer, name=f"bi_{label}")(x)
        else:
            names = [f"state_{index}_{state}" for state in ("h", "c")[: load.states]]
            states = {state: keras.Input((load.units,), name=state) for state in names}
            layer = _layer(load, label, library, return_sequences=True, return_state=True)
            x, *last = layer(x, initial_state=list(states.values()))
            inputs |= states
            outputs |= dict(zip(names, last, strict=True))
    return keras.Model(inputs, {"logits": keras.layers.Dense(load.classes, name="logits")(x), **outputs})


def _layer(load: Workload, name: str, library: Any = None, **options: Any) -> Any:
    import keras

    library = library or keras.layers
    return {"lstm": library.LSTM, "gru": library.GRU}[load.cell](load.units, name=name, **options)


def _encoder_decoder(load: Workload) -> Any:
    """LSTM encoder, tanh bridge, LSTM decoder, general attention (Luong et al. 2015), readout, head."""
    import keras

    sides = {side: keras.Input((None,), dtype="int32", name=side) for side in ("source", "target")}
    embedded = {
        side: keras.layers.Embedding(load.vocabulary, load.embedding, name=f"{side}_embedding")(ids)
        for side, ids in sides.items()
    }
    options = {"return_sequences": True, "return_state": True}
    memory, *last = _layer(load, "encoder_lstm_0", **options)(embedded["source"])
    first = [
        keras.layers.Dense(load.units, activation="tanh", name=f"bridge_0_{name}")(state)
        for name, state in zip(("h", "c"), last, strict=True)
    ]
    hidden, *_ = _layer(load, "decoder_lstm_0", **options)(embedded["target"], initial_state=first)
    keys = keras.layers.Dense(load.units, use_bias=False, name="attention_keys")(memory)
    context = keras.layers.Attention(name="attention")([hidden, memory, keys])
    both = keras.layers.Concatenate(name="attended")([context, hidden])
    vector = keras.layers.Dense(load.embedding, activation="tanh", name="readout")(both)
    return keras.Model(sides, {"logits": keras.layers.Dense(load.classes, name="logits")(vector)})


def place(model: Any, load: Workload) -> None:
    """Gives every layer that has weights those of the workload."""
    layers = {layer.name: layer for layer in model._flatten_layers()}
    for name, weights in first_weights(load).items():
        layers[name].set_weights(weights)


def _cycle(batches: list[Any]) -> Iterator[Any]:
    while True:
        yield from batches


def _mean_size(logits: Any, weights: Any) -> float:
    """Mean of |logit| over the real positions."""
    sizes = abs(logits).mean(axis=-1)
    return float((sizes * weights).sum() / weights.sum())


def _rate(call: Callable[[], Any], operations: int) -> float:
    began = time.perf_counter()
    call()
    return operations / (time.perf_counter() - began)


if __name__ == "__main__":
    main(*sys.argv[1:])
