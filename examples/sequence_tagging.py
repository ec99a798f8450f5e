# %% [markdown]
# # Sequence tagging: the role of every word of a Python statement, softmax against CRF
#
# A tagger gives every word a tag. Here the words are those of Python statements, cut at every space and sign, and the
# tags say what they are there for: a keyword, the name of a function, a parameter, a string. Python's own parser gave
# the labels, so they are exact. A string has many words, so tags are those of the BIO scheme: `B-string` begins one,
# `I-string` goes on with it, `O` is for what has no role. `I-string` after `O` is no tag sequence of the scheme.
#
# - With a *softmax* head each tag is chosen by itself: the most probable one for its word.
# - With a *CRF* head (conditional random field; Lafferty et al. 2001) the tags of a statement are chosen together: the
#   most probable sequence, with a score for each pair of neighbours. Orders that the scheme forbids cannot happen.

# %%
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # keeps TensorFlow's own messages off the screen

import seqapps

folder = Path(os.environ.get("SEQAPPS_EXAMPLES", "seqapps-workspace/examples"))
folder.mkdir(parents=True, exist_ok=True)

# %%
config = folder / "example_sequence_tagging.toml"
config.write_text("""
application = "sequence_tagging"

[source]
builtin = "python-tokens"
format = "jsonl"

[data]
annotation = "spans"
scheme = "BIO"
min_count = 2
split = { validation = 0.1, test = 0.6 }        # little to learn from, so that it is quick; much to be measured on

[model]
embedding = 32
characters = "cnn"                              # also reads the letters of a word
character_embedding = 12
character_units = 24
units = [48]                                    # in each direction
dropout = 0.2

[training]
batching = "length"                             # little padding
epochs = 2
batch_size = 24
learning_rate = 6e-3

[baselines]
names = ["most_frequent_tag"]
""")
runs = {}
for head in ("softmax", "crf"):
    print(f"Preparing, training, evaluating and exporting a tagger with {head} ...", flush=True)
    runs[head] = seqapps.run(config, overrides={"model.head": head}, workspace=folder, quiet=True)

# %%
systems = {
    "most frequent tag": runs["crf"].evaluation.baselines["most_frequent_tag"].metrics,
    "LSTM, softmax": runs["softmax"].evaluation.metrics,
    "LSTM, CRF": runs["crf"].evaluation.metrics,
}
print(f"\n{'system':18} {'tags right':>11} {'F1 of spans':>12} {'statements all right':>21}")
for name, metrics in systems.items():
    print(f"{name:18} {metrics['accuracy']:11.2%} {metrics['f1']:12.4f} {metrics['sentence_accuracy']:21.2%}")

# %%
lines = [
    "def greet(name, *, greeting='Good morning, '):",
    "return greeting + name.upper()",
    "class Robot(Machine):",
    "import os.path as here",
    "total = sum(price * 1.19 for price in prices)",
]
softmax, crf = runs["softmax"].model, runs["crf"].model
for line, one, other in zip(lines, softmax.predict(lines), crf.predict(lines), strict=True):
    print(line)
    print("   ", "  ".join(f"{span.text}/{span.label}" for span in other.spans))
    print("   ", one.tags == other.tags, one.tags, one.log_probability, other.log_probability)
