"""The registered model as an MLflow pyfunc: a thin wrapper around the SavedModel, which does all the work.

This file travels inside the registered model, so it stands alone: it must not import seqapps. Columns of the input bear
the names of a signature's inputs, one row an example. A setting of the signature is a parameter for all rows, or a
column with a value for each; its default stands in the SavedModel's `model.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

_ROWS = 64
"""Rows of one call of the SavedModel."""
_INT32 = 1 << 31


class ServedModel(PythonModel):
    """Calls a signature of the SavedModel; the parameter `signature` says which (`serving_default`)."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the SavedModel, and the package that registers the operations of its tokenizer where it needs one."""
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
        """Returns the outputs of every row, by name; `error` says why a row has no answer.

        Args:
            context: where the artifacts lie.
            model_input: a data frame with the signature's columns; also (MLflow acts on the annotation, which therefore
                does not say so) a dictionary of lists, a list of dictionaries, or the values of the only column.
            params: the signature's settings, and `signature`. Row i of a call that is given one `seed` draws with
                `seed` + i.

        Raises:
            ValueError: no such signature, or a column that is missing or holds other values.
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
            columns.setdefault(key, _of_rows(key, given.get(key), setting["default"], rows))
        found = []
        for low in range(0, rows, _ROWS):
            part = {key: values[low : low + _ROWS] for key, values in columns.items() if key in inputs}
            found += self._answers(name, {key: self._tensor(key, inputs[key], part) for key in inputs})
        return found

    def _answers(self, signature: str, tensors: Mapping[str, Any]) -> list[dict[str, Any]]:
        outputs = {key: _plain(value.numpy()) for key, value in self._model.signatures[signature](**tensors).items()}
        return [dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)]

    def _tensor(self, name: str, spec: Mapping[str, Any], columns: Mapping[str, list[Any]]) -> Any:
        values = columns[name]
        # A missing value would otherwise be read as the text "None" or "nan".
        wrong = [value for value in values if not isinstance(value, (str, bytes))]
        if spec["dtype"] == "string" and len(spec["shape"]) == 1 and wrong:
            raise ValueError(f"column {name!r} must hold text. Received: {wrong[0]!r}.")
        return self._tf.constant(values, self._tf.as_dtype(spec["dtype"]))


def _columns(model_input: Any, needed: list[str]) -> dict[str, list[Any]] | None:
    """Returns the columns of an input by name; None where it has no row.

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


def _of_rows(name: str, given: Any, default: Any, rows: int) -> list[Any]:
    """Returns a setting once for each row; seeds go on from row to row, within 32 bits."""
    value = default if given is None else given
    if name != "seed" or not -_INT32 <= value < _INT32:
        return [value] * rows
    return [(value + row + _INT32) % (2 * _INT32) - _INT32 for row in range(rows)]


def _plain(array: Any) -> Any:
    """Returns an output as Python values, UTF-8 as text."""
    return _text(array.tolist())


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


set_model(ServedModel())
