"""Layers for Keras models of sequences: faster recurrent layers, and layers that Keras lacks. See docs/layers.md.

    from seqapps import layers
    layer = layers.LSTM(256, return_sequences=True)

`LSTM`, `GRU`, `SimpleRNN` and `Embedding` have the arguments, weights and results of Keras' layers of these names.
Importing this package registers all layers with Keras under `seqapps>NAME`, so that `keras.models.load_model` finds
them.
"""

from __future__ import annotations

from seqapps.layers import crf
from seqapps.layers.adaptive_softmax import AdaptiveSoftmax, zipf_cutoffs
from seqapps.layers.attention import Attention, attention_keys
from seqapps.layers.cells import Cell
from seqapps.layers.cloze import Blanks, ReverseWords
from seqapps.layers.conditions import LabelCode
from seqapps.layers.crf import Transitions
from seqapps.layers.feedback import FeedbackCell
from seqapps.layers.fold_words import RowsAsWords, WordsAsRows
from seqapps.layers.heads import TiedLogits
from seqapps.layers.input_feeding import FeedingDecoder
from seqapps.layers.penalties import ActivationPenalty
from seqapps.layers.pooling import AttentionPooling, masked_max, masked_mean
from seqapps.layers.recurrent import GRU, LSTM, Embedding, SimpleRNN
from seqapps.layers.scheduled_sampling import ScheduledSampling
from seqapps.layers.skips import LayerSkip
from seqapps.layers.word_dropout import VocabularyDropout, WordDropout

__all__ = [
    "GRU",
    "LSTM",
    "ActivationPenalty",
    "AdaptiveSoftmax",
    "Attention",
    "AttentionPooling",
    "Blanks",
    "Cell",
    "Embedding",
    "FeedbackCell",
    "FeedingDecoder",
    "LabelCode",
    "LayerSkip",
    "ReverseWords",
    "RowsAsWords",
    "ScheduledSampling",
    "SimpleRNN",
    "TiedLogits",
    "Transitions",
    "VocabularyDropout",
    "WordDropout",
    "WordsAsRows",
    "attention_keys",
    "crf",
    "masked_max",
    "masked_mean",
    "zipf_cutoffs",
]


def __dir__() -> list[str]:
    return sorted(__all__)
