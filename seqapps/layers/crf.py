"""A linear-chain conditional random field: joint scores of a sentence's tags (Lafferty et al. 2001).

    score(y | x) = sum_t logits[t, y_t] + sum_t transitions[y_{t-1}, y_t],    log p(y | x) = score(y | x) - log Z(x)

y_{-1} and y_T are the sentence boundaries: row K of `transitions` holds the scores of first tags, column K those of
last ones. log Z is the logarithm of the sum of exp(score) over all sequences of tags. All functions work on a batch and
loop over time only. Masks are those of right-padded rows; the first step of a row always counts.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

FORBIDDEN = -1e6
"""Score of a transition that the tag scheme forbids: no sum of logits outweighs it, and it is finite."""
_SMALLEST = 1e-25
"""Sums of exponentials above it lose no precision in float32, whose smallest number is about 1e-38."""


@keras.saving.register_keras_serializable("seqapps")
class Transitions(keras.layers.Layer):  # type: ignore[misc]
    """Learned transition scores between tags: the parameters of a linear-chain conditional random field.

        score(y | x) = sum_t logits[t, y_t] + sum_t transitions[y_{t-1}, y_t]
        log p(y | x) = score(y | x) - log sum_y' exp score(y' | x)

    Keras has no such layer. It returns the scores once for each row, as outputs of a model have to be. Those of one
    row, `transitions[0]`, are an argument of `crf.negative_log_likelihood`, the loss, and of `crf.viterbi`, the most
    probable tags. Forbidden transitions score -1e6. Scores are float32 under any policy.

    Source: Lafferty et al. 2001, "Conditional Random Fields: Probabilistic Models for Segmenting and Labeling Sequence
    Data"; with a recurrent network: Huang et al. 2015, "Bidirectional LSTM-CRF Models for Sequence Tagging".

    Args:
        allowed: nested sequence of bool, `[K + 1, K + 1]`: whether the tag of the column may follow the tag of the row;
            the sentence boundary comes last, in the row before first tags and in the column after last ones.
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        logits: `<float>[B, T, K]`.

    Returns:
        `<float32>[B, K + 1, K + 1]`: the same scores for every row.

    Raises:
        ValueError: `allowed` is not square, or has no tag.

    Example:
        >>> import numpy as np
        >>> from seqapps import layers
        >>> logits = np.array([[[0.0, 2.0], [1.0, 0.0]]], "float32")
        >>> allowed = [[True, True, True], [False, True, True], [True, True, False]]  # not from tag 1 to tag 0
        >>> transitions = layers.Transitions(allowed)(logits)[0]
        >>> tags, score = layers.crf.viterbi(logits, np.ones((1, 2), bool), transitions)
        >>> tags.numpy().tolist(), score.numpy().tolist()
        ([[1, 1]], [2.0])
        >>> layers.crf.negative_log_likelihood(logits, tags, np.ones((1, 2), bool), transitions).shape
        TensorShape([1, 2])
    """

    def __init__(self, allowed: Any, **options: Any) -> None:
        super().__init__(**options)
        self.allowed = [[bool(cell) for cell in row] for row in allowed]
        if len(self.allowed) < 2 or any(len(row) != len(self.allowed) for row in self.allowed):
            raise ValueError(
                "allowed must have a row and a column for each tag, and one for the boundary. Received: "
                f"{len(self.allowed)} rows of {sorted({len(row) for row in self.allowed})} columns"
            )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the scores `<float32>[K + 1, K + 1]`, all zero."""
        size = len(self.allowed)
        # Not cast by a policy: in half precision the score of what is forbidden would be infinite.
        self.scores = self.add_weight(
            shape=(size, size), initializer="zeros", name="scores", dtype="float32", autocast=False
        )

    def call(self, logits: Any) -> Any:
        """`<float>[B, T, K] -> <float32>[B, K + 1, K + 1]`: the same scores for every row."""
        scores = keras.ops.where(keras.ops.convert_to_tensor(self.allowed), self.scores, FORBIDDEN)
        rows = keras.ops.shape(logits)[0]
        return keras.ops.broadcast_to(scores[None], (rows, len(self.allowed), len(self.allowed)))

    def compute_output_spec(self, logits: Any) -> Any:
        """Axes: batch, and twice the tags with the boundary."""
        return keras.KerasTensor((logits.shape[0], len(self.allowed), len(self.allowed)), "float32")

    def compute_mask(self, *_: Any) -> None:
        """The scores have no time steps."""

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return {**super().get_config(), "allowed": self.allowed}


