"""From a step function to sequences, as graph operations: greedy, sampling and beam search with n-best lists.

A step function is `(units <int32>[N], states) -> (logits <float>[N, V], states)`; states are nested tensors whose first
axis is N. What does not change from step to step (what an encoder saw) is the step function's own; beam search calls it
with the rows of a batch `width` times, one after the other, so what it holds is to be repeated as `tf.repeat` does.

A sequence ends with `<eos>`. At the last step that a row may take, `<eos>` is the only unit allowed: every sequence
that comes out is complete, and its log-probability is that of the whole sequence, `<eos>` included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from seqapps.graphs.choosing import NEVER_WRITTEN, Sampling, best, choose, log_probabilities
from seqapps.preprocessing.vocabulary import END, PAD

Step = Callable[[Any, Any], tuple[Any, Any]]


class Limits(NamedTuple):
    """What a sequence may be.

    Args:
        longest: `<int32>[B]`, most units of each row, `<eos>` included; at least 1.
        shortest: `<int32>[]`, units before `<eos>` may come. `longest` goes before it.
        no_repeat_ngram: `<int32>[]`, no n-gram of this order twice in a sequence; 0 allows all.
    """

    longest: Any
    shortest: Any
    no_repeat_ngram: Any


class Sequences(NamedTuple):
    """Written sequences.

    Args:
        ids: `<int32>[B, steps]`, `<pad>` after `<eos>`.
        lengths: `<int32>[B]`, units, `<eos>` included.
        log_probabilities: `<float32>[B]`, log p of the sequence under the model itself (temperature 1, all units).
    """

    ids: Any
    lengths: Any
    log_probabilities: Any


class Hypotheses(NamedTuple):
    """The best sequences that a search found, the best first.

    Args:
        ids: `<int32>[B, n, steps]`, `<pad>` after `<eos>`.
        lengths: `<int32>[B, n]`, units, `<eos>` included.
        log_probabilities: `<float32>[B, n]`.
        scores: `<float32>[B, n]`: log p divided by the length penalty.
        count: `<int32>[B]`, how many of the n there are; the others hold zeros.
    """

    ids: Any
    lengths: Any
    log_probabilities: Any
    scores: Any
    count: Any


def length_penalty(length: Any, alpha: Any) -> Any:
    """Returns ((5 + length) / 6) ** alpha; 1 when alpha is 0. Source: Wu et al. 2016, "GNMT", eq. 14."""
    return ((5.0 + tf.cast(length, tf.float32)) / 6.0) ** alpha


class _Line(NamedTuple):
    """What goes from one written unit to the next, for rows `[B]`."""

    step: Any
    unit: Any
    done: Any
    log_probabilities: Any
    ids: Any
    states: Any


def write(step: Step, states: Any, start: Any, limits: Limits, sampling: Sampling) -> Sequences:
    """Writes one sequence a row, unit by unit: the most probable unit at temperature 0, otherwise drawn.

    Args:
        step: the step function.
        states: before the first step.
        start: the unit before the first one, `<int32>[B]`.
        limits: what a sequence may be.
        sampling: a row's draw follows from the seed, the step and the row's index alone.
    """
    rows, most = tf.shape(start)[0], tf.reduce_max(limits.longest)

    def unfinished(line: _Line) -> Any:
        return ~tf.reduce_all(line.done)

    def write_one(line: _Line) -> list[_Line]:
        logits, after = step(line.unit, line.states)
        logits = tf.cast(logits, tf.float32)
        allowed = _allowed(logits, line.step, line.ids, limits, limits.longest)
        unit = tf.where(line.done, PAD, choose(allowed, line.step, sampling))
        found = log_probabilities(logits, unit)
        return [
            _Line(
                step=line.step + 1,
                unit=unit,
                done=line.done | (unit == END),
                log_probabilities=line.log_probabilities + tf.where(line.done, 0.0, found),
                ids=_put(line.ids, line.step, unit),
                states=_alike(after, line.states),
            )
        ]

    begin = _Line(
        tf.constant(0), start, tf.zeros([rows], tf.bool), tf.zeros([rows]), tf.fill([rows, most], PAD), states
    )
    (line,) = tf.while_loop(unfinished, write_one, [begin])
    ids = line.ids[:, : line.step]
    return Sequences(ids, tf.math.count_nonzero(ids, axis=-1, dtype=tf.int32), line.log_probabilities)


class _Beam(NamedTuple):
    """A search over K hypotheses a row that go on (`ids`, `log_p`, `unit`, `states`), and the best K that ended.

    `log_p` is -inf where there is no hypothesis, `ended_scores` where none has ended yet.
    """

    step: Any
    closed: Any
    unit: Any
    ids: Any
    log_p: Any
    states: Any
    ended_ids: Any
    ended_log_p: Any
    ended_scores: Any


def beam_search(  # noqa: PLR0913 - a search is told all of it
    step: Step, states: Any, start: Any, limits: Limits, *, width: Any, n_best: Any, alpha: Any
) -> Hypotheses:
    """Searches for the most probable sequences of each row.

    At every step the K = `width` best of all K V continuations are looked at: those that end leave the beam, and the
    best K that do not end go on. A row is closed when K hypotheses have ended or none goes on. A width of 1 is greedy
    search; a width that no step can fill is an exhaustive one. Rows do not see each other.

    Args:
        step: the step function, called with N = B K rows.
        states: before the first step, N = B; repeated here.
        start: the unit before the first one, `<int32>[B]`.
        limits: what a sequence may be.
        width: K, `<int32>[]`.
        n_best: hypotheses that are given back, `<int32>[]`, at most K.
        alpha: of the length penalty, `<float32>[]`; 0 takes log p alone, which prefers short sequences.
    """
    rows, most = tf.shape(start)[0], tf.reduce_max(limits.longest)
    nothing = tf.fill([rows, width], -np.inf)
    empty = tf.fill([rows, width, most], PAD)
    begin = _Beam(
        step=tf.constant(0),
        closed=tf.zeros([rows], tf.bool),
        unit=tf.repeat(start[:, None], width, axis=1),
        ids=empty,
        log_p=tf.where(tf.range(width) == 0, tf.zeros([rows, width]), nothing),
        states=tf.nest.map_structure(lambda state: tf.repeat(state, width, axis=0), states),
        ended_ids=empty,
        ended_log_p=nothing,
        ended_scores=nothing,
    )

    def unfinished(beam: _Beam) -> Any:
        return ~tf.reduce_all(beam.closed)

    def advance(beam: _Beam) -> list[_Beam]:
        return [_advance(beam, step, limits, width, alpha)]

    (beam,) = tf.while_loop(unfinished, advance, [begin])
    n_best = tf.minimum(n_best, width)
    scores, ids = beam.ended_scores[:, :n_best], beam.ended_ids[:, :n_best, : beam.step]
    there = scores > -np.inf
    return Hypotheses(
        ids=ids,
        lengths=tf.math.count_nonzero(ids, axis=-1, dtype=tf.int32),
        log_probabilities=tf.where(there, beam.ended_log_p[:, :n_best], 0.0),
        scores=tf.where(there, scores, 0.0),
        count=tf.math.count_nonzero(there, axis=1, dtype=tf.int32),
    )


def _advance(beam: _Beam, step: Step, limits: Limits, width: Any, alpha: Any) -> _Beam:
    """Takes one step of all rows."""
    rows, most = tf.shape(beam.unit)[0], tf.shape(beam.ids)[2]
    logits, states = step(tf.reshape(beam.unit, [-1]), beam.states)
    longest = tf.repeat(limits.longest, width)
    log_p = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    allowed = _allowed(log_p, beam.step, tf.reshape(beam.ids, [-1, most]), limits, longest)
    # Of 2 K candidates at least K do not end: a hypothesis ends in one way only. Among the best 2 K of all hypotheses
    # are at most 2 K of each.
    values, units = best(allowed, 2 * width)
    each = tf.shape(values)[1]
    totals = tf.reshape(values, [rows, width, each]) + beam.log_p[:, :, None]
    found = tf.math.top_k(tf.reshape(totals, [rows, width * each]), tf.minimum(2 * width, width * each))
    parent, unit = found.indices // each, tf.gather(tf.reshape(units, [rows, -1]), found.indices, batch_dims=1)
    ids = _put(tf.gather(beam.ids, parent, batch_dims=1), beam.step, unit)
    there = (found.values > -np.inf) & ~beam.closed[:, None]

    ends = there & (unit == END) & (tf.range(tf.shape(unit)[1]) < width)
    scores = tf.where(ends, found.values / length_penalty(beam.step + 1, alpha), -np.inf)
    kept = tf.math.top_k(tf.concat([beam.ended_scores, scores], axis=1), width)
    ended_ids = tf.gather(tf.concat([beam.ended_ids, ids], axis=1), kept.indices, batch_dims=1)
    ended_log_p = tf.gather(tf.concat([beam.ended_log_p, found.values], axis=1), kept.indices, batch_dims=1)

    alive = tf.math.top_k(tf.where(there & (unit != END), found.values, -np.inf), width)
    parent = tf.gather(parent, alive.indices, batch_dims=1)
    source = tf.reshape(parent + tf.range(rows)[:, None] * width, [-1])
    full = tf.reduce_all(kept.values > -np.inf, axis=1)
    after = _Beam(
        step=beam.step + 1,
        closed=beam.closed | full | tf.reduce_all(tf.math.is_inf(alive.values), axis=1),
        unit=tf.gather(unit, alive.indices, batch_dims=1),
        ids=tf.gather(ids, alive.indices, batch_dims=1),
        log_p=alive.values,
        states=tf.nest.map_structure(lambda state: tf.gather(state, source), states),
        ended_ids=ended_ids,
        ended_log_p=ended_log_p,
        ended_scores=kept.values,
    )
    alike: _Beam = _alike(after, beam)
    return alike


def _allowed(scores: Any, step: Any, ids: Any, limits: Limits, longest: Any) -> Any:
    """Returns the scores `<float32>[N, V]` with -inf for the units that may not come next.

    `<eos>` may where nothing else may.
    """
    size = tf.shape(scores)[-1]
    is_end = tf.range(size) == END
    never = tf.reduce_any(tf.range(size)[:, None] == tf.constant(NEVER_WRITTEN)[None, :], axis=1)
    barred = never | (is_end & (step < limits.shortest))
    closes = (step >= longest - 1) | tf.reduce_all(barred)
    allowed = scores + tf.where(barred, -np.inf, 0.0)

    def without_repeats() -> tuple[Any, Any]:
        repeats = _repeats(size, step, ids, limits.no_repeat_ngram)
        return tf.where(repeats, -np.inf, allowed), closes | tf.reduce_all(repeats | barred, axis=1)

    allowed, closes = tf.cond(limits.no_repeat_ngram > 0, without_repeats, lambda: (allowed, closes))
    # Few steps close a row: at the others nothing goes through the scores again.
    return tf.cond(
        tf.reduce_any(closes),
        lambda: tf.where(closes[:, None], tf.where(is_end, scores, -np.inf), allowed),
        lambda: allowed,
    )


def _repeats(size: Any, step: Any, ids: Any, order: Any) -> Any:
    """Returns which units would make an n-gram that the sequence already holds, `<bool>[N, V]`."""
    rows, places = tf.shape(ids)[0], tf.range(tf.shape(ids)[1])

    def compare(back: Any, same: Any) -> tuple[Any, Any]:
        # Whether the unit `back` before each place is the one `back` before the next unit.
        before = tf.gather(ids, tf.maximum(places - back, 0), axis=1)
        last = tf.gather(ids, tf.maximum(step - back, 0), axis=1)
        return back + 1, same & (before == last[:, None]) & (places >= back)

    same = tf.repeat((places < step)[None, :], rows, axis=0)
    _, same = tf.while_loop(lambda back, _: back < order, compare, (tf.constant(1), same))
    index = tf.stack([tf.repeat(tf.range(rows)[:, None], tf.shape(ids)[1], axis=1), ids], axis=-1)
    return tf.scatter_nd(index, tf.cast(same, tf.int32), [rows, size]) > 0


def _put(ids: Any, step: Any, unit: Any) -> Any:
    """Returns `<int32>[..., L]` with `unit <int32>[...]` at place `step`."""
    return tf.where(tf.range(tf.shape(ids)[-1]) == step, unit[..., None], ids)


def _alike(after: Any, before: Any) -> Any:
    """Returns nested tensors with the static shapes that they had before the step, which a loop asks for."""
    return tf.nest.map_structure(lambda new, old: tf.ensure_shape(new, old.shape), after, before)
