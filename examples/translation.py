# %% [markdown]
# # Translation: dates to ISO 8601, and what beam search is for
#
# An encoder reads the source, a decoder writes the target character by character, and attention lets it look back at
# every character of the source. The task, `3 May 1999` to `1999-05-03`, is easy to check; and one way to write a date,
# `04/05/1999`, has two right answers. A model that is worth its probabilities knows that.

# %%
import math
import os
import random
from datetime import date, timedelta
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # keeps TensorFlow's own messages off the screen

import seqapps

folder = Path(os.environ.get("SEQAPPS_EXAMPLES", "seqapps-workspace/examples"))
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## Data
#
# Pairs in a table with the columns `source` and `target`. With slashes, one writer in three puts the month first, the
# others the day: nothing in `04/05/1999` tells which, and everything in `04/25/1999`.

# %%
random.seed(1)
STYLES = ["{d} {month} {y}", "{month} {d}, {y}", "{y}, {month} {d}", "{d}-{month:.3}-{y}", "{weekday}, {d} {month} {y}"]
SLASHES = ["{d:02}/{m:02}/{y}", "{d:02}/{m:02}/{y}", "{m:02}/{d:02}/{y}"]


def pair() -> tuple[str, str]:
    day = date(1900, 1, 1) + timedelta(days=random.randrange(200 * 365))
    style = random.choice([*STYLES, random.choice(SLASHES)])
    parts = {"d": day.day, "m": day.month, "y": day.year, "month": f"{day:%B}", "weekday": f"{day:%A}"}
    return style.format(**parts), day.isoformat()


pairs = [pair() for _ in range(5_000)]
(folder / "dates.tsv").write_text("source\ttarget\n" + "".join(f"{s}\t{t}\n" for s, t in pairs), encoding="utf-8")
for source, target in pairs[:4]:
    print(f"{source:28} -> {target}")

# %%
config = folder / "example_translation.toml"
config.write_text(f"""
application = "translation"

[source]
files = ["{folder}/dates.tsv"]

[data]
split = {{ validation = 0.05, test = 0.05 }}
source = {{ level = "character", lowercase = true }}
target = {{ level = "character" }}

[model]
cell = "gru"
units = [48]
decoder_units = [96]
embedding = 24
attention = "additive"

[training]
batch_size = 32
epochs = 4
learning_rate = 6e-3
schedule = {{ name = "cosine", warmup_steps = 30 }}
sample_length = 0

[evaluation]
beam = 4
""")
print("Preparing, training, evaluating and exporting an encoder and decoder ...", flush=True)
run = seqapps.run(config, workspace=folder, quiet=True)

# %% [markdown]
# ## Against the baselines
#
# `copy_source` copies, `nearest_translation` looks up the most similar source. Not every date can be right: of those
# with slashes whose day is at most 12, one in three has the month first, and nothing shows it.

# %%
systems = {name: score.metrics for name, score in run.evaluation.baselines.items()} | {"GRU": run.evaluation.metrics}
print(f"\n{'system':22} {'dates right':>11} {'BLEU':>6}")
for name, metrics in systems.items():
    print(f"{name:22} {metrics['exact_match']:11.1%} {metrics['bleu']:6.1f}")

# %% [markdown]
# ## n best
#
# Beam search keeps several unfinished translations at every step, and returns the `n_best` most probable ones. Each has
# its probability, log p of the whole target. Where the source says it all, the first has nearly everything; where it
# does not, the two readings have about 2/3 and 1/3.

# %%
model = run.model
print("\nThe three best translations of each source, with their probabilities:")
sources = ["3 May 1999", "Monday, 29 february 1960", "04/25/1999", "25/04/1999", "04/05/1999"]
for answer in model.predict(sources, beam=4, n_best=3):
    best = "   ".join(f"{other.text} {math.exp(other.log_probability):6.1%}" for other in answer.alternatives)
    print(f"  {answer.source:26} {best}")

# %% [markdown]
# ## Beam against greedy
#
# With `beam=1` the search takes the most probable character at every step, and cannot take one back.

# %%
asked = [source for source, _ in pairs[:300]]
greedy, searched = model.predict(asked, beam=1), model.predict(asked, beam=4)
better = [(a, b) for a, b in zip(greedy, searched, strict=True) if b.log_probability > a.log_probability + 1e-3]
print(f"\nOf {len(asked)} sources beam search finds a more probable translation for {len(better)}:")
for one, other in better[:3]:
    print(
        f"  {one.source:26} greedy {one.text} {math.exp(one.log_probability):.1%}, "
        f"beam {other.text} {math.exp(other.log_probability):.1%}"
    )

# %% [markdown]
# ## Where it looks
#
# Attention weights, for each character of the target (down) over the characters of the source (across).

# %%
picture = folder / "translation.png"
model.predict(["Saturday, 14 September 2024"], attention=str(picture))
print(f"\n{picture}: where the model looked")