def negative_log_likelihood(logits: Any, tags: Any, mask: Any, transitions: Any) -> Any:
    """Returns -log p(tags | x) of each row, divided evenly among its steps, so that rows are weighted by length.

    Args:
        logits: `<float>[B, T, K]`.
        tags: `<int32>[B, T]`, in [0, K); values on padding are ignored.
        mask: `<bool>[B, T]`.
        transitions: `<float32>[K + 1, K + 1]`.

    Returns:
        `<float32>[B, T]`, 0 on padding.
    """
    logits, real = tf.cast(logits, tf.float32), tf.cast(mask, tf.float32)
    nats = log_partition(logits, mask, transitions) - path_score(logits, tags, mask, transitions)
    return real * (nats / tf.maximum(tf.reduce_sum(real, axis=1), 1.0))[:, None]


def path_score(logits: Any, tags: Any, mask: Any, transitions: Any) -> Any:
    """Returns score(tags | x) of each row, `<float32>[B]`. The arguments are those of `negative_log_likelihood`."""
    border = logits.shape[-1]
    tags, real = tf.cast(tags, tf.int32), tf.cast(mask, tf.float32)
    rows = tf.shape(tags)[0]
    emitted = tf.gather(logits, tags, batch_dims=2)
    before = tf.concat([tf.fill([rows, 1], border), tags[:, :-1]], axis=1)
    entered = tf.gather_nd(transitions, tf.stack([before, tags], axis=-1))
    steps = tf.maximum(tf.reduce_sum(tf.cast(mask, tf.int32), axis=1), 1)
    last = tf.gather(tags, steps - 1, batch_dims=1)
    first = tf.one_hot(tf.zeros([rows], tf.int32), tf.shape(tags)[1])
    counted = tf.maximum(real, first)
    return tf.reduce_sum(counted * (emitted + entered), axis=1) + tf.gather(transitions[:, border], last)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def log_partition(logits: Any, mask: Any, transitions: Any) -> Any:
    """Returns log Z of each row by the forward algorithm, `<float32>[B]`.

    The gradient is explicit: the marginal probabilities of tags and of pairs of tags, by the backward half of the
    forward-backward algorithm. Only the forward scores are stored for it.

    Args:
        logits: `<float32>[B, T, K]`.
        mask: `<bool>[B, T]`.
        transitions: `<float32>[K + 1, K + 1]`.
    """
    chain, (_, first, last) = _Chain(transitions), _parts(transitions)
    steps, by_time, real = tf.shape(logits)[1], tf.transpose(logits, [1, 0, 2]), tf.transpose(mask)[:, :, None]

    def forward(step: Any, scores: Any, all_scores: Any) -> Any:
        scores = tf.where(real[step], chain.advance(scores) + by_time[step], scores)
        return step + 1, scores, all_scores.write(step, scores)

    begin = first + by_time[0]
    kept = tf.TensorArray(tf.float32, size=steps, element_shape=begin.shape).write(0, begin)
    _, scores, kept = tf.while_loop(lambda step, *_: step < steps, forward, (1, begin, kept))
    kept = kept.stack()

    def gradient(upstream: Any) -> tuple[Any, None, Any]:
        ending = tf.nn.softmax(scores + last) * upstream[:, None]

        def backward(step: Any, share: Any, pairs: Any, shares: Any) -> Any:
            here = tf.where(real[step], share, 0.0)
            before, joint = chain.retreat(kept[step - 1], here)
            return step - 1, tf.where(real[step], before, share), pairs + joint, shares.write(step, here)

        shares = tf.TensorArray(tf.float32, size=steps, element_shape=begin.shape)
        loop = (steps - 1, ending, tf.zeros_like(transitions[:-1, :-1]), shares)
        _, share, pairs, shares = tf.while_loop(lambda step, *_: step > 0, backward, loop)
        by_tag = tf.transpose(shares.write(0, share).stack(), [1, 0, 2])
        right = tf.reduce_sum(ending, axis=0)[:, None]
        below = tf.concat([tf.reduce_sum(share, axis=0), [0.0]], axis=0)[None, :]
        return by_tag, None, tf.concat([tf.concat([pairs, right], axis=1), below], axis=0)

    return _log_sum_exp(scores + last), gradient


