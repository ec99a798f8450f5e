"""The registered model as an MLflow pyfunc: a thin wrapper around the SavedModel, which does all the work.

This file travels inside the registered model, so it stands alone: it must not import seqapps. Columns of the input
bear the names of a signature's inputs, one row an example; inputs that are one value for the whole call are parameters.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ServedModel(PythonModel):
    """Calls a signature of the SavedModel; the parameter `signature` says which (`serving_default`)."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the SavedModel; the import of tensorflow_text registers the operations of its tokenizer."""
        import tensorflow as tf
        import tensorflow_text  # noqa: F401

        self._tf = tf
        self._model = tf.saved_model.load(context.artifacts["saved_model"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Returns the outputs of every row, by name.

        Args:
            context: where the artifacts lie.
            model_input: a data frame with the signature's columns.
            params: the signature's single values, and `signature`.

        Raises:
            ValueError: no such signature, or an input that is missing or empty.
        """
        given = dict(params or {})
        name = str(given.pop("signature", "") or "serving_default")
        if name not in self._model.signatures:
            allowed = sorted(self._model.signatures)
            raise ValueError(f"signature does not exist. Received: {name!r}. Allowed: {allowed}.")
        function = self._model.signatures[name]
        inputs = function.structured_input_signature[1]
        tensors = {key: self._tensor(name, key, spec, model_input, given) for key, spec in inputs.items()}
        outputs = {key: _plain(value.numpy()) for key, value in function(**tensors).items()}
        return [{key: values[row] for key, values in outputs.items()} for row in range(len(model_input))]

    def _tensor(self, signature: str, name: str, spec: Any, rows: Any, params: dict[str, Any]) -> Any:
        if spec.shape.rank == 0:
            if params.get(name) is None:
                raise ValueError(f"signature {signature!r} needs the parameter {name!r}. Received: {sorted(params)}.")
            return self._tf.constant(params[name], spec.dtype)
        if name not in rows:
            raise ValueError(f"signature {signature!r} needs the column {name!r}. Received: {sorted(rows)}.")
        values = list(rows[name])
        # A missing value would otherwise be read as the text "None" or "nan".
        wrong = [value for value in values if not isinstance(value, (str, bytes))]
        if spec.dtype == self._tf.string and wrong:
            raise ValueError(f"column {name!r} must hold text. Received: {wrong[0]!r}.")
        return self._tf.constant(values, spec.dtype)


def _plain(array: Any) -> Any:
    """Returns an output as Python values, UTF-8 as text."""
    return _text(array.tolist())


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


set_model(ServedModel())
