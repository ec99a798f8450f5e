# %% [markdown]
# # Masked word: fill in a blank from both sides
#
# A language model sees what comes before a word. This model sees what comes after it, too: one recurrent network reads
# from the left, one from the right, and both together tell the word in between. The text is Python's own language
# reference, which every Python carries.

# %%
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # keeps TensorFlow's own messages off the screen

import seqapps

folder = Path(os.environ.get("SEQAPPS_EXAMPLES", "seqapps-workspace/examples"))
folder.mkdir(parents=True, exist_ok=True)

# %%
config = folder / "example_masked_word.toml"
config.write_text("""
application = "masked_word"

[source]
builtin = "python-docs"
rows = "line"

[data]
tokens = { lowercase = true }
min_count = 5               # rarer words become <unk>
max_reject_fraction = 0.5   # blank lines are rejected, and counted

[model]
units = [96]                # in each direction
embedding = 96
hidden = 96
dropout = 0.3
blank_rate = 0.1            # also hides other words in training, for texts with several blanks

[training]
batch_size = 64
epochs = 4
learning_rate = 8e-3
schedule = { name = "cosine", warmup_steps = 50 }
""")
print("Preparing, training, evaluating and exporting ...", flush=True)
run = seqapps.run(config, workspace=folder, quiet=True)

# %% [markdown]
# ## Against the baselines
#
# Each word of the test split in turn is the blank. `unigram_word` knows how frequent a word is, `neighbour_counts` has
# counted which words stand between these two neighbours: strong on a text that repeats itself, and blind beyond them.

# %%
systems = {name: score.metrics for name, score in run.evaluation.baselines.items()} | {"LSTM": run.evaluation.metrics}
print(f"\n{'system':18} {'perplexity':>10} {'first guess right':>18} {'among five':>11}")
for name, metrics in systems.items():
    print(f"{name:18} {metrics['perplexity']:10.1f} {metrics['top1']:18.1%} {metrics['top5']:11.1%}")
print("Surely better than both baselines (bootstrap), so promoted:", run.promoted)

# %% [markdown]
# ## Fill in a blank
#
# A blank is two or more underscores. Each has its most probable words; with several, each is told by itself.

# %%
model = run.model


def show(texts: list[str]) -> None:
    """Prints each text, and the most probable words of each of its blanks."""
    for answer in model.predict(texts, k=5):
        print(f"  {answer.text}")
        for words in answer.blanks:
            print("      " + "   ".join(f"{word} {probability:.0%}" for word, probability in words))


print("\nOne blank, and two:")
show(["the ____ of the list is changed", "if the ____ is not found, a ____ is raised"])

# %% [markdown]
# ## What the right side adds
#
# The same blank with the words on its left, on its right, and on both sides. A model of the left side alone, such as a
# language model, sees only the first of these.

# %%
print("\nThe left side, the right side, and both:")
show(["until an ____", "____ is raised", "until an ____ is raised"])
