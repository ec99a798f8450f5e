# %% [markdown]
# # Conditional generation: a number in words
#
# One to many: a condition goes in, a text comes out. Here the condition is five digits, as a vector of five numbers,
# and the text is the number in English, written letter by letter. No word is given to the network: it has to find out
# how to spell `forty`, and that the first two digits are told together.

# %%
import json
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
samples = 100

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

# %%
systems = {name: score.metrics for name, score in run.evaluation.baselines.items()} | {"GRU": run.evaluation.metrics}
print(f"\n{'system':14} {'nats a letter':>14} {'perplexity':>10}")
for name, metrics in systems.items():
    print(f"{name:14} {metrics['nats']:14.4f} {metrics['perplexity']:10.3f}")

# %%
model = run.model
numbers = [42_017, 7, 300, 15_015, 99_999, 80_808]
print()
for number, answer in zip(numbers, model.predict([json.dumps([int(d) for d in f"{number:05}"]) for number in numbers], temperature=0), strict=True):
    print(f"  {number:6,}  {answer.texts[0]}")
digits = "[4, 2, 0, 1, 7]"
for text in ("forty-two thousand and seventeen", "forty-two thousand and seventy", "twenty-four thousand and seventeen"):
    (score,) = model.predict([f"{digits}\t{text}"], score=True)
    print(f"  log p {score.total:9.2f}  {text}")
print(model.predict([digits], count=6, temperature=1.5))
print(model.predict(["[1.5, 2, 0, 1, 7]"], count=6, temperature=1))
