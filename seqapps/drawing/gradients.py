"""Gradients over time as pictures: a heat map over time and layer, curves, and the gates beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqapps.files import new_file

_LOWEST, _HIGHEST = 1e-8, 1e4
"""What is drawn of a gradient; the figures have the rest."""
_DPI = 120


class Bar(NamedTuple):
    """One gate of one layer: shares of its values that are low, high, and between."""

    name: str
    low: float
    high: float


def draw_gradients(layers: Mapping[str, Sequence[float]], path: Path) -> Path:
    """Writes a PNG of gradient norms, over that of the last step, against T - t; and returns its path.

    Above a curve for each layer, on a logarithmic axis; below the same as a heat map, a line for each layer.

    Args:
        layers: name to the norm at T - t = 0, 1, 2, ...
        path: of the file.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    values = {name: np.clip(_finite(curve), _LOWEST, _HIGHEST) for name, curve in layers.items()}
    longest = max(map(len, values.values()))
    figure = Figure(figsize=(9.0, 3.6 + 0.4 * len(values)), layout="constrained")
    curves, heat = figure.subplots(2, 1, height_ratios=[2.6, 0.4 + 0.35 * len(values)])
    for name, curve in values.items():
        curves.plot(range(len(curve)), curve, "-", lw=1.8, label=name)
    curves.axhline(1.0, color="#8a94a3", lw=0.8)
    curves.axhline(1e-3, color="#c8641b", lw=0.8, ls="--")
    curves.set_yscale("log")
    curves.set_ylim(bottom=max(_LOWEST, min(curve.min() for curve in values.values()) / 3))
    curves.set_ylabel(r"$\|dL_T/ds_t\|\ /\ \|dL_T/ds_T\|$")
    curves.set_title("gradient of the last step's loss, T - t steps further back", loc="left", fontsize=11)
    curves.grid(alpha=0.3)
    curves.legend(frameon=False, fontsize=8)
    matrix = np.full((len(values), longest), np.nan)
    for place, curve in enumerate(values.values()):
        matrix[place, : len(curve)] = curve
    image = heat.imshow(matrix, aspect="auto", cmap="RdBu_r", norm=LogNorm(1e-4, 1e4), interpolation="nearest")
    heat.set_yticks(range(len(values)), list(values))
    heat.set_xlabel("T - t")
    curves.set_xlim(-0.5, longest - 0.5)
    figure.colorbar(image, ax=heat, shrink=0.9)
    return _save(figure, path)


def draw_gates(bars: Sequence[Bar], path: Path) -> Path:
    """Writes a PNG of how often each gate is nearly closed or nearly open, and returns its path."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 1.3 + 0.32 * len(bars)), layout="constrained")
    axes = figure.subplots()
    for place, bar in enumerate(bars):
        between = max(0.0, 1.0 - bar.low - bar.high)
        axes.barh(place, bar.low, color="#1f5fa8", label="low" if not place else None)
        axes.barh(place, between, left=bar.low, color="#d9dee6", label="between" if not place else None)
        axes.barh(place, bar.high, left=bar.low + between, color="#c8641b", label="high" if not place else None)
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.0)
    axes.set_title("share of a gate's values below 0.05, between, and above 0.95", loc="left", fontsize=11)
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    return _save(figure, path)


def _finite(curve: Sequence[float]) -> NDArray[np.float64]:
    """What is not finite is drawn at the upper edge."""
    return np.nan_to_num(np.asarray(curve, np.float64), nan=_HIGHEST, posinf=_HIGHEST)


def _save(figure: Any, path: Path) -> Path:
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)
    return path
