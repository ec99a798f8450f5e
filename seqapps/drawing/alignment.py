"""Attention as a picture: the units of the source across, those of the target down."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqapps.files import new_file

_INCHES = 0.3
_LARGEST = 24.0
_FONTS = (
    "DejaVu Sans", "Noto Sans CJK KR", "Noto Sans CJK JP", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo",
    "Arial Unicode MS",
)  # fmt: skip
"""Where a glyph is looked for, in this order; the first one comes with matplotlib."""


class Panel(NamedTuple):
    """One matrix.

    Args:
        source, target: units as they are written.
        attention: `<float>[target, source]`, 0 to 1.
    """

    source: Sequence[str]
    target: Sequence[str]
    attention: NDArray[np.floating]


def draw_attention(panels: Sequence[Panel], path: Path) -> Path:
    """Writes a PNG with one matrix beside the other, and returns its path.

    Scripts that no installed font of _FONTS has (Korean without any of them) are drawn as boxes.
    """
    from matplotlib import font_manager, rc_context

    installed = {font.name for font in font_manager.fontManager.ttflist}
    with rc_context({"font.family": [name for name in _FONTS if name in installed]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        return _draw(panels, path)


def _draw(panels: Sequence[Panel], path: Path) -> Path:
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
        axes.set_xticks(range(len(panel.source)), [_shown(unit) for unit in panel.source], rotation=90)
        axes.set_yticks(range(len(panel.target)), [_shown(unit) for unit in panel.target])
    if image is not None:
        figure.colorbar(image, ax=list(grid), label="weight", shrink=0.8)
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return path


def draw_rows(attended: Mapping[str, Any], file: str, first: int) -> list[str]:
    """Draws one picture a row of what the signature `attend` answered, and returns their paths.

    Args:
        attended: its outputs.
        file: of the first row; the others have their number behind the stem.
        first: how many rows came before these.
    """
    drawn = []
    for row, (length, width) in enumerate(zip(attended["length"], attended["source_length"], strict=True)):
        matrix = np.asarray(attended["attention"][row])[:length, :width]
        panel = Panel(attended["source_units"][row][:width], attended["units"][row][:length], matrix)
        path, number = Path(file), first + row + 1
        path = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        drawn.append(str(draw_attention([panel], path)))
    return drawn


def _shown(unit: str) -> str:
    """A unit as a tick; `$` would begin a formula."""
    return (unit if unit.strip() else repr(unit)[1:-1].replace(" ", "\u2423")).replace("$", r"\$")
