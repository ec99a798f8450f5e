"""The serving graph of a forecasting model, with numbers and times in original units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seqapps.inference._served import ERROR, Bounds, ServedModule, answering, widest
from seqapps.preprocessing.series.calendars import is_time, seconds_of
from seqapps.preprocessing.series.features import WindowFeatures, original_units
from seqapps.preprocessing.series.plan import Plan, category


class ForecastServer(ServedModule):
    """A model with its preprocessing and postprocessing.

    Args:
        model: with an output `forecast`.
        plan: of a window.
        resources: scaling, frequency, labels.
        levels: of the quantiles, empty for none.
        point: index of the point forecast among the model's outputs.
    """

    def __init__(
        self, model: keras.Model, plan: Plan, resources: Mapping[str, Any], levels: tuple[float, ...], point: int
    ) -> None:
        super().__init__()
        self._model, self._plan, self._levels, self._point = model, plan, levels, point
        self._features = WindowFeatures(plan, resources)
        self._scaling = resources["scaling"].of(plan.columns.targets)
        self._frequency = resources["frequency"].names[0]

    def facts(self) -> dict[str, Any]:
        """Returns the columns and the number of steps of a call: `plan`, `frequency` and the levels of `quantiles`."""
        return {"plan": self._plan.facts(), "frequency": self._frequency, "quantiles": list(self._levels)}

    def signatures(self) -> dict[str, Any]:
        """Returns `serving_default`.

        Its inputs: `history <float64>[B, L, R]`, the last L steps of the columns of numbers, in original units,
        nan where missing; and, where the data has them, `labels <string>[B, L, C]`, `times <string>[B, L + P]`
        (ISO 8601 without a zone), `known <float64>[B, P, K]`, `known_labels <string>[B, P, C]`, `static <float64>[B,
        S]`, `static_labels <string>[B, C]`. Returns `forecast <float64>[B, P, V]` and, for quantiles, `quantiles
        <float64>[B, P, V, Q]`; they are described by `facts`. A row with an invalid time or an infinite number
        has no result.
        """
        plan, columns = self._plan, self._plan.columns
        steps = {
            "history": ((plan.lookback, len(columns.numbers)), tf.float64),
            "labels": ((plan.lookback, len(columns.labels)), tf.string),
            "known": ((plan.horizon, len(columns.known_numbers)), tf.float64),
            "known_labels": ((plan.horizon, len(columns.known_labels)), tf.string),
            "static": ((len(columns.static_numbers),), tf.float64),
            "static_labels": ((len(columns.static_labels),), tf.string),
        }
        inputs = {
            name: tf.TensorSpec((None, *shape), dtype, name) for name, (shape, dtype) in steps.items() if shape[-1]
        }
        if plan.calendar:
            inputs["times"] = tf.TensorSpec((None, plan.lookback + plan.horizon), tf.string, "times")
        bounds = Bounds(cells=lambda *_: plan.lookback * widest(self._model))
        return {"serving_default": answering(self, self.serve, inputs, bounds)}

    def serve(self, **inputs: Any) -> dict[str, Any]:
        """Raw windows to forecasts."""
        raw, error = _readable(inputs)
        if "times" in raw:
            raw["seconds"] = seconds_of(raw.pop("times"))
        features = self._features(raw)
        x = {tensor.name: tf.cast(features[tensor.name], tensor.dtype) for tensor in self._model.inputs}
        found = original_units(self._model(x, training=False)["forecast"], self._scaling)
        outputs = {"forecast": found[..., self._point], ERROR: error}
        return {**outputs, "quantiles": found} if self._levels else outputs


def _readable(inputs: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Returns the inputs, with invalid values replaced by valid ones, and why a row has no result, `<string>[B]`; ""
    where it has one."""
    error: Any = tf.fill([tf.shape(inputs["history"])[0]], "")
    found = dict(inputs)
    for name, value in inputs.items():
        if name == "times":
            fine, message = is_time(value), "`times` must be ISO 8601 without a zone, as 2021-01-31T09:00."
            found[name] = tf.where(fine, value, "1970")
        elif value.dtype != tf.string:
            fine, message = ~tf.math.is_inf(value), f"`{name}` must not hold infinite numbers."
            found[name] = tf.where(fine, value, tf.zeros((), value.dtype))
        else:
            continue
        wrong = ~tf.reduce_all(fine, axis=list(range(1, value.shape.rank)))
        error = tf.where(wrong & (error == ""), message, error)
    return found, error


def golden_call(
    plan: Plan, features: Mapping[str, Any], resources: Mapping[str, Any], times: list[list[str]]
) -> dict[str, Any]:
    """Returns the inputs of `serving_default` for windows of prepared features, as JSON values.

    Numbers are converted to original units; where a season is longer than the history, the steps before the history
    are missing, and so is one value of the second window.

    Args:
        plan: of a window.
        features: `[N, ...]` each.
        resources: scaling and labels.
        times: of the lookback and the horizon of each window, ISO 8601.
    """
    columns, scaling = plan.columns, resources["scaling"]
    rows, numbers = len(features["history"]), len(columns.numbers)
    history = np.full((rows, plan.lookback, numbers), np.nan)
    history[:, -plan.history :] = scaling.of(columns.numbers).undo(features["history"][:, :, :numbers])
    history[1:, -1, 0] = np.nan
    inputs: dict[str, Any] = {"history": history.tolist()}
    if plan.calendar:
        inputs["times"] = times
    if columns.known_numbers:
        names = tuple(columns.numbers[place] for place in columns.known_numbers)
        inputs["known"] = scaling.of(names).undo(features["known"][:, :, : len(names)]).tolist()
    if columns.static_numbers:
        inputs["static"] = scaling.of(columns.static_numbers).undo(features["static"]).tolist()

    def labels_of(codes: Any, names: tuple[str, ...]) -> Any:
        known = [["", *resources[category(name)].names] for name in names]
        return [[known[place][code] for place, code in enumerate(row)] for row in codes]

    if columns.labels:
        before = [[""] * len(columns.labels)] * (plan.lookback - plan.history)
        inputs["labels"] = [before + labels_of(row, columns.labels) for row in features["codes"].tolist()]
    if columns.known_labels:
        known_names = tuple(columns.labels[place] for place in columns.known_labels)
        inputs["known_labels"] = [labels_of(row, known_names) for row in features["known_codes"].tolist()]
    if columns.static_labels:
        inputs["static_labels"] = labels_of(features["static_codes"].tolist(), columns.static_labels)
    return inputs
