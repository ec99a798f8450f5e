"""Loads a SavedModel with only TensorFlow, and runs its golden calls. Independent of seqapps.

    python -I check.py FOLDER ANSWERS
    python -I check.py                   both are read from standard input, one per line, after the import of TensorFlow

ANSWERS becomes a JSON file: `answers` (signature name to the outputs of each call), `needs_tensorflow_text`, and the
loading time in seconds. It imports tensorflow_text only if the graph does not load without it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def alone() -> None:
    """Hides the GPU and makes an import of our packages raise, whether they are installed or not."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("seqapps", "pipelines", "tuning"):
        sys.modules[name] = None  # type: ignore[assignment]


def main(words: list[str]) -> None:
    """Runs the calls of a folder's `golden.json` and writes the file; takes two arguments, or two lines of input."""
    gc.disable()  # nearly no object of this short process becomes garbage
    began = time.perf_counter()
    import tensorflow as tf

    imported = time.perf_counter()
    folder, target = map(Path, words or sys.stdin.read().splitlines())
    asked = time.perf_counter()
    model, needs_text = load(tf, folder)
    loaded = time.perf_counter()
    golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    answers = {
        name: [answer(tf, model.signatures[name], call["inputs"]) for call in calls] for name, calls in golden.items()
    }
    report = {
        "answers": answers,
        "needs_tensorflow_text": needs_text,
        "import_seconds": imported - began,
        "load_seconds": loaded - asked,
    }
    target.write_text(json.dumps(report), encoding="utf-8")


def load(tf: Any, folder: Path) -> tuple[Any, bool]:
    """Returns the model, and whether loading needed tensorflow_text."""
    try:
        return tf.saved_model.load(str(folder)), False
    except (RuntimeError, tf.errors.NotFoundError) as error:
        if "Op type not registered" not in str(error):
            raise
    import tensorflow_text  # noqa: F401

    return tf.saved_model.load(str(folder)), True


def answer(tf: Any, signature: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Returns the outputs of one call as JSON values."""
    specs = inputs_of(signature)
    outputs = signature(**{name: tf.constant(value, specs[name].dtype) for name, value in inputs.items()})
    return {name: plain(value.numpy().tolist()) for name, value in outputs.items()}


def inputs_of(signature: Any) -> dict[str, Any]:
    """Returns the inputs of a signature, name to TensorSpec; a traced one has them by index, a loaded one by name."""
    places, names = signature.structured_input_signature
    return {**{spec.name: spec for spec in places}, **names}


def plain(value: Any) -> Any:
    """Returns nested lists with UTF-8 as text."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


if __name__ == "__main__":
    alone()
    main(sys.argv[1:])
