"""The registered model as an MLflow pyfunc: a thin wrapper around the SavedModel, which does all the work.

This file is packaged in the registered model, so it must not import seqapps. Columns of the input are named like the
inputs of a signature, one row per example. A setting of the signature is a parameter for all rows, or a column with a
value for each; its default is in the SavedModel's `model.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

_ROWS = 64
"""Rows per call of the SavedModel."""
_INT32 = 1 << 31
_SHOWN = 60
"""Most characters of a wrong value that a message repeats."""


class ServedModel(PythonModel):
    """Calls a signature of the SavedModel; the parameter `signature` says which (`serving_default`)."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the SavedModel, and the package with the operations of its tokenizer if it needs one."""
        import tensorflow as tf

        folder = Path(context.artifacts["saved_model"])
        self._record = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if self._record["needs_tensorflow_text"]:
            import tensorflow_text  # noqa: F401
        self._tf = tf
        self._model = tf.saved_model.load(str(folder))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Returns the outputs of every row, by name; `error` says why a row has no prediction.

        Args:
            context: has the paths of the artifacts.
            model_input: a data frame with the signature's columns; also (not annotated, because MLflow acts on the
                annotation) a dictionary of lists, a list of dictionaries, or the values of the only column. A row with
                a value that is missing or of another type (None as a text) says so in `error`.
            params: the signature's settings, and `signature`. With one `seed` for a call, row i samples with
                `seed` + i.

        Raises:
            ValueError: no such signature, or a column that is missing.
        """
        given = dict(params or {})
        name = str(given.pop("signature", "") or "serving_default")
        signatures = self._record["signatures"]
        if name not in signatures:
            raise ValueError(f"signature does not exist. Received: {name!r}. Allowed: {sorted(signatures)}.")
        name = signatures[name].get("full", name)
        inputs, settings = signatures[name]["inputs"], signatures[name].get("settings", {})
        columns = _columns(model_input, [key for key in inputs if key not in settings])
        if columns is None:
            return []
        rows = len(next(iter(columns.values())))
        for key, setting in settings.items():
            usual = _of_rows(key, given.get(key), setting["default"], rows)
            own = columns.get(key, usual)
            columns[key] = [_setting(*pair) for pair in zip(own, usual, strict=True)]
        found = []
        for low in range(0, rows, _ROWS):
            part = {key: values[low : low + _ROWS] for key, values in columns.items() if key in inputs}
            found += self._answers(name, inputs, part, settings)
        return found

    def _answers(
        self, signature: str, specs: Mapping[str, Any], columns: Mapping[str, list[Any]], settings: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        tensors, errors = {}, dict[int, str]()
        for name, spec in specs.items():
            cells = columns[name] if name in settings else _cells_of(name, spec, columns[name], errors)
            tensors[name] = self._tf.constant(cells, self._tf.as_dtype(spec["dtype"]))
        outputs = {key: _plain(value.numpy()) for key, value in self._model.signatures[signature](**tensors).items()}
        rows = [dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)]
        for row, error in errors.items():
            rows[row] = {**{key: _nothing(value) for key, value in rows[row].items()}, "error": error}
        return rows


def _columns(model_input: Any, needed: list[str]) -> dict[str, list[Any]] | None:
    """Returns the columns of an input by name; None if it has no row.

    Raises:
        ValueError: one is missing, or its values have no name and several columns are needed.
    """
    if isinstance(model_input, pd.DataFrame):
        columns = {str(name): _cells(model_input[name]) for name in model_input.columns}
        if not len(model_input):
            return None
    elif isinstance(model_input, Mapping):
        columns = {str(name): _cells(values) for name, values in model_input.items()}
    else:
        values = _cells(model_input)
        if values and all(isinstance(value, Mapping) for value in values):
            return _columns(pd.DataFrame(values), needed)
        if values and len(needed) != 1:
            raise ValueError(f"the signature needs the columns {needed}. Received: a list without their names.")
        columns = dict.fromkeys(needed, values)
    missing = [name for name in needed if name not in columns]
    if missing:
        raise ValueError(f"the signature needs the column {missing[0]!r}. Received: {sorted(columns)}.")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"all columns must have as many rows. Received: {lengths}.")
    return columns if max(lengths.values(), default=0) else None


def _cells(values: Any) -> list[Any]:
    """Returns the values of a column; one text is one row."""
    if isinstance(values, (str, bytes)):
        return [values]
    plain = values.tolist() if hasattr(values, "tolist") else list(values)
    cells = plain if isinstance(plain, list) else [plain]
    return [cell.tolist() if hasattr(cell, "tolist") else cell for cell in cells]


def _cells_of(name: str, spec: Mapping[str, Any], values: list[Any], errors: dict[int, str]) -> Any:
    """Returns a column as an array. A cell of another type becomes an empty value, and is reported in `errors` by row;
    shorter lists are padded if their size is variable."""
    text, shape = spec["dtype"] == "string", spec["shape"][1:]
    kind = object if text else np.dtype(spec["dtype"])
    cells = list[Any]()
    for row, value in enumerate(values):
        cell = _array(value, kind)
        fits = cell is not None and len(cell.shape) == len(shape)
        if not fits or any(size not in (None, real) for size, real in zip(shape, cell.shape, strict=True)):
            what = "text" if text else "numbers"
            where = f" of shape {[size or 'any' for size in shape]}" if shape else ""
            errors.setdefault(row, f"column `{name}` must hold {what}{where}. Received: {str(value)[:_SHOWN]!r}.")
            cell = np.zeros([size or 0 for size in shape], kind)
        cells.append(cell)
    sizes = np.max([cell.shape for cell in cells], axis=0).astype(int) if shape else ()
    filled = np.full((len(cells), *sizes), "" if text else 0, kind)
    for row, cell in enumerate(cells):
        if row not in errors:
            inside: tuple[Any, ...] = (row, *map(slice, cell.shape))
            filled[inside] = cell[()]
    return filled


def _array(value: Any, kind: Any) -> Any:
    """Returns a cell as an array; None if it is not a rectangle of texts, or of numbers."""
    try:
        array = np.array(value, kind)
    except (TypeError, ValueError):
        return None
    if kind is not object:
        return array
    # A missing value would otherwise be read as the text "None" or "nan".
    if not all(isinstance(item, (str, bytes)) for item in array.flat):
        return None
    # A lone surrogate is not valid UTF-8: the graph handles it like other invalid bytes.
    for place, item in enumerate(array.flat):
        array.flat[place] = item if isinstance(item, bytes) else item.encode("utf-8", "surrogatepass")
    return array


def _setting(given: Any, usual: Any) -> Any:
    """Returns a row's setting, or the default if missing; in a column with gaps, integers have become floats."""
    if pd.isna(given):
        return usual
    return int(given) if isinstance(usual, int) and isinstance(given, float) and given.is_integer() else given


def _of_rows(name: str, given: Any, default: Any, rows: int) -> list[Any]:
    """Returns a setting for each row; seeds increase from row to row, within 32 bits."""
    value = default if given is None else given
    if name != "seed" or not -_INT32 <= value < _INT32:
        return [value] * rows
    return [(value + row + _INT32) % (2 * _INT32) - _INT32 for row in range(rows)]


def _plain(array: Any) -> Any:
    """Returns an output as Python values, UTF-8 as text."""
    return _text(array.tolist())


def _nothing(value: Any) -> Any:
    """Returns an empty prediction of the same form."""
    return [_nothing(item) for item in value] if isinstance(value, list) else type(value)()


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


set_model(ServedModel())
