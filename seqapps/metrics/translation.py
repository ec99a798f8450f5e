"""BLEU and chrF as in sacreBLEU: counts per sentence, which are summed, and the metrics of the sums.

Source: Papineni et al. 2002, "BLEU"; Popović 2015, "chrF"; Post 2018, "A Call for Clarity in Reporting BLEU Scores".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLEU_COUNTS = 10
"""Tokens of the hypothesis and the reference, then for n = 1 to 4 the matching n-grams, then all of the hypothesis."""
CHRF_COUNTS = 18
"""For n = 1 to 6: the character n-grams of the hypothesis, those of the reference, those that match."""

_ORDERS = 4


@lru_cache
def _metrics(tokenizer: str) -> tuple[Any, Any]:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    return BLEU(tokenize=tokenizer), CHRF()


def signatures(tokenizer: str) -> tuple[str, str]:
    """Returns sacreBLEU's signatures of BLEU and chrF, to be reported with every score."""
    metrics = _metrics(tokenizer)
    for metric in metrics:
        metric.corpus_score(["a"], [["a"]])  # the number of references is known only after scoring
    bleu, chrf = (str(metric.get_signature()) for metric in metrics)
    return bleu, chrf


def sentence_counts(written: Sequence[str], references: Sequence[str], tokenizer: str) -> NDArray[np.float64]:
    """Returns the counts of each sentence: BLEU_COUNTS, then CHRF_COUNTS, `<float64>[sentences, 28]`.

    Args:
        written: one hypothesis per sentence.
        references: one reference per sentence.
        tokenizer: of BLEU, by sacreBLEU's names (`13a`).
    """
    if not written:
        return np.zeros((0, BLEU_COUNTS + CHRF_COUNTS))
    counts = [metric._extract_corpus_statistics(written, [references]) for metric in _metrics(tokenizer)]
    return np.concatenate([np.asarray(count, np.float64) for count in counts], axis=1)


def bleu(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns BLEU, 0 to 100, of summed counts: `<float64>[..., 10] -> <float64>[...]`.

    The brevity penalty times the geometric mean of the precisions of 1- to 4-grams. If no n-gram of an order matches,
    its precision is 100 / (2^k total), k counting such orders ("exp" smoothing; Chen & Cherry 2014, method 3).
    """
    percent = precisions(totals)
    with np.errstate(divide="ignore"):
        mean = np.exp(np.log(percent).mean(axis=-1))
    right = totals[..., 2 : 2 + _ORDERS]
    return np.where(right.any(axis=-1), brevity_penalty(totals) * mean, 0.0)


def precisions(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the smoothed precisions of 1- to 4-grams in percent: `<float64>[..., 10] -> <float64>[..., 4]`."""
    right, total = totals[..., 2 : 2 + _ORDERS], totals[..., 2 + _ORDERS : BLEU_COUNTS]
    smoothed = 2.0 ** np.cumsum((right == 0) & (total > 0), axis=-1)
    share = np.where(right > 0, right, 1.0 / smoothed) / np.maximum(total, 1.0)
    return np.where(total > 0, 100.0 * share, 0.0)


def brevity_penalty(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns exp(1 - reference length / hypothesis length) if the hypothesis is shorter, else 1."""
    written, reference = totals[..., 0], totals[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        penalty = np.where(written > 0, np.exp(1.0 - reference / written), 0.0)
    return np.where(written < reference, penalty, 1.0)


def chrf(totals: NDArray[np.float64], beta: float = 2.0) -> NDArray[np.float64]:
    """Returns chrF, 0 to 100, of summed counts: `<float64>[..., 18] -> <float64>[...]`.

    F_beta of the mean precision and the mean recall over the orders that both sides have.
    """
    counts = totals.reshape(*totals.shape[:-1], CHRF_COUNTS // 3, 3)
    written, reference, right = counts[..., 0], counts[..., 1], counts[..., 2]
    there = (written > 0) & (reference > 0)
    orders = np.maximum(there.sum(axis=-1), 1)
    precision = np.where(there, right / np.maximum(written, 1.0), 0.0).sum(axis=-1) / orders
    recall = np.where(there, right / np.maximum(reference, 1.0), 0.0).sum(axis=-1) / orders
    weighted = beta**2 * precision + recall
    return np.where(weighted > 0, 100.0 * (1 + beta**2) * precision * recall / np.maximum(weighted, 1e-300), 0.0)


PREDICTION = np.dtype([("text", object), ("nats", np.float64), ("attention", object)])
"""A system's output for an example: its translation as UTF-8, -log p of the reference in nats (NaN if the system has no
probabilities), and the attention of its translation as a `Panel` (None if there is none to show)."""


def predictions(texts: NDArray[np.object_], nats: NDArray[np.float64]) -> NDArray[Any]:
    """Returns one PREDICTION per example, without attention."""
    found = np.zeros(len(texts), PREDICTION)
    found["text"], found["nats"], found["attention"] = texts, nats, None
    return found


def without_probabilities(texts: NDArray[np.object_]) -> NDArray[Any]:
    """Returns the PREDICTION of a system that returns only texts."""
    return predictions(texts, np.full(len(texts), np.nan))


def statistics_of(
    prediction: NDArray[Any], references: NDArray[np.object_], tokens: NDArray[np.int64], tokenizer: str
) -> NDArray[np.float64]:
    """Returns per-example sums, `<float64>[examples, 32]`: `sentence_counts`, then nats and tokens of the reference,
    whether the translation equals the reference, and 1.

    Args:
        prediction: one PREDICTION per example.
        references: UTF-8.
        tokens: of each reference, `<eos>` included.
        tokenizer: of BLEU.
    """
    written = [text.decode("utf-8", errors="replace") for text in prediction["text"]]
    wanted = [text.decode("utf-8", errors="replace") for text in references]
    met = [one.strip() == other.strip() for one, other in zip(written, wanted, strict=True)]
    further = np.stack([prediction["nats"], tokens, met, np.ones(len(written))], axis=1).astype(np.float64)
    return np.concatenate([sentence_counts(written, wanted, tokenizer), further], axis=1)


def metrics_of(totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Returns the metrics of summed `statistics_of`: BLEU and chrF (0 to 100), perplexity of the reference per token,
    and the exact-match rate."""
    nats, tokens, met, examples = np.moveaxis(totals[..., -4:], -1, 0)
    return {
        "bleu": bleu(totals[..., :BLEU_COUNTS]),
        "chrf": chrf(totals[..., BLEU_COUNTS:-4]),
        "perplexity": np.exp(nats / tokens),
        "exact_match": met / examples,
    }


def parts_of(totals: NDArray[np.float64]) -> tuple[tuple[str | float, ...], ...]:
    """Returns the components of BLEU, one per row: name, counts, and the smoothed precision or the brevity penalty."""
    counts = [float(count) for count in totals[:BLEU_COUNTS]]
    shares = (precisions(totals[:BLEU_COUNTS]) / 100.0).tolist()
    orders = ((f"{n + 1}-grams", counts[2 + n], counts[6 + n], share) for n, share in enumerate(shares))
    penalty = float(brevity_penalty(totals[:BLEU_COUNTS]))
    return (*orders, ("tokens written, of the reference", counts[0], counts[1], penalty))
