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

# %%
systems = {name: score.metrics for name, score in run.evaluation.baselines.items()} | {"LSTM": run.evaluation.metrics}
print(f"\n{'system':18} {'perplexity':>10} {'first guess right':>18} {'among five':>11}")
for name, metrics in systems.items():
    print(f"{name:18} {metrics['perplexity']:10.1f} {metrics['top1']:18.1%} {metrics['top5']:11.1%}")

# %%
model = run.model


def show(text: str) -> None:
    (answer,) = model.predict([text], k=4)
    print(f"  {text}")
    for words in answer.blanks:
        print("      " + "  ".join(f"{word} {p:.0%}" for word, p in words))


for text in (
    "the statement is executed until an ____ is raised",
    "until an ____",
    "____ is raised",
    "the value of the ____ is a ____ of strings",
    "if the list is empty, the method raises an ____ .",
    "the ____ method is called to create the instance",
    "a function ____ a value",
    "the for ____ is used to iterate over the elements of a ____",
):
    show(text)
