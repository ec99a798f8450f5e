"""Shared by all serving graphs: checked inputs, processing of a batch in parts, and one stored copy of each graph.

Every input and every output has one row for each row of the call (axis 0), so that a server may batch several calls. A
*full* signature takes texts and a value of each setting for every row; a *plain* one takes only the texts, and calls
the full one with the defaults of `seqapps.calls`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import update_wrapper
from typing import Any

import keras
import tensorflow as tf

from seqapps.calls import MOST_BYTES, MOST_CELLS, MOST_SQUARE, MOST_WRITTEN, Settings

TEXTS = tf.TensorSpec([None], tf.string)
ERROR = "error"
"""The output with the reason why a row has no result; empty where it has one."""

_CELLS = 1 << 24
"""Approximate number of a layer's values in memory at one time: 64 MB."""


class ServedModule(tf.Module):  # type: ignore[misc]
    """The module that `tf.saved_model.save` saves: graphs, tables, and only the weights of Keras' models and layers.

    A Keras model saved with it would be traced again, for an unused signature, and all its layers would be rebuilt
    when the SavedModel is loaded.
    """

    most_bytes = MOST_BYTES
    """Maximum bytes of a text, on which the time of a row depends."""
    most_cells = MOST_CELLS
    """Maximum of rows times bytes of the longest text, on which time and memory of a call depend."""
    most_written = MOST_WRITTEN
    """Maximum of rows times the requested output of each."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute; of a Keras layer, only the variables are saved."""
        if isinstance(value, keras.layers.Layer):
            self.__dict__[name] = value
            name, value = f"{name}_weights", [variable.value for variable in value.variables]
        super().__setattr__(name, value)

    def facts(self) -> dict[str, Any]:
        """Returns properties of the model as JSON values; an asset of the SavedModel."""
        return {}

    def signatures(self) -> dict[str, Any]:
        """Returns the serving signatures by name."""
        raise NotImplementedError

    def full(self) -> dict[str, tuple[str, Settings]]:
        """Returns a map from each full signature's name to that of its plain one ("" for none) and its settings."""
        return {}


Cells = Callable[[Any, Mapping[str, Any], Any], Any]
"""(module, settings of the call by name, bytes of its longest text) to the values of a layer for one row."""


@dataclass(frozen=True)
class Bounds:
    """Limits of a call.

    Args:
        settings: name to default and bounds.
        product: factors whose product with the number of rows is bounded: for each the largest value of its settings.
        area: whether the memory of a row is quadratic in its length.
        cells: number of a layer's values for one row; determines how many rows are processed at one time.
    """

    settings: Settings = field(default_factory=dict)
    product: tuple[tuple[str, ...], ...] = ()
    area: bool = False
    cells: Cells = lambda module, settings, longest: longest


def traced(*inputs: Any, **bounds: Any) -> Callable[[Callable[..., Any]], Any]:
    """Turns a method into the graph of a full signature: see `Traced`. Takes `TensorSpec`s and fields of `Bounds`."""
    return lambda method: Traced(method, inputs, Bounds(**bounds))


class Traced:
    """A method of a `ServedModule` that becomes a single graph, a `ConcreteFunction`.

    A `tf.function` attribute of a saved object is traced again while saving, and both graphs are written and loaded
    (`tensorflow.python.eager.polymorphic_function`: the trace key includes whether saving is in progress). A concrete
    function is written as it is.

    Args:
        method: of the module; its first arguments are the inputs, the others the settings, by name.
        inputs: `tf.TensorSpec` of each input.
        bounds: of a call.
    """

    def __init__(self, method: Callable[..., Any], inputs: tuple[Any, ...], bounds: Bounds) -> None:
        self._method, self._inputs, self._bounds = method, inputs, bounds
        update_wrapper(self, method)  # type: ignore[arg-type]

    def __get__(self, module: Any, owner: type | None = None) -> Any:
        """Returns the module's graph, cached in its `__dict__`, which bypasses this method from then on."""
        if module is None:
            return self
        code = self._method.__code__
        names = code.co_varnames[1 : 1 + len(self._inputs)]
        inputs = dict(zip(names, self._inputs, strict=True))
        graph = answering(module, self._method.__get__(module), inputs, self._bounds)
        return module.__dict__.setdefault(self._method.__name__, graph)


