# %% [markdown]
# # Text classification: where a network and a logistic regression err
#
# Every Unicode character has a name, `GREEK SMALL LETTER BETA`, and a category, `Ll` (a lower-case letter). Python
# knows both, so every machine has thousands of short real texts with exact labels. The task: tell the category from
# the name.

# %%
import os
import random
import sys
import unicodedata
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # keeps TensorFlow's own messages off the screen

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import seqapps

folder = Path(os.environ.get("SEQAPPS_EXAMPLES", "seqapps-workspace/examples"))
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## Data
#
# A table with the columns `text` and `label`. The test rows are a file of their own, so that the logistic regression
# below can be measured on the very same rows.

# %%
KINDS = {
    "Lu": "upper-case letter",
    "Ll": "lower-case letter",
    "Lo": "other letter",
    "Lm": "modifier letter",
    "Mn": "mark, takes no space",
    "Mc": "mark, takes space",
    "Nd": "decimal digit",
    "No": "other number",
    "Po": "punctuation",
    "Sm": "mathematical symbol",
    "So": "other symbol",
}
characters = [chr(code) for code in range(sys.maxunicode + 1)]
named = [(unicodedata.name(c, ""), unicodedata.category(c)) for c in characters if unicodedata.category(c) in KINDS]
random.seed(1)
random.shuffle(named)
rows: list[tuple[str, str]] = []
for kind in KINDS:
    # Names such as CJK UNIFIED IDEOGRAPH-4E00 only spell a number.
    rows += [row for row in named if row[1] == kind and row[0] and "IDEOGRAPH" not in row[0]][:800]
random.shuffle(rows)
test = rows[: len(rows) // 4]
train = rows[len(rows) // 4 :]
for name, part in (("train", train), ("test", test)):
    lines = "".join(f"{text}\t{label}\n" for text, label in part)
    (folder / f"unicode-{name}.tsv").write_text(f"text\tlabel\n{lines}", encoding="utf-8")
print(f"{len(train)} names to learn from, {len(test)} to be measured on, such as {test[0]}")

# %%
config = folder / "example_text_classification.toml"
config.write_text(f"""
application = "text_classification"

[source]
format = "tsv"
train = ["{folder}/unicode-train.tsv"]      # a tenth of it is held out for validation
test = ["{folder}/unicode-test.tsv"]

[model]
cell = "gru"                                # in both directions
units = [32]
embedding = 32
pooling = "max"
dropout = 0.2
word_dropout = 0.05                         # teaches it what an unknown word can be

[training]
batch_size = 32
epochs = 6
learning_rate = 4e-3

[baselines]
names = ["majority", "tfidf_logistic"]
""")
print("Preparing, training, evaluating and exporting a classifier ...", flush=True)
run = seqapps.run(config, workspace=folder, quiet=True)

# %% [markdown]
# ## Against the baselines
#
# With a few thousand short texts, a logistic regression on words and pairs of words is hard to beat: single words say
# nearly everything. The gate compares on the same resampled rows (bootstrap) and refuses a model that is not surely
# better than every baseline. A refused model is exported all the same; it is just not the one that `@champion` names.

# %%
print(f"\n{'system':16} {'accuracy':>9} {'macro F1':>9}")
systems = {name: score.metrics for name, score in run.evaluation.baselines.items()}
for name, metrics in (systems | {"GRU": run.evaluation.metrics}).items():
    print(f"{name:16} {metrics['accuracy']:9.3f} {metrics['macro_f1']:9.3f}")
print("The gate:", "promoted" if run.promoted else "refused", "(a difference is in accuracy, with its 95 % interval)")
for check in run.decision.checks:
    print(f"  against {check.against}: {check.detail}")

# %% [markdown]
# ## Predictions with probabilities
#
# No character has these names, so nobody can have learned them by heart.

# %%
model = run.model
print("\nNames that no character has:")
for answer in model.predict(["SMILING ROBOT FACE", "GREEK SMALL LETTER QUOKKA", "QUOKKA DIGIT SEVEN", "QUOKKA SIGN"]):
    likely = ", ".join(f"{label} ({KINDS[label]}) {p:.0%}" for label, p in list(answer.probabilities.items())[:3])
    print(f"  {answer.text:26} {likely}")

# %% [markdown]
# ## Where each of them errs
#
# The same logistic regression (tf-idf of words and pairs of words), fitted here to see its answers row by row.

# %%
texts, labels = zip(*train, strict=True)
linear = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=30, max_iter=300))
linear.fit(texts, labels)
asked, truth = zip(*test, strict=True)
rivals = list(zip(model.predict(asked), linear.predict(asked), truth, strict=True))

GROUPS = {
    (True, True): "both are right",
    (True, False): "only the GRU is right",
    (False, True): "only the regression is right",
    (False, False): "both err",
}
print()
for (ours, theirs), title in GROUPS.items():
    group = [row for row in rivals if (row[0].label == row[2], row[1] == row[2]) == (ours, theirs)]
    print(f"{len(group):5} of {len(test)}: {title}")
    for answer, other, label in group[: 0 if ours and theirs else 5]:
        print(f"         {answer.text:48} is {label}; GRU {answer.label} {answer.probability:.0%}, regression {other}")

# %% [markdown]
# ## Is it right as often as it says?
#
# A probability is honest if, of all answers given with 90 %, nine in ten are right. Networks tend to say too much.

# %%
print("\nHow sure it was, and how often it was right:")
for low, high in ((0.0, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
    hits = [answer.label == label for answer, _, label in rivals if low <= answer.probability < high]
    if hits:
        print(f"  {low:4.0%} to {min(high, 1):4.0%}: {len(hits):5} names, {sum(hits) / len(hits):4.0%} right")
