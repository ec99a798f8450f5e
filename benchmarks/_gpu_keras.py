"""The Keras worker of benchmarks/gpu.py: python _gpu_keras.py SIZES training

Pure Keras models on the backend that KERAS_BACKEND names, made of the layers of seqapps.layers.recurrent, which are
Keras' own wherever the CPU kernels do not apply. The step is what the guide of each backend writes: a tf.function, an
eager backward pass of PyTorch, or a function that JAX compiles.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _recurrent_keras import place, stack
from _workers import Missing, peak_megabytes, serve
from _workloads import Workload, batches

sys.path.insert(0, str(Path(__file__).parent.parent))
Step = Callable[..., tuple[Any, dict[str, Any]]]
"""(x, y, weights, states) -> loss, or logits in inference, and the states after it."""


def main(sizes: str, mode: str) -> None:
    """Serves the driver."""

    def make() -> Keras:
        try:
            import keras  # noqa: F401
        except ImportError as error:
            raise Missing(f"Keras does not start: {error}") from None
        from seqapps.layers import recurrent as layers  # noqa: F401 - imports are no part of the first step

        return Keras(Workload(**json.loads(sizes)), training=mode == "training")

    serve(make)


class Keras:
    """Steps of one workload."""

    def __init__(self, load: Workload, *, training: bool) -> None:
        self._load, self._training = load, training

    def first(self) -> float:
        import keras

        from seqapps.layers import recurrent as layers

        keras.utils.set_random_seed(0)
        found, tensor = batches(self._load), keras.ops.convert_to_tensor
        self._model = stack(self._load, layers)
        place(self._model, self._load)
        self._batches = itertools.cycle(
            [({k: tensor(v) for k, v in batch.x.items()}, tensor(batch.y), tensor(batch.weights)) for batch in found]
        )
        names = [x.name for x in self._model.inputs if x.name.startswith("state_")]
        self._states = {name: keras.ops.zeros((self._load.rows, self._load.units)) for name in names}
        train, infer = {"torch": _torch, "jax": _jax, "tensorflow": _tensorflow}[keras.backend.backend()](self)
        self._call = train() if self._training else infer()
        result = keras.ops.convert_to_numpy(self._step())
        if self._training:
            return float(result)
        return float((abs(result).mean(axis=-1) * found[0].weights).sum() / found[0].weights.sum())

    def run(self, steps: int, job: str = "") -> None:
        import keras

        for _ in range(steps):
            result = self._step()
        if steps:
            keras.ops.convert_to_numpy(keras.ops.ravel(result)[0])

    def product_rate(self) -> float:
        return 0.0

    def device_use(self) -> dict[str, Any]:
        import keras

        return _DEVICES[keras.backend.backend()]() or {"device": "CPU", "megabytes": peak_megabytes()}

    def _step(self) -> Any:
        result, self._states = self._call(*next(self._batches), self._states)
        return result

    @property
    def model(self) -> Any:
        return self._model

    def optimizer(self) -> Any:
        import keras

        optimizer = keras.optimizers.Adam(1e-3, global_clipnorm=1.0)
        optimizer.build(self._model.trainable_variables)
        return optimizer

    def loss(self, outputs: Any, y: Any, weights: Any) -> Any:
        """Mean over the positions that count."""
        import keras

        entropy = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight", name="entropy"
        )
        return entropy(y, outputs["logits"], sample_weight=weights if self._load.kind == "tagger" else None)


def _torch(engine: Keras) -> tuple[Callable[[], Step], Callable[[], Step]]:
    import torch

    model = engine.model
    torch.backends.cuda.matmul.allow_tf32 = True  # as in _gpu_torch.py

    def train() -> Step:
        optimizer, variables = engine.optimizer(), model.trainable_variables

        def step(x: Any, y: Any, weights: Any, states: Any) -> Any:
            outputs = model({**x, **states}, training=True)
            loss = engine.loss(outputs, y, weights)
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                optimizer.apply([variable.value.grad for variable in variables], variables)
            return loss.detach(), {name: outputs[name].detach() for name in states}

        return step

    def infer() -> Step:
        def call(x: Any, y: Any, weights: Any, states: Any) -> Any:
            with torch.no_grad():
                outputs = model({**x, **states}, training=False)
            return outputs["logits"], {name: outputs[name] for name in states}

        return call

    return train, infer


def _jax(engine: Keras) -> tuple[Callable[[], Step], Callable[[], Step]]:
    import jax

    model = engine.model
    fixed = [variable.value for variable in model.non_trainable_variables]

    def train() -> Step:
        optimizer = engine.optimizer()
        moved = [variable.value for variable in model.trainable_variables]
        remembered = [variable.value for variable in optimizer.variables]

        def compute(moved: Any, x: Any, y: Any, weights: Any, states: Any) -> Any:
            outputs, _ = model.stateless_call(moved, fixed, {**x, **states}, training=True)
            return engine.loss(outputs, y, weights), {name: outputs[name] for name in states}

        @jax.jit
        def one(moved: Any, remembered: Any, *batch: Any) -> Any:
            (loss, states), gradients = jax.value_and_grad(compute, has_aux=True)(moved, *batch)
            return loss, states, *optimizer.stateless_apply(remembered, gradients, moved)

        def step(*batch: Any) -> Any:
            nonlocal moved, remembered
            loss, states, moved, remembered = one(moved, remembered, *batch)
            return loss, states

        return step

    def infer() -> Step:
        kept = [variable.value for variable in model.trainable_variables]

        @jax.jit
        def one(kept: Any, x: Any, states: Any) -> Any:
            outputs, _ = model.stateless_call(kept, fixed, {**x, **states}, training=False)
            return outputs["logits"], {name: outputs[name] for name in states}

        return lambda x, y, weights, states: one(kept, x, states)

    return train, infer


def _tensorflow(engine: Keras) -> tuple[Callable[[], Step], Callable[[], Step]]:
    import tensorflow as tf

    model = engine.model

    def train() -> Step:
        optimizer, variables = engine.optimizer(), model.trainable_variables

        @tf.function(reduce_retracing=True, autograph=False)
        def step(x: Any, y: Any, weights: Any, states: Any) -> Any:
            with tf.GradientTape() as tape:
                outputs = model({**x, **states}, training=True)
                loss = engine.loss(outputs, y, weights)
            optimizer.apply(tape.gradient(loss, variables), variables)
            return loss, {name: outputs[name] for name in states}

        return step  # type: ignore[no-any-return]

    def infer() -> Step:
        @tf.function(reduce_retracing=True, autograph=False)
        def call(x: Any, y: Any, weights: Any, states: Any) -> Any:
            outputs = model({**x, **states}, training=False)
            return outputs["logits"], {name: outputs[name] for name in states}

        return call  # type: ignore[no-any-return]

    return train, infer


def _of_jax() -> dict[str, Any]:
    import jax

    device = jax.devices()[0]
    if device.platform != "gpu":
        return {}
    return {"device": device.device_kind, "megabytes": device.memory_stats()["peak_bytes_in_use"] / 2**20}


def _of_tensorflow() -> dict[str, Any]:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return {}
    name = tf.config.experimental.get_device_details(gpus[0])["device_name"]
    return {"device": name, "megabytes": tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20}


def of_torch() -> dict[str, Any]:
    """Returns the GPU that PyTorch takes and the peak of what its tensors held; nothing where there is none."""
    import torch

    if not torch.cuda.is_available():
        return {}
    return {"device": torch.cuda.get_device_name(), "megabytes": torch.cuda.max_memory_allocated() / 2**20}


_DEVICES = {"torch": of_torch, "jax": _of_jax, "tensorflow": _of_tensorflow}

if __name__ == "__main__":
    main(*sys.argv[1:])