def answering(module: Any, method: Callable[..., Any], inputs: Mapping[str, Any], bounds: Bounds) -> Any:
    """Returns the graph, a `ConcreteFunction`, that applies a method to calls of any number of rows.

    The method receives at least one row, and never a text or a setting beyond the bounds. A row with an over-long text
    returns zeros and the reason in the output `error`; a setting out of bounds fails the call. To limit memory, the
    method processes the rows in parts.

    Args:
        module: that the method belongs to.
        method: inputs and settings, by name, to outputs by name, `[B, ...]` each; its own `error`, if any, is kept.
        inputs: name to `tf.TensorSpec`, `[B, ...]`.
        bounds: of a call.
    """
    specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in inputs.items()}
    for name, setting in bounds.settings.items():
        specs[name] = tf.TensorSpec([None], tf.int64 if setting.whole else tf.float32, name)
    part = tf.function(method, autograph=False).get_concrete_function(**specs)

    def call(**given: Any) -> dict[str, Any]:
        rows = tf.shape(next(iter(given.values())))[0]
        # Nothing is computed before the bounds are checked.
        counts = tf.stack([tf.shape(value)[0] for value in given.values()])
        message = f"{', '.join(f'`{name}`' for name in given)} must have a value for each row."
        with tf.control_dependencies([_check(tf.reduce_all(counts == rows), message, counts)]):
            given = {name: tf.identity(value) for name, value in given.items()}
        with tf.control_dependencies(_checks(given, bounds, module.most_written, rows)):
            given, rows = {name: tf.identity(value) for name, value in given.items()}, tf.identity(rows)
        filled = {name: _one_at_least(value, bounds.settings.get(name)) for name, value in given.items()}
        texts = {name: filled[name] for name in inputs if filled[name].dtype == tf.string}
        errors = _too_long(texts, module, bounds.area, rows)
        for name, text in texts.items():
            filled[name] = _blank(text, errors != "")
        longest = _longest({name: filled[name] for name in inputs})
        each = bounds.cells(module, {name: filled[name] for name in bounds.settings}, longest)
        at_once = tf.maximum(_CELLS // tf.maximum(tf.cast(each, tf.int64), 1), 1)
        outputs = _by_parts(part, filled, tf.cast(tf.minimum(at_once, 1 << 16), tf.int32))
        errors = tf.where(errors == "", outputs.pop(ERROR), errors) if ERROR in outputs else errors
        answers = {name: _blank(value, errors != "")[:rows] for name, value in outputs.items()}
        return {**answers, ERROR: errors[:rows]}

    return tf.function(call, autograph=False).get_concrete_function(**specs)


def plain(graph: Any, settings: Settings) -> Any:
    """Returns the graph of the plain signature: the full one with every setting at its default."""
    specs = {name: spec for name, spec in graph.structured_input_signature[1].items() if name not in settings}

    def call(**given: Any) -> dict[str, Any]:
        rows = tf.shape(next(iter(given.values())))[:1]
        filled = {
            name: tf.fill(rows, tf.constant(setting.default, tf.int64 if setting.whole else tf.float32))
            for name, setting in settings.items()
        }
        outputs: dict[str, Any] = graph(**given, **filled)
        return outputs

    return tf.function(call, autograph=False).get_concrete_function(**specs)


def widest(model: keras.Model) -> int:
    """Returns the size of a model's widest layer: values for one step of one row."""
    layers = [layer for layer in model._flatten_layers(include_self=False) if layer._inbound_nodes]
    shapes = [tensor.shape for layer in layers for tensor in tf.nest.flatten(layer.output)]
    return max([1, *(int(shape[-1] or 1) for shape in shapes if len(shape) > 1)])


def whole(values: Any) -> Any:
    """Returns integers within the bounds of their setting as `<int32>`."""
    return tf.cast(values, tf.int32)


def _checks(given: Mapping[str, Any], bounds: Bounds, most: int, rows: Any) -> list[Any]:
    """Returns assertions that every setting is within its bounds for every row, and so is their product."""
    checks = []
    for name, setting in bounds.settings.items():
        values = given[name]
        fine = (values >= setting.least) & (values <= setting.most)
        checks.append(_check(tf.reduce_all(fine), f"`{name}` {setting.words}.", tf.boolean_mask(values, ~fine)[:1]))
    if bounds.product:
        largest = [tf.reduce_max(tf.concat([*map(given.get, names), [1]], axis=0)) for names in bounds.product]
        parts = " times ".join(["Rows", *(" or ".join(f"`{name}`" for name in names) for names in bounds.product)])
        remedy = f"{parts} must be at most {most}: ask for less, or send fewer rows."
        # Each is within its bounds, or the call fails; clipped, so that the product fits in 64 bits.
        asked = tf.reduce_prod(tf.clip_by_value(tf.stack([tf.cast(rows, tf.int64), *largest]), 0, 1 << 16))
        checks.append(_check(asked <= most, remedy, asked))
    return checks


def _check(fine: Any, message: str, received: Any) -> Any:
    return tf.debugging.Assert(fine, [f"{message} Received:", received])


def _too_long(texts: Mapping[str, Any], module: ServedModule, area: bool, rows: Any) -> Any:
    """Returns why rows have no result: one of their texts is too long, `<string>[B]`; "" for the others. With `area`
    the square of a text's length counts."""
    most, filled = module.most_bytes, tf.maximum(rows, 1)
    allowed = tf.minimum(module.most_cells // filled, most)
    if area:
        square = tf.sqrt(tf.cast(MOST_SQUARE // filled, tf.float64))
        allowed = tf.minimum(allowed, tf.cast(square, tf.int32))
    errors: Any = tf.fill([filled], "")
    for name, text in texts.items():
        length = _bytes(text)
        remedy = tf.where(length > most, "Split it into parts.", "Send fewer rows in a call, or split it into parts.")
        parts = (f"`{name}` has ", length, " bytes. Allowed: ", allowed, " in a call of ", rows, " rows. ", remedy)
        words = tf.strings.join([_words(part) for part in parts])
        errors = tf.where((errors == "") & (length > allowed), words, errors)
    return errors


def _words(part: Any) -> Any:
    return part if isinstance(part, str) or part.dtype == tf.string else tf.strings.as_string(part)


def _bytes(text: Any) -> Any:
    """Returns the bytes of each row of `<string>[B, ...]`, `<int32>[B]`. Tokenised texts (`[B, T]`) have one more for
    every non-empty token: the space between two."""
    length = tf.strings.length(text)
    if text.shape.rank == 1:
        return length
    axes = list(range(1, text.shape.rank))
    places = tf.reshape(tf.range(1, tf.shape(text)[1] + 1), [1, -1, *[1] * (text.shape.rank - 2)])
    return tf.reduce_sum(length, axis=axes) + tf.reduce_max(tf.where(length > 0, places, 0), axis=axes)


def _longest(inputs: Mapping[str, Any]) -> Any:
    """Returns the maximum number of steps of a row of the inputs: its bytes, or its length."""
    found = [tf.reduce_max(_bytes(value)) for value in inputs.values() if value.dtype == tf.string]
    found += [tf.shape(value)[1] for value in inputs.values() if value.shape.rank > 1]
    return tf.reduce_max(tf.stack([*found, 1]))


def _one_at_least(value: Any, setting: Any) -> Any:
    """Returns an input, with one row if it has none, so that graphs need not support an empty batch."""
    nothing = _zero(value.dtype) if setting is None else tf.constant(setting.default, value.dtype)
    missing = tf.maximum(1 - tf.shape(value)[0], 0)
    longer = tf.pad(value, [[0, missing], *[[0, 0]] * (value.shape.rank - 1)], constant_values=nothing)
    return tf.ensure_shape(longer, [None, *value.shape[1:]])


def _by_parts(part: Any, inputs: Mapping[str, Any], at_once: Any) -> dict[str, Any]:
    """Returns the outputs of all rows, computed `at_once` at a time; shorter parts are padded."""
    specs = part.structured_outputs
    rows = tf.shape(next(iter(inputs.values())))[0]
    shapes = {name: [0 if size is None else size for size in spec.shape[1:]] for name, spec in specs.items()}
    nothing = {name: tf.zeros([0, *shapes[name]], spec.dtype) for name, spec in specs.items()}

    def more(low: Any, found: dict[str, Any]) -> Any:
        return low < rows

    def answer(low: Any, found: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        given = {name: value[low : low + at_once] for name, value in inputs.items()}
        answers = part(**{name: tf.ensure_shape(value, [None, *value.shape[1:]]) for name, value in given.items()})
        return low + at_once, {name: _joined(found[name], answers[name]) for name in found}

    invariants = {name: tf.TensorShape([None, *spec.shape[1:]]) for name, spec in specs.items()}
    begin = (tf.constant(0), nothing)
    _, found = tf.while_loop(
        more, answer, begin, shape_invariants=(tf.TensorShape([]), invariants), parallel_iterations=1
    )
    return dict(found)


def _joined(first: Any, second: Any) -> Any:
    """Returns two outputs concatenated, the shorter one padded on every other axis."""
    sizes = tf.maximum(tf.shape(first), tf.shape(second))

    def filled(value: Any) -> Any:
        missing = tf.concat([[0], (sizes - tf.shape(value))[1:]], axis=0)
        after = tf.stack([tf.zeros_like(missing), missing], axis=1)
        return tf.ensure_shape(tf.pad(value, after, constant_values=_zero(value.dtype)), [None, *value.shape[1:]])

    return tf.concat([filled(first), filled(second)], axis=0)


def _blank(value: Any, rows: Any) -> Any:
    """Returns `<T>[B, ...]` with zeros or "" in the given rows, `<bool>[B]`."""
    wrong = tf.reshape(rows, [-1, *[1] * (value.shape.rank - 1)])
    return tf.where(wrong, tf.constant(_zero(value.dtype), value.dtype), value)


def _zero(dtype: Any) -> Any:
    return {tf.string: "", tf.bool: False}.get(dtype, 0)
