"""Text generation as graph operations: continuation of a prompt, suggestions of the next token, scores of a text.

The same object generates the samples during training and is saved in the SavedModel. It calls the live model: nothing
is copied, and a change of the weights takes effect at the next call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from seqapps.batching.rows import shift_right
from seqapps.calls import SUGGESTING, WRITING, Settings
from seqapps.dataset.ragged import Ragged, evenly_spaced
from seqapps.errors import DataError
from seqapps.inference._served import TEXTS, ServedModule, plain, traced, whole
from seqapps.inference.choosing import NEVER_WRITTEN, Sampling, best, choose, keys_of, log_probabilities
from seqapps.layers.states import state_sizes, unrolled, zero_states
from seqapps.preprocessing.tokenizers import Tokenizer
from seqapps.preprocessing.vocabulary import END, PAD

_PROMPT_STEPS = 512
"""Maximum time steps of one call of the model on a prompt, to limit the memory for a long prompt."""
_SCORE_CELLS = 1 << 22
"""Maximum number of logits of one call of `score`: 16 MB."""
_ENDS_IN_SPACE = r"(?s).*[\pZ\s\x{0085}]"


def cells_of_a_row(decoder: Any, settings: Any, longest: Any) -> Any:
    """Returns the values of a row, see `Bounds.cells`: a part of its text in the widest layer, the logits of a step."""
    widest = max([1, *state_sizes(decoder.model).values()])
    texts = tf.cast(tf.reduce_max(settings["count"]), tf.int32) if "count" in settings else 1
    return texts * decoder.tokenizer.size + 4 * widest * tf.minimum(longest, _PROMPT_STEPS)


class _Text(NamedTuple):
    """Loop variables of generation; rows `[B]`, states `[B, D]`."""

    step: Any
    token: Any
    done: Any
    nats: Any
    states: dict[str, Any]
    written: Any


class TextDecoder(ServedModule):
    """Base class of generators: reads, generates and scores tokens with a stateful model.

    Args:
        model: carries its states: `tokens <int32>[B, T]` and `state_*` in, `logits <float32>[B, T, V]` and `state_*`
            out, at any T.
        tokenizer: text to ids and back.
        start: the token before the first one (`<bos>` or `<eos>`, as in training).

    Raises:
        DataError: the model carries no states, so it cannot go on from where it is.
    """

    def __init__(self, model: keras.Model, tokenizer: Tokenizer, *, start: int) -> None:
        super().__init__()
        if not state_sizes(model):
            raise DataError(
                f"A model that writes text must carry its states (`state_*` inputs). Received: model {model.name!r} "
                f"with inputs {[tensor.name for tensor in model.inputs]}."
            )
        self.model, self.tokenizer, self.start = model, tokenizer, start

    def _read(self, ids: Any) -> tuple[dict[str, Any], Any]:
        """Reads ragged ids after `start`; returns the states before the last token, and that token `<int32>[B]`.

        Rows advance together to the end of the shortest, then the longer ones continue without it: equal lengths need
        one call of the model, and no row reads padding.
        """
        rows, lengths = ids.nrows(tf.int32), tf.cast(ids.row_lengths(), tf.int32)
        tokens = tf.concat([tf.fill([rows, 1], self.start), ids.to_tensor(PAD)], axis=1)

        def unfinished(position: Any, states: dict[str, Any]) -> Any:
            return tf.reduce_any(lengths > position)

        def advance(position: Any, states: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            active = tf.where(lengths > position)
            ahead = tf.reduce_min(tf.gather_nd(lengths, active)) - position
            stop = position + tf.minimum(ahead, _PROMPT_STEPS)
            now = {name: tf.gather_nd(state, active) for name, state in states.items()}
            _, after = self._call(tf.gather_nd(tokens, active)[:, position:stop], now)
            return stop, {
                name: tf.tensor_scatter_nd_update(state, active, after[name]) for name, state in states.items()
            }

        _, states = tf.while_loop(unfinished, advance, (0, zero_states(self.model, rows)))
        return states, tf.gather(tokens, lengths, batch_dims=1)

    def _write(self, states: dict[str, Any], last: Any, max_length: Any, sampling: Sampling) -> tuple[Any, Any]:
        """Returns the generated ids `<int32>[B, steps]`, at most `max_length <int32>[B]` of each row, and their summed
        -log p `<float32>[B]`."""
        rows = tf.shape(last)[0]
        barred = tf.where(self._writable(), 0.0, -np.inf)

        def unfinished(text: _Text) -> Any:
            return ~tf.reduce_all(text.done)

        def write_one(text: _Text) -> list[_Text]:
            logits, states = self._step(text.token, text.states)
            chosen = choose(logits + barred, text.step, sampling)
            token = tf.where(text.done, PAD, chosen)
            nats = -log_probabilities(logits, token)
            return [
                _Text(
                    step=text.step + 1,
                    token=token,
                    done=text.done | (token == END) | (text.step + 1 >= max_length),
                    nats=text.nats + tf.where(text.done, 0.0, nats),
                    states=states,
                    written=tf.concat([text.written, token[:, None]], axis=1),
                )
            ]

        # The output grows with every step: a high limit alone needs no memory.
        begin = _Text(tf.constant(0), last, max_length < 1, tf.zeros([rows]), states, tf.zeros([rows, 0], tf.int32))
        shapes = tf.nest.map_structure(lambda value: value.shape, begin)._replace(written=tf.TensorShape([None, None]))
        (text,) = tf.while_loop(unfinished, write_one, [begin], shape_invariants=[shapes])
        return text.written, text.nats

    def _scored(self, text: Any, states: dict[str, Any]) -> dict[str, Any]:
        """Returns the outputs of `score` for texts that begin with `states`."""
        ids = self.tokenizer.encode(text)
        targets = tf.concat([ids, tf.fill([ids.nrows(tf.int32), 1], END)], axis=1)
        length, dense = tf.cast(targets.row_lengths(), tf.int32), targets.to_tensor(PAD)
        real = tf.sequence_mask(length, tf.shape(dense)[1])
        log_probabilities = tf.where(real, self._log_probabilities(dense, states), 0.0)
        total = tf.reduce_sum(log_probabilities, axis=1)
        return {
            "tokens": tf.where(real, self.tokenizer.written(dense), ""),
            "ids": dense,
            "log_probabilities": log_probabilities,
            "length": length,
            "total": total,
            "perplexity": tf.exp(-total / tf.cast(length, tf.float32)),
        }

    def _log_probabilities(self, targets: Any, states: dict[str, Any]) -> Any:
        """Returns log p of each token given the previous ones, from `states` on. `<int32>[B, T] -> <float32>[B, T]`."""
        rows, length = tf.shape(targets)[0], tf.shape(targets)[1]
        inputs = shift_right(targets, self.start)
        most = tf.clip_by_value(_SCORE_CELLS // tf.maximum(rows * self.tokenizer.size, 1), 1, _PROMPT_STEPS)

        def unfinished(position: Any, states: dict[str, Any], scores: Any) -> Any:
            return position < length

        def score_part(position: Any, states: dict[str, Any], scores: Any) -> Any:
            stop = tf.minimum(position + most, length)
            logits, states = self._call(inputs[:, position:stop], states)
            found = log_probabilities(logits, targets[:, position:stop])
            return stop, states, tf.concat([scores, found], axis=1)

        begin = (0, states, tf.zeros([rows, 0]))
        shapes = tf.nest.map_structure(lambda value: tf.TensorShape([None, *value.shape[1:]]), begin[1])
        shapes = (tf.TensorShape([]), shapes, tf.TensorShape([None, None]))
        return tf.while_loop(unfinished, score_part, begin, shape_invariants=shapes, parallel_iterations=1)[2]

    def _call(self, tokens: Any, states: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """One call of the model: logits `<float32>[B, T, V]` and the states after it."""
        outputs = dict(self.model({"tokens": tokens, **states}, training=False))
        logits = tf.cast(outputs.pop("logits"), tf.float32)
        return logits, {name: tf.ensure_shape(outputs[name], states[name].shape) for name in states}

    def _step(self, token: Any, states: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """One time step: `<int32>[B]` to logits `<float32>[B, V]` and the states after it."""
        with unrolled(self.model):
            logits, states = self._call(token[:, tf.newaxis], states)
        return logits[:, 0], states

    def _writable(self) -> Any:
        return tf.constant(~np.isin(np.arange(self.tokenizer.size), NEVER_WRITTEN))

    def _opening(self, prompt: Any) -> Any:
        """Returns the ids of a prompt; with words, a trailing space belongs to the next word."""
        if self.tokenizer.config.level == "word":
            prompt = tf.strings.regex_replace(prompt, r"[\pZ\s\x{0085}]+$", "")
        return self.tokenizer.encode(prompt)

    def _join(self, prompt: Any, before: Any, written: Any) -> tuple[Any, Any]:
        """Returns the continuation and the full text, `<string>[B]` each; the second is prompt + continuation."""
        prompt = tf.strings.unicode_transcode(prompt, "UTF-8", "UTF-8", errors="replace")
        ids = tf.RaggedTensor.from_tensor(written, padding=PAD)
        if self.tokenizer.config.level != "word":
            text = self.tokenizer.decode(ids)  # characters and subwords include their spaces
            return text, prompt + text
        # Only the tokenizer knows whether a space separates two words: the continuation is the decoded whole less the
        # decoded prompt.
        old, whole = self.tokenizer.decode(before), self.tokenizer.decode(tf.concat([before, ids], axis=1))
        size = tf.strings.length(old)
        grown = tf.strings.substr(whole, tf.zeros_like(size), size) == old
        rest = tf.strings.substr(whole, tf.where(grown, size, 0), tf.strings.length(whole))
        text = tf.where(grown, rest, " " + self.tokenizer.decode(ids))
        alone = (prompt == "") | tf.strings.regex_full_match(prompt, _ENDS_IN_SPACE)
        text = tf.where(alone, tf.strings.regex_replace(text, r"^[\pZ\s]+", ""), text)
        return text, prompt + text


class TextGenerator(TextDecoder):
    """A language model with text as input and output.

    A prompt is read as whole tokens and follows `start`. For `word` tokens, "the stud" ends with the word "stud", not
    with the beginning of "students"; a trailing space affects only how prompt and continuation are joined. Invalid
    UTF-8 is read as U+FFFD. The result of a row does not depend on the other rows or their lengths: no state depends
    on padding.

    Args:
        model: carries its states: `tokens <int32>[B, T]` and `state_*` in, `logits <float32>[B, T, V]` and `state_*`
            out, at any T.
        tokenizer: text to ids and back.
        start: the token before the first one (`<bos>` or `<eos>`, as in training).

    Raises:
        DataError: the model carries no states, so it cannot go on from where it is.
    """

    def write(self, prompt: str, *, length: int, temperature: float, top_k: int, seed: int) -> str:
        """Returns the text that follows `prompt`: at most `length` tokens. The arguments are those of `generate`."""
        answer = self.generate(
            prompt=tf.constant([prompt]),
            max_length=tf.constant([length], tf.int64),
            temperature=tf.constant([temperature], tf.float32),
            top_k=tf.constant([top_k], tf.int64),
            seed=tf.constant([seed], tf.int64),
        )
        text: bytes = answer["text"].numpy()[0]
        return text.decode("utf-8", errors="replace")

    def signatures(self) -> dict[str, Any]:
        """Returns the serving signatures by name: `serving_default` and, with its settings, `generate`; `complete` and,
        with its setting, `complete_k`; `score`."""
        return {
            "serving_default": plain(self.generate, WRITING),
            "generate": self.generate,
            "complete": plain(self.complete, SUGGESTING),
            "complete_k": self.complete,
            "score": self.score,
        }

    def full(self) -> dict[str, tuple[str, Settings]]:
        return {"generate": ("serving_default", WRITING), "complete_k": ("complete", SUGGESTING)}

    @traced(TEXTS, settings=WRITING, product=(("max_length",),), cells=cells_of_a_row)
    def generate(self, prompt: Any, max_length: Any, temperature: Any, top_k: Any, seed: Any) -> dict[str, Any]:
        """Continues each prompt, token by token, until `<eos>` or the limit.

        A row's random numbers depend only on its seed and the step: equal rows return equal texts at any position and
        with any other rows.

        Args:
            prompt: `<string>[B]`; may be empty.
            max_length: `<int64>[B]`, maximum number of generated tokens, `<eos>` included.
            temperature: `<float32>[B]`, divides the logits; 0: the most probable token.
            top_k: `<int64>[B]`, samples among the k most probable tokens; 0 samples among all.
            seed: `<int64>[B]`.

        Returns:
            `text <string>[B]` the continuation; `full_text <string>[B]` the prompt as valid UTF-8, followed by `text`;
            `ids <int32>[B, steps]`, `<pad>` after `<eos>`; `length <int32>[B]` in tokens, `<eos>`
            included; `nats <float32>[B]` their -log p under the model itself (temperature 1, all tokens).
        """
        before = self._opening(prompt)
        states, last = self._read(before)
        sampling = Sampling(temperature, whole(top_k), keys_of(seed))
        written, nats = self._write(states, last, whole(max_length), sampling)
        text, full_text = self._join(prompt, before, written)
        length = tf.math.count_nonzero(written, axis=1, dtype=tf.int32)
        return {"text": text, "full_text": full_text, "ids": written, "length": length, "nats": nats}

    @traced(TEXTS, settings=SUGGESTING, product=(("k",),), cells=cells_of_a_row)
    def complete(self, prompt: Any, k: Any) -> dict[str, Any]:
        """Suggests the next token, as for autocompletion.

        Args:
            prompt: `<string>[B]`; may be empty.
            k: `<int64>[B]`, number of suggestions; at most the number of tokens that can be generated.

        Returns:
            `tokens <string>[B, k]` as the vocabulary writes them (`<eos>`: the text ends here), most probable first,
            and `probabilities <float32>[B, k]` among all tokens, so that they sum to at most 1. Padded with "" and 0
            where another row requests more.
        """
        states, last = self._read(self._opening(prompt))
        logits, _ = self._step(last, states)
        probabilities = tf.where(self._writable(), tf.nn.softmax(logits), -1.0)
        k = whole(k)
        found, tokens = best(probabilities, tf.minimum(tf.reduce_max(k), self.tokenizer.size - len(NEVER_WRITTEN)))
        asked = tf.range(tf.shape(found)[1]) < k[:, None]
        return {
            "tokens": tf.where(asked, self.tokenizer.written(tokens), ""),
            "probabilities": tf.where(asked, found, 0.0),
        }

    @traced(TEXTS, cells=cells_of_a_row)
    def score(self, text: Any) -> dict[str, Any]:
        """Scores each text as a whole: `<eos>` is its last token.

        Args:
            text: `<string>[B]`; may be empty.

        Returns:
            `tokens <string>[B, T]` ("" on padding) and their `ids <int32>[B, T]`; `log_probabilities <float32>[B, T]`,
            natural logarithm (0 on padding); `length <int32>[B]` in tokens, with `<eos>`; `total <float32>[B]` the sum;
            `perplexity <float32>[B]` = exp(-total / length).
        """
        return self._scored(text, zero_states(self.model, tf.shape(text)[0]))


def golden_calls(ids: Ragged, tokenizer: Tokenizer) -> dict[str, list[dict[str, Any]]]:
    """Returns example calls of every signature: the first tokens of a few real examples, and an empty prompt.

    Args:
        ids: ids of the examples of a split, `<int64>`, ending with `<eos>`.
        tokenizer: decodes them to text.

    Returns:
        Signature name to keyword arguments, as JSON values.
    """
    prompts, texts = [*_openings(ids, tokenizer, tokens=12), ""], [*_openings(ids, tokenizer, tokens=60), ""]

    def asked(**settings: Any) -> dict[str, Any]:
        return {"prompt": prompts, **{name: [value] * len(prompts) for name, value in settings.items()}}

    return {
        "serving_default": [{"prompt": prompts}],
        "generate": [
            asked(max_length=30, temperature=0.0, top_k=0, seed=1),
            asked(max_length=30, temperature=0.8, top_k=10, seed=2),
            asked(max_length=30, temperature=1.0, top_k=0, seed=3),
        ],
        "complete": [{"prompt": prompts}],
        "complete_k": [asked(k=3)],
        "score": [{"text": texts}],
    }


def _openings(ids: Ragged, tokenizer: Tokenizer, *, tokens: int, rows: int = 3) -> list[str]:
    """Returns the beginnings of rows spread evenly over `ids`, of increasing length, as prompts."""
    chosen = evenly_spaced(len(ids), rows)
    parts = [ids.row(int(row))[: tokens * (index + 1) // rows] for index, row in enumerate(chosen)]
    ragged = tf.ragged.constant([part.tolist() for part in parts], ragged_rank=1, dtype=tf.int32)
    return [text.decode("utf-8", errors="replace") for text in tokenizer.decode(ragged).numpy()] if parts else []
