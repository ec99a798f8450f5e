"""The smallest whole run: a language model of eighty lines."""

from __future__ import annotations

from pathlib import Path

CORPUS = Path(__file__).parent / "contracts" / "language_model.txt"


def config_from_source(source: str) -> str:
    """Returns the configuration with these lines as its `[source]`."""
    return f"""
application = "language_model"

[source]
{source}
[data]
tokens = {{ level = "word" }}
split = {{ by = "row", validation = 0.2, test = 0.2 }}
ngram_order = 2

[model]
cell = "gru"
units = [12]
embedding = 8

[training]
batch_size = 2
window = 8
learning_rate = 0.02
epochs = 1
sample_length = 10

[baselines]
names = ["uniform"]

[promotion]
segment = 16
resamples = 200
"""


CONFIG = config_from_source(f'files = ["{CORPUS}"]\n')
