"""Encoder-decoder: one recurrent network reads a sequence, another generates a sequence of a different length.

Source: Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks"; Cho et al. 2014; with attention
Bahdanau et al. 2015 and Luong et al. 2015; Goodfellow et al. 2016, ch. 10.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from seqapps.architectures._stack import StackConfig, recurrent_stack, state_inputs_of
from seqapps.config import Unit
from seqapps.preprocessing.vocabulary import PAD

if TYPE_CHECKING:
    import keras

ENCODER, DECODER = "encoder", "decoder"
"""Names of the two submodels, which decoding calls in turn."""
FEED = "state_feed"
"""The decoder's state for input feeding: the previous attentional vector."""


PENALTIES = ("activation_penalty", "temporal_penalty")


class Config(StackConfig):
    """The `model` section of an encoder-decoder. `units`, `bidirectional` and `merge` are the encoder's.

    The penalties apply to the decoder; so do, without attention, `layer_skip` and `layer_norm` = "output", since the
    encoder then passes on its states only.

    Args:
        decoder_units: size of each layer of the decoder, from the first to the last; empty: `units`.
        embedding: size of both embeddings, and of the vector from which the logits are computed.
        attention: `none`; `dot` (requires a last decoder layer of the size of the encoder's output), `general` (both
            Luong et al. 2015) or `additive` (Bahdanau et al. 2015).
        attention_units: hidden size of `additive`; 0: the size of the decoder's last layer.
        input_feeding: the decoder's input includes the previous attentional vector (Luong et al. 2015, section 3.3).
            The decoder then also runs step by step in training.
        tie_embeddings: `none`; `output` (the output matrix is the transposed embedding of the target; Press & Wolf
            2017); `all` (the source embedding is shared, too, which requires a shared vocabulary).
        scheduled_sampling: share of the decoder's inputs in training that are the model's own predictions instead of
            the target's tokens (Bengio et al. 2015).
        scheduled_sampling_steps: training steps over which that share grows linearly from 0; 0 uses it from the start.
        label_smoothing: share of the probability that training spreads over all tokens (Szegedy et al. 2016). The
            reported training loss includes it; the validation loss does not.
    """

    architecture: Literal["encoder_decoder"] = "encoder_decoder"
    decoder_units: tuple[Unit, ...] = ()
    embedding: Unit = 128
    attention: Literal["none", "dot", "general", "additive"] = "general"
    attention_units: int = Field(0, ge=0, le=65_536)
    input_feeding: bool = False
    tie_embeddings: Literal["none", "output", "all"] = "output"
    scheduled_sampling: float = Field(0.0, ge=0.0, le=1.0)
    scheduled_sampling_steps: int = Field(0, ge=0)
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)

    @property
    def decoder(self) -> StackConfig:
        """The decoder's layers: unidirectional."""
        return self._side(units=self.decoder_units or self.units, bidirectional=False, merge="concat")

    @property
    def encoder(self) -> StackConfig:
        """The encoder's layers."""
        without = dict.fromkeys(PENALTIES, 0.0)
        if self.attention == "none":
            return self._side(**without, layer_skip="none", layer_norm=self._norm_inside)
        return self._side(**without)

    @property
    def memory(self) -> int:
        """Size of the encoder's output."""
        return self.encoder.outputs

    @property
    def _norm_inside(self) -> str:
        return "cell" if self.layer_norm == "cell" else "none"

    def _side(self, **fields: Any) -> StackConfig:
        return StackConfig(**{**self.fields_of(StackConfig.model_fields), **fields})

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.attention == "dot" and self.decoder.units[-1] != self.memory:
            raise ValueError(
                '`model.attention` = "dot" needs a decoder as wide as the encoder\'s output. Received: '
                f"{self.decoder.units[-1]} and {self.memory}. Remedy: decoder_units = [.., {self.memory}], or "
                'attention = "general"'
            )
        if self.attention_units and self.attention != "additive":
            raise ValueError(f'`model.attention_units` is for "additive". Received: attention {self.attention!r}')
        if self.input_feeding and self.attention == "none":
            raise ValueError("`model.input_feeding` feeds the output of attention. Received: attention 'none'")
        self.refuse(["output_layers"], "is not for an encoder-decoder, whose `embedding` is the size of such a layer")
        if self.attention == "none":
            self.refuse(["merge"], "joins the encoder's outputs, and without attention its states alone are used")
        if self.input_feeding:
            names = ("layer_skip", "input_layers", "recurrent_dropout", "weight_drop", *PENALTIES)
            self.refuse(names, "is not for `model.input_feeding`, whose decoder runs its cells one after the other")
            if self.layer_norm == "output":
                raise ValueError('`model.layer_norm` = "output" is not for `model.input_feeding`. Allowed: none, cell')
        if self.scheduled_sampling_steps and not self.scheduled_sampling:
            raise ValueError("`model.scheduled_sampling_steps` needs `model.scheduled_sampling` above 0")
        return self


