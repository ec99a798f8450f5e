"""Gradient plots: norms over time as curves and as a heat map over layers, and gate saturation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqapps.files import new_file

_LOWEST, _HIGHEST = 1e-8, 1e6
"""Range of gradient norms that is drawn: curves are clipped beyond it. The figures have the rest."""
_BEYOND = 1e30
_DPI = 120


class Bar(NamedTuple):
    """One gate, candidate or state of one layer: shares of its values that are low, high, and between.

    Args:
        name: of layer and gate.
        low, high: the shares.
        ends: the thresholds of low and high, in words.
    """

    name: str
    low: float
    high: float
    ends: str


def draw_gradients(
    layers: Mapping[str, Sequence[float]], path: Path, *, vanishes: float, explodes: float, judged: Mapping[str, int]
) -> Path:
    """Writes a PNG of gradient norms, relative to that of the last step, against T - t, and returns its path.

    Above, a curve for each layer on a logarithmic axis; below, the same as a heat map, one row per layer.

    Args:
        layers: name to the norm at T - t = 0, 1, 2, ...
        path: of the file.
        vanishes, explodes: shares at which a gradient counts as vanished, and as exploded.
        judged: name to the T - t at which the first of them is asked: where half of the rows begin.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    values = {name: _drawable(curve) for name, curve in layers.items()}
    everything = np.concatenate(list(values.values()))
    bottom, top = max(_LOWEST, everything.min() / 3), min(_HIGHEST, max(everything.max(), explodes) * 3)
    longest = max(map(len, values.values()))
    figure = Figure(figsize=(9.0, 3.6 + 0.4 * len(values)), layout="constrained")
    curves, heat = figure.subplots(2, 1, height_ratios=[2.6, 0.4 + 0.35 * len(values)])
    curves.set_yscale("log")
    for name, curve in values.items():
        (line,) = curves.plot(range(len(curve)), curve, "-", lw=1.8, label=name)
        place = min(judged.get(name, 0), len(curve) - 1)
        if place > 0 and bottom < curve[place] < top:
            curves.plot(place, curve[place], "o", color=line.get_color(), ms=5)
    curves.axhline(1.0, color="#8a94a3", lw=0.8)
    for share, side, words in ((vanishes, "top", "vanishes: a dot below"), (explodes, "bottom", "explodes: above")):
        curves.axhline(share, color="#c8641b", lw=0.8, ls="--")
        if bottom < share < top:
            at = {"xy": (1.0, share), "xycoords": curves.get_yaxis_transform(), "va": side, "ha": "right"}
            curves.annotate(words, **at, color="#c8641b", fontsize=8)
    curves.set_ylim(bottom, top)
    curves.set_ylabel(r"$\|dL_T/ds_t\|\ /\ \|dL_T/ds_T\|$")
    curves.set_title(
        "gradient of the last step's loss, T - t steps further back (dot: half of the rows begin here)",
        loc="left",
        fontsize=11,
    )
    curves.grid(alpha=0.3)
    curves.legend(frameon=False, fontsize=8)
    matrix = np.full((len(values), longest), np.nan)
    for place, curve in enumerate(values.values()):
        matrix[place, : len(curve)] = curve
    image = heat.imshow(matrix, aspect="auto", cmap="RdBu_r", norm=LogNorm(1e-4, 1e4), interpolation="nearest")
    heat.set_yticks(range(len(values)), list(values))
    heat.set_xlabel("T - t")
    curves.set_xlim(-0.5, longest - 0.5)
    figure.colorbar(image, ax=heat, shrink=0.9, extend="both")
    return _save(figure, path)


def draw_gates(bars: Sequence[Bar], path: Path) -> Path:
    """Writes a PNG of how often each gate, candidate or state is saturated, and returns its path."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 1.3 + 0.32 * len(bars)), layout="constrained")
    axes = figure.subplots()
    for place, bar in enumerate(bars):
        between = max(0.0, 1.0 - bar.low - bar.high)
        axes.barh(place, bar.low, color="#1f5fa8", label="low" if not place else None)
        axes.barh(place, between, left=bar.low, color="#d9dee6", label="between" if not place else None)
        axes.barh(place, bar.high, left=bar.low + between, color="#c8641b", label="high" if not place else None)
    axes.set_yticks(range(len(bars)), [f"{bar.name}  ({bar.ends})" for bar in bars])
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.0)
    axes.set_title("share of values below the lower end, between, and above the upper end", loc="left", fontsize=11)
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    return _save(figure, path)


def _drawable(curve: Sequence[float]) -> NDArray[np.float64]:
    """Moves non-finite values above the plotted range and 0 below it, so that neither seems to stay at the edge."""
    found = np.nan_to_num(np.asarray(curve, np.float64), nan=_BEYOND, posinf=_BEYOND)
    return np.clip(found, 1.0 / _BEYOND, _BEYOND)


def _save(figure: Any, path: Path) -> Path:
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)
    return path
