"""A stack of recurrent layers whose initial states depend on a condition: one to many.

    c = code of the label, or tanh(A v + a) of a vector v
    state_i(0) = tanh(W_i c + b_i)            the state of layer i before the first step
    x_t = E w_{t-1}, or [E w_{t-1}; c]        optionally, the condition enters every step
    p(w_t | w_1 .. w_{t-1}, c) = softmax(U h_t + d)

Source: Goodfellow et al. 2016, "Deep Learning", sec. 10.2.4 (a vector as the initial state, as an extra input at each
step, or both).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from seqapps.architectures._stack import StackConfig, recurrent_stack, state_inputs_of
from seqapps.config import Unit
from seqapps.preprocessing.vocabulary import PAD

if TYPE_CHECKING:
    import keras


class Config(StackConfig):
    """The `model` section of a conditional stack.

    Args:
        bidirectional: always false: a text is generated left to right.
        units: size of each layer, from the first to the last.
        embedding: size of the token embedding.
        condition: size of the condition's vector c.
        every_step: the condition is also concatenated to the input of every step.
        word_dropout: share of the tokens replaced by `<unk>`, in training only, so that the condition is used (Bowman
            et al. 2016, "Generating Sentences from a Continuous Space", sec. 3.1).
        tie_embeddings: the output matrix is the embedding's transpose (Press & Wolf 2017).
    """

    both_ways: ClassVar[str] = "would show the model the rest of the text that it is to write"

    architecture: Literal["conditional"] = "conditional"
    bidirectional: bool = False
    embedding: Unit = 64
    condition: Unit = 32
    every_step: bool = False
    word_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    tie_embeddings: bool = False


class Decoder(NamedTuple):
    """The two parts of a trained model for generation; they share its layers.

    Args:
        begin: condition (`label` or `vector`) to the states before the first step, `state_*`.
        step: `tokens <int32>[B, T]` and `state_*` to `logits <float32>[B, T, V]` and the states after them. A
            condition that enters every step is a constant state.
    """

    begin: keras.Model
    step: keras.Model


def build(  # noqa: PLR0913 - two sizes of the condition, one of the vocabulary
    config: Config,
    *,
    vocabulary_size: int,
    labels: int,
    features: int,
    use_cudnn: bool | Literal["auto"] = "auto",
    seed: int = 0,
) -> keras.Model:
    """Returns condition -> initial states; embedding -> [dropout -> recurrent layer] x L -> dropout -> logits.

    Rows are right-padded, so that no layer needs a mask.

    Args:
        config: the `model` section.
        vocabulary_size: V, the number of ids.
        labels: number of labels; 0 for a vector.
        features: size of the vector; 0 for a label. Exactly one of the two is above 0.
        use_cudnn: False builds a model that runs on any device, with the same weights.
        seed: of the configuration; with the layers' names it determines initial weights and dropout.

    Returns:
        A functional model. In: `tokens <int32>[B, T]` and `label <int32>[B]` or `vector <float32>[B, F]`. Out: `logits
        <float32>[B, T, V]`.
    """
    import keras

    layers = _layers(config, vocabulary_size, labels, seed)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    condition = _condition_input(features)
    code = layers["code"](condition)
    states = _initial(config, layers, code)
    logits, _ = _decode(config, layers, tokens, states, code, use_cudnn=use_cudnn, seed=seed)
    return keras.Model({"tokens": tokens, condition.name: condition}, {"logits": logits}, name="conditional")


def decoder_of(model: keras.Model, config: Config) -> Decoder:
    """Returns the two parts of a model that `build` made. They share its layers, so they follow its weights.

    Args:
        model: returned by `build`.
        config: that it was built from.
    """
    import keras

    from seqapps.layers.states import STATE

    layers = {layer.name: layer for layer in model.layers}
    vector = next((tensor for tensor in model.inputs if tensor.name == "vector"), None)
    condition = _condition_input(int(vector.shape[-1]) if vector is not None else 0)
    code = layers["code"](condition)
    through = {f"{STATE}condition": code} if config.every_step else {}
    first = (state for states in _initial(config, layers, code) for state in states)
    inputs = state_inputs_of(config)
    names = [name for states in inputs for name in states]
    begin = keras.Model({condition.name: condition}, _float32({**dict(zip(names, first, strict=True)), **through}))

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    kept = {name: keras.Input((config.condition,), name=name) for name in through}
    states = [list(states.values()) for states in inputs]
    logits, last = _decode(config, layers, tokens, states, next(iter(kept.values()), None))
    after = dict(zip(names, (state for states in last for state in states), strict=True))
    after |= {name: keras.layers.Identity()(state) for name, state in kept.items()}
    given = {name: tensor for states in inputs for name, tensor in states.items()}
    step = keras.Model({"tokens": tokens, **given, **kept}, {"logits": logits, **_float32(after)})
    return Decoder(begin, step)


def _layers(config: Config, vocabulary_size: int, labels: int, seed: int) -> dict[str, Any]:
    """Returns all layers except the stack's, by name."""
    from seqapps.layers import seeded
    from seqapps.layers.cells import STATES
    from seqapps.layers.conditions import LabelCode
    from seqapps.layers.heads import TiedLogits
    from seqapps.layers.word_dropout import WordDropout

    embedding = seeded.embedding(vocabulary_size, config.embedding, name="embedding", seed=seed)
    code = (
        LabelCode(labels, config.condition, seed=seed, name="code")
        if labels
        else seeded.dense(config.condition, "tanh", name="code", seed=seed)
    )
    layers = [embedding, code]
    for index, units in enumerate(config.units):
        names = [f"begin_{index}_{state}" for state in STATES[config.cell]]
        layers += [seeded.dense(units, "tanh", name=name, seed=seed) for name in names]
    if config.word_dropout:
        layers.append(WordDropout(config.word_dropout, seed=seed, name="word_dropout"))
    if config.tie_embeddings and config.outputs != config.embedding:
        layers.append(seeded.dense(config.embedding, use_bias=False, name="projection", seed=seed))
    if config.tie_embeddings:
        layers.append(TiedLogits(embedding, name="logits"))
    else:
        layers.append(seeded.dense(vocabulary_size, name="logits", seed=seed))
    return {layer.name: layer for layer in layers}


