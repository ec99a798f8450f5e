"""Translation as graph operations: beam search, sampling, scores and attention, for raw text.

The same object translates the test split, generates the samples during training and is saved in the SavedModel. It
calls the live model: nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seqapps.batching.rows import shift_right
from seqapps.calls import SAMPLING, TRANSLATING, Settings
from seqapps.dataset.ragged import Ragged, evenly_spaced
from seqapps.inference._served import TEXTS, Bounds, ServedModule, answering, plain, traced, whole, widest
from seqapps.inference.choosing import Sampling, keys_of
from seqapps.inference.decoding import Hypotheses, Limits, Sequences, Step, beam_search, write
from seqapps.layers.attention import Attention
from seqapps.layers.states import STATE, unrolled
from seqapps.optimization.losses import cross_entropy
from seqapps.plots.alignment import Panel
from seqapps.preprocessing.tokenizers import Tokenizer
from seqapps.preprocessing.vocabulary import BEGIN, END, PAD

_IDS = tf.TensorSpec([None, None], tf.int32)
_WRITTEN = (("max_length", "min_length"), ("no_repeat_ngram",))
"""Settings that determine the work for each row: its length, and the n-gram check at each token."""
_ROWS = 128
"""Rows of one call in translating many."""
_CELLS = 1 << 24
"""Maximum number of values of the decoder's steps for a given target: 64 MiB, and a few times that for temporaries."""


def _cells(translator: Translator, settings: Any, longest: Any) -> Any:
    """Returns the values of a row: each hypothesis has a copy of the source's memory and the logits of a step."""
    beam = tf.cast(tf.reduce_max(settings["beam"]), tf.int32) if "beam" in settings else 1
    return beam * (translator.target.size + (longest + 1) * (widest(translator.encoder) + 4))


def _pair_cells(translator: Translator, settings: Any, longest: Any) -> Any:
    """Returns the values of a row with both texts given: attention between them."""
    return tf.cast(longest + 1, tf.int64) * (tf.cast(longest, tf.int64) + widest(translator.encoder))


class Search(NamedTuple):
    """Settings of a search; scalars, or `[B]`: see `Translator.translate`."""

    beam: Any
    n_best: Any
    max_length: Any
    min_length: Any
    length_penalty: Any
    no_repeat_ngram: Any


