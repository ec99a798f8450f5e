"""The schema of a prepared example: what Beam writes and tf.data reads. Plain Python and numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from seqapps.errors import DataError, unknown_name

RAW = "raw."
"""Prefix of features that hold unchanged columns of the raw row (`data.keep`)."""

_NUMPY = {"int64": np.integer, "float32": np.floating, "string": np.object_}


class Feature(BaseModel):
    """One named array of a prepared example.

    Args:
        name: the name of the feature in the shards and in the batch.
        dtype: `int64`, `float32` or `string` (the three types that `tf.train.Example` holds).
        shape: sizes of the axes; `None` is an axis whose length varies from example to example.
        meaning: description of the values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: Literal["int64", "float32", "string"]
    shape: tuple[int | None, ...]
    meaning: str


class Schema(BaseModel):
    """The features of an example, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: tuple[Feature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(feature.name for feature in self.features)

    def check(self, example: Mapping[str, Any], stage: str) -> None:
        """Raises if an example does not match the schema.

        Args:
            example: feature name to array.
            stage: the stage that produced it, for the message (`encode`, `read`).

        Raises:
            DataError: a feature is missing, unknown, of another type or of another shape.
        """
        for name in example:
            if name not in self.names:
                raise DataError(f"{stage}: " + unknown_name(f"feature `{name}`", name, self.names))
        for feature in self.features:
            if feature.name not in example:
                raise DataError(f"{stage}: feature `{feature.name}` is missing. Received: {sorted(example)}.")
            _check_array(feature, np.asarray(example[feature.name]), stage)


def _check_array(feature: Feature, array: np.ndarray[Any, Any], stage: str) -> None:
    kind = _NUMPY[feature.dtype]
    is_string = feature.dtype == "string" and array.dtype.kind in "OSU"
    if not (is_string or np.issubdtype(array.dtype, kind)):
        raise DataError(f"{stage}: feature `{feature.name}` must be {feature.dtype}. Received: {array.dtype}.")
    same_rank = array.ndim == len(feature.shape)
    if not same_rank or any(want not in (None, got) for want, got in zip(feature.shape, array.shape, strict=True)):
        raise DataError(f"{stage}: feature `{feature.name}` must have shape {feature.shape}. Received: {array.shape}.")
