"""Formatting of figures, with enough digits to distinguish systems, and display names of metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MOST_DECIMALS = 9
_MOST_MORE = 3


def label(metric: str, token: str) -> str:
    """Returns a metric's display name."""
    return f"{metric} per {token}" if metric in ("bits", "nats") else metric.replace("_", " ")


def figure(value: float, more: int = 0) -> str:
    """Formats a figure with three significant digits or more.

    Args:
        value: the figure.
        more: extra digits, if the usual ones do not distinguish it from others.

    >>> figure(1234.5), figure(0.51234), figure(-250.0), figure(0.00012), figure(0.0065), figure(0.0)
    ('1,234.5', '0.512', '-250.0', '0.000120', '0.00650', '0.000')
    >>> figure(0.51234, 1)
    '0.5123'
    """
    if abs(value) >= 100:
        return f"{value:,.{1 + more}f}"
    if not 0 < abs(value) < 0.1 or not math.isfinite(value):
        return f"{value:.{3 + more}f}"
    decimals = 2 - math.floor(math.log10(abs(value))) + more
    return f"{value:.{decimals}f}" if decimals <= _MOST_DECIMALS else f"{value:.{2 + more}e}"


def figures(values: Sequence[float]) -> list[str]:
    """Formats figures for comparison, with enough digits to distinguish different ones, within reason.

    >>> figures([26.6454, 26.6449, 161.3]), figures([0.5, 0.5]), figures([1 / 3, 1 / 3 + 1e-9])
    (['26.6454', '26.6449', '161.30'], ['0.500', '0.500'], ['0.333333', '0.333333'])
    """
    for more in range(_MOST_MORE + 1):
        shown = [figure(value, more) for value in values]
        if len({*shown}) == len({*values}):
            break
    return shown
