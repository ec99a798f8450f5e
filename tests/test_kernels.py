"""What XLA compiles of a recurrence: few shapes, whatever the lengths of the sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from warm import Warm

SCRIPT = """
import sys
from pathlib import Path

cache = Path(sys.argv[1])
from seqapps.workflow.stack import keep_compiled

keep_compiled(cache)

import tensorflow as tf

from seqapps.layers import recurrent as layers

for name in sys.argv[2:]:
    kind, _, form = name.partition("-")
    options = {"reset_after": form == "after"} if kind == "GRU" else {}
    layer = getattr(layers, kind)(7, go_backwards=form == "back", return_sequences=True, **options)
    layer.build((16, None, 3))

    @tf.function(input_signature=[tf.TensorSpec((16, None, 3)), tf.TensorSpec((16, None), tf.bool)])
    def run(x, mask):
        with tf.GradientTape() as tape:
            outputs = layer(x, mask=mask, training=True)
        return outputs, tape.gradient(outputs, layer.trainable_variables)

    before = len(list(cache.glob("xla-*/*")))
    for length in (17, 20, 31, 32):
        run(tf.ones((16, length, 3)), tf.ones((16, length), tf.bool))
    print(name, len(list(cache.glob("xla-*/*"))) - before)

layer = layers.SimpleRNN(9)
layer.build((None, None, 3))
before = len(list(cache.glob("xla-*/*")))
for rows, length in ((5, 3), (6, 9), (7, 15), (8, 16)):
    with tf.GradientTape() as tape:
        outputs = layer(tf.ones((rows, length, 3)), training=True)
    tape.gradient(outputs, [weight.value for weight in layer.trainable_variables])
print("at-once", len(list(cache.glob("xla-*/*"))) - before)
"""


def test_lengths_that_are_filled_to_one_size_are_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TF_XLA_FLAGS", "XLA_FLAGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    file = tmp_path / "count.py"
    file.write_text(SCRIPT)
    names = ("LSTM", "GRU-after", "GRU-before", "SimpleRNN")
    done = Warm(str(file), str(tmp_path / "cache"), *names, cwd=tmp_path).finish()
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = dict(line.split() for line in done.stdout.splitlines())
    # Forward and backward of one cell.
    assert found == dict.fromkeys([*names, "at-once"], "2")
