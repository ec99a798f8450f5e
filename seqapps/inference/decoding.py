"""Decoding with a step function, as graph operations: greedy, sampling and beam search with n-best lists.

A step function is `(tokens <int32>[N], states) -> (logits <float>[N, V], states)`; states are nested tensors whose
first axis is N. Constant tensors (an encoder's memory) belong to the step function; beam search calls it with each row
of a batch repeated `width` times, so that they must be repeated as by `tf.repeat`.

A sequence ends with `<eos>`. At the last step of a row, `<eos>` is the only token allowed: every returned sequence is
complete, and its log-probability is that of the whole sequence, `<eos>` included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from seqapps.inference.choosing import NEVER_WRITTEN, Sampling, best, choose, log_probabilities
from seqapps.preprocessing.vocabulary import END, PAD

Step = Callable[[Any, Any], tuple[Any, Any]]


class Limits(NamedTuple):
    """Constraints of a sequence.

    Args:
        longest: `<int32>[B]`, maximum number of tokens of each row, `<eos>` included; at least 1.
        shortest: `<int32>[B]`, minimum number of tokens before `<eos>`. `longest` takes precedence.
        no_repeat_ngram: `<int32>[B]`, no repeated n-gram of this order in a sequence; 0 allows all.
    """

    longest: Any
    shortest: Any
    no_repeat_ngram: Any

    def repeated(self, times: Any) -> Limits:
        """Returns the limits with every row repeated, as by `tf.repeat`."""
        return Limits(*(tf.repeat(limit, times) for limit in self))


class Sequences(NamedTuple):
    """Decoded sequences.

    Args:
        ids: `<int32>[B, steps]`, `<pad>` after `<eos>`.
        lengths: `<int32>[B]`, in tokens, `<eos>` included.
        log_probabilities: `<float32>[B]`, log p of the sequence under the model itself (temperature 1, all tokens).
    """

    ids: Any
    lengths: Any
    log_probabilities: Any


class Hypotheses(NamedTuple):
    """The best sequences of a search, best first.

    Args:
        ids: `<int32>[B, n, steps]`, `<pad>` after `<eos>`.
        lengths: `<int32>[B, n]`, in tokens, `<eos>` included.
        log_probabilities: `<float32>[B, n]`.
        scores: `<float32>[B, n]`: log p divided by the length penalty.
        count: `<int32>[B]`, number of hypotheses; the others of the n are zeros.
    """

    ids: Any
    lengths: Any
    log_probabilities: Any
    scores: Any
    count: Any


def length_penalty(length: Any, alpha: Any) -> Any:
    """Returns ((5 + length) / 6) ** alpha, by which log p is divided; 1 when alpha is 0.

    For an alpha above 0 it grows with the length, which offsets the bias against long sequences.

    Source: Wu et al. 2016, "GNMT", eq. 14.
    """
    return ((5.0 + tf.cast(length, tf.float32)) / 6.0) ** alpha


class _Line(NamedTuple):
    """Loop variables of decoding, for rows `[B]`."""

    step: Any
    token: Any
    done: Any
    log_probabilities: Any
    ids: Any
    states: Any


def write(step: Step, states: Any, start: Any, limits: Limits, sampling: Sampling) -> Sequences:
    """Decodes one sequence for each row: the most probable token at temperature 0, otherwise sampled.

    Args:
        step: the step function.
        states: before the first step.
        start: the token before the first one, `<int32>[B]`.
        limits: constraints of a sequence.
        sampling: a row's samples depend only on its key and the step.
    """
    rows = tf.shape(start)[0]

    def unfinished(line: _Line) -> Any:
        return ~tf.reduce_all(line.done)

    def write_one(line: _Line) -> list[_Line]:
        logits, after = step(line.token, line.states)
        logits = tf.cast(logits, tf.float32)
        allowed = _allowed(logits, line.step, line.ids, limits)
        token = tf.where(line.done, PAD, choose(allowed, line.step, sampling))
        found = log_probabilities(logits, token)
        return [
            _Line(
                step=line.step + 1,
                token=token,
                done=line.done | (token == END),
                log_probabilities=line.log_probabilities + tf.where(line.done, 0.0, found),
                ids=_longer(line.ids, token),
                states=_alike(after, line.states),
            )
        ]

    nothing = tf.zeros([rows, 0], tf.int32)
    begin = _Line(tf.constant(0), start, tf.zeros([rows], tf.bool), tf.zeros([rows]), nothing, states)
    (line,) = tf.while_loop(unfinished, write_one, [begin], shape_invariants=[_growing(begin, ids=2)])
    return Sequences(line.ids, tf.math.count_nonzero(line.ids, axis=-1, dtype=tf.int32), line.log_probabilities)


class _Beam(NamedTuple):
    """Beam state: K live hypotheses for each row (`ids`, `log_p`, `token`, `states`), and the best K that ended.

    `log_p` is -inf where there is no hypothesis, `ended_scores` where none has ended yet.
    """

    step: Any
    closed: Any
    token: Any
    ids: Any
    log_p: Any
    states: Any
    ended_ids: Any
    ended_log_p: Any
    ended_scores: Any


def beam_search(  # noqa: PLR0913 - the settings of a search
    step: Step, states: Any, start: Any, limits: Limits, *, width: Any, n_best: Any, alpha: Any
) -> Hypotheses:
    """Searches for the most probable sequences of each row by beam search.

    At every step the K = `width` best of all K V continuations are considered: those that end leave the beam, and the
    best K that do not end stay in it. A row is finished when none is live, or when K have ended and no live one can
    exceed the worst of these: log p only decreases, so that the score is bounded by the current log p over the length
    penalty of the row's longest sequence. A width of 1 is greedy search, finished at the first `<eos>` under any
    length penalty; a width that no step can fill is exhaustive search. Rows are independent of each other.

    Args:
        step: the step function, called with N = B W rows, W being the largest width.
        states: before the first step, N = B; repeated here.
        start: the token before the first one, `<int32>[B]`.
        limits: what a sequence may be.
        width: K of each row, `<int32>[B]`.
        n_best: number of hypotheses returned for each row, `<int32>[B]`, at most K.
        alpha: of the length penalty of each row, `<float32>[B]`, at least 0; 0: log p alone, which favours short
            sequences.
    """
    rows, widest = tf.shape(start)[0], tf.reduce_max(width)
    nothing = tf.fill([rows, widest], -np.inf)
    empty = tf.zeros([rows, widest, 0], tf.int32)
    begin = _Beam(
        step=tf.constant(0),
        closed=tf.zeros([rows], tf.bool),
        token=tf.repeat(start[:, None], widest, axis=1),
        ids=empty,
        log_p=tf.where(tf.range(widest) == 0, tf.zeros([rows, widest]), nothing),
        states=tf.nest.map_structure(lambda state: tf.repeat(state, widest, axis=0), states),
        ended_ids=empty,
        ended_log_p=nothing,
        ended_scores=nothing,
    )

    def unfinished(beam: _Beam) -> Any:
        return ~tf.reduce_all(beam.closed)

    def advance(beam: _Beam) -> list[_Beam]:
        return [_advance(beam, step, limits, width, alpha)]

    growing = _growing(begin, ids=3, ended_ids=3)
    (beam,) = tf.while_loop(unfinished, advance, [begin], shape_invariants=[growing])
    most = tf.reduce_max(n_best)
    scores = beam.ended_scores[:, :most]
    there = (scores > -np.inf) & (tf.range(most) < n_best[:, None])
    ids = tf.where(there[:, :, None], beam.ended_ids[:, :most], PAD)
    return Hypotheses(
        ids=ids,
        lengths=tf.math.count_nonzero(ids, axis=-1, dtype=tf.int32),
        log_probabilities=tf.where(there, beam.ended_log_p[:, :most], 0.0),
        scores=tf.where(there, scores, 0.0),
        count=tf.math.count_nonzero(there, axis=1, dtype=tf.int32),
    )


def _advance(beam: _Beam, step: Step, limits: Limits, width: Any, alpha: Any) -> _Beam:
    """Runs one step of all rows."""
    rows, widest = tf.shape(beam.token)[0], tf.shape(beam.token)[1]
    inside = tf.range(widest) < width[:, None]
    logits, states = step(tf.reshape(beam.token, [-1]), beam.states)
    log_p = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    flat = tf.reshape(beam.ids, [rows * widest, beam.step])
    allowed = _allowed(log_p, beam.step, flat, limits.repeated(widest))
    # Of 2 K candidates at least K do not end: each hypothesis has one ending only. The best 2 K of all include at most
    # 2 K of each hypothesis.
    values, tokens = best(allowed, 2 * widest)
    each = tf.shape(values)[1]
    totals = tf.reshape(values, [rows, widest, each]) + beam.log_p[:, :, None]
    found = tf.math.top_k(tf.reshape(totals, [rows, widest * each]), tf.minimum(2 * widest, widest * each))
    parent, token = found.indices // each, tf.gather(tf.reshape(tokens, [rows, -1]), found.indices, batch_dims=1)
    ids = _longer(tf.gather(beam.ids, parent, batch_dims=1), token)
    there = (found.values > -np.inf) & ~beam.closed[:, None]

    ends = there & (token == END) & (tf.range(tf.shape(token)[1]) < width[:, None])
    scores = tf.where(ends, found.values / length_penalty(beam.step + 1, alpha)[:, None], -np.inf)
    kept = tf.math.top_k(tf.concat([beam.ended_scores, scores], axis=1), widest)
    before = tf.pad(beam.ended_ids, [[0, 0], [0, 0], [0, 1]], constant_values=PAD)
    ended_ids = tf.gather(tf.concat([before, ids], axis=1), kept.indices, batch_dims=1)
    ended_log_p = tf.gather(tf.concat([beam.ended_log_p, found.values], axis=1), kept.indices, batch_dims=1)
    ended_scores = tf.where(inside, kept.values, -np.inf)

    alive = tf.math.top_k(tf.where(there & (token != END), found.values, -np.inf), widest)
    goes_on = tf.where(inside, alive.values, -np.inf)
    parent = tf.gather(parent, alive.indices, batch_dims=1)
    source = tf.reshape(parent + tf.range(rows)[:, None] * widest, [-1])
    after = _Beam(
        step=beam.step + 1,
        closed=beam.closed
        | _is_settled(ended_scores, goes_on, inside, length_penalty(limits.longest, alpha))
        | ((width == 1) & (ended_scores[:, 0] > -np.inf)),
        token=tf.gather(token, alive.indices, batch_dims=1),
        ids=tf.gather(ids, alive.indices, batch_dims=1),
        log_p=goes_on,
        states=tf.nest.map_structure(lambda state: tf.gather(state, source), states),
        ended_ids=ended_ids,
        ended_log_p=ended_log_p,
        ended_scores=ended_scores,
    )
    return after._replace(token=_alike(after.token, beam.token), states=_alike(after.states, beam.states))


def _is_settled(scores: Any, goes_on: Any, inside: Any, penalty: Any) -> Any:
    """Returns which rows are finished, whatever the continuations of live hypotheses, `<bool>[B]`.

    Args:
        scores: of the hypotheses that ended, `<float32>[B, W]`, -inf where there is none.
        goes_on: log p of the live ones, `<float32>[B, W]`.
        inside: which positions of the beam belong to the row.
        penalty: length penalty of the longest allowed sequence, `<float32>[B]`.
    """
    worst = tf.reduce_min(tf.where(inside, scores, np.inf), axis=1)
    return tf.reduce_max(goes_on, axis=1) / penalty <= worst


def _allowed(scores: Any, step: Any, ids: Any, limits: Limits) -> Any:
    """Returns the scores `<float32>[N, V]` with -inf for the tokens that may not come next.

    `<eos>` is allowed where nothing else is.

    Args:
        scores: of all tokens.
        step: number of previous tokens.
        ids: previous tokens, `<int32>[N, step]`.
        limits: of N rows.
    """
    size = tf.shape(scores)[-1]
    is_end = tf.range(size) == END
    never = tf.reduce_any(tf.range(size)[:, None] == tf.constant(NEVER_WRITTEN)[None, :], axis=1)
    early = step < limits.shortest
    words = scores + tf.where(never, -np.inf, 0.0)

    def without_end() -> Any:
        return tf.where(early[:, None] & is_end, -np.inf, words)

    allowed = tf.cond(tf.reduce_any(early), without_end, lambda: words)
    closes = (step >= limits.longest - 1) | tf.reduce_all(never | (early[:, None] & is_end), axis=1)

    def without_repeats() -> tuple[Any, Any]:
        repeats = _repeats(size, step, ids, limits.no_repeat_ngram)
        found = tf.where(repeats, -np.inf, allowed)
        return found, closes | tf.reduce_all(tf.math.is_inf(found), axis=1)

    allowed, closes = tf.cond(tf.reduce_any(limits.no_repeat_ngram > 0), without_repeats, lambda: (allowed, closes))
    # Few steps end a row: the others avoid another pass over the scores.
    return tf.cond(
        tf.reduce_any(closes),
        lambda: tf.where(closes[:, None], tf.where(is_end, scores, -np.inf), allowed),
        lambda: allowed,
    )


def _repeats(size: Any, step: Any, ids: Any, order: Any) -> Any:
    """Returns which tokens would repeat an n-gram, of an order `<int32>[N]`, of the sequence, `<bool>[N, V]`; none
    where the order is 0."""
    rows, places = tf.shape(ids)[0], tf.range(step)

    def compare(back: Any, same: Any) -> tuple[Any, Any]:
        # Whether the token `back` before each position equals the one `back` before the next token.
        before = tf.gather(ids, tf.maximum(places - back, 0), axis=1)
        last = tf.gather(ids, tf.maximum(step - back, 0), axis=1)
        matches = (before == last[:, None]) & (places >= back)
        return back + 1, same & (matches | (back >= order)[:, None])

    def found() -> Any:
        same = tf.repeat((order > 0)[:, None], step, axis=1)
        _, same = tf.while_loop(lambda back, _: back < tf.reduce_max(order), compare, (tf.constant(1), same))
        index = tf.stack([tf.repeat(tf.range(rows)[:, None], step, axis=1), ids], axis=-1)
        return tf.scatter_nd(index, tf.cast(same, tf.int32), [rows, size]) > 0

    return tf.cond(step > 0, found, lambda: tf.zeros([rows, size], tf.bool))


def _longer(ids: Any, token: Any) -> Any:
    """Returns `<int32>[..., step + 1]`: the ids with `token <int32>[...]` appended."""
    return tf.concat([ids, token[..., None]], axis=-1)


def _growing(begin: Any, **ranks: int) -> Any:
    """Returns the shape invariants of a loop: the initial shapes; for named tensors only the rank."""
    shapes = tf.nest.map_structure(lambda value: value.shape, begin)
    return shapes._replace(**{name: tf.TensorShape([None] * rank) for name, rank in ranks.items()})


def _alike(after: Any, before: Any) -> Any:
    """Returns nested tensors with their static shapes before the step, as a loop requires."""
    return tf.nest.map_structure(lambda new, old: tf.ensure_shape(new, old.shape), after, before)
