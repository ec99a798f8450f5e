"""What all served graphs have in common: their inputs are checked, rows are answered by parts, each graph is kept once.

Every input and every output has one row for each row of the call (axis 0), so that a server may put the rows of several
calls together. A *full* signature takes texts and a value of each setting for every row; a *plain* one takes the texts
alone, and calls the full one with the defaults of `seqapps.calls`.
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
"""The output that says why a row has no answer; empty where it has one."""

_CELLS = 1 << 24
"""Values of a layer that exist at one time, about: 64 MB."""


class ServedModule(tf.Module):  # type: ignore[misc]
    """What `tf.saved_model.save` is given: graphs, tables, and of Keras' models and layers the weights alone.

    A Keras model that is saved with it would be traced once more, for a signature that nobody asks for, and all its
    layers would be made again where the SavedModel is loaded.
    """

    most_bytes = MOST_BYTES
    """Most bytes of a text: the time of a row grows with them."""
    most_cells = MOST_CELLS
    """Most of rows times bytes of the longest text: the time and the memory of a call grow with them."""
    most_written = MOST_WRITTEN
    """Most of rows times what each of them asks to be written."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute; a Keras layer is kept beside what is saved, which gets its variables."""
        if isinstance(value, keras.layers.Layer):
            self.__dict__[name] = value
            name, value = f"{name}_weights", [variable.value for variable in value.variables]
        super().__setattr__(name, value)

    def facts(self) -> dict[str, Any]:
        """Returns what belongs to the model and not to a row, as JSON values; an asset of the SavedModel."""
        return {}

    def signatures(self) -> dict[str, Any]:
        """Returns the serving signatures by name."""
        raise NotImplementedError

    def full(self) -> dict[str, tuple[str, Settings]]:
        """Returns the name of each full signature to that of its plain one ("" where it has none) and its settings."""
        return {}


Cells = Callable[[Any, Mapping[str, Any], Any], Any]
"""(module, settings of the call by name, bytes of its longest text) to the values of a layer for one row."""


@dataclass(frozen=True)
class Bounds:
    """What a call may ask for.

    Args:
        settings: name to default and bounds.
        product: factors that have a bound together with the number of rows: of each the largest value of its settings.
        area: whether what a row needs grows with the square of its length.
        cells: how many values of a layer exist for one row; so many rows are answered at one time as memory allows.
    """

    settings: Settings = field(default_factory=dict)
    product: tuple[tuple[str, ...], ...] = ()
    area: bool = False
    cells: Cells = lambda module, settings, longest: longest


def traced(*inputs: Any, **bounds: Any) -> Callable[[Callable[..., Any]], Any]:
    """Makes a method a graph for a full call: see `Traced`. Takes `TensorSpec`s and the fields of `Bounds`."""
    return lambda method: Traced(method, inputs, Bounds(**bounds))


class Traced:
    """A method of a `ServedModule` that is its one graph, a `ConcreteFunction`.

    A `tf.function` that is an attribute of what is saved is traced once more while it is saved, and both graphs are
    written and loaded (`tensorflow.python.eager.polymorphic_function`: the key of a trace knows whether something is
    being saved). A concrete function is written as it is.

    Args:
        method: of the module; its first arguments are the inputs, the others the settings, by their names.
        inputs: `tf.TensorSpec` of each input.
        bounds: of a call.
    """

    def __init__(self, method: Callable[..., Any], inputs: tuple[Any, ...], bounds: Bounds) -> None:
        self._method, self._inputs, self._bounds = method, inputs, bounds
        update_wrapper(self, method)  # type: ignore[arg-type]

    def __get__(self, module: Any, owner: type | None = None) -> Any:
        """Returns the module's graph, kept in its `__dict__`, where it is found without this method from then on."""
        if module is None:
            return self
        code = self._method.__code__
        names = code.co_varnames[1 : 1 + len(self._inputs)]
        inputs = dict(zip(names, self._inputs, strict=True))
        graph = answering(module, self._method.__get__(module), inputs, self._bounds)
        return module.__dict__.setdefault(self._method.__name__, graph)


def answering(module: Any, method: Callable[..., Any], inputs: Mapping[str, Any], bounds: Bounds) -> Any:
    """Returns the graph, a `ConcreteFunction`, that answers calls of any number of rows with a method.

    The method gets at least one row, and never a text or a setting beyond the bounds. A row with an over-long text is
    answered with zeros, and says why in the output `error`; a setting out of bounds fails the call. So that no call
    needs more memory than a machine has, rows go through the method by parts.

    Args:
        module: whose method it is.
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
        # Nothing is made of a call before it is known that its bounds are kept.
        counts = tf.stack([tf.shape(value)[0] for value in given.values()])
        told = f"{', '.join(f'`{name}`' for name in given)} must have a value for each row."
        with tf.control_dependencies([_check(tf.reduce_all(counts == rows), told, counts)]):
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
    """Returns the size of a model's widest layer: values that one step of one row has at one time."""
    layers = [layer for layer in model._flatten_layers(include_self=False) if layer._inbound_nodes]
    shapes = [tensor.shape for layer in layers for tensor in tf.nest.flatten(layer.output)]
    return max([1, *(int(shape[-1] or 1) for shape in shapes if len(shape) > 1)])


