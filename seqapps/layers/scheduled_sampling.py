"""Scheduled sampling: in training, some inputs of a decoder are its own predictions.

Source: Bengio et al. 2015, "Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks".
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from seqapps.layers import seeded
from seqapps.layers.states import STATE, unrolled


@keras.saving.register_keras_serializable("seqapps")
class ScheduledSampling(keras.layers.Layer):  # type: ignore[misc]
    """Replaces a share of the inputs of a decoder by its own predictions, in training only.

        y'_t = argmax p(y_t | y'_1 .. y'_{t-1}, memory) with probability s,    y'_t = y_t otherwise
        s = share min(1, n / steps) at training step n

    Keras has no such layer. Positions are drawn independently, and the first one is kept. The predictions are computed
    step by step, without dropout and without a gradient: the choice of a token has none. It needs TensorFlow.

    Source: Bengio et al. 2015, "Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks", section
    2.4; with the most probable token instead of a drawn one.

    Args:
        decoder: functional `keras.Model` with inputs and outputs that are dictionaries: from `target <int32>[B, T]`,
            states (names that begin with `state_`) and anything else to `logits <float>[B, T, V]` and the states after
            the last step, under the names of the inputs. It stays the decoder of the model in files, but not in
            `clone_model`, which makes another.
        share: float in [0, 1]: of the inputs that are replaced.
        steps: int: training steps over which the share grows linearly from 0; 0 uses it from the start.
        seed: int, default 0: of the random choice, together with the layer's name: the same in every process.
        options: `name`, `dtype`, `trainable` and the others of `keras.layers.Layer`.

    Call arguments:
        target: the inputs of the decoder, `<int32>[B, T]`.
        seen: dictionary of its other inputs: the initial states, `<float>[B, D]` each, and the memory.
        training: bool, default False: whether inputs are replaced.

    Returns:
        `<int32>[B, T]`.

    Raises:
        ValueError: `share` is not in [0, 1], or `steps` is negative.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from seqapps import layers
        >>> target, state = keras.Input((None,), dtype="int32", name="target"), keras.Input((4,), name="state_0_h")
        >>> cell = layers.SimpleRNN(4, return_sequences=True, return_state=True, use_cudnn=False)
        >>> x, last = cell(layers.Embedding(9, 4)(target), initial_state=state)
        >>> outputs = {"logits": keras.layers.Dense(9)(x), "state_0_h": last}
        >>> decoder = keras.Model({"target": target, "state_0_h": state}, outputs)
        >>> layer = layers.ScheduledSampling(decoder, share=0.5, steps=0)
        >>> ids = np.array([[2, 5, 6, 7]], "int32")
        >>> sampled = layer(ids, seen={"state_0_h": np.zeros((1, 4), "float32")}, training=True)
        >>> sampled.shape, int(sampled[0, 0])
        (TensorShape([1, 4]), 2)
    """

    def __init__(self, decoder: keras.Model, share: float, steps: int, *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        if not 0.0 <= share <= 1.0 or steps < 0:
            raise ValueError(f"share is in [0, 1] and steps is not negative. Received: {share} and {steps}")
        self.seed = seed
        self.decoder, self.share, self.steps = decoder, share, steps
        self.seed_generator = seeded.generator(seed, self.name)
        self.taken = self.add_weight(shape=(), dtype="int32", trainable=False, initializer="zeros", name="taken")

    def current_share(self) -> Any:
        """Returns the share at the current training step, `<float32>[]`."""
        if not self.steps:
            return tf.constant(self.share)
        grown = tf.cast(tf.convert_to_tensor(self.taken), tf.float32) / self.steps
        return self.share * tf.minimum(grown, 1.0)

    def call(self, target: Any, seen: dict[str, Any], training: bool = False) -> Any:
        """`<int32>[B, T]` and the encoder's outputs -> `<int32>[B, T]`."""
        if not training:
            return target
        coins = keras.random.uniform(tf.shape(target), seed=self.seed_generator)
        own = coins < self.current_share()
        self.taken.assign_add(1)
        return tf.stop_gradient(self._mixed(target, own, seen))

    def _mixed(self, target: Any, own: Any, seen: dict[str, Any]) -> Any:
        """Returns the inputs, with the decoder's own token where `own` is True."""
        memory = {name: value for name, value in seen.items() if not name.startswith(STATE)}
        states = {name: value for name, value in seen.items() if name.startswith(STATE)}
        steps, places = tf.shape(target)[1], tf.range(tf.shape(target)[1])

        def advance(step: Any, states: dict[str, Any], inputs: Any) -> tuple[Any, dict[str, Any], Any]:
            with unrolled(self.decoder):
                found = self.decoder({"target": inputs[:, step, None], **states, **memory}, training=False)
            token = tf.argmax(found["logits"][:, 0], axis=-1, output_type=tf.int32)
            replaced = tf.where((places == step + 1)[None, :] & own, token[:, None], inputs)
            after = {name: tf.ensure_shape(found[name], state.shape) for name, state in states.items()}
            return step + 1, after, tf.ensure_shape(replaced, inputs.shape)

        begin = (tf.constant(0), states, target)
        _, _, inputs = tf.while_loop(lambda step, *_: step < steps - 1, advance, begin)
        return inputs

    def compute_output_spec(self, target: Any, seen: dict[str, Any], training: bool = False) -> Any:
        """Returns the shape of the inputs."""
        return keras.KerasTensor(target.shape, dtype=target.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        own = {"share": self.share, "steps": self.steps, "seed": self.seed}
        return {**super().get_config(), **own, "decoder": keras.saving.serialize_keras_object(self.decoder)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ScheduledSampling:
        """Makes the layer from its arguments."""
        return cls(**{**config, "decoder": keras.saving.deserialize_keras_object(config["decoder"])})