class Translator(ServedModule):
    """An encoder-decoder with text as input and output. A row's result does not depend on the rest of the batch.

    Args:
        model: contains the models `encoder` and `decoder` (see `seqapps.architectures.encoder_decoder`).
        source, target: tokenizers of the two sides.
        longest: maximum number of tokens of a translation where a call sets no limit.
    """

    most_bytes = 1 << 11  # attention has a weight for each pair of tokens
    most_written = 1 << 18  # a token of a hypothesis costs more than a sampled one

    def __init__(self, model: keras.Model, source: Tokenizer, target: Tokenizer, longest: int = 100) -> None:
        super().__init__(name="translator")
        self.model, self.source, self.target, self.longest = model, source, target, longest
        self.encoder, self.decoder = model.get_layer("encoder"), model.get_layer("decoder")

    @property
    def attends(self) -> bool:
        """Whether the model has attention."""
        return "attention" in self.decoder.output

    def signatures(self) -> dict[str, Any]:
        """Returns the serving signatures by name: `serving_default` and, with its settings, `translate`; `sample` with
        its settings; `score` and, where the model has attention, `attend`."""
        found = {
            "serving_default": plain(self.translate, TRANSLATING),
            "translate": self.translate,
            "sample": self.sample,
            "score": self.score,
        }
        return {**found, "attend": self.attending} if self.attends else found

    def full(self) -> dict[str, tuple[str, Settings]]:
        return {"translate": ("serving_default", TRANSLATING), "sample": ("", SAMPLING)}

    @cached_property
    def attending(self) -> Any:
        """The graph of `attend`, which only a model with attention has."""
        inputs = {"source": TEXTS, "target": TEXTS}
        return answering(self, self.attend, inputs, Bounds(area=True, cells=_pair_cells))

    @traced(TEXTS, settings=TRANSLATING, product=(("beam",), *_WRITTEN), cells=_cells)
    def translate(  # noqa: PLR0913, PLR0917 - the inputs of a signature
        self,
        source: Any,
        beam: Any,
        n_best: Any,
        max_length: Any,
        min_length: Any,
        no_repeat_ngram: Any,
        length_penalty: Any,
    ) -> dict[str, Any]:
        """Searches for the most probable translations of each text.

        Args:
            source: `<string>[B]`.
            beam: `<int64>[B]`, beam width; 1 is greedy.
            n_best: `<int64>[B]`, number of translations; at most `beam`.
            max_length: `<int64>[B]`, maximum number of tokens, including the final `<eos>`; 0 means `longest`.
            min_length: `<int64>[B]`, minimum number of tokens before `<eos>`.
            no_repeat_ngram: `<int64>[B]`, no repeated n-gram of tokens of this order; 0 allows all.
            length_penalty: `<float32>[B]`, alpha of Wu et al. 2016: a score is log p / ((5 + length) / 6) ** alpha; 0:
                log p alone.

        Returns:
            `text <string>[B]`, the best one, with its `score`, `log_probability <float32>[B]` (natural logarithm) and
            `length <int32>[B]` in tokens, `<eos>` included; `texts <string>[B, n]`, `scores` and `log_probabilities
            <float32>[B, n]`, the best first; `count <int32>[B]`, their number, padded with "" and 0.
        """
        beam, n_best, max_length, min_length = map(whole, (beam, n_best, max_length, min_length))
        most = self._most(max_length, min_length)
        search = Search(beam, tf.minimum(n_best, beam), most, min_length, length_penalty, whole(no_repeat_ngram))
        found = self.search(self._read(self.source, source), search)
        texts = self._texts(found.ids)
        return {
            "text": texts[:, 0],
            "score": found.scores[:, 0],
            "log_probability": found.log_probabilities[:, 0],
            "length": found.lengths[:, 0],
            "texts": texts,
            "scores": found.scores,
            "log_probabilities": found.log_probabilities,
            "count": found.count,
        }

    @traced(TEXTS, settings=SAMPLING, product=_WRITTEN, cells=_cells)
    def sample(  # noqa: PLR0913, PLR0917 - the inputs of a signature
        self,
        source: Any,
        max_length: Any,
        min_length: Any,
        no_repeat_ngram: Any,
        temperature: Any,
        top_k: Any,
        seed: Any,
    ) -> dict[str, Any]:
        """Samples one translation of each text; a row's sample depends only on its seed.

        Args:
            source: `<string>[B]`.
            max_length, min_length, no_repeat_ngram: see `translate`.
            temperature: `<float32>[B]`, divides the logits; 0: greedy search.
            top_k: `<int64>[B]`, samples among the k most probable tokens; 0 samples among all.
            seed: `<int64>[B]`.

        Returns:
            `text <string>[B]`, `log_probability <float32>[B]` under the model itself and `length <int32>[B]`.
        """
        max_length, min_length = whole(max_length), whole(min_length)
        limits = Limits(self._most(max_length, min_length), min_length, whole(no_repeat_ngram))
        sampling = Sampling(temperature, whole(top_k), keys_of(seed))
        found = self.write(self._read(self.source, source), limits, sampling)
        text = self._texts(found.ids[:, None])[:, 0]
        return {"text": text, "log_probability": found.log_probabilities, "length": found.lengths}

    @traced(TEXTS, TEXTS, cells=_pair_cells)
    def score(self, source: Any, target: Any) -> dict[str, Any]:
        """Scores each pair: log p(target | source), with `<eos>` as the target's last token.

        Args:
            source, target: `<string>[B]` each.

        Returns:
            `tokens <string>[B, T]` of the target and `source_tokens <string>[B, S]`, "" on padding, with their
            `ids` and `source_ids <int32>`; `log_probabilities <float32>[B, T]`; `length <int32>[B]` tokens of
            the target; `total <float32>[B]` the sum; `perplexity <float32>[B]` = exp(-total / length).
        """
        source_ids, ids = self._read(self.source, source), self._read(self.target, target)
        nats = self.nats(source_ids, ids)
        total, length = -tf.reduce_sum(nats, axis=1), _lengths(ids)
        return {
            "tokens": _written(self.target, ids),
            "ids": ids,
            "source_tokens": _written(self.source, source_ids),
            "source_ids": source_ids,
            "log_probabilities": -nats,
            "length": length,
            "total": total,
            "perplexity": tf.exp(-total / tf.cast(length, tf.float32)),
        }

    def attend(self, source: Any, target: Any) -> dict[str, Any]:
        """Returns the attention weights over the source for each token of the target.

        Args:
            source, target: `<string>[B]` each.

        Returns:
            `attention <float32>[B, T, S]`, whose rows sum to 1; `tokens <string>[B, T]` of the target and
            `source_tokens <string>[B, S]`, "" on padding; `length` and `source_length <int32>[B]`, `<eos>` included.
        """
        source_ids, ids = self._read(self.source, source), self._read(self.target, target)
        return {
            "attention": self.attention(source_ids, ids),
            "tokens": _written(self.target, ids),
            "source_tokens": _written(self.source, source_ids),
            "length": _lengths(ids),
            "source_length": _lengths(source_ids),
        }

    # ---- on ids

    def search(self, source: Any, search: Search) -> Hypotheses:
        """Returns the best translations of ids `<int32>[B, S]`, ending with `<eos>`; `search` has tensors `[B]`."""
        memory, states = self._encode(source)
        widest = tf.reduce_max(search.beam)
        return beam_search(
            self._step({name: tf.repeat(value, widest, axis=0) for name, value in memory.items()}),
            states,
            tf.fill([tf.shape(source)[0]], BEGIN),
            Limits(search.max_length, search.min_length, search.no_repeat_ngram),
            width=search.beam,
            n_best=search.n_best,
            alpha=search.length_penalty,
        )

    def write(self, source: Any, limits: Limits, sampling: Sampling) -> Sequences:
        """Returns one translation of ids `<int32>[B, S]`: greedy at temperature 0, else sampled."""
        memory, states = self._encode(source)
        return write(self._step(memory), states, tf.fill([tf.shape(source)[0]], BEGIN), limits, sampling)

    def nats(self, source: Any, target: Any) -> Any:
        """Returns -log p of each token of the target `<int32>[B, T]`, 0 on padding: `<float32>[B, T]`."""

        def lost(found: dict[str, Any], y: Any) -> Any:
            return tf.where(y != PAD, cross_entropy(found["logits"], y), 0.0)

        return self._teacher_forced(source, target, lost, [None, None])

    def attention(self, source: Any, target: Any) -> Any:
        """Returns the attention weights, `<float32>[B, T, S]`, for a given target."""

        def weights(found: dict[str, Any], y: Any) -> Any:
            real = (y != PAD)[:, :, None]
            return tf.cast(tf.where(real, found["attention"], tf.zeros((), found["attention"].dtype)), tf.float32)

        return self._teacher_forced(source, target, weights, [None, None, None])

    def _teacher_forced(
        self, source: Any, target: Any, wanted: Callable[[dict[str, Any], Any], Any], shape: list[None]
    ) -> Any:
        """Returns a function of the decoder's outputs at each step for a given target (teacher forcing).

        The decoder runs as many steps at once as keep both the logits and the hidden values of additive attention
        within `_CELLS` values, at least one step.

        Args:
            source, target: `<int32>[B, S]` and `<int32>[B, T]`.
            wanted: the decoder's outputs for some steps, and their tokens `<int32>[B, t]`, to `[B, t, ...]`.
            shape: of the result, `[B, T, ...]`, each axis unknown.
        """
        memory, states = self._encode(source)
        rows, length = tf.shape(target)[0], tf.shape(target)[1]
        before = tf.where(target != PAD, shift_right(target, BEGIN), PAD)
        step = tf.maximum(self.target.size, tf.shape(source)[1] * _attention_units(self.decoder))
        most = tf.maximum(_CELLS // (tf.maximum(rows, 1) * step), 1)

        def part(low: Any, states: dict[str, Any], earlier: Any) -> Any:
            y = target[:, low : low + most]
            found = self.decoder({"target": before[:, low : low + most], **states, **memory}, training=False)
            after = {name: found[name] for name in states}
            return low + most, after, tf.concat([earlier, wanted(found, y)], axis=1)

        begin = (0, states, tf.zeros([rows, 0, *[tf.shape(source)[1] for _ in shape[2:]]]))
        kept = {name: tf.TensorShape([None, *value.shape[1:]]) for name, value in states.items()}
        shapes = (tf.TensorShape([]), kept, tf.TensorShape(shape))
        # One part at a time, to limit memory.
        done = tf.while_loop(lambda low, *_: low < length, part, begin, shape_invariants=shapes, parallel_iterations=1)
        return done[2]

    def _encode(self, source: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the constant part (attention's memory) and the decoder's states."""
        seen = dict(self.encoder(source, training=False))
        memory = {name: value for name, value in seen.items() if not name.startswith(STATE)}
        return memory, {name: value for name, value in seen.items() if name.startswith(STATE)}

    def _step(self, memory: dict[str, Any]) -> Step:
        def step(tokens: Any, states: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            with unrolled(self.decoder):
                found = self.decoder({"target": tokens[:, None], **states, **memory}, training=False)
            return found["logits"][:, 0], {name: found[name] for name in states}

        return step

    # ---- between text and ids

    def panel(self, source: bytes, target: bytes) -> Panel:
        """Returns the attention between two texts, for plotting."""
        found = self.attend(tf.constant([source]), tf.constant([target]))
        across, down = (
            [token.decode("utf-8", errors="replace") for token in found[name].numpy()[0]]
            for name in ("source_tokens", "tokens")
        )
        return Panel(across, down, found["attention"].numpy()[0])

    def _most(self, max_length: Any, min_length: Any) -> Any:
        """Returns the limit of a call, or `longest` where it has none."""
        return tf.where(max_length > 0, max_length, tf.maximum(self.longest, min_length + 1))

    def _read(self, tokenizer: Tokenizer, text: Any) -> Any:
        """Returns ids ending with `<eos>`, `<string>[B] -> <int32>[B, T]`."""
        ids = tokenizer.encode(text)
        return tf.concat([ids, tf.fill([ids.nrows(tf.int32), 1], END)], axis=1).to_tensor(PAD)

    def _texts(self, ids: Any) -> Any:
        """Returns the text of ids, `<int32>[B, n, T] -> <string>[B, n]`."""
        shape = tf.shape(ids)
        flat = tf.RaggedTensor.from_tensor(tf.reshape(ids, [-1, shape[2]]), padding=PAD)
        return tf.reshape(self.target.decode(flat), shape[:2])


def translate_rows(translator: Translator, source: Ragged, search: Search) -> NDArray[np.object_]:
    """Returns the best translation of each row as UTF-8, `<object>[rows]`. See `row_translator`."""
    return row_translator(translator, search)(source)


def row_translator(translator: Translator, search: Search) -> Callable[[Ragged], NDArray[np.object_]]:
    """Returns a function from ids, ending with `<eos>`, to the best translation of each row as UTF-8, `<object>[rows]`.

    Rows of similar length are batched. The graph is traced once: keep the function for repeated use of a model.

    Args:
        translator: the model.
        search: settings; a beam of 1 uses the greedy loop, which has the same result and is faster.
    """

    @tf.function(input_signature=[_IDS], autograph=False)  # type: ignore[untyped-decorator]
    def translate(ids: Any) -> Any:
        rows = tf.shape(ids)[0]
        of_rows = _of_rows(search, rows)
        if search.beam > 1:
            return translator._texts(translator.search(ids, of_rows).ids)[:, 0]
        limits = Limits(of_rows.max_length, of_rows.min_length, of_rows.no_repeat_ngram)
        return translator._texts(translator.write(ids, limits, Sampling.greedy(rows)).ids[:, None])[:, 0]

    def translate_all(source: Ragged) -> NDArray[np.object_]:
        texts = np.empty(len(source), np.object_)
        for rows in _batches(source.lengths):
            texts[rows] = translate(_dense(source.take(rows))).numpy()
        return texts

    return translate_all


def reference_nats(translator: Translator, source: Ragged, target: Ragged) -> NDArray[np.float64]:
    """Returns -log p(target | source) of each row in nats, `<float64>[rows]`; ids end with `<eos>`."""

    @tf.function(input_signature=[_IDS, _IDS], autograph=False)  # type: ignore[untyped-decorator]
    def nats(source: Any, target: Any) -> Any:
        return tf.reduce_sum(translator.nats(source, target), axis=1)

    found = np.empty(len(source), np.float64)
    for rows in _batches(source.lengths + target.lengths):
        found[rows] = nats(_dense(source.take(rows)), _dense(target.take(rows))).numpy()
    return found


def golden_calls(sources: list[str], targets: list[str], *, attends: bool) -> dict[str, list[dict[str, Any]]]:
    """Returns example calls of every signature: a few real pairs, spread evenly, and an empty text, as JSON values."""
    chosen = evenly_spaced(len(sources), 3).tolist()
    source, target = [*(sources[row] for row in chosen), ""], [*(targets[row] for row in chosen), ""]

    def asked(**settings: Any) -> dict[str, Any]:
        return {"source": source, **{name: [value] * len(source) for name, value in settings.items()}}

    few = {"max_length": 40, "min_length": 0, "no_repeat_ngram": 0}
    calls: dict[str, list[dict[str, Any]]] = {
        "serving_default": [{"source": source}],
        "translate": [
            asked(**few, beam=4, n_best=2, length_penalty=0.6),
            asked(max_length=0, min_length=0, no_repeat_ngram=2, beam=1, n_best=1, length_penalty=0.0),
        ],
        "sample": [asked(**few, temperature=0.8, top_k=10, seed=1)],
        "score": [{"source": source, "target": target}],
    }
    if attends:
        calls["attend"] = [{"source": source, "target": target}]
    return calls


def _of_rows(search: Search, rows: Any) -> Search:
    """Returns a search with its settings repeated for each row."""
    values = search._replace(length_penalty=float(search.length_penalty))
    return Search(*(tf.fill([rows], tf.constant(value)) for value in values))


def _attention_units(decoder: keras.Model) -> int:
    """Returns how many intermediate values attention has for each pair of tokens."""
    layers = [layer for layer in decoder._flatten_layers() if isinstance(layer, Attention)]
    return max((layer.units for layer in layers if layer.score == "additive"), default=1)


def _batches(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    order = np.argsort(lengths, kind="stable")
    return [order[low : low + _ROWS] for low in range(0, len(order), _ROWS)]


def _dense(rows: Ragged) -> Any:
    ids = np.full((len(rows), int(rows.lengths.max(initial=1))), PAD, np.int32)
    ids[np.arange(ids.shape[1]) < rows.lengths[:, None]] = rows.values
    return tf.constant(ids)


def _lengths(ids: Any) -> Any:
    return tf.math.count_nonzero(ids, axis=1, dtype=tf.int32)


def _written(tokenizer: Tokenizer, ids: Any) -> Any:
    return tf.where(ids != PAD, tokenizer.written(ids), "")
