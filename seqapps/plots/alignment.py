"""Attention plots: source tokens on the horizontal axis, target tokens on the vertical one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqapps.files import new_file
from seqapps.plots.lettering import lettering

_INCHES = 0.3
_LARGEST = 24.0


class Panel(NamedTuple):
    """One matrix.

    Args:
        source, target: tokens as they are written.
        attention: `<float>[target, source]`, 0 to 1.
    """

    source: Sequence[str]
    target: Sequence[str]
    attention: NDArray[np.floating]


def draw_attention(panels: Sequence[Panel], path: Path) -> Path:
    """Writes a PNG with one matrix beside the other, and returns its path."""
    with lettering(token for panel in panels for token in (*panel.source, *panel.target)) as written:
        return _draw(panels, path, lambda token: written(token if token.strip() else token.replace(" ", "\u2423")))


def _draw(panels: Sequence[Panel], path: Path, shown: Callable[[str], str]) -> Path:
    from matplotlib.figure import Figure

    wide = [1.2 + _INCHES * len(panel.source) for panel in panels]
    high = max(1.6 + _INCHES * len(panel.target) for panel in panels)
    size = (min(sum(wide) + 0.8, _LARGEST), min(high, _LARGEST))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, width_ratios=wide)[0]
    image = None
    for axes, panel in zip(grid, panels, strict=True):
        image = axes.imshow(panel.attention, cmap="Greys", vmin=0.0, vmax=1.0, aspect="auto")
        axes.xaxis.tick_top()
        axes.set_xticks(range(len(panel.source)), [shown(token) for token in panel.source], rotation=90)
        axes.set_yticks(range(len(panel.target)), [shown(token) for token in panel.target])
    if image is not None:
        figure.colorbar(image, ax=list(grid), label="weight", shrink=0.8)
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return path


def draw_rows(attended: Mapping[str, Any], file: str, first: int) -> list[str]:
    """Draws one plot per row of the outputs of the signature `attend`, and returns their paths.

    Args:
        attended: its outputs.
        file: of the first row; the others have their number after the stem.
        first: number of rows before these.
    """
    drawn = []
    for row, (length, width) in enumerate(zip(attended["length"], attended["source_length"], strict=True)):
        matrix = np.asarray(attended["attention"][row])[:length, :width]
        panel = Panel(attended["source_tokens"][row][:width], attended["tokens"][row][:length], matrix)
        path, number = Path(file), first + row + 1
        path = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        drawn.append(str(draw_attention([panel], path)))
    return drawn
