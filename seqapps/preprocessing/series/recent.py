"""The last steps of a file as inputs of the served graph."""

from __future__ import annotations

import os
import sys
import zlib
from contextlib import nullcontext
from typing import Any

import numpy as np

from seqapps.dataset.text_files import as_bytes, as_text, check_encoding, open_raw
from seqapps.errors import DataError, UsageError, quoted, unknown_name
from seqapps.preprocessing.series.plan import Plan
from seqapps.preprocessing.series.reading import Parsed, Series
from seqapps.preprocessing.series.timeline import Frequency, Grid, iso

_SHOWN = 5
"""Maximum number of refused lines that are named."""


def recent(series: Series, plan: Plan, frequency: str) -> tuple[dict[str, Any], list[int]]:
    """Returns the inputs of the served graph for the forecast of a series, and the times from the last step of the
    history to the end of the forecast.

    The history ends at the last step that has a target; later lines supply the known columns.

    Args:
        series: at least one step with a target.
        plan: the layout of a window.
        frequency: name of the step.

    Raises:
        ValueError: says what is missing.
    """
    columns = plan.columns
    seen = np.flatnonzero(np.isfinite(series.numbers[:, : len(columns.targets)]).any(axis=1))
    if not len(seen):
        raise ValueError(f"no line holds a number in {' or '.join(columns.targets)}")
    end, grid = int(seen[-1]) + 1, Grid.through(series.times, Frequency.parse(frequency))
    index = grid.index(series.times)[0]
    steps = np.arange(index[end - 1] + 1 - plan.lookback, index[end - 1] + 1 + plan.horizon)
    times = grid.times(steps)
    numbers = np.full((len(steps), len(columns.numbers)), np.nan)
    labels = np.full((len(steps), len(columns.labels)), b"", series.labels.dtype)
    place = index - steps[0]
    inside = (place >= 0) & (place < len(steps))
    numbers[place[inside]], labels[place[inside]] = series.numbers[inside], series.labels[inside]
    now = plan.lookback
    if end < plan.history:
        raise ValueError(f"the history has {end} of {plan.history} steps")
    if plan.missing == "reject":
        holes = np.argwhere(~np.isfinite(numbers[now - plan.history : now]))
        for step, column in holes[:1].tolist():
            raise ValueError(
                f'`data.missing` is "reject", and the history has no {columns.numbers[column]} at '
                f"{iso(int(times[now - plan.history + step]))}"
            )
    if columns.known and end + plan.horizon > len(series):
        raise ValueError(
            f"`data.known` needs {plan.horizon} lines after the last target, with "
            f"{', '.join(columns.known)}. Received: {len(series) - end}"
        )
    inputs: dict[str, Any] = {"history": [numbers[:now].tolist()]}
    if columns.labels:
        inputs["labels"] = [labels[:now].tolist()]
    if plan.calendar:
        inputs["times"] = [np.datetime_as_string(times.astype("datetime64[s]")).tolist()]
    if columns.known_numbers:
        inputs["known"] = [numbers[now:, columns.known_numbers].tolist()]
    if columns.known_labels:
        inputs["known_labels"] = [labels[now:, columns.known_labels].tolist()]
    if columns.static_numbers:
        inputs["static"] = [series.static_numbers.tolist()]
    if columns.static_labels:
        inputs["static_labels"] = [series.static_labels.tolist()]
    return inputs, times[now - 1 :].tolist()


def read_content(path: str) -> bytes:
    """Returns the content of a file, read as for training: `.gz` is unpacked. `-` is standard input.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
    """
    try:
        with nullcontext(sys.stdin.buffer) if path == "-" else open_raw(path) as file:
            content = file.read()
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    check_encoding(content[:4], path)
    return content


def content_of(row: str | bytes) -> tuple[bytes, str]:
    """Returns a text and an empty path, or the content of the file that it names and the path.

    Raises:
        UsageError: a text of one line that names no file.
        DataError: the file cannot be read, or is not UTF-8.
    """
    raw = as_bytes(row)
    if b"\n" in raw:
        return raw, ""
    if not os.path.isfile(raw):
        text = quoted(as_text(row))
        raise UsageError(f"predict: TEXT is the path of a CSV file, or its content. Received: {text}.")
    path = os.fsdecode(raw)
    return read_content(path), path


def chosen(parsed: Parsed, name: str, where: str) -> Series:
    """Returns the series of a file to forecast: the one of that name, or the only one.

    Raises:
        DataError: there is none; says why its lines were refused.
        UsageError: an unknown name, or no name although there are several; lists them.
    """
    found = {series.name: series for series in parsed.series}
    if not found:
        reasons = ", ".join(sorted({fault.reason for fault in parsed.faults}))
        shown = f"{parsed.lines} lines, refused as {reasons}" if reasons else "no line after the header"
        raise DataError(f"{where} holds no series. Received: {shown}.")
    if name and not any(found):
        raise UsageError(
            f"predict: `--series` is for a model whose `data.series` names a column, and this one has none. Received: "
            f"{name!r}. Remedy: leave it out, and give a file that holds one series."
        )
    if name and name not in found:
        raise UsageError(unknown_name("predict: `--series`", name, found))
    if not name and len(found) > 1:
        allowed = ", ".join(found)
        raise UsageError(f"predict: {where} holds {len(found)} series: say which by `--series`. Allowed: {allowed}.")
    return found[name] if name else next(iter(found.values()))


def refused(parsed: Parsed, where: str) -> str:
    """Returns a message that names the refused lines of a file; empty if there are none."""
    shown = [f"line {fault.line} {fault.reason}" for fault in parsed.faults[:_SHOWN]]
    if len(parsed.faults) > _SHOWN:
        shown.append(f"and {len(parsed.faults) - _SHOWN} more")
    return (
        f"predict: {where}: {len(parsed.faults)} of {parsed.lines} lines refused: {', '.join(shown)}" if shown else ""
    )
