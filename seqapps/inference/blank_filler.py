"""Cloze prediction as graph operations: suggestions for each blank, the filled text, scores of a text.

A blank is a run of two or more underscores with no letter, mark, digit or underscore beside it: `a ____ star` and
`____, he said` have one, `__init__` and `snake__case` have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.calls import MOST_WRITTEN, SUGGESTING, Settings
from seqapps.dataset.ragged import Ragged
from seqapps.inference._served import ERROR, TEXTS, ServedModule, plain, traced, whole, widest
from seqapps.inference.choosing import log_probabilities
from seqapps.layers.cloze import CONTEXT
from seqapps.metrics.ranks import ranked
from seqapps.preprocessing.tokenizers import Tokenizer
from seqapps.preprocessing.vocabulary import PAD, SPECIALS

BLANK = "____"
"""The blank in generated texts."""

_MARK = "\ufdd0"
"""Placeholder of a blank inside the graph: a Unicode noncharacter, which no text contains."""
_RUN = r"(^|[^\pL\pM\pN_])_{2,}($|[^\pL\pM\pN_])"
_CELLS = 1 << 22
"""Maximum number of logits in memory at one time: 16 MB."""
_MOST_BLANKS = 256
"""Maximum number of blanks of a text."""


def _cells(filler: BlankFiller, settings: Any, longest: Any) -> Any:
    """Returns the values of a row: its words in the widest layer below the logits, and its blanks' logits."""
    return longest * widest(filler._context) + tf.minimum(longest // 3 + 1, _MOST_BLANKS) * filler.tokenizer.size


class BlankFiller(ServedModule):
    """A cloze model with text as input and output.

    Args:
        model: from `tokens <int32>[B, T]` to `logits`, with layers named `context` and `logits`.
        tokenizer: words to ids and back; its size is the id of the blank.
    """

    most_bytes, most_cells = 1 << 13, 1 << 18  # the model reads a whole text at once, in both directions

    def __init__(self, model: keras.Model, tokenizer: Tokenizer) -> None:
        super().__init__(name="blank_filler")
        self.model, self.tokenizer, self.blank = model, tokenizer, tokenizer.size
        self._context = context_of(model)
        self._head = model.get_layer("logits")

    def signatures(self) -> dict[str, Any]:
        """Returns the serving signatures by name: `serving_default` and, with its setting, `fill`; `score`."""
        return {"serving_default": plain(self.fill, SUGGESTING), "fill": self.fill, "score": self.score}

    def full(self) -> dict[str, tuple[str, Settings]]:
        return {"fill": ("serving_default", SUGGESTING)}

    @traced(TEXTS, settings=SUGGESTING, product=(("k",),), cells=_cells)
    def fill(self, text: Any, k: Any) -> dict[str, Any]:
        """Suggests words for each blank of each text.

        Every blank is predicted from the words around it; the other blanks of its text are missing words, so the
        suggestions for one blank do not depend on those for another.

        Args:
            text: `<string>[B]`, with at most 256 blanks; fewer where a call has many rows and requests many words.
            k: `<int64>[B]`, suggestions for each blank; at most the number of words. Padded with "" and 0 where
                another row requests more.

        Returns:
            `words <string>[B, blanks, k]`, the most probable first ("" beyond a text's own blanks), `probabilities
            <float32>[B, blanks, k]` among all tokens, so that they sum to at most 1 (0 beyond), `blanks <int32>[B]` the
            number of blanks, `filled <string>[B]` the text, as valid UTF-8, with the first word in every blank.
        """
        k = whole(k)
        most = tf.reduce_max(k)
        marked, error = _few_enough(marks(text), most)
        tokens = tf.strings.regex_replace(marked, _MARK, f" {_MARK} ")
        ids, is_blank = self.tokenizer.encode(tokens), self.tokenizer.split(tokens).flat_values == _MARK
        dense = _dense(ids.with_flat_values(tf.where(is_blank, self.blank, ids.flat_values)))
        steps = tf.ragged.range(ids.row_lengths())
        places = tf.ragged.boolean_mask(steps, steps.with_flat_values(is_blank))
        context = self._context({"tokens": dense}, training=False)
        logits = self._logits(tf.gather(context, places.to_tensor(), batch_dims=1))
        probabilities = tf.where(self._words(logits), tf.nn.softmax(logits), -1.0)
        best = tf.math.top_k(probabilities, tf.minimum(most, self.tokenizer.size - len(SPECIALS)))
        counts = tf.cast(places.row_lengths(), tf.int32)
        real = tf.sequence_mask(counts, tf.shape(best.values)[1])[:, :, tf.newaxis]
        asked = real & (tf.range(tf.shape(best.values)[2]) < k[:, tf.newaxis, tf.newaxis])
        words = tf.where(asked, self.tokenizer.written(best.indices), "")
        return {
            "words": words,
            "probabilities": tf.where(asked, best.values, 0.0),
            "blanks": counts,
            "filled": _filled(marked, words[:, :, 0], counts),
            ERROR: error,
        }

    @traced(TEXTS, cells=_cells)
    def score(self, text: Any) -> dict[str, Any]:
        """Scores each word of each text given all others: the pseudo-log-likelihood. A blank is treated as plain text.

        Source: Salazar et al. 2020, "Masked Language Model Scoring", eq. 1.

        Args:
            text: `<string>[B]`; may be empty.

        Returns:
            `tokens <string>[B, T]` ("" on padding) and their `ids <int32>[B, T]`; `log_probabilities <float32>[B, T]`,
            natural logarithm (0 on padding); `length <int32>[B]`; `total <float32>[B]` the sum; `perplexity
            <float32>[B]` = exp(-total / length), 1 if there is no word.
        """
        ids = self.tokenizer.encode(text)
        dense, length = _dense(ids), tf.cast(ids.row_lengths(), tf.int32)
        real = tf.sequence_mask(length, tf.shape(dense)[1])
        context = self._context({"tokens": dense}, training=False)
        nats = self._nats(tf.boolean_mask(context, real), tf.boolean_mask(dense, real))
        log_probabilities = tf.scatter_nd(tf.where(real), -nats, tf.shape(dense, tf.int64))
        total = tf.reduce_sum(log_probabilities, axis=1)
        return {
            "tokens": tf.where(real, self.tokenizer.written(dense), ""),
            "ids": dense,
            "log_probabilities": log_probabilities,
            "length": length,
            "total": total,
            "perplexity": tf.exp(-total / tf.cast(tf.maximum(length, 1), tf.float32)),
        }

    def _logits(self, context: Any) -> Any:
        return tf.cast(self._head(context), tf.float32)

    def _words(self, logits: Any) -> Any:
        """True on words of texts: neither special tokens nor the blank. `<bool>[V]`."""
        places = tf.range(tf.shape(logits)[-1])
        return (places >= len(SPECIALS)) & (places < self.tokenizer.size)

    def _nats(self, context: Any, ids: Any) -> Any:
        """-log p of each id, `<float32>[N, D], <int32>[N] -> <float32>[N]`, in parts if there are too many logits."""
        count, most = tf.shape(ids)[0], max(1, _CELLS // (self.tokenizer.size + 1))

        def more(low: Any, nats: Any) -> Any:
            return low < count

        def part(low: Any, nats: Any) -> tuple[Any, Any]:
            logits = self._logits(context[tf.newaxis, low : low + most])[0]
            found = log_probabilities(logits, ids[low : low + most])
            return low + most, tf.concat([nats, -found], axis=0)

        shapes = (tf.TensorShape([]), tf.TensorShape([None]))
        begin = (0, tf.zeros([0]))
        return tf.while_loop(more, part, begin, shape_invariants=shapes, parallel_iterations=1)[1]


def marks(text: Any) -> Any:
    """Returns valid UTF-8 with each blank replaced by one mark. `<string>[B] -> <string>[B]`."""
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
    text = tf.strings.regex_replace(text, _MARK, "\ufffd")
    # A match includes the neighbouring characters: of two blanks with one character between, it misses the second.
    for _ in range(2):
        text = tf.strings.regex_replace(text, _RUN, rf"\1{_MARK}\2")
    return text


def _few_enough(marked: Any, k: Any) -> tuple[Any, Any]:
    """Returns the marked texts, "" for those with too many blanks, and the reason, `<string>[B]` each.

    Args:
        marked: `<string>[B]`.
        k: maximum number of suggestions over the rows of the call.
    """
    blanks = tf.cast(tf.strings.split(marked, _MARK).row_lengths(), tf.int32) - 1
    allowed = tf.clip_by_value(MOST_WRITTEN // (k * tf.shape(marked)[0]), 1, _MOST_BLANKS)
    shown = [tf.strings.as_string(count) for count in (blanks, allowed, k, tf.shape(marked)[0])]
    words = tf.strings.join(
        [
            "`text` has ",
            shown[0],
            " blanks. Allowed: ",
            shown[1],
            " where `k` is ",
            shown[2],
            ", in ",
            shown[3],
            " rows.",
        ]
    )
    return tf.where(blanks > allowed, "", marked), tf.where(blanks > allowed, words, "")


def context_of(model: keras.Model) -> keras.Model:
    """Returns the part of a cloze model below its logits: `tokens <int32>[B, T]` to `<float>[B, T, D]`."""
    return keras.Model(model.input, model.get_layer(CONTEXT).output)


def word_ranks(model: keras.Model, ids: Ragged, size: int, *, cells: int = 1 << 20) -> NDArray[np.float32]:
    """Returns the output of `ranked` for every word of all rows given the others, in the order of `ids.values`.

    Args:
        model: a cloze model.
        ids: the rows, `<int>[N]` in all.
        size: V, without the blank.
        cells: maximum number of values of a layer's sequence at one time.

    Returns:
        `<float32>[N, 3]`.
    """
    context, head = context_of(model), model.get_layer("logits")

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)  # type: ignore[untyped-decorator]
    def read(tokens: Any) -> Any:
        return context({"tokens": tokens}, training=False)

    width = int(context.output.shape[-1])
    spec = tf.TensorSpec([1, None, width], context.output.dtype)

    @tf.function(input_signature=[spec], autograph=False)  # type: ignore[untyped-decorator]
    def log_p(found: Any) -> Any:
        return tf.nn.log_softmax(tf.cast(head(found), tf.float32))[0]

    result = np.empty((len(ids.values), 3), np.float32)
    most = max(1, _CELLS // size)
    for rows in _alike(ids.lengths, max(1, cells // width)):
        batch = ids.take(rows)
        inside = np.arange(batch.lengths.max()) < batch.lengths[:, None]
        tokens = np.full(inside.shape, PAD, np.int32)
        tokens[inside] = batch.values
        found = read(tf.constant(tokens)).numpy()[inside]
        places = (ids.splits[:-1][rows][:, None] + np.arange(inside.shape[1]))[inside]
        for low in range(0, len(found), most):
            part = slice(low, low + most)
            result[places[part]] = ranked(log_p(found[np.newaxis, part]).numpy(), batch.values[part], size)
    return result


def suggestions(filler: BlankFiller, texts: list[str], k: int) -> str:
    """Returns one line for each text with one blank: the text and its most probable words, for display."""
    found = filler.fill(text=tf.constant(texts), k=tf.constant([k] * len(texts), tf.int64))
    lines = []
    for text, words, shares in zip(texts, found["words"].numpy(), found["probabilities"].numpy(), strict=True):
        pairs = zip(words[0].tolist(), shares[0].tolist(), strict=True) if len(words) else ()
        shown = (f"{word.decode('utf-8', 'replace')} {share:.0%}" for word, share in pairs)
        lines.append(f"{text} -> {'  '.join(shown)}")
    return "\n".join(lines)


def blanked(tokenizer: Tokenizer, words: NDArray[Any], places: list[int]) -> str:
    """Returns the text of a sequence of ids with a blank at each of `places`, which must increase."""
    cuts = [0, *(cut for place in places for cut in (place, place + 1)), len(words)]
    pieces = [words[low:high].tolist() for low, high in zip(cuts[::2], cuts[1::2], strict=True)]
    texts = tokenizer.decode(tf.ragged.constant(pieces, ragged_rank=1, dtype=tf.int32)).numpy()
    return f" {BLANK} ".join(text.decode("utf-8", errors="replace") for text in texts).strip()


def _dense(ids: Any) -> Any:
    """Ragged ids to `<int32>[B, T]` of at least one step."""
    dense = ids.to_tensor(PAD)
    return tf.pad(dense, [[0, 0], [0, tf.cast(tf.shape(dense)[1] == 0, tf.int32)]], constant_values=PAD)


def _filled(marked: Any, words: Any, counts: Any) -> Any:
    """Replaces the n-th mark of each row by its n-th word."""
    pieces = tf.strings.split(marked, _MARK)
    # One word for each piece: the last one has an empty word.
    padded = tf.concat([words, tf.fill([tf.shape(words)[0], 1], "")], axis=1)
    beside = tf.boolean_mask(padded, tf.sequence_mask(counts + 1, tf.shape(padded)[1]))
    return tf.strings.reduce_join(pieces.with_flat_values(pieces.flat_values + beside), axis=-1)


def _alike(lengths: NDArray[np.int64], steps: int) -> Iterator[NDArray[np.int64]]:
    """Yields row indices, grouped by similar length, with rows x longest below `steps`."""
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    low = 0
    while low < len(order):
        ahead = lengths[order[low:]] * np.arange(1, len(order) - low + 1)
        high = low + max(1, int(np.searchsorted(ahead, steps, side="right")))
        yield order[low:high]
        low = high
