# %% [markdown]
# # Conditional generation: a number in words
#
# One to many: a condition goes in, a text comes out. Here the condition is five digits, as a vector of five numbers,
# and the text is the number in English, written letter by letter. No word is given to the network: it has to find out
# how to spell `forty`, and that the first two digits are told together.

# %%
import json
import math
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # keeps TensorFlow's own messages off the screen

import seqapps

folder = Path(os.environ.get("SEQAPPS_EXAMPLES", "seqapps-workspace/examples"))
folder.mkdir(parents=True, exist_ok=True)

# %%
config = folder / "example_conditional_generation.toml"
config.write_text("""
application = "conditional_generation"

[source]
builtin = "number-words"
format = "tsv"

[data]
condition = "vector"
vector_size = 5
samples = 100               # drawn at evaluation: how many are new, how many are distinct

[model]
cell = "gru"
units = [128]
embedding = 24
condition = 64
every_step = true           # the condition is an input of every step, not only of the first state

[training]
batch_size = 32
epochs = 3
learning_rate = 4e-3
clip_threshold = 1.0
sample_length = 0

[training.schedule]
name = "cosine"
warmup_steps = 100
""")
print("Preparing, training, evaluating and exporting ...", flush=True)
run = seqapps.run(config, workspace=folder, quiet=True)

# %% [markdown]
# ## Against an n-gram
#
# Kneser-Ney sees the last four letters, and cannot know the number: it has to be surprised by every digit's first
# letters. The network is surprised by next to nothing.

# %%
systems = {name: score.metrics for name, score in run.evaluation.baselines.items()} | {"GRU": run.evaluation.metrics}
print(f"\n{'system':14} {'nats a letter':>14} {'perplexity':>11}")
for name, metrics in systems.items():
    print(f"{name:14} {metrics['nats']:14.4f} {metrics['perplexity']:11.3f}")

# %% [markdown]
# ## A number for a condition
#
# A condition is a JSON list. At temperature 0 the most probable letter is taken at each step. Numbers below 1,000 are
# where errors are to be expected: they have no word `thousand`, and only one number in a hundred of the data is so
# small. A network knows well what it has seen often.

# %%
model = run.model


def vector(number: int) -> str:
    """Returns the condition of a number: its five digits as a JSON list."""
    return json.dumps([int(digit) for digit in f"{number:05}"])


numbers = [42_017, 99_999, 80_808, 15_015, 300, 7]
print("\nNumbers in words, the last two of a kind that is rare in the data:")
for number, answer in zip(numbers, model.predict([vector(n) for n in numbers], temperature=0), strict=True):
    print(f"  {number:6,}  {answer.texts[0]}")

# %% [markdown]
# ## How probable is a text for a condition?
#
# A row of `score=True` is the condition, a tab, and the text. A whole wrong word costs many nats.

# %%
print("\nlog p of a text, given 42,017:")
texts = ["forty-two thousand and seventeen", "forty-two thousand and seventy", "twenty-four thousand and seventeen"]
for answer in model.predict([f"{vector(42_017)}\t{text}" for text in texts], score=True):
    print(f"  {answer.total:8.2f}  {answer.text}")

# %% [markdown]
# ## Drawn at random
#
# At a high temperature it slips now and then, in spelling as in counting. `nats` says how improbable each text is.

# %%
(drawn,) = model.predict([vector(42_017)], count=6, temperature=1.5)
print("\n42,017, drawn at temperature 1.5:")
for nats, text in sorted(zip(drawn.nats, drawn.texts, strict=True)):
    print(f"  p = {math.exp(-nats):8.1e}  {text}")
