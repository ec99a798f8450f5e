"""A tagger: words, their characters and shapes, recurrent layers, tag logits (aligned many to many).

Sources: Lample et al. 2016 (characters by an LSTM, CRF); Ma & Hovy 2016 (characters by a convolution).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from seqapps.architectures._stack import OF_A_CELL, StackConfig
from seqapps.config import Unit

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

LEAST = -1e4
"""Initial value of a maximum over characters: below any output of a convolution."""


class Config(StackConfig):
    """The `model` section of a tagger.

    Args:
        embedding: size of a word's embedding.
        train_embedding: whether it is trained; False freezes pretrained vectors.
        word_dropout: share of the words replaced by `<unk>`, in training only.
        characters: how a word's characters are encoded: `cnn` (convolution and maximum), `lstm` (last states of
            both directions) or `none`.
        character_embedding: size of a character's embedding.
        character_units: size of that vector (of each direction, for `lstm`).
        character_window: kernel size of the convolution, in characters.
        shapes: size of the embedding of a word's shape (capitals, digits, punctuation); 0 for none.
        head: `softmax` (each tag independently) or `crf` (the tags of a sentence jointly; Lafferty et al. 2001), which
            never predicts transitions that the scheme forbids.
    """

    architecture: Literal["tagger"] = "tagger"
    embedding: Unit = 100
    train_embedding: bool = True
    word_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    characters: Literal["none", "cnn", "lstm"] = "cnn"
    character_embedding: Unit = 30
    character_units: Unit = 50
    character_window: int = Field(3, ge=1, le=1_000)
    shapes: int = Field(8, ge=0, le=65_536)
    head: Literal["softmax", "crf"] = "softmax"


def build(
    config: Config,
    *,
    sizes: tuple[int, int, int],
    allowed: NDArray[Any],
    use_cudnn: bool | Literal["auto"] = "auto",
    seed: int = 0,
) -> keras.Model:
    """Returns concatenated [word, characters, shape] -> [dropout -> recurrent layer] x L -> dropout -> logits.

    Args:
        config: the `model` section.
        sizes: vocabulary sizes of words, characters and shapes.
        allowed: allowed transitions, `<bool>[K + 1, K + 1]`, the sentence boundary last.
        use_cudnn: False builds a model that runs on any device, with the same weights.
        seed: of the configuration; with the layers' names it determines initial weights and dropout.

    Returns:
        A functional model. In: `words <int32>[B, T]`, 0 on padding, `characters <int32>[B, T, C]` and `shapes
        <int32>[B, T]` where the model has them. Out: `logits <float32>[B, T, K]`, and for `crf` also `transitions
        <float32>[B, K + 1, K + 1]`, the same for every row, and `mask <bool>[B, T]`.
    """
    import keras

    from seqapps.architectures._stack import recurrent_stack
    from seqapps.layers import seeded
    from seqapps.layers.crf import Transitions
    from seqapps.layers.word_dropout import WordDropout

    words = keras.Input((None,), dtype="int32", name="words")
    inputs, mask = {"words": words}, keras.ops.not_equal(words, 0)
    ids = WordDropout(config.word_dropout, seed=seed, name="word_dropout")(words) if config.word_dropout else words
    given: Any = {"trainable": config.train_embedding, "seed": seed, "name": "embedding"}
    parts = [seeded.embedding(sizes[0], config.embedding, **given)(ids)]
    if config.characters != "none":
        inputs["characters"] = keras.Input((None, None), dtype="int32", name="characters")
        parts.append(_characters(config, inputs["characters"], mask, sizes[1], use_cudnn=use_cudnn, seed=seed))
    if config.shapes:
        inputs["shapes"] = keras.Input((None,), dtype="int32", name="shapes")
        shapes = seeded.embedding(sizes[2], config.shapes, name="shape_embedding", seed=seed)
        parts.append(shapes(inputs["shapes"]))
    x = keras.layers.Concatenate(name="word")(parts) if len(parts) > 1 else parts[0]
    x, _ = recurrent_stack(config, x, mask, use_cudnn=use_cudnn, seed=seed)
    logits = seeded.dense(len(allowed) - 1, name="logits", seed=seed, dtype="float32")(x)
    outputs = {"logits": logits}
    if config.head == "crf":
        outputs |= {"transitions": Transitions(allowed, name="transitions", dtype="float32")(logits), "mask": mask}
    return keras.Model(inputs, outputs, name="tagger")


def _characters(  # noqa: PLR0913 - what a word's vector is made of
    config: Config, characters: Any, mask: Any, count: int, *, use_cudnn: bool | Literal["auto"], seed: int
) -> Any:
    """Returns character-based word vectors, `<float>[B, T, D]`; they do not depend on padding."""
    import keras

    from seqapps.architectures._stack import recurrent_stack
    from seqapps.layers import seeded
    from seqapps.layers.fold_words import RowsAsWords, WordsAsRows

    rows = WordsAsRows(name="words_as_rows")(characters)
    real = keras.ops.not_equal(rows, 0)
    x = seeded.embedding(count, config.character_embedding, name="character_embedding", seed=seed)(rows)
    x = x * keras.ops.cast(real, x.dtype)[:, :, None]
    if config.characters == "cnn":
        units, window = config.character_units, config.character_window
        convolution = seeded.convolution(units, window, padding="same", name="character_cnn", seed=seed)
        x = keras.ops.where(real[:, :, None], convolution(x), LEAST)
        vectors = keras.ops.max(x, axis=1)
    else:
        inside: Any = config.layer_norm if config.layer_norm == "cell" else "none"
        given = {**config.fields_of(OF_A_CELL), "units": (config.character_units,), "layer_norm": inside}
        stack = StackConfig(architecture="stack", **given)
        _, states = recurrent_stack(stack, x, real, name="character", use_cudnn=use_cudnn, seed=seed)
        vectors = keras.layers.Concatenate(name="character_states")(states[0][:: len(states[0]) // 2])
    return RowsAsWords(name="rows_as_words")(vectors, mask)
