"""Recurrent layers that replace Keras' own, and the layers used with them. See docs/python.md.

    from seqapps import layers
    layer = layers.LSTM(256, return_sequences=True)

Importing this package registers all of its layers, so that `keras.models.load_model` can load them from a file.
"""

from seqapps.layers import adaptive_softmax, cells, conditions, fold_words, pooling
from seqapps.layers.attention import Attention
from seqapps.layers.recurrent import GRU, LSTM, Embedding, SimpleRNN

__all__ = [
    "GRU", "LSTM", "Attention", "Embedding", "SimpleRNN", "adaptive_softmax", "cells", "conditions", "fold_words",
    "pooling",
]  # fmt: skip