def _condition_input(features: int) -> Any:
    import keras

    if features:
        return keras.Input((features,), dtype="float32", name="vector")
    return keras.Input((), dtype="int32", name="label")


def _initial(config: Config, layers: dict[str, Any], code: Any) -> list[list[Any]]:
    """Returns the states of every layer before the first step."""
    from seqapps.layers.cells import STATES, repeated_past

    initial = [
        [layers[f"begin_{index}_{name}"](code) for name in STATES[config.cell]] for index in range(len(config.units))
    ]
    if config.skip_steps:
        initial = [[*states, repeated_past(states[0], config.skip_steps)] for states in initial]
    return initial


def _decode(  # noqa: PLR0913 - what a decoder reads
    config: Config,
    layers: dict[str, Any],
    tokens: Any,
    states: list[list[Any]],
    code: Any,
    *,
    use_cudnn: bool | Literal["auto"] = "auto",
    seed: int = 0,
) -> tuple[Any, list[list[Any]]]:
    """Returns the logits of every step, and every layer's states after the last one."""
    import keras

    from seqapps.layers.conditions import beside_every_step

    x = layers["embedding"](layers["word_dropout"](tokens) if config.word_dropout else tokens)
    if config.every_step:
        x = beside_every_step(x, code)
    real = keras.ops.not_equal(tokens, PAD)
    given: Any = {"initial": states, "real": real, "use_cudnn": use_cudnn, "layers": layers, "seed": seed}
    x, after = recurrent_stack(config, x, None, **given)
    if "projection" in layers:
        x = layers["projection"](x)
    return layers["logits"](x), after


def _float32(states: dict[str, Any]) -> dict[str, Any]:
    import keras

    return {name: keras.ops.cast(state, "float32") for name, state in states.items()}