class _Chain:
    """One step over all pairs of tags as a matrix product of exponentials, many times as fast as in log space.

    Where a sum comes close to underflow in float32, the step is computed in log space, with the same result.
    """

    def __init__(self, transitions: Any) -> None:
        self._into, _, _ = _parts(transitions)
        self._largest = tf.reduce_max(self._into, axis=1)
        self._weights = tf.exp(self._into - self._largest[:, None])

    def advance(self, scores: Any) -> Any:
        """Returns log sum_i exp(scores_i + transitions_ij), `<float32>[B, K] -> <float32>[B, K]`."""
        largest = tf.reduce_max(scores, axis=1, keepdims=True)
        sums = tf.matmul(tf.exp(scores - largest), self._weights, transpose_b=True)
        return tf.cond(
            tf.reduce_min(sums) > _SMALLEST,
            lambda: tf.math.log(sums) + largest + self._largest,
            lambda: _log_sum_exp(scores[:, None, :] + self._into),
        )

    def retreat(self, scores: Any, share: Any) -> tuple[Any, Any]:
        """Returns the marginals of the previous step's tags, and of pairs of tags.

        Args:
            scores: forward scores of the step before, `<float32>[B, K]`.
            share: marginal of each tag of the step, `<float32>[B, K]`.

        Returns:
            `<float32>[B, K]`, and, summed over the batch, `<float32>[K, K]`, the earlier tag in the rows.
        """
        weights = tf.exp(scores - tf.reduce_max(scores, axis=1, keepdims=True))
        sums = tf.matmul(weights, self._weights, transpose_b=True)

        def by_products() -> tuple[Any, Any]:
            rest = share / sums
            pairs = tf.matmul(weights, rest, transpose_a=True) * tf.transpose(self._weights)
            return weights * tf.matmul(rest, self._weights), pairs

        def in_logarithms() -> tuple[Any, Any]:
            joint = tf.nn.softmax(scores[:, None, :] + self._into) * share[:, :, None]
            return tf.reduce_sum(joint, axis=1), tf.transpose(tf.reduce_sum(joint, axis=0))

        before, pairs = tf.cond(tf.reduce_min(sums) > _SMALLEST, by_products, in_logarithms)
        return before, pairs


def viterbi(logits: Any, mask: Any, transitions: Any) -> tuple[Any, Any]:
    """Returns the most probable tags of each row, `<int32>[B, T]` (0 on padding), and their score, `<float32>[B]`.

    The arguments are those of `log_partition`.
    """
    into, first, last = _parts(transitions)
    logits = tf.cast(logits, tf.float32)
    steps, by_time, real = tf.shape(logits)[1], tf.transpose(logits, [1, 0, 2]), tf.transpose(mask)
    here = tf.range(tf.shape(logits)[2])[None, :]

    def forward(step: Any, scores: Any, pointers: Any) -> Any:
        reached = scores[:, None, :] + into
        after = tf.reduce_max(reached, axis=2) + by_time[step]
        best = tf.argmax(reached, axis=2, output_type=tf.int32)
        pointers = pointers.write(step, tf.where(real[step][:, None], best, here))
        return step + 1, tf.where(real[step][:, None], after, scores), pointers

    begin = first + by_time[0]
    pointers = tf.TensorArray(tf.int32, size=steps, element_shape=begin.shape)
    pointers = pointers.write(0, tf.zeros_like(begin, tf.int32))
    _, scores, pointers = tf.while_loop(lambda step, *_: step < steps, forward, (1, begin, pointers))
    pointers = pointers.stack()

    def backward(step: Any, tag: Any, tags: Any) -> Any:
        return step - 1, tf.gather(pointers[step], tag, batch_dims=1), tags.write(step, tag)

    tag = tf.argmax(scores + last, axis=1, output_type=tf.int32)
    tags = tf.TensorArray(tf.int32, size=steps, element_shape=tag.shape)
    _, tag, tags = tf.while_loop(lambda step, *_: step > 0, backward, (steps - 1, tag, tags))
    found = tf.transpose(tags.write(0, tag).stack())
    return tf.where(mask, found, 0), tf.reduce_max(scores + last, axis=1)


def _parts(transitions: Any) -> tuple[Any, Any, Any]:
    """Returns the scores of each tag (rows) after each other (columns) `[K, K]`, of first `[K]` and of last tags `[K]`.

    The axis that is summed over is the last one, which is several times as fast.
    """
    return tf.transpose(transitions[:-1, :-1]), transitions[-1, :-1], transitions[:-1, -1]


def _log_sum_exp(values: Any) -> Any:
    """Over the last axis, with the maximum subtracted; all values are finite here."""
    largest = tf.reduce_max(values, axis=-1, keepdims=True)
    return tf.squeeze(largest, -1) + tf.math.log(tf.reduce_sum(tf.exp(values - largest), axis=-1))
