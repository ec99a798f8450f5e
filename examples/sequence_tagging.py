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
import ast
import fractions
import inspect
import os
import shlex
import statistics
import textwrap
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

# %% [markdown]
# ## Softmax against CRF
#
# F1 counts whole spans: begun, ended and labelled right. A statement is right when all of its tags are.

# %%
systems = {
    "most frequent tag": runs["crf"].evaluation.baselines["most_frequent_tag"].metrics,
    "LSTM, softmax": runs["softmax"].evaluation.metrics,
    "LSTM, CRF": runs["crf"].evaluation.metrics,
}
test = runs["crf"].evaluation
print(f"\nTest split: {test.rows} statements, {test.tokens} words")
print(f"{'system':18} {'tags right':>11} {'F1 of spans':>12} {'statements right':>17}")
for name, metrics in systems.items():
    print(f"{name:18} {metrics['accuracy']:11.2%} {metrics['f1']:12.4f} {metrics['sentence_accuracy']:17.2%}")

# %% [markdown]
# ## Tags for a line of text
#
# `predict` takes raw text, and its spans say where they are in that text.

# %%
softmax, crf = runs["softmax"].model, runs["crf"].model
line = "def greet(name, *, greeting='Good morning, '):"
(answer,) = crf.predict([line])
print(f"\n{line}")
for span in answer.spans:
    print(f"  {span.start:3} to {span.end:3}  {span.label:10} {span.text}")

# %% [markdown]
# ## Where they differ
#
# Statements of modules that are not part of the data. Their labels are not known here, but tags that the scheme forbids
# can be counted without: an `I-` that continues nothing.


# %%
def forbidden(tags: tuple[str, ...]) -> list[int]:
    """Returns the places of the `I-` tags that follow neither `B-` nor `I-` of the same label."""
    pairs = zip(("O", *tags), tags, strict=False)
    return [i for i, (one, next_) in enumerate(pairs) if next_.startswith("I-") and one[2:] != next_[2:]]


modules = (fractions, shlex, statistics, textwrap)
nodes = [node for module in modules for node in ast.walk(ast.parse(inspect.getsource(module)))]
found = dict.fromkeys(ast.unparse(node) for node in nodes if isinstance(node, ast.stmt))
lines = [text for text in found if "\n" not in text and len(text) < 120]
rivals = list(zip(softmax.predict(lines), crf.predict(lines), strict=True))
broken = [(one, other) for one, other in rivals if forbidden(one.tags)]
print(f"\nOf {len(lines)} statements of other modules, those with a tag that the scheme forbids:")
print(f"  softmax {len(broken)}, CRF {sum(bool(forbidden(other.tags)) for _, other in rivals)}")
for one, other in broken[:3]:
    place = forbidden(one.tags)[0]
    low, high = max(0, place - 2), place + 3
    print(f"  {one.text}")
    for name, tags in (("softmax", one.tags), ("CRF", other.tags)):
        words = zip(one.tokens[low:high], tags[low:high], strict=True)
        print(f"      {name:8} " + "   ".join(f"{word} {tag}" for word, tag in words))