def build(
    config: Config, *, source_size: int, target_size: int, use_cudnn: bool | Literal["auto"] = "auto", seed: int = 0
) -> keras.Model:
    """Returns encoder -> bridge for the states -> decoder -> logits.

    Args:
        config: the `model` section.
        source_size, target_size: V of each side, the number of ids.
        use_cudnn: False builds a model that runs on any device, with the same weights.
        seed: of the configuration; with the layers' names it determines initial weights and dropout.

    Returns:
        A functional model. In: `source <int32>[B, S]` and `target <int32>[B, T]`, the target shifted right,
        `<bos>` first. Out: `logits <float32>[B, T, V]`. It contains two models, `encoder` and
        `decoder`, with the same layers: see `_encoder` and `_decoder`.
    """
    import keras

    target_embedding = _embedding(config, target_size, "target_embedding", seed)
    source_embedding = target_embedding
    if config.tie_embeddings != "all":
        source_embedding = _embedding(config, source_size, "source_embedding", seed)
    encoder = _encoder(config, source_embedding, use_cudnn, seed)
    decoder = _decoder(config, target_embedding, use_cudnn, seed)
    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    seen = encoder(source)
    inputs = target
    if config.scheduled_sampling:
        from seqapps.layers.scheduled_sampling import ScheduledSampling

        share, steps = config.scheduled_sampling, config.scheduled_sampling_steps
        sampled = ScheduledSampling(decoder, share, steps, seed=seed, name="inputs")
        inputs = sampled(target, seen)
    logits = decoder({"target": inputs, **seen})["logits"]
    return keras.Model({"source": source, "target": target}, {"logits": logits}, name="encoder_decoder")


def _embedding(config: Config, size: int, name: str, seed: int) -> Any:
    """Returns an embedding whose initial vectors have a norm of about 1.

    Keras' own are so small that tied logits and attention need epochs to distinguish tokens.
    """
    from seqapps.layers import seeded

    return seeded.embedding(size, config.embedding, deviation=config.embedding**-0.5, name=name, seed=seed)


def _encoder(config: Config, embedding: Any, use_cudnn: bool | Literal["auto"], seed: int) -> keras.Model:
    """Returns the encoder: `<int32>[B, S]` to the decoder's initial states and, for attention, the memory.

    Out: `state_<layer>_h`, `_c`, `_past` and FEED `<float>[B, D]`; `memory <float>[B, S, M]`, `keys
    <float>[B, S, K]` and `mask <bool>[B, S]`.
    """
    import keras

    from seqapps.layers.attention import attention_keys

    source = keras.Input((None,), dtype="int32", name="source")
    mask = keras.ops.not_equal(source, PAD)
    given: Any = {"name": ENCODER, "use_cudnn": use_cudnn, "seed": seed}
    x, states = recurrent_stack(config.encoder, embedding(source), mask, **given)
    outputs = _bridge(config, states, seed)
    if config.attention != "none":
        keys = attention_keys(config.attention, x, _key_units(config), "attention_keys", seed=seed)
        outputs |= {"memory": x, "keys": keys, "mask": mask}
    if config.input_feeding:
        # The initial attentional vector is zero.
        outputs[FEED] = keras.ops.zeros_like(embedding(source)[:, 0, :])
    return keras.Model(source, outputs, name=ENCODER)


