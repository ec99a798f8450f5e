"""Data parallelism: each device has a replica of the model and part of the batch (`tf.distribute.MirroredStrategy`).

The gradients of all devices are summed, every replica is updated by the sum, and statistics are counted once. Since a
loss is a sum over rows, divided by a number of the whole batch, the step equals that of one device up to rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import keras
import tensorflow as tf

from seqapps.errors import UsageError
from seqapps.layers.penalties import ActivationPenalty


class Replicas:
    """One device, or several with data parallelism.

    Args:
        devices: their names; no distribution with fewer than two.
    """

    def __init__(self, devices: Sequence[str] = ()) -> None:
        self.devices = tuple(devices)
        self.count = max(1, len(self.devices))
        self._strategy = tf.distribute.MirroredStrategy(list(self.devices)) if self.count > 1 else None

    def scope(self) -> AbstractContextManager[Any]:
        """Variables created inside are mirrored on every device."""
        return self._strategy.scope() if self._strategy else nullcontext()

    @property
    def line(self) -> str:
        """The devices, in one line: `mirrored: 2 devices share every batch: GPU:0, GPU:1`."""
        if self.count == 1:
            return "mirrored: there is one device, which takes every batch"
        names = ", ".join(name.rpartition("device:")[2] for name in self.devices)
        return f"mirrored: {self.count} devices share every batch: {names}"

    def split(self, batch: Any) -> list[Any]:
        """Returns each device's rows of all tensors `[B, ...]` of a nest, in equal parts.

        The batch is padded to a multiple of the devices with rows of zeros, whose weight is 0.
        """
        if self.count == 1:
            return [batch]
        leaves = [tf.split(self._filled(value), self.count) for value in tf.nest.flatten(batch)]
        return [tf.nest.pack_sequence_as(batch, parts) for parts in zip(*leaves, strict=True)]

    def _filled(self, x: Any) -> Any:
        rows = x.shape[0] if x.shape[0] is not None else tf.shape(x)[0]
        return tf.pad(x, [[0, -rows % self.count], *[[0, 0]] * (x.shape.rank - 1)])

    def joined(self, parts: Sequence[Any], rows: Any) -> Any:
        """Returns the devices' results as one batch `<any>[B, ...]`, without padding: the inverse of `split`."""
        return parts[0] if self.count == 1 else tf.concat(parts, 0)[:rows]

    def run(self, function: Callable[..., Any], arguments: Sequence[Sequence[Any]]) -> list[Any]:
        """Calls a function on every device with its own arguments, inside a graph; returns the results."""
        if self._strategy is None:
            return [function(*arguments[0])]
        strategy = self._strategy
        own = strategy.experimental_distribute_values_from_function(
            lambda context: list(arguments[context.replica_id_in_sync_group])
        )
        found = strategy.run(function, own)
        return [
            tf.nest.map_structure(lambda value, place=place: strategy.experimental_local_results(value)[place], found)
            for place in range(self.count)
        ]

    def sums(self, values: list[Any]) -> list[Any]:
        """Returns the sums over all devices, in a function that `run` calls."""
        if self._strategy is None:
            return values
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, values)  # type: ignore[no-any-return]

    def prepare(self, model: keras.Model) -> None:
        """Prepares a model for training: devices draw different random numbers.

        To be called again after the model's variables are restored.

        Raises:
            UsageError: the model was made outside the scope, or its loss is not a sum over rows.
        """
        if self._strategy is None:
            return
        if not all(isinstance(variable.value, tf.distribute.DistributedValues) for variable in model.variables):
            raise UsageError(
                '`training.distribution` = "mirrored": the model was made outside `training.loop.scope(config)`.'
            )
        if any(isinstance(layer, ActivationPenalty) for layer in model._flatten_layers()):
            raise UsageError(
                '`training.distribution` = "mirrored" cannot add `model.activation_penalty` and '
                "`model.temporal_penalty`: they are means over a whole batch, of which a device sees some rows. "
                f'Received: {self.count} devices. Remedy: distribution = "none", or no penalty.'
            )
        for variable in model.variables:
            if variable.name == "seed_generator_state":  # the seed and a counter
                first, *others = self._strategy.experimental_local_results(variable.value)
                for place, other in enumerate(others, 1):
                    other.assign(first + tf.constant([place, 0], first.dtype))


ONE = Replicas()
"""No distribution."""


def replicas_of(distribution: Literal["none", "mirrored"]) -> Replicas:
    """Returns the devices of this machine that `training.distribution` names: its GPUs, or its logical CPUs."""
    return _all() if distribution == "mirrored" else ONE


@functools.cache
def _all() -> Replicas:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return Replicas([device.name for device in devices])
