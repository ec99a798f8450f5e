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
    """Replaces a share of the decoder's inputs by its most probable token given the previous inputs.

    Positions are drawn independently. The decoder's predictions are computed step by step, without dropout and
    without a gradient: the choice of a token has none. Outside training the inputs are unchanged.

    Args:
        decoder: from `target` and states to `logits` and states.
        share: of the inputs that are replaced.
        steps: training steps over which the share grows linearly from 0; 0 uses it from the start.
        seed: of the random choice, together with the layer's name.
    """

    def __init__(self, decoder: keras.Model, share: float, steps: int, *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
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
            unit = tf.argmax(found["logits"][:, 0], axis=-1, output_type=tf.int32)
            replaced = tf.where((places == step + 1)[None, :] & own, unit[:, None], inputs)
            after = {name: tf.ensure_shape(found[name], state.shape) for name, state in states.items()}
            return step + 1, after, tf.ensure_shape(replaced, inputs.shape)

        begin = (tf.constant(0), states, target)
        _, _, inputs = tf.while_loop(lambda step, *_: step < steps - 1, advance, begin)
        return inputs

    def compute_output_spec(self, target: Any, seen: dict[str, Any], training: bool = False) -> Any:
        """Returns the shape of the inputs."""
        return keras.KerasTensor(target.shape, dtype=target.dtype)