def _bridge(config: Config, states: list[list[Any]], seed: int) -> dict[str, Any]:
    """Returns the decoder's initial states: tanh(W s), s the concatenated last states of one kind (h, or c)."""
    import keras

    from seqapps.layers import seeded
    from seqapps.layers.cells import PAST, STATES, repeated_past
    from seqapps.layers.states import STATE

    bridged = {}
    held = len(states[0]) // (2 if config.bidirectional else 1)
    for place, kind in enumerate(STATES[config.cell]):
        last = [state for layer in states for state in layer[place::held]]
        together = keras.layers.Concatenate(name=f"last_{kind}")(last) if len(last) > 1 else last[0]
        for layer, units in enumerate(config.decoder.units):
            dense = seeded.dense(units, "tanh", name=f"bridge_{layer}_{kind}", seed=seed)
            bridged[f"{STATE}{layer}_{kind}"] = dense(together)
    if config.skip_steps:
        for layer in range(len(config.decoder.units)):
            bridged[f"{STATE}{layer}_{PAST}"] = repeated_past(bridged[f"{STATE}{layer}_h"], config.skip_steps)
    return dict(sorted(bridged.items()))


def _decoder(config: Config, embedding: Any, use_cudnn: bool | Literal["auto"], seed: int) -> keras.Model:
    """Returns the decoder, for any number of steps: all of them in training, one at a time in decoding.

    In: `target <int32>[B, T]` and the encoder's outputs. Out: `logits <float>[B, T, V]`, the states after the
    last step, under the names of the inputs, and `attention <float>[B, T, S]`.
    """
    import keras

    from seqapps.layers import seeded
    from seqapps.layers.attention import Attention
    from seqapps.layers.cells import make_cell
    from seqapps.layers.heads import TiedLogits
    from seqapps.layers.input_feeding import FeedingDecoder

    decoder = config.decoder
    target = keras.Input((None,), dtype="int32", name="target")
    states = state_inputs_of(decoder)
    inputs = {"target": target, **{name: state for layer in states for name, state in layer.items()}}
    memory = {}
    if config.attention != "none":
        memory = {
            "keys": keras.Input((None, _key_units(config)), name="keys"),
            "memory": keras.Input((None, config.memory), name="memory"),
            "mask": keras.Input((None,), dtype="bool", name="mask"),
        }
    outputs = {}
    x = embedding(target)
    readout = seeded.dense(config.embedding, "tanh", name="readout", seed=seed)
    attention = None
    if config.attention != "none":
        attention = Attention(config.attention, _key_units(config), seed=seed, name="attention")
    initial = [list(layer.values()) for layer in states]
    if config.input_feeding:
        inputs[FEED] = keras.Input((config.embedding,), name=FEED)
        cells = [
            make_cell(decoder.cell, units, decoder.cell_options, name=f"{decoder.cell}_{layer}", seed=seed)
            for layer, units in enumerate(decoder.units)
        ]
        feeding = FeedingDecoder(cells, decoder.dropouts, attention, readout, seed=seed, name=DECODER)
        x, outputs["attention"], last, outputs[FEED] = feeding(x, initial, inputs[FEED], memory)
    else:
        # Rows are right-padded, and no step sees a later one: no mask is needed.
        real = keras.ops.not_equal(target, PAD)
        given: Any = {"name": DECODER, "initial": initial, "real": real, "use_cudnn": use_cudnn, "seed": seed}
        x, last = recurrent_stack(decoder, x, None, **given)
        if attention is not None:
            context, outputs["attention"] = attention(x, **memory)
            x = keras.layers.Concatenate(name="attended")([context, x])
        x = readout(x)
    if rate := config.dropouts[-1]:
        x = seeded.spatial_dropout(rate, name="dropout_readout", seed=seed)(x)
    if config.tie_embeddings == "none":
        outputs["logits"] = seeded.dense(embedding.input_dim, name="logits", seed=seed)(x)
    else:
        outputs["logits"] = TiedLogits(embedding, name="logits")(x)
    for layer, after in zip(states, last, strict=True):
        outputs |= dict(zip(layer, after, strict=True))
    return keras.Model({**inputs, **memory}, outputs, name=DECODER)


def _key_units(config: Config) -> int:
    """Size of the attention keys."""
    if config.attention == "additive":
        return config.attention_units or config.decoder.units[-1]
    return config.decoder.units[-1]
