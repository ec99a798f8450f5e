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

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # keeps TensorFlow's own messages off the screen

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
tokens = { level = "word" }
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
# chance that no model can remove (which noun comes next?), so the gap looks small. A sentence as a whole shows more.
# To know whether a verb is singular or plural is worth ln 2 = 0.69 nats. One sentence in four has only one phrase, and
# there the 5-gram sees the first noun, too; so this memory is worth 3/4 ln 2. The rest of the gap: a state can also
# count the phrases (there are never more than four), and the n-gram has to keep probability for what it never saw.

# %%
test = run.evaluation
print(f"\nTest split: {test.rows} sentences, {test.tokens} words (with the end of each sentence)")
print(f"{'system':28} {'perplexity':>10} {'nats a sentence':>16}")
systems = {
    "unigram (counts words)": test.baselines["unigram"].metrics,
    "Kneser-Ney 5-gram": test.baselines["kneser_ney"].metrics,
    "LSTM": test.metrics,
}
nats = {name: metrics["nats"] * test.tokens / test.rows for name, metrics in systems.items()}
for name, metrics in systems.items():
    print(f"{name:28} {metrics['perplexity']:10.3f} {nats[name]:16.2f}")
gain = nats["Kneser-Ney 5-gram"] - nats["LSTM"]
number = 0.75 * math.log(2)
print(f"The LSTM saves {gain:.2f} nats a sentence, {number:.2f} of them (3/4 ln 2) by the number of the verb.")
print("Surely better than both baselines (bootstrap), so promoted:", run.promoted)

# %% [markdown]
# ## Next-word suggestions
#
# `complete=True` asks for the most probable next words. Both prompts end with the same four words: an n-gram would give
# both the same answer.

# %%
model = run.model
prompts = ["the keys by the lamp of the guard by the door", "the key by the lamp of the guard by the door"]
print("\nThe next word, where only the second word differs:")
for answer in model.predict(prompts, complete=True, k=6):
    words = "  ".join(f"{word} {p:.0%}" for word, p in zip(answer.tokens, answer.probabilities, strict=True))
    print(f"  {answer.prompt} ...\n      {words}")

# %% [markdown]
# ## Probability of a sentence
#
# `score=True` gives log p of each word. A sentence with the right verb must be more probable than one with the wrong
# verb, however many nouns stand in between. The ratio says how sure the model is.

# %%
sentences = [
    ("the keys by the lamp {} here", "are", "is"),
    ("the keys by the lamp of the guard {} here", "are", "is"),
    ("the key of the lamps of the guards by the doors {} there", "was", "were"),
]
print("\nlog p of a sentence with the right and with the wrong verb:")
for sentence, verb, other in sentences:
    right, wrong = model.predict([sentence.format(verb), sentence.format(other)], score=True)
    print(f"  {right.total:7.2f}  {right.text}\n  {wrong.total:7.2f}  {wrong.text}")
    print(f"           the right one is {math.exp(right.total - wrong.total):,.0f} times as probable")

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
