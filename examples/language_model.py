# %% [markdown]
# # Language model: what an n-gram cannot see
#
# A language model gives every next word a probability. An n-gram model counts what followed the last few words; a
# recurrent network carries a state along, which can hold a word from any distance.
#
# The built-in data `agreement` (generated sentences) is about that difference:
#
#     the keys by the lamp of the guards are here
#
# The *first* noun decides between `is` and `are`; the nouns in between mislead. A 5-gram sees the four words before the
# verb, so from two phrases on (`by ..`, `of ..`) the first noun is out of its sight.

# %%
import math
import os
from pathlib import Path

import seqapps

folder = Path(os.environ.get("SEQAPPS_EXAMPLES", "seqapps-workspace/examples"))
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# A configuration is a TOML file. What is not in it has a default (`seqapps config FILE` prints them all).

# %%
config = folder / "example_language_model.toml"
config.write_text("""
application = "language_model"

[source]
builtin = "agreement"

[data]
tokens = { unit = "word" }
ngram_order = 5

[model]
cell = "lstm"
units = [48]
embedding = 24

[training]
batching = "length"        # each sentence by itself
batch_size = 32
epochs = 10
learning_rate = 1e-2

[baselines]
names = ["unigram", "kneser_ney"]
""")
print("Preparing, training, evaluating and exporting a language model ...", flush=True)
run = seqapps.run(config, workspace=folder, quiet=True)

# %% [markdown]
# ## n-gram against RNN
#
# Perplexity is exp(nats per word): among how many equally likely words the model chooses, on average. Most of it is
# chance that no model can remove (which noun comes next?), so the gap looks small. Per sentence it is not: to know
# whether a verb is singular or plural is worth ln 2 = 0.69 nats. One sentence in four has only one phrase, and there
# the 5-gram sees the first noun, too; so a perfect memory is worth about 3/4 ln 2.

# %%
test = run.evaluation
print(f"\nTest split: {test.rows} sentences, {test.units} words (with the end of each sentence)")
print(f"{'system':28} {'perplexity':>10} {'nats a sentence':>16}")
systems = {
    "unigram (counts words)": test.baselines["unigram"].metrics,
    "Kneser-Ney 5-gram": test.baselines["kneser_ney"].metrics,
    "LSTM": test.metrics,
}
nats = {name: metrics["nats"] * test.units / test.rows for name, metrics in systems.items()}
for name, metrics in systems.items():
    print(f"{name:28} {metrics['perplexity']:10.3f} {nats[name]:16.2f}")
gain = nats["Kneser-Ney 5-gram"] - nats["LSTM"]
print(f"The LSTM saves {gain:.2f} nats a sentence; knowing every verb's number is worth 3/4 ln 2 = {0.75 * math.log(2):.2f}.")
print("Surely better than every baseline (bootstrap), so it is promoted:", run.promoted)

# %% [markdown]
# ## Next-word suggestions
#
# `complete=True` asks for the most probable next words. Both prompts end with the same four words: an n-gram would give
# both the same answer.

# %%
model = run.model
prompts = ["the keys by the lamp of the guard by the door", "the key by the lamp of the guard by the door"]
print("\nNext word (only the second word differs):")
for answer in model.predict(prompts, complete=True, k=6):
    words = "  ".join(f"{word} {p:.0%}" for word, p in zip(answer.units, answer.probabilities, strict=True))
    print(f"  {answer.prompt} ...\n      {words}")

# %% [markdown]
# ## Probability of a sentence
#
# `score=True` gives log p of each word. A sentence with the right verb must be more probable than one with the wrong
# verb, however many nouns stand in between. The ratio says how sure the model is.

# %%
pairs = [
    ("the keys by the lamp are here", "the keys by the lamp is here"),
    ("the keys by the lamp of the guard are here", "the keys by the lamp of the guard is here"),
    ("the key of the lamps of the guards by the doors was there", "the key of the lamps of the guards by the doors were there"),
]
print("\nlog p of a sentence with the right and with the wrong verb:")
for right, wrong in pairs:
    good, bad = model.predict([right, wrong], score=True)
    print(f"  {good.total:7.2f}  {right}\n  {bad.total:7.2f}  {wrong}")
    print(f"           the right one is {math.exp(good.total - bad.total):,.0f} times as probable")

# %% [markdown]
# ## Sampling at two temperatures
#
# To write, the model draws word after word. A temperature below 1 sharpens the probabilities before each draw, one
# above 1 flattens them: more variety, and more mistakes. With these sentences a mistake can be counted.

# %%
PLURAL = {"is": False, "was": False, "are": True, "were": True}


def agrees(sentence: str) -> bool:
    """Whether the sentence has the form of the data, and its verb the number of its first noun."""
    words = sentence.split()
    verbs = [word for word in words if word in PLURAL]
    formed = len(words) > 4 and words[0] == "the" and words[-1] in ("here", "there") and words[-2:-1] == verbs
    return formed and words[1].endswith("s") == PLURAL[verbs[0]]


print("\n200 sentences drawn at each temperature:")
for temperature in (0.5, 2.0):
    drawn = [answer.text for answer in model.predict([""] * 200, temperature=temperature, max_length=30)]
    print(f"  temperature {temperature}: {sum(map(agrees, drawn)) / 2:.1f} % are right, {len(set(drawn))} are distinct")
    for sentence in drawn[:4]:
        print(f"      {'right' if agrees(sentence) else 'WRONG'}  {sentence}")
