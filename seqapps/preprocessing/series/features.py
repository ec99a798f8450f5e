"""Raw windows to model inputs: standardised, filled, with calendar features and category indices. One graph for Beam
and for the SavedModel, so that training and serving features are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from seqapps.preprocessing.labels import Labels
from seqapps.preprocessing.scaling import Scaling
from seqapps.preprocessing.series.calendars import calendar_features
from seqapps.preprocessing.series.plan import Plan, category


class WindowFeatures(tf.Module):  # type: ignore[misc]
    """Computes the features of windows.

    Args:
        plan: the layout of a window.
        resources: `scaling` and the labels of every category.
    """

    def __init__(self, plan: Plan, resources: Mapping[str, Any]) -> None:
        super().__init__()
        self._plan = plan
        self._scaling: Scaling = resources["scaling"]
        columns = plan.columns
        self._tables = {name: _table(resources[category(name)]) for name in (*columns.labels, *columns.static_labels)}

    def __call__(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the features of windows.

        Args:
            raw: `history <float64>[B, L, R]`, the last L steps in original units, NaN where missing; and, where
                the plan has them, `labels <string>[B, L, C]`, `seconds <int64>[B, L + P]`, `known
                <float64>[B, P, K]`, `known_labels <string>[B, P, C]`, `static <float64>[B, S]`, `static_labels
                <string>[B, C]`.

        Returns:
            `history <float32>[B, H, F]`, `seasonal <float32>[B, P, V]` and, where the plan has them, `known
            <float32>[B, P, K]`, `static <float32>[B, S]` and the indices, 0 for categories unseen in training,
            `codes [B, H, C]`, `known_codes [B, P, C]`, `static_codes [B, C]`, all `<int64>`.
        """
        plan, columns = self._plan, self._plan.columns
        standard = self._standard(raw["history"], columns.numbers)
        history, observed = forward_filled(standard[:, -plan.history :])
        waves = calendar_features(raw["seconds"], plan.calendar) if plan.calendar else None
        past = [history]
        if waves is not None:
            past.append(waves[:, plan.lookback - plan.history : plan.lookback])
        if plan.indicators:
            past.append(tf.cast(observed, tf.float64))
        targets = len(columns.targets)
        features = {
            "history": _joined(past),
            "seasonal": self._seasonal(standard[:, :, :targets], history[:, -1:, :targets]),
        }
        features |= self._future(raw, history, waves)
        if columns.labels:
            features["codes"] = self._codes(raw["labels"][:, -plan.history :], columns.labels)
        if columns.known_labels:
            names = tuple(columns.labels[place] for place in columns.known_labels)
            features["known_codes"] = self._codes(raw["known_labels"], names)
        if columns.static_numbers:
            static = self._standard(raw["static"], columns.static_numbers)
            features["static"] = tf.cast(tf.where(tf.math.is_finite(static), static, 0.0), tf.float32)
        if columns.static_labels:
            features["static_codes"] = self._codes(raw["static_labels"], columns.static_labels)
        return features

    def _future(self, raw: Mapping[str, Any], history: Any, waves: Any) -> dict[str, Any]:
        """Known future covariates, missing ones filled forward, and the calendar features."""
        plan, columns = self._plan, self._plan.columns
        parts = []
        if columns.known_numbers:
            names = tuple(columns.numbers[place] for place in columns.known_numbers)
            before = tf.gather(history, columns.known_numbers, axis=2)
            both = tf.concat([before, self._standard(raw["known"], names)], axis=1)
            parts.append(forward_filled(both)[0][:, plan.history :])
        if waves is not None:
            parts.append(waves[:, plan.lookback :])
        return {"known": _joined(parts)} if parts else {}

    def _standard(self, values: Any, names: tuple[str, ...]) -> Any:
        """Standardises `<float64>[..., variables]` in original units; infinities become missing."""
        scaling = self._scaling.of(names)
        missing = tf.constant(float("nan"), tf.float64)
        if scaling.logged:
            logged = tf.constant([name in scaling.logged for name in names])
            inside = logged & (values > -1.0)
            values = tf.where(logged, tf.where(inside, tf.math.log1p(tf.where(inside, values, 0.0)), missing), values)
        values = tf.where(tf.math.is_finite(values), values, missing)
        means, deviations = (tf.constant(numbers, tf.float64) for numbers in (scaling.means, scaling.deviations))
        return (values - means) / deviations

    def _seasonal(self, standard: Any, last: Any) -> Any:
        """The value one season earlier; the last observed one if that is missing."""
        plan = self._plan
        found = tf.gather(standard, (plan.lookback + plan.season_steps).tolist(), axis=1)
        return tf.cast(tf.where(tf.math.is_finite(found), found, last), tf.float32)

    def _codes(self, labels: Any, names: tuple[str, ...]) -> Any:
        return tf.stack([self._tables[name].lookup(labels[..., place]) for place, name in enumerate(names)], axis=-1)


def forward_filled(values: Any) -> tuple[Any, Any]:
    """Returns windows with missing values filled forward (0 before the first), and the mask of observed values.

    Args:
        values: `<float64>[B, T, variables]`, T static, NaN where missing.
    """
    steps = values.shape[1]
    observed = tf.math.is_finite(values)
    last = tf.where(observed, tf.range(steps)[None, :, None], -1)
    shift = 1
    while shift < steps:  # the running maximum in log2(T) steps
        last = tf.maximum(last, tf.pad(last, [[0, 0], [shift, 0], [0, 0]], constant_values=-1)[:, :steps])
        shift *= 2
    clean = tf.where(observed, values, tf.zeros_like(values))
    columns = tf.transpose(clean, [0, 2, 1])
    places = tf.transpose(tf.maximum(last, 0), [0, 2, 1])
    filled = tf.transpose(tf.gather(columns, places, batch_dims=2), [0, 2, 1])
    return tf.where(last >= 0, filled, tf.zeros_like(filled)), observed


def original_units(values: Any, scaling: Scaling) -> Any:
    """Converts standardised `<float>[..., variables, Q]` to original units, `<float64>`: `Scaling.undo` as a graph."""
    means, deviations = (tf.constant(numbers, tf.float64)[:, None] for numbers in (scaling.means, scaling.deviations))
    plain = tf.cast(values, tf.float64) * deviations + means
    if scaling.logged:
        logged = tf.constant([name in scaling.logged for name in scaling.names])[:, None]
        plain = tf.where(logged, tf.math.expm1(tf.where(logged, plain, 0.0)), plain)
    return plain


def _joined(parts: list[Any]) -> Any:
    return tf.cast(tf.concat(parts, axis=2) if len(parts) > 1 else parts[0], tf.float32)


def _table(labels: Labels) -> Any:
    """Returns the look-up table of categories: 1 + index; 0 for others."""
    keys = tf.constant([name.encode() for name in labels.names])
    values = tf.range(1, labels.size + 1, dtype=tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), tf.constant(0, tf.int64))
