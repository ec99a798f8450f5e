"""What all graphs that are saved have in common: each is traced, written and loaded once, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import keras
import tensorflow as tf


class ServedModule(tf.Module):  # type: ignore[misc]
    """What `tf.saved_model.save` is given: graphs, tables, and of Keras' models and layers the weights alone.

    A Keras model that is saved with it would be traced once more, for a signature that nobody asks for, and all its
    layers would be made again where the SavedModel is loaded.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute; a Keras layer is kept beside what is saved, which gets its variables."""
        if isinstance(value, keras.layers.Layer):
            self.__dict__[name] = value
            name, value = f"{name}_weights", [variable.value for variable in value.variables]
        super().__setattr__(name, value)


class Traced:
    """A method of a `tf.Module` that is its one graph, a `ConcreteFunction`, for given inputs.

    A `tf.function` that is an attribute of what is saved is traced once more while it is saved, and both graphs are
    written and loaded (`tensorflow.python.eager.polymorphic_function`: the key of a trace knows whether something is
    being saved). A concrete function is written as it is.

    Args:
        method: of the module; it takes and gives tensors.
        inputs: `tf.TensorSpec` of each argument.
    """

    def __init__(self, method: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
        self._method, self._inputs = method, inputs
        update_wrapper(self, method)  # type: ignore[arg-type]

    def __get__(self, module: Any, owner: type | None = None) -> Any:
        """Returns the module's graph, kept in its `__dict__`, where it is found without this method from then on."""
        if module is None:
            return self
        method = self._method.__get__(module)
        graph = tf.function(method, input_signature=self._inputs, autograph=False).get_concrete_function()
        return module.__dict__.setdefault(self._method.__name__, graph)


def traced(*inputs: Any) -> Callable[[Callable[..., Any]], Any]:
    """Makes a method its graph for these inputs, `tf.TensorSpec` each: see `Traced`."""
    return lambda method: Traced(method, inputs)
