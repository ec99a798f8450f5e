"""Shared code of the time series baselines: windows as arrays, and the scaling of their targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqapps.baselines import BaselineContext
from seqapps.preprocessing.scaling import Scaling

if TYPE_CHECKING:
    from seqapps.dataset.ragged import Ragged


def targets_of(context: BaselineContext) -> Scaling:
    """Returns the scaling of the targets: the first variables of all."""
    feature = next(feature for feature in context.manifest.schema_.features if feature.name == "target")
    scaling = Scaling.from_facts(context.manifest.vocabularies["scaling"].facts)
    return scaling.of(scaling.names[: feature.shape[1]])


def rows_of(feature: Ragged) -> NDArray[Any]:
    """Returns rows of equal length as one array, `[N, steps, ...]`."""
    rows = len(feature)
    return feature.values.reshape(rows, len(feature.values) // max(rows, 1), *feature.values.shape[1:])


def past_of(examples: Mapping[str, Ragged], scaling: Scaling) -> NDArray[np.float64]:
    """Returns the targets' history in original units, `<float64>[N, H, V]`; a missing value is the last one seen."""
    return scaling.undo(rows_of(examples["history"])[:, :, : scaling.size])


def horizon_of(examples: Mapping[str, Ragged]) -> int:
    """Returns P."""
    return int(rows_of(examples["target"]).shape[1])
