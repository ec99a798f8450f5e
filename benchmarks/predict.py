"""The cold start of `seqapps predict`: a fresh process that loads an exported language model and answers once.

    python benchmarks/predict.py [--model FOLDER]

Prints the median of three calls, and what the import of TensorFlow alone takes. Without `--model` it exports a word
model with random weights: the time does not depend on their values. Warm calls are in benchmarks/decoding.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _decoding_keras import generator, save
from _jobs import LANGUAGE_MODEL, PROMPT


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="an exported folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model
        if model is None:
            model = save(Path(folder) / "model", "language_model", generator())
            print(f"model: {LANGUAGE_MODEL.title}, {LANGUAGE_MODEL.vocabulary:,} words")
        command = [sys.executable, "-m", "seqapps", "predict", str(model), PROMPT, "--complete"]
        imports = [sys.executable, "-c", "import tensorflow, tensorflow_text"]
        print(f"{'seqapps predict --complete, cold':<40}{_median_seconds(command):8.1f} s")
        print(f"{'import tensorflow, tensorflow_text':<40}{_median_seconds(imports):8.1f} s")


def _median_seconds(command: list[str]) -> float:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