def whole(values: Any) -> Any:
    """Returns whole numbers that are within the bounds of their setting as `<int32>`."""
    return tf.cast(values, tf.int32)


def _checks(given: Mapping[str, Any], bounds: Bounds, most: int, rows: Any) -> list[Any]:
    """Returns assertions: every setting is within its bounds for every row, and so is what a call asks for in all."""
    checks = []
    for name, setting in bounds.settings.items():
        values = given[name]
        fine = (values >= setting.least) & (values <= setting.most)
        checks.append(_check(tf.reduce_all(fine), f"`{name}` {setting.words}.", tf.boolean_mask(values, ~fine)[:1]))
    if bounds.product:
        largest = [tf.reduce_max(tf.concat([*map(given.get, names), [1]], axis=0)) for names in bounds.product]
        told = " times ".join(["Rows", *(" or ".join(f"`{name}`" for name in names) for names in bounds.product)])
        remedy = f"{told} must be at most {most}: ask for less, or send fewer rows."
        # Each is within its bounds, or the call has failed; clipped, so that their product fits 64 bits.
        asked = tf.reduce_prod(tf.clip_by_value(tf.stack([tf.cast(rows, tf.int64), *largest]), 0, 1 << 16))
        checks.append(_check(asked <= most, remedy, asked))
    return checks


def _check(fine: Any, told: str, received: Any) -> Any:
    return tf.debugging.Assert(fine, [f"{told} Received:", received])


def _too_long(texts: Mapping[str, Any], module: ServedModule, area: bool, rows: Any) -> Any:
    """Returns why rows are not answered: one of their texts is too long, `<string>[B]`; "" for the others. With `area`
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
        told = (f"`{name}` has ", length, " bytes. Allowed: ", allowed, " in a call of ", rows, " rows. ", remedy)
        words = tf.strings.join([_words(part) for part in told])
        errors = tf.where((errors == "") & (length > allowed), words, errors)
    return errors


def _words(part: Any) -> Any:
    return part if isinstance(part, str) or part.dtype == tf.string else tf.strings.as_string(part)


def _bytes(text: Any) -> Any:
    """Returns the bytes of each row of `<string>[B, ...]`, `<int32>[B]`. What is cut already (`[B, T]`) has one more
    for every piece but the nothing at its end: that of the space between two."""
    length = tf.strings.length(text)
    if text.shape.rank == 1:
        return length
    axes = list(range(1, text.shape.rank))
    places = tf.reshape(tf.range(1, tf.shape(text)[1] + 1), [1, -1, *[1] * (text.shape.rank - 2)])
    return tf.reduce_sum(length, axis=axes) + tf.reduce_max(tf.where(length > 0, places, 0), axis=axes)


def _longest(inputs: Mapping[str, Any]) -> Any:
    """Returns the most steps of a row that the inputs can have: its bytes, or its places."""
    found = [tf.reduce_max(_bytes(value)) for value in inputs.values() if value.dtype == tf.string]
    found += [tf.shape(value)[1] for value in inputs.values() if value.shape.rank > 1]
    return tf.reduce_max(tf.stack([*found, 1]))


def _one_at_least(value: Any, setting: Any) -> Any:
    """Returns an input, with a row where it has none: no graph needs to know of an empty batch."""
    nothing = _zero(value.dtype) if setting is None else tf.constant(setting.default, value.dtype)
    missing = tf.maximum(1 - tf.shape(value)[0], 0)
    longer = tf.pad(value, [[0, missing], *[[0, 0]] * (value.shape.rank - 1)], constant_values=nothing)
    return tf.ensure_shape(longer, [None, *value.shape[1:]])


def _by_parts(part: Any, inputs: Mapping[str, Any], at_once: Any) -> dict[str, Any]:
    """Returns the outputs of all rows, `at_once` at a time; what is shorter than in another part is filled up."""
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
    """Returns two outputs one after the other, the shorter one filled up on every further axis."""
    sizes = tf.maximum(tf.shape(first), tf.shape(second))

    def filled(value: Any) -> Any:
        missing = tf.concat([[0], (sizes - tf.shape(value))[1:]], axis=0)
        after = tf.stack([tf.zeros_like(missing), missing], axis=1)
        return tf.ensure_shape(tf.pad(value, after, constant_values=_zero(value.dtype)), [None, *value.shape[1:]])

    return tf.concat([filled(first), filled(second)], axis=0)


def _blank(value: Any, rows: Any) -> Any:
    """Returns `<T>[B, ...]` with nothing in the given rows, `<bool>[B]`."""
    wrong = tf.reshape(rows, [-1, *[1] * (value.shape.rank - 1)])
    return tf.where(wrong, tf.constant(_zero(value.dtype), value.dtype), value)


def _zero(dtype: Any) -> Any:
    return {tf.string: "", tf.bool: False}.get(dtype, 0)
