"""A loaded exported model and its predictions. It needs TensorFlow, but none of our model code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from seqapps import __version__, applications, exported
from seqapps.applications import Call
from seqapps.applications.answers import BATCH
from seqapps.errors import DataError, UsageError, wrong_value
from seqapps.exported import FILE_NAME
from seqapps.files import read_json
from seqapps.serving import check
from seqapps.training.trained_model import WEIGHTS

FACTS = "facts.json"

_ASSERTION = re.compile(r"assertion failed: \[(.* Received:)\] \[+([^\]]*)\]")
"""Format of a failed assertion of a served graph in TensorFlow: its message, then the value."""


class Served:
    """A model that was loaded from a SavedModel.

    Args:
        model: the result of `tf.saved_model.load`.
        record: its `model.json`.
        facts: facts of the model, not of an example.
    """

    def __init__(self, model: Any, record: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        self.record = record
        self.call = Call(self._call, facts)
        self.application = applications.load(str(record["application"]))
        self._model = model

    def predict(self, rows: Sequence[Any], **options: Any) -> list[Any]:
        """Returns a prediction for each row: the application's frozen dataclass.

        Args:
            rows: texts, as `str` or UTF-8 bytes; the content of a CSV file, or its path, for a series.
            options: those of `seqapps predict`, with underscores: `max_length=20`, `complete=True`. Equal calls
                return equal results, and appended rows do not change those before them.

        Raises:
            UsageError: an option that the application does not have, or one out of range; rows that are not texts.
        """
        wrong = [rows] if isinstance(rows, (str, bytes)) else [r for r in rows if not isinstance(r, (str, bytes))]
        if wrong:
            raise UsageError(wrong_value("predict: `rows`", wrong[0], "must be a list of str or bytes", '["a text"]'))
        chosen = applications.options_of(self.application, options, signatures=set(self._model.signatures))
        answers: list[Any] = []
        for low in range(0, len(rows), BATCH):
            answers += self.application.answer(self.call, rows[low : low + BATCH], chosen, low)
        return answers

    def _call(self, signature: str, **inputs: Any) -> dict[str, Any]:
        """Returns the outputs of a signature as nested lists, UTF-8 as text.

        Raises:
            DataError: the model has no such signature, or refuses a setting.
        """
        if signature not in self._model.signatures:
            raise DataError(
                f"The model has no signature {signature!r}. Received: application {self.record['application']!r} with "
                f"{sorted(self._model.signatures)}. Remedy: export it again (`seqapps export CONFIG`); this is seqapps "
                f"{__version__}, and it was exported by {self.record.get('code_version')}."
            )
        try:
            return check.answer(tf, self._model.signatures[signature], inputs)
        except tf.errors.InvalidArgumentError as error:
            assertion = _ASSERTION.search(error.message)
            if assertion is None:
                raise
            raise DataError(f"predict: {assertion[1]} {assertion[2]}.") from None


def load(folder: Path) -> Served:
    """Loads the model of an exported folder.

    Raises:
        DataError: the folder holds no exported model; for a trained model, says that it must be exported first.
    """
    record = read_record(folder)
    if record["needs_tensorflow_text"]:
        import tensorflow_text  # noqa: F401  # registers the operations of the tokenizer
    facts = folder / "assets" / FACTS
    known = read_json(facts, exported.again(folder)) if facts.exists() else {}
    try:
        model = tf.saved_model.load(str(folder))
    except (MemoryError, PermissionError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:  # missing, truncated or changed files raise various types
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"{folder} is damaged and does not load ({what}). Remedy: {exported.again(folder)}.") from error
    return Served(model, record, known)


def read_record(folder: Path) -> dict[str, Any]:
    """Returns `model.json` of an exported folder: the fields of `Exported`.

    Raises:
        FormatError: another version of seqapps exported it.
        DataError: see `load`.
    """
    if not (folder / "saved_model.pb").exists():
        if (folder / WEIGHTS).exists() or (folder / "model" / WEIGHTS).exists():
            raise DataError(f"{folder} holds a trained model, which is not exported yet. Run `seqapps export CONFIG`.")
        raise DataError(f"{folder} holds no exported model (saved_model.pb). Run `seqapps export CONFIG`.")
    try:
        return vars(exported.read(folder))
    except FileNotFoundError:
        raise DataError(
            f"{folder} is a SavedModel without {FILE_NAME}: seqapps did not export it, or it is damaged. Remedy, if it "
            f"is an export of seqapps: {exported.again(folder)}."
        ) from None
