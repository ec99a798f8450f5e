"""A linear-chain CRF on word form and context features, a standard tagger.

    p(y | x) = exp(sum_t (sum_k w_k f_k(y_t, x, t) + u(y_{t-1}, y_t))) / Z(x)

Features of a token, of its text and never its id, so that no word is unknown:

- the word; in lower case; its shape (`Xxx-dd`, and with runs as one `Xx-d`); its first and its last one to four letters
  in lower case;
- of the word before and the word after: the same in lower case, its short shape, its last three letters, and the pair
  that the two make; of the second word before and after: the word in lower case;
- whether the sentence begins or ends here.

L-BFGS (OWL-QN) with the penalties `ABSOLUTE` |w| + `SQUARED` |w|^2 stops when ten steps have improved the penalised
likelihood by no more than a share of `TOLERANCE`.

Source: Lafferty, McCallum & Pereira 2001, "Conditional Random Fields", eq. 1; features as in Ratnaparkhi 1996, "A
Maximum Entropy Model for Part-Of-Speech Tagging", table 1, with shapes as in Collins 2002, "Ranking Algorithms for
Named-Entity Extraction", sec. 3.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import Baseline, BaselineContext
from seqapps.dataset.ragged import Ragged
from seqapps.errors import RunError

APPLICATIONS = ("sequence_tagging",)
RANK = 20

ABSOLUTE, SQUARED = 0.1, 0.01
MOST_STEPS, TOLERANCE = 500, 1e-3
_CELLS = 2_000_000_000
"""Tokens times squared tags that a step of the training goes through, at most: about fifteen seconds."""
_TOKENS = 1_000_000
"""Of the training split that are learned from, at most: each holds half a kilobyte."""
_SAID = 25
"""Steps between two progress messages."""
_LETTERS = range(1, 5)
_RUN = re.compile(r"(.)\1+", re.DOTALL)


class Word(NamedTuple):
    """Features of a word by itself: all of them, and those that its neighbours use."""

    lower: str
    shape: str
    ending: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class Crf:
    """A trained model.

    Args:
        tagger: of CRFsuite.
        tokens: that it was trained on.
        whole: whether those are all of the training split.
        steps: of L-BFGS.
        converged: whether it ended by itself.
    """

    tagger: Any
    tokens: int
    whole: bool
    steps: int
    converged: bool

    @property
    def description(self) -> str:
        """What it is."""
        part = "" if self.whole else "the first "
        return (
            "linear-chain CRF (Lafferty et al. 2001) on words, shapes, affixes of up to 4 letters and a window of 2 "
            f"words, {part}{self.tokens:,} tokens, {self.steps} steps of L-BFGS"
        )

    def predict(self, examples: Mapping[str, Ragged]) -> NDArray[Any]:
        """Returns the tag of every token, `<int32>[tokens]`."""
        found = [int(tag) for words in _sentences(examples["tokens"]) for tag in self.tagger.tag(features_of(words))]
        return np.array(found, np.int32)


def fit(context: BaselineContext) -> Baseline:
    """Returns the CRF of the training split; of a large one, of its first sentences (`_TOKENS`, `_CELLS`).

    It takes seconds for ten thousand tokens, a minute for 200,000 of 17 tags, and half a kilobyte a token.

    Raises:
        RunError: CRFsuite ended without a model.
    """
    return train(context.examples("train"), MOST_STEPS, context.report)


def train(examples: Mapping[str, Ragged], most_steps: int, report: Callable[[str], None]) -> Crf:
    """Returns the CRF of `tokens` and `tags` after so many steps, or when it has converged."""
    import pycrfsuite

    class Trainer(pycrfsuite.Trainer):  # type: ignore[misc]
        def message(self, message: str) -> None:
            if self.logparser.feed(message) == "iteration":
                step = self.logparser.last_iteration
                if step["num"] % _SAID == 0:
                    report(f"step {step['num']}, loss {step['loss']:,.0f}")

    tokens, tags = examples["tokens"], examples["tags"]
    kinds = len(np.unique(tags.values))
    most = min(_TOKENS, _CELLS // max(kinds * kinds, 1))
    rows = max(1, int(np.searchsorted(tokens.splits, most, "right")) - 1)
    used = int(tokens.splits[min(rows, len(tokens))])
    trainer = Trainer(verbose=False)
    trainer.set_params({"c1": ABSOLUTE, "c2": SQUARED, "max_iterations": most_steps, "period": 10, "delta": TOLERANCE})
    for place, words in enumerate(_sentences(tokens)):
        if place == rows:
            break
        trainer.append(features_of(words), [str(tag) for tag in tags.row(place).tolist()])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.crfsuite"
        trainer.train(str(file))
        if not file.exists() or not file.stat().st_size:
            raise RunError("crf: CRFsuite ended without a model. Leave it out of `baselines.names`.")
        tagger = pycrfsuite.Tagger()
        tagger.open(str(file))  # all of it is read here
    steps = int(trainer.logparser.last_iteration["num"])
    return Crf(tagger, used, used == len(tokens.values), steps, steps < most_steps)


def features_of(words: Sequence[str]) -> list[list[str]]:
    """Returns the features of each word of a sentence."""
    each = [_word(word) for word in words]
    found = []
    for place, word in enumerate(each):
        features = ["bias", *word.features]
        if place:
            before = each[place - 1]
            features += [f"-1={before.lower}", f"-1x={before.shape}", f"-1e={before.ending}"]
            features.append(f"-1+0={before.lower} {word.lower}")
        else:
            features.append("first")
        if place + 1 < len(each):
            after = each[place + 1]
            features += [f"+1={after.lower}", f"+1x={after.shape}", f"+1e={after.ending}"]
            features.append(f"0+1={word.lower} {after.lower}")
        else:
            features.append("last")
        features += [f"{step:+d}={each[place + step].lower}" for step in (-2, 2) if 0 <= place + step < len(each)]
        found.append(features)
    return found


@lru_cache(1 << 18)
def _word(word: str) -> Word:
    lower = word.lower()
    shape = "".join(map(_kind, word))
    short = _RUN.sub(r"\1", shape)
    affixes = [
        affix
        for size in _LETTERS
        if size <= len(lower)
        for affix in (f"p{size}={lower[:size]}", f"e{size}={lower[-size:]}")
    ]
    return Word(lower, short, lower[-3:], (f"w={word}", f"l={lower}", f"X={shape}", f"x={short}", *affixes))


def _kind(letter: str) -> str:
    if letter.isupper():
        return "X"
    return "x" if letter.isalpha() else "d" if letter.isdigit() else letter


def _sentences(tokens: Ragged) -> list[list[str]]:
    words = [token.decode("utf-8", "replace") for token in tokens.values.tolist()]
    return [words[low:high] for low, high in pairwise(tokens.splits.tolist())]
