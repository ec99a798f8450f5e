"""What a user of an exported language model waits for.

    python benchmarks/predict.py [--units 256 256] [--vocabulary 10000] [--model FOLDER]

Prints the cold start of `seqapps predict`, the latency of a warm `complete` call, and the rate of generation. Without
`--model` it exports a word model of the given size with random weights: the time does not depend on their values.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

if TYPE_CHECKING:
    from seqapps.serving import Served

PROMPT = "w1 w2 w3"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="an exported folder")
    parser.add_argument("--units", type=int, nargs="+", default=[256, 256])
    parser.add_argument("--vocabulary", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or make(Path(folder), arguments.units, arguments.vocabulary)
        cold(model)
        warm(model)


def make(folder: Path, units: list[int], size: int) -> Path:
    """Writes a word model with random weights as a SavedModel that `seqapps.serving.load` reads."""
    import tensorflow as tf

    from seqapps.architectures import stacked
    from seqapps.graphs.text_generator import TextGenerator
    from seqapps.manifest import write_json
    from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig
    from seqapps.preprocessing.vocabulary import END, SPECIALS, Vocabulary

    words = tuple(f"w{index}" for index in range(size - len(SPECIALS)))
    tokenizer = Tokenizer(TokenizerConfig(unit="word"), Vocabulary((*SPECIALS, *words)))
    config = stacked.Config(units=tuple(units), embedding=units[0], dropout=0.0)
    model = stacked.build(config, vocabulary_size=size, carry=True, use_cudnn=False)
    generator = TextGenerator(model, tokenizer, start=END)
    tf.saved_model.save(generator, str(folder / "model"), signatures=generator.signatures())
    write_json(folder / "model" / "model.json", {"application": "language_model", "needs_tensorflow_text": True})
    print(f"model: LSTM {units}, {size:,} words, {model.count_params():,} parameters")
    return folder / "model"


def cold(model: Path) -> None:
    """The whole command in a fresh process: the median of three, and what the import of TensorFlow alone takes."""
    command = [sys.executable, "-m", "seqapps", "predict", str(model), PROMPT, "--complete"]
    imports = [sys.executable, "-c", "import tensorflow, tensorflow_text"]
    for name, call in (("seqapps predict --complete, cold", command), ("import tensorflow, tensorflow_text", imports)):
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run(call, check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
        print(f"{name:<40}{np.median(seconds):8.1f} s")


def warm(model: Path) -> None:
    """Latency of `complete`, and units per second of generation."""
    from seqapps import serving

    served = serving.load(model)
    served.predict([PROMPT], complete=True)
    seconds = []
    for _ in range(500):
        began = time.perf_counter()
        served.predict([PROMPT], complete=True)
        seconds.append(time.perf_counter() - began)
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    print(f"{'complete, warm: p50 / p99':<40}{p50:8.2f} / {p99:.2f} ms")
    for rows in (1, 32):
        for temperature in (0.0, 0.8):
            rate = max(_rate(served, rows, temperature) for _ in range(4))
            print(f"{f'generate, batch {rows}, temperature {temperature}':<40}{rate:8,.0f} units/s")


def _rate(served: Served, rows: int, temperature: float) -> float:
    began = time.perf_counter()
    answers = served.predict([PROMPT] * rows, max_length=200, temperature=temperature)
    return sum(answer.units for answer in answers) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
